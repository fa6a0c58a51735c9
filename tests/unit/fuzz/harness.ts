/** How every fuzz test runs: seeded cases that name their seed when they fail, bytes with guards, and splits. */
import { assert, assertEquals } from "@std/assert";
import { mixSeed, Prng } from "../../../src/base/prng.ts";

const SEED = Number(Deno.env.get("UMPATH_SEED") ?? Date.now() % 2 ** 31);
const CASES = Deno.env.get("UMPATH_CASES");
/** Far above what any case takes: one that takes longer was on its way to hang. */
const CASE_MS_MAX = 30_000;
const GUARD_BYTES = 61;

console.log(`fuzz: UMPATH_SEED=${SEED}`);

/** How many cases run of a test that runs `usual` unless told. */
export function casesOf(usual: number): number {
  return CASES === undefined ? usual : Number(CASES);
}

/** A test of many cases, each of which draws from a seed of its own. `atEnd` is told how many have run. */
export function fuzz(
  name: string,
  usual: number,
  run: (prng: Prng) => void | Promise<void>,
  atEnd: (cases: number) => void = () => {},
): void {
  Deno.test(`${name}: ${casesOf(usual)} cases`, async () => {
    for (let i = 0; i < casesOf(usual); i++) {
      const seed = (SEED + i) % 2 ** 31;
      const startMs = performance.now();
      try {
        const running = run(new Prng(mixSeed(seed)));
        if (running !== undefined) await running;
        const tookMs = performance.now() - startMs;
        assert(tookMs < CASE_MS_MAX, `It took ${Math.round(tookMs)} ms`);
      } catch (error) {
        throw new Error(`Failed with UMPATH_SEED=${seed} UMPATH_CASES=1`, { cause: error });
      }
    }
    atEnd(casesOf(usual));
  });
}

/** What came of a call: its value, or an error of one of the `errors`; any other is thrown. */
export type Outcome<T> = { value: T } | { error: string };

/** Counts how cases end: a test whose cases nearly all end alike tests nothing. */
export class Tally {
  #good = 0;
  #bad = 0;

  note(isGood: boolean): void {
    if (isGood) this.#good++;
    else this.#bad++;
  }

  /** Of each kind there is at least one in `rarest`; given to `fuzz()` as its end. */
  atEnd(rarest = 20): (cases: number) => void {
    return (cases) => {
      if (cases < 100) return;
      const words = `${this.#good} good ones and ${this.#bad} bad ones`;
      assert(Math.min(this.#good, this.#bad) * rarest >= this.#good + this.#bad, words);
    };
  }
}

// deno-lint-ignore no-explicit-any
export type ErrorClass = abstract new (...args: any[]) => Error;

export function outcomeOf<T>(call: () => T, errors: readonly ErrorClass[]): Outcome<T> {
  try {
    return { value: call() };
  } catch (error) {
    if (errors.some((known) => error instanceof known)) return { error: (error as Error).message };
    throw error;
  }
}

/**
 * What `parse` makes of the bytes. They lie among others at an odd address: what lies around them must not matter, and
 * nothing may be written.
 */
export function parseGuarded<T>(
  bytes: Uint8Array,
  parse: (data: Uint8Array<ArrayBuffer>) => T,
  errors: readonly ErrorClass[],
): Outcome<T> {
  const [zeroes, ones] = [0, 0xff].map((guard) => {
    const memory = new Uint8Array(bytes.length + 2 * GUARD_BYTES).fill(guard);
    memory.set(bytes, GUARD_BYTES);
    const before = memory.slice();
    const outcome = outcomeOf(() => parse(memory.subarray(GUARD_BYTES, GUARD_BYTES + bytes.length)), errors);
    assert(memory.every((byte, i) => byte === before[i]), "A parser writes nothing");
    return outcome;
  });
  assertEquals(zeroes, ones, "What lies around the bytes does not matter");
  return zeroes;
}

/** Two pieces for each place where `bytes` can be split, then single bytes. */
export function* splitsOf(bytes: Uint8Array): Generator<Uint8Array[]> {
  for (let at = 1; at < bytes.length; at++) yield [bytes.subarray(0, at), bytes.subarray(at)];
  yield Array.from(bytes, (_, i) => bytes.subarray(i, i + 1));
}
