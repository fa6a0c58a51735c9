import type { Geometry } from "../block/device.ts";
import {
  FUSE_LAYOUT,
  FUSE_ROOT_ID,
  FuseAttrOut,
  FuseOpen,
  FuseOpenOut,
  FuseOutHeader,
  FuseStatfsOut,
  REGULAR_FILE_MODE,
} from "../protocol/fuse.ts";

const TWO_32 = 2 ** 32;
/** The kernel need not ask for attributes again: nobody but us changes the file, and we make it ask then. Seconds. */
const ATTRIBUTES_VALID_S = 2 ** 31;
/** Unit of `st_blocks`, whatever the block size is. */
const STAT_BLOCK_BYTES = 512;
const PREFERRED_BYTES_MIN = 4096;
const NAME_BYTES_MAX = 255;
/** The driver takes no error that is further from 0 than this. */
const FUSE_ERRNO_MAX = 511;
const EIO = 5;

/** Writes the answers to FUSE requests into the arena, all but the data that was read. */
export class AnswerWriter {
  readonly #words: Uint32Array;
  #geometry: Geometry;

  /** `words` is the arena as 32-bit words. */
  constructor(words: Uint32Array, geometry: Geometry) {
    this.#words = words;
    this.#geometry = geometry;
  }

  /** The file has that many blocks from now on; the kernel learns it when it asks. */
  resize(blocks: number): void {
    this.#geometry = { ...this.#geometry, blocks };
  }

  /**
   * `fuse_out_header` at word `at` for the request whose `unique` is at word `uniqueAt`, with `error` 0 or a negative
   * errno, and `bytes` bytes behind it. Gives the bytes of the whole answer.
   */
  header(at: number, uniqueAt: number, error: number, bytes: number): number {
    const words = this.#words;
    const total = FUSE_LAYOUT.outHeaderBytes + bytes;
    words[at + FuseOutHeader.len] = total;
    words[at + FuseOutHeader.error] = error < -FUSE_ERRNO_MAX ? -EIO : error;
    words[at + FuseOutHeader.uniqueLow] = words[uniqueAt];
    words[at + FuseOutHeader.uniqueHigh] = words[uniqueAt + 1];
    return total;
  }

  /** `fuse_attr_out` of the file; its bytes. */
  attributes(at: number): number {
    const words = this.#words;
    const { blockSize, blocks, physicalBlockSize, readOnly } = this.#geometry;
    words.fill(0, at, at + FUSE_LAYOUT.attrOutBytes / 4);
    words[at + FuseAttrOut.attrValidLow] = ATTRIBUTES_VALID_S;
    words[at + FuseAttrOut.inoLow] = FUSE_ROOT_ID;
    this.#long(at + FuseAttrOut.sizeLow, blocks * blockSize);
    this.#long(at + FuseAttrOut.blocksLow, blocks * (blockSize / STAT_BLOCK_BYTES));
    words[at + FuseAttrOut.mode] = readOnly ? REGULAR_FILE_MODE & ~0o222 : REGULAR_FILE_MODE;
    words[at + FuseAttrOut.nlink] = 1;
    words[at + FuseAttrOut.blksize] = Math.max(physicalBlockSize, PREFERRED_BYTES_MIN);
    return FUSE_LAYOUT.attrOutBytes;
  }

  /** `fuse_open_out`: nothing is cached, and writes go out side by side. */
  opened(at: number): number {
    const flags = FuseOpen.DIRECT_IO | FuseOpen.NOFLUSH | FuseOpen.PARALLEL_DIRECT_WRITES;
    this.#words.fill(0, at, at + FUSE_LAYOUT.openOutBytes / 4);
    this.#words[at + FuseOpenOut.openFlags] = flags;
    return FUSE_LAYOUT.openOutBytes;
  }

  /** `fuse_statfs_out`: the loop driver takes the block size for the granularity of DISCARD. */
  statfs(at: number): number {
    const words = this.#words;
    const { blockSize, blocks, discardGranularity } = this.#geometry;
    const unit = Math.max(discardGranularity, blockSize);
    words.fill(0, at, at + FUSE_LAYOUT.statfsOutBytes / 4);
    this.#long(at + FuseStatfsOut.blocksLow, Math.floor((blocks * blockSize) / unit));
    words[at + FuseStatfsOut.bsize] = unit;
    words[at + FuseStatfsOut.frsize] = unit;
    words[at + FuseStatfsOut.namelen] = NAME_BYTES_MAX;
    return FUSE_LAYOUT.statfsOutBytes;
  }

  /** `fuse_write_out`. */
  written(at: number, bytes: number): number {
    this.#words[at] = bytes;
    this.#words[at + 1] = 0;
    return FUSE_LAYOUT.writeOutBytes;
  }

  #long(at: number, value: number): void {
    this.#words[at] = value | 0;
    this.#words[at + 1] = value / TWO_32;
  }
}
