/** A storage system in memory: `umpath serve`, with two portals on loopback addresses. */
import { UmpathError } from "../base/errors.ts";
import { formatDuration, formatSize } from "../base/units.ts";
import { Untrue } from "./claims.ts";
import { endProcess, type Stage } from "./stage.ts";
import { type Deed, type Portal, portalWords, type Storage } from "./storage.ts";

const NQN = "nqn.2026-11.io.umpath:demo";
const ADDRESSES = ["127.0.0.1", "127.0.0.2"];
/** Ports that no connection is given as its source: a host that tries a lost portal again would meet itself. */
const PORT_MIN = 20_000;
const PORT_MAX = 30_000;
const PORT_TRIES_MAX = 20;

const READY_MS_MAX = 30_000;
const END_MS_MAX = 10_000;
const LOG_LINES_MAX = 200;

export class ServedStorage implements Storage {
  readonly nqn = NQN;
  readonly uuid = null;
  readonly sizeBytes: number;
  readonly portals: readonly Portal[];
  readonly #stage: Stage;
  readonly #program: readonly string[];
  readonly #process: Deno.ChildProcess;
  readonly #log: string[] = [];
  readonly #takeBack: () => Promise<void>;
  #isEnding = false;

  /** The command as it is typed, for a storage system that is not there yet. */
  static words(portals: readonly Portal[], sizeBytes: number): string[] {
    const listen = portals.flatMap((portal) => ["--listen", portalWords(portal)]);
    return ["serve", "--ram", `${sizeBytes / 2 ** 20}M`, "--nqn", NQN, ...listen];
  }

  /**
   * Starts it and waits until it listens.
   *
   * @throws UmpathError what `umpath serve` says.
   */
  static async start(
    stage: Stage,
    options: { program: readonly string[]; portals: readonly Portal[]; sizeBytes: number },
  ): Promise<ServedStorage> {
    const storage = new ServedStorage(stage, options);
    await storage.#untilReady();
    return storage;
  }

  private constructor(
    stage: Stage,
    options: { program: readonly string[]; portals: readonly Portal[]; sizeBytes: number },
  ) {
    this.#stage = stage;
    this.#program = options.program;
    this.portals = options.portals;
    this.sizeBytes = options.sizeBytes;
    const words = ServedStorage.words(options.portals, options.sizeBytes);
    this.#process = stage.spawn([...options.program, ...words], { stdout: "piped", stderr: "piped" });
    this.#takeBack = stage.owe("the storage system", () => this.#end());
    void this.#keepLog();
  }

  /** Of umpath itself. */
  get pid(): number {
    return this.#process.pid;
  }

  async #keepLog(): Promise<void> {
    for await (const line of linesOf(this.#process.stderr)) {
      this.#log.push(line);
      if (this.#log.length > LOG_LINES_MAX) this.#log.shift();
    }
  }

  /** It prints a line for each portal once it listens there. */
  async #untilReady(): Promise<void> {
    const ready = Promise.withResolvers<void>();
    void this.#readOutput(() => ready.resolve());
    void this.#process.status.then(({ code }) => this.#handleEnd(code));
    const timer = setTimeout(() => {
      this.#stage.fail(new UmpathError("timed-out", `umpath serve is not up after ${formatDuration(READY_MS_MAX)}`));
    }, READY_MS_MAX);
    try {
      await this.#stage.unlessEnded(ready.promise);
    } finally {
      clearTimeout(timer);
    }
  }

  async #readOutput(onReady: () => void): Promise<void> {
    let found = 0;
    for await (const _line of linesOf(this.#process.stdout)) {
      if (++found === this.portals.length) onReady();
    }
  }

  /** It is to live as long as the demo: without it every wait is in vain. */
  #handleEnd(code: number): void {
    if (this.#isEnding) return;
    const words = this.#log.findLast((line) => line.startsWith("umpath: ")) ?? this.#log.at(-1) ?? "it said nothing";
    this.#stage.fail(new Untrue(`umpath serve has ended with exit code ${code}: ${words}`));
  }

  /** Connections to the portal are reset, and nobody listens there. */
  lose(index: number): Promise<Deed> {
    return this.#setListener("remove", index);
  }

  restore(index: number): Promise<Deed> {
    return this.#setListener("add", index);
  }

  async #setListener(verb: "add" | "remove", index: number): Promise<Deed> {
    const portal = portalWords(this.portals[index]!);
    const words = ["target", "listener", verb, portal];
    await this.#stage.run([...this.#program, ...words], { check: true });
    const what = verb === "add" ? "is back" : "is gone: its connections are reset, nobody listens there";
    return { command: `umpath ${words.join(" ")}`, words: `Portal ${portal} ${what}` };
  }

  async close(): Promise<void> {
    await this.#takeBack();
  }

  /** @throws Error if it does not end in order. */
  async #end(): Promise<void> {
    this.#isEnding = true;
    const inTime = await endProcess(this.#process, END_MS_MAX);
    const { code, signal } = await this.#process.status;
    if (!inTime) throw new Error(`umpath serve did not end within ${formatDuration(END_MS_MAX)} and was killed`);
    if (code !== 0) throw new Error(`umpath serve ended with ${signal ?? `exit code ${code}`}`);
  }

  log(): string[] {
    return this.#log;
  }
}

/** Portals on which nobody listens now, on addresses of this host alone. */
export function freePortals(): Portal[] {
  for (let tries = 0; tries < PORT_TRIES_MAX; tries++) {
    const port = PORT_MIN + crypto.getRandomValues(new Uint16Array(1))[0]! % (PORT_MAX - PORT_MIN);
    if (ADDRESSES.every((addr) => isFree(addr, port))) return ADDRESSES.map((addr) => ({ addr, port }));
  }
  throw new UmpathError(
    "host-lacks",
    `Cannot find a free port from ${PORT_MIN} to ${PORT_MAX} on ${ADDRESSES.join(" and ")}`,
  );
}

function isFree(hostname: string, port: number): boolean {
  try {
    Deno.listen({ hostname, port }).close();
    return true;
  } catch {
    return false;
  }
}

/** What is served, for people. */
export function servedWords(sizeBytes: number, pid: number): string {
  return `A storage system: process ${pid} serves ${formatSize(sizeBytes)} of its memory over NVMe/TCP`;
}

async function* linesOf(stream: ReadableStream<Uint8Array<ArrayBuffer>>): AsyncGenerator<string> {
  let rest = "";
  for await (const text of stream.pipeThrough(new TextDecoderStream())) {
    const lines = (rest + text).split("\n");
    rest = lines.pop() ?? "";
    yield* lines;
  }
  if (rest !== "") yield rest;
}
