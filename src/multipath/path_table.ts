import { PATHS_MAX } from "../base/limits.ts";
import { AnaStateCode } from "../protocol/nvme_log.ts";
import { POLICY_NAMES, type PolicyName, WEIGHT_DEFAULT } from "./policy_names.ts";

/** Words of one path in the table. */
const Field = { USABLE: 0, ANA: 1, WEIGHT: 2, WORDS: 4 } as const;
/** Words of the volume before those of its paths. */
const Header = {
  IO_TIMEOUT: 0,
  NO_PATH_TIMEOUT: 1,
  WRITE_HOLD: 2,
  CUT: 3,
  SERVED: 4,
  POLICY: 5,
  PREFERRED: 6,
  SLOW: 7,
  HEDGE: 8,
  STANDBY: 9,
  WORDS: 12,
} as const;

/** Of the word that says whether requests may wait: beyond 1, which cuts their waits for a path. */
const GIVEN_UP = 2;

/**
 * What the control plane tells the data plane of a volume's paths, in memory that both share: one writer (the main
 * thread), any number of readers, no message. Workers read it at every selection, and therefore plainly: a word is never
 * torn, an older value is as good as having looked a little earlier, and an atomic load costs ten times as much. A policy
 * that is changed holds from the next selection on.
 *
 * Times are in milliseconds; -1 is "off".
 */
export class PathTable {
  readonly shared: SharedArrayBuffer;
  readonly #words: Int32Array;

  constructor(shared?: SharedArrayBuffer) {
    this.shared = shared ?? new SharedArrayBuffer((Header.WORDS + PATHS_MAX * Field.WORDS) * 4);
    this.#words = new Int32Array(this.shared);
    if (shared !== undefined) return;
    this.setPreferred(-1);
    for (let path = 0; path < PATHS_MAX; path++) this.setWeight(path, WEIGHT_DEFAULT);
  }

  /** The number of the policy: its place in {@linkcode POLICY_NAMES}. */
  get policy(): number {
    return this.#words[Header.POLICY];
  }

  setPolicy(name: PolicyName): void {
    Atomics.store(this.#words, Header.POLICY, POLICY_NAMES.indexOf(name));
  }

  /** The path that a policy with a preferred one prefers; -1 if there is none. */
  get preferred(): number {
    return this.#words[Header.PREFERRED];
  }

  setPreferred(path: number): void {
    Atomics.store(this.#words, Header.PREFERRED, path);
  }

  /** The paths that are slow, a bit each: those of the same ANA state are used before them. */
  get slow(): number {
    return this.#words[Header.SLOW];
  }

  setSlow(paths: number): void {
    Atomics.store(this.#words, Header.SLOW, paths);
  }

  /** When a read is sent again: 0 for never, a time in milliseconds, or below zero a percentile in thousandths. */
  get hedge(): number {
    return this.#words[Header.HEDGE];
  }

  setHedge(budget: number): void {
    Atomics.store(this.#words, Header.HEDGE, budget);
  }

  /** How much a policy with weights uses the path beside others. */
  weight(path: number): number {
    return this.#words[Header.WORDS + path * Field.WORDS + Field.WEIGHT];
  }

  setWeight(path: number, weight: number): void {
    Atomics.store(this.#words, Header.WORDS + path * Field.WORDS + Field.WEIGHT, weight);
  }

  isUsable(path: number): boolean {
    return this.#words[Header.WORDS + path * Field.WORDS + Field.USABLE] === 1;
  }

  setUsable(path: number, usable: boolean): void {
    Atomics.store(this.#words, Header.WORDS + path * Field.WORDS + Field.USABLE, usable ? 1 : 0);
    this.#countIfServing(path);
  }

  /** A state of `AnaStateCode`; 0 while it is not known. */
  ana(path: number): number {
    return this.#words[Header.WORDS + path * Field.WORDS + Field.ANA];
  }

  setAna(path: number, state: number): void {
    Atomics.store(this.#words, Header.WORDS + path * Field.WORDS + Field.ANA, state);
    this.#countIfServing(path);
  }

  /** How good the ANA state of the path is: 1 is best, 0 that it serves no I/O. A slow path (`RANK_SLOW`) is in between. */
  anaRank(path: number): number {
    const ana = this.ana(path);
    return ana === AnaStateCode.OPTIMIZED ? 1 : ana === AnaStateCode.NON_OPTIMIZED ? 3 : 0;
  }

  /** The paths that are used only while no other is, a bit each. */
  get standby(): number {
    return this.#words[Header.STANDBY];
  }

  isStandby(path: number): boolean {
    return (this.standby & (1 << path)) !== 0;
  }

  setStandby(path: number, standby: boolean): void {
    const bit = 1 << path;
    Atomics.store(this.#words, Header.STANDBY, standby ? this.standby | bit : this.standby & ~bit);
  }

  /** Changes whenever a path may serve I/O anew: a wait for a path begins anew with it. */
  get servedCount(): number {
    return Atomics.load(this.#words, Header.SERVED);
  }

  #countIfServing(path: number): void {
    if (this.anaRank(path) > 0 && this.isUsable(path)) Atomics.add(this.#words, Header.SERVED, 1);
  }

  get ioTimeoutMs(): number {
    return Atomics.load(this.#words, Header.IO_TIMEOUT);
  }

  get noPathTimeoutMs(): number {
    return Atomics.load(this.#words, Header.NO_PATH_TIMEOUT);
  }

  get writeHoldMs(): number {
    return Atomics.load(this.#words, Header.WRITE_HOLD);
  }

  setTimeouts(times: { ioTimeoutMs: number; noPathTimeoutMs: number; writeHoldMs: number }): void {
    Atomics.store(this.#words, Header.IO_TIMEOUT, times.ioTimeoutMs);
    Atomics.store(this.#words, Header.NO_PATH_TIMEOUT, times.noPathTimeoutMs);
    Atomics.store(this.#words, Header.WRITE_HOLD, times.writeHoldMs);
  }

  /** True while nothing may wait for a path: the volume is being taken away, or no path of it can ever serve it. */
  get isCut(): boolean {
    return Atomics.load(this.#words, Header.CUT) !== 0;
  }

  /** True once the volume is taken away by force: held writes and those that wait for their turn fail as well. */
  get isGivenUp(): boolean {
    return Atomics.load(this.#words, Header.CUT) === GIVEN_UP;
  }

  giveUp(): void {
    Atomics.store(this.#words, Header.CUT, GIVEN_UP);
  }

  cut(): void {
    Atomics.compareExchange(this.#words, Header.CUT, 0, 1);
  }

  /** A path may come after all: requests wait for one again. */
  uncut(): void {
    Atomics.store(this.#words, Header.CUT, 0);
  }
}
