import { ALL_FULL, type Candidates, NO_PATH, type Policy } from "./policy.ts";

/** Each usable path of the best rank in turn. */
export class RoundRobin implements Policy {
  readonly name = "round-robin";
  #last = -1;

  select(candidates: Candidates): number {
    const paths = candidates.paths;
    const last = this.#last < paths ? this.#last : -1;
    let best = NO_PATH;
    let bestRank = Infinity;
    for (let i = 1; i <= paths; i++) {
      let path = last + i;
      if (path >= paths) path -= paths;
      const rank = candidates.rank(path);
      if (rank === 0 || rank > bestRank) continue;
      if (rank === bestRank && best >= 0) continue;
      bestRank = rank;
      best = candidates.room(path) > 0 ? path : ALL_FULL;
    }
    if (best >= 0) this.#last = best;
    return best;
  }
}
