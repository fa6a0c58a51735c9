/** Reads at once at most: what one turn takes over from the kernel. */
const READS_MAX = 32;

/**
 * How many reads to put into the kernel when requests wait there. Each read takes one request and does not wait, so one
 * that finds nothing is a waste, and one too few costs a turn of the loop: the number follows what was found.
 *
 * Pure. `handleReadable()` when the kernel says that there is a request, `pollRead()` for each read, `handleHit()` or
 * `handleMiss()` as they come back. After a miss nothing is read until the kernel says again that there is something.
 */
export class ReadBatch {
  #size = 1;
  #isReadable = false;
  #inKernel = 0;
  #hits = 0;
  #isDry = false;

  /** There may be a request. */
  handleReadable(): void {
    this.#isReadable = true;
  }

  /** True if one more read is worth it, which is then in the kernel. */
  pollRead(): boolean {
    if (!this.#isReadable || this.#inKernel >= this.#size) return false;
    this.#inKernel++;
    return true;
  }

  /** A read has brought a request. */
  handleHit(): void {
    this.#hits++;
    this.#end();
  }

  /** A read has found nothing. */
  handleMiss(): void {
    this.#isDry = true;
    this.#isReadable = false;
    this.#end();
  }

  #end(): void {
    if (--this.#inKernel > 0) return;
    const next = this.#isDry ? this.#hits + 1 : this.#size * 2;
    this.#size = Math.min(next, READS_MAX);
    this.#hits = 0;
    this.#isDry = false;
  }

  /** Reads that are in the kernel. */
  get inKernel(): number {
    return this.#inKernel;
  }
}
