import { EINVAL, ENODEV, EOPNOTSUPP } from "../base/errno.ts";
import { UBLK_FEATURES_BYTES } from "../protocol/ublk.ts";
import { stepError } from "./control_error.ts";
import { commandStep, CONTROL_DEADLINES_MS, type ControlSequence, type ControlStep } from "./control_step.ts";

/** The driver's control device. */
export const CONTROL_PATH = "/dev/ublk-control";

/** The kernel's own "not supported", which is no errno for user space and still gets there. */
const ENOTSUPP = 524;
/** How drivers before Linux 6.5 say that they have no GET_FEATURES. */
const UNKNOWN_COMMAND = [EINVAL, ENODEV, EOPNOTSUPP, ENOTSUPP];

/**
 * Opens the control device and asks the driver what it can do: bits of `UblkFeature`, or null if it has no GET_FEATURES
 * (Linux 6.0 to 6.4), which means the base mode with legacy command numbers.
 */
export function* probeFeatures(device: string): ControlSequence<bigint | null> {
  const open: ControlStep = { kind: "open-control", path: CONTROL_PATH, deadlineMs: CONTROL_DEADLINES_MS.quick };
  const opened = yield open;
  if (opened.result < 0) throw stepError(open, opened.result, device);
  const buffer = new Uint8Array(UBLK_FEATURES_BYTES);
  const ask = commandStep("GET_FEATURES", { ioctlEncode: true, buffer });
  const asked = yield ask;
  if (asked.result >= 0) return new DataView(buffer.buffer).getBigUint64(0, true);
  if (UNKNOWN_COMMAND.includes(-asked.result)) return null;
  throw stepError(ask, asked.result, device);
}
