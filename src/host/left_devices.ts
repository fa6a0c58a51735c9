/**
 * Devices in the kernel that a daemon left because it died. Who holds the lock of the run folder knows that whatever the
 * folder tells of is left: nobody serves it any more, and all I/O on it fails.
 */
import { UmpathError } from "../base/errors.ts";
import { midSentence } from "../base/text.ts";
import { leftUblkDevices } from "./device_record.ts";
import { leftLoopDevices } from "./left_loop.ts";
import type { RunDir, RunDirLock } from "./run_dir.ts";
import { matchesVolume } from "./volume_match.ts";

/** What is left of a volume. */
export interface LeftDevice {
  /** Name of the volume; empty if nobody knows it any more. */
  name: string;
  /** The device, or null if there is only a mount or a file left. */
  device: string | null;
  /**
   * Takes it away. Gives null if it is not there, or not what it was taken for, so that it was left alone; else what is
   * to be said of it, in words, if anything.
   *
   * @throws UmpathError if it is still there.
   */
  remove(): Promise<string[] | null>;
}

/** What became of what was left. */
export interface Removal {
  /** Names of the volumes, or devices where the name is not known, that had something left which is now gone. */
  removed: string[];
  /** Sentences for people. */
  words: string[];
  /** What could not be removed. */
  failures: UmpathError[];
}

/** What is left in the run folder if no daemon runs. */
export function leftDevices(dir: RunDir): LeftDevice[] {
  return [...leftUblkDevices(dir), ...leftLoopDevices(dir)];
}

/** True if `word` names what is left, as it named the volume. */
export function matchesLeft({ name, device }: LeftDevice, word: string): boolean {
  return matchesVolume({ name, device, uuid: "" }, word);
}

/** Removes what is left, the dead daemon's socket as well; the lock proves that it is. */
export async function removeLeft(left: readonly LeftDevice[], lock: RunDirLock): Promise<Removal> {
  const removal: Removal = { removed: [], words: [], failures: [] };
  removeSocket(lock.dir);
  for (const device of left) await removeOne(device, removal);
  return removal;
}

function removeSocket({ socketPath }: RunDir): void {
  try {
    Deno.removeSync(socketPath);
  } catch (error) {
    if (!(error instanceof Deno.errors.NotFound)) throw error;
  }
}

async function removeOne(left: LeftDevice, removal: Removal): Promise<void> {
  const what = left.device ?? `A mount of ${left.name}`;
  try {
    const remarks = await left.remove();
    if (remarks === null) return;
    removal.removed.push(left.name || what);
    const fate = remarks.length === 0 ? ", and is removed" : "";
    removal.words.push(`${what} was left by a daemon that died${fate}`, ...remarks);
  } catch (thrown) {
    const { code, message, hint } = UmpathError.from(thrown);
    const words = `Cannot remove ${midSentence(what)}, which a daemon that died has left: ${midSentence(message)}`;
    removal.failures.push(new UmpathError(code, words, { hint, cause: thrown }));
  }
}
