/**
 * Notes in the run folder: which devices a daemon has in the kernel, one file each. A note is there before its device
 * and goes when nothing is left of the device, so that whoever comes after a daemon knows what it has left.
 */
import { errnoWords } from "../../base/errno.ts";
import { messageOf, UmpathError } from "../../base/errors.ts";
import { logger } from "../../base/log.ts";
import { quote } from "../../base/text.ts";
import type { DeviceDriver } from "../../rpc/host_api.ts";
import { folderEntries } from "../../io/folder_entries.ts";
import { ownIdentity, type ProcessIdentity } from "../../io/process_identity.ts";
import { errnoOf } from "../../io/run_sequence.ts";
import { type RunDir, runDir } from "../../rpc/run_dir.ts";

const log = logger("device");

/** Drivers that have devices in the kernel. */
export type KernelDriver = Exclude<DeviceDriver, "none">;

/** Numbers as they are written, so that a note is read under the name that it was found by. */
const NOTE = /^(ublk|loop)-(0|[1-9]\d{0,8})$/;
/** On the last line: the number was added for this device, and is to be removed with it. */
const ADDED = "added";
/** On the last line: the device was taken away, although it was in use. */
const DETACHED = "detached";

/** What a daemon notes of a device. */
export interface DeviceNote {
  driver: KernelDriver;
  /** N of its node. */
  number: number;
  /** Of the volume; empty in a note without. */
  volume: string;
  /** The daemon that has it, or had it. */
  owner: ProcessIdentity;
  /** The kernel's sequence number of the disk; null until it is known, and in notes of old. */
  sequence: string | null;
  /** The boot that the numbers are of; null in notes of old. */
  boot: string | null;
  /** The number was added for this device, and is to be removed with it. */
  isAdded: boolean;
  /** It was taken away although it was in use: it is there until its last user closes it. */
  isDetached: boolean;
}

/** The node of the device that is noted. */
export function notedDevice({ driver, number }: Pick<DeviceNote, "driver" | "number">): string {
  return driver === "ublk" ? `/dev/ublkb${number}` : `/dev/loop${number}`;
}

/** A note of this process. */
export function ownNote(
  device: Pick<DeviceNote, "driver" | "number" | "volume" | "isAdded">,
): DeviceNote {
  return { ...device, owner: ownIdentity(), boot: bootId(), sequence: null, isDetached: false };
}

/**
 * Writes the note, in the place of an earlier one.
 *
 * @throws UmpathError "host-lacks" if the run folder takes none.
 */
export function writeNote(note: DeviceNote, dir = runDir()): void {
  const { volume, owner, sequence, boot } = note;
  const flags = [note.isAdded ? ADDED : "", note.isDetached ? DETACHED : ""].filter((word) => word !== "").join(" ");
  const lines = [owner.pid, volume, owner.start ?? "", sequence ?? "", boot ?? "", flags];
  const path = notePath(dir, note);
  try {
    Deno.writeTextFileSync(`${path}.new`, `${lines.join("\n")}\n`);
    Deno.renameSync(`${path}.new`, path);
  } catch (error) {
    removeFile(`${path}.new`);
    const why = errnoWords(errnoOf(error));
    throw new UmpathError("host-lacks", `Cannot note ${notedDevice(note)} in run folder ${quote(dir.path)}: ${why}`, {
      hint: "Make room there, or set UMPATH_RUN_DIR to another folder",
      cause: error,
    });
  }
}

/**
 * Notes that the device was taken away although it is in use. The device is gone in any case: that nobody can be told of
 * it later ends nothing.
 */
export function noteDetached(note: DeviceNote, dir = runDir()): void {
  try {
    writeNote({ ...note, isDetached: true }, dir);
  } catch (error) {
    log.warn(`${messageOf(error)}: umpath list will not show it`);
  }
}

/** Nothing is left of the device. */
export function forgetDevice(device: Pick<DeviceNote, "driver" | "number">, dir = runDir()): void {
  removeFile(notePath(dir, device));
}

/** The notes in the run folder, in the order of their devices. */
export async function readNotes(dir: RunDir): Promise<DeviceNote[]> {
  const notes: DeviceNote[] = [];
  for (const { name } of await folderEntries(dir.path)) {
    const [, driver, number] = NOTE.exec(name) ?? [];
    if (driver === undefined) continue;
    const text = await textOf(`${dir.path}/${name}`);
    if (text !== null) notes.push(parseNote({ driver: driver as KernelDriver, number: Number(number) }, text));
  }
  return notes.sort((a, b) => a.driver.localeCompare(b.driver) || a.number - b.number);
}

function parseNote(device: Pick<DeviceNote, "driver" | "number">, text: string): DeviceNote {
  const [pid = "", volume = "", start = "", sequence = "", boot = "", flags = ""] = text.split("\n");
  const words = flags.split(" ");
  return {
    ...device,
    volume,
    owner: { pid: Number(pid), start: start || null },
    sequence: sequence || null,
    boot: boot || null,
    isAdded: words.includes(ADDED),
    isDetached: words.includes(DETACHED),
  };
}

/** True if that very note is still there: the number may have been given to another device meanwhile. */
export function isNoted(note: DeviceNote, dir: RunDir): boolean {
  try {
    const now = parseNote(note, Deno.readTextFileSync(notePath(dir, note)));
    const { owner, sequence, isDetached } = note;
    return now.owner.pid === owner.pid && now.owner.start === owner.start && now.sequence === sequence &&
      now.isDetached === isDetached;
  } catch {
    return false;
  }
}

/** Which boot of this host it is. */
export function bootId(): string | null {
  try {
    return Deno.readTextFileSync("/proc/sys/kernel/random/boot_id").trim();
  } catch {
    return null;
  }
}

/** Null if its daemon lives and has just forgotten the device. */
async function textOf(path: string): Promise<string | null> {
  try {
    return await Deno.readTextFile(path);
  } catch {
    return null;
  }
}

function removeFile(path: string): void {
  try {
    Deno.removeSync(path);
  } catch {
    return; // It is gone: that is what was wanted.
  }
}

function notePath(dir: RunDir, { driver, number }: Pick<DeviceNote, "driver" | "number">): string {
  return `${dir.path}/${driver}-${number}`;
}
