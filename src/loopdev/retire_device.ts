import { EINVAL, ENOENT, ENXIO } from "../base/errno.ts";
import { UmpathError } from "../base/errors.ts";
import type { LoopDevice } from "./device.ts";
import { loopStepError } from "./loop_error.ts";
import { LOOP_DEADLINES_MS, type LoopSequence, type LoopStep } from "./loop_step.ts";

/** How long a user who is about to close the device, as udev is, may take. Milliseconds. */
const USERS_MS = 2_000;

/** How a device is taken away. */
export interface DestroyLoopOptions {
  /**
   * Although somebody has it open: what they do then fails, and the number is free when they have closed it. Without,
   * an open device is refused.
   */
  force?: boolean;
}

/**
 * Unbinds the loop device, unmounts its file and lets the workers go. Gives what went wrong on the way although the
 * device is gone; throws `UmpathError` if it is not: then it is as it was, or may be taken away by another call.
 */
export function* destroyLoopDevice(device: LoopDevice, options: DestroyLoopOptions = {}): LoopSequence<UmpathError[]> {
  const warnings: UmpathError[] = [];
  if (device.state === "live") {
    const isFree = yield* unbind(device, options.force === true);
    if (!isFree) warnings.push(stillOpen(device.blockPath));
  }
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
      if (!(yield* unbind(device, true))) failures.push(stillOpen(device.blockPath));
    } catch (thrown) {
      failures.push(UmpathError.from(thrown));
      device.transition("unbound");
    }
  }
  return [...failures, ...yield* release(device)];
}

/** True if the device is free; false, with `force` only, if it will be once its users have closed it. */
function* unbind(device: LoopDevice, force: boolean): LoopSequence<boolean> {
  const path = device.blockPath;
  const isFree = yield* clearLoop(path, USERS_MS);
  if (!isFree && !force) {
    const { result } = yield { kind: "keep-loop", path, deadlineMs: LOOP_DEADLINES_MS.quick };
    // It was closed just now, or it is kept.
    if (result !== -ENXIO) throw inUse(path);
  }
  device.transition("unbound");
  if (isFree && device.hasOwnNode) yield { kind: "remove-node", path, deadlineMs: LOOP_DEADLINES_MS.quick };
  return isFree || !force;
}

/** Unbinds the loop device at `path`, and waits for users who are about to close it. True if it is free. */
export function* clearLoop(path: string, usersMs: number): LoopSequence<boolean> {
  const clear: LoopStep = { kind: "clear-loop", path, deadlineMs: LOOP_DEADLINES_MS.clear };
  const { result } = yield clear;
  if (result < 0 && result !== -ENXIO) throw loopStepError(clear, result, path);
  for (let waitedMs = 0;; waitedMs += LOOP_DEADLINES_MS.poll) {
    const flags = yield { kind: "loop-flags", path, deadlineMs: LOOP_DEADLINES_MS.quick };
    if (flags.result === -ENXIO || flags.result === -ENOENT) return true;
    if (waitedMs >= usersMs) return false;
    yield { kind: "pause", deadlineMs: LOOP_DEADLINES_MS.poll };
  }
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

/** What is left of a loop device that somebody has open. */
export function stillOpen(path: string): UmpathError {
  return new UmpathError("in-use", `${path} is still open: it fails all I/O and goes when it is closed`);
}
