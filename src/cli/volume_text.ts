/** Volumes and paths as text for people. */
import { alignRows, count, oneLine, wrapWords } from "../base/text.ts";
import { formatDuration, formatSize } from "../base/units.ts";
import type { PathInfo, VolumeInfo } from "../host/api.ts";
import { pathWords } from "../host/path_words.ts";

/** So that no line of them has 100 columns, the name of the row included. */
const TIMES_COLUMNS_MAX = 86;

/** One aligned line a volume: name, device, size, state, live of all paths, policy, NQN. */
export function volumeLines(volumes: readonly VolumeInfo[]): string[] {
  return alignRows(
    volumes.map((volume) => [
      volume.name,
      volume.device ?? "-",
      formatSize(volume.sizeBytes),
      volume.state,
      `${livePaths(volume)}/${count(volume.paths.length, "path")}`,
      volume.policy,
      oneLine(volume.nqn),
    ]),
    { right: [2] },
  );
}

/** Everything about one volume: itself, its times, and its paths with their counters. */
export function volumeDetails(volume: VolumeInfo): string[] {
  return [
    `${volume.name}: ${stateWords(volume)}`,
    ...indent(alignRows(volumeFacts(volume))),
    "  paths",
    ...indent(volume.paths.flatMap((path) => pathLines(path, volume.queues)), 4),
  ];
}

function volumeFacts(volume: VolumeInfo): string[][] {
  const blocks = `in blocks of ${formatSize(volume.blockSize)}${volume.readOnly ? ", read-only" : ""}`;
  return [
    ["nqn", oneLine(volume.nqn)],
    ["namespace", `${volume.nsid}, ${volume.uuid}`],
    ["size", `${formatSize(volume.sizeBytes)} ${blocks}`],
    ...(volume.sizeWarning === null ? [] : [["warning", oneLine(volume.sizeWarning)]]),
    ["device", deviceWords(volume)],
    ["storage", oneLine(`${volume.model.trim()}, serial number ${volume.serial.trim()}`)],
    ["policy", policyWords(volume)],
    ...(volume.slowPath === "off" ? [] : [["slow-path", volume.slowPath]]),
    ...hedgeFacts(volume),
    ...digestFacts(volume),
    ...timeLines(volume).map((line, i) => [i === 0 ? "times" : "", line]),
    ...volume.handedOver === 0 ? [] : [["handed over", `${count(volume.handedOver, "request")} to other queues`]],
    ["waiting", `${count(volume.waiting, "request")} for a path, ${count(volume.held, "write")} held`],
  ];
}

function hedgeFacts(volume: VolumeInfo): string[][] {
  const { hedgeReads, hedges, hedgesWon, hedgesSuppressed, hedgeMs } = volume;
  if (hedgeReads === "off") return [];
  const now = hedgeReads.startsWith("p") ? `, ${hedgeMs === null ? "not known yet" : `${shortMs(hedgeMs)} now`}` : "";
  const reads = `${count(hedges, "read")} sent twice, ${hedgesWon} of them won, ${hedgesSuppressed} late but not sent`;
  return [["hedging", `${hedgeReads}${now}: ${reads}`]];
}

function digestFacts({ headerDigest, dataDigest }: VolumeInfo): string[][] {
  const digests = [...headerDigest ? ["header"] : [], ...dataDigest ? ["data"] : []];
  return digests.length === 0 ? [] : [["digests", digests.join(" and ")]];
}

