/**
 * Fabrics and admin commands as 64-byte submission queue entries. The CID (bytes 2 and 3) and the SGL descriptor
 * (bytes 24 to 39) stay zero: the connection fills them in when it gives the command a slot.
 */

import { assert } from "../base/assert.ts";
import {
  AdminOpcode,
  FABRICS_OPCODE,
  FabricsType,
  FeatureId,
  HOST_BEHAVIOR_BYTES,
  HostBehaviorAt,
  SQE_BYTES,
  SQE_FCTYPE_AT,
  SQE_FLAGS_PSDT_SGL,
  SqeAt,
} from "../protocol/nvme.ts";
import {
  CNTLID_DYNAMIC,
  CONNECT_DATA_BYTES,
  ConnectAt,
  ConnectAttribute,
  ConnectDataAt,
  HOSTID_BYTES,
  NQN_BYTES_MAX,
  PropertyCommandAt,
  PropertySize,
  QID_ADMIN,
} from "../protocol/nvme_fabrics.ts";
import { IDENTIFY_BYTES, IDENTIFY_CDW11_CSI_SHIFT, IdentifyCns } from "../protocol/nvme_identify.ts";
import { GetLogPageCdw10 } from "../protocol/nvme_log.ts";

/** A command for the admin queue, or a Connect for any queue. */
export interface AdminCommand {
  /** What it is called in logs and errors: "identify controller". */
  readonly name: string;
  /** 64 bytes; CID and SGL are zero. */
  readonly sqe: Uint8Array;
  /** Data that goes to the controller, always in the capsule; null if there is none. */
  readonly dataOut: Uint8Array | null;
  /** Bytes of data that come back; 0 if there are none. */
  readonly dataInBytes: number;
}

export interface ConnectOptions {
  /** 0 is the admin queue. */
  qid: number;
  /** The SQSIZE field, 0's based. No more than this many commands may be outstanding on the queue. */
  sqsize: number;
  /** Keep alive timeout, milliseconds, admin queue only; 0 is none. */
  keepAliveMs: number;
  /** 16 bytes. */
  hostId: Uint8Array;
  /** {@linkcode CNTLID_DYNAMIC} for the admin queue, else the CNTLID that it got. */
  cntlid: number;
  subsystemNqn: string;
  hostNqn: string;
  /** Submission queue flow control stays on: the target does not take Connect that switches it off. */
  flowControl?: boolean;
}

/**
 * Connect (Base 2.0, section 6.3), asking for no submission queue flow control unless that is refused. With it a queue
 * never overflows either: no more commands are outstanding than the queue has entries.
 */
export function connectCommand(options: ConnectOptions): AdminCommand {
  assert(options.qid !== QID_ADMIN || options.cntlid === CNTLID_DYNAMIC, "An admin queue asks for a new controller");
  const { sqe, view } = fabricsSqe(FabricsType.CONNECT);
  view.setUint16(ConnectAt.QID, options.qid, true);
  view.setUint16(ConnectAt.SQSIZE, options.sqsize, true);
  view.setUint8(ConnectAt.CATTR, options.flowControl === true ? 0 : ConnectAttribute.DISABLE_SQ_FLOW_CONTROL);
  view.setUint32(ConnectAt.KATO, options.qid === QID_ADMIN ? options.keepAliveMs : 0, true);
  const name = options.qid === QID_ADMIN ? "connect" : `connect of I/O queue ${options.qid}`;
  return { name, sqe, dataOut: connectData(options), dataInBytes: 0 };
}

/** The 1024 bytes of data that Connect carries (Base 2.0, section 6.3). */
export function connectData(
  options: Pick<ConnectOptions, "hostId" | "cntlid" | "subsystemNqn" | "hostNqn">,
): Uint8Array {
  assert(options.hostId.length === HOSTID_BYTES, "A host identifier has 16 bytes");
  const data = new Uint8Array(CONNECT_DATA_BYTES);
  data.set(options.hostId, ConnectDataAt.HOSTID);
  new DataView(data.buffer).setUint16(ConnectDataAt.CNTLID, options.cntlid, true);
  data.set(nqnBytes(options.subsystemNqn), ConnectDataAt.SUBNQN);
  data.set(nqnBytes(options.hostNqn), ConnectDataAt.HOSTNQN);
  return data;
}

