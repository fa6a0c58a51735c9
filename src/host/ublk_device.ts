import { native } from "../../ffi/library.ts";
import { REQUEST_BYTES_MAX } from "../base/limits.ts";
import { createDevice, destroyDevice, resizeDevice, type UblkDevice } from "../ublk/control.ts";
import { type DeviceNote, forgetDevice, ownNote, writeNote } from "./device_record.ts";
import type { KernelDevice, VolumeQueues, WantedDevice } from "./kernel_device.ts";
import { type QueueControl, runControl } from "./ublk_driver.ts";

/**
 * Makes a ublk device for a volume. What was made is undone on failure.
 *
 * @throws UmpathError
 */
export async function createUblkDevice(wanted: WantedDevice, volume: VolumeQueues): Promise<KernelDevice> {
  let note: DeviceNote | null = null;
  const forget = () => {
    if (note !== null) forgetDevice(note);
  };
  const sequence = createDevice({
    ...wanted,
    maxIoBytes: REQUEST_BYTES_MAX,
    pid: Deno.pid,
    pageBytes: native().um_page_bytes(),
  });
  const control: QueueControl = {
    startQueues: async ({ device }) => {
      note = ownNote({ driver: "ublk", number: device.devId, volume: wanted.name, isAdded: false });
      writeNote(note);
      await serve(device, volume);
    },
    drainQueues: () => volume.drain(),
  };
  try {
    const device = await runControl(sequence, control);
    return {
      driver: "ublk",
      path: device.blockPath,
      resize: (geometry) => runControl(resizeDevice(device, geometry), control),
      destroy: async (options) => {
        const warnings = await runControl(destroyDevice(device, options), control);
        forget();
        return warnings;
      },
    };
  } catch (error) {
    forget();
    throw error;
  }
}

/** The driver makes no more queues than the host has CPUs, and tells only now. */
async function serve(device: UblkDevice, volume: VolumeQueues): Promise<void> {
  const { queues, depth, charFd, ioctlEncode } = device;
  const feeds = Array.from({ length: queues }, (_, queueId) => ({ ublk: { charFd, queueId, ioctlEncode } }));
  await volume.serve({ queues, depth, requestBytes: REQUEST_BYTES_MAX }, feeds);
}
