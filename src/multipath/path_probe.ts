import { type Candidates, NO_PATH, RANK_SLOW } from "./policy.ts";

/** One command of so many goes to a slow path, so that its recovery is noticed: what takes long is far under 1 %. */
const PROBE_COMMANDS = 256;
/** And one in so long, at most: no more is needed to know. */
const PROBE_MS = 20;

/** Says when a queue looks at a slow path, whatever its policy. */
export class PathProbe {
  #commands = 0;
  #lastMs = -Infinity;

  /**
   * A path of `slow` (a bit each) for the next command, of several the one that was not used for longest; NO_PATH if none
   * is to be looked at now. Only a path whose peers are the best is worth a look.
   */
  select(candidates: Candidates, slow: number): number {
    if (++this.#commands < PROBE_COMMANDS || candidates.nowMs - this.#lastMs < PROBE_MS) return NO_PATH;
    const rank = bestRank(candidates) + RANK_SLOW;
    let best = NO_PATH;
    for (let path = 0; path < candidates.paths; path++) {
      if ((slow & (1 << path)) === 0 || candidates.rank(path) !== rank || candidates.room(path) <= 0) continue;
      if (best < 0 || candidates.lastUsedMs(path) < candidates.lastUsedMs(best)) best = path;
    }
    if (best < 0) return NO_PATH;
    this.#commands = 0;
    this.#lastMs = candidates.nowMs;
    return best;
  }
}

function bestRank(candidates: Candidates): number {
  let best = Infinity;
  for (let path = 0; path < candidates.paths; path++) {
    const rank = candidates.rank(path);
    if (rank > 0 && rank < best) best = rank;
  }
  return best;
}
