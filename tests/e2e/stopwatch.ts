/** How long something took, and how much of that the machine was too busy for it. */
import { assert } from "@std/assert";

/** What a machine that does not tell of its pressure may take for everything. */
const FACTOR_UNTOLD = 4;

/**
 * A limit on a time says that nothing waited for what it must not wait for. On a busy machine everything takes longer; the
 * kernel tells for how long something has waited for a processor or a disk (PSI), and so much longer it may take.
 */
export class Stopwatch {
  readonly #startMs = performance.now();
  readonly #startStalledMs = stalledMs();

  get ms(): number {
    return performance.now() - this.#startMs;
  }

  /** Time since the start in which something on this machine had to wait for a processor or a disk; null if not told. */
  get stalledMs(): number | null {
    const now = stalledMs();
    return now === null || this.#startStalledMs === null ? null : now - this.#startStalledMs;
  }

  /** The limit on this machine, as busy as it has been since the start. */
  limitMs(quietMs: number): number {
    return this.stalledMs === null ? quietMs * FACTOR_UNTOLD : quietMs + this.stalledMs;
  }

  /** Fails if it has taken longer than `quietMs` on a machine that has nothing else to do. */
  assertWithin(quietMs: number, what = "it"): void {
    const { ms } = this;
    assert(
      ms < this.limitMs(quietMs),
      `${what} took ${Math.round(ms)} ms, and at most ${quietMs} ms of an idle machine`,
    );
  }
}

function stalledMs(): number | null {
  try {
    const [cpu, io] = ["cpu", "io"].map((name) => {
      const [, total] = /^some .*total=(\d+)/m.exec(Deno.readTextFileSync(`/proc/pressure/${name}`))!;
      return Number(total) / 1000;
    });
    return cpu! + io!;
  } catch {
    return null;
  }
}