export interface ConnectIoQueueOptions {
  /** 1 or more. */
  qid: number;
  /** Commands that may be outstanding at once on the queue; goes out as SQSIZE. */
  queueDepth: number;
  /** What the admin queue's Connect got. */
  cntlid: number;
  hostId: Uint8Array;
  subsystemNqn: string;
  hostNqn: string;
  flowControl?: boolean;
}

/** Connect of an I/O queue over its own connection, after bring-up (Base 2.0, section 6.3). */
export function connectIoQueueCommand(options: ConnectIoQueueOptions): AdminCommand {
  assert(options.qid > 0, "I/O queues count from 1");
  return connectCommand({ ...options, sqsize: options.queueDepth, keepAliveMs: 0 });
}

/** Property Get (Base 2.0, section 6.5). The value is in result0 and, for 8 bytes, result1. */
export function propertyGetCommand(name: string, property: { offset: number; bytes: 4 | 8 }): AdminCommand {
  const { sqe, view } = fabricsSqe(FabricsType.PROPERTY_GET);
  view.setUint8(PropertyCommandAt.ATTRIB, property.bytes === 8 ? PropertySize.BYTES_8 : PropertySize.BYTES_4);
  view.setUint32(PropertyCommandAt.OFST, property.offset, true);
  return { name: `read of property ${name}`, sqe, dataOut: null, dataInBytes: 0 };
}

/** Property Set of 4 bytes (Base 2.0, section 6.6). */
export function propertySetCommand(name: string, property: { offset: number; value: number }): AdminCommand {
  const { sqe, view } = fabricsSqe(FabricsType.PROPERTY_SET);
  view.setUint8(PropertyCommandAt.ATTRIB, PropertySize.BYTES_4);
  view.setUint32(PropertyCommandAt.OFST, property.offset, true);
  view.setUint32(PropertyCommandAt.VALUE, property.value, true);
  return { name: `write of property ${name}`, sqe, dataOut: null, dataInBytes: 0 };
}

/** Identify (Base 2.0, section 5.17). `csi` is only for the structures that are of one I/O command set. */
export function identifyCommand(name: string, identify: { cns: number; nsid: number; csi?: number }): AdminCommand {
  const { sqe, view } = adminSqe(AdminOpcode.IDENTIFY, identify.nsid);
  view.setUint32(SqeAt.CDW10, identify.cns, true);
  view.setUint32(SqeAt.CDW11, (identify.csi ?? 0) << IDENTIFY_CDW11_CSI_SHIFT, true);
  return { name: `identify ${name}`, sqe, dataOut: null, dataInBytes: IDENTIFY_BYTES };
}

/** Identify of the controller itself. */
export function identifyControllerCommand(): AdminCommand {
  return identifyCommand("controller", { cns: IdentifyCns.CONTROLLER, nsid: 0 });
}

/** Set Features, Number of Queues: `queues` I/O submission and completion queues each (Base 2.0, section 5.27.1.5). */
export function setNumberOfQueuesCommand(queues: number): AdminCommand {
  assert(queues >= 1 && queues <= 65535, "A controller has 1 to 65535 I/O queues");
  const zeroBased = queues - 1;
  return setFeatures("number of queues", FeatureId.NUMBER_OF_QUEUES, (zeroBased << 16) | zeroBased);
}

/** Set Features, Asynchronous Event Configuration (Base 2.0, section 5.27.1.8). `events` has the bits of `AsyncEventConfig`. */
export function setAsyncEventConfigurationCommand(events: number): AdminCommand {
  return setFeatures("asynchronous events", FeatureId.ASYNC_EVENT_CONFIGURATION, events);
}

