import { assert } from "../base/assert.ts";
import { EINVAL, ENODEV, ENOENT, ENXIO, ESTALE } from "../base/errno.ts";
import { UmpathError } from "../base/errors.ts";
import type { LoopDevice } from "./device.ts";
import { loopStepError } from "./loop_error.ts";
import { LOOP_DEADLINES_MS, type LoopSequence, type LoopStep } from "./loop_step.ts";

/** How long a user who is about to close the device, as udev is, may take. Milliseconds. */
const USERS_MS = 2_000;
/** The same where the device goes in any case: others wait for the end of this. */
const USERS_FORCED_MS = 500;

/** How a device is taken away. */
export interface DestroyLoopOptions {
  /**
   * Although somebody has it open: what they do then fails, and the number is free when they have closed it. Without,
   * an open device is refused.
   */
  force?: boolean;
}

/** What became of a loop device that was to be unbound. */
export type LoopFate =
  /** It is bound to nothing. */
  | "free"
  /** It goes when its last user closes it. */
  | "in-use"
  /** Somebody has unbound it and bound it to what is not ours: it was left alone. */
  | "foreign";

/**
 * Unbinds the loop device, unmounts its file and lets the workers go. Gives what went wrong on the way although the
 * device is gone; throws `UmpathError` if it is not: then it is as it was, or may be taken away by another call.
 */
export function* destroyLoopDevice(device: LoopDevice, options: DestroyLoopOptions = {}): LoopSequence<UmpathError[]> {
  const warnings: UmpathError[] = [];
  if (device.state === "live") warnings.push(...yield* unbind(device, options.force === true));
  warnings.push(...yield* release(device));
  if (device.state !== "removed") throw warnings.pop()!;
  return warnings;
}

/**
 * Takes away, in the reverse order, what a device that could not be created has got so far. Nothing stops it: gives
 * what went wrong.
 */
export function* undoLoopDevice(device: LoopDevice): LoopSequence<UmpathError[]> {
  const failures: UmpathError[] = [];
  if (device.state === "live") {
    try {
      failures.push(...yield* unbind(device, true));
    } catch (thrown) {
      failures.push(UmpathError.from(thrown));
      device.transition("unbound");
    }
  }
  return [...failures, ...yield* release(device)];
}

/** Gives what is to be said of a device that is not simply gone. */
function* unbind(device: LoopDevice, force: boolean): LoopSequence<UmpathError[]> {
  const { blockPath: path, sequence } = device;
  assert(sequence !== null, "A device that is bound has a sequence number");
  let fate = yield* clearLoop({ path, sequence }, force ? USERS_FORCED_MS : USERS_MS);
  if (fate === "in-use" && !force) {
    const { result } = yield { kind: "keep-loop", path, sequence, deadlineMs: LOOP_DEADLINES_MS.quick };
    // It was closed just now, or it is kept.
    if (!isGone(result)) throw inUse(path);
    fate = "free";
  }
  device.transition("unbound");
  if (fate === "in-use") {
    yield { kind: "note-device", device, isDetached: true, deadlineMs: LOOP_DEADLINES_MS.quick };
    return [stillOpen(path)];
  }
  if (fate === "foreign") {
    yield { kind: "forget-device", device, deadlineMs: LOOP_DEADLINES_MS.quick };
    return [notOurs(path)];
  }
  yield* removeNumber(device);
  return [];
}

/** Unbinds a loop device, and waits for users who are about to close it. */
export function* clearLoop(
  { path, sequence }: { path: string; sequence: string },
  usersMs: number,
): LoopSequence<LoopFate> {
  const clear: LoopStep = { kind: "clear-loop", path, sequence, deadlineMs: LOOP_DEADLINES_MS.clear };
  const { result } = yield clear;
  if (result === -ESTALE) return "foreign";
  if (result < 0 && !isGone(result)) throw loopStepError(clear, result, path);
  for (let waitedMs = 0;; waitedMs += LOOP_DEADLINES_MS.poll) {
    const flags = yield { kind: "loop-flags", path, sequence, deadlineMs: LOOP_DEADLINES_MS.quick };
    if (isGone(flags.result)) return "free";
    if (waitedMs >= usersMs) return "in-use";
    yield { kind: "pause", deadlineMs: LOOP_DEADLINES_MS.poll };
  }
}

/** What is left of a number whose loop device is bound to nothing of ours: node, loop device and note. */
export function* removeNumber(device: LoopDevice): LoopSequence<void> {
  const { blockPath: path, number } = device;
  const deadlineMs = LOOP_DEADLINES_MS.quick;
  // Whether they go or somebody else has the device by now: neither is a failure.
  if (device.hasOwnNode) yield { kind: "remove-node", path, deadlineMs };
  device.hasOwnNode = false;
  if (device.isAdded) yield { kind: "remove-loop", number, deadlineMs };
  yield { kind: "forget-device", device, deadlineMs };
}

/** There is no such loop device any more, or what is there is not ours. */
function isGone(result: number): boolean {
  return [ENXIO, ENOENT, ENODEV, ESTALE].includes(-result);
}

/** File unmounted, queues drained, descriptors closed, file removed, as far as there are any. */
function* release(device: LoopDevice): LoopSequence<UmpathError[]> {
  const failures: UmpathError[] = [];
  const { quick, drain } = LOOP_DEADLINES_MS;
  const path = device.filePath;
  if (device.state !== "opened" && device.state !== "unmounted") {
    const failure = yield* attempt(device, { kind: "unmount", path, deadlineMs: quick }, [EINVAL, ENOENT]);
    // Whatever it is mounted for: its requests end only with the mount.
    if (failure !== null) return [failure];
  }
  if (device.state !== "unmounted") device.transition("unmounted");
  const steps: LoopStep[] = [];
  if (device.hasQueues) steps.push({ kind: "drain-queues", device, deadlineMs: drain });
  steps.push({ kind: "close-fuse", device, deadlineMs: quick });
  steps.push({ kind: "remove-file", path, deadlineMs: quick });
  for (const step of steps) {
    const failure = yield* attempt(device, step, [ENOENT]);
    if (failure !== null) failures.push(failure);
  }
  device.transition("removed");
  return failures;
}

/** One step; null if it went well, or ended with an errno that is as good. */
function* attempt(
  device: LoopDevice,
  step: LoopStep,
  accepted: readonly number[],
): LoopSequence<UmpathError | null> {
  const { result } = yield step;
  if (result >= 0 || accepted.includes(-result)) return null;
  return loopStepError(step, result, device.number < 0 ? "a loop device" : device.blockPath);
}

function inUse(path: string): UmpathError {
  return new UmpathError("in-use", `Cannot unbind ${path}: somebody has it open`, {
    hint: "Close what uses it: findmnt, lsblk and fuser say what that is",
  });
}

/** A loop device of that name is another program's by now. */
export function notOurs(path: string): UmpathError {
  return new UmpathError("in-use", `${path} is another program's by now and is left alone: ours was unbound before`);
}

/** What is left of a loop device that somebody has open. */
export function stillOpen(path: string): UmpathError {
  return new UmpathError("in-use", `${path} is still open: all I/O on it fails, and it is removed when it is closed`);
}
