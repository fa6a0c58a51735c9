import { assert, assertEquals, assertMatch, assertStringIncludes } from "@std/assert";
import type { Timeouts } from "../../../src/settings/timeouts.ts";
import { AnaStateCode } from "../../../src/protocol/nvme_log.ts";
import { StatusCode, StatusField } from "../../../src/protocol/nvme_status.ts";
import type { AttachParams } from "../../../src/rpc/host_api.ts";
import { VolumeSet } from "../../../src/host/daemon/volume_set.ts";
import { WorkerPool } from "../../../src/host/driver/worker_pool.ts";
import { type FakePortal, NQN } from "./fake_target.ts";
import { attachParams, delay, eventually, failureOf } from "./host_fixture.ts";
import { Rig, testSet } from "./volume_rig.ts";
import { Stopwatch } from "../stopwatch.ts";

const OTHER_UUID = "5a3c1c1e-0000-4000-8000-00000000beef";

testSet("attach() makes a volume of all paths and tells what they are", 2, async (rig, target) => {
  const { volume, device, created } = await rig.attach(target.portals);
  assertEquals([device, created, rig.warnings], ["vol-n1", true, []]);
  assertEquals(volume.state, "live");
  assertEquals(volume.sizeBytes, target.memory.length);
  assertEquals([volume.model, volume.serial], ["Fake array", "FAKE0001"]);
  assertEquals(
    volume.paths.map((
      { state, queues, cntlid, reconnects, reason },
    ) => [state, queues, cntlid! > 0, reconnects, reason]),
    [
      ["live", 2, true, 0, null],
      ["live", 2, true, 0, null],
    ],
  );
  assertEquals(target.portals.map((portal) => portal.ioQueues), [2, 2]);
  await rig.detach("vol-n1");
  assert(rig.set.isEmpty);
});

testSet(
  "attach() again adds the paths that are missing, and does nothing about those that are there",
  2,
  async (rig, target) => {
    const [first, second] = target.portals;
    await rig.attach([first]);
    const { created, volume } = await rig.attach([first, second, second]);
    assertEquals([created, volume.paths.length, volume.state], [false, 2, "live"]);
    assertEquals(first.count("connect") + second.count("connect"), 2);
  },
);

testSet("attach() twice at once makes one volume", 2, async (rig, target) => {
  const [first, second] = target.portals;
  const both = await Promise.all([rig.attach([first]), rig.attach([second])]);
  assertEquals(both.map(({ created }) => created).sort(), [false, true]);
  assertEquals(rig.set.all.length, 1);
  assertEquals(rig.states(), ["live", "live"]);
});

testSet(
  "attach() over a path that is down and one that is up warns, and goes on with the first",
  2,
  async (rig, target) => {
    const [up, down] = target.portals;
    await down.stop();
    const { volume } = await rig.attach([down, up]);
    assertEquals([volume.state, volume.paths.map((path) => path.neverLive)], ["live", [false, true]]);
    assertMatch(rig.warnings.join(), /connection refused\); umpath keeps retrying it/);
    down.start();
    await eventually("both are live", () => rig.states().join() === "live,live");
    assertEquals(rig.paths().map((path) => path.reconnects), [0, 0]);
  },
);

testSet("attach() goes on with another path if the first one gives no I/O queue", 2, async (rig, target) => {
  const [first, second] = target.portals;
  first.fault = { at: "io connect", how: "close" };
  const { volume } = await rig.attach([first, second]);
  assertEquals(volume.name, "vol-n1");
  assertEquals(volume.paths.find((path) => path.traddr === second.address)!.state, "live");
  assertMatch(rig.warnings.join(), /the controller closed the connection\); umpath keeps retrying it/);
  first.fault = null;
  await eventually("both are live", () => rig.states().join() === "live,live");
});

testSet("attach() refuses a second path to another namespace, and the first stays", 2, async (rig, target) => {
  const [first, second] = target.portals;
  second.uuid = OTHER_UUID;
  const { volume } = await rig.attach([first, second]);
  assertEquals(volume.paths.length, 1);
  assertMatch(rig.warnings.join(), /it leads to another namespace: its UUID is .*beef, not .*0001$/);
  const failure = await failureOf(rig.attach([second]));
  assertEquals(failure.code, "refused");
  assertEquals(rig.states(), ["live"]);
});

