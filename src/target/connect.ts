/** A Connect as it came, and what is wrong with it whatever the subsystem is like (Base 2.0, section 6.3). */

import { SQE_FLAGS_FUSE_MASK, SQE_FLAGS_PSDT_MASK, SQE_FLAGS_PSDT_SGL, SqeAt } from "../spec/nvme.ts";
import {
  CONNECT_DATA_BYTES,
  ConnectAt,
  ConnectAttribute,
  ConnectDataAt,
  ConnectInvalidDw0,
  HOSTID_BYTES,
  NQN_BYTES_MAX,
  NQN_FIELD_BYTES,
} from "../spec/nvme_fabrics.ts";
import { StatusCode } from "../spec/nvme_status.ts";
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

/** Connect Invalid Parameters, saying which. */
export function invalidParameter(field: ConnectField): AdminAnswer {
  if (field in ConnectDataAt) {
    const ipo = ConnectDataAt[field as keyof typeof ConnectDataAt];
    return refusal(StatusCode.CONNECT_INVALID_PARAMETERS, ipo | ConnectInvalidDw0.IATTR_DATA);
  }
  return refusal(StatusCode.CONNECT_INVALID_PARAMETERS, ConnectAt[field as keyof typeof ConnectAt]);
}

/** Reads a Connect and its data; an answer if it cannot be understood. */
export function parseConnect(command: AdminCommand, data: Uint8Array): ConnectRequest | AdminAnswer {
  const flags = command.u8(SqeAt.FLAGS);
  if ((flags & SQE_FLAGS_FUSE_MASK) !== 0 || (flags & SQE_FLAGS_PSDT_MASK) !== SQE_FLAGS_PSDT_SGL) {
    return refusal(StatusCode.INVALID_FIELD);
  }
  if (command.u16(ConnectAt.RECFMT) !== 0) return refusal(StatusCode.CONNECT_INCOMPATIBLE_FORMAT);
  if (data.length !== CONNECT_DATA_BYTES) return refusal(StatusCode.DATA_SGL_LENGTH_INVALID);
  const subsystemNqn = nqn(data, ConnectDataAt.SUBNQN);
  if (subsystemNqn === null) return invalidParameter("SUBNQN");
  const hostNqn = nqn(data, ConnectDataAt.HOSTNQN);
  if (hostNqn === null) return invalidParameter("HOSTNQN");
  const sqsize = command.u16(ConnectAt.SQSIZE);
  if (sqsize === 0) return invalidParameter("SQSIZE");
  return {
    qid: command.u16(ConnectAt.QID),
    sqEntries: sqsize + 1,
    sqFlowControl: (command.u8(ConnectAt.CATTR) & ConnectAttribute.DISABLE_SQ_FLOW_CONTROL) === 0,
    katoMs: command.u32(ConnectAt.KATO),
    hostId: data.slice(ConnectDataAt.HOSTID, ConnectDataAt.HOSTID + HOSTID_BYTES),
    cntlid: data[ConnectDataAt.CNTLID] | (data[ConnectDataAt.CNTLID + 1] << 8),
    subsystemNqn,
    hostNqn,
  };
}

/** An NQN with its NUL; null if it cannot be one. */
function nqn(data: Uint8Array, at: number): string | null {
  const field = data.subarray(at, at + NQN_FIELD_BYTES);
  const end = field.indexOf(0);
  if (end < 1 || end > NQN_BYTES_MAX) return null;
  try {
    return new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(field.slice(0, end));
  } catch {
    return null; // Not UTF-8.
  }
}
