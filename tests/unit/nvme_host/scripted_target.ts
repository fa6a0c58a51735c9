/**
 * The controller's end of one NVMe/TCP connection, for tests: naive, strict and scripted. It parses what the host sends,
 * notes every word that the protocol does not allow in `violations`, and answers by itself or when the test says so.
 * It shares the numbers of `src/protocol` with the host and nothing else.
 */
import { CqeAt, NvmOpcode, RwCdw12, SglAt, SglIdentifier, SqeAt } from "../../../src/protocol/nvme.ts";
import {
  C2HDataAt,
  CapsuleCmdAt,
  CapsuleRespAt,
  H2CDataAt,
  ICReqAt,
  ICRespAt,
  PduAt,
  PduFlag,
  PduHlen,
  PduType,
  R2TAt,
  TermReqAt,
} from "../../../src/protocol/nvme_tcp.ts";

/** How the target speaks; it may be changed at any time. */
export interface TargetManners {
  maxH2cDataBytes: number;
  /** CPDA as on the wire. */
  cpda: number;
  /** Most data in one C2HData PDU. */
  c2hDataBytes: number;
  /** PDO of C2HData. */
  c2hPdo: number;
  /** Digests that ICReq has to ask for, and that all PDUs then have. */
  headerDigest: boolean;
  dataDigest: boolean;
  /** The last C2HData carries SUCCESS, and no response follows. */
  success: boolean;
  /** Most data that one R2T asks for. */
  r2tBytes: number;
  /** Answers ICReq by itself. */
  opens: boolean;
  /** Answers commands by itself; otherwise they wait in `commands` for the test. */
  answers: boolean;
  blockSize: number;
}

/** A command as the target knows it. */
export interface TargetCommand {
  cid: number;
  opcode: number;
  nsid: number;
  /** The whole submission queue entry. */
  sqe: Uint8Array;
  /** The bytes that its SGL names. */
  dataBytes: number;
  inCapsule: boolean;
  lba: number;
  blocks: number;
  fua: boolean;
  /** Data to the controller so far. */
  data: Uint8Array;
  received: number;
  /** Of the R2T in work: tag, first byte, bytes that are missing; tag -1 if there is none. */
  ttag: number;
  r2tNext: number;
  r2tMissing: number;
}

/** What the target's storage does; blocks are those of the manners. */
export interface TargetStorage {
  /** The status; data of a read is put into `data`. */
  execute(command: TargetCommand, data: Uint8Array): number;
}

const MANNERS: TargetManners = {
  maxH2cDataBytes: 131072,
  cpda: 0,
  c2hDataBytes: 1 << 30,
  c2hPdo: 24,
  headerDigest: false,
  dataDigest: false,
  success: false,
  r2tBytes: 1 << 30,
  opens: true,
  answers: true,
  blockSize: 512,
};

export class ScriptedTarget {
  readonly manners: TargetManners;
  /** What broke the protocol, in words; empty for a host without fault. */
  readonly violations: string[] = [];
  /** Commands that are not answered, by CID. */
  readonly commands = new Map<number, TargetCommand>();
  /** H2CData PDUs that came. */
  h2cData: { cid: number; ttag: number; offset: number; bytes: number; last: boolean; pdo: number }[] = [];
  /** The H2CTermReq that came, if any. */
  termReq: Uint8Array | null = null;
  isOpen = false;
  storage: TargetStorage;

  #in = new Uint8Array(1 << 16);
  #inBytes = 0;
  #out: Uint8Array[] = [];
  #outBytes = 0;
  #ttag = 0x0fff;

  constructor(manners: Partial<TargetManners> = {}, storage: TargetStorage = { execute: () => 0 }) {
    this.manners = { ...MANNERS, ...manners };
    this.storage = storage;
  }

  // ── bytes ─────────────────────────────────────────────────────────────────────────────────────────────────────────

  /** Bytes for the host that were not taken yet. */
  get pending(): number {
    return this.#outBytes;
  }

