/**
 * The lock that a target of this run folder has on its NQN for as long as it lives: two targets of one name would pass for
 * one subsystem. The kernel releases it when the process ends; the file goes with it, or with the next target that starts.
 */
import { hostCall, hostError, UmpathError } from "../base/errors.ts";
import { quote } from "../base/text.ts";
import type { RunDir } from "../rpc/run_dir.ts";

/** A target that was killed has its lock for a little longer: it may be started again at once. */
const LOCK_WAIT_MS = 2_000;
const LOCK_RETRY_MS = 20;

const NAME = /^serve-[0-9a-f]{32}\.lock$/;

export class NqnLock implements Disposable {
  readonly #path: string;
  readonly #file: Deno.FsFile;

  private constructor(path: string, file: Deno.FsFile) {
    this.#path = path;
    this.#file = file;
  }

  /** @throws UmpathError "in-use" if another target of this run folder serves that NQN. */
  static async take(dir: RunDir, nqn: string): Promise<NqnLock> {
    const digest = await crypto.subtle.digest("SHA-256", new TextEncoder().encode(nqn));
    const path = `${dir.path}/serve-${new Uint8Array(digest).toHex().slice(0, 32)}.lock`;
    for (let waitedMs = 0;; waitedMs += LOCK_RETRY_MS) {
      const action = `Cannot write to run folder ${quote(dir.path)}`;
      const file = hostCall(action, () => Deno.openSync(path, { read: true, write: true, create: true, mode: 0o600 }));
      const lock = new NqnLock(path, file);
      let isOurs = false;
      try {
        isOurs = file.tryLockSync(true);
        // The one who had it may have removed the file between our open and our lock.
        if (isOurs && isFileAt(path, file)) {
          file.truncateSync();
          file.writeSync(new TextEncoder().encode(`${Deno.pid}\n`));
          return lock;
        }
        if (!isOurs && waitedMs >= LOCK_WAIT_MS) throw inUse(nqn, pidIn(file));
      } catch (error) {
        if (isOurs) removeQuietly(path);
        file.close();
        throw hostError(action, error);
      }
      file.close();
      await new Promise((resolve) => setTimeout(resolve, LOCK_RETRY_MS));
    }
  }

  [Symbol.dispose](): void {
    removeQuietly(this.#path);
    this.#file.close();
  }
}

/** Removes what targets have left that died without a word. */
export function removeLeftLocks(dir: RunDir): void {
  for (const { name } of Deno.readDirSync(dir.path)) {
    if (!NAME.test(name)) continue;
    const path = `${dir.path}/${name}`;
    try {
      using file = Deno.openSync(path, { read: true });
      if (file.tryLockSync(true) && isFileAt(path, file)) Deno.removeSync(path);
    } catch {
      // Another target that starts has removed it.
    }
  }
}

/** The file that is open still has that name. */
function isFileAt(path: string, file: Deno.FsFile): boolean {
  try {
    const [named, open] = [Deno.statSync(path), file.statSync()];
    return named.ino === open.ino && named.dev === open.dev;
  } catch {
    return false;
  }
}

function pidIn(file: Deno.FsFile): number | null {
  const bytes = new Uint8Array(16);
  const length = file.readSync(bytes) ?? 0;
  const pid = Number.parseInt(new TextDecoder().decode(bytes.subarray(0, length)), 10);
  return Number.isNaN(pid) ? null : pid;
}

function removeQuietly(path: string): void {
  try {
    Deno.removeSync(path);
  } catch {
    // Somebody has cleaned the run folder.
  }
}

function inUse(nqn: string, pid: number | null): UmpathError {
  const who = pid === null ? "another target" : `the target of process ${pid}`;
  const stop = pid === null ? "umpath target stop" : `umpath target stop --pid ${pid}`;
  return new UmpathError("in-use", `Cannot serve ${quote(nqn)}: ${who} on this host serves it`, {
    hint: `Give another NQN, or end that target first: ${stop}`,
  });
}
