import { logger } from "../base/log.ts";
import { messageOf } from "../base/errors.ts";
import { removeStaleDevice } from "../ublk/control.ts";
import { runDir } from "./run_dir.ts";
import { runControl } from "./ublk_driver.ts";

const log = logger("ublk");
const PREFIX = "ublk-";

/** Notes in the run folder that this process has the ublk device `devId`, so that a later daemon can clean up. */
export function recordDevice(devId: number): void {
  Deno.writeTextFileSync(`${runDir().path}/${PREFIX}${devId}`, `${Deno.pid}\n`);
}

/** The device is gone in order. */
export function forgetDevice(devId: number): void {
  try {
    Deno.removeSync(`${runDir().path}/${PREFIX}${devId}`);
  } catch {
    // It was not recorded, or somebody has cleaned the folder: either way it is forgotten.
  }
}

/** Removes the devices that a daemon which died has left behind. What is not proved to be its own is left alone. */
export async function removeLeftDevices(): Promise<void> {
  for (const { name } of [...Deno.readDirSync(runDir().path)]) {
    const devId = /^ublk-(\d+)$/.exec(name)?.[1];
    if (devId === undefined) continue;
    try {
      await removeLeftDevice(Number(devId), Number(Deno.readTextFileSync(`${runDir().path}/${name}`)));
    } catch (error) {
      log.warn(`Cannot remove /dev/ublkb${devId}, which a daemon that died has left: ${messageOf(error)}`);
    }
  }
}

async function removeLeftDevice(devId: number, pid: number): Promise<void> {
  const outcome = await runControl(removeStaleDevice(devId, pid), {
    startQueues: () => Promise.reject(new Error("A device that was left has no queues")),
    drainQueues: () => Promise.reject(new Error("A device that was left has no queues")),
  });
  if (outcome === "removed") log.warn(`/dev/ublkb${devId} was left by a daemon that died, and is removed`);
  if (outcome !== "alive") forgetDevice(devId);
}
