/** The commands' end of the control socket: one request a connection. */
import { messageOf, UmpathError } from "../base/errors.ts";
import { quote } from "../base/text.ts";
import { formatDuration } from "../base/units.ts";
import type { Api, Method } from "./api.ts";
import { encodeLine, parseLine, readLines, writeAll } from "./control_lines.ts";
import { checkRunDir, RUN_AS_ROOT, type RunDir, runDir } from "./run_dir.ts";

/** An answer lists every volume and path; this is thousands of them. */
const ANSWER_BYTES_MAX = 64 * 1024 * 1024;
const TIMEOUT_DEFAULT_MS = 10_000;

/** The daemon ended, or was ended, before it answered. Asking again is safe: no method of ours minds. */
export class DaemonGoneError extends UmpathError {
  override name = "DaemonGoneError";
}

/** How to ask. */
export interface CallOptions {
  /** How long the whole call may take; 10 s unless told, null: no limit. */
  timeoutMs?: number | null;
  /** Gets each warning as it comes. */
  onWarning?: (message: string) => void;
  dir?: RunDir;
}

/** The answer of the daemon, or null if no daemon runs. Throws what the daemon answered as error. */
export async function call<M extends Method>(
  method: M,
  params: Api[M]["params"],
  options: CallOptions = {},
): Promise<Api[M]["result"] | null> {
  const socket = await connect(options.dir ?? runDir());
  if (socket === null) return null;
  const timeoutMs = options.timeoutMs === undefined ? TIMEOUT_DEFAULT_MS : options.timeoutMs;
  let timedOut = false;
  const timer = timeoutMs === null ? undefined : setTimeout(() => {
    timedOut = true;
    closeQuietly(socket);
  }, timeoutMs);
  try {
    return await converse(socket, { method, params, onWarning: options.onWarning }) as Api[M]["result"];
  } catch (error) {
    if (timedOut) throw tookTooLong(method, timeoutMs!);
    if (error instanceof UmpathError) throw error;
    throw gone(method, error);
  } finally {
    clearTimeout(timer);
    closeQuietly(socket);
  }
}

async function connect(dir: RunDir): Promise<Deno.UnixConn | null> {
  if (!checkRunDir(dir)) return null;
  try {
    return await Deno.connect({ transport: "unix", path: dir.socketPath });
  } catch (error) {
    if (error instanceof Deno.errors.NotFound || error instanceof Deno.errors.ConnectionRefused) return null;
    const denied = error instanceof Deno.errors.PermissionDenied;
    const why = denied ? "permission denied" : messageOf(error);
    throw new UmpathError("host-lacks", `Cannot talk to the umpath daemon at ${quote(dir.socketPath)}: ${why}`, {
      hint: denied ? RUN_AS_ROOT : undefined,
      cause: error,
    });
  }
}

interface Question {
  method: Method;
  params: unknown;
  onWarning: ((message: string) => void) | undefined;
}

async function converse(socket: Deno.UnixConn, question: Question): Promise<unknown> {
  const { method, params, onWarning } = question;
  await writeAll(socket, encodeLine({ id: 1, method, params }));
  for await (const line of readLines(socket, ANSWER_BYTES_MAX)) {
    const answer = parseLine(line) as { warning?: unknown; error?: unknown; result?: unknown };
    if (answer.warning !== undefined) onWarning?.(String(answer.warning));
    else if (answer.error !== undefined) throw UmpathError.fromWire(answer.error);
    else return answer.result;
  }
  throw gone(method);
}

function gone(method: Method, cause?: unknown): DaemonGoneError {
  return new DaemonGoneError("bug", `The umpath daemon went away before it answered ${quote(method)}`, {
    hint: `See ${runDir().logPath} or the journal for its last words`,
    cause,
  });
}

function tookTooLong(method: Method, timeoutMs: number): UmpathError {
  const message = `The umpath daemon did not answer ${quote(method)} within ${formatDuration(timeoutMs)}`;
  return new UmpathError("timed-out", message, { hint: `See ${runDir().logPath} or the journal for what it is doing` });
}

function closeQuietly(socket: Deno.UnixConn): void {
  try {
    socket.close();
  } catch {
    return;
  }
}
