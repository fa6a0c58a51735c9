/** Servers that are measured: processes of their own in the foreground. */

const END_MS = 20_000;

/** A server in the foreground; it is asked to end, and made to. */
export class ServerProcess implements AsyncDisposable {
  readonly #child: Deno.ChildProcess;
  readonly #words: Promise<string>;
  readonly #line: string;
  #hasEnded = false;

  constructor(command: string, args: string[], env: Record<string, string> = {}) {
    this.#line = [command, ...args].join(" ");
    const how = { args, env, stdin: "null", stdout: "null", stderr: "piped" } as const;
    this.#child = new Deno.Command(command, how).spawn();
    this.#words = new Response(this.#child.stderr).text();
    void this.#child.status.then(() => this.#hasEnded = true);
  }

  get pid(): number {
    return this.#child.pid;
  }

  /** Throws if it has ended already. */
  check(): void {
    if (this.#hasEnded) throw new Error(`${this.#line} has ended`);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    if (this.#hasEnded) throw new Error(`${this.#line} ended before its time: ${await this.#words}`);
    this.#child.kill("SIGTERM");
    const timer = setTimeout(() => this.#child.kill("SIGKILL"), END_MS);
    await this.#child.status;
    clearTimeout(timer);
  }
}

/** Sockets of IPv4 that listen on a port. */
export function listenersAt(port: number): number {
  const LISTEN = "0A";
  const lines = Deno.readTextFileSync("/proc/net/tcp").trim().split("\n").slice(1).map((line) =>
    line.trim().split(/\s+/)
  );
  return lines.filter(([, local, , state]) => state === LISTEN && parseInt(local!.split(":")[1]!, 16) === port).length;
}
