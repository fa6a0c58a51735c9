import { native } from "../../../ffi/library.ts";
import { REQUEST_BYTES_MAX } from "../../base/limits.ts";
import { createDevice, destroyDevice, resizeDevice, type UblkDevice } from "../../ublk/control.ts";
import { type DeviceNote, forgetDevice, noteDetached, ownNote, writeNote } from "./device_record.ts";
import { deviceUseWords } from "../../io/device_users.ts";
import { diskSequence, setDiskReadOnly } from "../../io/disk_sequence.ts";
import type { KernelDevice, VolumeQueues, WantedDevice } from "./kernel_device.ts";
import { type QueueControl, runControl } from "./ublk_driver.ts";

/**
 * Makes a ublk device for a volume. What was made is undone on failure.
 *
 * @throws UmpathError
 */
export async function createUblkDevice(wanted: WantedDevice, volume: VolumeQueues): Promise<KernelDevice> {
  let note: DeviceNote | null = null;
  const sequence = createDevice({
    ...wanted,
    maxIoBytes: REQUEST_BYTES_MAX,
    pid: Deno.pid,
    serial: nextSerial++,
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
    try {
      return await madeDevice(device, { control, note: note!, isReadOnly: wanted.geometry.readOnly });
    } catch (error) {
      await runControl(destroyDevice(device, { force: true }), control);
      throw error;
    }
  } catch (error) {
    if (note !== null) await forgetOrKeep(note);
    throw error;
  }
}

/** What could not be undone is left to whoever comes next. */
async function forgetOrKeep(note: DeviceNote): Promise<void> {
  try {
    await Deno.lstat(`/sys/class/ublk-char/ublkc${note.number}`);
  } catch {
    return forgetDevice(note);
  }
  noteDetached(note);
}

/** Other devices of this process are told apart from this one by a serial number. */
let nextSerial = 0;

async function madeDevice(
  device: UblkDevice,
  { control, note, isReadOnly }: { control: QueueControl; note: DeviceNote; isReadOnly: boolean },
): Promise<KernelDevice> {
  const path = device.blockPath;
  const sequence = await diskSequence(path);
  const noted = { ...note, sequence };
  writeNote(noted);
  return {
    driver: "ublk",
    path,
    endWords: ", as when its driver goes",
    lack: () => ublkLack(path, sequence),
    setReadOnly: async (readOnly) => {
      if (sequence !== null) await setDiskReadOnly({ path, sequence, isReadOnly }, readOnly);
    },
    resize: (geometry) => runControl(resizeDevice(device, geometry), control),
    destroy: async ({ force }) => {
      const warnings = await runControl(destroyDevice(device, { force }), control);
      // Its number is not free before its last user has closed it.
      if (force && await deviceUseWords(path) !== null) noteDetached(noted);
      else forgetDevice(noted);
      return warnings;
    },
  };
}

/** Why a ublk device is not the one that was started. */
async function ublkLack(path: string, sequence: string | null): Promise<string | null> {
  const now = await diskSequence(path);
  if (now === sequence) return null;
  return `another program has stopped ${path}${now === null ? "" : ", which is another device by now"}`;
}

/** The driver makes no more queues than the host has CPUs, and tells only now. */
async function serve(device: UblkDevice, volume: VolumeQueues): Promise<void> {
  const { queues, depth, charFd, ioctlEncode } = device;
  const feeds = Array.from({ length: queues }, (_, queueId) => ({ ublk: { charFd, queueId, ioctlEncode } }));
  await volume.serve({ queues, depth, requestBytes: REQUEST_BYTES_MAX }, feeds);
}
