/**
 * How a path is picked. A policy knows nothing but the candidates of one moment; what it must remember it keeps in
 * itself, one instance a queue. It is asked for every command, and therefore allocates nothing.
 *
 * Every policy heeds the rank first: paths of a worse one are used only while none of a better one is usable. Where all
 * of the best rank are full, commands wait for them.
 */

/** What is added to the rank of a path that is slower than its peers, so that they are used before it. */
export const RANK_SLOW = 1;

/** What a policy may know of a path at the moment. */
export interface Candidates {
  readonly paths: number;
  /** 0: not usable now. Otherwise a rank: lower ranks are used before higher ones (ANA optimized is 1). */
  rank(path: number): number;
  /** Commands that the path can take now. */
  room(path: number): number;
  /** Commands that are in flight on the path. */
  inFlight(path: number): number;
  /** When the next command would be answered, as far as is known: in so many milliseconds. 0: nothing is known. */
  expectedMs(path: number): number;
  /** When the path got its last command that was such as the next one, in milliseconds as `nowMs` is. */
  lastUsedMs(path: number): number;
  /** The share of the path among the others, a whole number from 1 up. */
  weight(path: number): number;
  /** The path that is used before others; -1 for none. */
  readonly preferred: number;
  readonly nowMs: number;
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
