/** One portal from several host ends, in network namespaces of the test's own: each end is a path, and truly used. */
import { assert, assertEquals, assertStringIncludes } from "@std/assert";
import type { VolumeInfo } from "../../src/rpc/host_api.ts";
import { eventually } from "../vm/eventually.ts";
import { run } from "../vm/process.ts";
import { Cli, type Result, UMPATH } from "./cli_fixture.ts";

const NQN = "nqn.2026-11.io.test:ends";
const PORTAL = "10.77.9.9";
const WAIT_MS_MAX = 15_000;
const WORDS = [
  ...["--hostnqn", "nqn.2014-08.org.nvmexpress:uuid:3f0e0d0c-0b0a-4908-8706-050403020100"],
  ...["--hostid", "3f0e0d0c-0b0a-4908-8706-050403020100"],
  ...["--device", "none", "--keep-alive", "1s", "--connect-timeout", "1s", "--reconnect-delay", "20ms"],
  ...["--reconnect-delay-max", "100ms"],
];

/** Two links between a host (10.77.N.1 on hN) and a target (10.77.N.2), which has the portal's address on neither. */
class TwoLinks implements AsyncDisposable {
  readonly cli = new Cli();
  readonly #host = `um-host-${Deno.pid}`;
  readonly #target = `um-target-${Deno.pid}`;
  #serve: Deno.ChildProcess | null = null;

  static async start(): Promise<TwoLinks> {
    const links = new TwoLinks();
    try {
      await links.#connect();
      await links.#startTarget();
      return links;
    } catch (error) {
      await links[Symbol.asyncDispose]();
      throw error;
    }
  }

  async #connect(): Promise<void> {
    const [host, target] = [this.#host, this.#target];
    for (const name of [host, target]) {
      await ip("netns", "add", name);
      await ip("-n", name, "link", "set", "lo", "up");
      // A source address and the interface that it goes out by need not match.
      for (const scope of ["all", "default"]) {
        await ip("netns", "exec", name, "sysctl", "-qw", `net.ipv4.conf.${scope}.rp_filter=0`);
      }
    }
    await ip("-n", target, "addr", "add", `${PORTAL}/32`, "dev", "lo");
    for (const n of [0, 1]) {
      await ip("-n", host, "link", "add", `h${n}`, "type", "veth", "peer", "name", `t${n}`, "netns", target);
      await ip("-n", host, "addr", "add", `10.77.${n}.1/24`, "dev", `h${n}`);
      await ip("-n", target, "addr", "add", `10.77.${n}.2/24`, "dev", `t${n}`);
      await ip("-n", host, "link", "set", `h${n}`, "up");
      await ip("-n", target, "link", "set", `t${n}`, "up");
      // Without a host end, everything goes by the first link.
      await ip("-n", host, "route", "add", PORTAL, "via", `10.77.${n}.2`, "dev", `h${n}`, "metric", `${n + 1}`);
    }
  }

  async #startTarget(): Promise<void> {
    const words = [UMPATH, "serve", "--nqn", NQN, "--ram", "16M", "--listen", PORTAL];
    this.#serve = new Deno.Command("ip", {
      args: ["netns", "exec", this.#target, ...words],
      env: { UMPATH_RUN_DIR: this.cli.runDir },
      stdin: "null",
      stdout: "null",
      stderr: "null",
    }).spawn();
    await eventually(() => this.#listens(), WAIT_MS_MAX);
  }

  async #listens(): Promise<boolean> {
    return (await ip("netns", "exec", this.#target, "ss", "-Hltn")).includes(`${PORTAL}:4420`);
  }

  umpath(...words: string[]): Promise<Result> {
    return this.cli.runProgram(["ip", "netns", "exec", this.#host, UMPATH, ...words]);
  }

  async ok(...words: string[]): Promise<string> {
    const { code, stdout, stderr } = await this.umpath(...words);
    assertEquals(code, 0, `umpath ${words.join(" ")}: ${stderr}`);
    return stdout;
  }

  async paths(): Promise<VolumeInfo["paths"]> {
    return JSON.parse(await this.ok("show", "--json")).volumes[0].paths;
  }

  async when(states: string): Promise<void> {
    await eventually(async () => (await this.paths()).map(({ state }) => state).join() === states, WAIT_MS_MAX);
  }

  /** How many connections to the portal there are from each end: address, and interface where one is bound to it. */
  async ends(): Promise<Record<string, number>> {
    const lines = await ip("netns", "exec", this.#host, "ss", "-Htn", "state", "established", "dst", PORTAL);
    const ends: Record<string, number> = {};
    for (const line of lines.split("\n").filter((line) => line !== "")) {
      const end = line.trim().split(/\s+/)[2]!.replace(/:\d+$/, "");
      ends[end] = (ends[end] ?? 0) + 1;
    }
    return ends;
  }

  async link(n: number, state: "up" | "down"): Promise<void> {
    await ip("-n", this.#host, "link", "set", `h${n}`, state);
    // A route goes with its link and does not come back with it.
    if (state === "up") {
      await ip("-n", this.#host, "route", "add", PORTAL, "via", `10.77.${n}.2`, "dev", `h${n}`, "metric", `${n + 1}`);
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.umpath("detach", "--all", "--force");
    if (this.#serve !== null) {
      this.#serve.kill("SIGTERM");
      await this.#serve.status;
    }
    for (const name of [this.#host, this.#target]) await run("ip", ["netns", "del", name], { timeoutMs: WAIT_MS_MAX });
    await this.cli[Symbol.asyncDispose]();
  }
}

async function ip(...args: string[]): Promise<string> {
  const { code, stdout, stderr } = await run("ip", args, { timeoutMs: WAIT_MS_MAX });
  if (code !== 0) throw new Error(`ip ${args.join(" ")}: ${stderr}`);
  return stdout;
}

const LACK = Deno.uid() === 0 ? null : "it takes root";

Deno.test({
  name: `one portal by two interfaces and from a source address is three paths${
    LACK === null ? "" : ` (left out: ${LACK})`
  }`,
  ignore: LACK !== null,
  fn: async () => {
    await using links = await TwoLinks.start();
    const [byFirst, bySecond] = [0, 1].map((n) => `tcp://${PORTAL}:4420?host-iface=h${n}`);
    const fromSecond = `tcp://${PORTAL}:4420?host-traddr=10.77.1.1`;
    await links.ok("attach", NQN, "-p", byFirst!, "-p", bySecond!, "--queues", "1", ...WORDS);
    await links.when("live,live");
    assertEquals(await links.ends(), { "10.77.0.1%h0": 2, "10.77.1.1%h1": 2 });
    assertStringIncludes(await links.ok("show"), `1  ${bySecond}  live`);
    await links.ok("path", "add", "ends-n1", fromSecond);
    await links.when("live,live,live");
    assertEquals(await links.ends(), { "10.77.0.1%h0": 2, "10.77.1.1%h1": 2, "10.77.1.1": 2 });
    // The same end again is no other path.
    await links.ok("path", "add", "ends-n1", bySecond!);
    assertEquals((await links.paths()).length, 3);
    await links.ok("path", "remove", "ends-n1", "2");

    await links.link(1, "down");
    await links.when("live,reconnecting");
    const cut = (await links.paths())[1]!;
    assert(cut.reason !== null && cut.hostIface === "h1", JSON.stringify(cut));
    assertEquals((await links.ends())["10.77.0.1%h0"], 2);
    await links.link(1, "up");
    await links.when("live,live");
    assertEquals(await links.ends(), { "10.77.0.1%h0": 2, "10.77.1.1%h1": 2 });
    await links.ok("detach", "--all");
  },
});
