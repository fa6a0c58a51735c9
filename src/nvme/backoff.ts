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
  readonly #options: BackoffOptions;
  #attempts = 0;

  constructor(options: BackoffOptions) {
    assert(options.delayMs > 0, "A delay is positive");
    assert(options.delayMsMax >= options.delayMs, "The largest delay is not below the first one");
    this.#options = options;
  }

  /** Attempts since the last success. */
  get attempts(): number {
    return this.#attempts;
  }

  /** The delay before the next attempt, milliseconds, a whole number from 1 to `delayMsMax`. Counts the attempt. */
  nextDelayMs(): number {
    const { delayMs, delayMsMax, prng } = this.#options;
    const fullMs = Math.min(delayMsMax, delayMs * 2 ** Math.min(this.#attempts, 31));
    this.#attempts++;
    return Math.max(1, Math.round(fullMs / 2 + prng.unit() * fullMs / 2));
  }

  /** Tells that an attempt succeeded: the next delay is the first one again. */
  handleSuccess(): void {
    this.#attempts = 0;
  }
}