testSet(
  "a path that leads to another namespace after a reconnect is out of use, until it is right and attached again",
  2,
  async (rig, target) => {
    const [first, second] = target.portals;
    await rig.attach([first, second]);
    second.uuid = OTHER_UUID;
    await second.kill();
    await eventually("the reason is told", () => /another namespace/.test(rig.paths()[1].reason ?? ""));
    assertEquals(rig.states(), ["live", "disabled"]);
    const attempts = second.count("connect");
    await delay(150);
    assertEquals(second.count("connect"), attempts, "it is not tried any more");
    assertEquals((await failureOf(rig.attach([second]))).code, "refused");
    second.uuid = first.uuid;
    await rig.attach([second]);
    await eventually("it is live", () => rig.states().join() === "live,live");
  },
);

testSet(
  "attach() leaves a path out that is refused for good, and says why; the volume goes on",
  2,
  async (rig, target) => {
    const [first, second] = target.portals;
    const other = "nqn.2026-11.io.other:vol";
    const cases: [fault: () => void, code: string, words: RegExp][] = [
      [() => second.refusesHosts = true, "refused", /this host is not allowed on the subsystem$/],
      [() => second.nqn = other, "refused", /the target has no such subsystem on this port$/],
      [() => second.nsid = 2, "not-found", /the subsystem has no namespace 1 \(it has 2\)$/],
      [() => second.fault = { at: "icresp", how: "garbage" }, "unreachable", /it is not an NVMe\/TCP port/],
    ];
    for (const [fault, code, words] of cases) {
      Object.assign(second, { refusesHosts: false, nqn: NQN, nsid: 1, fault: null });
      fault();
      await rig.attach([first, second]);
      assertEquals([rig.paths().length, rig.warnings.length], [1, 1]);
      const [warning] = rig.warnings.splice(0);
      assertMatch(warning, words);
      assert(warning.startsWith(`Path "${second.words}" is left out: `), warning);
      const failure = await failureOf(rig.attach([second]));
      assertEquals([failure.code, rig.paths().length], [code, 1]);
      assertMatch(failure.message, words);
      assertEquals(rig.warnings, []);
      await rig.detach("vol-n1");
    }
  },
);

testSet("attach() again of paths of which one comes up warns of those that are left out", 4, async (rig, target) => {
  const [first, good, bad, down] = target.portals;
  await rig.attach([first]);
  bad.refusesHosts = true;
  await down.stop();
  const refused = await failureOf(rig.attach([bad, down]));
  assertEquals(refused.code, "refused");
  assertEquals([rig.states(), rig.warnings], [["live"], []]);
  const forced = await failureOf(rig.attach([bad, down], { force: true }));
  assertEquals(forced.code, "refused");
  assertEquals(rig.warnings.splice(0), [`Path "${down.words}" is down (connection refused); umpath keeps retrying it`]);
  await rig.attach([good, bad]);
  assertEquals(rig.warnings.splice(0), [
    `Path "${bad.words}" is left out: this host is not allowed on the subsystem`,
  ]);
  assertEquals(rig.states().sort(), ["live", "live", "reconnecting"]);
  await rig.attach([first]);
  assertEquals(rig.warnings, [], "a path that was not named");
  await rig.attach([first, down]);
  assertEquals(rig.warnings, [`Path "${down.words}" is down (connection refused); umpath keeps retrying it`]);
});

testSet("a path that was live once and is refused at reconnect keeps being tried", 2, async (rig, target) => {
  const [, second] = target.portals;
  await rig.attach(target.portals);
  second.refusesHosts = true;
  await second.kill();
  await eventually("the reason is told", () => /not allowed/.test(rig.paths()[1].reason ?? ""));
  assertEquals(rig.paths()[1].reason, "this host is not allowed on the subsystem");
  await delay(200);
  assertEquals(rig.states(), ["live", "reconnecting"]);
  second.refusesHosts = false;
  await eventually("it is live", () => rig.states().join() === "live,live");
});

testSet("a path that was down at attach and is refused then keeps being tried", 2, async (rig, target) => {
  const [first, second] = target.portals;
  await second.stop();
  await rig.attach([first, second]);
  second.refusesHosts = true;
  second.start();
  await eventually("it is refused", () => /not allowed/.test(rig.paths()[1]?.reason ?? ""));
  second.refusesHosts = false;
  await eventually("it is live", () => rig.states().join() === "live,live");
});

