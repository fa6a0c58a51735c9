/** What the protocol does not allow in the headers that a controller sends, and how the controller is told of it. */
import { CqeAt } from "../protocol/nvme.ts";
import {
  C2HDataAt,
  CapsuleRespAt,
  DIGEST_BYTES,
  DigestFlag,
  FatalErrorStatus,
  ICRespAt,
  MAXH2CDATA_MIN,
  PDA_MAX,
  PDU_COMMON_HEADER_BYTES,
  PduAt,
  PduFlag,
  PduHlen,
  pduHlen,
  pduName,
  PduType,
  PFV_1_0,
  R2TAt,
  TERM_REQ_DATA_BYTES_MAX,
  TermReqAt,
} from "../protocol/nvme_tcp.ts";
import { type CommandTable, DataDirection } from "./command_table.ts";
import { type Crc32c, digestField, type Digests } from "./transfer.ts";

/** A fault that ends the connection. */
export interface PduFault {
  /** What the controller did, in words that follow "the controller". */
  readonly words: string;
  /** Fatal error status and information (NVMe/TCP 1.0, section 3.6.2.4). */
  readonly fes: number;
  readonly fei: number;
}

const DIGEST_FLAGS = PduFlag.HDGSTF | PduFlag.DDGSTF;

/** A fault in the byte `fei` of the header, unless it is another kind. */
function faultOf(words: string, fei: number, fes: number = FatalErrorStatus.INVALID_PDU_HEADER_FIELD): PduFault {
  return { words, fes, fei };
}

/** A PDU that is not due. */
export function sequenceFault(words: string): PduFault {
  return faultOf(words, 0, FatalErrorStatus.PDU_SEQUENCE_ERROR);
}

/**
 * Checks the headers of received PDUs. `at` is where the header begins in the arena, `command` the slot of the command in
 * flight that it names, or -1. The answer is null for a header that is right.
 */
export class PduChecks {
  readonly #view: DataView;
  readonly #commands: CommandTable;
  readonly #crc32c: Crc32c;
  readonly #takesShortReads: boolean;
  #headerDigestBytes = 0;
  #dataDigestBytes = 0;
  /** Flags of digests that PDUs with and without data have. */
  #headerFlags = 0;
  #dataFlags = 0;

  constructor(view: DataView, parts: { commands: CommandTable; crc32c: Crc32c; takesShortReads: boolean }) {
    this.#view = view;
    this.#takesShortReads = parts.takesShortReads;
    this.#commands = parts.commands;
    this.#crc32c = parts.crc32c;
  }

  /** From now on PDUs have these digests. */
  settle({ header, data }: Digests): void {
    this.#headerDigestBytes = header ? DIGEST_BYTES : 0;
    this.#dataDigestBytes = data ? DIGEST_BYTES : 0;
    this.#headerFlags = header ? PduFlag.HDGSTF : 0;
    this.#dataFlags = this.#headerFlags | (data ? PduFlag.DDGSTF : 0);
  }

  /** Bytes of the header of such a PDU and its digest, if it has one: those that begin and end a connection never do. */
  headerBytes(type: number): number {
    const hasDigest = type !== PduType.ICResp && type !== PduType.C2HTermReq;
    return pduHlen(type) + (hasDigest ? this.#headerDigestBytes : 0);
  }

  #plen(at: number): number {
    return this.#view.getUint32(at + PduAt.PLEN, true);
  }

  /** Of the common header all but PLEN. */
  commonHeader(at: number): PduFault | null {
    const type = this.#view.getUint8(at + PduAt.TYPE);
    const hlen = this.#view.getUint8(at + PduAt.HLEN);
    const expected = pduHlen(type);
    if (expected === 0) return faultOf(`sent a ${pduName(type)}`, PduAt.TYPE);
    if (hlen !== expected) return faultOf(`sent a ${pduName(type)} with a header of ${hlen} bytes`, PduAt.HLEN);
    const digests = this.#view.getUint8(at + PduAt.FLAGS) & DIGEST_FLAGS;
    const agreed = type === PduType.C2HData ? this.#dataFlags : type === PduType.ICResp ? 0 : this.#headerFlags;
    if (digests === agreed || type === PduType.C2HTermReq) return null;
    const fault = (digests & ~agreed) === 0
      ? `without the ${digestWords(agreed & ~digests)} that was agreed on`
      : "with a digest, which was not agreed on";
    return faultOf(`sent a ${pduName(type)} ${fault}`, PduAt.FLAGS);
  }

