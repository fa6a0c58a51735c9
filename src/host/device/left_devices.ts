/**
 * Devices in the kernel that a daemon left: because it died, or because somebody used them when it took them away. Who
 * holds the lock of the run folder knows that nobody serves what the folder tells of, and that all I/O on it fails.
 */
import { native } from "../../../ffi/library.ts";
import { UmpathError } from "../../base/errors.ts";
import { midSentence } from "../../base/text.ts";
import type { LeftInfo } from "../../rpc/host_api.ts";
import { type DeviceNote, forgetDevice, isNoted, type KernelDriver, notedDevice, readNotes } from "./device_record.ts";
import { deviceUseWords, lastingUseWords } from "../../io/device_users.ts";
import { leftLoopDevices, leftNotedLoops } from "./left_loop.ts";
import { leftUblkDevices } from "./left_ublk.ts";
import { processRuns } from "../../io/process_identity.ts";
import { checkRunDir, type RunDir, RunDirLock } from "../../rpc/run_dir.ts";
import { matchesVolume } from "../../rpc/volume_match.ts";

/** What became of a device that was to be taken away. */
export type LeftFate =
  /** It is gone. */
  | "removed"
  /** It was not there, or not what it was taken for, so that it was left alone. */
  | "absent"
  /** It goes when its last user closes it. */
  | "in-use";

/** What is left of a volume. */
export interface LeftDevice {
  /** Name of the volume; empty if nobody knows it any more. */
  name: string;
  /** The device, or null if there is only a mount or a file left. */
  device: string | null;
  driver: KernelDriver;
  /** It was taken away although it was in use; else its daemon died. */
  isDetached: boolean;
  /**
   * Takes it away, in use or not.
   *
   * @throws UmpathError if it is still there.
   */
  remove(): Promise<LeftFate>;
}

type LeftName = Pick<LeftDevice, "name" | "device" | "isDetached">;

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
export async function leftDevices(dir: RunDir): Promise<LeftDevice[]> {
  const [ublk, loop] = byDriver(await readNotes(dir));
  return [...await leftUblkDevices(dir, ublk), ...await leftLoopDevices(dir, loop)];
}

/**
 * What earlier daemons have left, for the daemon that runs: its own devices are not among it, unless it has taken them
 * away. What is gone by now is forgotten.
 */
export async function leftBesideDaemon(dir: RunDir): Promise<LeftDevice[]> {
  const all = await readNotes(dir);
  const isLeft = await Promise.all(all.map(async (note) => note.isDetached || !await processRuns(note.owner)));
  const notes = all.filter((_, i) => isLeft[i]);
  const [ublk, loop] = byDriver(notes);
  const left = [...await leftUblkDevices(dir, ublk), ...await leftNotedLoops(dir, loop)];
  await sweep(dir, notes, left);
  return left;
}

function byDriver(notes: readonly DeviceNote[]): [ublk: DeviceNote[], loop: DeviceNote[]] {
  return [notes.filter(({ driver }) => driver === "ublk"), notes.filter(({ driver }) => driver === "loop")];
}

/** Tells of the devices that are left; empty if there is no run folder. Touches no device. */
export async function listLeft(dir: RunDir, { besideDaemon }: { besideDaemon: boolean }): Promise<LeftInfo[]> {
  if (!checkRunDir(dir)) return [];
  const left = await (besideDaemon ? leftBesideDaemon(dir) : leftDevices(dir));
  const infos = await Promise.all(left.map(async ({ name, device, driver, isDetached }) => {
    if (device === null) return [];
    const use = await deviceUseWords(device);
    const why = isDetached ? "it was in use when it was detached" : "its daemon died";
    const words = leftWords({ name, device, isDetached }, use);
    return [{ name, device, driver, why, use, words, remedy: remedyWords({ name, device, isDetached }, use) }];
  }));
  return infos.flat();
}

/** `/dev/loop3 (was vol-n1) is still mounted on "/mnt"` */
function leftWords({ name, device, isDetached }: LeftName, use: string | null): string {
  const what = `${device}${name === "" ? "" : ` (was ${name})`}`;
  if (use !== null) return `${what} ${use.replace(/^is /, "is still ")}`;
  return isDetached ? `${what} is still open` : `${what} was left by a daemon that died`;
}

