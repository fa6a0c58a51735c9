import { type ErrorCode, UmpathError, type UmpathErrorOptions } from "../../base/errors.ts";

/** Why a path does not serve its volume. */
export class PathFailure extends UmpathError {
  /** Why, for whoever has named the path already: "connection refused". */
  readonly reason: string;
  /** The answer was a no that stays one until somebody changes something: a path that was mistyped gets it. */
  readonly isFinal: boolean;

  constructor(
    code: ErrorCode,
    words: { action: string; reason: string },
    options: UmpathErrorOptions & { isFinal?: boolean } = {},
  ) {
    super(code, `${words.action}: ${words.reason}`, options);
    this.reason = words.reason;
    this.isFinal = options.isFinal ?? false;
  }
}

/** A path that leads to something else than the volume, or cannot serve it: to go on trying would change nothing. */
export class ForeignPath extends PathFailure {
  constructor(words: { action: string; reason: string }) {
    super("refused", words, { isFinal: true });
  }
}

/** Why, in words that do not name the path. */
export function reasonOf(failure: UmpathError): string {
  return failure instanceof PathFailure ? failure.reason : failure.message;
}
