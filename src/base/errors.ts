/**
 * The one error class that people see. Every failure that the world can cause ends as an {@linkcode UmpathError} whose
 * code decides the exit code; anything else that is thrown is a bug in umpath.
 */

import { hostAction, hostErrno, hostHint, hostReason } from "./host_error.ts";
import { oneLine } from "./text.ts";

/** Exit code of each error code; 0 is "done". */
export const EXIT_CODES = Object.freeze({
  /** Our own code is wrong. */
  bug: 1,
  /** The words of the command line are wrong. */
  usage: 2,
  /** No such volume, device or path. */
  "not-found": 3,
  /** The storage system cannot be reached, or what answers is not one. */
  unreachable: 4,
  /** The storage system said no. */
  refused: 5,
  /** This host lacks something: a driver, a right, a file. */
  "host-lacks": 6,
  /** Something is in use. */
  "in-use": 7,
  /** No answer within the time given. */
  "timed-out": 8,
  /** Called off by whoever had begun it, as a shell has it for SIGINT. */
  interrupted: 130,
});

/** What kind of failure it was, in a word that scripts can rely on. */
export type ErrorCode = keyof typeof EXIT_CODES;

/** An error as it crosses the control socket and as `--json` prints it. */
export interface WireError {
  code: ErrorCode;
  message: string;
  /** What to do next. */
  hint?: string;
}

/** What else an error may carry. */
export interface UmpathErrorOptions {
  /** What to do next, as a sentence without a period. It is made one line: it may quote what the user wrote. */
  hint?: string | undefined;
  cause?: unknown;
}

/** A failure for people: what failed, on what, why (the message), and what to do next (the hint). */
export class UmpathError extends Error {
  override name = "UmpathError";
  readonly code: ErrorCode;
  readonly hint: string | undefined;

  constructor(code: ErrorCode, message: string, options: UmpathErrorOptions = {}) {
    super(message, options.cause === undefined ? undefined : { cause: options.cause });
    this.code = code;
    this.hint = options.hint === undefined ? undefined : oneLine(options.hint);
  }

  /** The exit code of a command that ends with this error. */
  get exitCode(): number {
    return EXIT_CODES[this.code];
  }

  /** The error as JSON carries it; the cause stays here. */
  toWire(): WireError {
    return this.hint === undefined
      ? { code: this.code, message: this.message }
      : { code: this.code, message: this.message, hint: this.hint };
  }

  /** The error that a peer sent. What is not one becomes a "bug" that quotes it. */
  static fromWire(value: unknown): UmpathError {
    const wire = (typeof value === "object" && value !== null ? value : {}) as Partial<
      Record<keyof WireError, unknown>
    >;
    if (!isErrorCode(wire.code) || typeof wire.message !== "string") {
      return new UmpathError("bug", `Cannot read the error that the peer sent: ${JSON.stringify(value)}`);
    }
    return new UmpathError(wire.code, wire.message, { hint: typeof wire.hint === "string" ? wire.hint : undefined });
  }

  /**
   * Any thrown value as an {@linkcode UmpathError}: itself; "host-lacks" for a system call that the host refused; a "bug"
   * with its message for anything else. The value is the cause.
   */
  static from(thrown: unknown): UmpathError {
    if (thrown instanceof UmpathError) return thrown;
    const message = messageOf(thrown);
    const action = hostAction(message) ??
      (message.replace(/: errno \d+$/, "").startsWith("Cannot ")
        ? message.replace(/: errno \d+$/, "")
        : "Cannot use what this host has");
    return hostErrno(thrown) === null ? new UmpathError("bug", message, { cause: thrown }) : hostError(action, thrown);
  }
}

/**
 * The error of a system call that `action` ("Cannot write to …") needed. What is an {@linkcode UmpathError} stays what
 * it is; what the host did not cause is a bug.
 */
export function hostError(action: string, thrown: unknown, options: { hint?: string | undefined } = {}): UmpathError {
  if (thrown instanceof UmpathError) return thrown;
  const errno = hostErrno(thrown);
  if (errno === null) return new UmpathError("bug", `${action}: ${messageOf(thrown)}`, { cause: thrown });
  return new UmpathError("host-lacks", `${action}: ${hostReason(errno)}`, {
    hint: options.hint ?? hostHint(errno),
    cause: thrown,
  });
}

/** What `call` gives; a refusal of the host is worded with `action`: `Cannot write to "/run/x": read-only file system`. */
export function hostCall<T>(action: string, call: () => T): T {
  try {
    const result = call();
    if (!(result instanceof Promise)) return result;
    return result.catch((thrown) => {
      throw hostError(action, thrown);
    }) as T;
  } catch (thrown) {
    throw hostError(action, thrown);
  }
}

/** True if `value` is one of the codes of {@linkcode EXIT_CODES}. */
export function isErrorCode(value: unknown): value is ErrorCode {
  return typeof value === "string" && Object.hasOwn(EXIT_CODES, value);
}

/** The message of anything that was thrown. */
export function messageOf(thrown: unknown): string {
  return thrown instanceof Error ? thrown.message || thrown.name : String(thrown);
}
