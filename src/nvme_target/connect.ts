/** A Connect as it came, and what is wrong with it whatever the subsystem is like (Base 2.0, section 6.3). */

import { SQE_FLAGS_FUSE_MASK, SQE_FLAGS_PSDT_MASK, SQE_FLAGS_PSDT_SGL, SqeAt } from "../protocol/nvme.ts";
import {
  CONNECT_DATA_BYTES,
  ConnectAt,
  ConnectAttribute,
  ConnectDataAt,
  ConnectInvalidDw0,
  HOSTID_BYTES,
  NQN_BYTES_MAX,
  NQN_FIELD_BYTES,
} from "../protocol/nvme_fabrics.ts";
import { StatusCode } from "../protocol/nvme_status.ts";
import { type AdminAnswer, refusal } from "./admin_answer.ts";
import type { AdminCommand } from "./admin_command.ts";

export interface ConnectRequest {
  qid: number;
  /** Entries of the queue, not 0's based. */
  sqEntries: number;
  sqFlowControl: boolean;
  /** Keep alive timeout, milliseconds. */
  katoMs: number;
  /** 16 bytes. */
  hostId: Uint8Array;
  cntlid: number;
  subsystemNqn: string;
  hostNqn: string;
}

/** The field of a Connect that is wrong: of its data, or of its SQE. */
export type ConnectField = keyof typeof ConnectDataAt | keyof typeof ConnectAt;

/** A Connect that is refused: what its host is told, and why, for people. */
export interface ConnectRefusal {
  readonly answer: AdminAnswer;
  /** As the end of a sentence: "its SUBNQN is empty". */
  readonly reason: string;
}

/** A refusal with its reason. */
export function refuseConnect(answer: AdminAnswer, reason: string): ConnectRefusal {
  return { answer, reason };
}

/** A refusal for what one field of the Connect says. */
export function refuseField(field: ConnectField, reason: string): ConnectRefusal {
  return refuseConnect(invalidParameter(field), reason);
}

/** Connect Invalid Parameters, saying which. */
export function invalidParameter(field: ConnectField): AdminAnswer {
  if (field in ConnectDataAt) {
    const ipo = ConnectDataAt[field as keyof typeof ConnectDataAt];
    return refusal(StatusCode.CONNECT_INVALID_PARAMETERS, ipo | ConnectInvalidDw0.IATTR_DATA);
  }
  return refusal(StatusCode.CONNECT_INVALID_PARAMETERS, ConnectAt[field as keyof typeof ConnectAt]);
}

/** The names in the data of a Connect, as far as they can be read, for people: null for those that cannot. */
export function connectNames(data: Uint8Array): { subsystemNqn: string | null; hostNqn: string | null } {
  if (data.length !== CONNECT_DATA_BYTES) return { subsystemNqn: null, hostNqn: null };
  return {
    subsystemNqn: nqnField(data, ConnectDataAt.SUBNQN).text,
    hostNqn: nqnField(data, ConnectDataAt.HOSTNQN).text,
  };
}

/**
 * Reads a Connect and its data; a refusal if it cannot be understood. A host without a name is understood: whether it is
 * let in is the subsystem's to say.
 */
export function parseConnect(command: AdminCommand, data: Uint8Array): ConnectRequest | ConnectRefusal {
  const flags = command.u8(SqeAt.FLAGS);
  if ((flags & SQE_FLAGS_FUSE_MASK) !== 0 || (flags & SQE_FLAGS_PSDT_MASK) !== SQE_FLAGS_PSDT_SGL) {
    return refuseConnect(refusal(StatusCode.INVALID_FIELD), "its Connect is fused, or has no SGL");
  }
  const format = command.u16(ConnectAt.RECFMT);
  if (format !== 0) {
    return refuseConnect(
      refusal(StatusCode.CONNECT_INCOMPATIBLE_FORMAT),
      `its Connect has the unknown format ${format}`,
    );
  }
  if (data.length !== CONNECT_DATA_BYTES) {
    const reason = `its Connect has ${data.length} bytes of data, not ${CONNECT_DATA_BYTES}`;
    return refuseConnect(refusal(StatusCode.DATA_SGL_LENGTH_INVALID), reason);
  }
  const subsystemNqn = nqnField(data, ConnectDataAt.SUBNQN);
  if (subsystemNqn.text === null) return refuseField("SUBNQN", `its subsystem NQN ${subsystemNqn.fault}`);
  if (subsystemNqn.text === "") return refuseField("SUBNQN", "its subsystem NQN is empty");
  const hostNqn = nqnField(data, ConnectDataAt.HOSTNQN);
  if (hostNqn.text === null) return refuseField("HOSTNQN", `its host NQN ${hostNqn.fault}`);
  const sqsize = command.u16(ConnectAt.SQSIZE);
  if (sqsize === 0) return refuseField("SQSIZE", "its queue has one entry only");
  return {
    qid: command.u16(ConnectAt.QID),
    sqEntries: sqsize + 1,
    sqFlowControl: (command.u8(ConnectAt.CATTR) & ConnectAttribute.DISABLE_SQ_FLOW_CONTROL) === 0,
    katoMs: command.u32(ConnectAt.KATO),
    hostId: data.slice(ConnectDataAt.HOSTID, ConnectDataAt.HOSTID + HOSTID_BYTES),
    cntlid: data[ConnectDataAt.CNTLID] | (data[ConnectDataAt.CNTLID + 1] << 8),
    subsystemNqn: subsystemNqn.text,
    hostNqn: hostNqn.text,
  };
}

/** An NQN with its NUL; without a text, what is wrong with it. */
function nqnField(data: Uint8Array, at: number): { text: string; fault: null } | { text: null; fault: string } {
  const field = data.subarray(at, at + NQN_FIELD_BYTES);
  const end = field.indexOf(0);
  if (end < 0) return { text: null, fault: "does not end within its field" };
  if (end > NQN_BYTES_MAX) return { text: null, fault: `is ${end} bytes long` };
  try {
    const text = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(field.slice(0, end));
    return { text, fault: null };
  } catch {
    return { text: null, fault: "is not UTF-8" };
  }
}
