import { logger } from "../../base/log.ts";
import { Counters, PathCounter } from "../../multipath/counters.ts";
import type { PathTable } from "../../multipath/path_table.ts";
import { type PathTotals, type SlowChange, SlowPaths } from "../../multipath/slow_paths.ts";
import type { SlowPathMode } from "../../settings/latency_settings.ts";
import { pathWords } from "../../rpc/path_words.ts";
import type { VolumePath } from "./volume_path.ts";

const log = logger("volume");

/** How often the counters are looked at. Nothing but this timer is spent on it, and only while it is wanted. */
const LOOK_MS = 500;

/** What it watches. */
export interface WatchedVolume {
  readonly name: string;
  readonly table: PathTable;
  readonly paths: { readonly all: readonly VolumePath[] };
  /** One of each queue. */
  readonly counters: readonly Counters[];
}

/** Looks at what the queues of a volume have counted, and tells them by the path table which paths are slow. */
export class SlowPathWatch {
  readonly #volume: WatchedVolume;
  #slow = new SlowPaths();
  readonly #since = new Map<number, Date>();
  #timer: ReturnType<typeof setInterval> | undefined;

  constructor(volume: WatchedVolume) {
    this.#volume = volume;
  }

  /** Since when the path is slow, as a time of the day; null while it is not. */
  since(path: number): Date | null {
    return this.#since.get(path) ?? null;
  }

  setMode(mode: SlowPathMode): void {
    const isOn = this.#timer !== undefined;
    if (isOn === (mode === "demote")) return;
    if (isOn) return this.end();
    this.#timer = setInterval(() => this.look(performance.now()), LOOK_MS);
  }

  /** Watches no more; no path is slow. */
  end(): void {
    clearInterval(this.#timer);
    this.#timer = undefined;
    this.#slow = new SlowPaths();
    this.#since.clear();
    this.#volume.table.setSlow(0);
  }

  /** Another path has the index from now on. */
  handlePathMade(path: number): void {
    this.#slow.forget(path);
    this.#since.delete(path);
    this.#volume.table.setSlow(this.#slow.mask);
  }

  look(nowMs: number): void {
    const totals: PathTotals[] = [];
    for (const path of this.#volume.paths.all) totals[path.index] = this.#totalsOf(path);
    this.#slow.handleLook(totals, nowMs);
    this.#volume.table.setSlow(this.#slow.mask);
    for (const change of this.#slow.takeChanges()) this.#tell(change);
  }

  #totalsOf({ index, isServing }: VolumePath): PathTotals {
    const sum = (counter: number) => Counters.sumPath(this.#volume.counters, index, counter);
    return {
      rank: isServing ? this.#volume.table.ana(index) : 0,
      inFlight: sum(PathCounter.IN_FLIGHT),
      reads: sum(PathCounter.READS),
      readMs: sum(PathCounter.READ_MS_SUM),
      writes: sum(PathCounter.WRITES),
      writeMs: sum(PathCounter.WRITE_MS_SUM),
    };
  }

  #tell({ path, isSlow, what, tookMs, peerMs }: SlowChange): void {
    if (isSlow) this.#since.set(path, new Date());
    else this.#since.delete(path);
    const spec = this.#volume.paths.all.find(({ index }) => index === path)?.spec;
    const who = `${this.#volume.name}: path ${path}${spec === undefined ? "" : ` (${pathWords(spec)})`}`;
    const times = `${what} take ${tookMs.toFixed(2)} ms on it and ${peerMs.toFixed(2)} ms on its fastest peer`;
    if (isSlow) log.warn(`${who} is slow and used no more than to probe it: ${times}`);
    else if (what === "") log.info(`${who} is used as before: no other path can stand in for it`);
    else log.info(`${who} is no longer slow: ${times}`);
  }
}
