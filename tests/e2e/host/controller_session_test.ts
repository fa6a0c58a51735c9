import { assert, assertEquals, assertMatch, assertStringIncludes } from "@std/assert";
import { closeQueues, ControllerSession } from "../../../src/host/driver/controller_session.ts";
import { PathFailure } from "../../../src/host/driver/path_failure.ts";
import { Poller } from "../../../src/io/poller.ts";
import { StatusCode, StatusField } from "../../../src/protocol/nvme_status.ts";
import { ConnectAt } from "../../../src/protocol/nvme_fabrics.ts";
import { AnaStateCode } from "../../../src/protocol/nvme_log.ts";
import { type FakePortal, FakeTarget, type Fault, type Step, STEPS } from "./fake_target.ts";
import { delay, eventually, failureOf, openSockets, sessionOptions } from "./host_fixture.ts";
import { Stopwatch } from "../stopwatch.ts";

const poller = new Poller();
const ADMIN_STEPS = STEPS.filter((step) => !step.startsWith("io "));
const IO_STEPS = STEPS.filter((step) => step.startsWith("io "));

/** Opens a session and its I/O queues, and ends it; how long that took and what became of it. */
async function bringUp(portal: FakePortal, connectTimeoutMs = 5_000): Promise<{ failure: string; ms: number }> {
  const start = performance.now();
  let session: ControllerSession | null = null;
  try {
    session = await ControllerSession.open(poller, sessionOptions(portal, { connectTimeoutMs }));
    closeQueues(await session.openQueues(2));
    return { failure: "", ms: performance.now() - start };
  } catch (error) {
    assertEquals((error as Error).name, "UmpathError", String(error));
    return { failure: (error as Error).message, ms: performance.now() - start };
  } finally {
    session?.abandon();
  }
}

/** Has `performance.now()` jump by `ms` after its first call from {@linkcode ControllerSession.open}. */
function clockThatJumps(ms: number): Disposable {
  const { now } = performance;
  // bringUp() here asks first.
  let calls = 0;
  performance.now = () => now.call(performance) + (++calls > 2 ? ms : 0);
  return { [Symbol.dispose]: () => void (performance.now = now) };
}

/** Does `body` with a target that has this fault, for all steps at once. */
async function withFaults(
  steps: readonly Step[],
  how: Fault["how"],
  body: (portal: FakePortal, at: Step) => Promise<void>,
): Promise<void> {
  await Promise.all(steps.map(async (at) => {
    await using target = FakeTarget.start({ portals: 1 });
    const [portal] = target.portals;
    portal.fault = { at, how };
    portal.ana = AnaStateCode.OPTIMIZED;
    await body(portal, at);
    assert(portal.count(at) > 0, `${at} was never asked for`);
    await eventually(`${at}, ${how}: every connection is closed`, () => target.connections === 0);
  }));
}

Deno.test("open() brings a controller up and openQueues() its I/O queues; close() leaves nothing", async () => {
  const sockets = openSockets();
  await using target = FakeTarget.start({ portals: 1 });
  const [portal] = target.portals;
  portal.ana = AnaStateCode.NON_OPTIMIZED;
  const listening = openSockets();
  const session = await ControllerSession.open(poller, sessionOptions(portal));
  assertEquals(session.controller.cntlid, 1);
  assertEquals(session.controller.limits.blocks, target.blocks);
  assertEquals(session.ana, "non-optimized");
  const queues = await session.openQueues(2);
  assertEquals(portal.ioQueues, 2);
  assertEquals(queues[0].transfer, {
    maxH2cDataBytes: 32768,
    dataAlignment: 4,
    digests: { header: false, data: false },
  });
  closeQueues(queues);
  const [controller] = portal.controllers.values();
  await session.close();
  assert(controller.isShutDown, "the controller was told of the end");
  await eventually("all connections are closed", () => target.connections === 0 && openSockets() === listening);
  assertEquals(listening, sockets + 1);
});

Deno.test("open() ends within the connect timeout wherever the target falls silent", async () => {
  await withFaults(ADMIN_STEPS, "stall", async (portal, at) => {
    const { failure, ms } = await bringUp(portal, 400);
    assert(ms >= 350 && ms < 20_000, `${at}: ${ms} ms`);
    assertStringIncludes(failure, `Cannot connect to "${portal.words}"`, at);
    assertMatch(failure, /did not come up within 0\.4 s|does not answer as NVMe\/TCP/, at);
  });
});

