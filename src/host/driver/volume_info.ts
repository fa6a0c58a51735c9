/** What is told of a volume and its paths. */
import { Counters, PathCounter, QueueCounter } from "../../multipath/counters.ts";
import type { PathTable } from "../../multipath/path_table.ts";
import type { PathInfo, VolumeInfo, VolumeState } from "../../rpc/host_api.ts";
import type { VolumePath } from "./volume_path.ts";

/** What the volume itself says. */
type VolumeFacts = Omit<VolumeInfo, "paths" | keyof QueueFacts>;

/** Where the rest comes from. */
interface VolumeParts {
  paths: readonly VolumePath[];
  /** One of each queue. */
  counters: readonly Counters[];
  table: PathTable;
  slow: { since(path: number): Date | null };
}

/** Everything of a volume, with what its queues have counted. */
export function volumeInfo(facts: VolumeFacts, { paths, counters, table, slow }: VolumeParts): VolumeInfo {
  return {
    ...facts,
    ...queueFacts(counters),
    paths: paths.toSorted((a, b) => a.index - b.index).map((path) => ({
      ...pathInfo(path, counters),
      weight: table.weight(path.index),
      slowSince: slow.since(path.index)?.toISOString() ?? null,
      standby: path.isServing && table.isStandby(path.index),
    })),
  };
}

/** What the queues have counted of themselves. */
type QueueFacts = Pick<
  VolumeInfo,
  | "waiting"
  | "held"
  | "handedOver"
  | "failedReads"
  | "failedWrites"
  | "failedFlushes"
  | "failedDiscards"
  | "hedges"
  | "hedgesWon"
  | "hedgesSuppressed"
  | "hedgeMs"
>;

function queueFacts(counters: readonly Counters[]): QueueFacts {
  const count = (counter: number) => sum(counters, (of) => of.queue(counter));
  return {
    waiting: count(QueueCounter.WAITING),
    held: count(QueueCounter.HELD),
    handedOver: count(QueueCounter.HANDED),
    failedReads: count(QueueCounter.FAILED_READS),
    failedWrites: count(QueueCounter.FAILED_WRITES),
    failedFlushes: count(QueueCounter.FAILED_FLUSHES),
    failedDiscards: count(QueueCounter.FAILED_DISCARDS),
    hedges: count(QueueCounter.HEDGES),
    hedgesWon: count(QueueCounter.HEDGES_WON),
    hedgesSuppressed: count(QueueCounter.HEDGES_SUPPRESSED),
    hedgeMs: rounded(Math.max(0, ...counters.map((of) => of.queue(QueueCounter.HEDGE_MS)))) || null,
  };
}

/** Live only if every path serves I/O that has ever been live: one that never was is no loss, and perhaps an error. */
export function volumeState(paths: readonly Pick<VolumePath, "isServing" | "hasServed">[]): VolumeState {
  if (!paths.some((path) => path.isServing)) return "no-path";
  return paths.every((path) => path.isServing || !path.hasServed) ? "live" : "degraded";
}

function sum(counters: readonly Counters[], of: (counters: Counters) => number): number {
  return counters.reduce((total, each) => total + of(each), 0);
}

function pathInfo(path: VolumePath, counters: readonly Counters[]): Omit<PathInfo, "weight" | "slowSince" | "standby"> {
  const count = (counter: number) => Counters.sumPath(counters, path.index, counter);
  return {
    id: path.index,
    ...path.spec,
    state: path.state,
    ana: path.ana,
    inflight: count(PathCounter.IN_FLIGHT),
    inflightBytes: count(PathCounter.BYTES_IN_FLIGHT),
    reads: count(PathCounter.READS),
    writes: count(PathCounter.WRITES),
    readBytes: count(PathCounter.READ_BYTES),
    writeBytes: count(PathCounter.WRITE_BYTES),
    errors: count(PathCounter.ERRORS),
    failovers: count(PathCounter.FAILOVERS),
    digestErrors: count(PathCounter.DIGEST_ERRORS),
    reason: path.reason,
    cntlid: path.cntlid,
    queues: path.openLinks,
    reconnects: path.reconnects,
    neverLive: !path.hasServed,
    ...times(path.index, counters),
  };
}

/** The means of the queues weigh as much as what each has read or written. */
function times(path: number, counters: readonly Counters[]) {
  const mean = (amount: number, ms: number) => {
    const measured = counters.filter((of) => of.path(path, ms) > 0);
    const amounts = Counters.sumPath(measured, path, amount);
    return amounts === 0 ? null : rounded(sum(measured, (of) => of.path(path, ms) * of.path(path, amount)) / amounts);
  };
  const most = (ms: number) => rounded(Math.max(0, ...counters.map((of) => of.path(path, ms)))) || null;
  return {
    readMs: mean(PathCounter.READS, PathCounter.READ_MS),
    readMsMax: most(PathCounter.READ_MS_MAX),
    writeMs: mean(PathCounter.WRITES, PathCounter.WRITE_MS),
    writeMsMax: most(PathCounter.WRITE_MS_MAX),
  };
}

/** To whole microseconds, but never to nothing. */
function rounded(ms: number): number {
  return ms > 0 ? Math.max(Math.round(ms * 1000), 1) / 1000 : 0;
}
