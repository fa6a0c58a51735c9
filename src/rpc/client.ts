/** The commands' end of the control socket: one request a connection. */
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
  const logWords = `${runDir().logPath} or the journal`;
  const peer = { socketPath: dir.socketPath, name: "the umpath daemon", logWords };
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
  const timeoutMs = options.timeoutMs === undefined ? TIMEOUT_DEFAULT_MS : options.timeoutMs;
  let timedOut = false;
  const giveUp = () => {
    timedOut = true;
    closeQuietly(socket);
  };
  let timer = timeoutMs === null ? undefined : setTimeout(giveUp, timeoutMs);
  const cancel = () => {
    clearTimeout(timer);
    timer = setTimeout(giveUp, CANCEL_MS_MAX);
    // The daemon takes this for a client that has left, and undoes what it has begun.
    socket.closeWrite().catch(() => {});
  };
  options.cancel?.addEventListener("abort", cancel);
  if (options.cancel?.aborted) cancel();
  try {
    return await converse(socket, { peer, method, params, onWarning: options.onWarning });
  } catch (error) {
    if (timedOut && options.cancel?.aborted) throw calledOff(method);
    if (timedOut) throw tookTooLong(peer, method, timeoutMs!);
    if (error instanceof UmpathError) throw error;
    throw gone(peer, method, error);
  } finally {
    options.cancel?.removeEventListener("abort", cancel);
    clearTimeout(timer);
    closeQuietly(socket);
  }
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

interface Question {
  peer: ControlPeer;
  method: string;
  params: unknown;
  onWarning: ((message: string) => void) | undefined;
}

async function converse(socket: Deno.UnixConn, question: Question): Promise<unknown> {
  const { peer, method, params, onWarning } = question;
  await writeAll(socket, encodeLine({ id: 1, version: VERSION, verbose: isVerbose(method), method, params }));
  for await (const line of readLines(socket, ANSWER_BYTES_MAX)) {
    const answer = parseLine(line) as {
      warning?: unknown;
      log?: { level?: unknown; text?: unknown };
      error?: unknown;
      result?: unknown;
    };
    if (answer.warning !== undefined) onWarning?.(String(answer.warning));
    else if (answer.log !== undefined) relayLog(String(answer.log?.level), String(answer.log?.text));
    else if (answer.error !== undefined) throw UmpathError.fromWire(answer.error);
    else return answer.result;
  }
  throw gone(peer, method);
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
