import { assert } from "../base/assert.ts";
import { BlockFlag, BlockOp, type RequestTable } from "../block/request.ts";
import { Submission } from "../nvme_host/connection.ts";
import {
  type BlockRange,
  encodeDeallocate,
  encodeFlush,
  encodeRead,
  encodeWrite,
  encodeWriteZeroes,
  writeDeallocateRange,
} from "../nvme_host/io_command.ts";
import { Dsm, NLB_BLOCKS_MAX } from "../protocol/nvme.ts";
import type { RequestStates } from "./request_states.ts";

/** What one path's controller takes in one command. */
export interface PathLimits {
  readonly maxTransferBytes: number;
  readonly maxDiscardBlocks: number;
  readonly maxWriteZeroesBlocks: number;
  /** What the controller may ask for before a retry, milliseconds, by CRD. */
  readonly retryDelaysMs: readonly number[];
}

/** Makes commands of the requests of one queue, one after the other until a request is issued as a whole. */
export class CommandEncoder {
  /** The command that {@linkcode encode} made last. */
  readonly submission = new Submission();
  readonly #requests: RequestTable;
  readonly #states: RequestStates;
  readonly #words: Uint32Array;
  readonly #nsid: number;
  readonly #blockSize: number;
  readonly #range: BlockRange = { lbaLow: 0, lbaHigh: 0, blocks: 0 };
  readonly #zeroesOptions = { deallocate: false, fua: false };

  constructor(options: {
    requests: RequestTable;
    states: RequestStates;
    /** The arena that the requests' buffers live in. */
    memory: Uint8Array<ArrayBuffer>;
    nsid: number;
    blockSize: number;
  }) {
    assert(options.requests.bufferBytes / options.blockSize <= NLB_BLOCKS_MAX, "A command can name all of a request");
    this.#requests = options.requests;
    this.#states = options.states;
    this.#words = new Uint32Array(options.memory.buffer, options.memory.byteOffset, options.memory.byteLength >> 2);
    this.#nsid = options.nsid;
    this.#blockSize = options.blockSize;
  }

  /** Encodes the next part of a request, as large as the path takes it: its blocks, 1 for a flush, 0 if it takes none. */
  encode(slot: number, limits: PathLimits): number {
    const requests = this.#requests;
    const range = this.#range;
    const issued = this.#states.issued[slot];
    const low = requests.lbaLow[slot] + issued;
    range.lbaLow = low >>> 0;
    range.lbaHigh = requests.lbaHigh[slot] + (low > 0xffffffff ? 1 : 0);
    range.blocks = Math.min(requests.blocks[slot] - issued, this.#blocksMax(requests.op[slot], limits));
    if (requests.op[slot] !== BlockOp.FLUSH && range.blocks <= 0) return 0;
    this.#encode(slot, range);
    this.submission.owner = slot;
    return Math.max(range.blocks, 1);
  }

  /** Encodes a read of a part of a request again, which lies at `dataOffset` in the arena; its data goes to `into`. */
  encodeCopy(slot: number, part: { dataOffset: number; dataBytes: number }, into: number): void {
    const range = this.#range;
    const low = this.#requests.lbaLow[slot] + (part.dataOffset - this.#requests.dataOffset[slot]) / this.#blockSize;
    range.lbaLow = low >>> 0;
    range.lbaHigh = this.#requests.lbaHigh[slot] + (low > 0xffffffff ? 1 : 0);
    range.blocks = part.dataBytes / this.#blockSize;
    encodeRead(this.submission, this.#nsid, range);
    this.submission.dataOffset = into;
    this.submission.dataBytes = part.dataBytes;
  }

  #blocksMax(op: number, limits: PathLimits): number {
    switch (op) {
      case BlockOp.READ:
      case BlockOp.WRITE:
        return limits.maxTransferBytes / this.#blockSize;
      case BlockOp.DISCARD:
        return limits.maxDiscardBlocks;
      case BlockOp.WRITE_ZEROES:
        return Math.min(limits.maxWriteZeroesBlocks, NLB_BLOCKS_MAX);
      default:
        return 0;
    }
  }

  #encode(slot: number, range: BlockRange): void {
    const requests = this.#requests;
    const submission = this.submission;
    const fua = (requests.flags[slot] & BlockFlag.FUA) !== 0;
    const dataOffset = requests.dataOffset[slot];
    switch (requests.op[slot]) {
      case BlockOp.READ:
        encodeRead(submission, this.#nsid, range);
        break;
      case BlockOp.WRITE:
        encodeWrite(submission, this.#nsid, range, fua);
        break;
      case BlockOp.FLUSH:
        encodeFlush(submission, this.#nsid);
        return;
      case BlockOp.WRITE_ZEROES:
        this.#zeroesOptions.fua = fua;
        this.#zeroesOptions.deallocate = (requests.flags[slot] & BlockFlag.NO_UNMAP) === 0;
        encodeWriteZeroes(submission, this.#nsid, range, this.#zeroesOptions);
        return;
      case BlockOp.DISCARD:
        encodeDeallocate(submission, this.#nsid);
        submission.dataOffset = dataOffset + this.#discardRangeOffset(slot);
        submission.dataBytes = Dsm.RANGE_BYTES;
        writeDeallocateRange(this.#words, submission.dataOffset, range);
        return;
    }
    submission.dataOffset = dataOffset + this.#states.issued[slot] * this.#blockSize;
    submission.dataBytes = range.blocks * this.#blockSize;
  }

  /** A DISCARD has no data of its own: the ranges of its commands lie in its buffer, one after the other, in turn. */
  #discardRangeOffset(slot: number): number {
    return (this.#states.parts[slot] * Dsm.RANGE_BYTES) % this.#requests.bufferBytes;
  }
}
