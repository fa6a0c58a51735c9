import { ENOENT, ETIMEDOUT } from "../base/errno.ts";

const NODE_POLL_MS = 20;

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

/** What `work` gives, or -ETIMEDOUT if it takes longer than `deadlineMs`: then it goes on by itself. */
export async function within(deadlineMs: number, work: Promise<number>): Promise<number> {
  const { promise, resolve } = Promise.withResolvers<number>();
  const timer = setTimeout(() => resolve(-ETIMEDOUT), deadlineMs);
  try {
    return await Promise.race([work, promise]);
  } finally {
    clearTimeout(timer);
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
