/**
 * Requests that end with an errno towards the application: how many, and what the last one was, in the queue's counters.
 * The control plane reads them now and then; nothing is said or sent from here.
 */
import { BlockOp } from "../block/request.ts";
import { type Counters, QueueCounter } from "./counters.ts";

/** A request that failed. */
export interface FailedRequest {
  /** One of `BlockOp`. */
  readonly op: number;
  readonly lba: number;
  readonly blocks: number;
  readonly errno: number;
  /** The status that the target gave last; 0 if that is not why. */
  readonly status: number;
  /** The path that gave it; -1 if none did. */
  readonly path: number;
  /** How long there was no path, in milliseconds; -1 if that is not why. */
  readonly pathlessMs: number;
}

/** What is counted of each operation. */
export const FAILED_COUNTERS: Readonly<Record<number, number>> = Object.freeze({
  [BlockOp.READ]: QueueCounter.FAILED_READS,
  [BlockOp.WRITE]: QueueCounter.FAILED_WRITES,
  [BlockOp.FLUSH]: QueueCounter.FAILED_FLUSHES,
  [BlockOp.DISCARD]: QueueCounter.FAILED_DISCARDS,
  [BlockOp.WRITE_ZEROES]: QueueCounter.FAILED_DISCARDS,
});

const LAST: readonly (keyof FailedRequest)[] = ["op", "lba", "blocks", "errno", "status", "path", "pathlessMs"];

/** Counts a failure and keeps it as the last one. */
export function noteFailed(counters: Counters, failed: FailedRequest): void {
  LAST.forEach((field, i) => counters.setQueue(QueueCounter.LAST_FAILED + i, failed[field]));
  counters.addQueue(FAILED_COUNTERS[failed.op], 1);
}

/** The request that failed last, as far as any did. */
export function lastFailed(counters: Counters): FailedRequest {
  const [op, lba, blocks, errno, status, path, pathlessMs] = LAST.map((_, i) =>
    counters.queue(QueueCounter.LAST_FAILED + i)
  );
  return { op, lba, blocks, errno, status, path, pathlessMs };
}

/** Requests of a queue that failed. */
export function failedCount(counters: Counters): number {
  const { FAILED_READS, FAILED_WRITES, FAILED_FLUSHES, FAILED_DISCARDS } = QueueCounter;
  return [FAILED_READS, FAILED_WRITES, FAILED_FLUSHES, FAILED_DISCARDS]
    .reduce((sum, counter) => sum + counters.queue(counter), 0);
}