Deno.test("openQueues() ends within the connect timeout wherever the target falls silent", async () => {
  await withFaults(IO_STEPS, "stall", async (portal, at) => {
    const { failure, ms } = await bringUp(portal, 400);
    assert(ms >= 350 && ms < 20_000, `${at}: ${ms} ms`);
    assertMatch(failure, /did not come up within 0\.4 s|does not answer as NVMe\/TCP/, at);
  });
});

Deno.test("openQueues() has what open() left of the connect timeout", async () => {
  await using target = FakeTarget.start({ portals: 1 });
  const [portal] = target.portals;
  portal.fault = { at: "io connect", how: "stall" };
  const startMs = Date.now();
  // As seen by open(), most of a minute is over as soon as it has begun.
  using _clock = clockThatJumps(58_000);
  const { failure } = await bringUp(portal, 60_000);
  assertMatch(failure, /its I\/O queue [12] did not come up within 60 s/);
  const tookMs = Date.now() - startMs;
  assert(tookMs < 30_000, `${tookMs} ms`);
});

Deno.test("open() and openQueues() say so when the target closes the connection, at every step", async () => {
  await withFaults(STEPS, "close", async (portal, at) => {
    const { failure } = await bringUp(portal);
    assertMatch(failure, /the controller closed the connection|connection reset by peer|broken pipe/, at);
  });
});

Deno.test("open() and openQueues() end the connection with words when the target sends garbage, at every step", async () => {
  await withFaults(STEPS, "garbage", async (portal, at) => {
    const { failure } = await bringUp(portal);
    assertMatch(failure, /PDU of the unknown type 0xff/, at);
    if (at === "icresp") assertMatch(failure, /it is not an NVMe\/TCP port/);
  });
});

Deno.test("open() says why a controller that never becomes ready did not come up", async () => {
  await using target = FakeTarget.start({ portals: 1 });
  const [portal] = target.portals;
  portal.becomesReady = false;
  const { failure, ms } = await bringUp(portal, 500);
  assert(ms < 1_000, `${ms} ms`);
  assertStringIncludes(failure, "it did not come up within 0.5 s");
});

Deno.test("open() maps refusals to the error codes that exit codes are made of, and says what to do", async () => {
  await using target = FakeTarget.start({ portals: 1 });
  const [portal] = target.portals;
  portal.refusesHosts = true;
  const refused = await failureOf(ControllerSession.open(poller, sessionOptions(portal)));
  assertEquals(refused.code, "refused");
  const words = `Cannot connect to "${portal.words}"`;
  assertEquals(refused.message, `${words}: this host is not allowed on the subsystem`);
  assertStringIncludes(refused.hint ?? "", sessionOptions(portal).hostNqn);
  portal.refusesHosts = false;
  const other = sessionOptions(portal, { nqn: "nqn.2026-11.io.test:other" });
  const unknown = await failureOf(ControllerSession.open(poller, other));
  assertEquals(unknown.code, "refused");
  assertStringIncludes(unknown.message, "no such subsystem");
  const missing = await failureOf(ControllerSession.open(poller, sessionOptions(portal, { nsid: 3 })));
  assertEquals(missing.code, "not-found");
  assertEquals(missing.message, `${words}: the subsystem has no namespace 3 (it has 1)`);
  await target.portals[0].stop();
  const nobody = await failureOf(ControllerSession.open(poller, sessionOptions(portal)));
  assertEquals(nobody.code, "unreachable");
  assertEquals(nobody.message, `${words}: connection refused`);
  const failures = [refused, unknown, missing, nobody] as PathFailure[];
  assertEquals(failures.map((failure) => failure.isFinal), [true, true, true, false]);
  assertEquals(nobody instanceof PathFailure && nobody.reason, "connection refused");
});

Deno.test("open() takes the I/O queues that the controller grants", async () => {
  await using target = FakeTarget.start({ portals: 1 });
  target.portals[0].queuesMax = 1;
  const session = await ControllerSession.open(poller, sessionOptions(target.portals[0], { queues: 4 }));
  assertEquals(session.controller.queues, 1);
  session.abandon();
});