testSet(
  "a path serves with the queues that it gets, and with more of them once it gets more",
  2,
  async (rig, target) => {
    const [first, second] = target.portals;
    first.queuesMax = 1;
    second.queuesMax = 1;
    const { volume } = await rig.attach([first, second]);
    assertEquals([volume.queues, volume.state, rig.warnings], [2, "live", []]);
    assertEquals(volume.paths.map((path) => path.queues), [1, 1]);
    assertMatch(rig.log.join("\n"), /Path 0 .* is live \(optimized\) with 1 of 2 queues/);
    first.queuesMax = 2;
    await first.kill();
    await eventually("it has both queues", () => rig.paths()[0].reconnects === 1 && rig.paths()[0].queues === 2);
    first.queuesMax = 1;
    await first.kill();
    await eventually("it has one queue", () => rig.paths()[0].reconnects === 2 && rig.states()[0] === "live");
    assertEquals(rig.paths().map((path) => path.queues), [1, 1]);
  },
);

testSet("a path serves with the I/O queues that are not refused, and not without any", 1, async (rig, target) => {
  const [portal] = target.portals;
  portal.refusedQueues.add(1);
  const { volume } = await rig.attach(target.portals);
  assertEquals([volume.state, volume.paths[0].queues], ["live", 1]);
  assertMatch(rig.log.join("\n"), /its I\/O queue 1 is refused: /);
  portal.refusedQueues.add(2);
  await portal.kill();
  await eventually("it says why", () => /its I\/O queue 1 is refused: /.test(rig.paths()[0].reason ?? ""));
  portal.refusedQueues.clear();
  await eventually("it is live with all", () => rig.states()[0] === "live" && rig.paths()[0].queues === 2);
});

testSet("attach() with the largest depth works with a controller that takes it", 1, async (rig, target) => {
  target.portals[0].mqes = 1023;
  const { volume } = await rig.attach(target.portals, { depth: 1024 });
  assertEquals([volume.state, volume.depth], ["live", 1024]);
  await delay(50);
  assertEquals(rig.states(), ["live"]);
});

testSet("attach() gives every volume a name of its own, and refuses one that is taken", 2, async (rig, target) => {
  const [first, second] = target.portals;
  second.nqn = "nqn.2026-11.io.other:vol";
  const names = (await Promise.all([rig.attach([first]), rig.attach([second], { nqn: second.nqn })]))
    .map(({ volume }) => volume.name);
  assertEquals(names.sort(), ["vol-n1", "vol-n1-2"]);
  assertEquals((await rig.detach("vol-n1-2")).detached, ["vol-n1-2"]);
  const free = rig.set.find("vol-n1").plan.nqn === NQN ? second : first;
  const failure = await failureOf(rig.attach([free], { nqn: free.nqn, name: "vol-n1" }));
  assertEquals(failure.code, "in-use");
  assertStringIncludes(failure.message, "another volume has that name");
});

testSet("attach() of two volumes at once under one given name refuses one of them", 2, async (rig, target) => {
  const [first, second] = target.portals;
  second.nqn = "nqn.2026-11.io.other:vol";
  const results = await Promise.allSettled([
    rig.attach([first], { name: "data" }),
    rig.attach([second], { nqn: second.nqn, name: "data" }),
  ]);
  assertEquals(results.map((result) => result.status).sort(), ["fulfilled", "rejected"]);
  const failed = results.find((result) => result.status === "rejected")!;
  assertEquals((failed as PromiseRejectedResult).reason.code, "in-use");
  await rig.detach("data");
});

testSet("attach() fails in words and with the right code, and leaves nothing", 2, async (rig, target) => {
  const [first, second] = target.portals;
  const missing = await failureOf(rig.attach([first], { nsid: 9 }));
  assertEquals(missing.code, "not-found");
  first.refusesHosts = true;
  await second.stop();
  const refused = await failureOf(rig.attach([first, second]));
  assertEquals(refused.code, "refused");
  assertStringIncludes(refused.message, "this host is not allowed");
  assertStringIncludes(refused.message, "connection refused");
  first.refusesHosts = false;
  first.fault = { at: "io connect", how: "close" };
  const lost = await failureOf(rig.attach([first]));
  assertEquals(lost.code, "unreachable");
  assert(rig.set.isEmpty);
  const contradiction = await failureOf(
    rig.attach([first], { timeouts: { writeHoldMs: 5_000, noPathTimeoutMs: 1_000 } }),
  );
  assertEquals(contradiction.code, "usage");
  assertStringIncludes(contradiction.message, "--write-hold 5s with --no-path-timeout 1s");
});

