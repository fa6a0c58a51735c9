/** Paths of one moment for a policy, and many selections of it. */
import { assertEquals } from "@std/assert";
import { Prng } from "../../../src/base/prng.ts";
import { ALL_FULL, type Candidates, NO_PATH, type Policy } from "../../../src/multipath/policy.ts";

/** What is true of one path; what is not told is that of a path that can be used and does nothing. */
export interface CandidatePath {
  rank?: number;
  room?: number;
  inFlight?: number;
  expectedMs?: number;
  lastUsedMs?: number;
  weight?: number;
}

export function candidates(paths: CandidatePath[], { preferred = -1, nowMs = 0 } = {}): Candidates {
  return {
    paths: paths.length,
    preferred,
    nowMs,
    rank: (path) => paths[path].rank ?? 1,
    room: (path) => paths[path].room ?? 9,
    inFlight: (path) => paths[path].inFlight ?? 0,
    expectedMs: (path) => paths[path].expectedMs ?? 0,
    lastUsedMs: (path) => paths[path].lastUsedMs ?? 0,
    weight: (path) => paths[path].weight ?? 1,
  };
}

/** What the policy picks so many times in a row, while nothing changes. */
export function selectSome(policy: Policy, paths: CandidatePath[], count: number, more = {}): number[] {
  return Array.from({ length: count }, () => policy.select(candidates(paths, more)));
}

/** How often it picks each of the paths. */
export function shares(policy: Policy, paths: CandidatePath[], count: number, more = {}): number[] {
  const counts = paths.map(() => 0);
  for (const path of selectSome(policy, paths, count, more)) counts[path]++;
  return counts;
}

/**
 * Fails unless the policy picks, in any constellation, a path of the best rank that has room, and says so if there is
 * none. `waits` for one that would rather wait for its path than use another one.
 */
export function checkEveryConstellation(policy: Policy, { waits = false } = {}): void {
  const prng = new Prng(11);
  for (let i = 0; i < 50_000; i++) {
    const paths = Array.from({ length: prng.below(6) }, () => ({
      rank: prng.below(4),
      room: prng.below(2),
      inFlight: prng.below(4),
      expectedMs: prng.below(4),
      weight: 1 + prng.below(4),
    }));
    const picked = policy.select(candidates(paths, { preferred: prng.below(7) - 1, nowMs: i }));
    const best = Math.min(...paths.map(({ rank }) => rank).filter((rank) => rank > 0));
    const usable = paths.filter(({ rank }) => rank === best);
    if (usable.length === 0) assertEquals(picked, NO_PATH);
    else if (usable.every(({ room }) => room === 0)) assertEquals(picked, ALL_FULL);
    else if (!(waits && picked === ALL_FULL)) assertEquals([paths[picked].rank, paths[picked].room], [best, 1]);
  }
}