Deno.test("lost settles within the keep-alive timeout when keep-alives are not answered", async () => {
  await using target = FakeTarget.start({ portals: 1 });
  const [portal] = target.portals;
  const session = await ControllerSession.open(poller, sessionOptions(portal, { keepAliveMs: 400 }));
  await eventually("two keep-alives were answered", () => portal.count("keep alive") >= 2);
  portal.answersKeepAlives = false;
  const took = new Stopwatch();
  assertEquals(await session.lost, "it does not answer keep-alives");
  took.assertWithin(3_000);
});

Deno.test("lost settles with the reason when the target ends the connection", async () => {
  await using target = FakeTarget.start({ portals: 1 });
  const session = await ControllerSession.open(poller, sessionOptions(target.portals[0]));
  await target.portals[0].kill();
  assertMatch(await session.lost, /the controller closed the connection|connection reset by peer/);
  assertEquals(await session.reset(), false);
  await session.close();
});

Deno.test("readAna() follows the events of the target", async () => {
  await using target = FakeTarget.start({ portals: 1 });
  const [portal] = target.portals;
  portal.ana = AnaStateCode.OPTIMIZED;
  const session = await ControllerSession.open(poller, sessionOptions(portal));
  const states: string[] = [];
  session.watch.listener.handleAna = (state) => states.push(state);
  portal.setAna(AnaStateCode.INACCESSIBLE);
  await eventually("inaccessible", () => session.ana === "inaccessible");
  portal.setAna(AnaStateCode.NON_OPTIMIZED);
  await eventually("non-optimized", () => session.ana === "non-optimized");
  assertEquals(states, ["inaccessible", "non-optimized"]);
  session.abandon();
});

Deno.test("a controller whose logs end before what was asked for is read as far as they go, and stays connected", async () => {
  await using target = FakeTarget.start({ portals: 1 });
  const [portal] = target.portals;
  portal.ana = AnaStateCode.NON_OPTIMIZED;
  portal.endsLogs = true;
  const session = await ControllerSession.open(poller, sessionOptions(portal));
  assertEquals(session.ana, "non-optimized");
  let changes = 0;
  session.watch.listener.handleNamespace = () => changes++;
  portal.tellNamespaceChange();
  await eventually("the namespace's change is told", () => changes > 0);
  portal.setAna(AnaStateCode.OPTIMIZED);
  await eventually("optimized", () => session.ana === "optimized");
  assertEquals(portal.count("connect"), 1);
  session.abandon();
});

Deno.test("readAna() that is asked for during a read reads again, for the state may have changed meanwhile", async () => {
  await using target = FakeTarget.start({ portals: 1 });
  const [portal] = target.portals;
  portal.ana = AnaStateCode.OPTIMIZED;
  const session = await ControllerSession.open(poller, sessionOptions(portal));
  const reads = portal.count("read ANA log");
  const first = session.watch.readAna();
  const second = session.watch.readAna();
  const third = session.watch.readAna();
  await Promise.all([first, second, third]);
  assertEquals(portal.count("read ANA log"), reads + 2);
  session.abandon();
});

/** A portal that reports ANA, and a session with it. */
async function watched(
  change: (portal: FakePortal) => void,
  body: (portal: FakePortal, session: ControllerSession) => Promise<void>,
) {
  await using target = FakeTarget.start({ portals: 1 });
  const [portal] = target.portals;
  portal.ana = AnaStateCode.OPTIMIZED;
  change(portal);
  const session = await ControllerSession.open(poller, sessionOptions(portal));
  try {
    await body(portal, session);
  } finally {
    session.abandon();
  }
}

const LOOKS_MS = 20_000;

Deno.test("a request for events that fails is made again, and events are heard then", async () => {
  await watched((portal) => portal.eventStatus = StatusCode.INTERNAL_ERROR, async (portal, session) => {
    await eventually("it is asked again", () => portal.count("asynchronous event request") >= 3);
    portal.eventStatus = 0;
    portal.setAna(AnaStateCode.INACCESSIBLE);
    await eventually("the event is heard", () => session.ana === "inaccessible", LOOKS_MS);
  });
});

Deno.test("a controller whose requests for events fail is looked at meanwhile", async () => {
  await watched((portal) => portal.eventStatus = StatusCode.INTERNAL_ERROR, async (portal, session) => {
    portal.setAna(AnaStateCode.NON_OPTIMIZED);
    portal.blocks = 4096;
    await eventually("the log is read", () => session.ana === "non-optimized", LOOKS_MS);
    await eventually("the namespace is read", () => session.controller.limits.blocks === 4096, LOOKS_MS);
  });
});

