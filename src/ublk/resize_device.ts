import { UmpathError } from "../base/errors.ts";
import type { Geometry } from "../block/device.ts";
import { UblkFeature } from "../protocol/ublk.ts";
import { stepError } from "./control_error.ts";
import { type ControlSequence, deviceStep } from "./control_step.ts";
import type { UblkDevice } from "./device.ts";
import { deviceSectors, ParameterError } from "./parameters.ts";

/**
 * UPDATE_SIZE: a device that is live gets the size of the geometry, and whoever listens to the kernel hears of it. Its
 * queues are to have that size already. Throws `UmpathError` where the device keeps its size.
 */
export function* resizeDevice(device: UblkDevice, geometry: Geometry): ControlSequence<void> {
  if ((device.features & UblkFeature.UPDATE_SIZE) === 0n) {
    throw new UmpathError("host-lacks", `Cannot resize ${device.blockPath}: this kernel's ublk driver cannot`, {
      hint: "It keeps its size until it is detached and attached again; Linux 6.16 or later can resize it",
    });
  }
  const step = deviceStep("UPDATE_SIZE", device, { data0: sectors(device, geometry) });
  const { result } = yield step;
  if (result < 0) throw stepError(step, result, device.blockPath);
}

function sectors(device: UblkDevice, geometry: Geometry): bigint {
  try {
    return deviceSectors(geometry);
  } catch (cause) {
    if (!(cause instanceof ParameterError)) throw cause;
    throw new UmpathError("refused", `Cannot resize ${device.blockPath}: ${cause.message}`, { cause });
  }
}
