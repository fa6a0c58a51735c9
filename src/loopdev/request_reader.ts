import { assert } from "../base/assert.ts";
import { EINVAL, EIO, ENOENT, ENOSPC, ENOSYS, EOPNOTSUPP, EPERM, EROFS } from "../base/errno.ts";
import type { Geometry } from "../block/device.ts";
import { BlockFlag, BlockOp, type RequestTable } from "../block/request.ts";
import {
  FallocMode,
  FUSE_LAYOUT,
  FUSE_ROOT_ID,
  FUSE_WRITE_HEADER_BYTES,
  FuseFallocateIn,
  FuseInHeader,
  FuseOp,
  FuseReadIn,
} from "../protocol/fuse.ts";

const TWO_32 = 2 ** 32;
const O_ACCMODE = 3;

/** What is to be done with a request. */
export const Verdict = Object.freeze({
  /** The slot is filled: it goes to the device. */
  DEVICE: 1,
  /** Nothing is answered. */
  NO_ANSWER: 2,
  /** Done without the device: answered with the attributes of the file, … */
  ATTRIBUTES: 3,
  OPENED: 4,
  STATFS: 5,
  /** … with the number of bytes written, … */
  WRITTEN: 6,
  /** … or with nothing but success. */
  DONE: 7,
  /** The same: somebody who had the file open has closed it. */
  CLOSED: 8,
});

/**
 * Reads the requests that the FUSE driver hands over and fills request slots from them. A request is input from the
 * outside: what does not fit the file is refused, never asserted on.
 */
export class RequestReader {
  readonly #words: Uint32Array;
  readonly #requests: RequestTable;
  readonly #geometry: Geometry;
  readonly #blockShift: number;
  #bytes: number;
  /** The most that the file has ever had: the kernel may still ask for what is between it and the end. */
  #bytesMax: number;
  /** Of a range that goes to the device in parts: blocks that are left, and the block that is next. */
  readonly #leftBlocks: Float64Array;
  readonly #nextBlock: Float64Array;
  readonly #zeroBlocksMax: number;

