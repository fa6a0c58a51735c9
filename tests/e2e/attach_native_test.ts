/** The packed program against a target of the tests' own, without a kernel device. */
import { assert, assertEquals, assertMatch, assertStringIncludes, fail } from "@std/assert";
import type { AttachResult, DaemonInfo, VolumeInfo } from "../../src/rpc/host_api.ts";
import { call } from "../../src/rpc/client.ts";
import { runDirAt } from "../../src/rpc/run_dir.ts";
import { AnaStateCode } from "../../src/protocol/nvme_log.ts";
import { type FakePortal, FakeTarget, NQN } from "./host/fake_target.ts";
import { attachParams, delay, eventually, openSockets } from "./host/host_fixture.ts";
import { Cli, type Result } from "./cli_fixture.ts";
import { Stopwatch } from "./stopwatch.ts";

const HOST = [
  "--hostnqn",
  "nqn.2014-08.org.nvmexpress:uuid:0f0e0d0c-0b0a-4908-8706-050403020100",
  "--hostid",
  "0f0e0d0c-0b0a-4908-8706-050403020100",
];
const QUICK = ["--reconnect-delay", "20ms"];

/** Attaches over these portals, without a kernel device. */
function attach(cli: Cli, portals: FakePortal[], ...args: string[]): Promise<Result> {
  const paths = portals.flatMap((portal) => ["-p", portal.words]);
  return cli.run("attach", NQN, ...paths, "--device", "none", ...HOST, ...QUICK, ...args);
}

async function volume(cli: Cli, name = "vol-n1"): Promise<VolumeInfo> {
  const list = await call("list", {}, { dir: runDirAt(cli.runDir) });
  return list?.volumes.find((volume) => volume.name === name) ?? fail(`There is no ${name}`);
}

/** Waits until the volume is as it should be, at most 10 s; what it was at last. */
async function volumeWhen(cli: Cli, holds: (volume: VolumeInfo) => boolean, what: string): Promise<VolumeInfo> {
  for (const end = Date.now() + 10_000;;) {
    const info = await volume(cli);
    if (holds(info)) return info;
    assert(Date.now() < end, `Still not ${what}: ${JSON.stringify(info.paths)}`);
    await delay(20);
  }
}

function states(info: VolumeInfo): string {
  return info.paths.map((path) => path.state).join();
}

function assertDone(result: Result): void {
  assertEquals(result.code, 0, result.stderr);
}

function assertFailed(result: Result, code: number, ...words: string[]): void {
  assertEquals(result.code, code, result.stderr);
  assertEquals(result.stdout, "");
  assert(!/^\s+at /m.test(result.stderr), `a stack is shown: ${result.stderr}`);
  for (const word of words) assertStringIncludes(result.stderr, word);
}

/** Ends the test's volume and fails unless nothing is left of it, here and at the target. */
async function detachAll(cli: Cli, target: FakeTarget): Promise<void> {
  assertDone(await cli.run("detach", "--all"));
  await eventually("no connection is left", () => target.connections === 0);
  await cli.assertNoDaemonIsLeft();
}

/** A daemon in the foreground of a run folder, that stays. */
async function startDaemon(cli: Cli): Promise<Deno.ChildProcess> {
  const daemon = cli.start("daemon", "--workers", "2");
  void daemon.stderr.cancel();
  for (const end = Date.now() + 10_000; await info(cli) === null; await delay(20)) {
    assert(Date.now() < end, "The daemon does not answer");
  }
  return daemon;
}

function info(cli: Cli): Promise<DaemonInfo | null> {
  Deno.mkdirSync(cli.runDir, { recursive: true, mode: 0o700 });
  return call("info", {}, { dir: runDirAt(cli.runDir) });
}

async function attachBySocket(cli: Cli, portals: FakePortal[]): Promise<AttachResult> {
  return await call("attach", attachParams(portals), { dir: runDirAt(cli.runDir) }) ?? fail("No daemon runs");
}

