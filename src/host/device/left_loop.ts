import { hostCall } from "../../base/errors.ts";
import { folderEntries } from "../../io/folder_entries.ts";
import { native } from "../../../ffi/library.ts";
import { cString } from "../../../ffi/result.ts";
import { EIO } from "../../base/errno.ts";
import { removeStaleFile, removeStaleLoop } from "../../loopdev/stale_device.ts";
import { bootId, type DeviceNote, forgetDevice, notedDevice, noteDetached, ownNote } from "./device_record.ts";
import { deviceUsers, unescaped } from "../../io/device_users.ts";
import { diskSequence } from "../../io/disk_sequence.ts";
import type { LeftDevice, LeftFate } from "./left_devices.ts";
import { backingFile, loopFileName, loopFolder } from "./loop_device.ts";
import { runLoop } from "./loop_driver.ts";
import type { RunDir } from "../../rpc/run_dir.ts";
import { within } from "../../io/run_sequence.ts";

/** Type of the file systems that loop devices are over. */
const FILE_SYSTEM = "fuse.umpath";
/** What the kernel calls a file that has no path any more, or has one in another mount namespace only. */
const NO_PATH = "/";
/** LO_NAME_SIZE */
const NAME_BYTES = 64;
/** Somebody else's device may be stuck. */
const LOOK_MS_MAX = 1_000;

/** What the kernel and the run folder tell of loop devices. */
export interface LoopTraces {
  /** Names of the plain files in the folder. */
  files: readonly string[];
  /** The lines of /proc/self/mountinfo. */
  mountinfo: string;
  /** The files that loop devices are bound to, by device. */
  backingFiles: ReadonlyMap<string, string>;
}

/** A file that loop devices are over. */
export interface StaleFile {
  path: string;
  isMounted: boolean;
  /** There is one at most, unless one that is in use was left before, or somebody made others by hand. */
  devices: readonly string[];
}

/** The loop devices that are noted in the run folder, and that are there. */
export async function leftNotedLoops(dir: RunDir, notes: readonly DeviceNote[]): Promise<LeftDevice[]> {
  const found = await Promise.all(notes.map(async (note) => ({ note, loop: await notedLoop(dir, note) })));
  return found.flatMap(({ note, loop }) => loop === null ? [] : leftLoop(dir, loop, note));
}

/** The loop devices, mounts and files that a daemon which died has left. */
export async function leftLoopDevices(dir: RunDir, notes: readonly DeviceNote[]): Promise<LeftDevice[]> {
  const folder = await realPath(loopFolder(dir));
  if (folder === null) return await leftNotedLoops(dir, notes);
  const noted = new Map(notes.map((note) => [notedDevice(note), note]));
  const traces = await readTraces(folder, noted);
  const left = await Promise.all(staleFiles(folder, traces).map(async (file) => await leftOver(dir, file, noted)));
  return left.flat();
}

/** What there is of files in `folder`, which has no symbolic link in its path: the kernel writes none. */
export function staleFiles(folder: string, { files, mountinfo, backingFiles }: LoopTraces): StaleFile[] {
  const mounts = new Set(fileSystems(mountinfo));
  const paths = new Set([...files.map((name) => `${folder}/${name}`), ...mounts, ...backingFiles.values()]);
  return [...paths].filter((path) => isIn(folder, path)).sort().map((path) => ({
    path,
    isMounted: mounts.has(path),
    devices: [...backingFiles].filter(([, file]) => file === path).map(([device]) => device).sort(),
  }));
}

/** Where file systems of ours are mounted (proc(5): mount point, options, optional fields, "-", type). */
function fileSystems(mountinfo: string): string[] {
  return mountinfo.split("\n").map((line) => line.split(" "))
    .filter((fields) => fields.length > 6 && fields[fields.indexOf("-", 6) + 1] === FILE_SYSTEM)
    .map((fields) => unescaped(fields[4]!));
}

function isIn(folder: string, path: string): boolean {
  return path.startsWith(`${folder}/`) && !path.includes("/", folder.length + 1);
}

// ── what is left ────────────────────────────────────────────────────────────────────────────────────────────────────

/** A loop device as it is found. */
interface FoundLoop {
  device: string;
  sequence: string;
}

/** The devices over a file, the last of which takes mount and file with it; or these alone. */
async function leftOver(dir: RunDir, file: StaleFile, noted: ReadonlyMap<string, DeviceNote>): Promise<LeftDevice[]> {
  const name = file.path.slice(file.path.lastIndexOf("/") + 1);
  const devices: LeftDevice[] = [];
  for (const device of file.devices) {
    const sequence = await diskSequence(device);
    const note = noted.get(device) ??
      ownNote({ driver: "loop", number: numberOf(device), volume: name, isAdded: false });
    if (sequence !== null) devices.push(leftLoop(dir, { device, sequence }, note));
  }
  const removeFile = () => runLoop(removeStaleFile(file));
  // One that was detached before has lost its file then.
  const last = devices.sort((a, b) => Number(b.isDetached) - Number(a.isDetached)).pop();
  if (last === undefined || last.isDetached) {
    return [...devices, ...last === undefined ? [] : [last], leftFile(name, file.isMounted, removeFile)];
  }
  const remove = async () => {
    const fate = await last.remove();
    await removeFile();
    return fate;
  };
  return [...devices, { ...last, remove }];
}

