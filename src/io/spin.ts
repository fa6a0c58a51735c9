/**
 * How long to look for completions before sleeping. A sleep costs a wake-up of tens of microseconds, which is most of
 * the latency at depth 1; a spin costs the CPU. So it spins while that pays and stops when it does not.
 *
 * Pure. A hit raises the score, a miss lowers it; without score only one turn in `PROBE_EVERY` tries again.
 */
export class AdaptiveSpin {
  readonly #budgetUs: number;
  #score = SCORE_MAX;
  #skipped = 0;

  constructor(budgetUs: number) {
    this.#budgetUs = budgetUs;
  }

  /** Microseconds to spin in the next turn: 0 if nothing is in flight, for then nothing can be near. */
  budgetUs(inFlight: boolean): number {
    if (!inFlight || this.#budgetUs === 0) return 0;
    if (this.#score > 0) return this.#budgetUs;
    if (++this.#skipped < PROBE_EVERY) return 0;
    this.#skipped = 0;
    return this.#budgetUs;
  }

  /** Tells whether a spin found what it looked for. */
  handleResult(hit: boolean): void {
    this.#score = hit ? Math.min(this.#score + HIT_GAIN, SCORE_MAX) : Math.max(this.#score - 1, 0);
  }
}

const SCORE_MAX = 16;
const HIT_GAIN = 2;
const PROBE_EVERY = 64;
