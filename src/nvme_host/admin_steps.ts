/** What every admin queue begins with, and how its commands are read: for controllers of every kind. */

import { midSentence } from "../base/text.ts";
import { CNTLID_DYNAMIC, ConnectDw0, QID_ADMIN } from "../protocol/nvme_fabrics.ts";
import { PropertyAt } from "../protocol/nvme_property.ts";
import { AnaLogError } from "./ana.ts";
import { type AdminCommand, connectCommand, propertyGetCommand } from "./commands.ts";
import { type Capabilities, parseCapabilities } from "./enable.ts";
import { IdentifyError } from "./identify.ts";
import { connectRefusal, isLastingRefusal } from "./status.ts";
import { AdminError, ask, type CommandAnswer, commandFailure, demand, type Steps, wait } from "./steps.ts";

/** Commands that may be outstanding on the admin queue; also its SQSIZE, 0's based. */
export const ADMIN_QUEUE_DEPTH = 31;

/** CNTLIDs from here on are reserved (Base 2.0, section 6.3). */
const CNTLID_RESERVED = 0xfff0;

/** How often what a controller tells of itself is read before a failure counts, and the pause in between. */
const READ_TRIES = 3;
const READ_PAUSE_MS = 100;

/** Who connects to what. */
export interface AdminQueueOptions {
  subsystemNqn: string;
  hostNqn: string;
  /** 16 bytes. */
  hostId: Uint8Array;
  /** Keep alive timeout to ask for, milliseconds; null: none. */
  keepAliveMs: number | null;
}

/** What a Connect of the admin queue gave. */
export interface AdminConnected {
  cntlid: number;
  /** The target takes only Connects that leave flow control on. */
  flowControl: boolean;
}

/** Connects the admin queue: without flow control, or with it where a target does not take that attribute. */
export function* connectAdminQueue(options: AdminQueueOptions): Steps<AdminConnected> {
  const connect = (flowControl: boolean) =>
    connectCommand({
      qid: QID_ADMIN,
      sqsize: ADMIN_QUEUE_DEPTH,
      keepAliveMs: options.keepAliveMs ?? 0,
      hostId: options.hostId,
      cntlid: CNTLID_DYNAMIC,
      subsystemNqn: options.subsystemNqn,
      hostNqn: options.hostNqn,
      flowControl,
    });
  let answer = yield* ask(connect(false));
  const flowControl = isAttributeRefused(answer);
  if (flowControl) answer = yield* ask(connect(true));
  if (answer.status !== 0) {
    const { kind, words, retryable, about } = connectRefusal(answer.status, answer.result0);
    throw new AdminError(kind, words, retryable, answer.status, about);
  }
  const cntlid = answer.result0 & ConnectDw0.CNTLID_MASK;
  const authentication = ConnectDw0.AUTHENTICATION_REQUIRED | ConnectDw0.SECURE_CHANNEL_REQUIRED;
  if ((answer.result0 & authentication) !== 0) {
    const words = "The target requires authentication, which is not configured";
    throw new AdminError("refused", words, false, undefined, "authentication");
  }
  if (cntlid >= CNTLID_RESERVED) {
    throw new AdminError("protocol", `Connect gave the reserved controller ID ${cntlid}`, true);
  }
  return { cntlid, flowControl };
}

/** True if a Connect may be taken without its attributes. */
export function isAttributeRefused({ status, result0 }: Pick<CommandAnswer, "status" | "result0">): boolean {
  return status !== 0 && connectRefusal(status, result0).about === "attributes";
}

/** Reads CAP and VS. */
export function* readCapabilities(): Steps<Capabilities> {
  const cap = yield* demand(propertyGetCommand("CAP", { offset: PropertyAt.CAP, bytes: 8 }));
  const vs = yield* demand(propertyGetCommand("VS", { offset: PropertyAt.VS, bytes: 4 }));
  return parseCapabilities({ capLow: cap.result0, capHigh: cap.result1, vs: vs.result0 });
}

/** Sends a command that has to succeed and reads its data, again if that fails in a way that passes. */
export function* read<T>(command: AdminCommand, parse: (data: Uint8Array) => T): Steps<T> {
  return yield* persist(function* () {
    const answer = yield* demand(command);
    return parsed(command, answer.data, parse);
  });
}

/** Sends a command that a controller need not support, again if that fails in a way that passes; null if it does not. */
export function* readIfSupported<T>(command: AdminCommand, parse: (data: Uint8Array) => T): Steps<T | null> {
  return yield* persist(function* () {
    const answer = yield* ask(command);
    if (answer.status === 0) return parsed(command, answer.data, parse);
    if (isLastingRefusal(answer.status)) return null;
    throw commandFailure(command, answer.status);
  });
}

/** Does `steps` again, a few times after a pause, if they fail in a way that may pass: a single failure proves nothing. */
export function* persist<T>(steps: () => Steps<T>): Steps<T> {
  for (let tries = 1;; tries++) {
    try {
      return yield* steps();
    } catch (error) {
      if (!(error instanceof AdminError) || !error.retryable || tries === READ_TRIES) throw error;
    }
    yield* wait(READ_PAUSE_MS);
  }
}

/** Sends a command that a controller need not support; whether it did. */
export function* tolerate(command: AdminCommand): Steps<boolean> {
  const answer = yield* ask(command);
  if (answer.status === 0) return true;
  if (isLastingRefusal(answer.status)) return false;
  throw commandFailure(command, answer.status);
}

/** What the data says; data that makes no sense is a failure of the command. */
export function parsed<T>(command: AdminCommand, data: Uint8Array | null, parse: (data: Uint8Array) => T): T {
  try {
    return parse(data ?? new Uint8Array(0));
  } catch (cause) {
    if (!(cause instanceof IdentifyError) && !(cause instanceof AnaLogError)) throw cause;
    const kind = cause instanceof IdentifyError ? cause.kind : "protocol";
    throw new AdminError(
      kind,
      `Cannot use the answer to ${command.name}: ${midSentence(cause.message)}`,
      kind === "protocol",
    );
  }
}
