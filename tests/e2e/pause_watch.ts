/** Notices when this process gets no processor: nor may then what it measures. */
const TICK_MS = 20;
/** Timers are late by so much on a machine that is merely busy. */
const PAUSE_MS_MIN = 100;

export class PauseWatch {
  #beganAt = performance.now();
  #longestMs = 0;
  readonly #timer = setInterval(() => this.#tick(), TICK_MS);

  /** The longest pause, in milliseconds; 0 if there was none worth the name. */
  get longestMs(): number {
    return this.#longestMs;
  }

  #tick(): void {
    const now = performance.now();
    const lateMs = now - this.#beganAt - TICK_MS;
    if (lateMs >= PAUSE_MS_MIN) this.#longestMs = Math.max(this.#longestMs, lateMs);
    this.#beganAt = now;
  }

  end(): void {
    clearInterval(this.#timer);
  }
}
