/** PDUs and submission queue entries made by hand, good and bad. They share only `src/protocol` with the product. */
import { naiveCrc32c } from "../unit/nvme_target/naive_host.ts";
import { CapsuleCmdAt, DIGEST_BYTES, ICReqAt, PduAt, PduFlag, PduHlen, PduType } from "../../src/protocol/nvme_tcp.ts";
import {
  CONNECT_DATA_BYTES,
  ConnectAt,
  ConnectAttribute,
  ConnectDataAt,
  PropertyCommandAt,
} from "../../src/protocol/nvme_fabrics.ts";
import {
  AdminOpcode,
  FABRICS_OPCODE,
  FabricsType,
  FeatureId,
  SglAt,
  SglIdentifier,
  SQE_BYTES,
  SQE_FCTYPE_AT,
  SQE_FLAGS_PSDT_SGL,
  SqeAt,
} from "../../src/protocol/nvme.ts";

const HOST_NQN = "nqn.2014-08.org.nvmexpress:uuid:1f0e0d0c-0b0a-4908-8706-050403020100";
/** Queue entries of the I/O queues here. */
const QUEUE_ENTRIES = 32;

/** A PDU with its common header; what comes after it is zero. */
export function pdu(type: number, bytes: number, hlen: number = bytes, pdo = 0): Uint8Array<ArrayBuffer> {
  const made = new Uint8Array(bytes);
  made[PduAt.TYPE] = type;
  made[PduAt.HLEN] = hlen;
  made[PduAt.PDO] = pdo;
  new DataView(made.buffer).setUint32(PduAt.PLEN, bytes, true);
  return made;
}

export function icReq({ digests = 0, pfv = 0, hpda = 0 } = {}): Uint8Array<ArrayBuffer> {
  const made = pdu(PduType.ICReq, PduHlen.ICReq);
  made[ICReqAt.PFV] = pfv;
  made[ICReqAt.HPDA] = hpda;
  made[ICReqAt.DGST] = digests;
  return made;
}

/** A submission queue entry with an opcode. */
export function sqe(opcode: number): Uint8Array<ArrayBuffer> {
  const made = new Uint8Array(SQE_BYTES);
  made[SqeAt.OPC] = opcode;
  made[SqeAt.FLAGS] = SQE_FLAGS_PSDT_SGL;
  return made;
}

/** Says in an entry where its data is: in the capsule, or to be moved by the transport. */
export function withSgl(entry: Uint8Array<ArrayBuffer>, bytes: number, identifier: number): Uint8Array<ArrayBuffer> {
  new DataView(entry.buffer).setUint32(SqeAt.SGL1 + SglAt.LENGTH, bytes, true);
  entry[SqeAt.SGL1 + SglAt.IDENTIFIER] = identifier;
  return entry;
}

/** A command capsule; the data, if there is any, travels in it. */
export function capsule(entry: Uint8Array<ArrayBuffer>, data?: Uint8Array): Uint8Array<ArrayBuffer> {
  const hlen = PduHlen.CapsuleCmd;
  const made = pdu(PduType.CapsuleCmd, hlen + (data?.length ?? 0), hlen, data === undefined ? 0 : hlen);
  if (data !== undefined) withSgl(entry, data.length, SglIdentifier.DATA_BLOCK_OFFSET);
  made.set(entry, CapsuleCmdAt.SQE);
  if (data !== undefined) made.set(data, hlen);
  return made;
}

export function connectSqe(qid: number, { katoMs = 0 } = {}): Uint8Array<ArrayBuffer> {
  const entry = sqe(FABRICS_OPCODE);
  entry[SQE_FCTYPE_AT] = FabricsType.CONNECT;
  const view = new DataView(entry.buffer);
  view.setUint16(ConnectAt.QID, qid, true);
  view.setUint16(ConnectAt.SQSIZE, QUEUE_ENTRIES - 1, true);
  entry[ConnectAt.CATTR] = ConnectAttribute.DISABLE_SQ_FLOW_CONTROL;
  view.setUint32(ConnectAt.KATO, katoMs, true);
  return entry;
}

export function connectData(nqn: string, cntlid: number, hostNqn = HOST_NQN): Uint8Array<ArrayBuffer> {
  const data = new Uint8Array(CONNECT_DATA_BYTES);
  const encoder = new TextEncoder();
  data.fill(0x1f, ConnectDataAt.HOSTID, ConnectDataAt.HOSTID + 16);
  new DataView(data.buffer).setUint16(ConnectDataAt.CNTLID, cntlid, true);
  data.set(encoder.encode(nqn), ConnectDataAt.SUBNQN);
  data.set(encoder.encode(hostNqn), ConnectDataAt.HOSTNQN);
  return data;
}

