/** A storage system of this machine's own and the loop devices over it, with all that a test leaves of them cleaned up. */
import { assertEquals, fail } from "@std/assert";
import { leftovers } from "../../src/demo/leftovers.ts";
import type { VolumeInfo } from "../../src/rpc/host_api.ts";
import { ask } from "../../src/rpc/client.ts";
import { runDirAt } from "../../src/rpc/run_dir.ts";
import { delay } from "./host/host_fixture.ts";
import { run as runProcess, type RunResult } from "../vm/process.ts";
import { Cli, UMPATH } from "./cli_fixture.ts";
import type { Network } from "./network.ts";
import { Served } from "./served.ts";

const NQN = "nqn.2026-11.io.test:loop";
const HOST = [
  "--hostnqn",
  "nqn.2014-08.org.nvmexpress:uuid:3f0e0d0c-0b0a-4908-8706-050403020100",
  "--hostid",
  "3f0e0d0c-0b0a-4908-8706-050403020100",
];
/** Short, so that a lost path is noticed soon, and what a busy machine keeps; lost writes are held for the keep-alive timeout. */
const TIMES = [
  ...["--keep-alive", "2s", "--io-timeout", "2s", "--connect-timeout", "5s"],
  ...["--reconnect-delay", "20ms", "--reconnect-delay-max", "100ms"],
];
const COMMAND_MS_MAX = 90_000;
const WAIT_MS_MAX = 60_000;
const SETTLE_MS_MAX = 30_000;

/**
 * The target has two listeners, or one for each path of a network. What is done here takes at most a minute and a half a
 * command, whatever hangs.
 */
export class LoopRig implements AsyncDisposable {
  readonly cli: Cli;
  readonly target: Served;
  /** Words before `umpath`, so that it runs at the host's end of the network. */
  readonly #launcher: string[];
  readonly #children: Deno.ChildProcess[] = [];
  #isTargetEnded = false;

  private constructor(cli: Cli, target: Served, launcher: string[]) {
    this.cli = cli;
    this.target = target;
    this.#launcher = launcher;
  }

  /** Starts the target; `words` say what it serves, over `network` or this machine's loopback. */
  static async start(words: string[] = ["--ram", "64M"], network?: Network): Promise<LoopRig> {
    const cli = new Cli();
    try {
      const where = network === undefined ? {} : { at: network.portals, launcher: network.enter("storage") };
      return new LoopRig(cli, await Served.start(cli, { nqn: NQN, words, ...where }), network?.enter("host") ?? []);
    } catch (error) {
      await cli[Symbol.asyncDispose]();
      throw error;
    }
  }

  /** A folder that other users may enter. */
  get folder(): string {
    return this.cli.folder;
  }

  /** Runs a program in the environment that `umpath` gets. */
  run(program: string, ...args: string[]): Promise<RunResult> {
    return runProcess(program, args, { timeoutMs: COMMAND_MS_MAX, env: { UMPATH_RUN_DIR: this.cli.runDir } });
  }