  /** Takes at most `bytes` of what the host is to receive. */
  take(bytes: number): Uint8Array {
    const taken = new Uint8Array(Math.min(bytes, this.#outBytes));
    let at = 0;
    while (at < taken.length) {
      const chunk = this.#out[0];
      const part = chunk.subarray(0, taken.length - at);
      taken.set(part, at);
      at += part.length;
      if (part.length === chunk.length) this.#out.shift();
      else this.#out[0] = chunk.subarray(part.length);
    }
    this.#outBytes -= taken.length;
    return taken;
  }

  /** Sends raw bytes. */
  send(bytes: Uint8Array): void {
    if (bytes.length === 0) return;
    this.#out.push(bytes);
    this.#outBytes += bytes.length;
  }

  /** Bytes of the host, in any pieces. */
  receive(bytes: Uint8Array): void {
    if (this.#inBytes + bytes.length > this.#in.length) {
      const larger = new Uint8Array(2 * (this.#inBytes + bytes.length));
      larger.set(this.#in.subarray(0, this.#inBytes));
      this.#in = larger;
    }
    this.#in.set(bytes, this.#inBytes);
    this.#inBytes += bytes.length;
    let at = 0;
    while (this.#inBytes - at >= 8) {
      const plen = new DataView(this.#in.buffer, at, 8).getUint32(PduAt.PLEN, true);
      if (plen < 8 || plen > 1 << 28) {
        this.violations.push(`PLEN ${plen}`);
        at = this.#inBytes;
        break;
      }
      if (this.#inBytes - at < plen) break;
      this.#pdu(this.#in.subarray(at, at + plen));
      at += plen;
    }
    this.#in.copyWithin(0, at, this.#inBytes);
    this.#inBytes -= at;
  }

  #expect(condition: boolean, words: string): void {
    if (!condition) this.violations.push(words);
  }

  #pdu(pdu: Uint8Array): void {
    const view = new DataView(pdu.buffer, pdu.byteOffset, pdu.length);
    const type = pdu[PduAt.TYPE];
    if (type === PduType.H2CTermReq) {
      this.#expect(pdu.length >= 24 && pdu.length <= 152 && pdu[PduAt.HLEN] === 24, "shape of H2CTermReq");
      this.termReq = pdu.slice();
    } else if (type === PduType.ICReq) this.#icReq(pdu, view);
    else if (type === PduType.CapsuleCmd) this.#capsule(pdu);
    else if (type === PduType.H2CData) this.#h2c(pdu, view);
    else this.violations.push(`PDU of type ${type}`);
  }

  #icReq(pdu: Uint8Array, view: DataView): void {
    this.#expect(!this.isOpen, "ICReq comes once");
    this.#expect(pdu.length === 128 && pdu[PduAt.HLEN] === 128 && pdu[PduAt.PDO] === 0, "shape of ICReq");
    this.#expect(view.getUint16(ICReqAt.PFV, true) === 0, "PFV of ICReq");
    this.#expect(view.getUint32(ICReqAt.MAXR2T, true) === 0, "MAXR2T of ICReq");
    this.#expect(pdu[ICReqAt.HPDA] === 0 && pdu[ICReqAt.DGST] === this.#digests, "HPDA and DGST of ICReq");
    this.isOpen = true;
    if (this.manners.opens) this.sendIcResp();
  }

  /** As on the wire, where DGST and FLAGS have the same bits. */
  get #digests(): number {
    return (this.manners.headerDigest ? 1 : 0) | (this.manners.dataDigest ? 2 : 0);
  }

  /** Checks flags and digests of a PDU; how many bytes its header digest and its data digest take. */
  #checkDigests(pdu: Uint8Array, data: Uint8Array): { headerBytes: number; dataBytes: number } {
    const { headerDigest, dataDigest } = this.manners;
    const hlen = pdu[PduAt.HLEN];
    const view = new DataView(pdu.buffer, pdu.byteOffset, pdu.length);
    const has = (headerDigest ? 1 : 0) | (dataDigest && data.length > 0 ? 2 : 0);
    this.#expect((pdu[PduAt.FLAGS] & 3) === has, "digest flags");
    const isHeaderRight = !headerDigest || view.getUint32(hlen, true) === naiveCrc32c(pdu.subarray(0, hlen));
    this.#expect(isHeaderRight, "header digest");
    const end = pdu.length - 4;
    this.#expect((has & 2) === 0 || view.getUint32(end, true) === naiveCrc32c(data), "data digest");
    return { headerBytes: headerDigest ? 4 : 0, dataBytes: (has & 2) === 0 ? 0 : 4 };
  }

  #capsule(pdu: Uint8Array): void {
    const sqe = pdu.slice(CapsuleCmdAt.SQE, CapsuleCmdAt.SQE + 64);
    const entry = new DataView(sqe.buffer);
    const dataBytes = entry.getUint32(SqeAt.SGL1 + SglAt.LENGTH, true);
    const identifier = sqe[SqeAt.SGL1 + SglAt.IDENTIFIER];
    const inCapsule = identifier === SglIdentifier.DATA_BLOCK_OFFSET;
    const cid = entry.getUint16(SqeAt.CID, true);
    const aligned = roundUp(this.manners.headerDigest ? 76 : 72, (this.manners.cpda + 1) * 4);
    const data = pdu.subarray(aligned, inCapsule ? aligned + dataBytes : aligned);
    const digests = this.#checkDigests(pdu, data);
    this.#expect(this.isOpen, "a command before ICReq");
    this.#expect(pdu[PduAt.HLEN] === 72 && (pdu[PduAt.FLAGS] & ~3) === 0, "header of CapsuleCmd");
    this.#expect(pdu[PduAt.PDO] === (inCapsule ? aligned : 0), "PDO of CapsuleCmd");
    const plen = inCapsule ? aligned + dataBytes + digests.dataBytes : 72 + digests.headerBytes;
    this.#expect(pdu.length === plen, "PLEN of CapsuleCmd");
    this.#expect(
      inCapsule || identifier === (dataBytes > 0 ? SglIdentifier.TRANSPORT_DATA_BLOCK : 0),
      "SGL identifier",
    );
    this.#expect((sqe[SqeAt.FLAGS] & 0xc0) === 0x40, "PSDT");
    this.#expect(entry.getBigUint64(SqeAt.SGL1, true) === 0n, "SGL address");
    this.#expect(!this.commands.has(cid), `CID ${cid} is in use`);
    const cdw12 = entry.getUint32(SqeAt.CDW12, true);
    const command: TargetCommand = {
      cid,
      opcode: sqe[SqeAt.OPC],
      nsid: entry.getUint32(SqeAt.NSID, true),
      sqe,
      dataBytes,
      inCapsule,
      lba: Number(entry.getBigUint64(SqeAt.CDW10, true)),
      blocks: (cdw12 & RwCdw12.NLB_MASK) + 1,
      fua: (cdw12 & RwCdw12.FUA) !== 0,
      data: new Uint8Array(isToController(sqe[SqeAt.OPC]) ? dataBytes : 0),
      received: 0,
      ttag: -1,
      r2tNext: 0,
      r2tMissing: 0,
    };
    this.commands.set(cid, command);
    if (inCapsule) {
      command.data.set(data);
      command.received = dataBytes;
    }
    if (this.manners.answers) this.#goOn(command);
  }

