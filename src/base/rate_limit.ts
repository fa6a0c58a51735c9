/**
 * A bound on how often one thing is said: `burst` times at once, then once for each `perMs`. What is held back is
 * counted, so that the next line can say how many it stands for. It has no clock: the time comes as an argument.
 *
 * Invariant: 0 ≤ tokens ≤ burst.
 */
import { assert } from "./assert.ts";

/** How often something may be said. */
export interface RateLimitOptions {
  /** Times at once after a quiet while; at least 1. */
  burst: number;
  /** Milliseconds until one more is allowed. */
  perMs: number;
}

/** Lets through a few of many. */
export class RateLimit {
  readonly #options: RateLimitOptions;
  #tokens: number;
  #countedAtMs = Number.NEGATIVE_INFINITY;
  #heldBack = 0;

  constructor(options: RateLimitOptions) {
    assert(options.burst >= 1, "A limit lets at least one through");
    assert(options.perMs > 0, "A limit's period is positive");
    this.#options = options;
    this.#tokens = options.burst;
  }

  /** How many were held back since one was let through last. */
  get heldBack(): number {
    return this.#heldBack;
  }

  /** How many were held back since the last one if this one may be said; null if it is held back too. */
  admit(nowMs: number): number | null {
    this.#refill(nowMs);
    if (this.#tokens < 1) {
      this.#heldBack++;
      return null;
    }
    this.#tokens--;
    const heldBack = this.#heldBack;
    this.#heldBack = 0;
    return heldBack;
  }

  #refill(nowMs: number): void {
    const { burst, perMs } = this.#options;
    if (this.#countedAtMs === Number.NEGATIVE_INFINITY) this.#countedAtMs = nowMs;
    const earned = Math.floor((nowMs - this.#countedAtMs) / perMs);
    if (earned <= 0) return;
    this.#tokens = Math.min(burst, this.#tokens + earned);
    this.#countedAtMs += earned * perMs;
  }
}

/** ` (37 more were not logged)`, or nothing: what a line that was let through adds for those held back before it. */
export function heldBackWords(heldBack: number): string {
  return heldBack === 0 ? "" : ` (${heldBack} more like it were not logged)`;
}
