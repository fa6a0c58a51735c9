/**
 * Faults on demand: what a target does wrong, to whom and when. A script is a list of rules with a seed; from it come a
 * {@linkcode ConnectionFaults} for each connection and a {@linkcode ListenerFaults} for each listener, which say what is
 * to be done wrong now. They decide, and their owner does it.
 *
 * The same seed makes the same choices: what hits a connection depends on nothing but the seed, the rule, the connection's
 * `stream`, the time and the commands that came on it. Every thread of a target has a script of its own made of the same
 * rules; what was hit is counted in memory that they share.
 */
import { assert } from "../base/assert.ts";
import { FAULT_RULES_MAX } from "../base/limits.ts";
import { Prng } from "../base/prng.ts";
import { ConnectionFaults } from "./connection_faults.ts";
import type { FaultQueue, FaultRule } from "./fault_rule.ts";

/** How often each rule of a script has hit: written by every thread, and what the limit of a `count` is checked with. */
export class FaultCounts {
  readonly shared: SharedArrayBuffer;
  readonly #hits: Int32Array;

  constructor(shared?: SharedArrayBuffer) {
    this.shared = shared ?? new SharedArrayBuffer(FAULT_RULES_MAX * 4);
    this.#hits = new Int32Array(this.shared);
  }

  /** Commands, connections or beginnings that the rule at that place has hit. */
  hits(rule: number): number {
    return Atomics.load(this.#hits, rule);
  }

  add(rule: number): void {
    Atomics.add(this.#hits, rule, 1);
  }

  /** Adds one unless the rule has hit `limit` times; tells if it did. */
  addBelow(rule: number, limit: number): boolean {
    if (Atomics.load(this.#hits, rule) >= limit) return false;
    if (Atomics.add(this.#hits, rule, 1) < limit) return true;
    Atomics.sub(this.#hits, rule, 1); // another thread was first
    return false;
  }
}

export interface FaultScriptOptions {
  rules: readonly FaultRule[];
  seed: number;
  /** When the script starts, in the caller's clock. */
  startMs: number;
  /** What other threads count in as well. */
  counts?: FaultCounts;
}

/** Whom faults of a connection are for. */
export interface FaultSubject {
  listener: number;
  /** null while it is not known, which is before Connect. */
  queue: FaultQueue | null;
  /** Tells connections of a listener apart; the same at every run that is to be reproduced. */
  stream: number;
  /** When the connection came to be, in the caller's clock: what began before does not hit it. */
  sinceMs: number;
}

export class FaultScript {
  readonly rules: readonly FaultRule[];
  readonly seed: number;
  readonly startMs: number;
  readonly counts: FaultCounts;

  constructor({ rules, seed, startMs, counts = new FaultCounts() }: FaultScriptOptions) {
    assert(rules.length <= FAULT_RULES_MAX, "The parser allows no more rules");
    this.rules = rules;
    this.seed = seed;
    this.startMs = startMs;
    this.counts = counts;
  }

  /** What hits that connection; null if no rule is for it. */
  connection(subject: FaultSubject): ConnectionFaults | null {
    const faults = new ConnectionFaults(this, subject);
    return faults.isEmpty ? null : faults;
  }

  /** The generator of the choices of a rule for one stream; `index` tells its beginnings apart. */
  prng(rule: number, stream: number, index = 0): Prng {
    return new Prng(mix(mix(mix(this.seed, rule + 1), stream + 1), index + 1));
  }
}

/** Two numbers as one of 32 bits in which every bit of both counts (the finalizer of MurmurHash3 on their sum). */
function mix(a: number, b: number): number {
  let hash = Math.imul(a | 0, 0x9e3779b1) + (b | 0) | 0;
  hash = Math.imul(hash ^ (hash >>> 16), 0x85ebca6b);
  hash = Math.imul(hash ^ (hash >>> 13), 0xc2b2ae35);
  return hash ^ (hash >>> 16);
}
