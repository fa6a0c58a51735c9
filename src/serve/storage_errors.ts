import { EIO, errnoWords } from "../base/errno.ts";
import { logger } from "../base/log.ts";
import { heldBackWords, RateLimit } from "../base/rate_limit.ts";
import { quote } from "../base/text.ts";
import { formatSize } from "../base/units.ts";

const log = logger("serve");

/** A full disk fails every write of every host: a few lines say that, and then one in ten seconds. */
const LINES = { burst: 3, perMs: 10_000 };

/** A storage that did not do what it was asked to. */
export interface StorageFailure {
  readonly errno: number;
  readonly isRead: boolean;
}

/** Logs what goes wrong with the file or block device behind one namespace. */
export class StorageErrors {
  readonly #words: string;
  readonly #path: string;
  readonly #limit = new RateLimit(LINES);
  #isShort = false;

  constructor({ nsid, path }: { nsid: number; path: string }) {
    this.#words = `Namespace ${nsid}`;
    this.#path = path;
  }

  /** A command of a host was answered with an error for that. */
  handleFailure({ errno, isRead }: StorageFailure, nowMs: number): void {
    // What is cut off fails with this too, and that is said by itself.
    if (this.#isShort && isRead && errno === EIO) return;
    const heldBack = this.#limit.admit(nowMs);
    if (heldBack === null) return;
    const verb = isRead ? "read" : "write";
    log.error(`${this.#words}: cannot ${verb} ${quote(this.#path)}: ${errnoWords(errno)}${heldBackWords(heldBack)}`);
  }

  /** How large the storage is, and how large it has to be: says once that another program has cut it, and that it is mended. */
  handleSize({ bytes, expectedBytes }: { bytes: number; expectedBytes: number }): void {
    const isShort = bytes < expectedBytes;
    if (isShort === this.#isShort) return;
    this.#isShort = isShort;
    const size = formatSize(expectedBytes);
    if (!isShort) return log.info(`${this.#words}: ${quote(this.#path)} has its ${size} again`);
    const what = `${quote(this.#path)} has only ${formatSize(bytes)} of its ${size}: another program has cut it`;
    log.error(`${this.#words}: ${what}. What was cut off is lost, and reads of it fail`);
  }
}
