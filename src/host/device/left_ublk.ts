import { UmpathError } from "../../base/errors.ts";
import { removeStaleDevice } from "../../ublk/control.ts";
import { bootId, type DeviceNote, forgetDevice, notedDevice, noteDetached } from "./device_record.ts";
import { diskSequence } from "../../io/disk_sequence.ts";
import type { LeftDevice, LeftFate } from "./left_devices.ts";
import { lastingUseWords } from "../../io/device_users.ts";
import type { RunDir } from "../../rpc/run_dir.ts";
import { pause } from "../../io/run_sequence.ts";
import { NO_QUEUES, runControl } from "./ublk_driver.ts";

/** A process that was killed loses the lock of the run folder a moment before it is gone. */
const EXIT_MS = 2_000;
const EXIT_POLL_MS = 20;

/** The ublk devices that are noted in the run folder, and that are there. */
export async function leftUblkDevices(dir: RunDir, notes: readonly DeviceNote[]): Promise<LeftDevice[]> {
  const left: LeftDevice[] = [];
  for (const note of notes) {
    if (await isThere(note)) left.push(leftUblk(dir, note));
  }
  return left;
}

/** The driver has the number as long as anybody uses the device; the disk may be gone before. */
async function isThere(note: DeviceNote): Promise<boolean> {
  if (note.boot !== null && note.boot !== bootId()) return false;
  const sequence = await diskSequence(notedDevice(note));
  if (sequence !== null) return note.sequence === null || note.sequence === sequence;
  try {
    await Deno.lstat(`/sys/class/ublk-char/ublkc${note.number}`);
    return true;
  } catch {
    return note.isDetached && await lastingUseWords(notedDevice(note)) !== null;
  }
}

function leftUblk(dir: RunDir, note: DeviceNote): LeftDevice {
  const { number, volume, owner, isDetached } = note;
  const device = notedDevice(note);
  const remove = async (): Promise<LeftFate> => {
    const isUsed = await lastingUseWords(device) !== null;
    const attempt = () => runControl(removeStaleDevice(number, owner, { waits: !isUsed }), NO_QUEUES);
    let outcome = await attempt();
    for (let waitedMs = 0; outcome === "alive" && waitedMs < EXIT_MS; waitedMs += EXIT_POLL_MS) {
      await pause(EXIT_POLL_MS);
      outcome = await attempt();
    }
    if (outcome === "alive") throw stillServed(device, owner.pid);
    if (outcome === "removed" && isUsed) {
      noteDetached(note, dir);
      return "in-use";
    }
    forgetDevice(note, dir);
    return outcome === "removed" ? "removed" : "absent";
  };
  return { name: volume, device, driver: "ublk", isDetached, remove };
}

function stillServed(device: string, pid: number): UmpathError {
  const why = `process ${pid}, which made it, still runs`;
  return new UmpathError("in-use", `Cannot remove ${device}: ${why}, so it is left alone`, {
    hint: "End that process, or remove the device by hand once you know whose it is",
  });
}
