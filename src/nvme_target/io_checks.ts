/**
 * The checks of I/O commands: what a command says is either refused with the status that the specification has for it,
 * or becomes a request in the command's slot. Nothing is done yet, and nothing is kept but the place of the namespace.
 */
import { BlockFlag, BlockOp, type RequestTable } from "../block/request.ts";
import {
  Dsm,
  FABRICS_OPCODE,
  FabricsType,
  NSID_ALL,
  NvmOpcode,
  RwCdw12,
  SQE_FLAGS_FUSE_MASK,
  SQE_FLAGS_PSDT_MASK,
  SQE_FLAGS_PSDT_SGL,
} from "../protocol/nvme.ts";
import { StatusCode, StatusField } from "../protocol/nvme_status.ts";
import type { IoCommands } from "./io_connection.ts";
import { anaStatus } from "./io_status.ts";
import type { TargetTable } from "./target_table.ts";

/** Dwords of a submission queue entry: the shift from a slot to its first one, and which is which. */
export const SQE_SHIFT = 4;
export const SqeDword = { OPC: 0, NSID: 1, MPTR_LOW: 4, MPTR_HIGH: 5, CDW10: 10, CDW11: 11, CDW12: 12 } as const;
/** FUSE and PSDT in the first dword, and the only value that is allowed: not fused, an SGL. */
const FLAGS_MASK = (SQE_FLAGS_FUSE_MASK | SQE_FLAGS_PSDT_MASK) << 8;
const FLAGS = SQE_FLAGS_PSDT_SGL << 8;
const { DNR } = StatusField;
const INVALID_FIELD = StatusCode.INVALID_FIELD | DNR;
const LENGTH_INVALID = StatusCode.DATA_SGL_LENGTH_INVALID | DNR;
export const OUT_OF_RANGE = StatusCode.LBA_OUT_OF_RANGE | DNR;
const WRITE_PROTECTED = StatusCode.NAMESPACE_WRITE_PROTECTED | DNR;

/** What the checks need to know of a namespace. */
export interface CheckedNamespace {
  /** Its place in the {@linkcode TargetTable}. */
  readonly index: number;
  readonly nsid: number;
  /** Logical block size in bytes. */
  readonly blockSize: number;
}

export interface IoChecksOptions {
  readonly commands: IoCommands;
  readonly requests: RequestTable;
  readonly namespaces: readonly CheckedNamespace[];
  readonly table: TargetTable;
  /** Index of the listener that the connection came in on: its ANA state is in the table. */
  readonly listener: number;
  /** Most data of one command, in bytes: MDTS. */
  readonly transferBytesMax: number;
}

export class IoChecks {
  /** Which of the namespaces, counted as they were given, the slot's command is about. */
  readonly place: Uint8Array;

  readonly #commands: IoCommands;
  readonly #requests: RequestTable;
  readonly #table: TargetTable;
  readonly #listener: number;
  readonly #transferBytesMax: number;
  readonly #nsids: Uint32Array;
  readonly #indexes: Uint32Array;
  readonly #blockSizes: Uint32Array;

  constructor(options: IoChecksOptions) {
    const { namespaces } = options;
    this.place = new Uint8Array(options.commands.depth);
    this.#commands = options.commands;
    this.#requests = options.requests;
    this.#table = options.table;
    this.#listener = options.listener;
    this.#transferBytesMax = options.transferBytesMax;
    this.#nsids = Uint32Array.from(namespaces, ({ nsid }) => nsid);
    this.#indexes = Uint32Array.from(namespaces, ({ index }) => index);
    this.#blockSizes = Uint32Array.from(namespaces, ({ blockSize }) => blockSize);
  }

  /** What is wrong with a command, as a status; 0 for nothing: then its request is filled in. */
  check(slot: number, opcode: number): number {
    const at = slot << SQE_SHIFT;
    const sqe = this.#commands.sqe;
    if (opcode === FABRICS_OPCODE) return checkFabrics(sqe[at + SqeDword.NSID] & 0xff);
    if ((sqe[at + SqeDword.OPC] & FLAGS_MASK) !== FLAGS) return INVALID_FIELD;
    switch (opcode) {
      case NvmOpcode.READ:
      case NvmOpcode.WRITE:
      case NvmOpcode.COMPARE:
        return this.#checkTransfer(slot, at, opcode);
      case NvmOpcode.FLUSH:
        return this.#checkFlush(slot, at);
      case NvmOpcode.WRITE_ZEROES:
        return this.#checkWriteZeroes(slot, at);
      case NvmOpcode.DATASET_MANAGEMENT:
        return this.#checkDatasetManagement(slot, at);
    }
    return StatusCode.INVALID_OPCODE | DNR;
  }

