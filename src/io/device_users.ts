/**
 * Who uses a device, as /proc and /sys tell. The device itself is never opened: this process may be the one that serves
 * it, and an open waits for I/O. Whatever is read here is read off the main thread.
 */
import { native } from "../../ffi/library.ts";
import { cString } from "../../ffi/result.ts";
import { listWords, quote } from "../base/text.ts";
import { formatDuration } from "../base/units.ts";
import { pause } from "./run_sequence.ts";

/** How long a search may take: a host has any number of processes. Milliseconds. */
const SEARCH_MS_MAX = 20_000;
/** Those that are named. */
const USERS_MAX = 64;
/** Processes that are looked at at the same time. */
const LOOKS_MAX = 16;
/** Others open a device for a moment: udev, mkfs, whoever looks for a free loop device. Milliseconds. */
const MOMENT_MS = 300;
const MOMENT_POLL_MS = 50;

/** A process that has a device open. */
export interface DeviceUser {
  pid: number;
  /** Its name, as the kernel has it. */
  name: string;
}

/** Where the kernel tells of its processes and devices; a test has its own. */
export interface KernelFolders {
  proc: string;
  sys: string;
}

const KERNEL: KernelFolders = Object.freeze({ proc: "/proc", sys: "/sys" });

/** A device with its partitions, as the kernel names them. */
interface Names {
  device: string;
  /** `loop3`, and `loop3p1` and so on. */
  disks: string[];
  /** `major:minor` of each. */
  numbers: Set<string>;
}

/** How `device` is used, or may be, as in "is mounted on "/mnt""; null if it is not. */
export async function deviceUseWords(device: string, kernel = KERNEL): Promise<string | null> {
  const over = new AbortController();
  const timer = setTimeout(() => over.abort(), SEARCH_MS_MAX);
  try {
    return await Promise.race([findUse(device, kernel, over.signal), aborted(over.signal)]);
  } finally {
    clearTimeout(timer);
    over.abort();
  }
}

/** The same, but a user that is gone again within 300 ms is none. */
export async function lastingUseWords(device: string, momentMs = MOMENT_MS): Promise<string | null> {
  let words = await deviceUseWords(device);
  for (const end = Date.now() + momentMs; words !== null && Date.now() < end;) {
    await pause(MOMENT_POLL_MS);
    words = await deviceUseWords(device);
  }
  return words;
}

/** Where `device` or a partition of it is mounted. */
export async function mountsOf(device: string, kernel = KERNEL): Promise<string[]> {
  return mountFolders(await textOf(`${kernel.proc}/self/mountinfo`), await namesOf(device, kernel));
}

/** The cheap looks come first, and what says most. */
async function findUse(device: string, kernel: KernelFolders, over: AbortSignal): Promise<string | null> {
  const names = await namesOf(device, kernel);
  const folders = mountFolders(await textOf(`${kernel.proc}/self/mountinfo`), names);
  if (folders.length > 0) return `is mounted on ${listWords(folders.map(quote))}`;
  if (isSwap(await textOf(`${kernel.proc}/swaps`), device)) return "is used as swap space";
  const holders = await holdersOf(names, kernel);
  if (holders.length > 0) return `is held by ${listWords(holders)}`;
  const elsewhere = await mountElsewhere(names, kernel, over);
  if (elsewhere !== null) return elsewhere;
  const users = await deviceUsers(device, kernel);
  return users.length === 0 ? null : `is open in ${listWords(users.map(processWords))}`;
}

function processWords({ name, pid }: DeviceUser): string {
  return `${name} (process ${pid})`;
}

async function namesOf(device: string, { sys }: KernelFolders): Promise<Names> {
  const disk = device.slice(device.lastIndexOf("/") + 1);
  const inside = (await namesIn(`${sys}/block/${disk}`)).filter((name) => isOf(disk, name));
  const disks = [disk, ...inside];
  const numbers = new Set<string>();
  for (const [i, name] of disks.entries()) {
    const number = await textOf(`${sys}/block/${disk}${i === 0 ? "" : `/${name}`}/dev`);
    if (number !== "") numbers.add(number.trim());
  }
  return { device, disks, numbers };
}

// ── mounts and swap ─────────────────────────────────────────────────────────────────────────────────────────────────

/** Where a device or a partition of it is mounted, according to the lines of a mountinfo (proc(5)). */
export function mountFolders(mountinfo: string, { device, numbers }: Pick<Names, "device" | "numbers">): string[] {
  return mountinfo.split("\n").map((line) => line.split(" "))
    .filter((fields) => fields.length > 6)
    .filter((fields) => numbers.has(fields[2]!) || isOf(device, unescaped(fields[fields.indexOf("-", 6) + 2] ?? "")))
    .map((fields) => unescaped(fields[4]!));
}

/** A path of a table of mounts as it is: the kernel writes blanks and backslashes in octal. */
export function unescaped(folder: string): string {
  return folder.replace(/\\([0-7]{3})/g, (_, octal) => String.fromCharCode(parseInt(octal, 8)));
}