export function propertySetSqe(property: number, value: number): Uint8Array<ArrayBuffer> {
  const entry = sqe(FABRICS_OPCODE);
  entry[SQE_FCTYPE_AT] = FabricsType.PROPERTY_SET;
  const view = new DataView(entry.buffer);
  view.setUint32(PropertyCommandAt.OFST, property, true);
  view.setUint32(PropertyCommandAt.VALUE, value, true);
  return entry;
}

export function propertyGetSqe(property: number): Uint8Array<ArrayBuffer> {
  const entry = sqe(FABRICS_OPCODE);
  entry[SQE_FCTYPE_AT] = FabricsType.PROPERTY_GET;
  new DataView(entry.buffer).setUint32(PropertyCommandAt.OFST, property, true);
  return entry;
}

/** Set Features that asks for some I/O queues. */
export function numberOfQueuesSqe(): Uint8Array<ArrayBuffer> {
  const entry = sqe(AdminOpcode.SET_FEATURES);
  const view = new DataView(entry.buffer);
  view.setUint32(SqeAt.CDW10, FeatureId.NUMBER_OF_QUEUES, true);
  view.setUint32(SqeAt.CDW11, 3 << 16 | 3, true);
  return entry;
}

/** Identify Controller, which gives 4096 bytes. */
export function identifySqe(): Uint8Array<ArrayBuffer> {
  const entry = withSgl(sqe(AdminOpcode.IDENTIFY), 4096, SglIdentifier.TRANSPORT_DATA_BLOCK);
  new DataView(entry.buffer).setUint32(SqeAt.CDW10, 1, true);
  return entry;
}

/** Read or write of namespace 1; the data of a write has to travel in the capsule. */
export function ioSqe(opcode: number, lba: number, { blocks, bytes }: { blocks: number; bytes: number }) {
  const entry = withSgl(sqe(opcode), bytes, SglIdentifier.TRANSPORT_DATA_BLOCK);
  const view = new DataView(entry.buffer);
  view.setUint32(SqeAt.NSID, 1, true);
  view.setUint32(SqeAt.CDW10, lba, true);
  view.setUint32(SqeAt.CDW12, blocks - 1, true);
  return entry;
}

/** A capsule as it is where data digests are agreed on. */
export function withDataDigest(made: Uint8Array<ArrayBuffer>): Uint8Array<ArrayBuffer> {
  const pdo = made[PduAt.PDO]!;
  if (pdo === 0) return made;
  const longer = new Uint8Array(made.length + DIGEST_BYTES);
  longer.set(made);
  new DataView(longer.buffer).setUint32(made.length, naiveCrc32c(made.subarray(pdo)), true);
  longer[PduAt.FLAGS]! |= PduFlag.DDGSTF;
  return withPlen(longer, longer.length);
}

/** True if the data of a PDU has no digest, or the right one. */
export function isDataIntact(received: Uint8Array): boolean {
  if ((received[PduAt.FLAGS]! & PduFlag.DDGSTF) === 0) return true;
  const end = received.length - DIGEST_BYTES;
  const digest = new DataView(received.buffer, received.byteOffset).getUint32(end, true);
  return digest === naiveCrc32c(received.subarray(received[PduAt.PDO]!, end));
}

/** A copy of a PDU with some bytes changed. */
export function spoilt(good: Uint8Array, changes: Record<number, number>): Uint8Array<ArrayBuffer> {
  const made = Uint8Array.from(good);
  for (const [at, value] of Object.entries(changes)) made[Number(at)] = value;
  return made;
}

/** A copy of a PDU that says that it is `plen` bytes long. */
export function withPlen(good: Uint8Array, plen: number): Uint8Array<ArrayBuffer> {
  const made = Uint8Array.from(good);
  new DataView(made.buffer).setUint32(PduAt.PLEN, plen, true);
  return made;
}

/** A copy of a PDU that claims to carry a header digest that nobody agreed on. */
export function withHeaderDigestFlag(good: Uint8Array): Uint8Array<ArrayBuffer> {
  return spoilt(good, { [PduAt.FLAGS]: good[PduAt.FLAGS]! | PduFlag.HDGSTF });
}
