/**
 * A volume with a loop device over two listeners of `umpath serve`, one of which does wrong on demand, under load that
 * knows what it has to read: nothing is lost, nothing is wrong, no I/O takes for ever, the path's state says what is the
 * matter, and it comes back.
 */
import { assert, assertEquals, assertMatch, fail } from "@std/assert";
import type { PathInfo, VolumeInfo } from "../../src/rpc/host_api.ts";
import { call } from "../../src/rpc/client.ts";
import { runDirAt } from "../../src/rpc/run_dir.ts";
import { delay } from "./host/host_fixture.ts";
import type { FioResult } from "../vm/fio.ts";
import { loadErrors, smallLoad, underLoad } from "../vm/load.ts";
import { Cli } from "./cli_fixture.ts";
import { loopTest } from "./loop_case.ts";
import { Served } from "./served.ts";
import { Stopwatch } from "./stopwatch.ts";

const NQN = "nqn.2026-11.io.test:vol";
const SEED = Number(Deno.env.get("UMPATH_SEED") ?? Date.now() % 2 ** 31);
const HOST = [
  "--hostnqn",
  "nqn.2014-08.org.nvmexpress:uuid:2f0e0d0c-0b0a-4908-8706-050403020100",
  "--hostid",
  "2f0e0d0c-0b0a-4908-8706-050403020100",
];
/** Short, so that a lost path is noticed soon; writes of a lost path are held for the keep-alive timeout. */
const TIMES = [
  ...["--keep-alive", "1s", "--io-timeout", "1s", "--connect-timeout", "1s"],
  ...["--reconnect-delay", "20ms", "--reconnect-delay-max", "100ms"],
];
const WAIT_MS_MAX = 60_000;
const FIO_MS_MAX = 120_000;
const FAULTY = 1;

/** A target with two listeners, and a volume over both with a loop device. */
class Rig implements AsyncDisposable {
  readonly cli = new Cli();
  readonly target: Served;
  readonly device: string;

  private constructor(cli: Cli, target: Served, device: string) {
    this.cli = cli;
    this.target = target;
    this.device = device;
  }

  static async start(): Promise<Rig> {
    const cli = new Cli();
    const target = await Served.start(cli, { nqn: NQN, words: ["--ram", "32M", "--fault-seed", String(SEED)] });
    const paths = target.portals.flatMap(({ words }) => ["-p", words]);
    const { code, stdout, stderr } = await cli.run("attach", NQN, ...paths, "--device", "loop", ...HOST, ...TIMES);
    assertEquals(code, 0, stderr);
    return new Rig(cli, target, stdout.trim());
  }

  async volume(): Promise<VolumeInfo> {
    const list = await call("list", {}, { dir: runDirAt(this.cli.runDir) });
    return list?.volumes[0] ?? fail("The volume is gone");
  }

  async path(index: number): Promise<PathInfo> {
    const { traddr } = { traddr: this.target.portals[index]!.hostname };
    return (await this.volume()).paths.find((path) => path.traddr === traddr) ?? fail(`There is no path to ${traddr}`);
  }

  /** Waits until the volume is as it should be; what it is then. */
  async when(what: string, holds: (volume: VolumeInfo) => boolean): Promise<VolumeInfo> {
    for (const end = Date.now() + WAIT_MS_MAX;;) {
      const volume = await this.volume();
      if (holds(volume)) return volume;
      if (Date.now() > end) fail(`Still not ${what} (seed ${SEED}): ${JSON.stringify(volume.paths)}\n${this.log()}`);
      await delay(20);
    }
  }

  async whenLive(): Promise<void> {
    await this.when("live", ({ paths }) => paths.every(({ state, ana }) => state === "live" && ana === "optimized"));
  }

  /** How often each path was lost and is back. */
  async reconnects(): Promise<number[]> {
    return [(await this.path(0)).reconnects, (await this.path(FAULTY)).reconnects];
  }

  /** Waits until each of the faults that are in force has hit. */
  async whenHit(): Promise<void> {
    for (const end = Date.now() + WAIT_MS_MAX; (await this.hits()).includes(0);) {
      if (Date.now() > end) fail(`A fault has hit nothing: ${await this.hits()}`);
      await delay(20);
    }
  }

  /** How often each of the faults that are in force has hit. */
  async hits(): Promise<number[]> {
    const { code, stdout, stderr } = await this.target.target("fault", "--json");
    assertEquals(code, 0, stderr);
    return (JSON.parse(stdout).faults as { hits: number }[]).map(({ hits }) => hits);
  }

  log(): string {
    return Deno.readTextFileSync(`${this.cli.runDir}/daemon.log`);
  }