  #checkTransfer(slot: number, at: number, opcode: number): number {
    const refusal = this.#checkNamespace(slot, at, opcode === NvmOpcode.WRITE) || this.#checkRange(slot, at);
    if (refusal !== StatusCode.SUCCESS) return refusal;
    const bytes = this.#requests.blocks[slot] * this.#blockSizes[this.place[slot]];
    if (bytes > this.#transferBytesMax) return INVALID_FIELD;
    if (this.#commands.dataBytes[slot] !== bytes) return LENGTH_INVALID;
    if (opcode === NvmOpcode.WRITE && (this.#commands.sqe[at + SqeDword.CDW12] & RwCdw12.DTYPE_MASK) !== 0) {
      return INVALID_FIELD;
    }
    this.#requests.op[slot] = opcode === NvmOpcode.WRITE ? BlockOp.WRITE : BlockOp.READ;
    return StatusCode.SUCCESS;
  }

  #checkWriteZeroes(slot: number, at: number): number {
    const refusal = this.#checkNamespace(slot, at, true) || this.#checkRange(slot, at);
    if (refusal !== StatusCode.SUCCESS) return refusal;
    if (this.#commands.dataBytes[slot] !== 0) return LENGTH_INVALID;
    const requests = this.#requests;
    requests.op[slot] = BlockOp.WRITE_ZEROES;
    if ((this.#commands.sqe[at + SqeDword.CDW12] & RwCdw12.DEAC) === 0) requests.flags[slot] |= BlockFlag.NO_UNMAP;
    return StatusCode.SUCCESS;
  }

  #checkFlush(slot: number, at: number): number {
    if (this.#commands.dataBytes[slot] !== 0) return LENGTH_INVALID;
    const requests = this.#requests;
    requests.op[slot] = BlockOp.FLUSH;
    requests.flags[slot] = 0;
    requests.lbaLow[slot] = requests.lbaHigh[slot] = requests.blocks[slot] = 0;
    if (this.#commands.sqe[at + SqeDword.NSID] !== NSID_ALL) return this.#checkNamespace(slot, at, false);
    this.place[slot] = 0;
    return anaStatus(this.#table.ana(this.#listener));
  }

  /** Its ranges are checked when they are there. */
  #checkDatasetManagement(slot: number, at: number): number {
    const sqe = this.#commands.sqe;
    const isDeallocation = (sqe[at + SqeDword.CDW11] & Dsm.AD) !== 0;
    const refusal = this.#checkNamespace(slot, at, isDeallocation);
    if (refusal !== StatusCode.SUCCESS) return refusal;
    const bytes = this.#commands.dataBytes[slot];
    if (bytes > this.#transferBytesMax) return INVALID_FIELD;
    // Hosts may send a page with room for all ranges, whatever the number of ranges is.
    if (bytes < rangeCount(sqe, at) * Dsm.RANGE_BYTES) return LENGTH_INVALID;
    this.#requests.op[slot] = BlockOp.DISCARD;
    this.#requests.flags[slot] = 0;
    return StatusCode.SUCCESS;
  }

  /** Finds the namespace, and whether it may be used so here and now. */
  #checkNamespace(slot: number, at: number, isChange: boolean): number {
    const nsid = this.#commands.sqe[at + SqeDword.NSID];
    const nsids = this.#nsids;
    let place = 0;
    while (place < nsids.length && nsids[place] !== nsid) place++;
    if (place === nsids.length) return StatusCode.INVALID_NAMESPACE_OR_FORMAT | DNR;
    this.place[slot] = place;
    const status = anaStatus(this.#table.ana(this.#listener));
    if (status !== StatusCode.SUCCESS) return status;
    return isChange && this.#table.isReadOnly(this.#indexes[place]) ? WRITE_PROTECTED : StatusCode.SUCCESS;
  }

  /** The blocks of a command, and what it says about metadata, of which no namespace has any. */
  #checkRange(slot: number, at: number): number {
    const sqe = this.#commands.sqe;
    const cdw12 = sqe[at + SqeDword.CDW12];
    if ((cdw12 & RwCdw12.PRINFO_MASK) !== 0) return StatusCode.INVALID_PROTECTION_INFORMATION | DNR;
    if ((sqe[at + SqeDword.MPTR_LOW] | sqe[at + SqeDword.MPTR_HIGH]) !== 0) return INVALID_FIELD;
    const requests = this.#requests;
    const low = sqe[at + SqeDword.CDW10], high = sqe[at + SqeDword.CDW11];
    const blocks = (cdw12 & RwCdw12.NLB_MASK) + 1;
    if (!this.isInside(slot, low, high, blocks)) return OUT_OF_RANGE;
    requests.lbaLow[slot] = low;
    requests.lbaHigh[slot] = high;
    requests.blocks[slot] = blocks;
    requests.flags[slot] = (cdw12 & RwCdw12.FUA) !== 0 ? BlockFlag.FUA : 0;
    return StatusCode.SUCCESS;
  }

  /**
   * True if the namespace of the slot's command has all of these blocks. Both sides are exact as numbers up to 2^53,
   * which is past every namespace; an LBA above that stays above when it is rounded.
   */
  isInside(slot: number, low: number, high: number, blocks: number): boolean {
    return high * 2 ** 32 + low <= this.#table.blocks(this.#indexes[this.place[slot]]) - blocks;
  }
}

/** A queue is connected once, and knows no other Fabrics command. */
function checkFabrics(type: number): number {
  return (type === FabricsType.CONNECT ? StatusCode.COMMAND_SEQUENCE_ERROR : StatusCode.INVALID_OPCODE) | DNR;
}

/** Ranges of the Dataset Management whose entry begins at `at`. */
export function rangeCount(sqe: Uint32Array, at: number): number {
  return (sqe[at + SqeDword.CDW10] & Dsm.NR_MASK) + 1;
}
