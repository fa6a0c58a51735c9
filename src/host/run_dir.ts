/**
 * The folder where the daemon keeps its socket, its lock and its log. Whoever can write there commands the daemon, so it
 * belongs to the user who runs umpath and to nobody else, and is refused otherwise.
 */
import { messageOf, UmpathError } from "../base/errors.ts";
import { quote } from "../base/text.ts";

const RUN_DIR_DEFAULT = "/run/umpath";
/** sockaddr_un has 108 bytes for the path, one of them the terminating zero (unix(7)). */
const SOCKET_PATH_BYTES_MAX = 107;

/** Hint for everything that needs more rights than the user has. */
export const RUN_AS_ROOT = "Run umpath as root";

/** The run folder and what is in it. */
export interface RunDir {
  path: string;
  socketPath: string;
  lockPath: string;
  logPath: string;
}

/** Where the run folder is: UMPATH_RUN_DIR, else `/run/umpath`. Says nothing about whether it exists. */
export function runDir(): RunDir {
  return runDirAt(Deno.env.get("UMPATH_RUN_DIR") || RUN_DIR_DEFAULT);
}

/** The run folder at `path`, which may be relative to the working folder. */
export function runDirAt(path: string): RunDir {
  const absolute = path.startsWith("/") ? path : `${Deno.cwd()}/${path}`;
  const socketPath = `${absolute}/control.sock`;
  if (new TextEncoder().encode(socketPath).length > SOCKET_PATH_BYTES_MAX) {
    const why = `a socket in it would have a path longer than ${SOCKET_PATH_BYTES_MAX} bytes`;
    throw new UmpathError("usage", `Cannot use run folder ${quote(absolute)}: ${why}`, {
      hint: "Set UMPATH_RUN_DIR to a shorter path",
    });
  }
  return { path: absolute, socketPath, lockPath: `${absolute}/daemon.lock`, logPath: `${absolute}/daemon.log` };
}

/** Makes the run folder if it is missing and checks it. */
export function ensureRunDir(dir: RunDir = runDir()): RunDir {
  if (checkRunDir(dir)) return dir;
  try {
    Deno.mkdirSync(dir.path, { mode: 0o700 });
  } catch (error) {
    if (!(error instanceof Deno.errors.AlreadyExists)) throw cannotUse(dir, "make", error);
  }
  if (!checkRunDir(dir)) throw new UmpathError("host-lacks", `Cannot use run folder ${quote(dir.path)}: it vanished`);
  return dir;
}

/** True if the run folder exists and only we can use it, false if it is missing; throws if it is not safe to use. */
export function checkRunDir(dir: RunDir): boolean {
  let info: Deno.FileInfo;
  try {
    info = Deno.statSync(dir.path);
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return false;
    throw cannotUse(dir, "use", error);
  }
  const fault = runDirFault(info, Deno.uid());
  if (fault === null) return true;
  throw new UmpathError("host-lacks", `Cannot use run folder ${quote(dir.path)}: ${fault.why}`, { hint: fault.hint });
}

/** What is wrong with a run folder for the user `uid`, or null. */
function runDirFault(info: Deno.FileInfo, uid: number | null): { why: string; hint: string } | null {
  if (!info.isDirectory) return { why: "it is not a folder", hint: "Remove it, or set UMPATH_RUN_DIR" };
  if (info.uid !== uid) {
    const owner = info.uid === 0 ? "root" : `user ID ${info.uid}`;
    return {
      why: `it belongs to ${owner}`,
      hint: info.uid === 0 ? RUN_AS_ROOT : "Set UMPATH_RUN_DIR to a folder of yours",
    };
  }
  if (((info.mode ?? 0) & 0o077) !== 0) {
    return { why: "other users can reach it", hint: "Take their rights away: chmod 0700" };
  }
  return null;
}

function cannotUse(dir: RunDir, verb: string, error: unknown): UmpathError {
  const denied = error instanceof Deno.errors.PermissionDenied || error instanceof Deno.errors.NotCapable;
  const why = denied ? "permission denied" : messageOf(error);
  return new UmpathError("host-lacks", `Cannot ${verb} run folder ${quote(dir.path)}: ${why}`, {
    hint: denied ? RUN_AS_ROOT : "Set UMPATH_RUN_DIR to a folder that can be made",
    cause: error,
  });
}

/** Held by the one daemon of a run folder for as long as it lives; the kernel releases it when the process ends. */
export class RunDirLock implements Disposable {
  readonly dir: RunDir;
  readonly #file: Deno.FsFile;

  private constructor(dir: RunDir, file: Deno.FsFile) {
    this.dir = dir;
    this.#file = file;
  }

  /** Takes the lock of `dir`, or throws "in-use" if a daemon lives. The lock file itself stays: removing it would race. */
  static take(dir: RunDir): RunDirLock {
    const taken = RunDirLock.tryTake(dir);
    if (taken !== null) return taken;
    const pid = readPid(dir);
    const who = pid === null ? "A daemon" : `A daemon (process ${pid})`;
    throw new UmpathError("in-use", `${who} already serves run folder ${quote(dir.path)}`, {
      hint: "Use it, or end it first",
    });
  }

  /** Takes the lock of `dir`; null if somebody has it. */
  static tryTake(dir: RunDir): RunDirLock | null {
    const file = Deno.openSync(dir.lockPath, { read: true, write: true, create: true, mode: 0o600 });
    if (!file.tryLockSync(true)) {
      file.close();
      return null;
    }
    file.truncateSync();
    file.writeSync(new TextEncoder().encode(`${Deno.pid}\n`));
    return new RunDirLock(dir, file);
  }

  [Symbol.dispose](): void {
    this.#file.close();
  }
}

function readPid(dir: RunDir): number | null {
  const pid = Number.parseInt(Deno.readTextFileSync(dir.lockPath), 10);
  return Number.isNaN(pid) ? null : pid;
}
