/** Runs dist/umpath with a run folder of its own, and says what is left of its daemon. */
import { assertEquals } from "@std/assert";

/** The packed program. */
export const UMPATH = new URL("../../dist/umpath", import.meta.url).pathname;

/** No command here takes nearly so long; one that does is killed, and its exit code tells. */
const RUN_MS_MAX = 60_000;

/** How a command ended. */
export interface Result {
  code: number;
  stdout: string;
  stderr: string;
  seconds: number;
}

/** A run folder and what is started in it. */
export class Cli implements AsyncDisposable {
  /** A folder that other users may enter; the run folder is in it. */
  readonly folder = Deno.makeTempDirSync({ prefix: "umpath-cli-" });
  readonly runDir = `${this.folder}/run`;

  /** Runs `umpath` with these words. */
  run(...args: string[]): Promise<Result> {
    return this.runProgram([UMPATH, ...args]);
  }

  /** Runs any program in the environment that `umpath` gets. */
  async runProgram([program, ...args]: [string, ...string[]], env: Record<string, string> = {}): Promise<Result> {
    const started = performance.now();
    const child = new Deno.Command(program, {
      args,
      clearEnv: true,
      env: { PATH: "/usr/sbin:/usr/bin:/sbin:/bin", UMPATH_RUN_DIR: this.runDir, ...env },
      stdin: "null",
      stdout: "piped",
      stderr: "piped",
    }).spawn();
    const timer = setTimeout(() => child.kill("SIGKILL"), RUN_MS_MAX);
    const { code, stdout, stderr } = await child.output();
    clearTimeout(timer);
    const decoder = new TextDecoder();
    const seconds = (performance.now() - started) / 1000;
    return { code, stdout: decoder.decode(stdout), stderr: decoder.decode(stderr), seconds };
  }

  /** Starts `umpath` and leaves it running. */
  start(...args: string[]): Deno.ChildProcess {
    const env = { PATH: "/usr/bin:/bin", UMPATH_RUN_DIR: this.runDir };
    return new Deno.Command(UMPATH, { args, clearEnv: true, env, stdin: "null", stdout: "null", stderr: "piped" })
      .spawn();
  }

  /** The process that serves the run folder, or null. */
  daemonPid(): number | null {
    try {
      const pid = Number.parseInt(Deno.readTextFileSync(`${this.runDir}/daemon.lock`), 10);
      const environment = Deno.readTextFileSync(`/proc/${pid}/environ`).split("\0");
      return environment.includes(`UMPATH_RUN_DIR=${this.runDir}`) ? pid : null;
    } catch {
      return null;
    }
  }

  /** Fails unless the daemon leaves soon, and its socket with it. */
  async assertNoDaemonIsLeft(): Promise<void> {
    await until(() => this.daemonPid() === null);
    assertEquals(this.daemonPid(), null, `a daemon is left; its log:\n${this.#log()}`);
    assertEquals([...Deno.readDirSync(this.runDir)].some(({ name }) => name.endsWith(".sock")), false);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    const pid = this.daemonPid();
    if (pid !== null) Deno.kill(pid, "SIGKILL");
    await until(() => this.daemonPid() === null);
    Deno.removeSync(this.folder, { recursive: true });
  }

  #log(): string {
    try {
      return Deno.readTextFileSync(`${this.runDir}/daemon.log`);
    } catch {
      return "(none)";
    }
  }
}

/** Waits until `holds`, at most 10 s. */
export async function until(holds: () => boolean): Promise<void> {
  const deadline = Date.now() + 10_000;
  while (!holds() && Date.now() < deadline) await new Promise((resolve) => setTimeout(resolve, 20));
}

/** A TCP port on 127.0.0.1 that does `serve` with whoever connects. */
export class Port implements AsyncDisposable {
  readonly #listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  readonly #connections = new Set<Deno.Conn>();
  readonly #accepting: Promise<void>;
  /** Connections so far. */
  accepted = 0;

  constructor(serve: (connection: Deno.Conn) => Promise<void>) {
    this.#accepting = this.#acceptAll(serve);
  }

  /** Address and port as a path. */
  get path(): string {
    return `127.0.0.1:${this.#listener.addr.port}`;
  }

  async #acceptAll(serve: (connection: Deno.Conn) => Promise<void>): Promise<void> {
    try {
      for await (const connection of this.#listener) {
        this.accepted++;
        this.#connections.add(connection);
        serve(connection).catch(() => {}); // what umpath does to the connection is its own affair
      }
    } catch (error) {
      if (!(error instanceof Deno.errors.BadResource)) throw error;
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#listener.close();
    for (const connection of this.#connections) {
      try {
        connection.close();
      } catch {
        continue; // it was closed by `serve`
      }
    }
    await this.#accepting;
  }
}