  #h2c(pdu: Uint8Array, view: DataView): void {
    const cid = view.getUint16(H2CDataAt.CCCID, true);
    const ttag = view.getUint16(H2CDataAt.TTAG, true);
    const offset = view.getUint32(H2CDataAt.DATAO, true);
    const bytes = view.getUint32(H2CDataAt.DATAL, true);
    const last = (pdu[PduAt.FLAGS] & PduFlag.LAST_PDU) !== 0;
    const pdo = pdu[PduAt.PDO];
    this.h2cData.push({ cid, ttag, offset, bytes, last, pdo });
    const command = this.commands.get(cid);
    // Data may be under way for a command that was answered early.
    if (command === undefined) return;
    this.#expect(pdu[PduAt.HLEN] === 24, "HLEN of H2CData");
    const digests = this.#checkDigests(pdu, pdu.subarray(pdo, pdo + bytes));
    this.#expect(pdo === roundUp(24 + digests.headerBytes, (this.manners.cpda + 1) * 4), "PDO of H2CData");
    this.#expect(pdu.length === pdo + bytes + digests.dataBytes, "PLEN of H2CData");
    this.#expect(bytes > 0 && bytes <= this.manners.maxH2cDataBytes, "MAXH2CDATA");
    this.#expect(ttag === command.ttag, "TTAG of H2CData");
    this.#expect(offset === command.r2tNext && bytes <= command.r2tMissing, "DATAO and DATAL of H2CData");
    this.#expect(last === (bytes === command.r2tMissing), "LAST_PDU of H2CData");
    if (offset + bytes > command.data.length) return;
    command.data.set(pdu.subarray(pdo, pdo + bytes), offset);
    command.received += bytes;
    command.r2tNext += bytes;
    command.r2tMissing -= bytes;
    if (command.r2tMissing > 0) return;
    command.ttag = -1;
    if (this.manners.answers) this.#goOn(command);
  }

  #goOn(command: TargetCommand): void {
    if (isToController(command.opcode) && command.received < command.dataBytes) {
      return this.sendR2t(command.cid, Math.min(this.manners.r2tBytes, command.dataBytes - command.received));
    }
    this.answer(command.cid);
  }

  // ── answers ───────────────────────────────────────────────────────────────────────────────────────────────────────

  sendIcResp(fields: { pfv?: number; cpda?: number; dgst?: number; maxH2cData?: number } = {}): void {
    const pdu = header(PduType.ICResp, 128, 128);
    const view = new DataView(pdu.buffer);
    view.setUint16(ICRespAt.PFV, fields.pfv ?? 0, true);
    pdu[ICRespAt.CPDA] = fields.cpda ?? this.manners.cpda;
    pdu[ICRespAt.DGST] = fields.dgst ?? this.#digests;
    view.setUint32(ICRespAt.MAXH2CDATA, fields.maxH2cData ?? this.manners.maxH2cDataBytes, true);
    this.send(pdu);
  }

  /** Asks for the next `bytes` bytes of a command. */
  sendR2t(cid: number, bytes: number): void {
    const command = this.commands.get(cid)!;
    command.ttag = this.#ttag = (this.#ttag + 1) & 0xffff;
    command.r2tNext = command.received;
    command.r2tMissing = bytes;
    this.sendPdu(r2tPdu(cid, command.ttag, command.received, bytes));
  }

  /** Executes a command and answers it, as the manners say. */
  answer(cid: number): void {
    const command = this.commands.get(cid)!;
    const data = command.opcode === NvmOpcode.READ ? new Uint8Array(command.dataBytes) : command.data;
    const status = this.storage.execute(command, data);
    const isRead = command.opcode === NvmOpcode.READ && status === 0;
    if (isRead) this.sendData(cid, data);
    if (isRead && this.manners.success) this.commands.delete(cid);
    else this.respond(cid, status);
  }

  /** All data of a read, in as many PDUs as the manners say. */
  sendData(cid: number, data: Uint8Array): void {
    for (let offset = 0; offset < data.length;) {
      const bytes = Math.min(this.manners.c2hDataBytes, data.length - offset);
      const isLast = offset + bytes === data.length;
      const flags = (isLast ? PduFlag.LAST_PDU : 0) | (isLast && this.manners.success ? PduFlag.SUCCESS : 0);
      this.sendPdu(c2hPdu(cid, data.subarray(offset, offset + bytes), { offset, flags, pdo: this.manners.c2hPdo }));
      offset += bytes;
    }
  }

  /** A response capsule; the command is over. */
  respond(cid: number, status: number, result0 = 0, result1 = 0): void {
    this.commands.delete(cid);
    this.sendPdu(responsePdu(cid, status, result0, result1));
  }

  /** Sends a PDU that was made without digests, with those that are agreed on. */
  sendPdu(pdu: Uint8Array): void {
    this.send(withDigests(pdu, this.manners));
  }
}

