/** Where a command's words go: results on stdout, everything else on stderr. */

import { hostError, UmpathError } from "../base/errors.ts";
import { writeStdout } from "./standard_output.ts";

/** Whoever read our stdout has left, as `head` does: there is nobody to tell, so the command just ends. */
export class OutputClosed extends Error {
  override name = "OutputClosed";
}

/** Version of every object that `--json` prints. */
export const SCHEMA_VERSION = 1;

type WriteSync = (bytes: Uint8Array) => number;

/** Clears a terminal's line from the cursor on (ECMA-48, EL). */
const CLEAR_TO_END = "\x1b[K";

/** How often progress is looked at. */
const FOLLOW_MS = 500;

/** Waits that are shorter need no words. */
const WAIT_NOTE_MS = 1000;

/** How to print, and where: tests give their own ends. */
export interface OutputOptions {
  json: boolean;
  stdout?: WriteSync;
  stderr?: WriteSync;
  /** Columns of the terminal that stdout is; null: it is none. */
  columns?: number | null;
  /** True if somebody may be watching stderr, who wants to know what a long wait is for. */
  isWatched?: boolean;
  /** The kind of terminal; `TERM` unless told. */
  terminal?: string;
  /** After how long a wait is told; a second unless told. */
  waitNoteMs?: number;
}

/** Prints a command's result, warnings and errors. */
export class Output {
  /** True if results and errors are JSON. */
  readonly json: boolean;
  /** Columns of the terminal that stdout is; null: it is none. */
  readonly columns: number | null;
  readonly #isWatched: boolean;
  readonly #waitNoteMs: number;
  /** The terminal can clear a line. */
  readonly #clearsLines: boolean;
  readonly #stdout: WriteSync;
  readonly #stderr: WriteSync;
  /** Those that were told. */
  readonly #warnings = new Set<string>();
  /** The terminal shows a line of progress, which the next words replace. */
  #isProgressShown = false;

  constructor(options: OutputOptions) {
    this.json = options.json;
    this.columns = options.columns !== undefined ? options.columns : options.stdout === undefined ? columns() : null;
    this.#isWatched = !options.json &&
      (options.isWatched ?? (options.stderr === undefined && Deno.stderr.isTerminal()));
    this.#clearsLines = (options.terminal ?? Deno.env.get("TERM") ?? "dumb") !== "dumb";
    this.#waitNoteMs = options.waitNoteMs ?? WAIT_NOTE_MS;
    this.#stdout = options.stdout ?? writeStdout;
    this.#stderr = options.stderr ?? ((bytes) => Deno.stderr.writeSync(bytes));
  }

  /** A result for people or scripts, on stdout. */
  line(text: string): void {
    this.text(`${text}\n`);
  }

  /** Text that has its own line ends, on stdout. */
  text(text: string): void {
    this.progress(null);
    writeAll(this.#stdout, text);
  }

  /** A result as JSON, on stdout. */
  object(object: Record<string, unknown>): void {
    this.line(JSON.stringify({ schemaVersion: SCHEMA_VERSION, ...object }, null, 2));
  }

  /** Something that the user should know although the command did what it was told, on stderr; the same words once. */
  warn(message: string): void {
    if (this.#warnings.has(message)) return;
    this.#warnings.add(message);
    this.errorLine(this.json ? JSON.stringify({ warning: message }) : `umpath: warning: ${message}`);
  }

  /**
   * What a command has done, on stderr: `vol-n1: detached`. Every command that changes something ends with one such line
   * for each object; `changed: false` adds that it was so before.
   */
  done(object: string, result: string, { changed = true }: { changed?: boolean } = {}): void {
    this.note(`${object}: ${result}${changed ? "" : " (no change)"}`);
  }

  /** A remark for people, on stderr; scripts that ask for JSON do not get it. */
  note(message: string): void {
    if (!this.json) this.errorLine(message);
  }

  /** Waits for `work`. If that takes longer than a second, says on a terminal what is waited for: `127.0.0.1:4420`. */
  async waiting<T>(what: string, work: Promise<T>): Promise<T> {
    const timer = this.#isWatched ? setTimeout(() => this.note(`waiting for ${what}…`), this.#waitNoteMs) : undefined;
    try {
      return await work;
    } finally {
      clearTimeout(timer);
    }
  }

  /** How far the command is, such as `12 of 64 attached`, on a terminal until the next words replace it; null: nothing. */
  progress(text: string | null): void {
    if (!this.#isWatched || !this.#clearsLines || (text === null && !this.#isProgressShown)) return;
    this.#isProgressShown = text !== null;
    this.#tell(`\r${text ?? ""}${CLEAR_TO_END}`);
  }

  /** Waits for `work`, and shows meanwhile on a terminal how far it is: what `look` says, now and then. */
  async following<T>(look: () => Promise<string>, work: Promise<T>): Promise<T> {
    if (!this.#isWatched) return await work;
    const state = { isOver: false };
    const over = work.then(() => {}, () => {}).finally(() => state.isOver = true);
    while (!state.isOver) {
      await Promise.race([over, new Promise((resolve) => setTimeout(resolve, FOLLOW_MS))]);
      const text = state.isOver ? null : await look().catch(() => null);
      this.progress(state.isOver ? null : text);
    }
    return await work;
  }

  /** A line on stderr, which is lost if nobody reads it. */
  errorLine(text: string): void {
    this.progress(null);
    this.#tell(`${text}\n`);
  }

  #tell(text: string): void {
    try {
      writeAll(this.#stderr, text);
    } catch (error) {
      if (!(error instanceof OutputClosed || error instanceof UmpathError)) throw error;
    }
  }
}

function columns(): number | null {
  return Deno.stdout.isTerminal() ? Deno.consoleSize().columns || null : null;
}

/** Writes everything, also to a pipe that another program has set to not block. */
function writeAll(write: WriteSync, text: string): void {
  const bytes = new TextEncoder().encode(text);
  for (let done = 0; done < bytes.length;) {
    try {
      done += write(bytes.subarray(done));
    } catch (error) {
      if (error instanceof Deno.errors.WouldBlock) Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 1);
      else if (error instanceof Deno.errors.BrokenPipe) throw new OutputClosed();
      else throw hostError("Cannot write the output", error);
    }
  }
}
