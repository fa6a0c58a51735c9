/** The commands' end of the control socket. */
import { messageOf, UmpathError } from "../base/errors.ts";
import { logger, relayLog } from "../base/log.ts";
import { quote } from "../base/text.ts";
import { formatDuration } from "../base/units.ts";
import { VERSION } from "../base/version.ts";
import type { Api, Method } from "./host_api.ts";
import { encodeLine, parseLine, readLines, writeAll } from "./lines.ts";
import { checkRunDir, lockHolder, RUN_AS_ROOT, type RunDir, runDir } from "./run_dir.ts";

/** An answer lists every volume and path; this is thousands of them. */
const ANSWER_BYTES_MAX = 64 * 1024 * 1024;
const TIMEOUT_DEFAULT_MS = 10_000;
/** A daemon that lives makes its socket anew within this time if it was removed. */
const LISTEN_MS_MAX = 7_000;
const LISTEN_POLL_MS = 20;
/** A daemon that is leaving may drop a request once; one that drops three has a fault. */
const TRIES_MAX = 3;
/** How long a request that was called off may take to be undone. */
const CANCEL_MS_MAX = 10_000;
/** Asked again and again by commands that wait for a daemon: what it logs of that tells nothing. */
const METHOD_OF_POLLS = "info";

const log = logger("control");

/** The daemon ended, or was ended, before it answered. Asking again is safe: no method of ours minds. */
export class DaemonGoneError extends UmpathError {
  override name = "DaemonGoneError";
}

/** Whom to ask. */
export interface ControlPeer {
  socketPath: string;
  /** What errors call it: "the umpath daemon". */
  name: string;
  /** Where its last words are. */
  logWords: string;
}

/** How to ask. */
export interface CallOptions {
  /** How long the whole call may take; 10 s unless told, null: no limit. */
  timeoutMs?: number | null;
  /** Gets each warning as it comes. */
  onWarning?: (message: string) => void;
  dir?: RunDir;
  /** Calls the request off once it is aborted: what it has begun is undone before the answer, an error, comes. */
  cancel?: AbortSignal;
}

/** The answer of the daemon, or null if no daemon runs. Throws what the daemon answered as error. */
export async function call<M extends Method>(
  method: M,
  params: Api[M]["params"],
  options: CallOptions = {},
): Promise<Api[M]["result"] | null> {
  const dir = options.dir ?? runDir();
  if (!checkRunDir(dir)) return null;
  const peer = daemonAt(dir);
  for (const deadline = Date.now() + Math.min(LISTEN_MS_MAX, options.timeoutMs ?? Infinity);;) {
    const answer = await callPeer(peer, { method, params }, options);
    // Nobody listens; but one who has the lock is about to, or about to leave, or its socket was removed.
    const pid = answer === null ? lockHolder(dir) : null;
    if (pid === null) return answer as Api[M]["result"] | null;
    if (Date.now() > deadline) throw deaf(dir, pid);
    await new Promise((resolve) => setTimeout(resolve, LISTEN_POLL_MS));
  }
}

/** Asks a daemon that runs, or gives null. A daemon that leaves at that very moment counts as none. */
export async function ask<M extends Method>(
  method: M,
  params: Api[M]["params"],
  options: CallOptions = {},
): Promise<Api[M]["result"] | null> {
  for (let tries = 1;; tries++) {
    try {
      return await call(method, params, options);
    } catch (error) {
      if (!(error instanceof DaemonGoneError) || tries === TRIES_MAX) throw error;
    }
  }
}

function daemonAt(dir: RunDir): ControlPeer {
  const logWords = `${runDir().logPath} or the journal`;
  return { socketPath: dir.socketPath, name: "the umpath daemon", logWords };
}

function deaf(dir: RunDir, pid: number): UmpathError {
  const message = `Cannot talk to the umpath daemon, process ${pid}: it does not listen at ${quote(dir.socketPath)}`;
  return new UmpathError("timed-out", message, { hint: `Make it listen there anew: kill -HUP ${pid}` });
}

/** The answer of whoever listens there, or null if nobody does. Throws what it answered as error. */
export async function callPeer(
  peer: ControlPeer,
  { method, params }: { method: string; params: unknown },
  options: CallOptions = {},
): Promise<unknown> {
  if (options.cancel?.aborted) throw calledOff(method);
  const socket = await connect(peer);
  if (socket === null) return null;
  using session = new Session(socket, peer);
  return await session.call(method, params, options);
}

/** Requests of one client over one connection: the daemon answers each as it is done, and undoes all if it is cut. */
export interface ControlSession extends Disposable {
  /** As {@linkcode call}, of a daemon that runs. An abort of `cancel` calls all requests of the session off. */
  call<M extends Method>(method: M, params: Api[M]["params"], options?: CallOptions): Promise<Api[M]["result"]>;
}

/** A session with the daemon, or null if none runs. */
export async function openSession(dir: RunDir): Promise<ControlSession | null> {
  if (!checkRunDir(dir)) return null;
  const peer = daemonAt(dir);
  const socket = await connect(peer);
  return socket === null ? null : new Session(socket, peer) as ControlSession;
}

/** A request without an answer yet. */
interface Pending {
  method: string;
  onWarning: ((message: string) => void) | undefined;
  resolve(result: unknown): void;
  reject(error: unknown): void;
}

/** One connection: sends requests, and gives each its answer. */
class Session implements Disposable {
  readonly #socket: Deno.UnixConn;
  readonly #peer: ControlPeer;
  readonly #pending = new Map<number, Pending>();
  #requests = 0;
  #sending: Promise<void> = Promise.resolve();
  #isEnded = false;

