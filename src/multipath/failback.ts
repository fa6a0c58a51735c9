/** When I/O returns to a path that was lost and is back. */
import { PATHS_MAX } from "../base/limits.ts";
import { ActivePassive } from "./active_passive.ts";
import type { PathTable } from "./path_table.ts";
import type { Candidates } from "./policy.ts";
import { POLICY_NAMES } from "./policy_names.ts";

/** `auto`: as soon as it serves again. `manual`: when somebody says so. */
export const FAILBACK_NAMES = Object.freeze(["auto", "manual"] as const);
export type FailbackName = (typeof FAILBACK_NAMES)[number];
export const FAILBACK_DEFAULT: FailbackName = "auto";

/** What is known of one path. */
interface Known {
  /** It has served before, or does. */
  hasServed: boolean;
  isServing: boolean;
}

/**
 * Decides which paths are on standby: usable, but used only while no other is. With manual failback a path that stops
 * serving goes on standby, and stays there when it is back as long as it would draw I/O away from the paths that took
 * over: because its ANA state is better, or because active-passive would pick it instead. A path that would only share
 * their work joins them at once. When none of those that took over serves any more, or no path at all does, the choice
 * is free again.
 *
 * A path is on standby before it is back, so that no queue can see it usable without. Pure; for the one writer of the
 * path table.
 */
export class Failback {
  readonly #table: PathTable;
  readonly #known: Known[] = Array.from({ length: PATHS_MAX }, () => ({ hasServed: false, isServing: false }));
  readonly #activePassive = new ActivePassive();
  #mode: FailbackName = FAILBACK_DEFAULT;

  constructor(table: PathTable) {
    this.#table = table;
  }

  get mode(): FailbackName {
    return this.#mode;
  }

  setMode(mode: FailbackName): void {
    this.#mode = mode;
    this.handleChange();
  }

  /** Lets I/O go to whichever path is best now. */
  release(): void {
    for (let path = 0; path < PATHS_MAX; path++) this.#setStandby(path, this.#isManual && this.#isAway(path));
  }

  /** Another path has this number now, or somebody wants it used: it is not one that comes back. */
  forget(path: number): void {
    this.#known[path] = { hasServed: false, isServing: false };
    this.#setStandby(path, false);
  }

  /** Something in the table has changed: which paths serve, or how well. */
  handleChange(): void {
    const returned: number[] = [];
    for (let path = 0; path < PATHS_MAX; path++) {
      const known = this.#known[path];
      const wasServing = known.isServing;
      known.isServing = this.#rank(path) > 0;
      if (known.isServing && !wasServing) returned.push(path);
      known.hasServed ||= known.isServing;
    }
    if (!this.#known.some(({ isServing }) => isServing)) {
      for (const known of this.#known) known.hasServed = false;
    }
    if (!this.#isManual) return this.release();
    for (let path = 0; path < PATHS_MAX; path++) {
      if (this.#isAway(path)) this.#setStandby(path, true);
      else if (!this.#known[path].isServing) this.#setStandby(path, false);
    }
    for (const path of returned) {
      if (this.#table.isStandby(path) && !this.#wouldDraw(path)) this.#setStandby(path, false);
    }
    if (!this.#known.some(({ isServing }, path) => isServing && !this.#table.isStandby(path))) this.release();
  }

  get #isManual(): boolean {
    return this.#mode === "manual";
  }

  #isAway(path: number): boolean {
    return this.#known[path].hasServed && !this.#known[path].isServing;
  }

  /** As a queue ranks it, standby apart: 0 if it does not serve. */
  #rank(path: number): number {
    return this.#table.isUsable(path) ? this.#table.anaRank(path) : 0;
  }

  /** True if the path would take I/O away from all others that are in use. */
  #wouldDraw(path: number): boolean {
    const inUse = this.#known.flatMap(({ isServing }, other) =>
      isServing && other !== path && !this.#table.isStandby(other) ? [other] : []
    );
    if (inUse.length === 0) return false;
    if (POLICY_NAMES[this.#table.policy] === "active-passive") return this.#pickOf([...inUse, path]) === path;
    return this.#rank(path) < Math.min(...inUse.map((other) => this.#rank(other)));
  }

  /** What active-passive picks of these. */
  #pickOf(paths: readonly number[]): number {
    const table = this.#table;
    const candidates: Candidates = {
      paths: PATHS_MAX,
      rank: (path) => paths.includes(path) ? this.#rank(path) : 0,
      weight: (path) => table.weight(path),
      preferred: table.preferred,
      room: () => 1,
      inFlight: () => 0,
      expectedMs: () => 0,
      lastUsedMs: () => 0,
      nowMs: 0,
    };
    return this.#activePassive.select(candidates);
  }

  #setStandby(path: number, isStandby: boolean): void {
    if (this.#table.isStandby(path) !== isStandby) this.#table.setStandby(path, isStandby);
  }
}
