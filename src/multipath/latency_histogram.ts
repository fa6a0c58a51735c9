/** Buckets for each doubling of the time: what is read back is at most an eighth too long. */
const PER_DOUBLING = 8;
/** From 2^-6 ms (16 µs) to 2^17 ms (two minutes). */
const LOG2_MIN = -6;
const BUCKETS = (17 - LOG2_MIN) * PER_DOUBLING;
/** So many times what a percentile needs are kept when others are forgotten. */
const KEPT = 4;
/** A percentile that no fewer than so many answers have exceeded is known. */
const BEYOND_MIN = 2;
const ANSWERS_MIN = 64;

/** How long answers take of late, for percentiles. */
export class LatencyHistogram {
  readonly #counts = new Float64Array(BUCKETS);
  #total = 0;

  /** Notes an answer. */
  add(ms: number): void {
    const bucket = Math.floor((Math.log2(ms) - LOG2_MIN) * PER_DOUBLING);
    this.#counts[Math.min(Math.max(bucket, 0), BUCKETS - 1)]++;
    this.#total++;
  }

  /** The time that so many percent of the answers do not exceed, in milliseconds; infinite while too few are known. */
  percentileMs(percent: number): number {
    const beyond = this.#total * (100 - percent) / 100;
    if (this.#total < ANSWERS_MIN || beyond < BEYOND_MIN) return Infinity;
    let above = 0;
    let bucket = BUCKETS;
    while (bucket > 0 && above + this.#counts[bucket - 1] <= beyond) above += this.#counts[--bucket];
    return 2 ** (bucket / PER_DOUBLING + LOG2_MIN);
  }

  /** Halves the weight of all answers so far, unless a percentile would soon be not known any more. */
  fade(percent: number): void {
    const beyond = this.#total * (100 - percent) / 100;
    if (this.#total < KEPT * ANSWERS_MIN || beyond < KEPT * BEYOND_MIN) return;
    this.#total = 0;
    for (let bucket = 0; bucket < BUCKETS; bucket++) this.#total += this.#counts[bucket] /= 2;
  }

  clear(): void {
    this.#counts.fill(0);
    this.#total = 0;
  }
}
