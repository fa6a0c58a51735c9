/**
 * The folder where the daemon keeps its socket, its lock and its log. Whoever can write there commands the daemon, so it
 * belongs to the user who runs umpath and to nobody else, and is refused otherwise.
 */
import { EISDIR } from "../base/errno.ts";
import { hostError, UmpathError } from "../base/errors.ts";
import { hostErrno } from "../base/host_error.ts";
import { quote } from "../base/text.ts";

const RUN_DIR_DEFAULT = "/run/umpath";
/** sockaddr_un has 108 bytes for the path, one of them the terminating zero (unix(7)). */
const SOCKET_PATH_BYTES_MAX = 107;

/** Hint for everything that needs more rights than the user has. */
export const RUN_AS_ROOT = "Run umpath as root";
/** Hint where the run folder cannot be one: what is there is not ours to change. */
const FOLDER_OF_ITS_OWN = "Set UMPATH_RUN_DIR to a folder of its own";

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

/** Makes the run folder if it is missing, with the folders above it, and checks it. */
export function ensureRunDir(dir: RunDir = runDir()): RunDir {
  if (checkRunDir(dir)) return dir;
  makeFolder(dir);
  if (!checkRunDir(dir)) throw new UmpathError("host-lacks", `Cannot use run folder ${quote(dir.path)}: it vanished`);
  return dir;
}

function makeFolder(dir: RunDir): void {
  const above = dir.path.slice(0, dir.path.lastIndexOf("/"));
  try {
    if (above !== "") Deno.mkdirSync(above, { recursive: true });
    Deno.mkdirSync(dir.path, { mode: 0o700 });
  } catch (error) {
    if (!(error instanceof Deno.errors.AlreadyExists)) throw cannotUse(dir, "make", error);
  }
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

/** What is wrong with a run folder for the user `uid`, or null. Nothing here may be a folder that others need. */
function runDirFault(info: Deno.FileInfo, uid: number | null): { why: string; hint: string } | null {
  if (!info.isDirectory) return { why: "it is not a folder", hint: FOLDER_OF_ITS_OWN };
  if (info.uid !== uid) {
    const owner = info.uid === 0 ? "root" : `user ID ${info.uid}`;
    return { why: `it belongs to ${owner}`, hint: info.uid === 0 ? RUN_AS_ROOT : FOLDER_OF_ITS_OWN };
  }
  if (((info.mode ?? 0) & 0o077) !== 0) return { why: "other users can reach it", hint: FOLDER_OF_ITS_OWN };
  return null;
}

function cannotUse(dir: RunDir, verb: string, error: unknown): UmpathError {
  const denied = error instanceof Deno.errors.PermissionDenied || error instanceof Deno.errors.NotCapable;
  return hostError(`Cannot ${verb} run folder ${quote(dir.path)}`, error, {
    hint: denied ? RUN_AS_ROOT : FOLDER_OF_ITS_OWN,
  });
}

/** The error of a system call that failed in the run folder. */
export function cannotWrite(dir: RunDir, error: unknown): UmpathError {
  return hostError(`Cannot write to run folder ${quote(dir.path)}`, error);
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

  /**
   * Takes the lock of `dir`; null if somebody has it.
   *
   * @throws UmpathError "host-lacks" if the host does not let us.
   */
  static tryTake(dir: RunDir): RunDirLock | null {
    let file: Deno.FsFile | null = null;
    try {
      file = Deno.openSync(dir.lockPath, { read: true, write: true, create: true, mode: 0o600 });
      if (!file.tryLockSync(true)) {
        file.close();
        return null;
      }
      file.truncateSync();
      file.writeSync(new TextEncoder().encode(`${Deno.pid}\n`));
      return new RunDirLock(dir, file);
    } catch (error) {
      file?.close();
      throw lockError(dir, error);
    }
  }

  [Symbol.dispose](): void {
    this.#file.close();
  }
}

/** A folder in the place of the lock is named; anything else is told of the run folder. */
function lockError(dir: RunDir, error: unknown): UmpathError {
  if (hostErrno(error) !== EISDIR) return cannotWrite(dir, error);
  return hostError(`Cannot use ${quote(dir.lockPath)} as lock`, error, { hint: FOLDER_OF_ITS_OWN });
}

function readPid(dir: RunDir): number | null {
  try {
    const pid = Number.parseInt(Deno.readTextFileSync(dir.lockPath), 10);
    return Number.isNaN(pid) ? null : pid;
  } catch {
    return null;
  }
}

/** The process that has the lock of `dir`, as far as /proc shows it to us, or null. Does not touch the lock. */
export function lockHolder(dir: RunDir): number | null {
  const pid = readPid(dir);
  if (pid === null) return null;
  try {
    const lock = Deno.statSync(dir.lockPath);
    for (const { name } of Deno.readDirSync(`/proc/${pid}/fd`)) {
      const open = statOrNull(`/proc/${pid}/fd/${name}`);
      if (open !== null && open.ino === lock.ino && open.dev === lock.dev) return pid;
    }
  } catch {
    // It has ended.
  }
  return null;
}

function statOrNull(path: string): Deno.FileInfo | null {
  try {
    return Deno.statSync(path);
  } catch {
    return null;
  }
}
