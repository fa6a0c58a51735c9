import { LeastCost } from "./least_cost.ts";
import type { Candidates } from "./policy.ts";

/** Paths whose next answers are expected within an eighth of each other are used in turn: so much is noise. */
const CHEAPER = 7 / 8;
/** One command of so many may go to a path that has not been used for so long, to see whether it is faster now. */
const PROBE_COMMANDS = 256;
const PROBE_MS = 1000;

/** The path that is expected to answer first, by what is in flight on it and how long its answers have taken lately. */
export class ServiceTime extends LeastCost {
  readonly name = "service-time";
  #commands = 0;

  constructor() {
    super({ cheaper: CHEAPER });
  }

  override select(candidates: Candidates): number {
    this.#commands = (this.#commands + 1) % PROBE_COMMANDS;
    const unused = this.#commands === 0 ? longestUnused(candidates) : -1;
    return unused >= 0 ? unused : super.select(candidates);
  }

  protected cost(candidates: Candidates, path: number): number {
    return candidates.expectedMs(path);
  }
}

/** The path of the best rank, with room, that was not used for the longest time, if that is long enough; else -1. */
function longestUnused(candidates: Candidates): number {
  let best = -1;
  let bestRank = Infinity;
  let since = Infinity;
  for (let path = 0; path < candidates.paths; path++) {
    const rank = candidates.rank(path);
    if (rank === 0 || rank > bestRank) continue;
    if (rank < bestRank) {
      bestRank = rank;
      best = -1;
      since = Infinity;
    }
    const lastUsedMs = candidates.lastUsedMs(path);
    if (lastUsedMs >= since || candidates.room(path) <= 0) continue;
    best = path;
    since = lastUsedMs;
  }
  return candidates.nowMs - since >= PROBE_MS ? best : -1;
}
