/** What is told of a volume and its paths. */
import { type Counters, PathCounter, QueueCounter } from "../multipath/counters.ts";
import { anaServesIo } from "../nvme/ana.ts";
import type { PathInfo, VolumeInfo, VolumeState } from "./api.ts";
import type { VolumePath } from "./volume_path.ts";

/** What the volume itself says. */
type VolumeFacts = Omit<VolumeInfo, "state" | "waiting" | "held" | "paths">;

/** Everything of a volume, with what its queues have counted. */
export function volumeInfo(
  facts: VolumeFacts,
  paths: readonly VolumePath[],
  counters: readonly Counters[],
): VolumeInfo {
  return {
    ...facts,
    state: volumeState(paths),
    waiting: sum(counters, (of) => of.queue(QueueCounter.WAITING)),
    held: sum(counters, (of) => of.queue(QueueCounter.HELD)),
    paths: paths.toSorted((a, b) => a.index - b.index).map((path) => pathInfo(path, counters)),
  };
}

/** Live only if every path serves I/O. */
export function volumeState(paths: readonly VolumePath[]): VolumeState {
  const live = paths.filter((path) => path.state === "live" && anaServesIo(path.ana)).length;
  return live === 0 ? "no-path" : live === paths.length ? "live" : "degraded";
}

function sum(counters: readonly Counters[], of: (counters: Counters) => number): number {
  return counters.reduce((total, each) => total + of(each), 0);
}

function pathInfo(path: VolumePath, counters: readonly Counters[]): PathInfo {
  const count = (counter: number) => sum(counters, (of) => of.path(path.index, counter));
  return {
    id: path.index,
    ...path.spec,
    state: path.state,
    ana: path.ana,
    inflight: count(PathCounter.IN_FLIGHT),
    reads: count(PathCounter.READS),
    writes: count(PathCounter.WRITES),
    readBytes: count(PathCounter.READ_BYTES),
    writeBytes: count(PathCounter.WRITE_BYTES),
    errors: count(PathCounter.ERRORS),
    failovers: count(PathCounter.FAILOVERS),
    reason: path.reason,
    cntlid: path.cntlid,
    queues: path.openLinks,
    reconnects: path.reconnects,
  };
}
