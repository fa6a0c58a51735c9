import { native } from "../../ffi/library.ts";
import { cString } from "../../ffi/result.ts";
import { EBUSY } from "../base/errno.ts";
import { listWords, quote } from "../base/text.ts";

/** A process that has a device open. */
export interface DeviceUser {
  pid: number;
  /** Its name, as the kernel has it. */
  name: string;
}

/** The processes that have `device` or a partition of it open, other than this one, as far as /proc shows them to us. */
export function deviceUsers(device: string): DeviceUser[] {
  const users: DeviceUser[] = [];
  for (const entry of Deno.readDirSync("/proc")) {
    const pid = Number(entry.name);
    if (!Number.isInteger(pid) || pid === Deno.pid || !hasOpen(pid, device)) continue;
    users.push({ pid, name: nameOf(pid) });
  }
  return users;
}

/** How `device` is used, "is open in dd (process 12)", or null if nobody uses it. Opens it, which may need I/O. */
export function deviceUseWords(device: string): string | null {
  const fd = native().um_open_exclusive(cString(device));
  if (fd >= 0) native().um_close(fd);
  return visibleUseWords(device) ?? (fd === -EBUSY ? "is mounted or held by another device" : null);
}

/** The same as far as /proc shows it: another device that holds it is not seen. Does not touch the device. */
export function visibleUseWords(device: string): string | null {
  const folders = mountFolders(Deno.readTextFileSync("/proc/self/mounts"), device);
  if (folders.length > 0) return `is mounted on ${listWords(folders.map(quote))}`;
  const users = deviceUsers(device);
  if (users.length === 0) return null;
  return `is open in ${listWords(users.map((user) => `${user.name} (process ${user.pid})`))}`;
}

/** Where `device` or a partition of it is mounted, according to the lines of /proc/mounts. */
export function mountFolders(mounts: string, device: string): string[] {
  return mounts.split("\n").map((line) => line.split(" "))
    .filter(([source = "", folder]) => folder !== undefined && isOf(device, source))
    .map(([, folder]) => unescaped(folder!));
}

/** A path of a table of mounts as it is: the kernel writes blanks and backslashes in octal. */
export function unescaped(folder: string): string {
  return folder.replace(/\\([0-7]{3})/g, (_, octal) => String.fromCharCode(parseInt(octal, 8)));
}

/** Processes come and go while /proc is read: one that is gone has nothing open. */
function hasOpen(pid: number, device: string): boolean {
  try {
    for (const fd of Deno.readDirSync(`/proc/${pid}/fd`)) {
      if (isOf(device, linkOf(`/proc/${pid}/fd/${fd.name}`))) return true;
    }
    return false;
  } catch {
    return false;
  }
}

/** A name that ends in a digit has its partitions behind a "p". */
function isOf(device: string, path: string): boolean {
  return path.startsWith(device) && /^(p\d+)?$/.test(path.slice(device.length));
}

function linkOf(path: string): string {
  try {
    return Deno.readLinkSync(path);
  } catch {
    return "";
  }
}

function nameOf(pid: number): string {
  try {
    return Deno.readTextFileSync(`/proc/${pid}/comm`).trim();
  } catch {
    return "unknown";
  }
}
