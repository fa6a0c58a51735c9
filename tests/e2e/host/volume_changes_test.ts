/** What is changed of a volume while it runs: policy, times and paths, under a load that knows what every block holds. */
import { assert, assertEquals, assertMatch, assertThrows } from "@std/assert";
import { EIO } from "../../../src/base/errno.ts";
import { UmpathError } from "../../../src/base/errors.ts";
import { LoadControl, LoadOrder } from "../../../src/block/load_control.ts";
import type { PathInfo, VolumeChanges } from "../../../src/rpc/host_api.ts";
import { POLICY_NAMES } from "../../../src/multipath/policy_names.ts";
import { AnaStateCode } from "../../../src/protocol/nvme_log.ts";
import type { FakePortal } from "./fake_target.ts";
import { delay, eventually, failureOf } from "./host_fixture.ts";
import { type Rig, testSet } from "./volume_rig.ts";
import { Stopwatch } from "../stopwatch.ts";

const VOLUME = "vol-n1";

function set(rig: Rig, changes: Partial<VolumeChanges>) {
  const all = { policy: null, preferredPath: null, weights: [], timeouts: {}, ...changes };
  return rig.set.set({ volume: VOLUME, ...all }, (words) => rig.warnings.push(words)).volume;
}

function add(rig: Rig, portal: FakePortal) {
  return rig.set.addPath({ volume: VOLUME, path: portal.spec }, (words) => rig.warnings.push(words));
}

function away(rig: Rig, verb: "remove" | "disable", portal: FakePortal, force = false) {
  const params = { volume: VOLUME, path: portal.spec, force };
  return verb === "remove" ? rig.set.removePath(params) : rig.set.disablePath(params);
}

function enable(rig: Rig, portal: FakePortal) {
  return rig.set.enablePath({ volume: VOLUME, path: portal.spec }, (words) => rig.warnings.push(words));
}

/** Reads and writes at random, each read compared, on the whole of the volume. */
class Load {
  readonly #control = new LoadControl();
  readonly #rig: Rig;

  constructor(rig: Rig) {
    this.#rig = rig;
    const units = rig.set.find(VOLUME).info().sizeBytes / 4096;
    const plan = { depth: 8, unitBytes: 4096, units: Math.min(units, 64), seed: 7, control: this.#control.buffer };
    rig.set.find(VOLUME).startLoad(plan);
  }

  async start(): Promise<void> {
    await this.#carryOut(LoadOrder.FILL);
    this.#give(LoadOrder.MIX);
  }

  #give(order: number): void {
    this.#control.give(order);
    this.#rig.set.find(VOLUME).wakeWorkers();
  }

  async #carryOut(order: number): Promise<void> {
    this.#give(order);
    await eventually("the load is done", () => this.#control.isDone, 15_000);
    assertEquals(this.#control.failure, null);
  }

  get #done(): number {
    const { reads, writes } = this.#control.counts(0);
    return reads + writes;
  }

