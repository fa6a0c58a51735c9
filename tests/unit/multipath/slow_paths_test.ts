import { assert, assertEquals } from "@std/assert";
import { PathProbe } from "../../../src/multipath/path_probe.ts";
import { NO_PATH } from "../../../src/multipath/policy.ts";
import { type PathTotals, SlowPaths } from "../../../src/multipath/slow_paths.ts";
import { type CandidatePath, candidates } from "./candidates.ts";

const LOOK_MS = 500;

/** What one path does between two looks. */
interface Doing {
  rank?: number;
  inFlight?: number;
  reads?: number;
  readMs?: number;
  writes?: number;
  writeMs?: number;
}

class Bench {
  readonly slow = new SlowPaths();
  readonly totals: PathTotals[] = [];
  nowMs = 10_000;

  /** Each path does the same for so long; what has changed, as "path+" for slow and "path-" for not any more. */
  run(seconds: number, paths: Doing[]): string {
    for (let i = 0; i < seconds * 1000 / LOOK_MS; i++) {
      this.nowMs += LOOK_MS;
      paths.forEach((doing, path) => this.#do(path, doing));
      this.slow.handleLook(this.totals, this.nowMs);
    }
    return this.slow.takeChanges().map(({ path, isSlow }) => `${path}${isSlow ? "+" : "-"}`).join(" ");
  }

  #do(path: number, { rank = 1, inFlight = 0, reads = 0, readMs = 0, writes = 0, writeMs = 0 }: Doing): void {
    const before = this.totals[path] ?? { reads: 0, readMs: 0, writes: 0, writeMs: 0 };
    this.totals[path] = {
      rank,
      inFlight,
      reads: before.reads + reads,
      readMs: before.readMs + reads * readMs,
      writes: before.writes + writes,
      writeMs: before.writeMs + writes * writeMs,
    };
  }
}

const GOOD: Doing = { reads: 100, readMs: 0.2 };
const PROBED: Doing = { reads: 2, readMs: 0.2 };

Deno.test("SlowPaths tells a path that is persistently several times slower than its fastest peer", () => {
  const cases: [what: string, paths: Doing[], changes: string][] = [
    ["alike", [GOOD, GOOD], ""],
    ["0.1 ms beside 0.3 ms", [{ ...GOOD, readMs: 0.1 }, { ...GOOD, readMs: 0.3 }], ""],
    ["ten times slower, and nobody minds", [{ ...GOOD, readMs: 0.1 }, { ...GOOD, readMs: 1 }], ""],
    ["1 ms longer, and not several times", [{ ...GOOD, readMs: 2 }, { ...GOOD, readMs: 7 }], ""],
    ["20 ms farther", [GOOD, { reads: 30, readMs: 20 }], "1+"],
    ["writes only", [{ writes: 50, writeMs: 0.3 }, { writes: 9, writeMs: 30 }], "1+"],
    ["reads good and writes bad", [{ ...GOOD, writes: 50, writeMs: 1 }, { ...GOOD, writes: 50, writeMs: 9 }], "1+"],
    ["two of three", [{ ...GOOD, readMs: 9 }, GOOD, { ...GOOD, readMs: 50 }], "0+ 2+"],
    ["other ANA states are no peers", [GOOD, { ...GOOD, rank: 2, readMs: 20 }], ""],
    ["a path that does not serve is no peer", [{ ...GOOD, rank: 0 }, { ...GOOD, readMs: 20 }], ""],
    ["reads do not speak for writes", [GOOD, { writes: 50, writeMs: 20 }], ""],
    ["no answer at all", [GOOD, { inFlight: 3 }], "1+"],
    ["no answer and no question", [GOOD, {}], ""],
    ["too few answers of the peer", [{ reads: 0 }, { ...GOOD, readMs: 20 }], ""],
    ["the only path", [{ ...GOOD, readMs: 100 }], ""],
  ];
  for (const [what, paths, changes] of cases) assertEquals(new Bench().run(20, paths), changes, what);
});

Deno.test("SlowPaths waits for enough answers over enough time", () => {
  const bench = new Bench();
  const slow = [GOOD, { reads: 30, readMs: 20 }];
  assertEquals(bench.run(3, slow), "");
  assertEquals(bench.run(0.5, [GOOD, GOOD]), "", "one good look begins anew");
  assertEquals(bench.run(3, slow), "");
  assertEquals(bench.run(2, slow), "1+");
  // One answer a second makes a verdict every eight.
  const few = new Bench();
  assertEquals(few.run(24, [GOOD, { reads: 0.5, readMs: 20 }]), "");
  assertEquals(few.run(12, [GOOD, { reads: 0.5, readMs: 20 }]), "1+");
});

Deno.test("SlowPaths is not misled by one answer that took seconds", () => {
  const bench = new Bench();
  for (let i = 0; i < 20; i++) {
    assertEquals(bench.run(0.5, [GOOD, { reads: 4, readMs: 500 }]), "");
    assertEquals(bench.run(2, [GOOD, { reads: 4, readMs: 0.2 }]), "");
  }
  assertEquals(bench.run(0.5, [{ ...GOOD, writes: 9, writeMs: 0.2 }, { writes: 9, writeMs: 2000 }]), "");
  assertEquals(bench.run(20, [GOOD, GOOD]), "", "writes that are over say nothing of reads");
});