  constructor(socket: Deno.UnixConn, peer: ControlPeer) {
    this.#socket = socket;
    this.#peer = peer;
    void this.#read();
  }

  [Symbol.dispose](): void {
    this.#isEnded = true;
    closeQuietly(this.#socket);
  }

  async call(method: string, params: unknown, options: CallOptions = {}): Promise<unknown> {
    const timeoutMs = options.timeoutMs === undefined ? TIMEOUT_DEFAULT_MS : options.timeoutMs;
    let timedOut = false;
    const giveUp = () => {
      timedOut = true;
      this[Symbol.dispose]();
    };
    let timer = timeoutMs === null ? undefined : setTimeout(giveUp, timeoutMs);
    const cancel = () => {
      clearTimeout(timer);
      timer = setTimeout(giveUp, CANCEL_MS_MAX);
      // The daemon takes this for a client that has left, and undoes what it has begun.
      this.#socket.closeWrite().catch(() => {});
    };
    options.cancel?.addEventListener("abort", cancel);
    if (options.cancel?.aborted) cancel();
    try {
      return await this.#ask({ method, params, onWarning: options.onWarning });
    } catch (error) {
      if (timedOut && options.cancel?.aborted) throw calledOff(method);
      if (timedOut) throw tookTooLong(this.#peer, method, timeoutMs!);
      if (error instanceof UmpathError) throw error;
      throw gone(this.#peer, method, error);
    } finally {
      options.cancel?.removeEventListener("abort", cancel);
      clearTimeout(timer);
    }
  }

  #ask({ method, params, onWarning }: Pick<Pending, "method" | "onWarning"> & { params: unknown }): Promise<unknown> {
    const { promise, resolve, reject } = Promise.withResolvers<unknown>();
    if (this.#isEnded) return Promise.reject(gone(this.#peer, method));
    const id = ++this.#requests;
    this.#pending.set(id, { method, onWarning, resolve, reject });
    const line = encodeLine({ id, version: VERSION, verbose: isVerbose(method), method, params });
    this.#sending = this.#sending.then(() => writeAll(this.#socket, line)).catch(reject);
    return promise;
  }

  async #read(): Promise<void> {
    try {
      for await (const line of readLines(this.#socket, ANSWER_BYTES_MAX)) this.#handle(parseLine(line) as Answer);
      this.#end((method) => gone(this.#peer, method));
    } catch (error) {
      this.#end((method) => error instanceof UmpathError ? error : gone(this.#peer, method, error));
    }
  }

  #handle(answer: Answer): void {
    // Without an id it is about the connection: no request of it is answered.
    if (answer.id === null) return this.#end(() => UmpathError.fromWire(answer.error));
    const pending = this.#pending.get(answer.id);
    if (pending === undefined) return;
    if (answer.warning !== undefined) return pending.onWarning?.(String(answer.warning));
    if (answer.log !== undefined) {
      // Each request that runs is sent the same lines: those of the oldest do.
      if (answer.id !== Math.min(...this.#pending.keys())) return;
      return relayLog(String(answer.log?.level), String(answer.log?.text));
    }
    this.#pending.delete(answer.id);
    if (answer.error !== undefined) pending.reject(UmpathError.fromWire(answer.error));
    else pending.resolve(answer.result);
  }

  #end(reasonOf: (method: string) => unknown): void {
    this.#isEnded = true;
    for (const { method, reject } of this.#pending.values()) reject(reasonOf(method));
    this.#pending.clear();
  }
}

/** A line of the daemon. */
interface Answer {
  id: number | null;
  warning?: unknown;
  log?: { level?: unknown; text?: unknown };
  error?: unknown;
  result?: unknown;
}

async function connect(peer: ControlPeer): Promise<Deno.UnixConn | null> {
  try {
    return await Deno.connect({ transport: "unix", path: peer.socketPath });
  } catch (error) {
    if (error instanceof Deno.errors.NotFound || error instanceof Deno.errors.ConnectionRefused) return null;
    const denied = error instanceof Deno.errors.PermissionDenied;
    const why = denied ? "permission denied" : messageOf(error);
    throw new UmpathError("host-lacks", `Cannot talk to ${peer.name} at ${quote(peer.socketPath)}: ${why}`, {
      hint: denied ? RUN_AS_ROOT : undefined,
      cause: error,
    });
  }
}

/** Whoever wants our debug lines wants those that the peer writes for us too. */
function isVerbose(method: string): boolean | undefined {
  return log.enabled("debug") && method !== METHOD_OF_POLLS ? true : undefined;
}

function gone(peer: ControlPeer, method: string, cause?: unknown): DaemonGoneError {
  return new DaemonGoneError("bug", `${capital(peer.name)} went away before it answered ${quote(method)}`, {
    hint: `See ${peer.logWords} for its last words`,
    cause,
  });
}

function tookTooLong(peer: ControlPeer, method: string, timeoutMs: number): UmpathError {
  const message = `${capital(peer.name)} did not answer ${quote(method)} within ${formatDuration(timeoutMs)}`;
  return new UmpathError("timed-out", message, { hint: `See ${peer.logWords} for what it is doing` });
}

function calledOff(method: string): UmpathError {
  return new UmpathError("interrupted", `Called off: ${method}`);
}

function capital(name: string): string {
  return name[0]!.toUpperCase() + name.slice(1);
}

function closeQuietly(socket: Deno.UnixConn): void {
  try {
    socket.close();
  } catch {
    return;
  }
}
