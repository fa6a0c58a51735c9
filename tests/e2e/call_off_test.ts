/** Commands whose user, reader or client leaves before they are done, against a target of the tests' own. */
import { assert, assertEquals, assertMatch, assertStringIncludes } from "@std/assert";
import { type FakePortal, FakeTarget, NQN } from "./host/fake_target.ts";
import { eventually } from "./host/host_fixture.ts";
import { Cli, type Result, UMPATH } from "./cli_fixture.ts";

const HOST_ID = "0f0e0d0c-0b0a-4908-8706-050403020100";
const HOST = ["--hostnqn", `nqn.2014-08.org.nvmexpress:uuid:${HOST_ID}`, "--hostid", HOST_ID];
/** Loaded machines start processes slowly. */
const START_MS_MAX = 30_000;

function attachWords(portal: FakePortal, ...more: string[]): string[] {
  return ["attach", NQN, "-p", portal.words, "--device", "none", ...HOST, ...more];
}

/** A target whose controller falls silent, and an attach that waits for it. */
async function attachThatWaits(cli: Cli, portal: FakePortal): Promise<Deno.ChildProcess> {
  portal.fault = { at: "identify controller", how: "stall" };
  portal.seen.clear();
  const attaching = cli.start(...attachWords(portal, "--connect-timeout", "60s"));
  await eventually("the attach waits", () => portal.count("identify controller") > 0, START_MS_MAX);
  return attaching;
}

/** Nothing is attached, and the log says that the attach was called off. */
async function assertCalledOff(cli: Cli, target: FakeTarget, why: RegExp): Promise<void> {
  await eventually("no connection is left", () => target.connections === 0);
  await cli.assertNoDaemonIsLeft();
  assertMatch(Deno.readTextFileSync(`${cli.runDir}/daemon.log`), why);
  assertEquals((await cli.run("list")).stdout, "");
}

Deno.test("umpath attach that is interrupted says that it is called off, ends with 130 and leaves nothing", async () => {
  await using target = FakeTarget.start({ portals: 1 });
  await using cli = new Cli();
  const attaching = await attachThatWaits(cli, target.portals[0]);
  attaching.kill("SIGINT");
  const { code, stderr } = await attaching.output();
  assertEquals([code, new TextDecoder().decode(stderr)], [130, `umpath: Called off: attach of ${NQN}\n`]);
  await assertCalledOff(cli, target, /attach of .* over .*: called off: its client left/);
});

Deno.test("umpath attach that is killed leaves nothing", async () => {
  await using target = FakeTarget.start({ portals: 1 });
  await using cli = new Cli();
  const attaching = await attachThatWaits(cli, target.portals[0]);
  attaching.kill("SIGKILL");
  await attaching.output();
  await assertCalledOff(cli, target, /attach of .* over .*: called off: its client left/);
});

Deno.test("umpath list shows what is being attached, and detach calls it off", async () => {
  await using target = FakeTarget.start({ portals: 1 });
  await using cli = new Cli();
  const attaching = await attachThatWaits(cli, target.portals[0]);
  assertMatch((await cli.run("list")).stdout, /^vol-n1 +.*attaching/);
  const detached = await cli.run("detach", "vol-n1");
  assertEquals([detached.code, detached.stdout], [0, ""], detached.stderr);
  assertMatch(detached.stderr, /vol-n1: .*called off/);
  const { code, stderr } = await attaching.output();
  assertEquals(code, 7);
  assertStringIncludes(new TextDecoder().decode(stderr), "it was detached meanwhile");
  await assertCalledOff(cli, target, /detach of vol-n1: vol-n1 detached/);
});

/** Runs `umpath` with its stdout going where `redirection` says. */
function redirected(cli: Cli, redirection: string, ...args: string[]): Promise<Result> {
  return cli.runProgram(["bash", "-c", `set -o pipefail; "$0" "$@" ${redirection}`, UMPATH, ...args]);
}

Deno.test("umpath attach whose device cannot be printed is detached again, but not if it was attached before", async () => {
  await using target = FakeTarget.start({ portals: 1 });
  await using cli = new Cli();
  const [portal] = target.portals;
  for (const redirection of ["> /dev/full", "1< /dev/null", "> >(exec true; sleep 0)", "| true"]) {
    // The pipe's reader has left once the attach has waited for the target.
    portal.adminDelayMs = 100;
    const lost = await redirected(cli, redirection, ...attachWords(portal));
    assertEquals(lost.code, 6, `${redirection}: ${lost.stderr}`);
    assertStringIncludes(lost.stderr, "vol-n1 was attached and is detached again: ");
    await cli.assertNoDaemonIsLeft();
  }
  assertEquals((await cli.run(...attachWords(portal))).code, 0);
  const again = await redirected(cli, "> /dev/full", ...attachWords(portal));
  assertEquals(again.code, 6);
  assertStringIncludes(again.stderr, "vol-n1 is attached, but");
  assertMatch((await cli.run("list")).stdout, /^vol-n1 /);
  assert((await redirected(cli, "> /dev/full", "detach", "--all", "--json")).code !== 0);
  await cli.assertNoDaemonIsLeft();
  assertEquals((await redirected(cli, "| true", "list")).code, 0);
});

Deno.test("umpath attach of a volume that is attached refuses what it would not give, with exit code 7", async () => {
  await using target = FakeTarget.start();
  await using cli = new Cli();
  const [first, second] = target.portals;
  assertEquals((await cli.run(...attachWords(first))).code, 0);
  const refused = await cli.run(...attachWords(second, "--read-only"));
  assertEquals([refused.code, refused.stdout], [7, ""]);
  assertStringIncludes(refused.stderr, "Cannot attach read-only: vol-n1 is attached and takes writes");
  assertEquals(second.count("connect"), 0);
  const { version, daemon } = JSON.parse((await cli.run("version", "--json")).stdout);
  assertEquals(daemon, { version, pid: cli.daemonPid() });
  assertEquals((await cli.run("detach", "--all")).code, 0);
  await cli.assertNoDaemonIsLeft();
});