/** Set Features, Host Behavior Support: lets the controller tell retry delays (Base 2.0, section 5.27.1). */
export function setHostBehaviorCommand(): AdminCommand {
  const data = new Uint8Array(HOST_BEHAVIOR_BYTES);
  data[HostBehaviorAt.ACRE] = 1;
  return { ...setFeatures("host behavior", FeatureId.HOST_BEHAVIOR_SUPPORT, 0), dataOut: data };
}

/** Keep Alive (Base 2.0, section 5.18). */
export function keepAliveCommand(): AdminCommand {
  return { name: "keep alive", sqe: adminSqe(AdminOpcode.KEEP_ALIVE, 0).sqe, dataOut: null, dataInBytes: 0 };
}

/** Asynchronous Event Request (Base 2.0, section 5.2). It is answered when something happens, perhaps never. */
export function asyncEventRequestCommand(): AdminCommand {
  const { sqe } = adminSqe(AdminOpcode.ASYNC_EVENT_REQUEST, 0);
  return { name: "asynchronous event request", sqe, dataOut: null, dataInBytes: 0 };
}

export interface LogPageOptions {
  logId: number;
  /** A namespace, or 0 for logs of the controller. */
  nsid: number;
  /** Bytes to read: a multiple of 4, at least 4. */
  bytes: number;
  /** Bytes to skip: a multiple of 4, below 2^32. Only where LPA offers it. */
  offset?: number;
  /** Log specific field. */
  lsp?: number;
}

/** Get Log Page (Base 2.0, section 5.16). Reading a log clears its asynchronous event. */
export function getLogPageCommand(name: string, options: LogPageOptions): AdminCommand {
  assert(options.bytes >= 4 && options.bytes % 4 === 0, "Logs are read in dwords");
  const { sqe, view } = adminSqe(AdminOpcode.GET_LOG_PAGE, options.nsid);
  const numd = options.bytes / 4 - 1;
  const lsp = ((options.lsp ?? 0) & GetLogPageCdw10.LSP_MASK) << GetLogPageCdw10.LSP_SHIFT;
  view.setUint32(SqeAt.CDW10, options.logId | lsp | ((numd & 0xffff) << GetLogPageCdw10.NUMDL_SHIFT), true);
  view.setUint32(SqeAt.CDW11, numd >>> 16, true);
  view.setUint32(SqeAt.CDW12, options.offset ?? 0, true);
  return { name: `read of the ${name} log`, sqe, dataOut: null, dataInBytes: options.bytes };
}

function setFeatures(name: string, feature: number, cdw11: number): AdminCommand {
  const { sqe, view } = adminSqe(AdminOpcode.SET_FEATURES, 0);
  view.setUint32(SqeAt.CDW10, feature, true);
  view.setUint32(SqeAt.CDW11, cdw11, true);
  return { name: `set features ${name}`, sqe, dataOut: null, dataInBytes: 0 };
}

function adminSqe(opcode: number, nsid: number): { sqe: Uint8Array; view: DataView } {
  const sqe = new Uint8Array(SQE_BYTES);
  const view = new DataView(sqe.buffer);
  sqe[SqeAt.OPC] = opcode;
  sqe[SqeAt.FLAGS] = SQE_FLAGS_PSDT_SGL;
  view.setUint32(SqeAt.NSID, nsid, true);
  return { sqe, view };
}

function fabricsSqe(type: number): { sqe: Uint8Array; view: DataView } {
  const made = adminSqe(FABRICS_OPCODE, 0);
  made.sqe[SQE_FCTYPE_AT] = type;
  return made;
}

function nqnBytes(nqn: string): Uint8Array {
  const bytes = new TextEncoder().encode(nqn);
  assert(bytes.length <= NQN_BYTES_MAX, "An NQN is checked where it is read from the user");
  return bytes;
}
