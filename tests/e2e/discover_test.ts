/** `umpath discover` and `umpath attach --discover`, against `umpath serve` and services of the tests' own. */
import { assert, assertEquals, assertMatch, assertStringIncludes } from "@std/assert";
import type { VolumeInfo } from "../../src/rpc/host_api.ts";
import { DISCOVERY_NQN } from "../../src/settings/nqn.ts";
import { FakeTarget } from "./host/fake_target.ts";
import { discoveryLogData } from "../unit/nvme_host/discovery_log_data.ts";
import { Cli, type Result, UMPATH, until } from "./cli_fixture.ts";
import { Served } from "./served.ts";

const NQN = "nqn.2026-11.io.test:offer";
const HOST_NQN = "nqn.2014-08.org.nvmexpress:uuid:0f0e0d0c-0b0a-4908-8706-050403020100";
const HOST = ["--hostnqn", HOST_NQN, "--hostid", "0f0e0d0c-0b0a-4908-8706-050403020100"];
const TWO = ["--namespace", "ram=8M", "--namespace", "ram=16M,nsid=7"];

function assertDone(result: Result, stdout?: string): void {
  assertEquals(result.code, 0, result.stderr);
  if (stdout !== undefined) assertEquals(result.stdout, stdout, result.stderr);
}

function assertFailed(result: Result, code: number, ...words: string[]): void {
  assertEquals([result.code, result.stdout], [code, ""], result.stderr);
  for (const word of words) assertStringIncludes(result.stderr, word);
}

async function volumes(cli: Cli): Promise<VolumeInfo[]> {
  return JSON.parse((await cli.run("list", "--json")).stdout).volumes;
}

/** The paths of a volume: where they lead, and from where. */
async function pathsOf(cli: Cli, name: string): Promise<string[]> {
  const volume = (await volumes(cli)).find((volume) => volume.name === name)!;
  return volume.paths.map(({ traddr, trsvcid, hostTraddr, hostIface, state }) => {
    return `${traddr}:${trsvcid} ${hostTraddr ?? "-"} ${hostIface ?? "-"} ${state}`;
  }).sort();
}

async function detachAll(cli: Cli): Promise<void> {
  assertDone(await cli.run("detach", "--all"));
  await until(() => cli.daemonPid() === null);
  assertEquals(cli.daemonPid(), null);
}

Deno.test("umpath discover shows what umpath serve offers, for people and as JSON, without a daemon", async () => {
  await using cli = new Cli();
  await using served = await Served.start(cli, { nqn: NQN, words: ["--ram", "8M"] });
  const [first, second] = served.portals;
  const text = await cli.run("discover", first.words, ...HOST);
  assertDone(text);
  const lines = text.stdout.trimEnd().split("\n").map((line) => line.split(/\s{2,}/));
  assertMatch(lines[0][0], new RegExp(`^${first.words}: 3 entries, generation \\d+$`));
  assertEquals(lines.slice(1).map((cells) => cells.slice(1, 7)), [
    ["current-discovery", "tcp", first.words, "port 1", "no TLS", DISCOVERY_NQN],
    ["nvm", "tcp", first.words, "port 1", "no TLS", NQN],
    ["nvm", "tcp", second.words, "port 2", "no TLS", NQN],
  ]);
  const json = await cli.run("discover", second.words, "--json", ...HOST);
  assertDone(json);
  const { schemaVersion, services: [service] } = JSON.parse(json.stdout);
  assertEquals([schemaVersion, service.portal.traddr, service.entries.length], [1, second.hostname, 3]);
  const { subtype, subsystemNqn, traddr, trsvcid, security } = service.entries[1];
  assertEquals([subtype, subsystemNqn, traddr, trsvcid, security], ["nvm", NQN, first.hostname, 4420, "none"]);
  assertEquals(cli.daemonPid(), null);
});

Deno.test("umpath discover fails in words: nobody listens at port 8009, no such service, a bad portal", async () => {
  await using cli = new Cli();
  await using target = FakeTarget.start({ portals: 1 });
  const [portal] = target.portals;
  assertFailed(await cli.run("discover", portal.address, ...HOST), 4, `${portal.address}:8009`, "connection refused");
  assertFailed(await cli.run("discover", portal.words, ...HOST), 5, "the target has no such subsystem");
  assertFailed(await cli.run("discover", "storage", ...HOST), 2, 'portal "storage"');
  const json = await cli.run("discover", portal.address, "--json", ...HOST);
  assertEquals([json.code, json.stdout, JSON.parse(json.stderr).error.code], [4, "", "unreachable"]);
});