  /** `words` is the arena as 32-bit words. */
  constructor(words: Uint32Array, requests: RequestTable, geometry: Geometry) {
    const { blockSize } = geometry;
    this.#blockShift = Math.log2(blockSize);
    assert(Number.isInteger(this.#blockShift), "A block is a power of two");
    this.#words = words;
    this.#requests = requests;
    this.#geometry = geometry;
    this.#bytes = geometry.blocks * blockSize;
    this.#bytesMax = this.#bytes;
    this.#leftBlocks = new Float64Array(requests.depth);
    this.#nextBlock = new Float64Array(requests.depth);
    this.#zeroBlocksMax = Math.min(Math.floor(geometry.maxWriteZeroesBytes / blockSize), TWO_32 - 1);
  }

  /** The file has that many blocks from now on. */
  resize(blocks: number): void {
    this.#bytes = blocks * this.#geometry.blockSize;
    this.#bytesMax = Math.max(this.#bytesMax, this.#bytes);
  }

  get #hasShrunk(): boolean {
    return this.#bytes < this.#bytesMax;
  }

  /**
   * Looks at the request of `bytes` bytes that begins at word `at`: one of {@linkcode Verdict}, or the negative errno
   * to answer with. ENOSYS tells the driver not to ask again.
   */
  read(slot: number, at: number, bytes: number): number {
    const op = this.#words[at + FuseInHeader.opcode];
    if (this.#words[at + FuseInHeader.len] !== bytes) return -EINVAL;
    if (op === FuseOp.FORGET || op === FuseOp.BATCH_FORGET || op === FuseOp.NOTIFY_REPLY) return Verdict.NO_ANSWER;
    if (op === FuseOp.READ || op === FuseOp.WRITE) return this.#readTransfer(slot, at, bytes);
    const isRoot = this.#words[at + FuseInHeader.nodeIdLow] === FUSE_ROOT_ID;
    switch (op) {
      case FuseOp.FSYNC:
        return this.#geometry.volatileCache ? this.#readFlush(slot) : -ENOSYS;
      case FuseOp.FALLOCATE:
        return this.#readAllocate(slot, at, bytes);
      case FuseOp.OPEN:
        return this.#readOpen(at);
      case FuseOp.GETATTR:
        return isRoot ? Verdict.ATTRIBUTES : -ENOENT;
      case FuseOp.STATFS:
        return Verdict.STATFS;
      case FuseOp.RELEASE:
        return Verdict.CLOSED;
      case FuseOp.FLUSH:
      case FuseOp.DESTROY:
        return Verdict.DONE;
      case FuseOp.LOOKUP:
        return -ENOENT;
      case FuseOp.SETATTR:
        return -EPERM;
      default:
        return -ENOSYS;
    }
  }

  /** The next part of a range that goes to the device in parts; false if there is none. */
  readNext(slot: number): boolean {
    const requests = this.#requests;
    const left = this.#leftBlocks[slot];
    if (left === 0) return false;
    const blocks = Math.min(left, this.#zeroBlocksMax);
    this.#setRange(slot, this.#nextBlock[slot], blocks);
    this.#leftBlocks[slot] = left - blocks;
    this.#nextBlock[slot] += blocks;
    requests.status[slot] = 0;
    return true;
  }

  #readTransfer(slot: number, at: number, bytes: number): number {
    const words = this.#words;
    const body = at + FuseInHeader.words;
    const isWrite = words[at + FuseInHeader.opcode] === FuseOp.WRITE;
    if (bytes < FUSE_WRITE_HEADER_BYTES) return -EINVAL;
    const size = words[body + FuseReadIn.size];
    const offsetLow = words[body + FuseReadIn.offsetLow];
    const offset = words[body + FuseReadIn.offsetHigh] * TWO_32 + offsetLow;
    if (isWrite && bytes !== FUSE_WRITE_HEADER_BYTES + size) return -EINVAL;
    if (isWrite && this.#geometry.readOnly) return -EROFS;
    if (size > this.#requests.bufferBytes) return -EINVAL;
    if (!this.#isWhole(offsetLow | size)) return -EINVAL;
    if (isWrite && offset + size > this.#bytes) return -ENOSPC;
    // The loop driver takes what a read lacks for zeroes: past an end that has moved, that would be a lie.
    if (this.#hasShrunk && offset + size > this.#bytes && offset < this.#bytesMax) return -EIO;
    const inside = Math.max(0, Math.min(size, this.#bytes - offset));
    this.#begin(slot, isWrite ? BlockOp.WRITE : BlockOp.READ, 0);
    this.#setRange(slot, offset / this.#geometry.blockSize, inside >>> this.#blockShift);
    if (inside > 0) return Verdict.DEVICE;
    return isWrite ? Verdict.WRITTEN : Verdict.DONE;
  }

  #readFlush(slot: number): number {
    this.#begin(slot, BlockOp.FLUSH, 0);
    this.#setRange(slot, 0, 0);
    return Verdict.DEVICE;
  }

  /**
   * A hole must read as zeroes, whoever asks for it: the loop driver punches one for a DISCARD, but for a WRITE_ZEROES
   * without NOUNMAP as well, which is what file systems zero their own tables with; nothing in the request tells the two
   * apart. So it is WRITE_ZEROES that may deallocate, not DISCARD, after which anything could be read.
   */
  #readAllocate(slot: number, at: number, bytes: number): number {
    if (bytes !== FUSE_LAYOUT.inHeaderBytes + FUSE_LAYOUT.fallocateInBytes) return -EINVAL;
    if (this.#geometry.readOnly) return -EROFS;
    if (this.#zeroBlocksMax === 0) return -ENOSYS;
    const words = this.#words;
    const body = at + FuseInHeader.words;
    const mode = words[body + FuseFallocateIn.mode];
    const isPunch = mode === (FallocMode.PUNCH_HOLE | FallocMode.KEEP_SIZE);
    const isZero = (mode | FallocMode.KEEP_SIZE) === (FallocMode.ZERO_RANGE | FallocMode.KEEP_SIZE);
    if (!isPunch && !isZero) return -EOPNOTSUPP;
    const offsetLow = words[body + FuseFallocateIn.offsetLow];
    const lengthLow = words[body + FuseFallocateIn.lengthLow];
    const offset = words[body + FuseFallocateIn.offsetHigh] * TWO_32 + offsetLow;
    const length = words[body + FuseFallocateIn.lengthHigh] * TWO_32 + lengthLow;
    if (length === 0 || !this.#isWhole(offsetLow | lengthLow)) return -EINVAL;
    if (offset + length > this.#bytes) return -ENOSPC;
    this.#begin(slot, BlockOp.WRITE_ZEROES, isZero ? BlockFlag.NO_UNMAP : 0);
    this.#nextBlock[slot] = offset / this.#geometry.blockSize;
    this.#leftBlocks[slot] = length / this.#geometry.blockSize;
    this.readNext(slot);
    return Verdict.DEVICE;
  }

  #readOpen(at: number): number {
    const isForWriting = (this.#words[at + FuseInHeader.words] & O_ACCMODE) !== 0;
    return isForWriting && this.#geometry.readOnly ? -EROFS : Verdict.OPENED;
  }

  /** True if these low words of offsets and lengths are whole blocks: past 2^53 only they tell. */
  #isWhole(low: number): boolean {
    return (low & (this.#geometry.blockSize - 1)) === 0;
  }

  #begin(slot: number, op: number, flags: number): void {
    const requests = this.#requests;
    requests.op[slot] = op;
    requests.flags[slot] = flags;
    requests.status[slot] = 0;
    this.#leftBlocks[slot] = 0;
  }

  #setRange(slot: number, block: number, blocks: number): void {
    const requests = this.#requests;
    requests.lbaLow[slot] = block | 0;
    requests.lbaHigh[slot] = block / TWO_32;
    requests.blocks[slot] = blocks;
  }
}