testSet(
  "a path whose portal is gone reconnects with its reason in words, and is live once it is back",
  2,
  async (rig, target) => {
    await rig.attach(target.portals);
    for (let round = 1; round <= 3; round++) {
      await target.portals[1].stop();
      await eventually("reconnecting", () => rig.states().join() === "live,reconnecting");
      await eventually("the reason", () => /connection refused/.test(rig.paths()[1].reason ?? ""));
      assertEquals(rig.set.find("vol-n1").state, "degraded");
      assertEquals([rig.paths()[1].queues, rig.paths()[1].cntlid], [0, null]);
      target.portals[1].start();
      await eventually("live again", () => rig.states().join() === "live,live");
      assertEquals(rig.paths()[1].reconnects, round);
    }
    await Promise.all(target.portals.map((portal) => portal.stop()));
    await eventually("no path", () => rig.set.find("vol-n1").state === "no-path");
    for (const portal of target.portals) portal.start();
    await eventually("both live again", () => rig.set.find("vol-n1").state === "live");
    const lines = rig.log.filter((line) => line.includes("reconnecting"));
    assert(lines.length < 30, `${lines.length} lines of reconnecting:\n${lines.join("")}`);
  },
);

testSet("a path whose controller reports a persistent error is reset and connects anew", 2, async (rig, target) => {
  await rig.attach(target.portals);
  const { cntlid } = rig.paths()[1];
  target.portals[1].tellEvent(0x010300);
  await eventually("it has a new controller", () => rig.paths()[1].reconnects === 1);
  assert(rig.paths()[1].cntlid !== cntlid);
  assert(rig.log.some((line) => /is reconnecting: its controller reports a persistent internal error/.test(line)));
});

testSet("the write hold follows the controllers that are left when a path is removed", 2, async (rig, target) => {
  const [first, second] = target.portals;
  second.quiesceMs = 20_000;
  await rig.attach([first, second], { timeouts: { keepAliveMs: 5_000 } });
  const holdMs = () => rig.set.find("vol-n1").info().timeouts.writeHoldMs;
  assertEquals(holdMs(), 30_000);
  const path = rig.set.find("vol-n1").paths.find(second.spec)!;
  await rig.set.removePath({ volume: "vol-n1", path: { id: path.index }, force: false });
  assertEquals(holdMs(), 5_000);
});

testSet("a path whose I/O connection alone is lost connects again", 1, async (rig, target) => {
  await rig.attach(target.portals);
  const { cntlid } = rig.paths()[0];
  target.portals[0].killIoQueues();
  await eventually("it has a new controller", () => rig.states()[0] === "live" && rig.paths()[0].cntlid !== cntlid);
  assertEquals(rig.paths()[0].reconnects, 1);
});

testSet(
  "a path whose keep-alives are not answered is lost within the keep-alive timeout, and says why",
  2,
  async (rig, target) => {
    await rig.attach(target.portals, { timeouts: { keepAliveMs: 400 } as Partial<Timeouts> });
    target.portals[1].answersKeepAlives = false;
    const took = new Stopwatch();
    await eventually("it is lost", () => rig.paths()[1].state === "reconnecting");
    took.assertWithin(3_000);
    assertMatch(rig.log.join(""), /is reconnecting: it does not answer keep-alives/);
    target.portals[1].answersKeepAlives = true;
    await eventually("it is live", () => rig.states().join() === "live,live");
  },
);

testSet("a path follows the ANA state that the target tells", 2, async (rig, target) => {
  for (const portal of target.portals) portal.ana = AnaStateCode.OPTIMIZED;
  await rig.attach(target.portals);
  target.portals[1].setAna(AnaStateCode.INACCESSIBLE);
  await eventually("inaccessible", () => rig.paths()[1].ana === "inaccessible");
  assertEquals(rig.states(), ["live", "live"]);
  assertEquals(rig.set.find("vol-n1").state, "degraded");
  target.portals[1].setAna(AnaStateCode.NON_OPTIMIZED);
  await eventually("non-optimized", () => rig.paths()[1].ana === "non-optimized");
  assertEquals(rig.set.find("vol-n1").state, "live");
});

