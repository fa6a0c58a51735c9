import { removeStaleDevice } from "../ublk/control.ts";
import type { LeftDevice } from "./left_devices.ts";
import { type RunDir, runDir } from "./run_dir.ts";
import { pause } from "./run_sequence.ts";
import { NO_QUEUES, runControl } from "./ublk_driver.ts";

const PREFIX = "ublk-";
/** Numbers as they are written, so that a note is read under the name that it was found by. */
const RECORD = /^ublk-(0|[1-9]\d{0,8})$/;

/** A process that was killed loses the lock of the run folder a moment before it is gone. */
const EXIT_MS = 2_000;
const EXIT_POLL_MS = 20;

/** Notes in the run folder that this process has the ublk device `devId` for a volume, so that others can clean up. */
export function recordDevice(devId: number, name: string): void {
  Deno.writeTextFileSync(recordPath(runDir(), devId), `${Deno.pid}\n${name}\n`);
}

/** The device is gone in order. */
export function forgetDevice(devId: number, dir = runDir()): void {
  try {
    Deno.removeSync(recordPath(dir, devId));
  } catch {
    // It was not recorded, or somebody has cleaned the folder: either way it is forgotten.
  }
}

/** The ublk devices that a daemon which died has noted. What is not proved to be its own is left alone. */
export function leftUblkDevices(dir: RunDir): LeftDevice[] {
  const left: LeftDevice[] = [];
  for (const { name: file } of Deno.readDirSync(dir.path)) {
    const devId = RECORD.exec(file)?.[1];
    if (devId === undefined) continue;
    const [pid, name = ""] = readRecord(dir, Number(devId)).split("\n");
    left.push({
      name,
      device: `/dev/ublkb${devId}`,
      remove: () => removeLeftDevice(dir, { devId: Number(devId), pid: Number(pid) }),
    });
  }
  return left;
}

async function removeLeftDevice(dir: RunDir, { devId, pid }: { devId: number; pid: number }): Promise<string[] | null> {
  const remove = () => runControl(removeStaleDevice(devId, pid), NO_QUEUES);
  let outcome = await remove();
  for (let waitedMs = 0; outcome === "alive" && waitedMs < EXIT_MS; waitedMs += EXIT_POLL_MS) {
    await pause(EXIT_POLL_MS);
    outcome = await remove();
  }
  if (outcome !== "alive") forgetDevice(devId, dir);
  return outcome === "removed" ? [] : null;
}

/** Empty if its daemon lives and has just forgotten the device. */
function readRecord(dir: RunDir, devId: number): string {
  try {
    return Deno.readTextFileSync(recordPath(dir, devId));
  } catch {
    return "";
  }
}

function recordPath(dir: RunDir, devId: number): string {
  return `${dir.path}/${PREFIX}${devId}`;
}