  /** Load of about half a second a run, verified, for as long as `during` takes; what is wrong ends the test. */
  async underLoad(during: () => Promise<void>): Promise<{ longestMs: number }> {
    const options = { ...smallLoad(this.device, SEED), size: "3m", rate: "3m,3m" };
    const results = await underLoad(options, during, { timeoutMs: FIO_MS_MAX });
    assertEquals(loadErrors(results), [], `seed ${SEED}\n${this.log()}`);
    return { longestMs: longestOf(results) };
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await using _folder = this.cli;
    await using _target = this.target;
    await this.target.target("fault", "clear");
    const { code, stderr } = await this.cli.run("detach", "--all");
    assertEquals(code, 0, stderr);
    await this.target.end();
    await this.cli.assertNoDaemonIsLeft();
  }
}

function longestOf(results: FioResult[]): number {
  const ns = results.flatMap(({ jobs }) => jobs.flatMap(({ read, write }) => [read.clat_ns.max, write.clat_ns.max]));
  return Math.max(...ns) / 1e6;
}

/** A fault of the second listener, and what becomes of its path. */
interface Case {
  faults: string[];
  /** How long the fault is looked at, ms, before the path has to be live again. */
  lastsMs: number;
  longestMs: number;
  /** Why the path was lost, in the daemon's words; null if it must not be. */
  lost: RegExp | "perhaps" | null;
  /** Listed at some time while the fault is on. */
  seen?: (path: PathInfo) => boolean;
}

/** A lost path costs what it takes to notice, and the hold of writes after that. */
const LOST_MS_MAX = 6_000;
const SILENT = /does not answer keep-alives|was not answered within|did not come up within/;

const CASES: Record<string, Case> = {
  "answers that are late": {
    faults: ["2:delay=20ms..80ms"],
    lastsMs: 700,
    longestMs: 1000,
    lost: null,
  },
  "a short stall": { faults: ["2:stall,for=300ms,every=500ms,times=2"], lastsMs: 1000, longestMs: 1500, lost: null },
  "a long stall": { faults: ["2:stall,for=2500ms"], lastsMs: 2500, longestMs: LOST_MS_MAX, lost: SILENT },
  "a stall of the I/O queues": {
    faults: ["2:stall,queue=io,for=2500ms"],
    lastsMs: 2500,
    longestMs: LOST_MS_MAX,
    lost: /a command was not answered within 1 s/,
  },
  "half-open connections": { faults: ["2:half-open"], lastsMs: 0, longestMs: LOST_MS_MAX, lost: SILENT },
  "a half-open admin connection": {
    faults: ["2:half-open,queue=admin"],
    lastsMs: 0,
    longestMs: LOST_MS_MAX,
    lost: /does not answer keep-alives|closed the connection/,
  },
  "connections that are reset": {
    faults: ["2:reset,every=400ms,times=3"],
    lastsMs: 1200,
    longestMs: LOST_MS_MAX,
    lost: /reset by peer/,
  },
  "a status of the path": {
    faults: ["2:status=internal-path-error,op=read+write,count=50"],
    lastsMs: 500,
    longestMs: 1500,
    lost: null,
  },
  "a controller that cannot take commands just now": {
    // The delay of a repetition doubles: a command that meets it five times has waited for 3.1 s.
    faults: ["2:status=namespace-not-ready,op=read+write,count=20"],
    lastsMs: 1000,
    longestMs: LOST_MS_MAX,
    lost: null,
  },
  "answers that never come": {
    faults: ["2:drop,op=read,count=2", "2:drop,op=write,count=2"],
    lastsMs: 0,
    longestMs: LOST_MS_MAX,
    lost: /a command was not answered within 1 s/,
  },
  "an inaccessible ANA state": {
    faults: ["2:ana=inaccessible"],
    lastsMs: 700,
    longestMs: 1000,
    lost: null,
    seen: ({ ana, state }) => ana === "inaccessible" && state === "live",
  },
  "an ANA change": {
    faults: ["2:ana=change"],
    lastsMs: 700,
    longestMs: 3000,
    lost: null,
    seen: ({ ana }) => ana === "change",
  },
  "a slow drain": { faults: ["2:slow-drain=4M"], lastsMs: 700, longestMs: 2500, lost: null },
  "a drain that is too slow": {
    faults: ["2:slow-drain=10K,queue=io,for=2s"],
    lastsMs: 2000,
    longestMs: LOST_MS_MAX,
    lost: /a command was not answered within 1 s/,
  },
  "a small window": { faults: ["2:tiny-window=64K"], lastsMs: 700, longestMs: 2500, lost: null },
  // On loopback a segment is larger than the window, so only probes of it move anything, five a second: whether a
  // command takes longer than the path's timeout depends on how many there are.
  "a tiny window": {
    faults: ["2:tiny-window=2K,for=1s"],
    lastsMs: 1000,
    longestMs: LOST_MS_MAX,
    lost: "perhaps",
  },
  "a listener that goes down": {
    faults: ["2:down,for=1s"],
    lastsMs: 1000,
    longestMs: LOST_MS_MAX,
    lost: /reset by peer|closed the connection/,
    seen: ({ state, reason }) => state === "reconnecting" && /connection refused/.test(reason ?? ""),
  },
};

