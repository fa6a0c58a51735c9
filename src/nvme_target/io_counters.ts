/** What is counted of I/O commands: what the SMART log tells of (NVMe Base 2.0, section 5.16.1.3). */
export const IoCounter = {
  /** Reads and Compares that were done. */
  READS: 0,
  WRITES: 1,
  READ_BYTES: 2,
  WRITE_BYTES: 3,
  /** Commands that were answered with an error, one of the host's included. */
  ERRORS: 4,
  /** Commands that failed because what is behind the namespace did. */
  DEVICE_ERRORS: 5,
} as const;

const WORDS = 8;

/**
 * Counters in shared memory: one thread adds, for as many queues as it has, the main thread reads whenever it is asked.
 * Numbers are exact up to 2^53.
 */
export class IoCounters {
  readonly shared: SharedArrayBuffer;
  readonly values: Float64Array;

  constructor(shared?: SharedArrayBuffer) {
    this.shared = shared ?? new SharedArrayBuffer(WORDS * 8);
    this.values = new Float64Array(this.shared);
  }

  /** One of {@linkcode IoCounter}. */
  get(counter: number): number {
    return this.values[counter];
  }

  add(counter: number, amount: number): void {
    this.values[counter] += amount;
  }
}
