import { assert, unreachable } from "../base/assert.ts";
import { EINVAL } from "../base/errno.ts";
import { Fifo } from "../base/fifo.ts";
import type { BlockDevice } from "./device.ts";
import { BlockFlag, BlockOp, type RequestTable } from "./request.ts";

/** What a {@linkcode MemoryDevice} is made of. */
export interface MemoryDeviceOptions {
  /** Logical block size in bytes. */
  blockSize: number;
  /** The device's content; its length is the device's size. */
  storage: Uint8Array;
  /** The arena that the slots' `dataOffset` points into. */
  arena: Uint8Array;
  /**
   * Zeroes whole pages of the storage by giving their memory back; false if it cannot, and has done nothing. It is what
   * makes it cheap to discard much at once.
   */
  unmap?: (offset: number, bytes: number) => boolean;
  /** Requests wait for `step()` instead of being carried out in `submit()`. */
  stepped?: boolean;
}

/** Pages are given back in multiples of this, bytes, and only that many or more: clearing less is cheaper. */
const UNMAP_BYTES = 64 << 10;

/**
 * A block device in memory. A request takes effect when it is carried out, not when it is submitted: at once, or, if the
 * device is stepped, in the order that the test picks. DISCARD zeroes; a range outside the storage is EINVAL.
 */
export class MemoryDevice implements BlockDevice {
  readonly #requests: RequestTable;
  readonly #options: MemoryDeviceOptions;
  readonly #held: Int32Array;
  readonly #answered: Fifo;
  #heldCount = 0;

  constructor(requests: RequestTable, options: MemoryDeviceOptions) {
    assert(options.storage.length % options.blockSize === 0, "A memory device is a whole number of blocks");
    this.#requests = requests;
    this.#options = options;
    this.#held = new Int32Array(requests.depth);
    this.#answered = new Fifo(requests.depth);
  }

  /** Requests that wait for `step()`. */
  get held(): number {
    return this.#heldCount;
  }

  submit(slot: number, _nowMs: number): void {
    if (!this.#options.stepped) return this.#finish(slot, this.#execute(slot));
    assert(this.#heldCount < this.#held.length, "A slot is submitted once");
    this.#held[this.#heldCount++] = slot;
  }

  pollCompletion(): number {
    return this.#answered.shift();
  }

  /** Carries out the held request at `index`, or answers it with `errno` if that is not 0. Gives its slot. */
  step(index = 0, errno = 0): number {
    assert(index < this.#heldCount, "A step needs a held request");
    const slot = this.#held[index];
    this.#held[index] = this.#held[--this.#heldCount];
    this.#finish(slot, errno === 0 ? this.#execute(slot) : errno);
    return slot;
  }

  #finish(slot: number, errno: number): void {
    this.#requests.status[slot] = errno;
    this.#answered.push(slot);
  }

  #execute(slot: number): number {
    const { storage, arena, blockSize } = this.#options;
    const requests = this.#requests;
    const start = (requests.lbaHigh[slot] * 2 ** 32 + requests.lbaLow[slot]) * blockSize;
    const end = start + requests.blocks[slot] * blockSize;
    if (end > storage.length) return EINVAL;
    const data = requests.dataOffset[slot];
    switch (requests.op[slot]) {
      case BlockOp.READ:
        arena.set(storage.subarray(start, end), data);
        return 0;
      case BlockOp.WRITE:
        storage.set(arena.subarray(data, data + end - start), start);
        return 0;
      case BlockOp.DISCARD:
      case BlockOp.WRITE_ZEROES:
        this.#zero(start, end, (requests.flags[slot] & BlockFlag.NO_UNMAP) === 0);
        return 0;
      case BlockOp.FLUSH:
        return 0;
    }
    unreachable("A request has one of the operations of BlockOp");
  }

  #zero(start: number, end: number, mayUnmap: boolean): void {
    const { storage, unmap } = this.#options;
    const first = Math.ceil(start / UNMAP_BYTES) * UNMAP_BYTES;
    const last = Math.floor(end / UNMAP_BYTES) * UNMAP_BYTES;
    if (unmap === undefined || !mayUnmap || first >= last || !unmap(first, last - first)) {
      storage.fill(0, start, end);
      return;
    }
    storage.fill(0, start, first);
    storage.fill(0, last, end);
  }
}