  umpath(...args: string[]): Promise<RunResult> {
    const [program, ...words] = [...this.#launcher, UMPATH, ...args];
    return this.run(program!, ...words);
  }

  /** Runs a program that has to succeed; what it prints. */
  async ok(program: string, ...args: string[]): Promise<string> {
    const { code, stdout, stderr } = await this.run(program, ...args);
    assertEquals(code, 0, `${program} ${args.join(" ")}: ${stderr}`);
    return stdout.trim();
  }

  /** Starts a program that is killed at the end of the test if it still runs. */
  start(program: string, ...args: string[]): Deno.ChildProcess {
    const env = { UMPATH_RUN_DIR: this.cli.runDir };
    const child = new Deno.Command(program, { args, env, stdin: "piped", stdout: "null", stderr: "null" }).spawn();
    this.#children.push(child);
    return child;
  }

  /** Starts a daemon that stays. */
  async daemon(): Promise<Deno.ChildProcess> {
    const child = this.start(UMPATH, "daemon", "--workers", "2", "--log-file", `${this.cli.runDir}/daemon.log`);
    for (const end = Date.now() + WAIT_MS_MAX; await ask("info", {}, { dir: runDirAt(this.cli.runDir) }) === null;) {
      if (Date.now() > end) fail("The daemon does not answer");
      await delay(20);
    }
    return child;
  }

  /** Attaches by all listeners. */
  attach(...words: string[]): Promise<RunResult> {
    const paths = this.target.portals.flatMap(({ words }) => ["-p", words]);
    return this.umpath("attach", NQN, ...paths, ...HOST, ...TIMES, "--device", "loop", ...words);
  }

  /** The same, which has to succeed without a word; the device. */
  async device(...words: string[]): Promise<string> {
    const { code, stdout, stderr } = await this.attach(...words);
    assertEquals([code, stderr], [0, ""], this.log());
    return stdout.trim();
  }

  async volume(): Promise<VolumeInfo> {
    const list = await ask("list", {}, { dir: runDirAt(this.cli.runDir) });
    return list?.volumes[0] ?? fail("The volume is gone");
  }

  /** Waits until the volume is as it should be. */
  async when(what: string, holds: (volume: VolumeInfo) => boolean): Promise<void> {
    for (const end = Date.now() + WAIT_MS_MAX; !holds(await this.volume()); await delay(20)) {
      if (Date.now() > end) fail(`Still not ${what}: ${JSON.stringify((await this.volume()).paths)}\n${this.log()}`);
    }
  }

  /** Adds or removes a listener of the target, by its index. */
  async listener(verb: "add" | "remove", index: number): Promise<void> {
    const { code, stderr } = await this.target.target("listener", verb, this.target.portals[index]!.words);
    assertEquals(code, 0, stderr);
  }

  /** How often the target has met each of these commands while `work` was done. */
  async counted(ops: string[], work: () => Promise<unknown>): Promise<number[]> {
    await this.target.fault(...ops.map((op) => `*:delay=1ms..2ms,op=${op}`));
    await work();
    const { code, stdout, stderr } = await this.target.target("fault", "--json");
    assertEquals(code, 0, stderr);
    await this.target.fault("clear");
    return (JSON.parse(stdout).faults as { hits: number }[]).map(({ hits }) => hits);
  }

  async endTarget(): Promise<void> {
    this.#isTargetEnded = true;
    await this.target.end();
  }

  /** Kills the daemon. */
  killDaemon(): void {
    Deno.kill(this.cli.daemonPid() ?? fail("No daemon runs"), "SIGKILL");
  }

  log(): string {
    try {
      return Deno.readTextFileSync(`${this.cli.runDir}/daemon.log`);
    } catch {
      return "(no log)";
    }
  }

  /** What is there of volumes, the target's own aside. */
  left(): string[] {
    const traces = { folder: this.folder, runDir: this.cli.runDir, device: null, portals: [] };
    const own = this.#isTargetEnded ? "" : `process ${this.target.pid} `;
    return leftovers(traces).filter((words) => !words.startsWith(own || "?") && !/serve-\d+\.sock/.test(words));
  }

  /** Fails unless nothing of any volume is left, or soon will be. */
  async assertNothingLeft(): Promise<void> {
    for (const end = Date.now() + SETTLE_MS_MAX; this.left().length > 0 && Date.now() < end;) await delay(20);
    assertEquals(this.left(), [], this.log());
    assertEquals(this.files(), []);
  }

  /** The files that loop devices are over. */
  files(): string[] {
    try {
      return [...Deno.readDirSync(`${this.cli.runDir}/loop`)].map(({ name }) => name);
    } catch {
      return [];
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    const failures: unknown[] = [];
    const attempt = async (step: () => unknown) => {
      try {
        await step();
      } catch (error) {
        failures.push(error);
      }
    };
    for (const child of this.#children) await attempt(() => endChild(child));
    await attempt(() => unmountAll(this.folder, (mount) => !mount.startsWith(this.cli.runDir)));
    await attempt(async () => assertEquals((await this.umpath("detach", "--all", "--force")).code, 0));
    await attempt(() => this.assertNothingLeft());
    if (!this.#isTargetEnded) await attempt(() => this.endTarget());
    // By now there is nothing to do, or umpath has failed to do it.
    const pid = this.cli.daemonPid();
    if (pid !== null) await attempt(() => Deno.kill(pid, "SIGKILL"));
    await attempt(() => unmountAll(this.folder, () => true));
    await attempt(() => freeLoops(this.folder));
    await attempt(() => this.cli[Symbol.asyncDispose]());
    if (failures.length > 0) throw new AggregateError(failures, failures.map(String).join("\n"));
  }
}

async function endChild(child: Deno.ChildProcess): Promise<void> {
  try {
    child.kill("SIGKILL");
  } catch {
    // it has ended
  }
  await child.stdin.close().catch(() => {});
  await child.status;
}

function unmountAll(folder: string, isMeant: (mount: string) => boolean): void {
  const mounts = Deno.readTextFileSync("/proc/self/mounts").split("\n").map((line) => line.split(" ")[1] ?? "");
  for (const mount of mounts.filter((mount) => mount.startsWith(`${folder}/`) && isMeant(mount))) {
    new Deno.Command("umount", { args: ["-l", "-f", mount], stderr: "null" }).outputSync();
  }
}

function freeLoops(folder: string): void {
  for (const words of leftovers({ folder, runDir: "", device: null, portals: [] })) {
    const device = /^(\/dev\/loop\d+) is over/.exec(words)?.[1];
    if (device !== undefined) new Deno.Command("losetup", { args: ["-d", device] }).outputSync();
  }
}

/** Attribute of a block device in sysfs. */
export function sysfs(device: string, name: string): string {
  return Deno.readTextFileSync(`/sys/block/${device.replace("/dev/", "")}/${name}`).trim();
}