  headerDigest(at: number): PduFault | null {
    const type = this.#view.getUint8(at + PduAt.TYPE);
    const hlen = pduHlen(type);
    const received = this.#view.getUint32(at + hlen, true);
    if (received === (this.#crc32c(at, hlen) >>> 0)) return null;
    const words = `sent ${withArticle(pduName(type))} with a header digest error`;
    return faultOf(words, received, FatalErrorStatus.HEADER_DIGEST_ERROR);
  }

  /**
   * PLEN as far as the type tells, before the header is complete. With a digest, whatever is wrong with a header is said
   * only once that has proved it to be what was sent.
   */
  plen(at: number): PduFault | null {
    const type = this.#view.getUint8(at + PduAt.TYPE);
    return this.#headerDigestBytes === 0 && this.#plen(at) < pduHlen(type) ? this.#plenFault(at) : null;
  }

  #plenFault(at: number): PduFault {
    const name = pduName(this.#view.getUint8(at + PduAt.TYPE));
    return faultOf(`sent ${withArticle(name)} of ${this.#plen(at)} bytes`, PduAt.PLEN);
  }

  /** What was asked for is what is granted: less would be a silent downgrade. */
  icResp(at: number, asked: Digests): PduFault | null {
    const view = this.#view;
    const unsupported = FatalErrorStatus.UNSUPPORTED_PARAMETER;
    if (this.#plen(at) !== PduHlen.ICResp) return this.#plenFault(at);
    const pfv = view.getUint16(at + ICRespAt.PFV, true);
    if (pfv !== PFV_1_0) return faultOf(`wants PDU format version ${pfv}`, ICRespAt.PFV, unsupported);
    const cpda = view.getUint8(at + ICRespAt.CPDA);
    if (cpda > PDA_MAX) return faultOf(`wants a data alignment of ${cpda + 1} dwords`, ICRespAt.CPDA);
    const granted = view.getUint8(at + ICRespAt.DGST);
    const missing = digestField(asked) & ~granted;
    if ((granted & ~digestField(asked)) !== 0) {
      return faultOf("switched digests on that were not asked for", ICRespAt.DGST, unsupported);
    }
    if (missing !== 0) {
      return faultOf(`does not grant the ${digestWords(missing)} that was asked for`, ICRespAt.DGST, unsupported);
    }
    const maxH2cDataBytes = view.getUint32(at + ICRespAt.MAXH2CDATA, true);
    if (maxH2cDataBytes < MAXH2CDATA_MIN || maxH2cDataBytes % 4 !== 0) {
      return faultOf(`gives MAXH2CDATA ${maxH2cDataBytes}`, ICRespAt.MAXH2CDATA);
    }
    return null;
  }

  c2hData(at: number, command: number): PduFault | null {
    const view = this.#view;
    const commands = this.#commands;
    if (command < 0 || commands.direction[command] !== DataDirection.FROM_CONTROLLER) {
      const cid = view.getUint16(at + C2HDataAt.CCCID, true);
      return faultOf(`sent data for command ${cid}, which reads nothing`, C2HDataAt.CCCID);
    }
    const offset = view.getUint32(at + C2HDataAt.DATAO, true);
    const bytes = view.getUint32(at + C2HDataAt.DATAL, true);
    const pdo = view.getUint8(at + PduAt.PDO);
    const plen = this.#plen(at);
    if (pdo < this.headerBytes(PduType.C2HData) || pdo % 4 !== 0 || plen !== pdo + bytes + this.#dataDigestBytes) {
      return faultOf(`sent a C2HData of ${plen} bytes with ${bytes} bytes of data at ${pdo}`, PduAt.PLEN);
    }
    const due = commands.transferred[command];
    const wanted = commands.dataBytes[command] - due;
    if (offset !== due || bytes === 0 || bytes > wanted) {
      const words = `sent ${bytes} bytes from ${offset} on where ${wanted} bytes from ${due} on were due`;
      return faultOf(words, 0, FatalErrorStatus.DATA_TRANSFER_OUT_OF_RANGE);
    }
    const flags = view.getUint8(at + PduAt.FLAGS);
    if ((flags & PduFlag.LAST_PDU) !== 0 && bytes !== wanted && !this.#takesShortReads) {
      return faultOf(`sent its last data with ${wanted - bytes} bytes missing`, PduAt.FLAGS);
    }
    if ((flags & (PduFlag.LAST_PDU | PduFlag.SUCCESS)) === PduFlag.SUCCESS) {
      return faultOf("sent SUCCESS with data that is not the last", PduAt.FLAGS);
    }
    return null;
  }

  capsuleResp(at: number, command: number): PduFault | null {
    const view = this.#view;
    const commands = this.#commands;
    const cqe = at + CapsuleRespAt.CQE;
    if (this.#plen(at) !== this.headerBytes(PduType.CapsuleResp)) return this.#plenFault(at);
    if (command < 0) {
      const cid = view.getUint16(cqe + CqeAt.CID, true);
      return faultOf(`answered command ${cid}, which is not in flight`, CapsuleRespAt.CQE + CqeAt.CID);
    }
    const status = view.getUint16(cqe + CqeAt.STATUS, true) >> 1;
    // What an R2T asked for counts as transferred once it is in a send.
    const unsent = commands.r2tBytes[command];
    const missing = commands.dataBytes[command] - commands.transferred[command] + unsent;
    if (status !== 0 || missing === 0) return null;
    if (this.#takesShortReads && commands.direction[command] === DataDirection.FROM_CONTROLLER) return null;
    return sequenceFault(`told success with ${missing} bytes not transferred`);
  }

  r2t(at: number, command: number): PduFault | null {
    const view = this.#view;
    const commands = this.#commands;
    if (this.#plen(at) !== this.headerBytes(PduType.R2T)) return this.#plenFault(at);
    if (command < 0 || commands.direction[command] !== DataDirection.TO_CONTROLLER) {
      const cid = view.getUint16(at + R2TAt.CCCID, true);
      return faultOf(`asked for data of command ${cid}, which writes nothing`, R2TAt.CCCID);
    }
    if (commands.r2tBytes[command] > 0) {
      return faultOf("sent an R2T before the last one was answered", 0, FatalErrorStatus.LIMIT_EXCEEDED);
    }
    const offset = view.getUint32(at + R2TAt.R2TO, true);
    const bytes = view.getUint32(at + R2TAt.R2TL, true);
    const due = commands.transferred[command];
    const left = commands.dataBytes[command] - due;
    if (bytes === 0 || offset !== due || bytes > left) {
      const words = `asked for ${bytes} bytes from ${offset} on where ${left} from ${due} on are left`;
      return faultOf(words, R2TAt.R2TO, FatalErrorStatus.DATA_TRANSFER_OUT_OF_RANGE);
    }
    return null;
  }
}

/** Digests, given as bits of DGST or of FLAGS, which are the same. */
function digestWords(digests: number): string {
  if (digests === (DigestFlag.HDGST | DigestFlag.DDGST)) return "header and the data digest";
  return digests === DigestFlag.HDGST ? "header digest" : "data digest";
}

function withArticle(name: string): string {
  return `${/^[IR]/.test(name) ? "an" : "a"} ${name}`;
}

/** The part of a header that a termination request shows: all of it, as far as `available` bytes hold it. */
export function offendingBytes(type: number, available: number): number {
  return Math.min(available, TERM_REQ_DATA_BYTES_MAX, pduHlen(type) || PDU_COMMON_HEADER_BYTES);
}

/** The H2CTermReq that tells a controller of its fault and shows it the header (section 3.6.2.4). */
export function terminationRequest(fes: number, fei: number, offending: Uint8Array): Uint8Array<ArrayBuffer> {
  const pdu = new Uint8Array(PduHlen.H2CTermReq + offending.length);
  const view = new DataView(pdu.buffer);
  pdu[PduAt.TYPE] = PduType.H2CTermReq;
  pdu[PduAt.HLEN] = PduHlen.H2CTermReq;
  view.setUint32(PduAt.PLEN, pdu.length, true);
  view.setUint16(TermReqAt.FES, fes, true);
  view.setUint32(TermReqAt.FEI, fei, true);
  pdu.set(offending, TermReqAt.DATA);
  return pdu;
}
