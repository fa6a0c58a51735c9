/**
 * Starts the daemon when none runs, as a terminal multiplexer starts its server: in a session of its own, so that neither
 * Ctrl-C nor a closed terminal ends it, and with a log file instead of a terminal. It has nothing of its caller's but a
 * pipe for what it says until it has its log. Two that start it at once end up with one daemon: the lock of the run
 * folder decides, and the loser leaves with the exit code of "in-use".
 */
import { type ChildProcess, spawn } from "node:child_process";
import { native } from "../../../ffi/library.ts";
import { joinBytes } from "../../base/bytes.ts";
import { type ErrorCode, EXIT_CODES, UmpathError } from "../../base/errors.ts";
import { logger } from "../../base/log.ts";
import { midSentence } from "../../base/text.ts";
import { formatDuration } from "../../base/units.ts";
import { call, DaemonGoneError } from "../../rpc/client.ts";
import { ensureRunDir, type RunDir } from "../../rpc/run_dir.ts";

const START_MS_MAX = 10_000;
/** For machines that emulate their processor: UMPATH_SLOW is set there. */
const START_SLOW_MS_MAX = 60_000;
const POLL_MS = 20;
/** A loser of the lock whose winner then left tries again after this. */
const RESPAWN_MS = 200;
const LOG_TAIL_LINES = 8;
/** Pieces of what the daemon says until it has its log. */
const SAID_MAX = 64;
/** How long the end of them may take once it has ended. */
const SAID_MS_MAX = 500;
/** Standard input, output and error are told one by one; all others are the caller's or ours. */
const FIRST_DESCRIPTOR_OF_OURS = 3;
/** Variables that the daemon gets: what it was asked for, and what programs and libraries cannot do without. */
const ENVIRONMENT = ["PATH", "HOME", "LANG", "LC_ALL", "TMPDIR", "TZ"];

const log = logger("spawn");

/** Returns once a daemon serves `dir`; throws with the last lines of its log if it does not within `startMsMax`. */
export async function ensureDaemon(dir: RunDir, startMsMax = defaultStartMsMax()): Promise<void> {
  ensureRunDir(dir);
  const deadline = Date.now() + startMsMax;
  while (Date.now() < deadline) {
    if (await answeringPid(dir, deadline) !== null) return;
    const started = new StartedDaemon(dir);
    if (await started.isServed(deadline)) return;
    if (started.exitCode === null) throw await started.tooSlow(startMsMax);
    if (started.exitCode !== EXIT_CODES["in-use"]) throw await started.failure();
    log.debug("Another daemon holds the lock");
    await delay(RESPAWN_MS);
  }
  const message = `No umpath daemon answers after ${formatDuration(startMsMax)}, yet one holds the lock`;
  throw new UmpathError("timed-out", message, { hint: `See ${dir.logPath}` });
}

function defaultStartMsMax(): number {
  return Deno.env.get("UMPATH_SLOW") ? START_SLOW_MS_MAX : START_MS_MAX;
}

/** The words that start this very program again with `args`, however it is being run. */
export function programCommand(args: string[]): [string, ...string[]] {
  if (isPacked()) return [undisguised(Deno.execPath()), ...args];
  const mainPath = decodeURIComponent(new URL(Deno.mainModule).pathname);
  return [undisguised(Deno.execPath()), "run", "-A", "--quiet", mainPath, ...args];
}

/** True in the single binary: compiled, or grafted, where the main module is an open file that has no name. */
export function isPacked(): boolean {
  return Deno.build.standalone || Deno.mainModule.startsWith("file:///proc/self/fd/");
}

/** `spawn` rewrites the arguments of what it takes for `deno`, by its path; the same path in other letters is left alone. */
function undisguised(path: string): string {
  return path.replace(/\/([^/]*)$/, "/./$1");
}

/** One try to start the daemon. */
class StartedDaemon {
  exitCode: number | null = null;
  /** The signal that ended it. */
  #signal: string | null = null;
  /** Why it could not be started at all. */
  #spawnError: Error | null = null;
  readonly #dir: RunDir;
  readonly #logStart: number;
  readonly #process: ChildProcess;
  /** What it has said before it had its log, and where it could not have one. */
  readonly #said: Uint8Array[] = [];
  /** Its standard error is closed: all that it has said there is here. */
  readonly #allSaid: Promise<void>;