for (const isLost of [false, true]) {
  const cases = Object.entries(CASES).filter(([_, { lost }]) => (lost !== null) === isLost);
  const what = cases.map(([what]) => what).join("; ");
  loopTest(
    `a listener that does wrong ${isLost ? "loses its path for a while" : "keeps its path"}: ${what}`,
    async () => {
      await using rig = await Rig.start();
      for (const [what, one] of cases) {
        await play(rig, one).catch((error) => {
          throw new Error(`With ${what} (${one.faults.join(" ")})`, { cause: error });
        });
      }
    },
  );
}

async function play(rig: Rig, one: Case): Promise<void> {
  const reconnectsBefore = await rig.reconnects();
  const logBefore = rig.log().length;
  const took = new Stopwatch();
  const { longestMs } = await rig.underLoad(async () => {
    await rig.target.fault(...one.faults);
    const began = Date.now();
    if (one.seen !== undefined) await rig.when("seen", ({ paths }) => one.seen!(paths[FAULTY]!));
    if (one.lost instanceof RegExp) {
      await rig.when("lost", ({ paths }) => wasLost(paths[FAULTY]!, reconnectsBefore[FAULTY]!));
    }
    await delay(Math.max(began + one.lastsMs - Date.now(), 0));
    await rig.whenHit();
    await rig.target.fault("clear");
    await rig.whenLive();
    const before = (await rig.path(FAULTY)).reads;
    await rig.when("used again", ({ paths }) => paths[FAULTY]!.reads > before);
  });
  const log = rig.log().slice(logBefore);
  const reconnects = await rig.reconnects();
  if (one.lost === null) assertEquals(reconnects[FAULTY], reconnectsBefore[FAULTY], log);
  else if (one.lost instanceof RegExp) assertMatch(log, one.lost);
  assertEquals(reconnects[0], reconnectsBefore[0], log);
  assert(longestMs < took.limitMs(one.longestMs), `the longest I/O took ${longestMs} ms`);
}

function wasLost({ reconnects, state }: PathInfo, before: number): boolean {
  return reconnects > before || state === "reconnecting" || state === "connecting";
}

loopTest("I/O waits while both listeners are down, and goes on when they are back", async () => {
  await using rig = await Rig.start();
  await rig.underLoad(async () => {
    await rig.target.fault("*:down");
    await rig.when("without a path", ({ state }) => state === "no-path");
    await rig.when("waiting", ({ waiting }) => waiting > 0);
    await rig.target.fault("clear");
    await rig.whenLive();
  });
});

loopTest("I/O waits while both listeners are inaccessible, and goes on when one is not", async () => {
  await using rig = await Rig.start();
  await rig.underLoad(async () => {
    await rig.target.fault("1:ana=inaccessible", "2:ana=inaccessible");
    await rig.when("inaccessible", ({ paths }) => paths.every(({ ana }) => ana === "inaccessible"));
    await rig.when("waiting", ({ waiting }) => waiting > 0);
    await rig.target.fault("1:ana=inaccessible");
    await rig.when("accessible by one", ({ paths }) => paths[FAULTY]!.ana === "optimized");
    await rig.when("not waiting", ({ waiting }) => waiting === 0);
    await rig.target.fault("clear");
    await rig.whenLive();
  });
  for (const { reconnects } of (await rig.volume()).paths) assertEquals(reconnects, 0, rig.log());
});

loopTest("a write that the storage system has refused for good fails, and only that one", async () => {
  await using rig = await Rig.start();
  await rig.target.fault("*:status=write-fault+dnr,op=write,count=1");
  const write = () =>
    rig.cli.runProgram(["dd", "if=/dev/urandom", `of=${rig.device}`, "bs=4096", "count=1", "oflag=direct"]);
  const failed = await write();
  assertEquals([failed.code, await rig.hits()], [1, [1]]);
  assertMatch(failed.stderr, /No data available/); // as the kernel says it of a Write Fault
  assertEquals((await write()).code, 0);
  for (const { reconnects } of (await rig.volume()).paths) assertEquals(reconnects, 0);
});

loopTest("everything at once, by chance, on both listeners in turn costs no I/O", async () => {
  await using rig = await Rig.start();
  const faults = [
    "*:delay=1ms..30ms,chance=0.2",
    "*:status=namespace-not-ready,op=read+write,chance=0.01",
    "1:reset,every=2s,chance=0.7",
    "1:drop,op=read+write,chance=0.001",
    "2:stall,at=500ms,for=1300ms,every=2s",
    "2:ana=inaccessible,at=1500ms,for=300ms,every=2s",
    "1:slow-drain=2M,at=500ms,for=500ms,every=2s",
    "2:tiny-window=4K,for=500ms,every=2s",
  ];
  const { longestMs } = await rig.underLoad(async () => {
    await rig.target.fault(...faults, "--fault-seed", String(SEED));
    await delay(4_000);
    assert((await rig.hits()).filter((hits) => hits > 0).length >= 6, `seed ${SEED}: ${await rig.hits()}`);
    await rig.target.fault("clear");
    await rig.whenLive();
  });
  assert(longestMs < 15_000, `seed ${SEED}: the longest I/O took ${longestMs} ms`);
});
