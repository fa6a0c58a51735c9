/** How long the debt of a connection may get: a change to a higher rate is felt at once then. */
const DEBT_MS_MAX = 10_000;

/**
 * Keeps a connection to a number of bytes a second. Bytes are moved in whatever pieces they come, and paid for
 * afterwards: the next piece has to wait until the last one would have been through.
 */
export class DrainBudget {
  /** Until when the bytes that were moved keep the connection busy. */
  #busyUntilMs = 0;

  /** True if a piece may be moved now. */
  mayMove(nowMs: number): boolean {
    return nowMs >= this.#busyUntilMs;
  }

  /** From when on a piece may be moved. */
  get freeMs(): number {
    return this.#busyUntilMs;
  }

  /** So many bytes were moved; `bytesPerSecond` is Infinity while there is no limit. */
  handleMoved(bytes: number, bytesPerSecond: number, nowMs: number): void {
    const fromMs = Math.max(nowMs, this.#busyUntilMs);
    this.#busyUntilMs = Math.min(fromMs + bytes / bytesPerSecond * 1000, nowMs + DEBT_MS_MAX);
  }

  /** There is no limit any more: what is owed is forgiven. */
  forgive(): void {
    this.#busyUntilMs = 0;
  }
}