testSet(
  "a path that is stuck in ANA change for twice the time that the target names is reset",
  2,
  async (rig, target) => {
    for (const portal of target.portals) portal.ana = AnaStateCode.OPTIMIZED;
    target.portals[0].anaTransitionSeconds = 1;
    await rig.attach(target.portals);
    const startMs = performance.now();
    target.portals[0].setAna(AnaStateCode.CHANGE);
    target.portals[1].setAna(AnaStateCode.CHANGE);
    await eventually("both are in change", () => rig.paths().every(({ ana }) => ana === "change"));
    await eventually("one is reset", () => rig.paths()[0].reconnects === 1);
    assert(performance.now() - startMs >= 2000);
    const line = /path 0 .* is reconnecting: its namespace was in ANA change for 2 s, twice what the controller takes/i;
    assert(rig.log.some((words) => line.test(words)), rig.log.join("\n"));
    // Its next one may take as long again.
    target.portals[0].setAna(AnaStateCode.OPTIMIZED);
    await eventually("optimized", () => rig.paths()[0].ana === "optimized");
    assertEquals(rig.paths().map(({ state, reconnects }) => `${state} ${reconnects}`), ["live 1", "live 0"]);
  },
);

testSet(
  "a path whose ANA change ends in time is not reset, though nobody tells that it has",
  1,
  async (rig, target) => {
    const portal = target.portals[0];
    portal.ana = AnaStateCode.OPTIMIZED;
    portal.anaTransitionSeconds = 1;
    await rig.attach(target.portals);
    portal.setAna(AnaStateCode.CHANGE);
    await eventually("in change", () => rig.paths()[0].ana === "change");
    portal.ana = AnaStateCode.OPTIMIZED;
    await eventually("the log is read again", () => rig.paths()[0].ana === "optimized");
    portal.setAna(AnaStateCode.CHANGE);
    portal.setAna(AnaStateCode.NON_OPTIMIZED);
    await eventually("non-optimized", () => rig.paths()[0].ana === "non-optimized");
    await delay(2200);
    assertEquals(rig.paths().map(({ state, reconnects }) => `${state} ${reconnects}`), ["live 0"]);
  },
);

testSet("a path is given up after --ctrl-loss-timeout, and attach() tries it anew", 2, async (rig, target) => {
  const timeouts = { ctrlLossTimeoutMs: 300, reconnectDelayMs: 200, reconnectDelayMaxMs: 5_000 };
  await rig.attach(target.portals, { timeouts });
  await target.portals[1].stop();
  const took = new Stopwatch();
  await eventually("given up", () => rig.paths()[1].state === "disabled");
  took.assertWithin(3_000);
  assertMatch(rig.paths()[1].reason ?? "", /given up after 0\.3 s without the controller: .*connection refused/);
  target.portals[1].start();
  await delay(100);
  assertEquals(rig.states(), ["live", "disabled"]);
  await rig.attach(target.portals);
  assertEquals(rig.states(), ["live", "live"]);
});

testSet("detach() while a path connects is quick", 2, async (rig, target) => {
  const [first, second] = target.portals;
  await rig.attach([first]);
  for (const at of ["icresp", "identify controller", "io connect"] as const) {
    second.fault = { at, how: "stall" };
    const adding = rig.attach([second]).catch((error) => error);
    await eventually(`it waits at ${at}`, () => second.count(at) > 0);
    const took = new Stopwatch();
    await rig.set.find("vol-n1").detach({ force: false });
    took.assertWithin(4_000);
    await adding;
    second.fault = null;
    await rig.attach([first]);
  }
});

const STAGES = ["icresp", "identify controller", "io connect"] as const;

testSet("attach() whose client leaves is called off at every stage, and leaves nothing", 1, async (rig, target) => {
  const [portal] = target.portals;
  for (const at of STAGES) {
    portal.fault = { at, how: "stall" };
    portal.seen.clear();
    const client = new AbortController();
    const attaching = failureOf(rig.attach([portal], {}, client.signal));
    await eventually(`it waits at ${at}`, () => portal.count(at) > 0);
    assertEquals(rig.set.attaching.map(({ name, state }) => [name, state]), [["vol-n1", "attaching"]]);
    assertEquals([rig.set.all, rig.set.isEmpty], [[], false]);
    const waiting = failureOf(rig.attach([portal], {}, client.signal));
    client.abort();
    for (const failure of await Promise.all([attaching, waiting])) {
      assertEquals([failure.code, failure.message], ["interrupted", "Called off: its client left"], at);
    }
    assertEquals([rig.set.attaching, rig.set.isEmpty], [[], true], at);
    portal.fault = null;
    await rig.attach([portal]);
    await rig.detach("vol-n1");
  }
});