Deno.test("a controller without events is looked at", async () => {
  await watched((portal) => portal.hasEvents = false, async (portal, session) => {
    portal.ana = AnaStateCode.INACCESSIBLE;
    portal.blocks = 4096;
    await eventually("both are noticed", () => session.ana === "inaccessible", LOOKS_MS);
    await eventually("the size is noticed", () => session.controller.limits.blocks === 4096, LOOKS_MS);
    assertEquals(portal.count("asynchronous event request"), 0);
  });
});

Deno.test("a path that serves no I/O is looked at, for the event may have been lost", async () => {
  await watched((portal) => {
    portal.ana = AnaStateCode.INACCESSIBLE;
    portal.anaTransitionSeconds = 1;
  }, async (portal, session) => {
    assertEquals(session.ana, "inaccessible");
    portal.ana = AnaStateCode.OPTIMIZED;
    await eventually("it is noticed", () => session.ana === "optimized", LOOKS_MS);
  });
});

Deno.test("an ANA log that makes no sense leaves what was known, and is read again", async () => {
  const nonsense: ((log: Uint8Array) => void)[] = [
    (log) => log.fill(0, 16, 20),
    (log) => log[16 + 16] = 7,
    (log) => log.fill(0xff, 20, 24),
    (log) => log[8] = 200,
  ];
  await Promise.all(nonsense.map((spoilAnaLog) =>
    watched(() => {}, async (portal, session) => {
      let reads = portal.count("read ANA log");
      portal.spoilAnaLog = spoilAnaLog;
      portal.setAna(AnaStateCode.INACCESSIBLE);
      await eventually("it is read several times", () => portal.count("read ANA log") > reads + 3);
      assertEquals(session.ana, "optimized");
      portal.spoilAnaLog = () => {};
      await eventually("it is read in the end", () => session.ana === "inaccessible", LOOKS_MS);
      reads = portal.count("read ANA log");
      portal.adminStatus = { step: "read ANA log", status: StatusCode.INVALID_FIELD | StatusField.DNR, times: 5 };
      portal.setAna(AnaStateCode.OPTIMIZED);
      await eventually("a read that fails is repeated", () => session.ana === "optimized", LOOKS_MS);
    })
  ));
});

Deno.test("a namespace that moves to another ANA group is followed, whichever event tells it", async () => {
  const events = [
    (portal: FakePortal) => portal.tellNamespaceChange(),
    (portal: FakePortal) => portal.setAna(portal.ana!),
  ];
  for (const tell of events) {
    await watched((portal) => {
      portal.ana = AnaStateCode.INACCESSIBLE;
      // More than the log is read with: it names groups only.
      portal.namespacesMax = 100_000;
      portal.anaTransitionSeconds = 255;
    }, async (portal, session) => {
      assertEquals(session.ana, "inaccessible");
      portal.anaGroup = 2;
      tell(portal);
      await eventually("it is followed", () => session.ana === "optimized");
    });
  }
});

Deno.test("a persistent internal error fails the association at once", async () => {
  await watched(() => {}, async (portal, session) => {
    const reasons: string[] = [];
    await eventually("it listens", () => portal.count("asynchronous event request") === 1);
    session.watch.listener.handleFailure = (reason) => reasons.push(reason);
    portal.tellEvent(0x010300);
    await eventually("it is told", () => reasons.length === 1);
    assertEquals(reasons, ["its controller reports a persistent internal error"]);
  });
});

Deno.test("an event of which nothing follows has its log page read, for the next one", async () => {
  await watched(() => {}, async (portal, session) => {
    await eventually("it listens", () => portal.count("asynchronous event request") === 1);
    portal.tellEvent(0x010400);
    await eventually("the error log is read", () => portal.logsRead.has(1));
    assertEquals(session.ana, "optimized");
  });
});

Deno.test("lookAnew() says what could not be read", async () => {
  await watched((portal) => portal.hasEvents = false, async (portal, session) => {
    portal.blocks = 4096;
    portal.ana = AnaStateCode.INACCESSIBLE;
    assertEquals(await session.watch.lookAnew(), null);
    assertEquals([session.ana, session.controller.limits.blocks], ["inaccessible", 4096]);
    portal.adminStatus = { step: "read ANA log", status: StatusCode.INTERNAL_ERROR, times: 9 };
    assertEquals(await session.watch.lookAnew(), "Read of the ANA log failed: internal error");
    const looking = session.watch.lookAnew();
    session.abandon();
    assertMatch((await looking)!, /closed/);
  });
});

