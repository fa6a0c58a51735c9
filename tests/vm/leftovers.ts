/** What umpath could leave behind on a host: devices, processes, connections, mounts. */
import { umpathBinary, umpathRunDir } from "./process.ts";

/** States of /proc/net/tcp in which a connection is nobody's any more: TIME_WAIT, CLOSE, and LAST_ACK. */
const TCP_OVER = ["06", "07", "09"];
/** The host has closed and been acknowledged; the target may take up to a minute, or for ever, to close too. */
const TCP_FIN_WAIT2 = "05";
/** The inode of a connection that no process has open any more. */
const NO_INODE = "0";
const NVME_PORT = 4420;

/** Device nodes of ublk devices, block and character. */
export function ublkNodes(): string[] {
  return [...Deno.readDirSync("/dev")].map((entry) => entry.name).filter((name) => /^ublk[bc]\d+$/.test(name)).sort();
}

/** Processes that run the binary under test, with their arguments; zombies do not count. */
export function umpathProcesses(): { pid: number; args: string[] }[] {
  const found: { pid: number; args: string[] }[] = [];
  for (const entry of Deno.readDirSync("/proc")) {
    const pid = Number(entry.name);
    if (!Number.isInteger(pid)) continue;
    const [program = "", ...args] = commandLine(pid);
    if (program.replace("/./", "/") === umpathBinary()) found.push({ pid, args });
  }
  return found;
}

/** A process that has ended has no command line, even while it is a zombie. */
function commandLine(pid: number): string[] {
  try {
    return Deno.readTextFileSync(`/proc/${pid}/cmdline`).split("\0").slice(0, -1);
  } catch {
    return [];
  }
}

/** Mounted file systems that are on a ublk device: device and folder. */
export function ublkMounts(): { device: string; folder: string }[] {
  return Deno.readTextFileSync("/proc/mounts").split("\n")
    .map((line) => line.split(" "))
    .filter(([device]) => /^\/dev\/ublkb\d+/.test(device ?? ""))
    .map(([device, folder]) => ({ device: device!, folder: folder! }));
}

/** TCP connections to the port of an NVMe/TCP target, from the host's end, as "address state". */
export function nvmeConnections(port: number = NVME_PORT): string[] {
  const rows = Deno.readTextFileSync("/proc/net/tcp").trim().split("\n").slice(1).map((row) => row.trim().split(/\s+/));
  const wanted = port.toString(16).toUpperCase().padStart(4, "0");
  return rows.filter(([, , remote]) => remote!.endsWith(`:${wanted}`))
    .filter(([, , , state, , , , , , inode]) => !isOver(state!, inode!))
    .map(([, local, remote, state]) => `${local} to ${remote} in state ${state}`);
}

function isOver(state: string, inode: string): boolean {
  return TCP_OVER.includes(state) || (state === TCP_FIN_WAIT2 && inode === NO_INODE);
}

/** Processes that have a ublk block device open, save umpath itself. */
export function ublkUsers(): number[] {
  const own = new Set(umpathProcesses().map(({ pid }) => pid));
  const pids: number[] = [];
  for (const entry of Deno.readDirSync("/proc")) {
    const pid = Number(entry.name);
    if (Number.isInteger(pid) && !own.has(pid) && hasUblkOpen(pid)) pids.push(pid);
  }
  return pids;
}

function hasUblkOpen(pid: number): boolean {
  try {
    for (const fd of Deno.readDirSync(`/proc/${pid}/fd`)) {
      if (Deno.readLinkSync(`/proc/${pid}/fd/${fd.name}`).startsWith("/dev/ublkb")) return true;
    }
  } catch {
    // It has ended, or is a kernel thread.
  }
  return false;
}

/** Files in the run folder that only a daemon with a device has: its records of devices. */
export function deviceRecords(): string[] {
  try {
    return [...Deno.readDirSync(umpathRunDir())].map((entry) => entry.name).filter((name) => /^ublk-/.test(name));
  } catch {
    return [];
  }
}

/** Everything that is left, in words; nothing if all is clean. A daemon without volumes is allowed for `daemonPid`. */
export function leftovers(daemonPid: number | null): string[] {
  const processes = umpathProcesses().filter(({ pid }) => pid !== daemonPid);
  return [
    ...ublkMounts().map(({ device, folder }) => `${device} is mounted on ${folder}`),
    ...ublkNodes().map((name) => `/dev/${name} is there`),
    ...deviceRecords().map((name) => `${umpathRunDir()}/${name} is there`),
    ...processes.map(({ pid, args }) => `process ${pid} runs: umpath ${args.join(" ")}`),
    ...nvmeConnections().map((words) => `connection ${words}`),
  ];
}
