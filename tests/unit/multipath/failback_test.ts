import { assertEquals } from "@std/assert";
import { Failback, type FailbackName } from "../../../src/multipath/failback.ts";
import { PathTable } from "../../../src/multipath/path_table.ts";
import type { PolicyName } from "../../../src/multipath/policy_names.ts";
import { AnaStateCode } from "../../../src/protocol/nvme_log.ts";

const { OPTIMIZED, NON_OPTIMIZED, CHANGE } = AnaStateCode;

/** Paths of a volume, all of which serve at first. */
class Paths {
  readonly table = new PathTable();
  readonly failback = new Failback(this.table);

  constructor(states: number[], { mode = "manual" as FailbackName, policy = "round-robin" as PolicyName } = {}) {
    this.table.setPolicy(policy);
    this.failback.setMode(mode);
    states.forEach((state, path) => {
      this.ana(path, state);
      this.back(path);
    });
  }

  ana(path: number, state: number): string {
    this.table.setAna(path, state);
    return this.#after();
  }

  lose(path: number): string {
    this.table.setUsable(path, false);
    return this.#after();
  }

  back(path: number): string {
    this.table.setUsable(path, true);
    return this.#after();
  }

  #after(): string {
    this.failback.handleChange();
    return this.inUse;
  }

  /** The paths of the best rank, as queues rank them: those that I/O goes to. */
  get inUse(): string {
    const ranks = [0, 1, 2, 3].map((path) => {
      const rank = this.table.isUsable(path) ? this.table.anaRank(path) : 0;
      return rank === 0 ? Infinity : rank + (this.table.isStandby(path) ? 4 : 0);
    });
    const best = Math.min(...ranks);
    return ranks.flatMap((rank, path) => rank === best && rank < Infinity ? [path] : []).join();
  }
}

Deno.test("Failback that is automatic returns to the best path at once", () => {
  const paths = new Paths([OPTIMIZED, NON_OPTIMIZED], { mode: "auto" });
  assertEquals([paths.inUse, paths.lose(0), paths.back(0)], ["0", "1", "0"]);
  assertEquals([paths.ana(0, CHANGE), paths.ana(0, OPTIMIZED)], ["1", "0"]);
});

Deno.test("Failback that is manual stays on a non-optimized path until it is released", () => {
  const paths = new Paths([OPTIMIZED, NON_OPTIMIZED]);
  assertEquals([paths.inUse, paths.lose(0), paths.back(0)], ["0", "1", "1"]);
  assertEquals(paths.table.isStandby(0), true);
  paths.failback.release();
  assertEquals(paths.inUse, "0");
  assertEquals([paths.ana(0, CHANGE), paths.ana(0, OPTIMIZED)], ["1", "1"]);
  paths.failback.setMode("auto");
  assertEquals(paths.inUse, "0");
});

Deno.test("Failback that is manual returns when those that took over are lost, and stays there", () => {
  const paths = new Paths([OPTIMIZED, NON_OPTIMIZED, NON_OPTIMIZED]);
  assertEquals([paths.lose(0), paths.back(0)], ["1,2", "1,2"]);
  assertEquals([paths.lose(1), paths.lose(2)], ["2", "0"]);
  assertEquals([paths.back(1), paths.back(2)], ["0", "0"]);
});

Deno.test("Failback that is manual lets a path that is as good as the others share their work again", () => {
  const paths = new Paths([OPTIMIZED, OPTIMIZED, NON_OPTIMIZED]);
  assertEquals([paths.inUse, paths.lose(0), paths.back(0)], ["0,1", "1", "0,1"]);
  assertEquals([paths.lose(0), paths.lose(1)], ["1", "2"]);
  assertEquals([paths.back(0), paths.back(1)], ["2", "2"]);
  paths.failback.release();
  assertEquals(paths.inUse, "0,1");
});

Deno.test("Failback that is manual chooses anew after all paths were lost", () => {
  const paths = new Paths([OPTIMIZED, NON_OPTIMIZED]);
  assertEquals([paths.lose(0), paths.lose(1)], ["1", ""]);
  assertEquals([paths.back(1), paths.back(0)], ["1", "0"]);
});

Deno.test("Failback that is manual uses a path at once that is new, or was made anew", () => {
  const paths = new Paths([NON_OPTIMIZED]);
  paths.table.setAna(1, OPTIMIZED);
  assertEquals(paths.back(1), "1");
  paths.lose(1);
  paths.failback.forget(1);
  assertEquals(paths.back(1), "1");
});

Deno.test("Failback that is manual follows the storage where it ranks paths anew that serve all the time", () => {
  const paths = new Paths([OPTIMIZED, NON_OPTIMIZED]);
  assertEquals([paths.ana(0, NON_OPTIMIZED), paths.ana(1, OPTIMIZED)], ["0,1", "1"]);
});

Deno.test("Failback that is manual keeps active-passive where it is, though the preferred path is back", () => {
  const paths = new Paths([OPTIMIZED, OPTIMIZED, OPTIMIZED], { policy: "active-passive" });
  paths.table.setPreferred(2);
  paths.lose(2);
  assertEquals([paths.back(2), paths.table.isStandby(2)], ["0,1", true]);
  // One that active-passive would not pick changes nothing by its return.
  paths.lose(1);
  assertEquals([paths.back(1), paths.table.isStandby(1)], ["0,1", false]);
  // What served is lost: of the others the next one serves, and the first does not come back to it.
  paths.lose(0);
  assertEquals([paths.back(0), paths.table.isStandby(0)], ["1", true]);
  paths.failback.release();
  assertEquals(paths.inUse, "0,1,2");
});

Deno.test("Failback that becomes manual while a path is away keeps it on standby when it is back", () => {
  const paths = new Paths([OPTIMIZED, NON_OPTIMIZED], { mode: "auto" });
  paths.lose(0);
  paths.failback.setMode("manual");
  assertEquals([paths.table.isStandby(0), paths.back(0)], [true, "1"]);
});
