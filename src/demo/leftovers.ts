/** What the demo could leave behind on a host: processes, mounts, devices, connections, sockets. */
import type { KernelDevice } from "./kernel_device.ts";
import type { Portal } from "./storage.ts";

/** Columns of /proc/net/tcp. A connection whose inode is 0 is nobody's any more: the kernel ends it by itself. */
const TcpColumn = { LOCAL: 1, REMOTE: 2, STATE: 3, INODE: 9 } as const;

/** What the demo has made. */
export interface Traces {
  /** The folder with all its files: mounts and sockets are in it. */
  folder: string;
  /** UMPATH_RUN_DIR of every process that it started. */
  runDir: string;
  device: KernelDevice | null;
  portals: readonly Portal[];
}

/** Everything that is left, in words; nothing if all is clean. The folder itself does not count, sockets in it do. */
export function leftovers({ folder, runDir, device, portals }: Traces): string[] {
  return [
    ...processesOf(runDir).map(({ pid, name }) => `process ${pid} (${name}) runs`),
    ...mountsIn(folder, Deno.readTextFileSync("/proc/self/mountinfo")).map((mount) => `${mount} is mounted`),
    ...loopDevicesOver(folder),
    ...(device === null || device.isGone ? [] : [`${device.path} is there`]),
    ...portals.flatMap((portal) => connectionsOf(portal)),
    ...socketsIn(runDir).map((path) => `socket ${path} is there`),
  ];
}

/** Processes that were started with this run folder, but for this one. Zombies have no environment. */
export function processesOf(runDir: string): { pid: number; name: string }[] {
  const found: { pid: number; name: string }[] = [];
  for (const entry of Deno.readDirSync("/proc")) {
    const pid = Number(entry.name);
    if (!Number.isInteger(pid) || pid === Deno.pid) continue;
    if (read(`/proc/${pid}/environ`).split("\0").includes(`UMPATH_RUN_DIR=${runDir}`)) {
      found.push({ pid, name: read(`/proc/${pid}/comm`).trim() });
    }
  }
  return found;
}

/** Folders and files of `folder` on which something is mounted, from the lines of /proc/self/mountinfo. */
export function mountsIn(folder: string, mountinfo: string): string[] {
  return mountinfo.split("\n").map((line) => line.split(" ")[4] ?? "")
    .filter((point) => point === folder || point.startsWith(`${folder}/`));
}

function loopDevicesOver(folder: string): string[] {
  return [...Deno.readDirSync("/sys/block")].filter(({ name }) => name.startsWith("loop"))
    .map(({ name }) => ({ name, file: read(`/sys/block/${name}/loop/backing_file`).trim() }))
    .filter(({ file }) => file.startsWith(`${folder}/`))
    .map(({ name, file }) => `/dev/${name} is over ${file}`);
}

/** Connections and listeners of a portal, IPv4. */
function connectionsOf({ addr, port }: Portal): string[] {
  return openConnections(read("/proc/net/tcp"), { addr, port })
    .map((words) => `connection ${words} is open`);
}

/** Of the rows of /proc/net/tcp those that end at the portal and are somebody's, in words. */
export function openConnections(table: string, { addr, port }: Portal): string[] {
  const end = `${hexAddress(addr)}:${port.toString(16).toUpperCase().padStart(4, "0")}`;
  return table.trim().split("\n").slice(1).map((row) => row.trim().split(/\s+/))
    .filter((row) => row[TcpColumn.LOCAL] === end || row[TcpColumn.REMOTE] === end)
    .filter((row) => row[TcpColumn.INODE] !== "0")
    .map((row) => `${row[TcpColumn.LOCAL]} to ${row[TcpColumn.REMOTE]} in state ${row[TcpColumn.STATE]}`);
}

/** The kernel prints an IPv4 address as the number that its bytes are in memory. */
function hexAddress(addr: string): string {
  return addr.split(".").reverse().map((part) => Number(part).toString(16).toUpperCase().padStart(2, "0")).join("");
}

function socketsIn(runDir: string): string[] {
  try {
    return [...Deno.readDirSync(runDir)].filter(({ name }) => name.endsWith(".sock"))
      .map(({ name }) => `${runDir}/${name}`);
  } catch {
    return [];
  }
}

/** What is gone meanwhile, and what is not ours, has nothing in it. */
function read(path: string): string {
  try {
    return Deno.readTextFileSync(path);
  } catch {
    return "";
  }
}
