import { SglIdentifier, SQE_FLAGS_PSDT_SGL } from "../protocol/nvme.ts";
import { DIGEST_BYTES, ICReqAt, PduAt, PduFlag, PduHlen, PduType, PFV_1_0 } from "../protocol/nvme_tcp.ts";
import { type CommandTable, DataDirection } from "./command_table.ts";
import type { SendBuffer } from "./send_buffer.ts";
import { type Crc32c, digestField, type Digests, type TransferParameters } from "./transfer.ts";

/**
 * What a PDU takes at most besides its data: PDO is at most 128 for every alignment that CPDA can ask for, and a data
 * digest follows; in whole 8 bytes.
 */
export const HEADER_BYTES_MAX = 128 + 8;
/** Header, data, and data digest: what follows it in the send buffer continues the last one. */
const SEGMENTS_MAX = 3;

/** Writes what a host sends into its send buffer, with the digests and the alignment that are agreed on. */
export class PduWriter {
  readonly #memory: Uint8Array<ArrayBuffer>;
  readonly #words: Uint32Array;
  readonly #sendBuffer: SendBuffer;
  readonly #commands: CommandTable;
  readonly #crc32c: Crc32c;
  #maxH2cDataBytes = 0;
  #headerDigestBytes = 0;
  #dataDigestBytes = 0;
  /** Flags of PDUs with and without data. */
  #headerFlags = 0;
  #dataFlags = 0;
  /** Where the data is in CapsuleCmd and in H2CData. */
  #capsulePdo: number = PduHlen.CapsuleCmd;
  #h2cPdo: number = PduHlen.H2CData;

  constructor(
    memory: Uint8Array<ArrayBuffer>,
    parts: { sendBuffer: SendBuffer; commands: CommandTable; crc32c: Crc32c },
  ) {
    this.#memory = memory;
    this.#words = new Uint32Array(memory.buffer, memory.byteOffset, memory.byteLength >> 2);
    this.#sendBuffer = parts.sendBuffer;
    this.#commands = parts.commands;
    this.#crc32c = parts.crc32c;
  }

  settle(parameters: TransferParameters): void {
    this.#maxH2cDataBytes = parameters.maxH2cDataBytes;
    const { header, data } = parameters.digests;
    this.#headerDigestBytes = header ? DIGEST_BYTES : 0;
    this.#dataDigestBytes = data ? DIGEST_BYTES : 0;
    this.#headerFlags = header ? PduFlag.HDGSTF : 0;
    this.#dataFlags = this.#headerFlags | (data ? PduFlag.DDGSTF : 0);
    this.#capsulePdo = alignUp(PduHlen.CapsuleCmd + this.#headerDigestBytes, parameters.dataAlignment);
    this.#h2cPdo = alignUp(PduHlen.H2CData + this.#headerDigestBytes, parameters.dataAlignment);
  }

  /** The begin of the IC exchange (NVMe/TCP 1.0, section 3.6.2.2). We need no alignment and take one R2T at a time. */
  writeIcReq(digests: Digests): void {
    const at = this.#sendBuffer.header(PduHlen.ICReq);
    const words = this.#words;
    words[at >> 2] = PduType.ICReq | (PduHlen.ICReq << 16);
    words[(at + PduAt.PLEN) >> 2] = PduHlen.ICReq;
    this.#memory[at + ICReqAt.PFV] = PFV_1_0;
    this.#memory[at + ICReqAt.DGST] = digestField(digests);
  }

  /** A command (section 3.6.2.6), with all of its data if `inCapsule`. */
  writeCapsule(command: number, sqe: Uint32Array, inCapsule: boolean): void {
    const commands = this.#commands;
    const bytes = commands.dataBytes[command];
    const headerBytes = inCapsule ? this.#capsulePdo : PduHlen.CapsuleCmd + this.#headerDigestBytes;
    const flags = inCapsule ? this.#dataFlags : this.#headerFlags;
    const pdo = inCapsule ? headerBytes : 0;
    const at = this.#sendBuffer.header(headerBytes) >> 2;
    const words = this.#words;
    words[at] = PduType.CapsuleCmd | (flags << 8) | (PduHlen.CapsuleCmd << 16) | (pdo << 24);
    words[at + 1] = inCapsule ? headerBytes + bytes + this.#dataDigestBytes : headerBytes;
    const entry = at + 2;
    for (let i = 0; i < 16; i++) words[entry + i] = sqe[i];
    words[entry] = (sqe[0] & 0xffff) | (SQE_FLAGS_PSDT_SGL << 8) | (commands.cid[command] << 16);
    words[entry + 6] = 0;
    words[entry + 7] = 0;
    words[entry + 8] = bytes;
    words[entry + 9] = (inCapsule ? SglIdentifier.DATA_BLOCK_OFFSET : SglIdentifier.TRANSPORT_DATA_BLOCK) << 24;
    if (commands.direction[command] === DataDirection.NONE) words[entry + 9] = 0;
    if (this.#headerDigestBytes > 0) this.#writeHeaderDigest(at, PduHlen.CapsuleCmd);
    if (inCapsule) this.#writeData(command, commands.dataOffset[command], bytes);
  }

  /** True if a H2CData PDU may be written now. */
  get hasRoom(): boolean {
    return this.#sendBuffer.hasRoom(HEADER_BYTES_MAX, SEGMENTS_MAX);
  }

  /** Answers as much of the command's R2T as one H2CData PDU (section 3.6.2.8) may carry: so many bytes. */
  writeH2cData(command: number): number {
    const commands = this.#commands;
    const bytes = Math.min(commands.r2tBytes[command], this.#maxH2cDataBytes);
    const offset = commands.r2tOffset[command];
    const isLast = bytes === commands.r2tBytes[command];
    const at = this.#sendBuffer.header(this.#h2cPdo) >> 2;
    const words = this.#words;
    const flags = this.#dataFlags | (isLast ? PduFlag.LAST_PDU : 0);
    words[at] = PduType.H2CData | (flags << 8) | (PduHlen.H2CData << 16) | (this.#h2cPdo << 24);
    words[at + 1] = this.#h2cPdo + bytes + this.#dataDigestBytes;
    words[at + 2] = commands.cid[command] | (commands.r2tTag[command] << 16);
    words[at + 3] = offset;
    words[at + 4] = bytes;
    if (this.#headerDigestBytes > 0) this.#writeHeaderDigest(at, PduHlen.H2CData);
    this.#writeData(command, commands.dataOffset[command] + offset, bytes);
    commands.r2tOffset[command] = offset + bytes;
    commands.r2tBytes[command] -= bytes;
    return bytes;
  }

  #writeHeaderDigest(at: number, hlen: number): void {
    this.#words[at + (hlen >> 2)] = this.#crc32c(at << 2, hlen);
  }

  /** Data of the command, which is sent from where it lies, and its digest. */
  #writeData(command: number, offset: number, bytes: number): void {
    this.#commands.sends[command]++;
    this.#sendBuffer.data(offset, bytes, command);
    if (this.#dataDigestBytes > 0) {
      this.#words[this.#sendBuffer.header(DIGEST_BYTES) >> 2] = this.#crc32c(offset, bytes);
    }
  }
}

function alignUp(value: number, alignment: number): number {
  return Math.ceil(value / alignment) * alignment;
}
