/**
 * Takes log lines and writes them when it can, on another thread: a disk that is full or hangs, or a reader that has
 * stopped, never makes the one who logs wait. Lines beyond the bound are dropped; the next line that is written says how
 * many. Lines are held until there is a target.
 *
 * Invariant: bytes queued ≤ QUEUE_BYTES_MAX.
 */
import { UmpathError } from "../../base/errors.ts";
import { count, midSentence } from "../../base/text.ts";

/** Some thousand lines: far more than are written in the time that a disk takes that works. */
const QUEUE_BYTES_MAX = 256 * 1024;

/** Where the bytes go. A call may take its time; it throws if they could not be written. */
export interface LogTarget {
  write(bytes: Uint8Array<ArrayBuffer>): Promise<void>;
}

/** A queue of lines before a {@linkcode LogTarget}. */
export class LogWriter {
  readonly #queue: string[] = [];
  readonly #encoder = new TextEncoder();
  #queuedBytes = 0;
  #target: LogTarget | null = null;
  #pumping: Promise<void> | null = null;
  /** Lines that were not written since the last one that was, and why. */
  #lost = 0;
  #lostReason = "";

  /** Bytes that wait. */
  get queuedBytes(): number {
    return this.#queuedBytes;
  }

  /** Takes a line with its end. Never waits, never throws. */
  write(line: string): void {
    // A character may take three bytes; the bound does not have to be exact.
    if (this.#queuedBytes + line.length > QUEUE_BYTES_MAX) {
      return this.#lose(1, "they came faster than they were written");
    }
    this.#queue.push(line);
    this.#queuedBytes += line.length;
    this.#start();
  }

  /** Lines go to `target` from now on, those that were held first. */
  open(target: LogTarget): void {
    this.#target = target;
    this.#start();
  }

  /** Resolves when all lines are written, but after `msMax` at the latest. */
  async flush(msMax: number): Promise<void> {
    if (this.#pumping === null) return;
    const { promise: timeout, resolve } = Promise.withResolvers<void>();
    const timer = setTimeout(resolve, msMax);
    await Promise.race([this.#pumping, timeout]);
    clearTimeout(timer);
  }

  #lose(lines: number, reason: string): void {
    this.#lost += lines;
    this.#lostReason = reason;
  }

  #start(): void {
    if (this.#target === null || this.#queue.length === 0) return;
    this.#pumping ??= this.#pump().finally(() => this.#pumping = null);
  }

  async #pump(): Promise<void> {
    while (this.#queue.length > 0) {
      const lines = this.#queue.splice(0);
      this.#queuedBytes = 0;
      const lost = this.#lost;
      if (lost > 0) {
        lines.unshift(`umpath: ${count(lost, "line")} of the log before this one lost: ${this.#lostReason}\n`);
      }
      try {
        await this.#target!.write(this.#encoder.encode(lines.join("")));
        this.#lost -= lost;
      } catch (error) {
        this.#lose(lines.length - (lost > 0 ? 1 : 0), midSentence(UmpathError.from(error).message));
      }
    }
  }
}
