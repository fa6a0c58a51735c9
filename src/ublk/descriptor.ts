import { assert } from "../base/assert.ts";
import { EINVAL, EOPNOTSUPP, EROFS } from "../base/errno.ts";
import type { Geometry } from "../block/device.ts";
import { BlockFlag, BlockOp, type RequestTable } from "../block/request.ts";
import { SECTOR_SHIFT, UBLK_IO_OP_MASK, UblkIoDesc, UblkIoFlag, UblkIoOp } from "../protocol/ublk.ts";

const UNSUPPORTED = -1;
const UINT32_RANGE = 2 ** 32;

/**
 * Reads the I/O descriptors of one queue, which the kernel writes into shared memory, and fills request slots from
 * them. A descriptor is input from the outside: what does not fit the device is refused, never asserted on.
 */
export class DescriptorReader {
  readonly #descriptors: Int32Array;
  readonly #requests: RequestTable;
  readonly #sectorsPerBlockShift: number;
  #blocks: number;
  readonly #bufferBlocks: number;
  readonly #readOnly: boolean;
  readonly #discards: boolean;
  readonly #zeroes: boolean;

  /** `descriptors` is the mapped array of `ublksrv_io_desc`, one for each tag. */
  constructor(descriptors: Int32Array, requests: RequestTable, geometry: Geometry) {
    const blockShift = Math.log2(geometry.blockSize);
    assert(
      blockShift >= SECTOR_SHIFT && Number.isInteger(blockShift),
      "A block is a power of two of at least 512 bytes",
    );
    assert(descriptors.length >= requests.depth * UblkIoDesc.words, "Every tag has a descriptor");
    this.#descriptors = descriptors;
    this.#requests = requests;
    this.#sectorsPerBlockShift = blockShift - SECTOR_SHIFT;
    this.#blocks = geometry.blocks;
    this.#bufferBlocks = Math.floor(requests.bufferBytes / geometry.blockSize);
    this.#readOnly = geometry.readOnly;
    this.#discards = geometry.maxDiscardBytes > 0;
    this.#zeroes = geometry.maxWriteZeroesBytes > 0;
  }

  /** The device has that many blocks from now on. */
  resize(blocks: number): void {
    this.#blocks = blocks;
  }

  /**
   * Fills the slot of `tag` from its descriptor. Gives 0, or the negative errno to answer with: EOPNOTSUPP for an
   * operation that the device does not have, EROFS for a change of a read-only one, EINVAL for a range that is empty,
   * not in whole blocks, larger than the buffer or outside the device.
   */
  read(tag: number): number {
    const word = tag * UblkIoDesc.words;
    const opFlags = this.#descriptors[word + UblkIoDesc.opFlags];
    const op = this.#blockOp(opFlags & UBLK_IO_OP_MASK);
    if (op === UNSUPPORTED) return -EOPNOTSUPP;
    const requests = this.#requests;
    requests.op[tag] = op;
    requests.flags[tag] = blockFlags(opFlags);
    requests.status[tag] = 0;
    if (op === BlockOp.FLUSH) return this.#readFlush(tag);
    if (this.#readOnly && op !== BlockOp.READ) return -EROFS;
    return this.#readRange(tag, word);
  }

  #blockOp(op: number): number {
    switch (op) {
      case UblkIoOp.READ:
        return BlockOp.READ;
      case UblkIoOp.WRITE:
        return BlockOp.WRITE;
      case UblkIoOp.FLUSH:
        return BlockOp.FLUSH;
      case UblkIoOp.DISCARD:
        return this.#discards ? BlockOp.DISCARD : UNSUPPORTED;
      case UblkIoOp.WRITE_ZEROES:
        return this.#zeroes ? BlockOp.WRITE_ZEROES : UNSUPPORTED;
      default:
        return UNSUPPORTED;
    }
  }

  /** The range of a flush means nothing: the kernel leaves the start at all ones. */
  #readFlush(tag: number): number {
    this.#requests.lbaLow[tag] = 0;
    this.#requests.lbaHigh[tag] = 0;
    this.#requests.blocks[tag] = 0;
    return 0;
  }

  #readRange(tag: number, word: number): number {
    const shift = this.#sectorsPerBlockShift;
    const sectors = this.#descriptors[word + UblkIoDesc.nrSectors] >>> 0;
    const low = this.#descriptors[word + UblkIoDesc.startSectorLow];
    const high = this.#descriptors[word + UblkIoDesc.startSectorHigh];
    if (((sectors | low) & ((1 << shift) - 1)) !== 0) return -EINVAL;
    const requests = this.#requests;
    // A shift by 32 would be a shift by 0.
    requests.lbaLow[tag] = shift === 0 ? low : (low >>> shift) | (high << (32 - shift));
    requests.lbaHigh[tag] = high >>> shift;
    const blocks = sectors >>> shift;
    requests.blocks[tag] = blocks;
    return this.#isInside(tag, blocks) ? 0 : -EINVAL;
  }

  #isInside(tag: number, blocks: number): boolean {
    const requests = this.#requests;
    if (blocks === 0) return false;
    if (requests.op[tag] <= BlockOp.WRITE && blocks > this.#bufferBlocks) return false;
    // Past 2^53 the sum is rounded, and still larger than any device.
    const lba = requests.lbaHigh[tag] * UINT32_RANGE + requests.lbaLow[tag];
    return lba < this.#blocks && blocks <= this.#blocks - lba;
  }
}

function blockFlags(opFlags: number): number {
  return ((opFlags & UblkIoFlag.FUA) === 0 ? 0 : BlockFlag.FUA) |
    ((opFlags & UblkIoFlag.NOUNMAP) === 0 ? 0 : BlockFlag.NO_UNMAP);
}
