import { SQHD_FLOW_CONTROL_DISABLED } from "../protocol/nvme.ts";
import {
  DIGEST_BYTES,
  DigestFlag,
  ICRespAt,
  PduAt,
  PduFlag,
  PduHlen,
  pduHlen,
  PduType,
  PFV_1_0,
} from "../protocol/nvme_tcp.ts";
import type { CommandSlots } from "./command_slots.ts";
import type { SendBatch } from "./send_batch.ts";
import type { Crc32c, TargetTransfer } from "./transfer.ts";

/** MAXH2CDATA: a host splits what it writes into PDUs of at most so many bytes. */
export const TARGET_MAXH2CDATA = 256 << 10;
/** What one answer adds to a batch: C2HData header with padding, data digest, response with header digest. */
export const ANSWER_HEADER_BYTES_MAX = 128 + DIGEST_BYTES + PduHlen.CapsuleResp + DIGEST_BYTES;
/** Header, data, digest or response. */
export const ANSWER_SEGMENTS_MAX = 3;
/** Most data of one read in one C2HData PDU; the rest of it waits behind the other answers. */
const SHARE_BYTES = 256 << 10;

/** Writes what a controller sends into a batch, with the digests and the alignment that are agreed on. */
export class PduWriter {
  readonly #memory: Uint8Array<ArrayBuffer>;
  readonly #words: Uint32Array;
  readonly #batch: SendBatch;
  readonly #commands: CommandSlots;
  readonly #crc32c: Crc32c;
  #headerDigest = false;
  #dataDigest = false;
  #headerDigestBytes = 0;
  #dataDigestBytes = 0;
  /** Where the data is in C2HData. */
  #c2hPdo: number = PduHlen.C2HData;
  #spoilsDigest = false;

  constructor(
    memory: Uint8Array<ArrayBuffer>,
    parts: { batch: SendBatch; commands: CommandSlots; crc32c: Crc32c },
  ) {
    this.#memory = memory;
    this.#words = new Uint32Array(memory.buffer, memory.byteOffset, memory.byteLength >> 2);
    this.#batch = parts.batch;
    this.#commands = parts.commands;
    this.#crc32c = parts.crc32c;
  }

  settle(transfer: TargetTransfer): void {
    this.#headerDigest = transfer.headerDigest;
    this.#dataDigest = transfer.dataDigest;
    this.#headerDigestBytes = transfer.headerDigest ? DIGEST_BYTES : 0;
    this.#dataDigestBytes = transfer.dataDigest ? DIGEST_BYTES : 0;
    const headerBytes = PduHlen.C2HData + this.#headerDigestBytes;
    this.#c2hPdo = Math.ceil(headerBytes / transfer.hostDataAlignment) * transfer.hostDataAlignment;
  }

  /** The next digest is wrong: that of the next data if the next PDU has data and data has digests. */
  spoilNextDigest(): void {
    this.#spoilsDigest = true;
  }

  /** The end of the IC exchange (NVMe/TCP, section 3.6.2.3). We need no alignment. */
  writeIcResp(): void {
    const at = this.#batch.header(PduHlen.ICResp);
    const memory = this.#memory;
    const words = this.#words;
    words[at >> 2] = PduType.ICResp | (PduHlen.ICResp << 16);
    words[(at + PduAt.PLEN) >> 2] = PduHlen.ICResp;
    memory[at + ICRespAt.PFV] = PFV_1_0;
    memory[at + ICRespAt.DGST] = (this.#headerDigest ? DigestFlag.HDGST : 0) |
      (this.#dataDigest ? DigestFlag.DDGST : 0);
    words[(at + ICRespAt.MAXH2CDATA) >> 2] = TARGET_MAXH2CDATA;
  }

  /** One R2T for all data of the command (section 3.6.2.10). */
  writeR2t(slot: number): void {
    const { cid, tag, dataBytes } = this.#commands;
    const words = this.#words;
    const word = this.#begin(PduType.R2T, PduHlen.R2T + this.#headerDigestBytes);
    words[word + 2] = cid[slot] | (tag[slot] << 16);
    words[word + 3] = 0;
    words[word + 4] = dataBytes[slot];
    this.#endHeader(word, PduHlen.R2T, false);
  }

  /**
   * One C2HData PDU (section 3.6.2.9) with what is left of the slot's data, or a share of it; true if that is all. With
   * `isAnswer` the last one says SUCCESS, and no response follows.
   */
  writeData(slot: number, isAnswer: boolean): boolean {
    const { cid, dataOffset, answerBytes, answerSent } = this.#commands;
    const words = this.#words;
    const from = answerSent[slot];
    const left = answerBytes[slot] - from;
    const bytes = Math.min(left, SHARE_BYTES);
    const isLast = bytes === left;
    const flags = (this.#dataDigest ? PduFlag.DDGSTF : 0) | (isLast ? PduFlag.LAST_PDU : 0) |
      (isLast && isAnswer ? PduFlag.SUCCESS : 0);
    const word = this.#begin(PduType.C2HData, this.#c2hPdo);
    words[word] |= (flags << 8) | (this.#c2hPdo << 24);
    words[word + 1] = this.#c2hPdo + bytes + this.#dataDigestBytes;
    words[word + 2] = cid[slot];
    words[word + 3] = from;
    words[word + 4] = bytes;
    this.#endHeader(word, PduHlen.C2HData, this.#dataDigest);
    this.#batch.data(dataOffset[slot] + from, bytes);
    if (this.#dataDigest) {
      const digest = this.#crc32c(dataOffset[slot] + from, bytes);
      words[this.#batch.header(DIGEST_BYTES) >> 2] = this.#maybeSpoilt(digest);
    }
    answerSent[slot] = from + bytes;
    return isLast;
  }

  /** A response (section 3.6.2.7). `sqHead` is that of the submission queue, or says that there is no flow control. */
  writeResponse(slot: number, sqHead: number = SQHD_FLOW_CONTROL_DISABLED): void {
    const { cid, status, result0, result1 } = this.#commands;
    const words = this.#words;
    const word = this.#begin(PduType.CapsuleResp, PduHlen.CapsuleResp + this.#headerDigestBytes);
    words[word + 2] = result0[slot];
    words[word + 3] = result1[slot];
    words[word + 4] = sqHead;
    words[word + 5] = cid[slot] | (status[slot] << 17);
    this.#endHeader(word, PduHlen.CapsuleResp, false);
  }

  /** Begins a PDU whose headers and padding take `bytes`, which is its PLEN too unless there is data: its first word. */
  #begin(type: number, bytes: number): number {
    const word = this.#batch.header(bytes) >> 2;
    this.#words[word] = type | ((this.#headerDigest ? PduFlag.HDGSTF : 0) << 8) | (pduHlen(type) << 16);
    this.#words[word + 1] = bytes;
    return word;
  }

  #endHeader(word: number, hlen: number, hasDataDigest: boolean): void {
    if (!this.#headerDigest) return;
    const digest = this.#crc32c(word << 2, hlen);
    this.#words[word + (hlen >> 2)] = hasDataDigest ? digest : this.#maybeSpoilt(digest);
  }

  #maybeSpoilt(digest: number): number {
    if (!this.#spoilsDigest) return digest;
    this.#spoilsDigest = false;
    return ~digest;
  }
}
