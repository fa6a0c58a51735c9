/** What the user asks of a volume that is attached already, and does not get: only its paths can be added to. */
import { listWords } from "../base/text.ts";
import { formatDuration } from "../base/units.ts";
import type { DeviceChoice, NamedTimeouts, VolumeInfo } from "../host/api.ts";
import { TIMEOUT_OPTIONS } from "./timeout_options.ts";

/** What the words of `attach` ask for; what was not given is not there. */
export interface GivenOptions {
  name?: string | undefined;
  device?: DeviceChoice | undefined;
  policy?: string | undefined;
  slowPath?: string | undefined;
  failback?: string | undefined;
  hedgeReads?: string | undefined;
  queues?: number | undefined;
  depth?: number | undefined;
  readOnly?: boolean | undefined;
  headerDigest?: boolean | undefined;
  dataDigest?: boolean | undefined;
  timeouts: NamedTimeouts;
}

const TIMES = TIMEOUT_OPTIONS.map(({ name }) => name);
/** What can be changed of it in another way. */
const SETTABLE = ["--policy", "--slow-path", "--failback", "--hedge-reads", ...TIMES];

/** Names every option that differs from what the volume has, and what that is; null if none does. */
export function ignoredWords(given: GivenOptions, volume: VolumeInfo): string | null {
  const differences = [...plainDifferences(given, volume), ...timeDifferences(given.timeouts, volume)];
  if (differences.length === 0) return null;
  const verb = differences.length === 1 ? "is" : "are";
  const words = `${volume.name} was attached before and stays as it is: ${listWords(differences)} ${verb} ignored`;
  const isSettable = differences.some((difference) => SETTABLE.some((name) => difference.startsWith(`${name} `)));
  return isSettable ? `${words}; umpath set changes settings and times` : words;
}

function plainDifferences(given: GivenOptions, volume: VolumeInfo): string[] {
  const { name, device, policy, slowPath, hedgeReads, queues, depth, readOnly } = given;
  const differences: string[] = [];
  const compare = (option: string, wanted: string | number | undefined, inForce: string | number) => {
    if (wanted !== undefined && wanted !== inForce) differences.push(`${option} ${wanted} (it is ${inForce})`);
  };
  compare("--name", name, volume.name);
  compare("--device", device === "auto" ? undefined : device, volume.driver);
  compare("--policy", policy, volume.policy);
  compare("--slow-path", slowPath, volume.slowPath);
  compare("--failback", given.failback, volume.failback);
  compare("--hedge-reads", hedgeReads, volume.hedgeReads);
  compare("--queues", queues, volume.queues);
  compare("--depth", depth, volume.depth);
  if (readOnly && !volume.readOnly) differences.push("--read-only (it takes writes)");
  if (given.headerDigest && !volume.headerDigest) differences.push("--hdr-digest (it has none)");
  if (given.dataDigest && !volume.dataDigest) differences.push("--data-digest (it has none)");
  return differences;
}

function timeDifferences(given: NamedTimeouts, { timeouts: inForce, writeHoldAuto }: VolumeInfo): string[] {
  return TIMEOUT_OPTIONS.flatMap(({ name, key }) => {
    const wanted = given[key];
    if (wanted === undefined || wanted === inForce[key] || (wanted === "auto" && writeHoldAuto)) return [];
    const words = wanted === "auto" ? wanted : formatDuration(wanted);
    return [`${name} ${words} (it is ${formatDuration(inForce[key])})`];
  });
}
