/** Whom `umpath serve` lets in and whom not, and what its log says of those. */
import { assertEquals, assertMatch } from "@std/assert";
import { StatusCode } from "../../src/protocol/nvme_status.ts";
import { StatusField } from "../../src/protocol/nvme_status.ts";
import { Cli, UMPATH, until } from "./cli_fixture.ts";
import { RawHost } from "./raw_host.ts";
import { icReq } from "./raw_pdus.ts";
import { Served } from "./served.ts";
import { show } from "./served_host.ts";

const NQN = "nqn.2026-11.io.test:hosts";
const FRIEND = "nqn.2014-08.org.nvmexpress:uuid:3f0e0d0c-0b0a-4908-8706-050403020100";

/** The status code that a Connect was answered with, 0 if it was let in. */
async function tryConnect(target: Served, words: { nqn?: string; hostNqn?: string }): Promise<number> {
  try {
    using _host = await RawHost.connect(target.portals[0]!, { nqn: NQN, ...words });
    return 0;
  } catch (error) {
    const status = /status 0x([0-9a-f]+)/.exec(String(error))?.[1];
    if (status === undefined) throw error;
    return parseInt(status, 16) & StatusField.CODE_MASK;
  }
}

Deno.test("umpath serve lets a host in that has no NQN, and shows it as such", async () => {
  await using cli = new Cli();
  await using target = await Served.start(cli, { nqn: NQN, portals: 1, words: ["--ram", "1M"] });
  using _host = await RawHost.connect(target.portals[0]!, { nqn: NQN, hostNqn: "" });
  assertEquals((await show(target)).controllers.map(({ hostNqn }) => hostNqn), [""]);
  assertMatch((await target.target("show")).stdout, /\n +\d+ {2}\(no host NQN\)\n/);
  assertMatch(await target.end(), /Controller \d+ of \(no host NQN\) begins/);
});

Deno.test("umpath serve logs every host that it refuses: from where, at which listener, who, and why", async () => {
  await using cli = new Cli();
  const words = ["--ram", "1M", "--allow-host", FRIEND];
  await using target = await Served.start(cli, { nqn: NQN, portals: 1, words });
  const { words: portal } = target.portals[0]!;
  assertEquals(await tryConnect(target, { hostNqn: FRIEND }), 0);
  assertEquals(await tryConnect(target, { hostNqn: "" }), StatusCode.CONNECT_INVALID_HOST);
  assertEquals(await tryConnect(target, {}), StatusCode.CONNECT_INVALID_HOST);
  assertEquals(await tryConnect(target, { hostNqn: "h".repeat(230) }), StatusCode.CONNECT_INVALID_PARAMETERS);
  assertEquals(await tryConnect(target, { nqn: `${NQN}x`, hostNqn: FRIEND }), StatusCode.CONNECT_INVALID_PARAMETERS);
  {
    using stranger = await RawHost.open(target.portals[0]!);
    await stranger.send(new TextEncoder().encode("GET / HTTP/1.1\r\n\r\n"));
    await stranger.untilClosed(5_000);
  }
  const log = await target.end();
  const refusals = [...log.matchAll(/ warn serve: (\S+):\d+ is refused at (\S+): (.*)$/gm)].map((match) =>
    match.slice(1)
  );
  assertEquals(refusals.map(([peer, at]) => [peer, at]), refusals.map(() => ["127.0.0.1", portal]));
  const reasons = refusals.map(([, , reason]) => reason!);
  const subsystem = `subsystem NQN "${NQN}"`;
  assertEquals(reasons.slice(0, 4), [
    `it gave no host NQN, and not all hosts are allowed (host NQN (no host NQN), ${subsystem})`,
    `it is not allowed (host NQN "nqn.2014-08.org.nvmexpress:uuid:1f0e0d0c-0b0a-4908-8706-050403020100", ${subsystem})`,
    `its host NQN is 230 bytes long (host NQN unreadable, ${subsystem})`,
    `it asks for another subsystem (host NQN "${FRIEND}", subsystem NQN "${NQN}x")`,
  ]);
  assertMatch(reasons[4]!, /^the host sent a PDU of the unknown type 0x47/);
  assertEquals(reasons.length, 5);
});

Deno.test("umpath serve does not fill its log with a host that is refused again and again", async () => {
  await using cli = new Cli();
  await using target = await Served.start(cli, {
    nqn: NQN,
    portals: 1,
    words: ["--ram", "1M", "--allow-host", FRIEND],
  });
  for (let i = 0; i < 40; i++) assertEquals(await tryConnect(target, {}), StatusCode.CONNECT_INVALID_HOST);
  const lines = (await target.end()).split("\n").filter((line) => line.includes("is refused"));
  assertEquals(lines.length >= 8 && lines.length < 40, true, `${lines.length} lines`);
});

function names(folder: string): string[] {
  try {
    return [...Deno.readDirSync(folder)].map(({ name }) => name);
  } catch {
    return []; // it is not made yet
  }
}

Deno.test("umpath serve goes on when the reader of its listeners leaves, and when nobody reads its log either", async () => {
  await using cli = new Cli();
  for (const [nqn, both] of [[NQN, ""], [`${NQN}2`, "2>&1"]] as const) {
    // The reader has left before there is anything to read.
    const listen = "--listen 127.0.0.1:0";
    const line = `("${UMPATH}" serve --ram 1M --nqn ${nqn} ${listen} ${both}; echo $? > "${cli.folder}/rc") | true`;
    const shell = cli.runProgram(["/bin/sh", "-c", line]);
    await until(() => names(cli.runDir).some((name) => name.endsWith(".sock")));
    const { targets } = JSON.parse((await cli.run("target", "list", "--json")).stdout);
    assertEquals(targets.map((target: { nqn: string }) => target.nqn), [nqn]);
    using host = await RawHost.open({ hostname: "127.0.0.1", port: targets[0].listeners[0].trsvcid });
    await host.send(icReq());
    assertEquals((await host.readPdu())?.length, 128, "it serves");
    host[Symbol.dispose]();
    assertEquals((await cli.run("target", "stop")).code, 0);
    await shell;
    assertEquals(Deno.readTextFileSync(`${cli.folder}/rc`), "0\n", "it ended because it was told to");
  }
});

Deno.test("umpath serve says once that it is out of descriptors, and goes on when it has some again", async () => {
  await using cli = new Cli();
  const launcher = ["/bin/sh", "-c", 'ulimit -n 64; exec "$@"', "sh"];
  await using target = await Served.start(cli, { nqn: NQN, portals: 1, words: ["--ram", "1M"], launcher });
  const hosts: RawHost[] = [];
  for (let i = 0; i < 64; i++) hosts.push(await RawHost.open(target.portals[0]!));
  const served = async (host: RawHost) => {
    await host.send(icReq());
    return (await host.readPdu().catch(() => null))?.length ?? 0;
  };
  assertEquals(await served(hosts[0]!), 128);
  for (const host of hosts.slice(0, 60)) host[Symbol.dispose]();
  // What has waited since is taken now.
  assertEquals(await served(hosts[63]!), 128);
  for (const host of hosts) host[Symbol.dispose]();
  const log = await target.end();
  assertEquals(log.match(/cannot take connections for now: too many open files/g)?.length, 1, log);
  assertEquals(log.match(/takes connections again/g)?.length, 1, log);
});