Deno.test("a controller that tells events without end does not keep the host busy", async () => {
  await using target = FakeTarget.start({ portals: 1 });
  const [portal] = target.portals;
  portal.ana = AnaStateCode.OPTIMIZED;
  portal.repeatsEvents = true;
  const session = await ControllerSession.open(poller, sessionOptions(portal));
  await delay(500);
  const events = portal.count("asynchronous event request");
  assert(events >= 1 && events < 50, `${events} events in half a second`);
  session.abandon();
});

Deno.test("reset() is true once the controller has said that it is disabled, and close() does not wait for a silent one", async () => {
  await using target = FakeTarget.start({ portals: 1 });
  const [portal] = target.portals;
  const session = await ControllerSession.open(poller, sessionOptions(portal));
  assertEquals(await session.reset(), true);
  assertEquals([...portal.controllers.values()][0].cc & 1, 0);
  session.abandon();

  const silent = await ControllerSession.open(poller, sessionOptions(portal));
  portal.fault = { at: "read CC", how: "stall" };
  const took = new Stopwatch();
  await silent.close();
  took.assertWithin(2_500);
  await eventually("all connections are closed", () => target.connections === 0);
});

Deno.test("openQueues() says that the controller is gone, not that it refuses the queues of one that it does not know", async () => {
  await using target = FakeTarget.start({ portals: 1 });
  const [portal] = target.portals;
  const session = await ControllerSession.open(poller, sessionOptions(portal));
  await portal.kill();
  const failure = await failureOf(session.openQueues(2));
  assertEquals(failure.code, "unreachable");
  assertMatch(failure.message, /the controller closed the connection|connection reset by peer/);
});

Deno.test("openQueues() ends when the admin queue does, and closes what was opened before", async () => {
  await using target = FakeTarget.start({ portals: 1 });
  const [portal] = target.portals;
  const session = await ControllerSession.open(poller, sessionOptions(portal));
  portal.fault = { at: "io connect", how: "stall" };
  const opening = session.openQueues(2);
  await eventually("both ask to be connected", () => portal.count("io connect") === 2);
  const took = new Stopwatch();
  await portal.kill();
  const failure = await failureOf(opening);
  assertEquals(failure.code, "unreachable");
  took.assertWithin(3_000);
  await eventually("all connections are closed", () => target.connections === 0);
});

Deno.test("open() gives a hint for the cause of a failure, or none", async () => {
  await using target = FakeTarget.start({ portals: 1 });
  const [portal] = target.portals;
  const hintOf = async (more: Parameters<typeof sessionOptions>[1] = {}) =>
    (await failureOf(ControllerSession.open(poller, sessionOptions(portal, more)))).hint;
  portal.connectRefusal = { status: StatusCode.KEEP_ALIVE_TIMEOUT_INVALID, result0: 0 };
  assertEquals(await hintOf(), "Name another --keep-alive, or --keep-alive off");
  portal.connectRefusal = { status: StatusCode.AUTHENTICATION_REQUIRED, result0: 0 };
  assertMatch(await hintOf() ?? "", /^Let the target take this host, nqn\..*, without authentication$/);
  portal.connectRefusal = { status: StatusCode.CONNECT_INVALID_PARAMETERS, result0: ConnectAt.SQSIZE };
  assertEquals(await hintOf(), undefined);
  portal.connectRefusal = null;
  portal.fault = { at: "set number of queues", how: "close" };
  assertEquals(await hintOf(), undefined, "address and port are right");
  portal.fault = null;
  portal.becomesReady = false;
  const late = await failureOf(ControllerSession.open(poller, sessionOptions(portal, { connectTimeoutMs: 300 })));
  assertMatch(late.message, /it did not come up within 0\.3 s: the controller does not become ready \(CSTS\.RDY\)$/);
  assertEquals(late.hint, undefined);
});

Deno.test("open() and openQueues() connect with flow control where a target refuses the attribute", async () => {
  await using target = FakeTarget.start({ portals: 1 });
  const [portal] = target.portals;
  portal.refusesAttributes = true;
  const session = await ControllerSession.open(poller, sessionOptions(portal));
  assertEquals(session.controller.flowControl, true);
  closeQueues(await session.openQueues(2));
  assertEquals([portal.count("connect"), portal.count("io connect")], [2, 2]);
  session.abandon();
});
