/** Words for a volume that only this host understands: links to its device, partitions of it, and where it is mounted. */

/** What the daemon knows a volume by: a word that leads to a device becomes the name of the whole device. */
export function volumeWord(word: string, sysDevPath = "/sys/dev/block"): string {
  const isPath = word.includes("/");
  if (!isPath && !/^(loop|ublkb)\d+p\d+$/.test(word)) return word;
  try {
    const path = Deno.realPathSync(isPath ? word : `/dev/${word}`);
    const info = Deno.statSync(path);
    if (info.isBlockDevice) return wholeDevice(deviceNumber(info.rdev ?? 0), sysDevPath) ?? path;
    return info.isDirectory ? mountedAt(path, sysDevPath) ?? word : word;
  } catch {
    return word;
  }
}

/** Major and minor number as in /sys/dev/block (makedev(3)). */
function deviceNumber(rdev: number): string {
  const number = BigInt(rdev);
  const major = ((number >> 8n) & 0xfffn) | ((number >> 32n) & ~0xfffn);
  const minor = (number & 0xffn) | ((number >> 12n) & ~0xffn);
  return `${major}:${minor}`;
}

/** The device that a device is, or is a partition of; null if the kernel has no such device. */
function wholeDevice(number: string, sysDevPath: string): string | null {
  try {
    const folder = Deno.realPathSync(`${sysDevPath}/${number}`);
    const names = folder.split("/");
    return `/dev/${isThere(`${folder}/partition`) ? names.at(-2) : names.at(-1)}`;
  } catch {
    return null;
  }
}

/** The device of the file system that is mounted there, the last if several are; null if none is. */
function mountedAt(folder: string, sysDevPath: string): string | null {
  const mount = mountsIn(mountTable()).findLast(({ at }) => at === folder);
  if (mount === undefined) return null;
  // Some file systems have numbers of their own, and name their device.
  const named = mount.source.startsWith("/dev/") ? volumeWord(mount.source, sysDevPath) : null;
  return wholeDevice(mount.number, sysDevPath) ?? named;
}

/** Empty where the kernel does not show it. */
function mountTable(): string {
  try {
    return Deno.readTextFileSync("/proc/self/mountinfo");
  } catch {
    return "";
  }
}

/** Mounts as the kernel lists them (proc_pid_mountinfo(5)). */
export function mountsIn(text: string): { number: string; at: string; source: string }[] {
  return text.split("\n").flatMap((line) => {
    const words = line.split(" ");
    const dash = words.indexOf("-");
    if (dash < 6) return [];
    return [{ number: words[2]!, at: unescaped(words[4]!), source: unescaped(words[dash + 2] ?? "") }];
  });
}

function unescaped(word: string): string {
  return word.replace(/\\([0-7]{3})/g, (_, octal) => String.fromCharCode(parseInt(octal, 8)));
}

function isThere(path: string): boolean {
  try {
    Deno.lstatSync(path);
    return true;
  } catch {
    return false;
  }
}
