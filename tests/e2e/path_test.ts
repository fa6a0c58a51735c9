/** The packed program changes volumes that run: umpath set, umpath path; their words, exit codes, and load meanwhile. */
import { assert, assertEquals, assertMatch, assertStringIncludes, fail } from "@std/assert";
import type { VolumeInfo } from "../../src/rpc/host_api.ts";
import { POLICY_NAMES } from "../../src/multipath/policy_names.ts";
import { AnaStateCode } from "../../src/protocol/nvme_log.ts";
import { type FakePortal, FakeTarget, NQN } from "./host/fake_target.ts";
import { eventually } from "./host/host_fixture.ts";
import { eventually as eventuallySeen } from "../vm/eventually.ts";
import { loadErrors, smallLoad, underLoad } from "../vm/load.ts";
import { Cli, type Result } from "./cli_fixture.ts";
import { loopTest } from "./loop_case.ts";
import { Served } from "./served.ts";

const SERVED_NQN = "nqn.2026-11.io.test:served";
const HOST = [
  ...["--hostnqn", "nqn.2014-08.org.nvmexpress:uuid:3f0e0d0c-0b0a-4908-8706-050403020100"],
  ...["--hostid", "3f0e0d0c-0b0a-4908-8706-050403020100"],
];
const QUICK = ["--reconnect-delay", "20ms", "--reconnect-delay-max", "100ms"];

function attach(cli: Cli, portals: FakePortal[], ...args: string[]): Promise<Result> {
  const paths = portals.flatMap((portal) => ["-p", portal.words]);
  return cli.run("attach", NQN, ...paths, "--device", "none", ...HOST, ...QUICK, ...args);
}

async function show(cli: Cli): Promise<VolumeInfo> {
  const { volumes } = JSON.parse((await done(cli, "show", "--json")).stdout);
  return volumes[0] ?? fail("The volume is gone");
}

async function done(cli: Cli, ...words: string[]): Promise<Result> {
  const result = await cli.run(...words);
  assertEquals(result.code, 0, `umpath ${words.join(" ")}: ${result.stderr}`);
  return result;
}

async function refused(cli: Cli, code: number, words: string[], ...said: string[]): Promise<void> {
  const result = await cli.run(...words);
  assertEquals([result.code, result.stdout], [code, ""], `umpath ${words.join(" ")}: ${result.stderr}`);
  assert(!/^\s+at /m.test(result.stderr), `a stack is shown: ${result.stderr}`);
  for (const part of said) assertStringIncludes(result.stderr, part);
}

async function detachAll(cli: Cli, target: FakeTarget): Promise<void> {
  await done(cli, "detach", "--all");
  await eventually("no connection is left", () => target.connections === 0);
  await cli.assertNoDaemonIsLeft();
}

Deno.test("umpath set changes policy, times, weights and the preferred path, and show tells them", async () => {
  await using target = FakeTarget.start();
  await using cli = new Cli();
  const [first, second] = target.portals;
  assertEquals((await attach(cli, target.portals, "--policy", "queue-depth")).code, 0);
  assertEquals((await show(cli)).policy, "queue-depth");
  const settings = ["policy=active-passive", `preferred-path=${second.words}`, "weight.0=3", "io-timeout=7s"];
  const set = await done(cli, "set", "vol-n1", ...settings);
  assertEquals(set.stdout, "");
  assertMatch(set.stderr, /^vol-n1: policy set to active-passive, .* and io-timeout set to 7s\n$/);
  const volume = await show(cli);
  assertEquals([volume.policy, volume.preferredPath, volume.timeouts.ioTimeoutMs], ["active-passive", 1, 7000]);
  const again = await done(cli, "set", "vol-n1", "io-timeout=7s");
  assertEquals(again.stderr, "vol-n1: io-timeout set to 7s (no change)\n");
  assertEquals(volume.paths.map(({ weight }) => weight), [3, 1]);
  const { stdout } = await done(cli, "show", "vol-n1");
  assertStringIncludes(stdout, "policy     active-passive, preferred-path 1");
  assertStringIncludes(stdout, "io-timeout 7s");
  assertMatch(stdout, new RegExp(`0 {2}${first.words} {2}live.*, weight 3\\n`));
  assertStringIncludes((await done(cli, "list")).stdout, "active-passive");
  const json = JSON.parse((await done(cli, "set", "vol-n1", "keep-alive=2s", "--json")).stdout);
  assertEquals([json.schemaVersion, json.volume.timeouts.keepAliveMs, json.volume.timeouts.writeHoldMs], [
    1,
    2000,
    5000,
  ], "the controllers go by the longer time until they are connected anew");
  assertEquals(json.volume.writeHoldAuto, true);
  await done(cli, "set", "vol-n1", "write-hold=off");
  assertStringIncludes((await done(cli, "show", "vol-n1")).stdout, "write-hold off\n");
  await done(cli, "set", "vol-n1", "write-hold=auto");
  assertStringIncludes((await done(cli, "show", "vol-n1")).stdout, "write-hold 5s (auto)\n");
  await detachAll(cli, target);
});

