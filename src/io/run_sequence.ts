import { EIO, ENOENT, EPERM, errnoWords, ETIMEDOUT } from "../base/errno.ts";
import { messageOf } from "../base/errors.ts";
import type { Logger } from "../base/log.ts";

const NODE_POLL_MS = 20;
/** A step that takes longer is told of while it lasts: somebody waits for it. */
const SLOW_MS = 1_000;

/**
 * Runs a control sequence to its end: a generator that yields what it wants done and is resumed with how that ended.
 * What `carryOut` throws is thrown into the sequence, which undoes what it has done so far.
 *
 * @throws UmpathError as the sequence does.
 */
export async function runSequence<Step, Result, Value>(
  sequence: Generator<Step, Value, Result>,
  carryOut: (step: Step) => Promise<Result>,
): Promise<Value> {
  let next = sequence.next();
  while (!next.done) next = await oneStep(sequence, next.value, carryOut);
  return next.value;
}

async function oneStep<Step, Result, Value>(
  sequence: Generator<Step, Value, Result>,
  step: Step,
  carryOut: (step: Step) => Promise<Result>,
): Promise<IteratorResult<Step, Value>> {
  let done: Result;
  try {
    done = await carryOut(step);
  } catch (error) {
    return sequence.throw(error);
  }
  return sequence.next(done);
}

/** What `work` gives; `log` has what was done, how it ended and how long it took, at level debug. */
export async function timed<Done extends { result: number }>(
  log: Logger,
  words: () => string,
  work: Promise<Done>,
): Promise<Done> {
  if (!log.enabled("debug")) return await work;
  const startMs = performance.now();
  const tell = (end: string) =>
    log.debug(`Step "${words()}": ${end}, after ${(performance.now() - startMs).toFixed(1)} ms`);
  try {
    const done = await work;
    tell(done.result < 0 ? errnoWords(done.result) : "done");
    return done;
  } catch (error) {
    tell(messageOf(error));
    throw error;
  }
}

/** How a step is waited for. */
export interface WaitOptions {
  deadlineMs: number;
  /** Called if it takes longer than a second. */
  onSlow?: () => void;
  /** Called with what it gives in the end, if nobody waits for that any more: what it made is to be undone. */
  onLate?: (result: number) => void;
}

/** What `work` gives, or -ETIMEDOUT if it takes longer than `deadlineMs`: then it is left to itself. */
export async function within(work: Promise<number>, { deadlineMs, onSlow, onLate }: WaitOptions): Promise<number> {
  const { promise: over, resolve } = Promise.withResolvers<null>();
  const timers = [setTimeout(() => resolve(null), deadlineMs)];
  if (onSlow !== undefined && deadlineMs > SLOW_MS) timers.push(setTimeout(onSlow, SLOW_MS));
  try {
    const result = await Promise.race([work, over]);
    if (result !== null) return result;
    if (onLate !== undefined) work.then(onLate, () => {});
    return -ETIMEDOUT;
  } finally {
    timers.forEach(clearTimeout);
  }
}

/** Waits until there is a device node: 0, or -ENOENT after the deadline. */
export async function waitNode(path: string, deadlineMs: number): Promise<number> {
  for (let waitedMs = 0; waitedMs <= deadlineMs; waitedMs += NODE_POLL_MS) {
    if (await exists(path)) return 0;
    await pause(NODE_POLL_MS);
  }
  return -ENOENT;
}

async function exists(path: string): Promise<boolean> {
  try {
    await Deno.lstat(path);
    return true;
  } catch {
    return false;
  }
}

export function pause(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms));
}

/** Loads a kernel module; false if there is no such module, or no way to. */
export async function loadModule(name: string): Promise<boolean> {
  try {
    const { success } = await new Deno.Command("modprobe", { args: [name], stdout: "null", stderr: "null" }).output();
    return success;
  } catch {
    return false;
  }
}

/** The runtime tells the number only in its words: "No such file or directory (os error 2)". */
export function errnoOf(error: unknown): number {
  const match = error instanceof Error ? /\(os error (\d+)\)/.exec(error.message) : null;
  if (match !== null) return Number(match[1]);
  if (error instanceof Deno.errors.NotFound) return ENOENT;
  return error instanceof Deno.errors.PermissionDenied ? EPERM : EIO;
}
