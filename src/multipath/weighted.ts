import { PATHS_MAX } from "../base/limits.ts";
import { ALL_FULL, type Candidates, NO_PATH, type Policy } from "./policy.ts";

/**
 * Each usable path of the best rank as often as its weight says, spread out evenly: with weights 3 and 1 it is a, a, b,
 * a. At each turn every path earns its weight; the richest is picked, and pays what all have earned.
 */
export class Weighted implements Policy {
  readonly name = "weighted";
  readonly #earned = new Int32Array(PATHS_MAX);

  select(candidates: Candidates): number {
    const paths = candidates.paths;
    let bestRank = Infinity;
    for (let path = 0; path < paths; path++) {
      const rank = candidates.rank(path);
      if (rank > 0 && rank < bestRank) bestRank = rank;
    }
    return bestRank === Infinity ? NO_PATH : this.#selectOf(candidates, bestRank);
  }

  #selectOf(candidates: Candidates, rank: number): number {
    const earned = this.#earned;
    let best = ALL_FULL;
    let total = 0;
    for (let path = 0; path < candidates.paths; path++) {
      if (candidates.rank(path) !== rank || candidates.room(path) <= 0) {
        earned[path] = 0;
        continue;
      }
      const weight = candidates.weight(path);
      earned[path] += weight;
      total += weight;
      if (best < 0 || earned[path] > earned[best]) best = path;
    }
    if (best >= 0) earned[best] -= total;
    return best;
  }
}
