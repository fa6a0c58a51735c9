/** What is asked of a volume that is attached already, and is not so: only its paths can be added to. */
import { UmpathError } from "../../base/errors.ts";
import { listWords, quote } from "../../base/text.ts";
import { formatDuration } from "../../base/units.ts";
import type { AttachParams, VolumeInfo } from "../../rpc/host_api.ts";
import { type NamedTimeouts, TIMEOUT_WORDS, type Timeouts } from "../../settings/timeouts.ts";

/** What may be named of a volume, beside who and where it is. */
export type Wanted =
  & Pick<
    AttachParams,
    "name" | "device" | "policy" | "slowPath" | "failback" | "hedgeReads" | "queues" | "depth" | "readOnly" | "timeouts"
  >
  & Partial<Pick<AttachParams, "headerDigest" | "dataDigest">>;

/**
 * Refuses what would be a promise that is not kept: a device that must not take writes, digests, another name, another
 * kind of device.
 *
 * @throws UmpathError "in-use"
 */
export function checkPromises(wanted: Wanted, volume: VolumeInfo): void {
  const { name, device, readOnly, headerDigest, dataDigest } = wanted;
  const refuse = (how: string, why: string) => {
    throw new UmpathError("in-use", `Cannot attach ${how}: ${volume.name} is attached ${why}`, {
      hint: `Detach it first: umpath detach ${volume.name}`,
    });
  };
  if (readOnly && !volume.readOnly) refuse("read-only", "and takes writes");
  if (headerDigest && !volume.headerDigest) refuse("with --hdr-digest", "without it");
  if (dataDigest && !volume.dataDigest) refuse("with --data-digest", "without it");
  if (name !== null && name !== volume.name) refuse(`as ${quote(name)}`, "under that name");
  if (device !== "auto" && device !== volume.driver) {
    refuse(`with --device ${device}`, volume.driver === "none" ? "without a device" : `with a ${volume.driver} device`);
  }
}

/** What can be changed of a volume in another way. */
const SETTABLE = ["--policy", "--slow-path", "--failback", "--hedge-reads"];

/** Names every other option that differs from what the volume has, and what that is; null if none does. */
export function ignoredWords(wanted: Wanted, volume: VolumeInfo): string | null {
  const times = timeDifferences(wanted.timeouts, volume);
  const differences = [...plainDifferences(wanted, volume), ...times];
  if (differences.length === 0) return null;
  const verb = differences.length === 1 ? "is" : "are";
  const words = `${volume.name} was attached before and stays as it is: ${listWords(differences)} ${verb} ignored`;
  const isSettable = times.length > 0 || differences.some((words) => SETTABLE.includes(words.split(" ")[0]!));
  return isSettable ? `${words}; umpath set changes settings and times` : words;
}

function plainDifferences(wanted: Wanted, volume: VolumeInfo): string[] {
  const differences: string[] = [];
  const compare = (option: string, value: string | number | null | undefined, inForce: string | number) => {
    if (value != null && value !== inForce) differences.push(`${option} ${value} (it is ${inForce})`);
  };
  compare("--policy", wanted.policy, volume.policy);
  compare("--slow-path", wanted.slowPath, volume.slowPath);
  compare("--failback", wanted.failback, volume.failback);
  compare("--hedge-reads", wanted.hedgeReads, volume.hedgeReads);
  compare("--queues", wanted.queues, volume.queues);
  compare("--depth", wanted.depth, volume.depth);
  return differences;
}

function timeDifferences(named: NamedTimeouts, { timeouts: inForce, writeHoldAuto }: VolumeInfo): string[] {
  return (Object.keys(TIMEOUT_WORDS) as (keyof Timeouts)[]).flatMap((key) => {
    const wanted = named[key];
    if (wanted === undefined || wanted === inForce[key] || (wanted === "auto" && writeHoldAuto)) return [];
    const words = wanted === "auto" ? wanted : formatDuration(wanted);
    return [`--${TIMEOUT_WORDS[key]} ${words} (it is ${formatDuration(inForce[key])})`];
  });
}
