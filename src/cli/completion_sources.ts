/** What there is to name: volumes and paths that the daemon has, devices that are left, targets of this host, interfaces, settings. */
import type { LeftInfo, ListResult, VolumeInfo } from "../rpc/host_api.ts";
import { FAILBACK_VALUES, POLICY_NAMES } from "../settings/timeouts.ts";
import { HEDGE_EXAMPLES, SLOW_PATH_MODES } from "../settings/latency_settings.ts";
import { pathWords } from "../rpc/path_words.ts";
import { matchesVolume, volumesMeant } from "../rpc/volume_match.ts";
import { ANA_NAMES } from "../rpc/ana_names.ts";
import type { TargetInfo } from "../rpc/target_api.ts";
import { runningTargets } from "../serve/target_client.ts";
import { FAULT_KINDS } from "../nvme_target/fault_rule.ts";
import type { Candidate } from "./complete.ts";
import { listed } from "./daemon_calls.ts";
import { listenerWords } from "./target_text.ts";
import { durationWords, TIMEOUT_OPTIONS } from "./timeout_options.ts";
import type { WordSource } from "./word_sources.ts";
import { formatDuration } from "../base/units.ts";

/** The line around the word: its other arguments, all words before it, and the word so far. */
interface Around {
  operands: readonly string[];
  given: readonly string[];
  last: string;
}

/** What the scripts take as an order to complete file names. */
export const FILES = ":files";

type Source = Extract<WordSource, string>;

const SOURCES: Readonly<Record<Source, (around: Around) => Promise<Candidate[]> | Candidate[]>> = Object.freeze({
  volumes: async (around) => namedCandidates(await volumes(), around),
  "volumes-and-left": async (around) => {
    const { volumes, left } = await found();
    return namedCandidates([...volumes, ...left.map(leftAsNamed)], around);
  },
  "volume-paths": async ({ operands }) => pathCandidates(await volumeOf(operands[0])),
  portals: async ({ given }) => portalCandidates(await targets(), given),
  settings: async ({ operands, last }) => settingCandidates(await volumeOf(operands[0]), last),
  subsystems: async () => [
    ...(await targets()).map(({ nqn, pid }) => ({ word: nqn, description: `served by process ${pid}` })),
    ...(await volumes()).map(({ nqn, name }) => ({ word: nqn, description: `attached as ${name}` })),
  ],
  interfaces: () =>
    [...new Set(Deno.networkInterfaces().map(({ name }) => name))].map((word) => ({ word, description: "interface" })),
  listeners: async () => (await targets()).flatMap(listenerCandidates),
  "host-addresses": ({ last }) => listenCandidates(last),
  namespaces: async () =>
    (await targets()).flatMap(({ namespaces }) => namespaces)
      .map(({ nsid, uuid }) => ({ word: `${nsid}`, description: uuid })),
  "target-nqns": async () => (await targets()).map(({ nqn, pid }) => ({ word: nqn, description: `process ${pid}` })),
  "target-pids": async () => (await targets()).map(({ nqn, pid }) => ({ word: `${pid}`, description: nqn })),
  faults: async ({ last }) => faultCandidates(await targets(), last),
  files: () => [{ word: FILES, description: "" }],
});

/** The words of a source, each once. */
export async function completeSource(source: Source, around: Around): Promise<Candidate[]> {
  const found = await SOURCES[source](around);
  return found.filter(({ word }, i) => found.findIndex((other) => other.word === word) === i);
}

/** What umpath list tells of. */
async function found(): Promise<Pick<Required<ListResult>, "volumes" | "left">> {
  return await listed().catch(() => ({ volumes: [], left: [] }));
}

async function volumes(): Promise<VolumeInfo[]> {
  return (await found()).volumes;
}

async function volumeOf(word = ""): Promise<VolumeInfo | undefined> {
  return volumesMeant(await volumes(), word)[0];
}

async function targets(): Promise<TargetInfo[]> {
  return await runningTargets().catch(() => []);
}

/** A volume, or what is left of one. */
interface Named extends Pick<VolumeInfo, "name" | "device" | "uuid"> {
  /** How it is, in a word or some. */
  state: string;
}

/** What is left has the name of its volume, or its device's if nobody knows the volume any more. */
function leftAsNamed({ name, device, why }: LeftInfo): Named {
  return { name: name || device, device, uuid: "", state: why };
}