function daemonLog(cli: Cli): string {
  return Deno.readTextFileSync(`${cli.runDir}/daemon.log`);
}

Deno.test("umpath attach prints the volume, list and show tell its paths, detach leaves nothing", async () => {
  await using target = FakeTarget.start();
  await using cli = new Cli();
  const attached = await attach(cli, target.portals);
  assertDone(attached);
  assertEquals([attached.stdout, attached.stderr], ["vol-n1\n", ""]);
  const { volumes: [listed] } = JSON.parse((await cli.run("list", "--json")).stdout);
  assertEquals([listed.name, listed.nqn, listed.state, listed.driver], ["vol-n1", NQN, "live", "none"]);
  const shown = JSON.parse((await cli.run("show", "vol-n1", "--json")).stdout);
  const paths: VolumeInfo["paths"] = (shown.volume ?? shown.volumes[0]).paths;
  const found = paths.map(({ traddr, state, queues, cntlid }) => [traddr, state, queues === listed.queues, cntlid]);
  assertEquals(
    found.sort(),
    target.portals.map((portal) => {
      return [portal.address, "live", true, [...portal.controllers.keys()][0]];
    }),
  );
  assertStringIncludes((await cli.run("show")).stdout, target.portals[1].words);
  await detachAll(cli, target);
});

Deno.test("umpath show says reconnecting and why when a portal is gone, live when it is back, no-path without any", async () => {
  await using target = FakeTarget.start();
  await using cli = new Cli();
  const [first, second] = target.portals;
  assertDone(await attach(cli, target.portals));
  await second.stop();
  const lost = await volumeWhen(cli, (volume) => states(volume) === "live,reconnecting", "reconnecting");
  assertEquals(lost.state, "degraded");
  const { stdout } = await cli.run("show", "vol-n1");
  assertMatch(stdout, /reconnecting/);
  assertMatch((await volume(cli)).paths[1].reason ?? "", /connection refused|closed the connection|reset by peer/);
  second.start();
  const back = await volumeWhen(cli, (volume) => states(volume) === "live,live", "live");
  assertEquals(back.paths.map((path) => path.reconnects), [0, 1]);
  await Promise.all([first.stop(), second.stop()]);
  await volumeWhen(cli, (volume) => volume.state === "no-path", "without a path");
  const took = new Stopwatch();
  await detachAll(cli, target);
  took.assertWithin(5_000);
  const log = daemonLog(cli);
  assert(log.split("\n").length < 40, log);
});

Deno.test("umpath attach ends in bounded time with words and exit code 4 wherever the target falls silent", async () => {
  await using cli = new Cli();
  const steps = ["icresp", "connect", "read CSTS", "identify namespace", "io icresp", "io connect"] as const;
  await using target = FakeTarget.start({ portals: steps.length });
  steps.forEach((at, i) => target.portals[i].fault = { at, how: "stall" });
  await using _daemon = await daemonUntilEnd(cli);
  await Promise.all(steps.map(async (at, i) => {
    const portal = target.portals[i];
    portal.nqn = `${NQN}-${i}`;
    const paths = ["-p", portal.words, "--device", "none", ...HOST];
    const result = await cli.run("attach", portal.nqn, ...paths, "--connect-timeout", "500ms");
    assertFailed(result, 4, portal.words);
    assert(result.seconds < 50, `${at}: ${result.seconds} s`);
  }));
  await eventually("no connection is left", () => target.connections === 0);
});

/** A daemon that is ended with SIGTERM, and has to end with exit code 0. */
async function daemonUntilEnd(cli: Cli): Promise<AsyncDisposable & { process: Deno.ChildProcess }> {
  const process = await startDaemon(cli);
  const dispose = async () => {
    try {
      process.kill("SIGTERM");
    } catch {
      return; // it has ended
    }
    assertEquals((await process.status).code, 0);
  };
  return { process, [Symbol.asyncDispose]: dispose };
}

