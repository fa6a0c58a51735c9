/**
 * Where the demo plays: processes that it starts, waits that end when the user wants no more, and the way back from
 * everything that was made.
 */
import { messageOf, UmpathError } from "../base/errors.ts";
import { formatDuration } from "../base/units.ts";
import { Untrue } from "./claims.ts";

const COMMAND_MS_MAX = 60_000;
const POLL_MS = 25;
/** A command that was told to end gets so long; one that waits for I/O does not hear. */
const END_MS_MAX = 3_000;

/** The user wants no more. */
export class Interrupted extends Error {
  override name = "Interrupted";

  constructor(readonly signal: Deno.Signal) {
    super(`Interrupted by ${signal}`);
  }
}

/** How a command ended. */
export interface CommandResult {
  code: number;
  stdout: string;
  stderr: string;
}

export interface CommandOptions {
  /** Ends in error unless the exit code is 0. */
  check?: boolean;
  timeoutMs?: number;
  /** Runs to its end even if the demo ends early: half of it would leave something behind. */
  isWhole?: boolean;
}

interface Undo {
  what: string;
  undo(): Promise<unknown>;
}

export class Stage {
  /** What commands know of the environment besides what we know. */
  readonly env: Readonly<Record<string, string>>;
  readonly #abort = new AbortController();
  readonly #undos: Undo[] = [];

  constructor(env: Record<string, string>) {
    this.env = env;
  }

  /** The user wants no more: from now on every wait ends with {@linkcode Interrupted}. */
  interrupt(signal: Deno.Signal): void {
    this.fail(new Interrupted(signal));
  }

  /** The demo cannot go on: from now on every wait ends with `error`; the first one counts. */
  fail(error: Error): void {
    this.#abort.abort(error);
  }

  /** Aborted once the demo is to end early. */
  get signal(): AbortSignal {
    return this.#abort.signal;
  }

  // ── the way back ──────────────────────────────────────────────────────────────────────────────────────────────────

  /** Something is there that has to be taken back, and how. What it gives takes it back now, and only once. */
  owe(what: string, undo: () => Promise<unknown>): () => Promise<void> {
    const entry = { what, undo };
    this.#undos.push(entry);
    return async () => {
      const at = this.#undos.indexOf(entry);
      if (at < 0) return;
      this.#undos.splice(at, 1);
      await undo();
    };
  }

  /** Takes everything back, last first, whatever of it fails; what failed, in words. */
  async takeBack(): Promise<string[]> {
    const failures: string[] = [];
    for (let entry = this.#undos.pop(); entry !== undefined; entry = this.#undos.pop()) {
      try {
        await entry.undo();
      } catch (error) {
        failures.push(`Cannot take back ${entry.what}: ${messageOf(error)}`);
      }
    }
    return failures;
  }

  // ── processes ─────────────────────────────────────────────────────────────────────────────────────────────────────

  /** Starts a process in a group of its own, so that Ctrl-C on the terminal reaches only the demo itself. */
  spawn(command: readonly string[], io: { stdout: "piped" | "null"; stderr: "piped" | "null" }): Deno.ChildProcess {
    const [program, ...args] = command;
    try {
      return new Deno.Command(program!, { args, env: this.env, stdin: "null", ...io, detached: true }).spawn();
    } catch (error) {
      const why = error instanceof Deno.errors.NotFound ? "there is no such program" : messageOf(error);
      throw new UmpathError("host-lacks", `Cannot run "${program}": ${why}`, { cause: error });
    }
  }

  /**
   * Runs a command to its end.
   *
   * @throws Untrue if it fails and `check` is given.
   * @throws UmpathError "timed-out", or "host-lacks" if there is no such program.
   * @throws Interrupted, or why else the demo ends early.
   */
  async run(command: readonly string[], options: CommandOptions = {}): Promise<CommandResult> {
    if (!options.isWhole) this.signal.throwIfAborted();
    const child = this.spawn(command, { stdout: "piped", stderr: "piped" });
    const output = child.output();
    const timeoutMs = options.timeoutMs ?? COMMAND_MS_MAX;
    const ended = await this.#endOf(output, timeoutMs, options.isWhole ?? false);
    if (ended === null) {
      await endProcess(child, END_MS_MAX);
      this.signal.throwIfAborted();
      throw new UmpathError("timed-out", `"${command.join(" ")}" has not ended after ${formatDuration(timeoutMs)}`);
    }
    const decoder = new TextDecoder();
    const result = { code: ended.code, stdout: decoder.decode(ended.stdout), stderr: decoder.decode(ended.stderr) };
    if (options.check && result.code !== 0) throw new Untrue(failureWords(command, result));
    return result;
  }

