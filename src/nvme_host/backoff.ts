import { assert } from "../base/assert.ts";
import type { Prng } from "../base/prng.ts";

export interface BackoffOptions {
  /** Delay before the first attempt, milliseconds; it doubles with each one. */
  delayMs: number;
  /** Largest delay, milliseconds. */
  delayMsMax: number;
  prng: Prng;
}

/**
 * Delays between attempts to reconnect: they double up to a bound, and each is drawn from the upper half of its range,
 * so that the paths and hosts that lost a controller together do not all come back to it together.
 */
export class Backoff {
  readonly #prng: Prng;
  #delayMs = 1;
  #delayMsMax = 1;
  #attempts = 0;

  constructor({ prng, ...delays }: BackoffOptions) {
    this.#prng = prng;
    this.setDelays(delays);
  }

  /** Other delays from the next one on. */
  setDelays({ delayMs, delayMsMax }: Omit<BackoffOptions, "prng">): void {
    assert(delayMs > 0, "A delay is positive");
    assert(delayMsMax >= delayMs, "The largest delay is not below the first one");
    this.#delayMs = delayMs;
    this.#delayMsMax = delayMsMax;
  }

  /** Attempts since the last success. */
  get attempts(): number {
    return this.#attempts;
  }

  /** The delay before the next attempt, milliseconds, a whole number from 1 to `delayMsMax`. Counts the attempt. */
  nextDelayMs(): number {
    const fullMs = Math.min(this.#delayMsMax, this.#delayMs * 2 ** Math.min(this.#attempts, 31));
    this.#attempts++;
    return Math.max(1, Math.round(fullMs / 2 + this.#prng.unit() * fullMs / 2));
  }

  /** Tells that an attempt succeeded: the next delay is the first one again. */
  handleSuccess(): void {
    this.#attempts = 0;
  }
}