export function isToController(opcode: number): boolean {
  return (opcode & 3) === 1;
}

function roundUp(value: number, to: number): number {
  return value + (to - value % to) % to;
}

/** A PDU of `plen` bytes with its common header. */
export function header(type: number, hlen: number, plen: number): Uint8Array<ArrayBuffer> {
  const pdu = new Uint8Array(plen);
  pdu[PduAt.TYPE] = type;
  pdu[PduAt.HLEN] = hlen;
  new DataView(pdu.buffer).setUint32(PduAt.PLEN, plen, true);
  return pdu;
}

/** The PDU with digests, for which its data moves on as far as it has to. */
export function withDigests(
  pdu: Uint8Array,
  { headerDigest, dataDigest }: { headerDigest: boolean; dataDigest: boolean },
): Uint8Array<ArrayBuffer> {
  const hlen = pdu[PduAt.HLEN];
  const pdo = pdu[PduAt.PDO];
  const data = pdo === 0 ? new Uint8Array(0) : pdu.subarray(pdo);
  const headerBytes = hlen + (headerDigest ? 4 : 0);
  const dataAt = pdo === 0 ? headerBytes : Math.max(pdo, headerBytes);
  const hasDataDigest = dataDigest && data.length > 0;
  const made = new Uint8Array(dataAt + data.length + (hasDataDigest ? 4 : 0));
  const view = new DataView(made.buffer);
  made.set(pdu.subarray(0, hlen));
  made.fill(0xdd, headerBytes, dataAt);
  made.set(data, dataAt);
  made[PduAt.FLAGS] |= (headerDigest ? PduFlag.HDGSTF : 0) | (hasDataDigest ? PduFlag.DDGSTF : 0);
  if (pdo !== 0) made[PduAt.PDO] = dataAt;
  view.setUint32(PduAt.PLEN, made.length, true);
  if (headerDigest) view.setUint32(hlen, naiveCrc32c(made.subarray(0, hlen)), true);
  if (hasDataDigest) view.setUint32(made.length - 4, naiveCrc32c(data), true);
  return made;
}