testSet("detach() of a volume that is being attached calls that off at every stage", 1, async (rig, target) => {
  const [portal] = target.portals;
  for (const at of STAGES) {
    for (const params of [{ volumes: ["vol-n1"], all: false }, { volumes: [], all: true }]) {
      portal.fault = { at, how: "stall" };
      portal.seen.clear();
      const attaching = failureOf(rig.attach([portal]));
      await eventually(`it waits at ${at}`, () => portal.count(at) > 0);
      const { detached, calledOff } = await rig.set.detach({ ...params, force: false });
      assertEquals([detached, calledOff], [["vol-n1"], ["vol-n1"]]);
      assertEquals((await attaching).message, "Cannot attach vol-n1: it was detached meanwhile");
      assert(rig.set.isEmpty, at);
    }
  }
});

testSet("detach() does not wait for paths that are being added", 2, async (rig, target) => {
  const [first, second] = target.portals;
  await rig.attach([first]);
  second.fault = { at: "identify controller", how: "stall" };
  const adding = failureOf(rig.attach([second]));
  await eventually("it connects", () => second.count("identify controller") > 0);
  await rig.detach("vol-n1");
  assertEquals((await adding).code, "in-use");
});

testSet("addPath() and enablePath() whose client leaves are undone", 2, async (rig, target) => {
  const [first, second] = target.portals;
  await rig.attach([first]);
  second.fault = { at: "identify controller", how: "stall" };
  const calledOff = async (run: (signal: AbortSignal) => Promise<unknown>) => {
    const client = new AbortController();
    second.seen.clear();
    const running = failureOf(run(client.signal));
    await eventually("it connects", () => second.count("identify controller") > 0);
    client.abort();
    assertEquals((await running).code, "interrupted");
  };
  const warn = (words: string) => void rig.warnings.push(words);
  const path = { volume: "vol-n1", path: second.spec };
  await calledOff((signal) => rig.set.addPath(path, warn, { signal }));
  assertEquals(rig.states(), ["live"]);
  second.fault = null;
  assertEquals((await rig.set.addPath(path, warn)).changed, true);
  assertEquals((await rig.set.addPath(path, warn)).changed, false);
  await rig.set.disablePath({ ...path, force: false });
  second.fault = { at: "identify controller", how: "stall" };
  await calledOff((signal) => rig.set.enablePath(path, warn, { signal }));
  await calledOff((signal) => rig.attach([second], {}, signal));
  assertEquals([rig.states(), rig.warnings], [["live", "disabled"], []]);
});

testSet("attach() again refuses what the volume would not keep before it adds a path", 2, async (rig, target) => {
  const [first, second] = target.portals;
  await rig.attach([first]);
  for (const wanted of [{ readOnly: true }, { dataDigest: true }, { name: "other" }, { device: "loop" as const }]) {
    assertEquals((await failureOf(rig.attach([second], wanted))).code, "in-use");
  }
  assertEquals([rig.states(), second.count("connect")], [["live"], 0]);
  await rig.attach([second], { queues: 1 });
  assertMatch(rig.warnings.splice(0).join(), /--queues 1 \(it is 2\) is ignored$/);
});

testSet(
  "volumes are listed in the order in which they were asked for, however long each took",
  2,
  async (rig, target) => {
    const [slow, quick] = target.portals;
    quick.nqn = "nqn.2026-11.io.other:vol";
    slow.fault = { at: "identify controller", how: "stall" };
    const attaching = rig.attach([slow], { timeouts: { connectTimeoutMs: 60_000 } });
    await eventually("it waits", () => slow.count("identify controller") > 0);
    await rig.attach([quick], { nqn: quick.nqn, name: "second" });
    slow.fault = null;
    await slow.kill();
    await attaching.catch(() => rig.attach([slow], { name: "again" }));
    const names = rig.set.all.map(({ name }) => name);
    assertEquals([names.length, names[1]], [2, "second"], names.join());
  },
);

