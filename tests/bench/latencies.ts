/** Latencies of many I/Os in little memory: how many there were in each of many narrow ranges. */

/**
 * A float of 32 bits without the lowest 18 bits of its mantissa is the number of its range: each doubling has 32, so that
 * a percentile is exact to 3 %. No range of a positive number has a higher number.
 */
const RANGE_SHIFT = 18;
const RANGES = 0x7f800000 >> RANGE_SHIFT;

export class Latencies {
  readonly #counts = new Uint32Array(RANGES + 1);
  readonly #float = new Float32Array(1);
  readonly #bits = new Int32Array(this.#float.buffer);
  #count = 0;

  add(milliseconds: number): void {
    this.#float[0] = Math.max(milliseconds, 0);
    this.#counts[this.#bits[0]! >> RANGE_SHIFT]!++;
    this.#count++;
  }

  clear(): void {
    this.#counts.fill(0);
    this.#count = 0;
  }

  /** The latency that so large a share of all (0 to 1) does not exceed, in microseconds; 0 if there are none. */
  percentileUs(share: number): number {
    if (this.#count === 0) return 0;
    let left = Math.max(1, Math.ceil(share * this.#count));
    const range = this.#counts.findIndex((count) => (left -= count) <= 0);
    this.#bits[0] = range << RANGE_SHIFT | 1 << (RANGE_SHIFT - 1);
    return this.#float[0]! * 1000;
  }

  /** As the table of measurements has them. */
  get details(): { p50Us: number; p99Us: number; p999Us: number } {
    return { p50Us: this.percentileUs(0.5), p99Us: this.percentileUs(0.99), p999Us: this.percentileUs(0.999) };
  }
}
