import { native } from "../../../ffi/library.ts";
import { check, cString } from "../../../ffi/result.ts";
import { errnoWords } from "../../base/errno.ts";
import { UmpathError } from "../../base/errors.ts";
import { hostHint } from "../../base/host_error.ts";
import { quote } from "../../base/text.ts";
import type { LogTarget } from "./log_writer.ts";

/** A file that has grown to this is set aside. */
export const LOG_BYTES_MAX = 1024 * 1024;
/** How many files that were set aside are kept: daemon.log.1 is the latest of them. */
export const LOG_FILES_KEPT = 2;

const STDERR = 2;

/** Standard error, whatever that is by now: the runtime would go on with the file that it was. */
export class StderrTarget implements LogTarget {
  async write(bytes: Uint8Array<ArrayBuffer>): Promise<void> {
    for (let done = 0; done < bytes.length;) {
      const part = bytes.subarray(done);
      done += check(await native().um_write(STDERR, part, part.length), "Cannot write the log");
    }
  }
}

/**
 * The log file of the daemon. It takes the place of standard output and standard error, so that what the runtime says
 * when it ends goes there too. It is set aside once it is large, and made anew when it is gone.
 */
export class LogFile implements LogTarget {
  readonly #path: string;
  readonly #bytesMax: number;
  readonly #stderr = new StderrTarget();
  #bytes = 0;
  #inode: number | null = null;

  private constructor(path: string, bytesMax: number) {
    this.#path = path;
    this.#bytesMax = bytesMax;
  }

  /**
   * Opens it, or makes it.
   *
   * @throws UmpathError "host-lacks"
   */
  static async open(path: string, bytesMax = LOG_BYTES_MAX): Promise<LogFile> {
    const file = new LogFile(path, bytesMax);
    await file.reopen();
    return file;
  }

  async write(bytes: Uint8Array<ArrayBuffer>): Promise<void> {
    if (this.#bytes > 0 && this.#bytes + bytes.length > this.#bytesMax) await this.#setAside();
    await this.#stderr.write(bytes);
    this.#bytes += bytes.length;
  }

  /** What is written from now on goes to the file that has the path, which is made if there is none. */
  async reopen(): Promise<void> {
    const result = await native().um_stdio_to(cString(this.#path));
    if (result < 0) {
      throw new UmpathError("host-lacks", `Cannot log to ${quote(this.#path)}: ${errnoWords(result)}`, {
        hint: hostHint(-result),
      });
    }
    const info = await this.#info();
    this.#bytes = info?.size ?? 0;
    this.#inode = info?.ino ?? null;
  }

  /** Makes it anew if somebody has removed it or put another in its place; true if so it was. */
  async reopenIfGone(): Promise<boolean> {
    if ((await this.#info())?.ino === this.#inode) return false;
    await this.reopen();
    return true;
  }

  async #info(): Promise<Deno.FileInfo | null> {
    try {
      return await Deno.stat(this.#path);
    } catch {
      return null;
    }
  }

  async #setAside(): Promise<void> {
    for (let age = LOG_FILES_KEPT; age > 0; age--) {
      await renameIfThere(age === 1 ? this.#path : `${this.#path}.${age - 1}`, `${this.#path}.${age}`);
    }
    await this.reopen();
  }
}

/** What cannot be renamed stays: the log goes on in it, and grows. */
async function renameIfThere(from: string, to: string): Promise<void> {
  try {
    await Deno.rename(from, to);
  } catch {
    return;
  }
}