  /** What the command gave; null if time is up or, unless `isWhole`, the demo is to end. */
  async #endOf(
    output: Promise<Deno.CommandOutput>,
    timeoutMs: number,
    isWhole: boolean,
  ): Promise<Deno.CommandOutput | null> {
    const { promise, resolve } = Promise.withResolvers<null>();
    const timer = setTimeout(resolve, timeoutMs, null);
    const stop = () => resolve(null);
    if (!isWhole) this.signal.addEventListener("abort", stop);
    try {
      return await Promise.race([output, promise]);
    } finally {
      clearTimeout(timer);
      this.signal.removeEventListener("abort", stop);
    }
  }

  // ── waits ─────────────────────────────────────────────────────────────────────────────────────────────────────────

  /** What `work` gives, unless the demo is to end before that. What then becomes of the work is up to the way back. */
  async unlessEnded<T>(work: Promise<T>): Promise<T> {
    work.catch(() => {});
    this.signal.throwIfAborted();
    const { promise, resolve } = Promise.withResolvers<void>();
    const stop = () => resolve();
    this.signal.addEventListener("abort", stop);
    await Promise.race([work, promise]);
    this.signal.removeEventListener("abort", stop);
    this.signal.throwIfAborted();
    return await work;
  }

  /** @throws Interrupted */
  async pause(ms: number): Promise<void> {
    this.signal.throwIfAborted();
    const { promise, resolve } = Promise.withResolvers<void>();
    const timer = setTimeout(resolve, Math.max(0, ms));
    const stop = () => resolve();
    this.signal.addEventListener("abort", stop);
    await promise;
    clearTimeout(timer);
    this.signal.removeEventListener("abort", stop);
    this.signal.throwIfAborted();
  }

  /**
   * Asks until the answer is neither null, undefined nor false, and gives it.
   *
   * @throws Untrue `Still not after …: what` when time is up.
   * @throws Interrupted
   */
  async eventually<T>(
    what: string,
    ask: () => T | Promise<T>,
    timeoutMs: number,
  ): Promise<Exclude<T, null | undefined | false>> {
    for (const deadlineMs = performance.now() + timeoutMs;;) {
      const answer = await ask();
      if (answer !== null && answer !== undefined && answer !== false) {
        return answer as Exclude<T, null | undefined | false>;
      }
      if (performance.now() > deadlineMs) throw new Untrue(`After ${formatDuration(timeoutMs)} still not: ${what}`);
      await this.pause(POLL_MS);
    }
  }
}

/** Ends a process: asks it to, and kills it if it does not within `timeoutMs`. True if it ended by itself. */
export async function endProcess(child: Deno.ChildProcess, timeoutMs: number): Promise<boolean> {
  if (await endsWithin(child, 0)) return true;
  signalProcess(child, "SIGTERM");
  if (await endsWithin(child, timeoutMs)) return true;
  signalProcess(child, "SIGKILL");
  await endsWithin(child, timeoutMs);
  return false;
}

async function endsWithin(child: Deno.ChildProcess, timeoutMs: number): Promise<boolean> {
  const { promise, resolve } = Promise.withResolvers<false>();
  const timer = setTimeout(resolve, timeoutMs, false);
  const ended = await Promise.race([child.status.then(() => true), promise]);
  clearTimeout(timer);
  return ended;
}

function signalProcess(child: Deno.ChildProcess, signal: Deno.Signal): void {
  try {
    child.kill(signal);
  } catch {
    return; // it has ended
  }
}

function failureWords(command: readonly string[], { code, stdout, stderr }: CommandResult): string {
  const words = (stderr.trim() || stdout.trim()).split("\n").slice(-8).join("\n");
  return `"${command.join(" ")}" ended with exit code ${code}${words === "" ? "" : `: ${words}`}`;
}