  constructor(dir: RunDir) {
    this.#dir = dir;
    this.#logStart = logBytes(dir);
    const [program, ...args] = programCommand(["daemon", "--transient", "--log-file", dir.logPath]);
    native().um_keep_descriptors(FIRST_DESCRIPTOR_OF_OURS);
    this.#process = spawn(program, args, {
      detached: true,
      cwd: "/",
      stdio: ["ignore", "ignore", "pipe"],
      env: daemonEnvironment(dir),
    });
    this.#process.on("error", (error) => {
      this.#spawnError = error;
      this.exitCode ??= EXIT_CODES["host-lacks"];
    });
    this.#process.on("exit", (code, signal) => {
      this.#signal = signal;
      this.exitCode = code ?? EXIT_CODES.bug;
    });
    this.#process.unref();
    const stderr = this.#process.stderr;
    this.#allSaid = new Promise((resolve) => stderr === null ? resolve() : stderr.on("close", resolve));
    stderr?.on("data", (bytes: Uint8Array) => {
      if (this.#said.length < SAID_MAX) this.#said.push(bytes);
    });
    log.debug(`Started ${program} ${args.join(" ")} as process ${this.#process.pid}`);
  }

  /** True once a daemon answers; false when this one has ended or time is up. */
  async isServed(deadline: number): Promise<boolean> {
    while (Date.now() < deadline && this.exitCode === null) {
      const pid = await answeringPid(this.#dir, deadline).catch(nullIfTimedOut);
      if (pid !== null) {
        // One that lost and has not noticed yet could take over when the winner leaves, and serve nobody.
        if (pid !== this.#process.pid) this.#process.kill("SIGTERM");
        this.#process.stderr?.destroy();
        return true;
      }
      await delay(POLL_MS);
    }
    return false;
  }

  async failure(): Promise<UmpathError> {
    const code = (Object.keys(EXIT_CODES) as ErrorCode[]).find((code) => EXIT_CODES[code] === this.exitCode) ?? "bug";
    const { message, hint } = lastWords(await this.#words());
    const why = message?.replace(/^cannot run the umpath daemon: /, "") ?? this.#silence();
    return new UmpathError(code, `Cannot start the umpath daemon: ${why}`, {
      hint: hint ?? this.#logHint(),
    });
  }

  async tooSlow(startMsMax: number): Promise<UmpathError> {
    this.#process.kill("SIGTERM");
    const { message } = lastWords(await this.#words());
    const logWords = message === null ? "its log is empty" : `its log ends with: ${message}`;
    const why = `it does not answer after ${formatDuration(startMsMax)} and was ended; ${logWords}`;
    return new UmpathError("timed-out", `Cannot start the umpath daemon: ${why}`, {
      hint: this.#logHint(),
    });
  }

  /** Where to read more, if it has logged anything. */
  #logHint(): string | undefined {
    return this.#readLog() === "" ? undefined : `Its log is ${this.#dir.logPath}`;
  }

  /** How it ended, of one that said nothing. */
  #silence(): string {
    if (this.#spawnError !== null) return midSentence(UmpathError.from(this.#spawnError).message);
    const how = this.#signal === null ? `with exit code ${this.exitCode}` : `by ${this.#signal}`;
    return `it ended without a word, ${how}`;
  }

  /** What this daemon has said, not those before it: to us, and else in its log. */
  async #words(): Promise<string> {
    await Promise.race([this.#allSaid, delay(SAID_MS_MAX)]);
    this.#process.stderr?.destroy();
    const said = new TextDecoder().decode(joinBytes(this.#said));
    return said.includes("umpath: ") ? said : `${said}${this.#readLog()}`;
  }

  #readLog(): string {
    try {
      const bytes = Deno.readFileSync(this.#dir.logPath);
      return new TextDecoder().decode(bytes.subarray(bytes.length < this.#logStart ? 0 : this.#logStart));
    } catch {
      return "";
    }
  }
}

function logBytes(dir: RunDir): number {
  try {
    return Deno.statSync(dir.logPath).size;
  } catch {
    return 0;
  }
}

/** A daemon that listens and does not answer in time is no other than one that does not listen yet. */
function nullIfTimedOut(error: unknown): null {
  if (error instanceof UmpathError && error.code === "timed-out") return null;
  throw error;
}

/** The error that a daemon ended with, as its command prints it, or else the last lines of its log; null if empty. */
export function lastWords(logText: string): { message: string | null; hint: string | undefined } {
  const lines = logText.trimEnd().split("\n");
  const errorAt = lines.findLastIndex((line) => line.startsWith("umpath: ") && !line.startsWith("umpath: warning: "));
  if (errorAt === -1) {
    const message = lines.slice(-LOG_TAIL_LINES).join("\n");
    return { message: message === "" ? null : message, hint: undefined };
  }
  const message = midSentence(lines[errorAt]!.replace(/^umpath: (a bug in umpath: )?/, ""));
  const hintLine = lines.slice(errorAt + 1).find((line) => line.startsWith("hint: "));
  return { message, hint: hintLine?.slice("hint: ".length) };
}

/** What the daemon is to know of our environment: not whose journal or service we are, nor anybody's secrets. */
function daemonEnvironment(dir: RunDir): Record<string, string> {
  const isMeant = (name: string) => ENVIRONMENT.includes(name) || /^(UMPATH|DENO)_/.test(name);
  const kept = Object.entries(Deno.env.toObject()).filter(([name]) => isMeant(name));
  return { ...Object.fromEntries(kept), UMPATH_RUN_DIR: dir.path };
}

/** The process of the daemon that answers, or null. */
async function answeringPid(dir: RunDir, deadline: number): Promise<number | null> {
  try {
    const info = await call("info", {}, { dir, timeoutMs: Math.max(1, deadline - Date.now()) });
    return info?.pid ?? null;
  } catch (error) {
    if (error instanceof DaemonGoneError) return null;
    throw error;
  }
}

function delay(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms));
}