Deno.test("SlowPaths takes a path back that has recovered, after a hold that grows when it is slow again", () => {
  const bench = new Bench();
  const bad: Doing[] = [GOOD, { reads: 30, readMs: 20 }];
  const holds: number[] = [];
  for (let i = 0; i < 8; i++) {
    assertEquals(bench.run(5, bad), "1+");
    const from = bench.nowMs;
    while (bench.slow.mask !== 0) assert(bench.run(0.5, [GOOD, PROBED]) === "" || bench.slow.mask === 0);
    holds.push(Math.round((bench.nowMs - from) / 1000));
  }
  assertEquals(
    holds.map((hold, i) => hold <= [5, 10, 20, 40, 80, 160, 300, 300][i]),
    new Array(8).fill(true),
    `${holds}`,
  );
  assert(holds[7] > 290 && holds[0] >= 2, `${holds}`);
  assertEquals(bench.run(700, [GOOD, GOOD]), "");
  assertEquals(bench.run(5, bad), "1+");
  assertEquals(bench.run(10, [GOOD, PROBED]), "1-", "what is long ago is forgiven");
});

Deno.test("SlowPaths keeps a path slow that is between slow and near, or whose writes are not near yet", () => {
  const bench = new Bench();
  assertEquals(bench.run(5, [GOOD, { reads: 30, readMs: 20 }]), "1+");
  assertEquals(bench.run(60, [GOOD, { reads: 2, readMs: 0.9 }]), "");
  const both = { ...GOOD, writes: 100, writeMs: 0.2 };
  assertEquals(bench.run(60, [both, { ...PROBED, writes: 2, writeMs: 20 }]), "");
  assertEquals(bench.run(60, [both, { ...PROBED, writes: 2, writeMs: 0.3 }]), "1-");
});

Deno.test("SlowPaths never leaves peers without one that is not slow", () => {
  const bench = new Bench();
  assertEquals(bench.run(5, [GOOD, { reads: 30, readMs: 20 }]), "1+");
  assertEquals(bench.run(0.5, [{ rank: 0 }, { reads: 1, readMs: 20 }]), "1-", "at once");
  assertEquals(bench.run(60, [{ rank: 0 }, { reads: 30, readMs: 20 }]), "");
  assertEquals(bench.run(10, [GOOD, { reads: 30, readMs: 20 }]), "1+");
  assertEquals(bench.run(0.5, [GOOD, { rank: 2, reads: 30, readMs: 20 }]), "1-", "it has other peers now");
  assertEquals(bench.run(20, [GOOD, { reads: 30, readMs: 20 }]), "1+");
  bench.slow.forget(1);
  assertEquals(bench.slow.mask, 0);
});

Deno.test("PathProbe looks at a slow path with one command of 256, and not oftener than every 20 ms", () => {
  const probed = (paths: CandidatePath[], slow: number, stepMs: number, commands: number): number[] => {
    const probe = new PathProbe();
    const picked = Array.from(
      { length: commands },
      (_, i) => probe.select(candidates(paths, { nowMs: i * stepMs }), slow),
    );
    return picked.filter((path) => path !== NO_PATH);
  };
  const good = { rank: 1 };
  assertEquals(probed([good, { rank: 2 }], 2, 1, 2560), new Array(10).fill(1));
  assertEquals(probed([good, { rank: 2 }], 2, 0.01, 10_000).length, 5);
  assertEquals(probed([good, { rank: 2, lastUsedMs: 5 }, { rank: 2, lastUsedMs: 4 }], 6, 1, 256), [2]);
  assertEquals(probed([good, { rank: 2, room: 0 }], 2, 1, 2560), [], "it is full");
  assertEquals(probed([good, { rank: 0 }], 2, 1, 2560), [], "it is not usable");
  assertEquals(probed([good, { rank: 4 }], 2, 1, 2560), [], "paths that are not its peers are better");
  assertEquals(probed([{ rank: 2 }, { rank: 2 }], 3, 1, 2560), [], "it is as good as any");
});

Deno.test("SlowPaths judges a path that has other peers by what it took beside those", () => {
  const far: Doing = { reads: 100, readMs: 20 };
  const idle = new Bench();
  assertEquals(idle.run(5, [{ ...far, rank: 2 }, GOOD]), "");
  assertEquals(idle.run(8, [{ ...far, rank: 2 }, { rank: 2 }]), "", "what it took in another state is no measure");
  const moved = new Bench();
  assertEquals(moved.run(2.5, [GOOD, far]), "");
  assertEquals(moved.run(2.5, [{ ...GOOD, rank: 2 }, { ...far, rank: 2 }]), "", "the verdicts begin anew");
  assertEquals(moved.run(2, [{ ...GOOD, rank: 2 }, { ...far, rank: 2 }]), "1+");
});

Deno.test("SlowPaths takes a path back whose answers take little longer, though several times as long", () => {
  const bench = new Bench();
  const fast: Doing = { reads: 100, readMs: 0.05 };
  assertEquals(bench.run(20, [fast, { reads: 30, readMs: 20 }]), "1+");
  assertEquals(bench.run(60, [fast, { reads: 2, readMs: 0.4 }]), "1-");
});