function isSwap(swaps: string, device: string): boolean {
  return swaps.split("\n").some((line) => isOf(device, unescaped(line.split(/\s/)[0]!)));
}

/** A mount in another mount namespace, as a container has it: one process of each is asked. */
async function mountElsewhere({ device, numbers }: Names, kernel: KernelFolders, over: AbortSignal) {
  const { proc } = kernel;
  const seen = new Set([await linkOf(`${proc}/self/ns/mnt`)]);
  let found: string | null = null;
  await forEachProcess(kernel, over, async (pid) => {
    if (found !== null) return;
    const namespace = await linkOf(`${proc}/${pid}/ns/mnt`);
    if (namespace === "" || seen.has(namespace)) return;
    const mountinfo = await textOf(`${proc}/${pid}/mountinfo`);
    if (mountinfo === "") return;
    seen.add(namespace);
    const folders = mountFolders(mountinfo, { device, numbers });
    if (folders.length === 0) return;
    const who = processWords({ pid, name: await nameOf(proc, pid) });
    found ??= `is mounted on ${listWords(folders.map(quote))} in the mount namespace of ${who}`;
  });
  return found as string | null;
}

// ── other devices ───────────────────────────────────────────────────────────────────────────────────────────────────

/** What the kernel has built on the device: device mapper and md, which it names as holders, and loop devices. */
async function holdersOf({ device, disks }: Names, { sys }: KernelFolders): Promise<string[]> {
  const holders: string[] = [];
  for (const [i, name] of disks.entries()) {
    const folder = `${sys}/block/${disks[0]}${i === 0 ? "" : `/${name}`}/holders`;
    for (const holder of await namesIn(folder)) holders.push(await holderWords(sys, holder));
  }
  for (const loop of await namesIn(`${sys}/block`)) {
    if (!/^loop\d+$/.test(loop)) continue;
    const file = (await textOf(`${sys}/block/${loop}/loop/backing_file`)).replace(/\n$/, "");
    if (file !== "" && isOf(device, file)) holders.push(`/dev/${loop}`);
  }
  return holders;
}

/** A device of the device mapper is known by the name that it was given. */
async function holderWords(sys: string, holder: string): Promise<string> {
  const name = (await textOf(`${sys}/block/${holder}/dm/name`)).trim();
  return name === "" ? holder : `${holder} (${name})`;
}

// ── processes ───────────────────────────────────────────────────────────────────────────────────────────────────────

/** The processes that have `device` or a partition of it open, other than this one, as far as /proc shows them to us. */
export async function deviceUsers(device: string, { proc } = KERNEL): Promise<DeviceUser[]> {
  const pids = new Int32Array(USERS_MAX);
  const [folder, path] = [cString(proc), cString(device)];
  const count = await native().um_device_openers(folder, path, new Uint8Array(pids.buffer), pids.length);
  void [folder.length, path.length];
  const found = [...pids.subarray(0, Math.max(count, 0))].sort((a, b) => a - b);
  return await Promise.all(found.map(async (pid) => ({ pid, name: await nameOf(proc, pid) })));
}

/** Processes come and go while /proc is read: one that is gone has nothing open. */
async function forEachProcess({ proc }: KernelFolders, over: AbortSignal, look: (pid: number) => Promise<void>) {
  const pids = (await namesIn(proc)).map(Number).filter(Number.isInteger);
  const next = async () => {
    for (let pid = pids.pop(); pid !== undefined && !over.aborted; pid = pids.pop()) await look(pid);
  };
  await Promise.all(Array.from({ length: LOOKS_MAX }, next));
}

async function nameOf(proc: string, pid: number): Promise<string> {
  return (await textOf(`${proc}/${pid}/comm`)).trim() || "unknown";
}

/** A name that ends in a digit has its partitions behind a "p". */
function isOf(device: string, path: string): boolean {
  return path.startsWith(device) && /^(p\d+)?$/.test(path.slice(device.length));
}

// ── reading ─────────────────────────────────────────────────────────────────────────────────────────────────────────

/** What is to be said once the signal says that it is over: not to find a user does not mean that there is none. */
function aborted(signal: AbortSignal): Promise<string> {
  const words = `may be in use: what uses it was not found within ${formatDuration(SEARCH_MS_MAX)}`;
  return new Promise((resolve) => signal.addEventListener("abort", () => resolve(words), { once: true }));
}

/** The text of a file; empty if there is none to read. */
async function textOf(path: string): Promise<string> {
  try {
    return await Deno.readTextFile(path);
  } catch {
    return "";
  }
}

async function namesIn(folder: string): Promise<string[]> {
  try {
    return (await Array.fromAsync(Deno.readDir(folder))).map(({ name }) => name);
  } catch {
    return [];
  }
}

async function linkOf(path: string): Promise<string> {
  try {
    return await Deno.readLink(path);
  } catch {
    return "";
  }
}
