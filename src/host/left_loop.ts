import { removeStaleLoop, type StaleLoop } from "../loopdev/stale_device.ts";
import { unescaped } from "./device_users.ts";
import type { LeftDevice } from "./left_devices.ts";
import { loopFolder } from "./loop_device.ts";
import { runLoop } from "./loop_driver.ts";
import type { RunDir } from "./run_dir.ts";

/** What the kernel and the run folder tell of loop devices. */
export interface LoopTraces {
  /** Names of the plain files in the folder. */
  files: readonly string[];
  /** The lines of /proc/self/mountinfo. */
  mountinfo: string;
  /** The files that loop devices are bound to, by device. */
  backingFiles: ReadonlyMap<string, string>;
}

/** Type of the file systems that loop devices are over. */
const FILE_SYSTEM = "fuse.umpath";

/** The loop devices, mounts and files that a daemon which died has left. */
export function leftLoopDevices(dir: RunDir): LeftDevice[] {
  const folder = realPath(loopFolder(dir));
  if (folder === null) return [];
  return staleLoops(folder, readTraces(folder)).map((stale) => ({
    name: stale.filePath.slice(folder.length + 1),
    device: stale.devices[0] ?? null,
    remove: async () => {
      const remarks = await runLoop(removeStaleLoop(stale));
      return stale.isMounted || stale.devices.length > 0 ? remarks : null;
    },
  }));
}

/** What there is of files in `folder`, which has no symbolic link in its path: the kernel writes none. */
export function staleLoops(folder: string, { files, mountinfo, backingFiles }: LoopTraces): StaleLoop[] {
  const mounts = new Set(fileSystems(mountinfo));
  const paths = new Set([...files.map((name) => `${folder}/${name}`), ...mounts, ...backingFiles.values()]);
  return [...paths].filter((path) => isIn(folder, path)).sort().map((filePath) => ({
    filePath,
    isMounted: mounts.has(filePath),
    devices: [...backingFiles].filter(([, file]) => file === filePath).map(([device]) => device).sort(),
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

function readTraces(folder: string): LoopTraces {
  return {
    files: [...Deno.readDirSync(folder)].filter((entry) => entry.isFile).map((entry) => entry.name),
    mountinfo: Deno.readTextFileSync("/proc/self/mountinfo"),
    backingFiles: readBackingFiles(),
  };
}

function readBackingFiles(): Map<string, string> {
  const found = new Map<string, string>();
  for (const { name } of Deno.readDirSync("/sys/block")) {
    if (!/^loop\d+$/.test(name)) continue;
    try {
      found.set(`/dev/${name}`, Deno.readTextFileSync(`/sys/block/${name}/loop/backing_file`).replace(/\n$/, ""));
    } catch {
      continue; // it is bound to nothing
    }
  }
  return found;
}

function realPath(path: string): string | null {
  try {
    return Deno.realPathSync(path);
  } catch {
    return null;
  }
}