Deno.test("umpath set failback=now ends the standby of a path whose I/O another one took over, and show tells both", async () => {
  await using target = FakeTarget.start();
  await using cli = new Cli();
  const [first, second] = target.portals;
  [first.ana, second.ana] = [AnaStateCode.OPTIMIZED, AnaStateCode.NON_OPTIMIZED];
  assertEquals((await attach(cli, target.portals, "--failback", "manual")).code, 0);
  assertStringIncludes((await done(cli, "show")).stdout, "policy     queue-depth, failback manual");
  await first.kill();
  await eventuallySeen(async () => (await show(cli)).paths.map((path) => path.reconnects).join() === "1,0", 10_000);
  const standbys = async () => (await show(cli)).paths.map(({ state, standby }) => `${state} ${standby}`).join();
  assertEquals(await standbys(), "live true,live false");
  assertStringIncludes((await done(cli, "show")).stdout, `0  ${first.words}  live, optimized, standby, controller`);
  await done(cli, "set", "vol-n1", "failback=now");
  assertEquals([await standbys(), (await show(cli)).failback], ["live false,live false", "manual"]);
  await done(cli, "set", "vol-n1", "failback=auto");
  assertEquals((await show(cli)).failback, "auto");
  const again = await attach(cli, target.portals, "--failback", "manual");
  assertStringIncludes(again.stderr, "--failback manual (it is auto) is ignored; umpath set changes");
  await detachAll(cli, target);
});

Deno.test("umpath set says no in words: unknown volume 3, path 3, key 2, policy 2, times at odds 2, and changes nothing", async () => {
  await using target = FakeTarget.start();
  await using cli = new Cli();
  await refused(cli, 3, ["set", "vol-n1", "policy=weighted"], 'No volume "vol-n1" is attached');
  assertEquals((await attach(cli, target.portals)).code, 0);
  const before = await show(cli);
  const cases: [code: number, settings: string[], said: string][] = [
    [2, [], "<setting> is missing"],
    [2, ["policy"], '"policy": it is not KEY=VALUE'],
    [2, ["policy=fastest"], "it is not one of round-robin, queue-depth, service-time, active-passive and weighted"],
    [2, ["polcy=weighted"], "Did you mean policy?"],
    [2, ["weight.0=0"], '"0" for weight.0'],
    [
      2,
      ["policy=weighted", "reconnect-delay=5s", "reconnect-delay-max=1s"],
      "reconnect-delay 5s with reconnect-delay-max 1s",
    ],
    [2, ["policy=weighted", "no-path-timeout=1s"], "write-hold 5s (default) with no-path-timeout 1s"],
    [2, ["ctrl-loss-timeout=10ms"], "reconnect-delay 20ms with ctrl-loss-timeout 10ms"],
    [2, ["keep-alive=off", "io-timeout=off"], "keep-alive off with io-timeout off"],
    [3, ["policy=weighted", "preferred-path=7"], "Cannot find path number 7 of vol-n1"],
    [3, ["weight.192.0.2.1=3"], 'Cannot find path "192.0.2.1:4420" of vol-n1'],
  ];
  for (const [code, settings, said] of cases) await refused(cli, code, ["set", "vol-n1", ...settings], said);
  await refused(cli, 3, ["set", "other", "policy=weighted"], '"other"');
  assertEquals(await show(cli), before);
  await detachAll(cli, target);
});

