/** Volumes and paths as text for people. */
import { alignRows, count, cutLine, oneLine, wrapWords } from "../base/text.ts";
import { formatDuration, formatSize } from "../base/units.ts";
import type { AttachingInfo, LeftInfo, PathInfo, VolumeInfo } from "../rpc/host_api.ts";
import { pathWords } from "../rpc/path_words.ts";
import { TIMEOUT_OPTIONS } from "./timeout_options.ts";

/** Columns of `show` where no terminal says how many it has. */
const DETAILS_COLUMNS = 100;
const DETAILS_COLUMNS_MIN = 40;

const LIST_COLUMNS = ["NAME", "DEVICE", "SIZE", "STATE", "PATHS", "POLICY", "NQN", "NSID", "REMARKS"] as const;
type ListColumn = typeof LIST_COLUMNS[number];
/** Columns that a narrow terminal does without, the first first. */
const LIST_OPTIONAL: readonly ListColumn[] = ["POLICY", "NSID", "NQN", "SIZE"];
const NQN_COLUMNS_MIN = 20;

/**
 * One aligned line for each volume, by name. On a terminal there is a header, and what does not fit is shortened or left
 * out. Elsewhere (`columns: null`) scripts get all of every line and no header.
 */
export function volumeLines(
  volumes: readonly (VolumeInfo | AttachingInfo | LeftInfo)[],
  columns: number | null = null,
): string[] {
  const rows = volumes.toSorted((a, b) => a.name < b.name ? -1 : 1).map(listRow);
  if (columns === null) return listLines(rows, LIST_COLUMNS);
  const used = LIST_COLUMNS.filter((column) => column !== "REMARKS" || rows.some((row) => row.REMARKS !== ""));
  const header = Object.fromEntries(LIST_COLUMNS.map((column) => [column, column])) as ListRow;
  for (let left = 0;; left++) {
    const shown = used.filter((column) => !LIST_OPTIONAL.slice(0, left).includes(column));
    const lines = listLines([header, ...rows], shown);
    const over = Math.max(...lines.map((line) => line.length)) - columns;
    if (over <= 0) return lines;
    const nqnColumns = Math.max(...rows.map(({ NQN }) => NQN.length)) - over;
    if (shown.includes("NQN") && nqnColumns >= NQN_COLUMNS_MIN) {
      return listLines([header, ...rows.map((row) => ({ ...row, NQN: endOf(row.NQN, nqnColumns) }))], shown);
    }
    if (left === LIST_OPTIONAL.length) return lines.map((line) => cutLine(line, columns));
  }
}

type ListRow = Record<ListColumn, string>;
const UNKNOWN_ROW: ListRow = Object.freeze({
  ...{ NAME: "-", DEVICE: "-", SIZE: "-", STATE: "-", PATHS: "-", POLICY: "-", NQN: "-", NSID: "-", REMARKS: "" },
});

function listRow(volume: VolumeInfo | AttachingInfo | LeftInfo): ListRow {
  if ("why" in volume) return { ...UNKNOWN_ROW, NAME: volume.name || "-", DEVICE: volume.device, STATE: "dead" };
  if (!("paths" in volume)) return attachingRow(volume);
  const { name, nsid, device, sizeBytes, sizeWarning, readOnly, state, paths, policy, nqn } = volume;
  return {
    NAME: name,
    DEVICE: device ?? "-",
    SIZE: formatSize(sizeBytes),
    STATE: state,
    PATHS: `${servingPaths(volume)}/${count(knownPaths(volume), "path")}`,
    POLICY: policy,
    NQN: oneLine(nqn),
    NSID: `${nsid}`,
    REMARKS: [
      ...readOnly ? ["read-only"] : [],
      ...sizeWarning === null ? [] : ["size-differs"],
      ...knownPaths(volume) === paths.length ? [] : [`${paths.length - knownPaths(volume)}-never-up`],
    ].join(" "),
  };
}

function attachingRow({ name, nqn, nsid, state }: AttachingInfo): ListRow {
  return { ...UNKNOWN_ROW, NAME: name, STATE: state, NQN: oneLine(nqn), NSID: `${nsid}` };
}

function listLines(rows: readonly ListRow[], columns: readonly ListColumn[]): string[] {
  return alignRows(rows.map((row) => columns.map((column) => row[column])), { right: [columns.indexOf("SIZE")] });
}

/** The end of an NQN says more than its beginning. */
function endOf(text: string, columns: number): string {
  return text.length <= columns ? text : `…${text.slice(1 - columns)}`;
}

/** Everything about one volume: itself, its times, and its paths with their counters, on lines of so many columns. */
export function volumeDetails(volume: VolumeInfo, columns: number | null = null): string[] {
  const width = Math.max(columns ?? DETAILS_COLUMNS, DETAILS_COLUMNS_MIN);
  const facts = volumeFacts(volume);
  const names = Math.max(...facts.map(([name]) => name!.length));
  return [
    ...wrapWords(`${volume.name}: ${stateWords(volume)}`, width),
    ...facts.flatMap(([name, value]) => hanging(`  ${name!.padEnd(names)}  `, value!, width)),
    "  paths",
    ...volume.paths.flatMap((path) => {
      const [first, ...further] = pathLines(path, volume.queues);
      const id = `    ${path.id}  `;
      return [...hanging(id, first!, width), ...further.flatMap((line) => hanging(" ".repeat(id.length), line, width))];
    }),
  ];
}

/** What is to be said of a device that a volume has left. */
export function leftDetails({ name, device, driver, why, use, remedy }: LeftInfo): string[] {
  return [
    `${name || device}: dead, ${why}`,
    ...alignRows([
      ["device", `${device} (${driver}): all I/O on it fails`],
      ...use === null ? [] : [["use", `it ${use}`]],
      ["remedy", remedy],
    ]).map((line) => `  ${line}`),
  ];
}