Deno.test("umpath attach says no in words: host refused 5, unknown NQN 5, no such namespace 3, times at odds 2", async () => {
  await using target = FakeTarget.start({ portals: 1 });
  await using cli = new Cli();
  const [portal] = target.portals;
  portal.refusesHosts = true;
  assertFailed(await attach(cli, [portal]), 5, "this host is not allowed on the subsystem", HOST[1]);
  portal.refusesHosts = false;
  portal.nqn = "nqn.2026-11.io.test:another";
  assertFailed(await attach(cli, [portal]), 5, "the target has no such subsystem");
  portal.nqn = NQN;
  assertFailed(await attach(cli, [portal], "--nsid", "7"), 3, "no namespace 7", "--nsid");
  const odd = await attach(cli, [portal], "--write-hold", "2m");
  assertFailed(odd, 2, "--write-hold 2m with --no-path-timeout 1m");
  await eventually("no connection is left", () => target.connections === 0);
  await cli.assertNoDaemonIsLeft();
});

Deno.test("umpath attach refuses a path to another namespace: with a warning beside one that serves, 5 alone", async () => {
  await using target = FakeTarget.start();
  await using cli = new Cli();
  const [first, second] = target.portals;
  second.uuid = "5a3c1c1e-0000-4000-8000-00000000beef";
  const both = await attach(cli, [first, second]);
  assertDone(both);
  assertStringIncludes(both.stderr, "it leads to another namespace");
  assertFailed(await attach(cli, [second]), 5, "it leads to another namespace");
  const again = await attach(cli, [first, second]);
  assertFailed(again, 5, "it leads to another namespace");
  assertEquals(states(await volume(cli)), "live");
  await detachAll(cli, target);
});

Deno.test("umpath attach twice at once gives one volume; names are made unique, a given one is refused if taken", async () => {
  await using target = FakeTarget.start();
  await using cli = new Cli();
  const [first, second] = target.portals;
  const both = await Promise.all([attach(cli, [first]), attach(cli, [second])]);
  both.forEach(assertDone);
  assertEquals(both.map((result) => result.stdout), ["vol-n1\n", "vol-n1\n"]);
  assertEquals(states(await volume(cli)), "live,live");
  await using other = FakeTarget.start({ portals: 1 });
  const [portal] = other.portals;
  portal.nqn = "nqn.2026-11.io.other:vol";
  const args = ["attach", portal.nqn, "-p", portal.words, "--device", "none", ...HOST];
  assertFailed(await cli.run(...args, "--name", "vol-n1"), 7, 'Cannot name the volume "vol-n1"');
  const named = await cli.run(...args);
  assertEquals([named.code, named.stdout], [0, "vol-n1-2\n"], named.stderr);
  await detachAll(cli, target);
});

Deno.test("umpath show follows ANA events, lost keep-alives and --ctrl-loss-timeout", async () => {
  await using target = FakeTarget.start({ portals: 3 });
  await using cli = new Cli();
  const [first, second, third] = target.portals;
  for (const portal of target.portals) portal.ana = AnaStateCode.OPTIMIZED;
  assertDone(await attach(cli, target.portals, "--keep-alive", "600ms", "--ctrl-loss-timeout", "400ms"));
  first.setAna(AnaStateCode.INACCESSIBLE);
  await volumeWhen(cli, (volume) => volume.paths[0].ana === "inaccessible", "inaccessible");
  assertStringIncludes((await cli.run("show")).stdout, "inaccessible");
  third.fault = { at: "keep alive", how: "stall" };
  const took = new Stopwatch();
  await volumeWhen(cli, (volume) => volume.paths[2].reconnects === 1, "reconnected");
  took.assertWithin(5_000);
  assertMatch(daemonLog(cli), /is reconnecting: it does not answer keep-alives/);
  await second.stop();
  const givenUp = await volumeWhen(cli, (volume) => volume.paths[1].state === "disabled", "given up");
  assertMatch(givenUp.paths[1].reason ?? "", /given up after 0\.4 s without the controller: /);
  third.fault = null;
  await detachAll(cli, target);
});

