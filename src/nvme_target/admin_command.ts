/** The submission queue entry of a command as it came: its fields by name. */

import { SQE_BYTES, SqeAt } from "../protocol/nvme.ts";

/** Dwords of an SQE. */
export const SQE_DWORDS = SQE_BYTES / 4;

/** Where the length is in the SGL descriptor of an SQE, dwords. */
const SGL_LENGTH_DWORD = (SqeAt.SGL1 + 8) / 4;

/** Reads an SQE of 16 dwords. */
export class AdminCommand {
  readonly #sqe: Uint32Array;

  constructor(sqe: Uint32Array) {
    this.#sqe = sqe;
  }

  get opcode(): number {
    return this.u8(SqeAt.OPC);
  }

  get cid(): number {
    return this.u16(SqeAt.CID);
  }

  get nsid(): number {
    return this.u32(SqeAt.NSID);
  }

  /** Bytes that the host's SGL has room for, or carries. */
  get sglBytes(): number {
    return this.#sqe[SGL_LENGTH_DWORD];
  }

  get cdw10(): number {
    return this.u32(SqeAt.CDW10);
  }

  get cdw11(): number {
    return this.u32(SqeAt.CDW11);
  }

  get cdw12(): number {
    return this.u32(SqeAt.CDW12);
  }

  get cdw13(): number {
    return this.u32(SqeAt.CDW13);
  }

  get cdw14(): number {
    return this.u32(SqeAt.CDW14);
  }

  /** The byte at an offset of the SQE. */
  u8(at: number): number {
    return (this.#sqe[at >>> 2] >>> (8 * (at & 3))) & 0xff;
  }

  /** The u16 at an even offset. */
  u16(at: number): number {
    return (this.#sqe[at >>> 2] >>> (8 * (at & 3))) & 0xffff;
  }

  /** The u32 at an offset that is a multiple of 4. */
  u32(at: number): number {
    return this.#sqe[at >>> 2];
  }
}
