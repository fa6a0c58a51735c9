/** Who besides this target uses a file or a block device: what serves it twice damages it. */
import { listWords, quote } from "../base/text.ts";
import { deviceUseWords } from "../io/device_users.ts";

/** Where the kernel tells of its block devices; tests have a folder of their own. */
const SYS = "/sys";

/** A file or a device node as the kernel knows it, whatever its name. */
export interface FileNumbers {
  readonly dev: number;
  readonly ino: number | null;
}

/** `major:minor` of a device node, as folders in /sys/dev/block are named. */
export function deviceNumbers(rdev: number): string {
  // The layout of dev_t (makedev(3)), without bit operations on what may have more than 32 bits.
  const low = rdev % 2 ** 32;
  const major = Math.floor(low / 256) % 4096;
  const minor = (low % 256) + Math.floor(low / 2 ** 20) * 256;
  return `${major}:${minor}`;
}

/** How a block device is used that cannot be opened exclusively: "is mounted on "/mnt"", "is held by dm-0 (vg-data)". */
export async function blockDeviceUse(path: string): Promise<string> {
  return await deviceUseWords(realPath(path)) ?? "is mounted, or held by another device or program";
}

/** The loop devices of this host that have the file behind them: "/dev/loop3". */
export function loopsOver(file: FileNumbers & { path: string }, sys = SYS): string[] {
  return names(`${sys}/block`).filter((name) => /^loop\d+$/.test(name)).filter((name) => {
    const backing = backingFile(`${sys}/block/${name}`);
    return backing !== null && isSame(backing, file);
  }).map((name) => `/dev/${name}`);
}

/** The file behind the loop device with that number; null for another device, or a loop device that has none. */
export function fileBehind(rdev: number, sys = SYS): string | null {
  return backingFile(`${sys}/dev/block/${deviceNumbers(rdev)}`);
}

/** A partition's folder is inside that of its device. */
function backingFile(folder: string): string | null {
  return read(`${folder}/loop/backing_file`) ?? read(`${folder}/../loop/backing_file`);
}

function isSame(backing: string, { path, dev, ino }: FileNumbers & { path: string }): boolean {
  try {
    const info = Deno.statSync(backing);
    return info.dev === dev && info.ino === ino;
  } catch {
    // It may have another name in this mount namespace, or none any more.
    return backing === realPath(path);
  }
}

/** The path without symbolic links, or as it is if that cannot be told. */
export function realPath(path: string): string {
  try {
    return Deno.realPathSync(path);
  } catch {
    return path;
  }
}

function names(folder: string): string[] {
  try {
    return [...Deno.readDirSync(folder)].map(({ name }) => name).sort();
  } catch {
    return [];
  }
}

/** What a file of /sys says; null if there is no such file, or nothing in it. */
function read(path: string): string | null {
  try {
    return Deno.readTextFileSync(path).trim() || null;
  } catch {
    return null;
  }
}

/** "is behind /dev/loop3" */
export function loopWords(loops: readonly string[]): string {
  return `is behind ${listWords(loops)}`;
}

/** What to do about a device or file that is in use. */
export function releaseHint(path: string): string {
  return `Release ${quote(path)} first, or serve it with --read-only`;
}