Deno.test("umpath discover and attach --discover go where a service refers to", async () => {
  await using cli = new Cli();
  await using served = await Served.start(cli, { nqn: NQN, words: ["--ram", "8M"] });
  await using target = FakeTarget.start({ portals: 2 });
  const [service, gone] = target.portals;
  await gone.stop();
  service.nqn = DISCOVERY_NQN;
  const referred = [served.portals[0].hostname, gone.address].map((traddr) => ({ subtype: 1, traddr }));
  service.discoveryLog = discoveryLogData(referred);
  const shown = await cli.run("discover", service.words, ...HOST);
  assertDone(shown);
  assertMatch(shown.stdout, new RegExp(`^${served.portals[0].words}: 3 entries`, "m"));
  assertStringIncludes(shown.stderr, `A referral cannot be followed: Cannot connect to "${gone.words}"`);
  assertDone(await cli.run("attach", NQN, "--discover", service.words, "--device", "none", ...HOST), "offer-n1\n");
  assertEquals((await pathsOf(cli, "offer-n1")).length, 2);
  await detachAll(cli);
});

Deno.test("umpath attach --discover takes the paths of the log, from every host end, besides those of -p", async () => {
  await using cli = new Cli();
  await using served = await Served.start(cli, { nqn: NQN, words: TWO });
  const [first, second] = served.portals;
  const attach = (...words: string[]) => cli.run("attach", NQN, "--device", "none", ...HOST, ...words);
  assertDone(await attach("--discover", first.words), "offer-n1\n");
  assertEquals(await pathsOf(cli, "offer-n1"), [`${first.words} - - live`, `${second.words} - - live`]);
  const ends = ["--host-traddr", "127.0.0.9", "--host-iface", "lo"];
  const named = ["-p", `tcp://${first.words}?host-traddr=127.0.0.8`];
  assertDone(await attach("--nsid", "7", "--discover", first.words, ...ends, ...named), "offer-n7\n");
  assertEquals(
    await pathsOf(cli, "offer-n7"),
    [
      `${first.words} 127.0.0.8 - live`,
      ...[first, second].flatMap(({ words }) => [`${words} 127.0.0.9 - live`, `${words} - lo live`]),
    ].sort(),
  );
  assertFailed(await attach("--discover", first.words, "--host-traddr", "::1"), 3, "no entry can be reached");
  const other = await cli.run("attach", "nqn.2026-11.io.test:none", "--discover", first.words, ...HOST);
  assertFailed(other, 3, `Cannot find "nqn.2026-11.io.test:none" at "${first.words}": it offers "${NQN}"`);
  await detachAll(cli);
});

Deno.test("umpath attach --discover --all attaches every namespace, and again the same ones", async () => {
  await using cli = new Cli();
  await using served = await Served.start(cli, { nqn: NQN, words: TWO });
  const attach = ["attach", "--discover", served.portals[1].words, "--all", "--device", "none", ...HOST];
  assertDone(await cli.run(...attach), "offer-n1\noffer-n7\n");
  const again = await cli.run(...attach, "--json");
  assertDone(again);
  const { attached, failures } = JSON.parse(again.stdout);
  assertEquals(attached.map(({ device, created }: { device: string; created: boolean }) => [device, created]), [
    ["offer-n1", false],
    ["offer-n7", false],
  ]);
  assertEquals(failures, []);
  assertEquals((await volumes(cli)).map(({ nsid, sizeBytes, state }) => [nsid, sizeBytes, state]), [
    [1, 8 << 20, "live"],
    [7, 16 << 20, "live"],
  ]);
  await detachAll(cli);
});

Deno.test("umpath attach --discover --all goes on when something fails, names it, and ends with the worst code", async () => {
  await using cli = new Cli();
  await using target = FakeTarget.start({ portals: 4 });
  const [service, good, refusing, gone] = target.portals;
  const nqnOf = (name: string) => `nqn.2026-11.io.test:${name}`;
  Object.assign(good, { nqn: nqnOf("good"), nsid: 3 });
  Object.assign(refusing, { nqn: nqnOf("refusing"), refusesHosts: true });
  await gone.stop();
  service.nqn = DISCOVERY_NQN;
  service.discoveryLog = discoveryLogData([
    { traddr: gone.address, subnqn: nqnOf("gone") },
    { traddr: refusing.address, subnqn: nqnOf("refusing") },
    { traddr: good.address, subnqn: nqnOf("good") },
    { trtype: 1, subnqn: nqnOf("rdma") },
  ]);
  const attach = ["attach", "--discover", service.words, "--all", "--device", "none", ...HOST];
  const result = await cli.run(...attach);
  assertEquals([result.code, result.stdout], [5, "good-n3\n"], result.stderr);
  assertMatch(result.stderr, /Cannot attach "nqn\.2026-11\.io\.test:gone": .*connection refused/);
  assertMatch(result.stderr, /Cannot attach "nqn\.2026-11\.io\.test:refusing": .*this host is not allowed/);
  assertMatch(result.stderr, /its transport is rdma, not tcp/);
  const json = await cli.run(...attach, "--json");
  assertEquals(json.code, 5);
  const { attached, failures } = JSON.parse(json.stdout);
  assertEquals(attached.length, 1);
  assertEquals(
    failures.map((
      { nqn, nsid, error }: { nqn: string; nsid: null; error: { code: string } },
    ) => [nqn, nsid, error.code]),
    [
      [nqnOf("gone"), null, "unreachable"],
      [nqnOf("refusing"), null, "refused"],
      [nqnOf("rdma"), null, "not-found"],
    ],
  );
  await detachAll(cli);
});

