import { assert } from "../base/assert.ts";

/** Operations of a block device, as the Linux block layer names them. */
export const BlockOp = {
  READ: 0,
  WRITE: 1,
  FLUSH: 2,
  DISCARD: 3,
  WRITE_ZEROES: 4,
} as const;

/** Request flags. */
export const BlockFlag = {
  /** Force unit access: the data is on stable storage before the answer. */
  FUA: 1,
  /** Write zeroes must not deallocate the blocks. */
  NO_UNMAP: 2,
} as const;

/**
 * The request slots of one queue: one array a field, made once, indexed by slot. A slot belongs to whoever fetched it
 * until it is submitted to a device, to the device until `pollCompletion()` returns it, and then to the fetcher again.
 *
 * Addresses of blocks are two 32-bit halves, so that no BigInt is made for a request.
 */
export class RequestTable {
  readonly depth: number;
  /** One of {@linkcode BlockOp}. */
  readonly op: Uint8Array;
  /** Bits of {@linkcode BlockFlag}. */
  readonly flags: Uint8Array;
  /** First logical block, low 32 bits. */
  readonly lbaLow: Uint32Array;
  /** First logical block, high 32 bits. */
  readonly lbaHigh: Uint32Array;
  /** Number of logical blocks; 0 for FLUSH. */
  readonly blocks: Uint32Array;
  /** Where the slot's data buffer begins in the queue's arena, in bytes. The buffer holds `bufferBytes`. */
  readonly dataOffset: Uint32Array;
  /** The answer: 0, or a positive errno. */
  readonly status: Int32Array;
  /** Bytes that each slot's data buffer holds. */
  readonly bufferBytes: number;

  /**
   * Buffers lie one after the other from `arenaOffset`, `bufferBytes` each. With `of`, these are the first slots of that
   * table.
   */
  constructor(depth: number, options: { bufferBytes: number; arenaOffset?: number; of?: RequestTable }) {
    const { of } = options;
    assert(depth > 0, "A request table has at least one slot");
    this.depth = depth;
    this.bufferBytes = options.bufferBytes;
    this.op = of?.op.subarray(0, depth) ?? new Uint8Array(depth);
    this.flags = of?.flags.subarray(0, depth) ?? new Uint8Array(depth);
    this.lbaLow = of?.lbaLow.subarray(0, depth) ?? new Uint32Array(depth);
    this.lbaHigh = of?.lbaHigh.subarray(0, depth) ?? new Uint32Array(depth);
    this.blocks = of?.blocks.subarray(0, depth) ?? new Uint32Array(depth);
    this.dataOffset = of?.dataOffset.subarray(0, depth) ?? new Uint32Array(depth);
    this.status = of?.status.subarray(0, depth) ?? new Int32Array(depth);
    if (of !== undefined) return;
    for (let slot = 0; slot < depth; slot++) {
      this.dataOffset[slot] = (options.arenaOffset ?? 0) + slot * options.bufferBytes;
    }
  }

  /** The first `depth` slots, for one who must not see the others: the same memory. */
  first(depth: number): RequestTable {
    assert(depth <= this.depth, "A part of a table is not larger than it");
    return new RequestTable(depth, { bufferBytes: this.bufferBytes, of: this });
  }
}
