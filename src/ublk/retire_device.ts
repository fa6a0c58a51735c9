import { EBUSY, EINVAL, ENODEV, EOPNOTSUPP, ETIMEDOUT } from "../base/errno.ts";
import type { UmpathError } from "../base/errors.ts";
import { UBLK_LAYOUT, UblkFeature } from "../protocol/ublk.ts";
import { stepError } from "./control_error.ts";
import { CONTROL_DEADLINES_MS, type ControlSequence, type ControlStep, deviceStep } from "./control_step.ts";
import type { UblkDevice } from "./device.ts";
import { decodeDeviceInfo } from "./device_info.ts";

/** How a device is taken away. */
export interface DestroyOptions {
  /**
   * Although somebody has it open: what they do then fails, and their number is free when they have closed it. Without,
   * an open device is refused where the driver can tell (SAFE_STOP_DEV), and waited for where it cannot.
   */
  force?: boolean;
  /** How long the I/O in flight may take. */
  stopDeadlineMs?: number;
}

/**
 * Stops and deletes a device that is live, or that an earlier call could not stop. The driver keeps every queue served
 * until STOP_DEV returns. Gives what went wrong on the way although the device is gone; throws `UmpathError` if it is
 * not, and may be called again then.
 */
export function* destroyDevice(device: UblkDevice, options: DestroyOptions = {}): ControlSequence<UmpathError[]> {
  if (device.state === "live" && options.force !== true) yield* tryStop(device, options);
  if (device.state !== "stopped") {
    const failure = yield* stop(device, options);
    if (failure !== null) throw failure;
  }
  const warnings = yield* release(device);
  const failure = (yield* isOurs(device)) ? yield* remove(device, options.force === true) : deleted(device);
  if (failure !== null) throw failure;
  return warnings;
}

/**
 * Takes away, in the reverse order, what a device that could not be created has got so far. Nothing stops it: gives
 * what went wrong, and leaves the device in the state that it could not get out of.
 */
export function* undoDevice(device: UblkDevice): ControlSequence<UmpathError[]> {
  const failures: UmpathError[] = [];
  if (device.state === "fetching" || device.state === "live") {
    const failure = yield* stop(device, {});
    if (failure !== null) failures.push(failure);
  }
  failures.push(...yield* release(device));
  const failure = (yield* isOurs(device)) ? yield* remove(device, false) : deleted(device);
  if (failure !== null) failures.push(failure);
  return failures;
}

/** Refuses a device that somebody has open, if the driver can tell. The device is not stopped by the refusal. */
function* tryStop(device: UblkDevice, options: DestroyOptions): ControlSequence<void> {
  if ((device.features & UblkFeature.SAFE_STOP_DEV) === 0n) return;
  const deadlineMs = options.stopDeadlineMs ?? CONTROL_DEADLINES_MS.stop;
  const step = deviceStep("TRY_STOP_DEV", device, { deadlineMs });
  const { result } = yield step;
  if (result === -EBUSY || result === -ETIMEDOUT) throw stepError(step, result, device.blockPath);
}

/** STOP_DEV: the block device goes, then the driver aborts every tag. A device that is stopped already is fine. */
function* stop(device: UblkDevice, options: DestroyOptions): ControlSequence<UmpathError | null> {
  if (device.state !== "stopping") device.transition("stopping");
  const deadlineMs = options.stopDeadlineMs ?? CONTROL_DEADLINES_MS.stop;
  return yield* attempt(device, deviceStep("STOP_DEV", device, { deadlineMs }), [ENODEV]);
}

/** Queues drained and character device closed, as far as there are any. */
function* release(device: UblkDevice): ControlSequence<UmpathError[]> {
  const failures: UmpathError[] = [];
  const steps: ControlStep[] = [];
  if (device.state === "stopping") {
    steps.push({ kind: "drain-queues", device, deadlineMs: CONTROL_DEADLINES_MS.drain });
  }
  if (device.charFd >= 0) {
    steps.push({ kind: "close-char-device", device, deadlineMs: CONTROL_DEADLINES_MS.quick });
  }
  for (const step of steps) {
    const failure = yield* attempt(device, step, []);
    if (failure !== null) failures.push(failure);
  }
  device.charFd = -1;
  if (device.state !== "stopped") device.transition("stopped");
  return failures;
}

/** The number is ours as long as we have its character device open: then another program may have deleted it. */
function* isOurs(device: UblkDevice): ControlSequence<boolean> {
  const buffer = new Uint8Array(UBLK_LAYOUT.devInfoBytes);
  const { result } = yield deviceStep("GET_DEV_INFO", device, { buffer });
  if (result === -ENODEV) return false;
  return result < 0 || decodeDeviceInfo(buffer).ownerMark === device.ownerMark;
}

/** DEL_DEV; with `force` the one that does not wait for openers, which drivers before Linux 6.9 lack. */
function* remove(device: UblkDevice, force: boolean): ControlSequence<UmpathError | null> {
  if (force) {
    const step = deviceStep("DEL_DEV_ASYNC", device);
    const { result } = yield step;
    if (result >= 0 || result === -ENODEV) return deleted(device);
    if (result !== -EOPNOTSUPP && result !== -EINVAL) return stepError(step, result, device.blockPath);
  }
  const step = deviceStep("DEL_DEV", device, { deadlineMs: CONTROL_DEADLINES_MS.delete });
  return (yield* attempt(device, step, [ENODEV])) ?? deleted(device);
}

function deleted(device: UblkDevice): null {
  device.transition("deleted");
  return null;
}

/** One step; null if it went well, or ended with an errno that is as good. */
function* attempt(
  device: UblkDevice,
  step: ControlStep,
  accepted: readonly number[],
): ControlSequence<UmpathError | null> {
  const { result } = yield step;
  return result >= 0 || accepted.includes(-result) ? null : stepError(step, result, device.blockPath);
}
