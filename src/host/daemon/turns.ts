/** Work that must not run at the same time: what has the same key runs in the order in which it was asked for. */
import type { Errand } from "./errand.ts";

/** A wait that takes longer is told to the client that waits. */
const QUIET_WAIT_MS = 1_000;

/** What waits, and who hears of it. */
export interface TurnOptions {
  /** What this is, for those that wait for it: "another attach". */
  what: string;
  /** It leaves the line when it is called off. */
  errand?: Errand;
  /** Hears what it waits for if that takes long. */
  onWait?: (what: string) => void;
}

/** One line for each key. */
interface Line {
  tail: Promise<unknown>;
  /** What runs now. */
  running: string;
}

/** The lines of all keys. */
export class Turns {
  readonly #lines = new Map<string, Line>();

  /** Resolves when all work that was asked for until now has ended. */
  async allEnded(): Promise<void> {
    await Promise.allSettled([...this.#lines.values()].map(({ tail }) => tail));
  }

  /** Runs `work` when all earlier work with the same key has ended. */
  async run<T>(key: string, options: TurnOptions, work: () => Promise<T>): Promise<T> {
    const { what, errand, onWait } = options;
    const line = this.#lines.get(key) ?? { tail: Promise.resolve(), running: what };
    this.#lines.set(key, line);
    let hasBegun = false;
    const begin = async () => {
      hasBegun = true;
      errand?.check();
      line.running = what;
      return await work();
    };
    const mine = line.tail.then(begin, begin);
    line.tail = mine;
    const timer = onWait && setTimeout(() => hasBegun || onWait(line.running), QUIET_WAIT_MS);
    try {
      // It does not wait for its turn to hear that it is over; but once it has begun, what it did is undone first.
      if (errand !== undefined) await errand.unlessOver(mine).catch(() => {});
      if (!hasBegun) errand?.check();
      return await mine;
    } finally {
      clearTimeout(timer);
      if (hasBegun) this.#forget(key, mine);
      else mine.then(() => this.#forget(key, mine), () => this.#forget(key, mine));
    }
  }

  #forget(key: string, last: Promise<unknown>): void {
    if (this.#lines.get(key)?.tail === last) this.#lines.delete(key);
  }
}