testSet("volumes with fewer queues than there are threads spread over the threads", 2, async (_rig, target) => {
  const [first, second] = target.portals;
  second.nqn = "nqn.2026-11.io.other:vol";
  const threads = new Map<number, number[]>();
  class WatchedPool extends WorkerPool {
    override post(thread: number, message: Parameters<WorkerPool["post"]>[1]): void {
      if (message.type === "add-volume") threads.set(message.volume, [...threads.get(message.volume) ?? [], thread]);
      super.post(thread, message);
    }
  }
  const set = new VolumeSet(new WatchedPool(3, (reason) => assertEquals(reason, "no failure")));
  try {
    const attach = (portal: FakePortal, more: Partial<AttachParams>) =>
      set.attach(attachParams([portal], more), () => {});
    await attach(first, { queues: 1 });
    await attach(second, { queues: 2, nqn: second.nqn });
    assertEquals([...threads], [[0, [0]], [1, [1, 2]]]);
    await set.detach({ volumes: ["vol-n1"], all: false, force: false });
    assertEquals(set.all.map(({ state }) => state), ["live"]);
  } finally {
    await set.close();
  }
});

testSet(
  "a target that makes no more controllers costs the volume nothing, and its path is retried",
  2,
  async (rig, target) => {
    const [first, full] = target.portals;
    full.connectRefusal = { status: StatusCode.CONNECT_CONTROLLER_BUSY | StatusField.DNR, result0: 0 };
    const alone = await failureOf(rig.attach([full]));
    assertMatch(alone.message, /the target has as many controllers as it allows/);
    assertMatch(alone.hint!, /^Detach volumes that are not needed, or raise the target's limit/);
    await rig.attach([first, full]);
    assertMatch(rig.warnings.splice(0).join(), /as many controllers as it allows.*umpath keeps retrying it$/);
    assertEquals([rig.states().length, rig.states()[0]], [2, "live"]);
    full.connectRefusal = null;
    await eventually("its path is live", () => rig.states()[1] === "live");
  },
);

testSet("a path that is added and cannot be reached is left out, unless it is to be kept", 2, async (rig, target) => {
  const [first, down] = target.portals;
  await rig.attach([first]);
  await down.stop();
  const warn = (words: string) => void rig.warnings.push(words);
  const path = { volume: "vol-n1", path: down.spec };
  for (const add of [() => rig.attach([first, down]), () => rig.set.addPath(path, warn)]) {
    const failure = await failureOf(add());
    assertEquals(failure.code, "unreachable");
    assertStringIncludes(failure.hint!, "--force");
    assertEquals(rig.states(), ["live"]);
  }
  await rig.set.addPath({ ...path, force: true }, warn);
  assertEquals(rig.states(), ["live", "reconnecting"]);
  assertMatch(rig.warnings.splice(0).join(), /connection refused\); umpath keeps retrying it$/);
});

testSet("close() ends an attach that is under way, at every stage, and what was attached", 2, async (_rig, target) => {
  for (const at of ["icresp", "identify controller", "io connect"] as const) {
    const rig = new Rig();
    await rig.attach([target.portals[0]]);
    const other = { nqn: "nqn.2026-11.io.other:vol" };
    target.portals[1].nqn = other.nqn;
    target.portals[1].fault = { at, how: "stall" };
    target.portals[1].seen.clear();
    const attaching = failureOf(rig.attach([target.portals[1]], other));
    await eventually(`it waits at ${at}`, () => target.portals[1].count(at) > 0);
    const took = new Stopwatch();
    await rig.set.close();
    took.assertWithin(5_000);
    const failure = await attaching;
    assertMatch(failure.message, /the daemon is shutting down|was removed/, at);
    assert(rig.set.isEmpty);
    assertEquals((await failureOf(rig.attach([target.portals[0]]))).code, "in-use");
  }
});

testSet("paths that come and go all the time end in order with the volume", 3, async (rig, target) => {
  await rig.attach(target.portals);
  const end = performance.now() + 1_500;
  const flapping = target.portals.map(async (portal, i) => {
    for (let n = i; performance.now() < end; n++) {
      await delay(7 + 11 * i);
      if (n % 3 === 0) portal.killIoQueues();
      else if (n % 3 === 1) await portal.kill();
      else {
        await portal.stop();
        portal.start();
      }
    }
  });
  const churning = (async () => {
    while (performance.now() < end) {
      await rig.detach("vol-n1");
      await rig.attach(target.portals).catch((error) => assertMatch(error.code, /unreachable/));
      if (rig.set.isEmpty) await rig.attach(target.portals).catch(() => {});
      if (rig.set.isEmpty) return;
    }
  })();
  await Promise.all([...flapping, churning]);
});