  /** Waits until so many more requests were answered. */
  async more(requests: number): Promise<void> {
    const end = this.#done + requests;
    await eventually(`${requests} requests`, () => this.#control.failure !== null || this.#done >= end, 15_000);
    assertEquals(this.#control.failure, null);
  }

  /** The longest that a request has taken. */
  get longestMs(): number {
    const { longestReadMs, longestWriteMs } = this.#control.counts(0);
    return Math.max(longestReadMs, longestWriteMs);
  }

  async finish(): Promise<void> {
    await this.#carryOut(LoadOrder.STOP);
    await this.#carryOut(LoadOrder.VERIFY);
  }
}

function done({ reads, writes }: PathInfo): number {
  return reads + writes;
}

// ── policies ────────────────────────────────────────────────────────────────────────────────────────────────────────

testSet("set() switches the policy under load, and no request notices", 3, async (rig, target) => {
  await rig.attach(target.portals);
  const load = new Load(rig);
  await load.start();
  for (const policy of [...POLICY_NAMES, ...POLICY_NAMES]) {
    assertEquals(set(rig, { policy }).policy, policy);
    await load.more(100);
  }
  set(rig, { policy: "active-passive", preferredPath: { id: 1 } });
  await load.more(50);
  const before = rig.paths().map(done);
  await load.more(100);
  const after = rig.paths().map(done);
  assertEquals([after[0] - before[0], after[2] - before[2]], [0, 0]);
  assert(after[1] - before[1] >= 100);
  set(rig, { policy: "weighted", weights: [{ path: target.portals[0].spec, weight: 8 }] });
  await load.more(50);
  const start = rig.paths().map(done);
  await load.more(300);
  const [first, second, third] = rig.paths().map((path, i) => done(path) - start[i]);
  assert(first > 6 * second && first > 6 * third && second > 0 && third > 0, `${first}, ${second}, ${third}`);
  await load.finish();
  const { volume } = { volume: rig.set.find(VOLUME).info() };
  assertEquals(volume.paths.map(({ failovers, errors, weight }) => [failovers, errors, weight]), [
    [0, 0, 8],
    [0, 0, 1],
    [0, 0, 1],
  ]);
  assertEquals(volume.preferredPath, 1);
  for (const path of volume.paths) {
    assert(path.readMs! > 0 && path.readMsMax! >= path.readMs! && path.writeMs! > 0, JSON.stringify(path));
    assertEquals([path.inflight, path.inflightBytes], [0, 0]);
  }
  assertEquals(rig.warnings, []);
});

testSet(
  "set() with failback=manual keeps I/O on the path that took over, until failback=now",
  2,
  async (rig, target) => {
    const [first, second] = target.portals;
    [first.ana, second.ana] = [AnaStateCode.OPTIMIZED, AnaStateCode.NON_OPTIMIZED];
    const timeouts = { reconnectDelayMs: 20, writeHoldMs: null };
    const { volume } = await rig.attach(target.portals, { failback: "manual", timeouts });
    assertEquals([volume.failback, ...volume.paths.map(({ standby }) => standby)], ["manual", false, false]);
    const load = new Load(rig);
    await load.start();
    await load.more(50);
    /** What each path has served of the next requests. */
    const served = async () => {
      await load.more(20);
      const before = rig.paths().map(done);
      await load.more(100);
      return rig.paths().map((path, i) => done(path) > before[i]);
    };
    assertEquals(await served(), [true, false]);
    const loseFirst = async () => {
      const { reconnects } = rig.paths()[0];
      await first.kill();
      await eventually(
        "it is back",
        () => rig.paths()[0].reconnects > reconnects && rig.states().join() === "live,live",
      );
    };
    await loseFirst();
    assertEquals([await served(), rig.paths().map(({ standby }) => standby)], [[false, true], [true, false]]);
    assertEquals(set(rig, { failback: "now" }).paths[0].standby, false);
    assertEquals([await served(), rig.set.find(VOLUME).info().failback], [[true, false], "manual"]);
    await loseFirst();
    assertEquals(await served(), [false, true]);
    set(rig, { failback: "auto" });
    assertEquals(await served(), [true, false]);
    await loseFirst();
    assertEquals(await served(), [true, false]);
    await load.finish();
    assertThrows(() => set(rig, { failback: "later" }), UmpathError, 'failback "later"');
  },
);

testSet(
  "an I/O that is answered with an ANA status moves at once, and the ANA log is read again",
  2,
  async (rig, target) => {
    for (const portal of target.portals) portal.ana = AnaStateCode.OPTIMIZED;
    await rig.attach(target.portals);
    const load = new Load(rig);
    await load.start();
    await load.more(50);
    // Nobody tells it: only the answers do.
    target.portals[0].ana = AnaStateCode.INACCESSIBLE;
    await eventually("the log was read", () => rig.paths()[0].ana === "inaccessible");
    await load.more(50);
    const [moved] = rig.paths();
    assert(moved.failovers > 0 && moved.reconnects === 0, `${moved.failovers}, ${moved.reconnects}`);
    assert(load.longestMs < 1_000, `${load.longestMs} ms`);
    await load.finish();
  },
);

testSet("set() changes all or nothing, and says what is wrong", 2, async (rig, target) => {
  await rig.attach(target.portals);
  const before = JSON.stringify(rig.set.find(VOLUME).info());
  const policy = "weighted";
  const cases: [changes: Partial<VolumeChanges>, code: string, words: RegExp][] = [
    [{ policy: "fastest" }, "usage", /policy "fastest": it is not one of round-robin/],
    [{ policy, timeouts: { noPathTimeoutMs: 1_000 } }, "usage", /write-hold 5s \(default\) with no-path-timeout 1s/],
    [{ policy, slowPath: "shun" }, "usage", /"shun" for slow-path: it is not one of off and demote/],
    [{ policy, hedgeReads: "p12" }, "usage", /"p12" for hedge-reads: percentiles are from p50/],
    [{ policy, preferredPath: { id: 7 } }, "not-found", /path number 7 of vol-n1/],
    [{ policy, weights: [{ path: { id: 0 }, weight: 3 }, { path: { id: 9 }, weight: 3 }] }, "not-found", /number 9/],
  ];
  for (const [changes, code, words] of cases) {
    const failure = assertThrows(() => set(rig, changes), UmpathError);
    assertEquals(failure.code, code);
    assertMatch(failure.message, words);
    assertEquals(JSON.stringify(rig.set.find(VOLUME).info()), before);
  }
  const nobody = { volume: "nobody", policy, preferredPath: null, weights: [], timeouts: {} };
  assertEquals(assertThrows(() => rig.set.set(nobody, () => {}), UmpathError).code, "not-found");
});

testSet("set() warns of what its policy does not heed", 2, async (rig, target) => {
  await rig.attach(target.portals);
  set(rig, { preferredPath: { id: 1 }, weights: [{ path: { id: 0 }, weight: 2 }] });
  assertEquals(rig.warnings.splice(0).map((words) => words.replace(/.*does not heed /, "")), [
    "the preferred path",
    "weights",
  ]);
  assertEquals(set(rig, { preferredPath: "none" }).preferredPath, null);
  set(rig, { policy: "active-passive", preferredPath: { id: 1 }, weights: [{ path: { id: 0 }, weight: 2 }] });
  assertEquals(rig.warnings, []);
});

// ── times ───────────────────────────────────────────────────────────────────────────────────────────────────────────

testSet("set() changes times at once, also for a path that pauses", 2, async (rig, target) => {
  const [first, second] = target.portals;
  await rig.attach([first, second], {
    timeouts: { reconnectDelayMs: 50_000, reconnectDelayMaxMs: 50_000 },
  });
  await second.stop();
  await eventually("it is lost", () => rig.states()[1] === "reconnecting");
  second.start();
  await delay(300);
  assertEquals(rig.states()[1], "reconnecting", "it pauses");
  const { timeouts } = set(rig, { timeouts: { reconnectDelayMs: 20, reconnectDelayMaxMs: 50, ioTimeoutMs: 700 } });
  assertEquals([timeouts.reconnectDelayMaxMs, timeouts.ioTimeoutMs, timeouts.noPathTimeoutMs], [50, 700, 60_000]);
  await eventually("it is live", () => rig.states()[1] === "live", 1_000);
  const load = new Load(rig);
  await load.start();
  await load.more(20);
  second.answersIo = false;
  await eventually("the new I/O timeout has passed", () => rig.paths()[1].failovers > 0, 3_000);
  second.answersIo = true;
});

testSet(
  "set() of a shorter keep-alive holds writes as before until no controller goes by the longer",
  2,
  async (rig, t) => {
    await rig.attach(t.portals, { timeouts: { keepAliveMs: 10_000 } });
    const { table } = rig.set.find(VOLUME);
    assertEquals(table.writeHoldMs, 10_000);
    const { timeouts } = set(rig, { timeouts: { keepAliveMs: 2_000 } });
    assertEquals([timeouts.keepAliveMs, timeouts.writeHoldMs, table.writeHoldMs], [2_000, 10_000, 10_000]);
    assertMatch(rig.warnings.join(), /keep-alive time of vol-n1 holds for each path from its next connect on/);
    await t.portals[0].kill();
    await eventually("it is back", () => rig.paths()[0].reconnects === 1 && rig.states()[0] === "live");
    assertEquals(table.writeHoldMs, 10_000);
    await t.portals[1].kill();
    await eventually("it is back", () => rig.paths()[1].reconnects === 1 && rig.states()[1] === "live");
    assertEquals(table.writeHoldMs, 2_000);
    set(rig, { timeouts: { writeHoldMs: 300 } });
    assertEquals(table.writeHoldMs, 300, "whoever names a hold gets it");
    set(rig, { timeouts: { writeHoldMs: null } });
    assertEquals(table.writeHoldMs, 0);
    const auto = set(rig, { timeouts: { writeHoldMs: "auto" } });
    assertEquals([auto.writeHoldAuto, auto.timeouts.writeHoldMs, table.writeHoldMs], [true, 2_000, 2_000]);
  },
);

// ── paths ───────────────────────────────────────────────────────────────────────────────────────────────────────────

testSet(
  "removePath() under load moves nothing and holds nothing, and leaves nothing behind",
  3,
  async (rig, target) => {
    const [first, second, third] = target.portals;
    await rig.attach([first, second]);
    const load = new Load(rig);
    await load.start();
    await load.more(100);
    await add(rig, third);
    await load.more(100);
    await away(rig, "remove", second);
    assertEquals(rig.states(), ["live", "live"]);
    await eventually("no connection is left", () => second.connections.size === 0);
    await load.more(200);
    assert(load.longestMs < 2_000, `${load.longestMs} ms`);
    await away(rig, "remove", first);
    await load.more(200);
    await add(rig, second);
    await load.more(100);
    assertEquals(rig.paths().map(({ id, traddr }) => [id, traddr]), [[0, second.address], [2, third.address]]);
    assert(done(rig.paths()[0]) < 200, "a new path counts from nothing");
    await load.finish();
    const { paths, held, waiting } = rig.set.find(VOLUME).info();
    assertEquals([...paths.map(({ failovers }) => failovers), held, waiting], [0, 0, 0, 0]);
    assertEquals(rig.warnings, []);
  },
);

testSet(
  "removePath() does not wait long for answers that do not come: others serve what the path had",
  2,
  async (rig, t) => {
    const [first, second] = t.portals;
    await rig.attach([first, second], { timeouts: { writeHoldMs: 30_000 } });
    const load = new Load(rig);
    await load.start();
    await load.more(100);
    second.answersIo = false;
    await eventually("it has all of the load", () => rig.paths()[1].inflight >= 7);
    const took = new Stopwatch();
    await away(rig, "remove", second);
    assert(took.ms > 1_500, `${took.ms} ms`);
    took.assertWithin(6_000);
    // The controller was reset: its writes are not held any longer.
    await load.more(100);
    assertEquals(rig.set.find(VOLUME).info().held, 0);
    await load.finish();
  },
);

testSet(
  "removePath() and disablePath() keep the path that alone serves the volume, unless forced",
  2,
  async (rig, target) => {
    const [first, second] = target.portals;
    await rig.attach([first, second]);
    await second.stop();
    await eventually("it is lost", () => rig.states()[1] === "reconnecting");
    for (const verb of ["remove", "disable"] as const) {
      const failure = await failureOf(away(rig, verb, first));
      assertEquals(failure.code, "in-use");
      assertMatch(failure.message, new RegExp(`^Cannot ${verb} path ".*" of vol-n1: no other path serves it$`));
      assertMatch(failure.hint!, /--force/);
    }
    await away(rig, "remove", second);
    assertEquals((await failureOf(away(rig, "remove", first))).code, "in-use");
    const load = new Load(rig);
    await load.start();
    await load.more(50);
    await away(rig, "remove", first, true);
    assertEquals([rig.paths(), rig.set.find(VOLUME).info().state], [[], "no-path"]);
    second.start();
    await add(rig, second);
    await load.more(50);
    await load.finish();
  },
);

testSet("disablePath() keeps a path unused and unconnected until enablePath()", 2, async (rig, target) => {
  const [first, second] = target.portals;
  await rig.attach([first, second]);
  set(rig, { policy: "weighted", weights: [{ path: second.spec, weight: 5 }] });
  const load = new Load(rig);
  await load.start();
  await load.more(100);
  const { volume } = await away(rig, "disable", second);
  assertEquals([volume.state, rig.states(), rig.paths()[1].reason], [
    ...["degraded", ["live", "disabled"], "it was disabled"],
  ]);
  await eventually("no connection is left", () => second.connections.size === 0);
  const before = done(rig.paths()[1]);
  const connects = second.count("connect");
  await away(rig, "disable", second);
  set(rig, { timeouts: { reconnectDelayMs: 10, reconnectDelayMaxMs: 20 } });
  await load.more(200);
  await delay(200);
  assertEquals([done(rig.paths()[1]), second.count("connect")], [before, connects]);
  assertEquals((await failureOf(away(rig, "disable", first))).code, "in-use");
  await enable(rig, second);
  assertEquals(rig.states(), ["live", "live"]);
  await load.more(200);
  await enable(rig, second);
  assertEquals(second.count("connect"), connects + 1);
  const [, path] = rig.paths();
  assert(done(path) > before && path.weight === 5 && path.failovers === 0, JSON.stringify(path));
  await load.finish();
  assertEquals(rig.warnings, []);
});

testSet("enablePath() tries a path again that was given up, and says what is wrong with it", 2, async (rig, target) => {
  const [first, second] = target.portals;
  await rig.attach([first, second], { timeouts: { ctrlLossTimeoutMs: 200 } });
  await second.stop();
  await eventually("it is given up", () => rig.states()[1] === "disabled");
  await enable(rig, second);
  assertMatch(rig.warnings.splice(0).join(), /is down \(connection refused\); umpath keeps retrying it$/);
  await eventually("it is given up again", () => rig.states()[1] === "disabled");
  second.start();
  await enable(rig, second);
  assertEquals([rig.states(), rig.warnings], [["live", "live"], []]);
});

testSet("addPath() says why a path is left out, and knows one that is there", 3, async (rig, target) => {
  const [first, second, third] = target.portals;
  await rig.attach([first]);
  second.refusesHosts = true;
  assertEquals((await failureOf(add(rig, second))).code, "refused");
  third.uuid = "5a3c1c1e-0000-4000-8000-00000000beef";
  assertMatch((await failureOf(add(rig, third))).message, /it leads to another namespace/);
  const { volume } = await add(rig, first);
  assertEquals([volume.paths.length, first.count("connect"), rig.warnings], [1, 1, []]);
  await second.stop();
  assertEquals((await failureOf(add(rig, second))).code, "unreachable");
  const nowhere = { volume: VOLUME, path: { id: 9 }, force: false };
  for (const verb of ["removePath", "disablePath", "enablePath"] as const) {
    assertEquals((await failureOf(rig.set[verb](nowhere, () => {}))).code, "not-found");
  }
});

testSet(
  "removePath() forgets what was preferred and weighed: another path of its number begins anew",
  3,
  async (rig, t) => {
    await rig.attach(t.portals.slice(0, 2));
    set(rig, { policy: "active-passive", preferredPath: { id: 1 }, weights: [{ path: { id: 1 }, weight: 9 }] });
    await away(rig, "remove", t.portals[1]);
    const { volume } = await add(rig, t.portals[2]);
    assertEquals([volume.preferredPath, volume.paths[1].id, volume.paths[1].weight], [null, 1, 1]);
  },
);

testSet("paths that are added, removed, disabled and enabled all the time cost no request", 3, async (rig, target) => {
  const [first, second, third] = target.portals;
  await rig.attach([first, second, third]);
  const load = new Load(rig);
  await load.start();
  for (let round = 0; round < 6; round++) {
    const [one, other] = round % 2 === 0 ? [second, third] : [third, second];
    await Promise.all([away(rig, "remove", one), load.more(20)]);
    await Promise.all([away(rig, "disable", other), load.more(20)]);
    set(rig, { policy: POLICY_NAMES[round % POLICY_NAMES.length] });
    await Promise.all([enable(rig, other), add(rig, one), load.more(20)]);
  }
  await load.finish();
  assertEquals(rig.states(), ["live", "live", "live"]);
  assertEquals(rig.paths().map(({ failovers }) => failovers), [0, 0, 0]);
});

// ── no path ─────────────────────────────────────────────────────────────────────────────────────────────────────────

/** Reads and writes until a request fails; how long that takes, and its errno. */
async function failureOfLoad(rig: Rig): Promise<{ took: Stopwatch; errno: number }> {
  const control = new LoadControl();
  rig.set.find(VOLUME).startLoad({ depth: 4, unitBytes: 4096, units: 64, seed: 9, control: control.buffer });
  control.give(LoadOrder.MIX);
  rig.set.find(VOLUME).wakeWorkers();
  const took = new Stopwatch();
  await eventually("a request fails", () => control.failure !== null, 60_000);
  return { took, errno: control.failure!.errno };
}

testSet(
  "I/O fails when every path is lost for longer than fast-io-fail-timeout, until one is back",
  2,
  async (rig, target) => {
    const timeouts = { fastIoFailTimeoutMs: 600, reconnectDelayMs: 50, reconnectDelayMaxMs: 50, writeHoldMs: null };
    await rig.attach(target.portals, { timeouts });
    const [first, second] = target.portals;
    const { table } = rig.set.find(VOLUME);
    await first.stop();
    await delay(800);
    assertEquals([rig.states().join(), table.isCut], ["reconnecting,live", false]);
    await second.stop();
    await eventually("the second is lost", () => rig.states().join() === "reconnecting,reconnecting");
    assertEquals(table.isCut, false);
    const { took, errno } = await failureOfLoad(rig);
    assertEquals(errno, EIO);
    took.assertWithin(3_000);
    const words = rig.log.join("\n");
    assertMatch(words, /warn.* path 0 .* is lost for longer than fast-io-fail-timeout: I\/O does not wait for it/i);
    assertMatch(words, /error.* no path is expected to come back soon: I\/O fails until one does/i);
    second.start();
    await eventually("it is back", () => rig.states()[1] === "live");
    assertEquals(table.isCut, false);
  },
);

testSet("fast-io-fail-timeout holds for paths that are lost already when it is set", 1, async (rig, target) => {
  const { table } = rig.set.find((await rig.attach(target.portals, { timeouts: { writeHoldMs: null } })).volume.name);
  await target.portals[0].stop();
  await eventually("it is lost", () => rig.states()[0] === "reconnecting");
  await delay(350);
  assertEquals(table.isCut, false);
  set(rig, { timeouts: { fastIoFailTimeoutMs: 300 } });
  assertEquals(table.isCut, true);
  set(rig, { timeouts: { fastIoFailTimeoutMs: null } });
  assertEquals(table.isCut, false);
  set(rig, { timeouts: { fastIoFailTimeoutMs: 900 } });
  assertEquals(table.isCut, false);
  await eventually("it is over", () => table.isCut);
});

testSet("I/O fails when every path is given up, but waits when somebody has disabled them", 2, async (rig, target) => {
  const [first, second] = target.portals;
  await rig.attach(target.portals, { timeouts: { ctrlLossTimeoutMs: 300, writeHoldMs: null } });
  const { table } = rig.set.find(VOLUME);
  await away(rig, "disable", second);
  await away(rig, "disable", first, true);
  assertEquals([rig.states().join(), table.isCut], ["disabled,disabled", false]);
  await enable(rig, first);
  await first.stop();
  await eventually("it is given up", () => rig.states()[0] === "disabled");
  assertEquals([table.isCut, (await failureOfLoad(rig)).errno], [true, EIO]);
  await enable(rig, second);
  assertEquals([rig.states().join(), table.isCut], ["disabled,live", false]);
});