function leftFile(name: string, isMounted: boolean, removeFile: () => Promise<void>): LeftDevice {
  const remove = async () => {
    await removeFile();
    return isMounted ? "removed" as const : "absent" as const;
  };
  return { name, device: null, driver: "loop", isDetached: false, remove };
}

function leftLoop(dir: RunDir, { device, sequence }: FoundLoop, note: DeviceNote): LeftDevice {
  const { number, isAdded, volume, isDetached } = note;
  const remove = async (): Promise<LeftFate> => {
    const fate = await runLoop(removeStaleLoop({ number, sequence, isAdded }));
    if (fate === "in-use") noteDetached({ ...note, sequence }, dir);
    else forgetDevice(note, dir);
    return fate === "free" ? "removed" : fate === "foreign" ? "absent" : "in-use";
  };
  return { name: volume, device, driver: "loop", isDetached, remove };
}

function numberOf(device: string): number {
  return Number(/\d+$/.exec(device)![0]);
}

// ── looking ─────────────────────────────────────────────────────────────────────────────────────────────────────────

async function readTraces(folder: string, noted: ReadonlyMap<string, DeviceNote>): Promise<LoopTraces> {
  return {
    files: (await folderEntries(folder)).filter((entry) => entry.isFile).map((entry) => entry.name),
    mountinfo: await hostCall("Cannot read the table of mounts", () => Deno.readTextFile("/proc/self/mountinfo")),
    backingFiles: await readBackingFiles(folder, noted),
  };
}

async function readBackingFiles(
  folder: string,
  noted: ReadonlyMap<string, DeviceNote>,
): Promise<Map<string, string>> {
  const found = new Map<string, string>();
  for (const { name } of await folderEntries("/sys/block")) {
    if (!/^loop\d+$/.test(name)) continue;
    const file = await fileOf(`/dev/${name}`, folder, noted.get(`/dev/${name}`));
    if (file !== null) found.set(`/dev/${name}`, file);
  }
  return found;
}

/**
 * The file in `folder` that a loop device is over, or null. The kernel has lost the path of one that was unmounted, or
 * whose mount namespace is gone: then it is the note that tells, or what the device was told that its file is called.
 */
async function fileOf(device: string, folder: string, note: DeviceNote | undefined): Promise<string | null> {
  const sequence = await diskSequence(device);
  const path = await backingFile(device);
  if (sequence === null || path === null) return null;
  if (isIn(folder, path)) return path;
  if (note !== undefined && isNoted(note, sequence)) return `${folder}/${loopFileName(note.volume)}`;
  if (path !== NO_PATH) return null;
  const name = await loopName(device, sequence);
  if (name === null || !isIn(folder, name)) return null;
  return note !== undefined || await isDead(device, sequence) ? name : null;
}

/** The device of a note, if it is there. */
async function notedLoop(dir: RunDir, note: DeviceNote): Promise<FoundLoop | null> {
  const device = notedDevice(note);
  const sequence = await diskSequence(device);
  if (sequence === null || await backingFile(device) === null) return null;
  if (isNoted(note, sequence)) return { device, sequence };
  const name = note.sequence === null ? await loopName(device, sequence) : null;
  return name === `${loopFolder(dir)}/${loopFileName(note.volume)}` ? { device, sequence } : null;
}

function isNoted(note: DeviceNote, sequence: string): boolean {
  return note.sequence === sequence && note.boot === bootId();
}

/** What the device was told that its file is called; null if it does not say so within a second. */
async function loopName(device: string, sequence: string): Promise<string | null> {
  const bytes = new Uint8Array(NAME_BYTES);
  const path = cString(device);
  const call = native().um_loop_name(path, BigInt(sequence), bytes, bytes.length);
  const result = await within(call, { deadlineMs: LOOK_MS_MAX });
  void path.length;
  return result < 0 ? null : new TextDecoder().decode(bytes.subarray(0, bytes.indexOf(0)));
}

/**
 * True if no process serves the device: a run folder of the same path may be another's, in a mount namespace of its own.
 * What is served by a daemon that we see, or takes a read, is not dead.
 */
async function isDead(device: string, sequence: string): Promise<boolean> {
  for (const { pid, name } of await deviceUsers("/dev/fuse")) {
    if (name === "umpath" && await mountNamespace(pid) !== await mountNamespace("self")) return false;
  }
  const path = cString(device);
  const result = await within(native().um_disk_probe(path, BigInt(sequence)), { deadlineMs: LOOK_MS_MAX });
  void path.length;
  return result === -EIO;
}

async function mountNamespace(pid: number | "self"): Promise<string | null> {
  try {
    return await Deno.readLink(`/proc/${pid}/ns/mnt`);
  } catch {
    return null;
  }
}

async function realPath(path: string): Promise<string | null> {
  try {
    return await Deno.realPath(path);
  } catch {
    return null;
  }
}
