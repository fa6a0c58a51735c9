/**
 * How a path is picked. A policy is a pure function over the candidates of one moment; what it must remember it keeps
 * in itself, one instance a queue.
 */

/** What a policy may know of a path at the moment. */
export interface Candidates {
  readonly paths: number;
  /** 0: not usable now. Otherwise a rank: lower ranks are used before higher ones (ANA optimized is 1). */
  rank(path: number): number;
  /** Commands that the path can take now. */
  room(path: number): number;
}

/** No path is usable. */
export const NO_PATH = -1;
/** Paths are usable, but all of them are full. */
export const ALL_FULL = -2;

export interface Policy {
  readonly name: string;
  /** The path for the next command, or NO_PATH or ALL_FULL. */
  select(candidates: Candidates): number;
}

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

/** The policies by their names on the command line. */
export const POLICIES: Readonly<Record<string, () => Policy>> = {
  "round-robin": () => new RoundRobin(),
};