Deno.test("umpath path adds, disables, enables and removes a path, and show tells what became of it", async () => {
  await using target = FakeTarget.start({ portals: 3 });
  await using cli = new Cli();
  const [first, second, third] = target.portals;
  assertEquals((await attach(cli, [first, second])).code, 0);
  const states = async () => (await show(cli)).paths.map(({ id, state }) => `${id} ${state}`).join();
  const said = async (...words: string[]) => (await done(cli, ...words)).stderr;
  assertEquals(await said("path", "add", "vol-n1", third.words), `vol-n1: path ${third.words} added\n`);
  assertEquals(await states(), "0 live,1 live,2 live");
  const disabled = await done(cli, "path", "disable", "vol-n1", "1");
  assertEquals([disabled.stdout, disabled.stderr], ["", `vol-n1: path ${second.words} disabled\n`]);
  assertEquals(
    await said("path", "disable", "vol-n1", second.words),
    `vol-n1: path ${second.words} disabled (no change)\n`,
  );
  assertEquals(await states(), "0 live,1 disabled,2 live");
  assertStringIncludes((await done(cli, "show")).stdout, `1  ${second.words}  disabled: it was disabled`);
  await eventually("it is not connected", () => second.connections.size === 0);
  const { volume } = JSON.parse((await done(cli, "path", "remove", "vol-n1", "0", "--json")).stdout);
  assertEquals([volume.state, volume.paths.length], ["degraded", 2]);
  await eventually("it is not connected", () => first.connections.size === 0);
  assertEquals(await said("path", "enable", "vol-n1", "1"), `vol-n1: path ${second.words} enabled\n`);
  assertEquals(await states(), "1 live,2 live");
  assertEquals((await show(cli)).state, "live");
  await second.stop();
  const away = await cli.run("path", "add", "vol-n1", "127.0.0.1:1");
  assertEquals(away.code, 4, away.stderr);
  assertStringIncludes(away.stderr, "--force");
  const kept = await cli.run("path", "add", "vol-n1", "127.0.0.1:1", "--force");
  assertEquals(kept.code, 0, kept.stderr);
  assertMatch(kept.stderr, /"127\.0\.0\.1:1" is down \(connection refused\); umpath keeps retrying it/);
  assertEquals(await said("path", "remove", "vol-n1", "0"), "vol-n1: path 127.0.0.1:1 removed\n");
  await detachAll(cli, target);
});

Deno.test("umpath path says no in words: unknown volume 3, path 3, refused by the target 5, the last path 7, words 2", async () => {
  await using target = FakeTarget.start({ portals: 3 });
  await using cli = new Cli();
  const [first, second, third] = target.portals;
  await refused(cli, 3, ["path", "disable", "vol-n1", "0"], 'No volume "vol-n1" is attached');
  assertEquals((await attach(cli, [first, second])).code, 0);
  await refused(cli, 3, ["path", "add", "other", third.words], '"other"');
  await refused(cli, 3, ["path", "remove", "vol-n1", third.words], "it has no such path", "umpath show vol-n1");
  await refused(cli, 3, ["path", "enable", "vol-n1", "9"], "path number 9");
  await refused(cli, 2, ["path", "add", "vol-n1", "storage.example.com"], '"storage.example.com"');
  await refused(cli, 2, ["path", "add", "vol-n1"], "<path> is missing");
  await refused(cli, 2, ["path", "enable", "vol-n1", "0", "--force"], '"--force"');
  third.refusesHosts = true;
  await refused(cli, 5, ["path", "add", "vol-n1", third.words], "this host is not allowed on the subsystem");
  await second.stop();
  await eventually("the second is away", () => second.connections.size === 0);
  await refused(cli, 7, ["path", "disable", "vol-n1", "0"], "no other path serves it", "--force");
  await refused(cli, 7, ["path", "remove", "vol-n1", first.words], "no other path serves it");
  await done(cli, "path", "remove", "vol-n1", "1");
  await refused(cli, 7, ["path", "remove", "vol-n1", "0"], "no other path serves it");
  await done(cli, "path", "disable", "vol-n1", "0", "--force");
  assertEquals((await show(cli)).state, "no-path");
  await done(cli, "path", "enable", "vol-n1", "0");
  assertEquals((await show(cli)).state, "live");
  await detachAll(cli, target);
});

loopTest("policies that are switched, and paths that come and go by command, cost no I/O under load", async () => {
  await using cli = new Cli();
  await using target = await Served.start(cli, { nqn: SERVED_NQN, portals: 3, words: ["--ram", "32M"] });
  const [first, second, third] = target.portals.map(({ words }) => words);
  const paths = ["-p", first!, "-p", second!];
  const attached = await done(cli, "attach", SERVED_NQN, ...paths, "--device", "loop", ...HOST, ...QUICK);
  const device = attached.stdout.trim();
  const results = await underLoad({ ...smallLoad(device, 7), size: "6m", rate: "6m,6m" }, async () => {
    for (const policy of POLICY_NAMES) await done(cli, "set", device, `policy=${policy}`);
    for (const policy of POLICY_NAMES) {
      await done(cli, "path", "add", device, third!);
      await done(cli, "path", "remove", device, first!);
      await done(cli, "set", device, `policy=${policy}`);
      await done(cli, "path", "disable", device, second!);
      await done(cli, "path", "add", device, first!);
      await done(cli, "path", "enable", device, second!);
      await done(cli, "path", "remove", device, third!);
    }
  });
  assertEquals(loadErrors(results), []);
  const volume = await show(cli);
  assertEquals([volume.state, volume.paths.map(({ failovers }) => failovers)], ["live", [0, 0]]);
  const longestMs = Math.max(...results.flatMap(({ jobs }) => jobs.map(({ write }) => write.clat_ns.max / 1e6)));
  assert(longestMs < 2_000, `a write took ${longestMs} ms`);
  await done(cli, "detach", "--all");
  await target.end();
  await cli.assertNoDaemonIsLeft();
});
