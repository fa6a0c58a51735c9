import { ALL_FULL, type Candidates, NO_PATH, type Policy } from "./policy.ts";

/**
 * The path of the best rank, with room, whose next command costs least. Those that cost about the same are used in turn:
 * the search begins after the path that was picked last, and only what is clearly cheaper is preferred to what it
 * finds first.
 */
export abstract class LeastCost implements Policy {
  abstract readonly name: string;
  /** A path that costs less than this share of another's cost is clearly cheaper. */
  readonly #cheaper: number;
  #last = -1;

  protected constructor({ cheaper }: { cheaper: number }) {
    this.#cheaper = cheaper;
  }

  protected abstract cost(candidates: Candidates, path: number): number;

  select(candidates: Candidates): number {
    const paths = candidates.paths;
    const last = this.#last < paths ? this.#last : -1;
    let best = NO_PATH;
    let bestRank = Infinity;
    let bound = Infinity;
    for (let i = 1; i <= paths; i++) {
      let path = last + i;
      if (path >= paths) path -= paths;
      const rank = candidates.rank(path);
      if (rank === 0 || rank > bestRank) continue;
      if (rank < bestRank) {
        bestRank = rank;
        best = ALL_FULL;
        bound = Infinity;
      }
      if (candidates.room(path) <= 0) continue;
      const cost = this.cost(candidates, path);
      if (cost >= bound) continue;
      best = path;
      bound = cost * this.#cheaper;
    }
    if (best >= 0) this.#last = best;
    return best;
  }
}
