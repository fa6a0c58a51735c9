/** What a block device is: its size, its limits and what it can do. Everything here can be sent between threads. */
export interface Geometry {
  /** Logical block size in bytes: 512 or 4096. */
  readonly blockSize: number;
  /** Size in logical blocks. Exact as a number: at most 2^53 blocks. */
  readonly blocks: number;
  /** Physical block size in bytes: what is written without read-modify-write. */
  readonly physicalBlockSize: number;
  /** Smallest I/O without a penalty, bytes; 0 if not told. */
  readonly minIoBytes: number;
  /** Preferred I/O size in bytes; 0 if not told. */
  readonly optimalIoBytes: number;
  /** There is a volatile write cache: FLUSH and FUA mean something. */
  readonly volatileCache: boolean;
  /** No write is taken. */
  readonly readOnly: boolean;
  /** Largest DISCARD in bytes; 0 if the device has none. */
  readonly maxDiscardBytes: number;
  /** Granularity of DISCARD in bytes. */
  readonly discardGranularity: number;
  /** Largest WRITE_ZEROES in bytes, in however many commands; 0 if the device has none. */
  readonly maxWriteZeroesBytes: number;
}

/**
 * A block device as one queue sees it: takes request slots, gives them back with an answer. Nothing is thrown, nothing
 * is awaited; what fails is told in `RequestTable.status`.
 *
 * Contract: `submit(slot)` hands over a filled slot; every submitted slot comes back exactly once from
 * `pollCompletion()`, possibly within the same turn. The slot's buffer is not touched after that.
 */
export interface BlockDevice {
  /** Takes the slot. `nowMs` is a monotonic time in milliseconds. */
  submit(slot: number, nowMs: number): void;
  /** A slot that is answered, its errno in `RequestTable.status`; -1 if there is none at the moment. */
  pollCompletion(): number;
}