/** CRC32C bit by bit: reflected polynomial 82F63B78h, all ones at both ends. */
export function naiveCrc32c(bytes: Uint8Array): number {
  let crc = 0xffffffff;
  for (const byte of bytes) {
    crc ^= byte;
    for (let bit = 0; bit < 8; bit++) crc = (crc >>> 1) ^ (crc & 1 ? 0x82f63b78 : 0);
  }
  return (crc ^ 0xffffffff) >>> 0;
}

export function responsePdu(cid: number, status = 0, result0 = 0, result1 = 0): Uint8Array<ArrayBuffer> {
  const pdu = header(PduType.CapsuleResp, PduHlen.CapsuleResp, 24);
  const view = new DataView(pdu.buffer, CapsuleRespAt.CQE);
  view.setUint32(CqeAt.DW0, result0, true);
  view.setUint32(CqeAt.DW1, result1, true);
  view.setUint16(CqeAt.SQHD, 0xffff, true);
  view.setUint16(CqeAt.CID, cid, true);
  view.setUint16(CqeAt.STATUS, status << 1, true);
  return pdu;
}

export function c2hPdu(
  cid: number,
  data: Uint8Array,
  options: { offset?: number; flags?: number; pdo?: number } = {},
): Uint8Array<ArrayBuffer> {
  const pdo = options.pdo ?? 24;
  const pdu = header(PduType.C2HData, PduHlen.C2HData, pdo + data.length);
  const view = new DataView(pdu.buffer);
  pdu[PduAt.FLAGS] = options.flags ?? PduFlag.LAST_PDU;
  pdu[PduAt.PDO] = pdo;
  view.setUint16(C2HDataAt.CCCID, cid, true);
  view.setUint32(C2HDataAt.DATAO, options.offset ?? 0, true);
  view.setUint32(C2HDataAt.DATAL, data.length, true);
  pdu.fill(0xdd, 24, pdo);
  pdu.set(data, pdo);
  return pdu;
}

export function r2tPdu(cid: number, ttag: number, offset: number, bytes: number): Uint8Array<ArrayBuffer> {
  const pdu = header(PduType.R2T, PduHlen.R2T, 24);
  const view = new DataView(pdu.buffer);
  view.setUint16(R2TAt.CCCID, cid, true);
  view.setUint16(R2TAt.TTAG, ttag, true);
  view.setUint32(R2TAt.R2TO, offset, true);
  view.setUint32(R2TAt.R2TL, bytes, true);
  return pdu;
}

export function termReqPdu(fes: number, fei: number, plen = 24): Uint8Array<ArrayBuffer> {
  const pdu = header(PduType.C2HTermReq, PduHlen.C2HTermReq, plen);
  const view = new DataView(pdu.buffer);
  view.setUint16(TermReqAt.FES, fes, true);
  view.setUint32(TermReqAt.FEI, fei, true);
  return pdu;
}
