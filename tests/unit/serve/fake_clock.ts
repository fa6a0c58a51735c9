/** A clock that a test moves by hand, in place of the process's own. */
import { assert } from "@std/assert";

interface Timer {
  dueMs: number;
  run: () => void;
}

/** While it is there, `performance.now()`, `setTimeout()` and `clearTimeout()` are its own. */
export class FakeClock implements Disposable {
  readonly #timers = new Map<number, Timer>();
  readonly #own = { setTimeout, clearTimeout, now: performance.now };
  #nowMs = 1_000;
  #lastId = 0;

  constructor() {
    performance.now = () => this.#nowMs;
    globalThis.setTimeout = ((run: () => void, ms = 0) => {
      this.#timers.set(++this.#lastId, { dueMs: this.#nowMs + ms, run });
      return this.#lastId;
    }) as unknown as typeof setTimeout;
    globalThis.clearTimeout = (id) => void this.#timers.delete(Number(id));
  }

  /** Lets `ms` pass; whatever is due meanwhile runs at its time. */
  advance(ms: number): void {
    const endMs = this.#nowMs + ms;
    for (let runs = 0;; runs++) {
      assert(runs < 1_000, "Timers begin again and again without any time passing");
      const [next] = [...this.#timers].sort(([, a], [, b]) => a.dueMs - b.dueMs);
      if (next === undefined || next[1].dueMs > endMs) break;
      this.#timers.delete(next[0]);
      this.#nowMs = Math.max(this.#nowMs, next[1].dueMs);
      next[1].run();
    }
    this.#nowMs = endMs;
  }

  [Symbol.dispose](): void {
    assert(this.#timers.size === 0, "No timer is left");
    const { now, ...own } = this.#own;
    performance.now = now;
    Object.assign(globalThis, own);
  }
}