/** Those that the line does not name yet. */
function namedCandidates(all: readonly Named[], { operands, last }: Around): Candidate[] {
  return all.filter((one) => !operands.some((word) => matchesVolume(one, word)))
    .flatMap((one) => candidatesOf(one, last));
}

/** The name, and what else names it once the word cannot be a name any more. */
function candidatesOf({ name, device, uuid, state }: Named, last: string): Candidate[] {
  const description = `${device ?? "no device"}, ${state}`;
  if (last === "" || name.startsWith(last)) return [{ word: name, description }];
  const bare = device?.replace(/^\/dev\//, "");
  return [device, bare, uuid].filter((word) => word != null && word !== "")
    .map((word) => ({ word: word!, description: `${name}, ${state}` }));
}

function pathCandidates(volume: VolumeInfo | undefined): Candidate[] {
  return volume?.paths.map((path) => ({ word: pathWords(path), description: path.state })) ?? [];
}

function listenerCandidates({ listeners, nqn }: TargetInfo): Candidate[] {
  return listeners.map((one) => ({ word: listenerWords(one), description: `${one.ana}, ${nqn}` }));
}

/** The listeners of this host's targets, first those of the subsystem that the line names. */
function portalCandidates(running: readonly TargetInfo[], given: readonly string[]): Candidate[] {
  const meant = running.filter(({ nqn }) => given.includes(nqn));
  return (meant.length > 0 ? meant : running).flatMap(listenerCandidates).filter(({ word }) => !given.includes(word));
}

/** The addresses of this host, and the ANA states behind one. */
function listenCandidates(last: string): Candidate[] {
  const comma = last.indexOf(",");
  if (comma !== -1) {
    const portal = last.slice(0, comma);
    return ANA_NAMES.map((state) => ({ word: `${portal},ana=${state}`, description: "ANA state" }));
  }
  return Deno.networkInterfaces().filter(({ address }) => !/^fe[89ab]/.test(address))
    .map(({ address, name, family }) => ({
      word: family === "IPv6" ? `[${address}]` : address,
      description: `address of ${name}`,
    }));
}

function faultCandidates(running: readonly TargetInfo[], last: string): Candidate[] {
  const listeners = running.flatMap(({ listeners }) => listeners);
  const named = [/^(?:\*|\d+)(?=:)/.exec(last)?.[0], ...listeners.map(listenerWords)]
    .find((listener) => listener !== undefined && last.startsWith(`${listener}:`));
  if (named !== undefined) return kindCandidates(named);
  return [
    { word: "clear", description: "end all faults" },
    ...["*", ...listeners.map((_, i) => `${i + 1}`)].flatMap((listener) => kindCandidates(listener)),
  ];
}

function kindCandidates(listener: string): Candidate[] {
  return Object.entries(FAULT_KINDS).map(([kind, { argument, does }]) => ({
    word: `${listener}:${kind}${argument === null ? "" : "="}`,
    description: does,
  }));
}

/** Keys, and the values of the key that the word has already, the present one first. */
function settingCandidates(volume: VolumeInfo | undefined, last: string): Candidate[] {
  const paths = pathCandidates(volume);
  const values = (key: string, words: readonly string[], now?: string) =>
    [...new Set([...now === undefined ? [] : [now], ...words])]
      .map((word) => ({ word: `${key}=${word}`, description: word === now ? "the present value" : "" }));
  const times = TIMEOUT_OPTIONS.flatMap((option) => {
    const key = option.name.slice(2);
    if (!last.startsWith(`${key}=`)) return [{ word: `${key}=`, description: option.description }];
    return values(key, durationWords(option), volume && presentTime(volume, option.key));
  });
  return [
    ...values("policy", POLICY_NAMES, volume?.policy),
    ...values("failback", FAILBACK_VALUES, volume?.failback),
    ...[...paths, { word: "none", description: "no preference" }]
      .map(({ word, description }) => ({ word: `preferred-path=${word}`, description })),
    ...paths.map(({ word, description }) => ({ word: `weight.${word}=`, description })),
    ...values("slow-path", SLOW_PATH_MODES, volume?.slowPath),
    ...values("hedge-reads", HEDGE_EXAMPLES, volume?.hedgeReads),
    ...times,
  ];
}

function presentTime(volume: VolumeInfo, key: keyof VolumeInfo["timeouts"]): string {
  return key === "writeHoldMs" && volume.writeHoldAuto ? "auto" : formatDuration(volume.timeouts[key]);
}
