import { ALL_FULL, type Candidates, NO_PATH, type Policy } from "./policy.ts";

/**
 * One path at a time: the preferred one while it is usable; otherwise the one of the largest weight, and of several the
 * first. It remembers nothing, so that the queues of a volume agree: storage that moves a volume to whichever controller
 * is asked would be asked by both otherwise. If the path is full, commands wait for it.
 */
export class ActivePassive implements Policy {
  readonly name = "active-passive";

  select(candidates: Candidates): number {
    const { paths, preferred } = candidates;
    let best = NO_PATH;
    let bestRank = Infinity;
    let bestWeight = 0;
    for (let path = 0; path < paths; path++) {
      const rank = candidates.rank(path);
      if (rank === 0 || rank > bestRank) continue;
      const weight = path === preferred ? Infinity : candidates.weight(path);
      if (rank === bestRank && weight <= bestWeight) continue;
      best = path;
      bestRank = rank;
      bestWeight = weight;
    }
    return best < 0 || candidates.room(best) > 0 ? best : ALL_FULL;
  }
}