/** A discovery service that offers a volume whose I/O queue never comes up, and then one that is well. */
async function attachAllThatWaits(cli: Cli, target: FakeTarget): Promise<{ attaching: Promise<Result> }> {
  const [service, silent, good] = target.portals;
  const nqnOf = (name: string) => `nqn.2026-11.io.test:${name}`;
  Object.assign(silent, { nqn: nqnOf("silent"), fault: { at: "io icresp", how: "stall" } });
  Object.assign(good, { nqn: nqnOf("good") });
  service.nqn = DISCOVERY_NQN;
  service.discoveryLog = discoveryLogData([
    { traddr: silent.address, subnqn: nqnOf("silent") },
    { traddr: good.address, subnqn: nqnOf("good") },
  ]);
  const words = ["attach", "--discover", service.words, "--all", "--device", "none", ...HOST];
  const attaching = cli.runProgram([UMPATH, ...words, "--connect-timeout", "60s"]);
  for (const end = Date.now() + 30_000;;) {
    const listed = JSON.parse((await cli.run("list", "--json")).stdout);
    if (listed.attaching.length === 1 && listed.volumes.length === 1) return { attaching };
    assert(Date.now() < end, JSON.stringify(listed));
  }
}

/** The process of the fixture that runs this command. */
async function pidOf(cli: Cli, command: string): Promise<number> {
  for await (const { name } of Deno.readDir("/proc")) {
    if (!/^\d+$/.test(name)) continue;
    const [environ, words] = await Promise.all(["environ", "cmdline"].map((file) => {
      return Deno.readTextFile(`/proc/${name}/${file}`).catch(() => "");
    }));
    if (environ.includes(`UMPATH_RUN_DIR=${cli.runDir}\0`) && words.split("\0")[1] === command) return Number(name);
  }
  throw new Error(`No process runs umpath ${command}`);
}

Deno.test("umpath attach --all attaches several at a time, and prints them in the order of the log", async () => {
  await using cli = new Cli();
  await using target = FakeTarget.start({ portals: 3 });
  const { attaching } = await attachAllThatWaits(cli, target);
  assertEquals((await volumes(cli)).map(({ name }) => name), ["good-n1"]);
  await target.portals[1].stop();
  const { code, stdout, stderr } = await attaching;
  assertEquals([code, stdout], [4, "good-n1\n"], stderr);
  assertMatch(stderr, /^umpath: Cannot attach namespace 1 of "nqn\.2026-11\.io\.test:silent": /m);
  await detachAll(cli);
});

Deno.test("umpath attach --all that is interrupted detaches what it has not printed", async () => {
  await using cli = new Cli();
  await using target = FakeTarget.start({ portals: 3 });
  const { attaching } = await attachAllThatWaits(cli, target);
  Deno.kill(await pidOf(cli, "attach"), "SIGINT");
  const { code, stdout, stderr } = await attaching;
  assertEquals([code, stdout, stderr], [130, "", "umpath: Called off: attach of 2 namespaces\n"]);
  await cli.assertNoDaemonIsLeft();
});

Deno.test("a host that is not allowed is offered nothing", async () => {
  await using cli = new Cli();
  const allow = ["--ram", "8M", "--allow-host", "nqn.2014-08.org.nvmexpress:uuid:11111111-0b0a-4908-8706-050403020100"];
  await using served = await Served.start(cli, { nqn: NQN, words: allow });
  const portal = served.portals[0].words;
  const shown = await cli.run("discover", portal, ...HOST);
  assertDone(shown);
  assertEquals(shown.stdout.trimEnd().split("\n").length, 2, shown.stdout);
  assertFailed(
    await cli.run("attach", NQN, "--discover", portal, ...HOST),
    3,
    "it offers nothing to this host",
    HOST_NQN,
  );
  assertFailed(await cli.run("attach", "--discover", portal, "--all", ...HOST), 3, "it offers no namespace");
  assertEquals(cli.daemonPid(), null);
});