/** A path on one line, what it did on the next, how long that took, and what went wrong. */
function pathLines(path: PathInfo, queuesOfVolume: number): string[] {
  const reason = path.reason === null ? "" : `: ${oneLine(path.reason)}`;
  const queues = path.queues < queuesOfVolume
    ? `${path.queues} of ${count(queuesOfVolume, "queue")}`
    : count(path.queues, "queue");
  const controller = path.cntlid === null ? "" : `, controller ${path.cntlid}, ${queues}`;
  const ana = path.state === "live" ? `, ${path.ana}${path.standby ? ", standby" : ""}` : "";
  const counters = [
    `${count(path.reads, "read")} (${formatSize(path.readBytes)})`,
    `${count(path.writes, "write")} (${formatSize(path.writeBytes)})`,
    `${path.inflight} in flight${path.inflightBytes > 0 ? ` (${formatSize(path.inflightBytes)})` : ""}`,
  ];
  const troubles = [
    count(path.errors, "error answer"),
    `${path.failovers} moved to other paths`,
    count(path.reconnects, "reconnect"),
    ...path.digestErrors > 0 ? [count(path.digestErrors, "digest error")] : [],
  ];
  const weight = path.weight === 1 ? "" : `, weight ${path.weight}`;
  const slow = path.slowSince === null ? "" : `, slow since ${path.slowSince}`;
  const times = [
    ...latencyWords("reads", path.readMs, path.readMsMax),
    ...latencyWords("writes", path.writeMs, path.writeMsMax),
  ];
  return [
    `${path.id}  ${pathWords(path)}  ${path.state}${ana}${controller}${weight}${slow}${reason}`,
    `     ${counters.join(", ")}`,
    ...(times.length === 0 ? [] : [`     ${times.join(", ")}`]),
    `     ${troubles.join(", ")}`,
  ];
}

function latencyWords(what: string, meanMs: number | null, mostMs: number | null): string[] {
  return meanMs === null || mostMs === null ? [] : [`${what} take ${shortMs(meanMs)} (at most ${shortMs(mostMs)})`];
}

/** Three digits are enough for people. */
function shortMs(ms: number): string {
  return `${ms >= 100 ? Math.round(ms) : Number(ms.toPrecision(3))} ms`;
}

function stateWords(volume: VolumeInfo): string {
  return `${volume.state}, ${livePaths(volume)} of ${count(volume.paths.length, "path")} live`;
}

function policyWords({ policy, preferredPath, failback }: VolumeInfo): string {
  const preferred = preferredPath === null ? "" : `, path ${preferredPath} preferred`;
  return `${policy}${preferred}${failback === "auto" ? "" : `, failback ${failback}`}`;
}

function deviceWords(volume: VolumeInfo): string {
  const queues = `${count(volume.queues, "queue")} of depth ${volume.depth}`;
  return volume.device === null ? `none, ${queues}` : `${volume.device} (${volume.driver}), ${queues}`;
}

/** No line breaks between a time and its name. */
function timeLines(volume: VolumeInfo): string[] {
  const words = timeWords(volume).map((word) => word.replaceAll(" ", "\xa0")).join(", ");
  return wrapWords(words, TIMES_COLUMNS_MAX).map((line) => line.replaceAll("\xa0", " "));
}

function timeWords({ timeouts: times, writeHoldAuto }: VolumeInfo): string[] {
  return [
    `connect ${formatDuration(times.connectTimeoutMs)}`,
    `keep-alive ${formatDuration(times.keepAliveMs)}`,
    `io ${formatDuration(times.ioTimeoutMs)}`,
    `no-path ${formatDuration(times.noPathTimeoutMs)}`,
    `fast-io-fail ${formatDuration(times.fastIoFailTimeoutMs)}`,
    `ctrl-loss ${formatDuration(times.ctrlLossTimeoutMs)}`,
    `reconnect ${formatDuration(times.reconnectDelayMs)} to ${formatDuration(times.reconnectDelayMaxMs)}`,
    `write-hold ${formatDuration(times.writeHoldMs)}${writeHoldAuto ? " (auto)" : ""}`,
  ];
}

function livePaths(volume: VolumeInfo): number {
  return volume.paths.filter((path) => path.state === "live").length;
}

function indent(lines: readonly string[], width = 2): string[] {
  return lines.map((line) => " ".repeat(width) + line);
}