/** Text behind a head; lines that do not fit go on below the text. Parts with spaces that no break may tear have \xa0. */
function hanging(head: string, text: string, width: number): string[] {
  return wrapWords(text, Math.max(width - head.length, 1))
    .map((line, i) => (i === 0 ? head : " ".repeat(head.length)) + line.replaceAll("\xa0", " "));
}

function volumeFacts(volume: VolumeInfo): string[][] {
  const blocks = `in blocks of ${formatSize(volume.blockSize)}`;
  return [
    ["nqn", oneLine(volume.nqn)],
    ["namespace", `${volume.nsid}, ${volume.uuid}`],
    ["size", `${formatSize(volume.sizeBytes)} ${blocks}`],
    ...(volume.sizeWarning === null ? [] : [["warning", oneLine(volume.sizeWarning)]]),
    ...(volume.readOnlyReason === null ? [] : [["read-only", oneLine(volume.readOnlyReason)]]),
    ["device", deviceWords(volume)],
    ["storage", oneLine(`${volume.model.trim()}, serial number ${volume.serial.trim()}`)],
    ["policy", policyWords(volume)],
    ...(volume.slowPath === "off" ? [] : [["slow-path", volume.slowPath]]),
    ...hedgeFacts(volume),
    ...digestFacts(volume),
    ["times", timeWords(volume).map((word) => word.replaceAll(" ", "\xa0")).join(", ")],
    ...volume.handedOver === 0 ? [] : [["handed over", `${count(volume.handedOver, "request")} to other queues`]],
    ...failedFacts(volume),
    ["waiting", `${count(volume.waiting, "request")} for a path, ${count(volume.held, "write")} held`],
  ];
}

/** What the application was told of: nothing while nothing has failed. */
function failedFacts({ failedReads, failedWrites, failedFlushes, failedDiscards }: VolumeInfo): string[][] {
  const counts = [
    ...failedReads > 0 ? [count(failedReads, "read")] : [],
    ...failedWrites > 0 ? [count(failedWrites, "write")] : [],
    ...failedFlushes > 0 ? [failedFlushes === 1 ? "1 flush" : `${failedFlushes} flushes`] : [],
    ...failedDiscards > 0 ? [count(failedDiscards, "discard")] : [],
  ];
  return counts.length === 0 ? [] : [["failed", counts.join(", ")]];
}

function hedgeFacts(volume: VolumeInfo): string[][] {
  const { hedgeReads, hedges, hedgesWon, hedgesSuppressed, hedgeMs } = volume;
  if (hedgeReads === "off") return [];
  const now = hedgeReads.startsWith("p") ? `, ${hedgeMs === null ? "not known yet" : `${shortMs(hedgeMs)} now`}` : "";
  const reads = `${
    count(hedges, "read")
  } repeated, ${hedgesWon} answered first, ${hedgesSuppressed} late but not repeated`;
  return [["hedge-reads", `${hedgeReads}${now}: ${reads}`]];
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
    `${pathWords(path)}  ${
      path.state === "live" && !serves(path) ? "connected" : path.state
    }${ana}${controller}${weight}${slow}${reason}`,
    counters.join(", "),
    ...(times.length === 0 ? [] : [times.join(", ")]),
    troubles.join(", "),
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
  const { paths, state } = volume;
  if (volume.deviceReason !== null) return `${state}: ${volume.deviceReason}`;
  const idle = paths.filter((path) => path.state === "live" && !serves(path));
  const states = [...new Set(idle.map(({ ana }) => ana))].join(", ");
  const known = knownPaths(volume);
  const remarks = [
    ...idle.length === 0 ? [] : [`${idle.length} connected, ${states}`],
    ...known === paths.length ? [] : [`${paths.length - known} never up`],
  ];
  const remark = remarks.length === 0 ? "" : ` (${remarks.join("; ")})`;
  const serving = servingPaths(volume);
  return `${state}, ${serving} of ${count(known, "path")} ${serving === 1 ? "serves" : "serve"}${remark}`;
}

function policyWords({ policy, preferredPath, failback }: VolumeInfo): string {
  const preferred = preferredPath === null ? "" : `, preferred-path ${preferredPath}`;
  return `${policy}${preferred}${failback === "auto" ? "" : `, failback ${failback}`}`;
}

function deviceWords(volume: VolumeInfo): string {
  const queues = `${count(volume.queues, "queue")} of depth ${volume.depth}`;
  return volume.device === null ? `none, ${queues}` : `${volume.device} (${volume.driver}), ${queues}`;
}

function timeWords({ timeouts: times, writeHoldAuto }: VolumeInfo): string[] {
  return [
    ...TIMEOUT_OPTIONS.filter(({ key }) => key !== "writeHoldMs")
      .map(({ name, key }) => `${name.slice(2)} ${formatDuration(times[key])}`),
    `write-hold ${formatDuration(times.writeHoldMs)}${writeHoldAuto ? " (auto)" : ""}`,
  ];
}

/** Paths that I/O can take now: connected, and in an ANA state that serves. */
function servingPaths(volume: VolumeInfo): number {
  return volume.paths.filter(serves).length;
}

/** Paths that have been live, now or before: the others may be errors of whoever named them. */
function knownPaths(volume: VolumeInfo): number {
  return volume.paths.filter((path) => !path.neverLive).length;
}

function serves({ state, ana }: PathInfo): boolean {
  return state === "live" && (ana === "optimized" || ana === "non-optimized");
}