/** `close or unmount it, then run umpath detach vol-n1 or attach again` */
function remedyWords({ name, device, isDetached }: LeftName, use: string | null): string {
  if (isDetached) return "close or unmount it: it is removed then";
  return `${use === null ? "" : "close or unmount it, then "}run umpath detach ${name || device} or attach again`;
}

/** True if `word` names what is left, as it named the volume. */
export function matchesLeft({ name, device }: Pick<LeftDevice, "name" | "device">, word: string): boolean {
  return matchesVolume({ name, device, uuid: "" }, word);
}

/** Removes what is left, the dead daemon's socket as well; the lock proves that it is. */
export async function removeLeft(
  left: readonly LeftDevice[],
  { lock, force }: { lock: RunDirLock; force: boolean },
): Promise<Removal> {
  const removal: Removal = { removed: [], words: [], failures: [] };
  removeSocket(lock.dir);
  for (const device of left) await removeOne(device, { force, removal });
  await sweep(lock.dir, await readNotes(lock.dir), await leftDevices(lock.dir));
  return removal;
}

/** The daemon that runs takes away what others have left, as far as `isMeant` says so. */
export async function removeBesideDaemon(
  dir: RunDir,
  { isMeant, force }: { isMeant(left: LeftDevice): boolean; force: boolean },
): Promise<Removal> {
  const removal: Removal = { removed: [], words: [], failures: [] };
  for (const left of (await leftBesideDaemon(dir)).filter(isMeant)) await removeOne(left, { force, removal });
  return removal;
}

function removeSocket({ socketPath }: RunDir): void {
  try {
    Deno.removeSync(socketPath);
  } catch (error) {
    if (!(error instanceof Deno.errors.NotFound)) throw error;
  }
}

async function removeOne(left: LeftDevice, { force, removal }: { force: boolean; removal: Removal }): Promise<void> {
  const what = left.device ?? `A mount of ${left.name}`;
  try {
    const use = left.device === null ? null : await lastingUseWords(left.device);
    if (use !== null && !force) throw inUse(left, use);
    const fate = await left.remove();
    if (fate === "absent") return;
    if (!left.isDetached) removal.removed.push(left.name || what);
    if (fate === "removed") removal.words.push(`${what} was left by a daemon that died, and is removed`);
    else removal.words.push(`${leftWords(left, use)}: all I/O on it fails, and it is removed when it is closed`);
  } catch (thrown) {
    const error = UmpathError.from(thrown);
    removal.failures.push(error.code === "in-use" ? error : cannotRemove(what, error));
  }
}

function inUse(left: LeftDevice, use: string): UmpathError {
  return new UmpathError("in-use", `Cannot detach ${left.name || left.device}: ${leftWords(left, use)}`, {
    hint: left.isDetached
      ? "Unmount or close it; it is removed as soon as it is closed"
      : "Unmount or close it first, or use --force: all I/O on it fails in any case",
  });
}

function cannotRemove(what: string, error: UmpathError): UmpathError {
  const words = `Cannot remove ${midSentence(what)}, which a daemon that died has left: ${midSentence(error.message)}`;
  return new UmpathError(error.code, words, { hint: error.hint, cause: error });
}

/** Forgets devices that are gone, unless a daemon runs. */
export async function sweepLeft(dir: RunDir): Promise<void> {
  if (!checkRunDir(dir)) return;
  using lock = RunDirLock.tryTake(dir);
  if (lock !== null) await sweep(dir, await readNotes(dir), await leftDevices(dir));
}

/** Notes of devices that are gone go as well, and loop numbers that were added for them. */
async function sweep(dir: RunDir, notes: readonly DeviceNote[], left: readonly LeftDevice[]): Promise<void> {
  const there = new Set(left.map(({ device }) => device));
  for (const note of notes) {
    if (there.has(notedDevice(note)) || !isNoted(note, dir)) continue;
    forgetDevice(note, dir);
    if (note.driver === "loop" && note.isAdded) await native().um_loop_remove(note.number);
  }
}
