/**
 * The kernel's sequence number of a disk: whenever what is in a block device changes, the device gets a number that no
 * device of this boot has had. So the name of a device and this number name one device for ever.
 */
import { native } from "../../ffi/library.ts";
import { cString } from "../../ffi/result.ts";
import { errnoWords, ESTALE, ETIMEDOUT } from "../base/errno.ts";
import { UmpathError } from "../base/errors.ts";
import { within } from "./run_sequence.ts";

/** What a device takes that nobody serves for the moment. Milliseconds. */
const CHANGE_MS_MAX = 5_000;

/** The number of `device` as it is now, in decimal; null if there is no such device. Does not touch the device. */
export async function diskSequence(device: string): Promise<string | null> {
  try {
    return (await Deno.readTextFile(`/sys/block/${device.slice(device.lastIndexOf("/") + 1)}/diskseq`)).trim();
  } catch {
    return null;
  }
}

/** A disk as it was made. */
export interface Disk {
  path: string;
  sequence: string;
  /** It was made so that it takes no writes. */
  isReadOnly: boolean;
}

/**
 * Has a disk take writes, or none.
 *
 * @throws UmpathError if it stays as it was.
 */
export async function setDiskReadOnly({ path, sequence, isReadOnly }: Disk, readOnly: boolean): Promise<void> {
  const action = `Cannot make ${path} ${readOnly ? "read-only" : "take writes"}`;
  if (isReadOnly && !readOnly) {
    throw new UmpathError("host-lacks", `${action}: it was made read-only`, { hint: "Detach it and attach it again" });
  }
  const text = cString(path);
  const call = native().um_disk_read_only(text, BigInt(sequence), readOnly ? 1 : 0);
  const result = await within(call, { deadlineMs: CHANGE_MS_MAX });
  void text.length;
  if (result === -ETIMEDOUT) throw new UmpathError("timed-out", `${action}: the kernel did not answer within 5s`);
  if (result === -ESTALE) throw new UmpathError("in-use", `${action}: it is another program's by now`);
  if (result < 0) throw new UmpathError("host-lacks", `${action}: ${errnoWords(result)}`);
}
