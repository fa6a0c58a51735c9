/** `umpath serve` with a run folder of its own, and what is left of it. */
import { assert, assertEquals } from "@std/assert";
import { eventually, openSockets } from "./host/host_fixture.ts";
import { type Cli, type Result, UMPATH } from "./cli_fixture.ts";

const READY_MS_MAX = 60_000;
const END_MS_MAX = 60_000;
const PORT = 4420;

/** Where the target listens. */
export interface ServedPortal {
  readonly hostname: string;
  readonly port: number;
  /** As the command line names it. */
  readonly words: string;
}

export interface ServedOptions {
  nqn: string;
  portals?: number;
  /** Listens there, as another target did before. */
  at?: readonly ServedPortal[];
  /** Further words of `umpath serve`. */
  words?: string[];
  /** Words before the program, of one that starts it somewhere else. */
  launcher?: readonly string[];
}

/** A running target. It has to end by itself with exit code 0 when it is asked to. */
export class Served implements AsyncDisposable {
  readonly nqn: string;
  readonly portals: readonly ServedPortal[];
  readonly #cli: Cli;
  readonly #process: Deno.ChildProcess;
  readonly #log: Promise<string>;
  #isKilled = false;

  private constructor(cli: Cli, options: ServedOptions) {
    this.nqn = options.nqn;
    // Addresses of its own, so that tests which run at one time, or after a crash, do not meet.
    const random = crypto.getRandomValues(new Uint8Array(2));
    const network = `127.${16 + random[0]! % 200}.${random[1]}`;
    this.portals = options.at ?? Array.from({ length: options.portals ?? 2 }, (_, i) => {
      const hostname = `${network}.${i + 1}`;
      return { hostname, port: PORT, words: `${hostname}:${PORT}` };
    });
    const listen = this.portals.flatMap(({ words }) => ["--listen", words]);
    this.#cli = cli;
    const serve = [UMPATH, "serve", "--nqn", options.nqn, ...listen, ...(options.words ?? ["--ram", "64M"])];
    const [program, ...args] = [...options.launcher ?? [], ...serve];
    this.#process = new Deno.Command(program!, {
      args,
      clearEnv: true,
      env: { PATH: "/usr/bin:/bin", UMPATH_RUN_DIR: cli.runDir },
      stdin: "null",
      stdout: "piped",
      stderr: "piped",
    }).spawn();
    this.#log = new Response(this.#process.stderr).text();
  }

  /** Starts it and waits until it listens. */
  static async start(cli: Cli, options: ServedOptions): Promise<Served> {
    const served = new Served(cli, options);
    await served.#ready();
    return served;
  }

  /** It prints a line for each portal once it listens there. */
  async #ready(): Promise<void> {
    const reader = this.#process.stdout.pipeThrough(new TextDecoderStream()).getReader();
    const timer = setTimeout(() => this.#process.kill("SIGKILL"), READY_MS_MAX);
    for (let text = ""; text.split("\n").length <= this.portals.length;) {
      const { value, done } = await reader.read();
      if (done) throw new Error(`umpath serve has ended: ${await this.#log}`);
      text += value;
    }
    clearTimeout(timer);
    void (async () => {
      while (!(await reader.read()).done);
    })().catch(() => {});
  }

  get pid(): number {
    return this.#process.pid;
  }

  /** Runs `umpath target` with these words. */
  target(...words: string[]): Promise<Result> {
    return this.#cli.run("target", ...words);
  }

  /** Sets faults; they take the place of those before. */
  async fault(...words: string[]): Promise<void> {
    const { code, stderr } = await this.target("fault", ...words);
    assertEquals(code, 0, stderr);
  }

  /** What the process has open, and how many threads it has. */
  census(): { descriptors: number; sockets: number; threads: number } {
    const descriptors = [...Deno.readDirSync(`/proc/${this.pid}/fd`)].length;
    const threads = [...Deno.readDirSync(`/proc/${this.pid}/task`)].length;
    return { descriptors, sockets: openSockets(this.pid), threads };
  }

  /** Fails unless no more is open soon than there was. */
  async assertCensus(before: { descriptors: number; sockets: number; threads: number }): Promise<void> {
    const what = `no more is open than ${JSON.stringify(before)}`;
    const { descriptors, sockets } = before;
    await eventually(what, () => this.census().descriptors <= descriptors && this.census().sockets <= sockets);
    const { threads } = this.census();
    assert(threads <= before.threads + 2, `${threads} threads, ${before.threads} before`);
  }

  /** Memory that is resident, in bytes. */
  residentBytes(): number {
    return Number(Deno.readTextFileSync(`/proc/${this.pid}/statm`).split(" ")[1]) * 4096;
  }

  /** Ends it with SIGKILL. */
  async kill(): Promise<void> {
    this.#isKilled = true;
    this.#process.kill("SIGKILL");
    await this.#process.status;
  }

  /** Ends it, which it has to do by itself and soon. Its log. */
  async end(): Promise<string> {
    try {
      this.#process.kill("SIGTERM");
    } catch {
      // it has ended: its status tells how
    }
    const timer = setTimeout(() => this.#process.kill("SIGKILL"), END_MS_MAX);
    const { code, signal } = await this.#process.status;
    clearTimeout(timer);
    const log = await this.#log;
    if (this.#isKilled) return log;
    assertEquals([code, signal], [0, null], `umpath serve did not end as it should; its log:\n${log}`);
    return log;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.end();
  }
}
