/** The control sockets of the targets of this host: one for each, named after its process, in the run folder. */
import { checkRunDir, type RunDir } from "../rpc/run_dir.ts";

const NAME = /^serve-(\d+)\.sock$/;

/** The socket of the target with that process ID. */
export function targetSocketPath(dir: RunDir, pid: number): string {
  return `${dir.path}/serve-${pid}.sock`;
}

/** Process IDs of the targets that have a socket, lowest first, whether they live or not. */
export function targetPids(dir: RunDir): number[] {
  if (!checkRunDir(dir)) return [];
  return [...Deno.readDirSync(dir.path)].map(({ name }) => Number(NAME.exec(name)?.[1] ?? 0))
    .filter((pid) => pid > 0).sort((a, b) => a - b);
}

/** Removes the sockets of targets that died without a word. */
export function removeLeftSockets(dir: RunDir): void {
  for (const pid of targetPids(dir)) {
    if (processLives(pid)) continue;
    try {
      Deno.removeSync(targetSocketPath(dir, pid));
    } catch {
      // Another target that starts has removed it.
    }
  }
}

function processLives(pid: number): boolean {
  try {
    return Deno.statSync(`/proc/${pid}`).isDirectory;
  } catch {
    return false;
  }
}
