/** The steps of a bring-up, and how a command that fails ends it. */

import { assert } from "../base/assert.ts";
import { StatusCode, StatusField } from "../protocol/nvme_status.ts";
import type { AdminCommand } from "./commands.ts";
import { type ConnectSubject, isLastingRefusal, mayRetry, statusNumberWords, statusWords } from "./status.ts";

/** What bring-up wants next. */
export type AdminStep =
  | { readonly kind: "command"; readonly command: AdminCommand }
  | { readonly kind: "wait"; readonly ms: number; readonly why?: string };

/** The completion of a command. */
export interface CommandAnswer {
  /** The 15-bit status field; 0 is success. */
  status: number;
  /** Dword 0 of the CQE. */
  result0: number;
  /** Dword 1 of the CQE. */
  result1: number;
  /** The data that came, null if none was asked for. */
  data: Uint8Array | null;
}

/** What a step is answered with: a command with its completion, a wait with null. */
export type StepResult = CommandAnswer | null;

/** A part of a bring-up that ends in a `T`. */
export type Steps<T> = Generator<AdminStep, T, StepResult>;

/**
 * Why a bring-up failed: "refused" (the target does not want this host, queue or command), "unreachable" (it cannot
 * serve now), "protocol" (its answers make no sense), "not-found" (no such namespace), "unsupported" (umpath cannot).
 */
export type BringUpErrorKind = "refused" | "unreachable" | "protocol" | "not-found" | "unsupported";

/** Thrown when a controller cannot be brought up. */
export class AdminError extends Error {
  override name = "AdminError";
  constructor(
    readonly kind: BringUpErrorKind,
    message: string,
    /** Whether the next attempt may succeed although nobody changes anything. */
    readonly retryable: boolean,
    /** The status that the controller gave, if that is why: its number is the cause. */
    status?: number,
    /** What of a Connect was refused. */
    readonly about: ConnectSubject | null = null,
  ) {
    super(message, status === undefined ? undefined : { cause: new Error(statusNumberWords(status)) });
  }
}

/** Sends a command, whatever becomes of it. */
export function* ask(command: AdminCommand): Steps<CommandAnswer> {
  const answer = yield { kind: "command", command };
  assert(answer !== null, "A command is answered with its completion");
  return answer;
}

/** Sends a command that has to succeed. */
export function* demand(command: AdminCommand): Steps<CommandAnswer> {
  const answer = yield* ask(command);
  if (answer.status !== 0) throw commandFailure(command, answer.status);
  return answer;
}

/** Lets time pass; `why` completes "it did not come up in time: ". */
export function* wait(ms: number, why?: string): Steps<void> {
  const answer = yield { kind: "wait", ms, ...why === undefined ? {} : { why } };
  assert(answer === null, "A wait is answered with null");
}

/** The error for a command that ended with `status`: "Identify controller failed: internal error". */
export function commandFailure(command: AdminCommand, status: number): AdminError {
  const words = `${command.name[0].toUpperCase()}${command.name.slice(1)} failed: ${statusWords(status)}`;
  const passes = !isLastingRefusal(status);
  const authentication = (status & StatusField.CODE_MASK) === StatusCode.AUTHENTICATION_REQUIRED;
  if (authentication) return new AdminError("refused", words, false, status, "authentication");
  return new AdminError(passes ? "unreachable" : "refused", words, passes || mayRetry(status), status);
}
