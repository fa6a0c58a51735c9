import { native } from "../../../ffi/library.ts";
import { assert } from "../../base/assert.ts";
import { errnoWords } from "../../base/errno.ts";
import { UmpathError } from "../../base/errors.ts";
import { LOOP_REQUEST_BYTES } from "../../base/limits.ts";
import { logger } from "../../base/log.ts";
import { createLoopDevice } from "../../loopdev/create_device.ts";
import type { LoopDevice } from "../../loopdev/device.ts";
import { resizeLoopDevice } from "../../loopdev/resize_device.ts";
import { destroyLoopDevice } from "../../loopdev/retire_device.ts";
import { forgetDevice, noteDetached, ownNote, writeNote } from "./device_record.ts";
import { diskSequence, setDiskReadOnly } from "../../io/disk_sequence.ts";
import type { KernelDevice, VolumeQueues, WantedDevice } from "./kernel_device.ts";
import { type LoopQueues, runLoop } from "./loop_driver.ts";
import { runDir } from "../../rpc/run_dir.ts";

const log = logger("loop");

/** The folder of the files that loop devices are over. Whatever is in there belongs to the daemon of the run folder. */
export function loopFolder(dir = runDir()): string {
  return `${dir.path}/loop`;
}

/** What the file of a volume is called there. */
export function loopFileName(volume: string): string {
  return volume.replace(/[^A-Za-z0-9._-]/g, "-");
}

/**
 * Makes a loop device for a volume, over a file that the workers serve through FUSE. What was made is undone on failure.
 *
 * @throws UmpathError
 */
export async function createVolumeLoop(wanted: WantedDevice, volume: VolumeQueues): Promise<KernelDevice> {
  const { geometry, queues, depth } = wanted;
  const clones: number[] = [];
  const control: LoopQueues = {
    start: async ({ device }) => {
      for (let queue = 0; queue < queues; queue++) clones.push(cloneOf(device));
      const shape = { queues, depth, requestBytes: LOOP_REQUEST_BYTES };
      await volume.serve(shape, clones.map((fd) => ({ ublk: null, fuse: { fd } })));
    },
    drain: () => volume.drain(),
    close: () => {
      for (const fd of clones.splice(0)) native().um_close(fd);
    },
    note: ({ device, isDetached }) => {
      const { number, sequence, isAdded } = device;
      const note = { ...ownNote({ driver: "loop", number, volume: wanted.name, isAdded }), sequence };
      if (isDetached) noteDetached(note);
      else writeNote(note);
    },
    forget: ({ device: { number } }) => forgetDevice({ driver: "loop", number }),
  };
  const { device, warnings } = await runLoop(
    createLoopDevice({
      geometry,
      filePath: `${loopFolder()}/${loopFileName(wanted.name)}`,
      requestBytes: LOOP_REQUEST_BYTES,
      requestsMax: queues * depth,
      pageBytes: native().um_page_bytes(),
    }),
    control,
  );
  for (const warning of warnings) log.warn(`${wanted.name}: ${warning}`);
  const { blockPath: path, sequence } = device;
  assert(sequence !== null, "A device that is bound has a sequence number");
  return {
    driver: "loop",
    path,
    endWords: ", as when its FUSE connection is aborted",
    lack: () => loopLack({ path, sequence }),
    setReadOnly: (readOnly) => setDiskReadOnly({ path, sequence, isReadOnly: geometry.readOnly }, readOnly),
    resize: (geometry) => runLoop(resizeLoopDevice(device, geometry), control),
    destroy: (options) => runLoop(destroyLoopDevice(device, options), control),
  };
}

/** Why a loop device is not the one that was bound. */
async function loopLack({ path, sequence }: { path: string; sequence: string }): Promise<string | null> {
  const now = await diskSequence(path);
  if (now === sequence) return null;
  if (now === null) return `another program has removed ${path}`;
  const isBound = await backingFile(path) !== null;
  return `another program has unbound ${path}${isBound ? ", which is bound to another file by now" : ""}`;
}

/** The file that a loop device is over; null if it is bound to nothing. */
export async function backingFile(path: string): Promise<string | null> {
  try {
    const text = await Deno.readTextFile(`/sys/block/${path.slice("/dev/".length)}/loop/backing_file`);
    return text.replace(/\n$/, "");
  } catch {
    return null;
  }
}

/** A descriptor of the file system for one worker. */
function cloneOf(device: LoopDevice): number {
  const fd = native().um_fuse_clone(device.fuseFd);
  if (fd >= 0) return fd;
  throw new UmpathError("host-lacks", `Cannot open the FUSE driver once more: ${errnoWords(fd)}`);
}
