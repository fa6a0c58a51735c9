import { native } from "../../ffi/library.ts";
import { cString } from "../../ffi/result.ts";
import { ENOENT, ETIMEDOUT } from "../base/errno.ts";
import type { ControlResult, ControlSequence, ControlStep } from "../ublk/control.ts";

const NODE_POLL_MS = 20;

/** What the driver cannot do by itself: the queues belong to the workers. */
export interface QueueControl {
  /** Resolves when the kernel has the FETCH of every tag. */
  startQueues(step: ControlStep & { kind: "start-queues" }): Promise<void>;
  /** Resolves when every tag of every queue is over. */
  drainQueues(step: ControlStep & { kind: "drain-queues" }): Promise<void>;
}

let controlFd = -1;

/**
 * Carries out a ublk control sequence. Commands block in the driver, so they run on threads of the runtime's pool; a
 * step that takes longer than its deadline gives -ETIMEDOUT.
 *
 * @throws UmpathError as the sequence does.
 */
export async function runControl<T>(sequence: ControlSequence<T>, queues: QueueControl): Promise<T> {
  let next = sequence.next();
  while (!next.done) next = await oneStep(sequence, next.value, queues);
  return next.value;
}

/** What is thrown on the way is thrown into the sequence, which undoes what it has done so far. */
async function oneStep<T>(
  sequence: ControlSequence<T>,
  step: ControlStep,
  queues: QueueControl,
): Promise<IteratorResult<ControlStep, T>> {
  let done: ControlResult;
  try {
    done = await carryOut(step, queues);
  } catch (error) {
    return sequence.throw(error);
  }
  return sequence.next(done);
}

async function carryOut(step: ControlStep, queues: QueueControl): Promise<ControlResult> {
  switch (step.kind) {
    case "open-control":
      return { result: await openControl(step.path) };
    case "command":
      return { result: await within(step.deadlineMs, command(step)) };
    case "wait-node":
      return { result: await waitNode(step.path, step.deadlineMs) };
    case "open-char-device":
      return { result: native().um_open(cString(step.path), 1) };
    case "start-queues":
      return { result: await within(step.deadlineMs, queues.startQueues(step).then(() => 0)) };
    case "drain-queues":
      return { result: await within(step.deadlineMs, queues.drainQueues(step).then(() => 0)) };
    case "close-char-device":
      return { result: native().um_close(step.device.charFd) };
    case "pid-alive":
      return { result: native().um_process_alive(step.pid) };
    case "pause":
      await pause(step.deadlineMs);
      return { result: 0 };
  }
}

/** The driver does not load by itself: nothing asks for its device before it is there. */
async function openControl(path: string): Promise<number> {
  if (controlFd < 0) controlFd = native().um_open(cString(path), 1);
  if (controlFd === -ENOENT && await loadDriver()) controlFd = native().um_open(cString(path), 1);
  return Math.min(controlFd, 0);
}

async function loadDriver(): Promise<boolean> {
  try {
    const { success } = await new Deno.Command("modprobe", { args: ["ublk_drv"], stdout: "null", stderr: "null" })
      .output();
    return success;
  } catch {
    return false;
  }
}

/** The buffer is held by the call itself until the kernel is done with it, however long that takes. */
async function command(step: ControlStep & { kind: "command" }): Promise<number> {
  const buffer = step.buffer ?? new Uint8Array(0);
  const { op, devId, queueId, data0 } = step;
  const result = await native().um_ublk_control(controlFd, op >>> 0, devId, queueId, buffer, buffer.length, data0);
  void buffer.length;
  return result;
}

async function within(deadlineMs: number, work: Promise<number>): Promise<number> {
  const { promise, resolve } = Promise.withResolvers<number>();
  const timer = setTimeout(() => resolve(-ETIMEDOUT), deadlineMs);
  try {
    return await Promise.race([work, promise]);
  } finally {
    clearTimeout(timer);
  }
}

async function waitNode(path: string, deadlineMs: number): Promise<number> {
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

function pause(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms));
}