Deno.test("a daemon that was stopped takes the answers that came meanwhile before it blames its paths", async () => {
  await using target = FakeTarget.start({ portals: 1 });
  await using cli = new Cli();
  const [portal] = target.portals;
  assertDone(await attach(cli, [portal], "--keep-alive", "1200ms"));
  portal.keepAliveDelayMs = 150;
  const seen = portal.count("keep alive");
  await eventually("a keep-alive is on its way", () => portal.count("keep alive") > seen);
  Deno.kill(cli.daemonPid()!, "SIGSTOP");
  await delay(800);
  portal.keepAliveDelayMs = 0;
  Deno.kill(cli.daemonPid()!, "SIGCONT");
  await delay(200);
  const info = await volume(cli);
  assertEquals([states(info), info.paths[0].reconnects], ["live", 0], daemonLog(cli));
  await detachAll(cli, target);
});

Deno.test("umpath detach is quick while a path connects, and SIGTERM while an attach does", async () => {
  await using target = FakeTarget.start();
  await using cli = new Cli();
  const [first, second] = target.portals;
  const daemon = await startDaemon(cli);
  assertDone(await attach(cli, [first]));
  second.fault = { at: "identify controller", how: "stall" };
  const adding = attach(cli, [second]);
  await eventually("it connects", () => second.count("identify controller") === 1);
  daemon.kill("SIGTERM");
  const took = new Stopwatch();
  assertEquals((await daemon.status).code, 0);
  took.assertWithin(5_000);
  const added = await adding;
  assert(added.code !== 0 && !/^\s+at /m.test(added.stderr), added.stderr);
  await eventually("no connection is left", () => first.connections.size + second.connections.size === 0);

  second.fault = null;
  assertDone(await attach(cli, [first, second]));
  second.fault = { at: "identify controller", how: "stall" };
  await second.kill();
  await eventually("it connects", () => second.count("identify controller") === 3);
  const detached = await cli.run("detach", "vol-n1");
  assertDone(detached);
  assert(detached.seconds < 30, `${detached.seconds} s`);
  await eventually("no connection is left", () => target.connections === 0);
  await cli.assertNoDaemonIsLeft();
});

Deno.test("thirty attaches and detaches in a row leave no descriptor, thread or connection behind", async () => {
  await using target = FakeTarget.start();
  await using cli = new Cli();
  await using daemon = await daemonUntilEnd(cli);
  const { pid } = daemon.process;
  const census = () => {
    const fds = [...Deno.readDirSync(`/proc/${pid}/fd`)].length;
    return { fds, sockets: openSockets(pid), threads: [...Deno.readDirSync(`/proc/${pid}/task`)].length };
  };
  const cycle = async () => {
    await attachBySocket(cli, target.portals);
    await call("detach", { volumes: ["vol-n1"], all: false, force: false }, { dir: runDirAt(cli.runDir) });
  };
  for (let i = 0; i < 5; i++) await cycle();
  await eventually("no connection is left", () => target.connections === 0);
  const before = census();
  for (let i = 0; i < 30; i++) await cycle();
  await eventually("no connection is left", () => target.connections === 0);
  await eventually(`as before: ${JSON.stringify(before)}`, () => {
    const { fds, sockets } = census();
    return fds <= before.fds && sockets <= before.sockets;
  });
  const after = census();
  assert(after.threads <= before.threads + 2, `${after.threads} threads, ${before.threads} before`);
});

Deno.test("two daemons with run folders of their own serve one namespace without minding each other", async () => {
  await using target = FakeTarget.start();
  await using one = new Cli();
  await using two = new Cli();
  const both = await Promise.all([attach(one, target.portals), attach(two, target.portals)]);
  both.forEach(assertDone);
  assert(one.daemonPid() !== two.daemonPid());
  assertDone(await one.run("detach", "vol-n1"));
  await one.assertNoDaemonIsLeft();
  assertEquals(states(await volume(two)), "live,live");
  await detachAll(two, target);
});
