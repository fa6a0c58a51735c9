import { PATHS_MAX } from "../base/limits.ts";

/** What is counted of one path. */
export const PathCounter = {
  READS: 0,
  WRITES: 1,
  READ_BYTES: 2,
  WRITE_BYTES: 3,
  /** Answers with a status other than success. */
  ERRORS: 4,
  /** Requests that moved to another path, or waited for one, because this path failed them. */
  FAILOVERS: 5,
  IN_FLIGHT: 6,
  BYTES_IN_FLIGHT: 7,
  /** What a read and a write take from sending to answer: of late in the mean (moving, exponential), in milliseconds. */
  READ_MS: 8,
  WRITE_MS: 9,
  /** The longest that one has taken since the path was connected. */
  READ_MS_MAX: 10,
  WRITE_MS_MAX: 11,
  /** Header and data digests of the controller that were wrong. */
  DIGEST_ERRORS: 12,
  /** What all the reads and writes that were counted have taken together, in milliseconds. */
  READ_MS_SUM: 13,
  WRITE_MS_SUM: 14,
} as const;

/** What is counted of the queue itself. */
export const QueueCounter = {
  /** Requests that wait because no path is usable, or all are full. */
  WAITING: 0,
  /** Writes held after the loss of a path. */
  HELD: 1,
  /** Reads that were sent again over another path, and those of them whose copy answered first. */
  HEDGES: 2,
  HEDGES_WON: 3,
  /** Reads that were late and not sent again: too many were, or it was too large. */
  HEDGES_SUPPRESSED: 4,
  /** The time after which a read is late now, in milliseconds; 0 if there is none. */
  HEDGE_MS: 5,
  /** Requests that another queue has served, for this one had no link of a usable path. */
  HANDED: 6,
  /** Requests that ended with an errno towards the application; write zeroes count as discards. */
  FAILED_READS: 7,
  FAILED_WRITES: 8,
  FAILED_FLUSHES: 9,
  FAILED_DISCARDS: 10,
  /** The first of the words about the request that failed last (`failed_requests.ts`). */
  LAST_FAILED: 11,
} as const;

const PATH_WORDS = 16;
const QUEUE_WORDS = 20;

/**
 * Counters of one queue of a volume in shared memory: its worker adds, the main thread reads whenever it is asked.
 * Numbers are exact up to 2^53.
 */
export class Counters {
  readonly shared: SharedArrayBuffer;
  readonly values: Float64Array;

  constructor(shared?: SharedArrayBuffer) {
    this.shared = shared ?? new SharedArrayBuffer((QUEUE_WORDS + PATHS_MAX * PATH_WORDS) * 8);
    this.values = new Float64Array(this.shared);
  }

  /** Index into `values` of one of {@linkcode PathCounter}. */
  static pathIndex(path: number, counter: number): number {
    return QUEUE_WORDS + path * PATH_WORDS + counter;
  }

  /** What all queues of a volume have counted for a path. */
  static sumPath(queues: readonly Counters[], path: number, counter: number): number {
    return queues.reduce((sum, of) => sum + of.path(path, counter), 0);
  }

  path(path: number, counter: number): number {
    return this.values[Counters.pathIndex(path, counter)];
  }

  addPath(path: number, counter: number, amount: number): void {
    this.values[Counters.pathIndex(path, counter)] += amount;
  }

  /** Begins to count anew for a path index that gets another path. */
  clearPath(path: number): void {
    this.values.fill(0, Counters.pathIndex(path, 0), Counters.pathIndex(path + 1, 0));
  }

  queue(counter: number): number {
    return this.values[counter];
  }

  addQueue(counter: number, amount: number): void {
    this.values[counter] += amount;
  }

  setQueue(counter: number, value: number): void {
    this.values[counter] = value;
  }
}
