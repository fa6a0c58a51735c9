/**
 * A block device in a file, or on another block device. Pure: it says which operations on the file it wants, somebody
 * else has the kernel do them and tells the results.
 *
 *     submit ─► steps ─► pollOperation() ─► the kernel ─► handleOperationDone() ─► next step, or pollCompletion()
 *
 * | request      | operations, in this order                                                                    |
 * |--------------|----------------------------------------------------------------------------------------------|
 * | READ         | read; with FUA a sync before it                                                              |
 * | WRITE        | write; with FUA each write is one that syncs its data                                        |
 * | FLUSH        | sync: covers every write that was answered before                                            |
 * | DISCARD      | punch a hole; where the file cannot, nothing: a DISCARD is a hint                            |
 * | WRITE_ZEROES | punch a hole unless NO_UNMAP, else zero the range, else write zeroes; with FUA a sync after it |
 *
 * Ranges are whole logical blocks and buffers are aligned as the arena's owner aligned them, so that a file may be open
 * with O_DIRECT: what comes back short goes on at the last whole block. What a file cannot do is asked once.
 *
 * A read that finds the end of the file is an error, never zeroes: the file had the size of its namespace when it was
 * opened, so somebody has cut off data of the host's.
 */
import { SlotStates } from "../base/state_table.ts";
import { assert, unreachable } from "../base/assert.ts";
import { EAGAIN, EINTR, EINVAL, EIO, ENODEV, ENOSYS, EOPNOTSUPP } from "../base/errno.ts";
import { Fifo } from "../base/fifo.ts";
import type { BlockDevice } from "./device.ts";
import { AllocateMode, FileOperation, WriteFlag } from "./file_operation.ts";
import { FILE_STEPS, FileStep, STEP_OPERATION } from "./file_step.ts";
import { BlockFlag, BlockOp, type RequestTable } from "./request.ts";

/** What a {@linkcode FileDevice} is made of. */
export interface FileDeviceOptions {
  /** Logical block size in bytes. */
  readonly blockSize: number;
  /** A part of the arena that is zero and that nobody writes, for files that cannot zero a range. */
  readonly zeroesOffset: number;
  /** Its size: one logical block or more, whole ones. */
  readonly zeroesBytes: number;
  /** Everything written is on stable storage when it is answered: a device without a volatile write cache. */
  readonly writeThrough?: boolean;
}

/** Times in a row that an operation is repeated which did nothing: it was interrupted, or moved less than a block. */
const REPEATS_MAX = 64;

export class FileDevice implements BlockDevice {
  readonly #requests: RequestTable;
  readonly #options: FileDeviceOptions;
  readonly #blockSize: number;
  readonly #writeThrough: boolean;
  readonly #steps: SlotStates;
  readonly #inKernel: Uint8Array;
  /** Where the request begins in the file, how long it is, and how much is done: bytes. */
  readonly #start: Float64Array;
  readonly #total: Float64Array;
  readonly #done: Float64Array;
  readonly #repeats: Uint8Array;
  readonly #wanted: Fifo;
  readonly #answered: Fifo;
  #canPunch = true;
  #canZeroRange = true;

  constructor(requests: RequestTable, options: FileDeviceOptions) {
    const { blockSize, zeroesBytes } = options;
    assert(zeroesBytes >= blockSize && zeroesBytes % blockSize === 0, "Zeroes are written in whole logical blocks");
    this.#requests = requests;
    this.#options = options;
    this.#blockSize = blockSize;
    this.#writeThrough = options.writeThrough ?? false;
    this.#steps = new SlotStates(FILE_STEPS, requests.depth);
    this.#inKernel = new Uint8Array(requests.depth);
    this.#start = new Float64Array(requests.depth);
    this.#total = new Float64Array(requests.depth);
    this.#done = new Float64Array(requests.depth);
    this.#repeats = new Uint8Array(requests.depth);
    this.#wanted = new Fifo(requests.depth);
    this.#answered = new Fifo(requests.depth);
  }

  // ── the block device ──────────────────────────────────────────────────────────────────────────────────────────────

  submit(slot: number, _nowMs: number): void {
    const requests = this.#requests;
    const start = (requests.lbaHigh[slot] * 2 ** 32 + requests.lbaLow[slot]) * this.#blockSize;
    const total = requests.blocks[slot] * this.#blockSize;
    this.#start[slot] = start;
    this.#total[slot] = total;
    this.#done[slot] = 0;
    this.#repeats[slot] = 0;
    if (start + total > Number.MAX_SAFE_INTEGER) return this.#answer(slot, EINVAL);
    const isForced = (requests.flags[slot] & BlockFlag.FUA) !== 0;
    switch (requests.op[slot]) {
      case BlockOp.READ:
        assert(total > 0 && total <= requests.bufferBytes, "A read fits in its buffer");
        return this.#want(slot, isForced && !this.#writeThrough ? FileStep.SYNC_BEFORE : FileStep.READ);
      case BlockOp.WRITE:
        assert(total > 0 && total <= requests.bufferBytes, "A write fits in its buffer");
        return this.#want(slot, FileStep.WRITE);
      case BlockOp.FLUSH:
        return this.#want(slot, FileStep.SYNC);
      case BlockOp.DISCARD:
        if (total === 0 || !this.#canPunch) return this.#answer(slot, 0);
        return this.#want(slot, FileStep.DISCARD);
      case BlockOp.WRITE_ZEROES:
        if (total === 0) return this.#answer(slot, 0);
        return this.#want(slot, this.#zeroesStep(slot));
    }
    unreachable("A request has one of the operations of BlockOp");
  }

  pollCompletion(): number {
    const slot = this.#answered.shift();
    if (slot >= 0) this.#steps.transition(slot, FileStep.IDLE);
    return slot;
  }

  // ── the file ──────────────────────────────────────────────────────────────────────────────────────────────────────

  /** A slot that wants an operation done, which the other methods describe; -1 if there is none at the moment. */
  pollOperation(): number {
    const slot = this.#wanted.shift();
    if (slot >= 0) this.#inKernel[slot] = 1;
    return slot;
  }

  /** One of {@linkcode FileOperation}. */
  operation(slot: number): number {
    return STEP_OPERATION[this.#steps.get(slot)];
  }

  /** Where in the file, in bytes. */
  fileOffset(slot: number): number {
    return this.#start[slot] + this.#done[slot];
  }

  /** How many bytes; 0 for a sync. */
  bytes(slot: number): number {
    const left = this.#total[slot] - this.#done[slot];
    switch (this.#steps.get(slot)) {
      case FileStep.FILL:
        return Math.min(left, this.#options.zeroesBytes);
      case FileStep.SYNC_BEFORE:
      case FileStep.SYNC:
        return 0;
    }
    return left;
  }

  /** Where the data is in the arena; means nothing for a sync and an allocation. */
  memoryOffset(slot: number): number {
    if (this.#steps.get(slot) === FileStep.FILL) return this.#options.zeroesOffset;
    return this.#requests.dataOffset[slot] + this.#done[slot];
  }

  /** Bits of {@linkcode WriteFlag} for a write, of {@linkcode AllocateMode} for an allocation, else 0. */
  flags(slot: number): number {
    switch (this.#steps.get(slot)) {
      case FileStep.WRITE:
        return this.#mustSync(slot) ? WriteFlag.DSYNC : 0;
      case FileStep.DISCARD:
      case FileStep.PUNCH:
        return AllocateMode.PUNCH_HOLE | AllocateMode.KEEP_SIZE;
      case FileStep.ZERO_RANGE:
        return AllocateMode.ZERO_RANGE | AllocateMode.KEEP_SIZE;
    }
    return 0;
  }

  /** The operation that the slot wanted is done: `result` is what the system call gave, or -errno. */
  handleOperationDone(slot: number, result: number): void {
    assert(this.#inKernel[slot] === 1, "An operation is done once");
    this.#inKernel[slot] = 0;
    const step = this.#steps.get(slot);
    if (result < 0) return this.#failed(slot, step, -result);
    if (step === FileStep.READ || step === FileStep.WRITE || step === FileStep.FILL) {
      return this.#moved(slot, step, result);
    }
    this.#advance(slot, step);
  }

  // ── steps ─────────────────────────────────────────────────────────────────────────────────────────────────────────

  #moved(slot: number, step: number, result: number): void {
    if (result > this.bytes(slot)) return this.#answer(slot, EIO);
    if (result === 0 && step === FileStep.READ) return this.#answer(slot, EIO);
    const whole = result - result % this.#blockSize;
    if (whole === 0) return this.#repeat(slot, EIO);
    this.#repeats[slot] = 0;
    this.#done[slot] += whole;
    if (this.#done[slot] < this.#total[slot]) this.#wanted.push(slot);
    else this.#advance(slot, step);
  }

  #failed(slot: number, step: number, errno: number): void {
    if (errno === EINTR || errno === EAGAIN) return this.#repeat(slot, errno);
    if (STEP_OPERATION[step] !== FileOperation.ALLOCATE || !isUnsupported(errno)) return this.#answer(slot, errno);
    if (step === FileStep.ZERO_RANGE) this.#canZeroRange = false;
    else this.#canPunch = false;
    if (step === FileStep.DISCARD) return this.#answer(slot, 0);
    this.#want(slot, this.#zeroesStep(slot));
  }

  /** Has the same operation done once more, unless that has been tried too often already. */
  #repeat(slot: number, errno: number): void {
    if (this.#repeats[slot] === REPEATS_MAX) return this.#answer(slot, errno);
    this.#repeats[slot]++;
    this.#wanted.push(slot);
  }

  /** The step is over and went well. */
  #advance(slot: number, step: number): void {
    switch (step) {
      case FileStep.SYNC_BEFORE:
        return this.#want(slot, FileStep.READ);
      case FileStep.PUNCH:
      case FileStep.ZERO_RANGE:
      case FileStep.FILL:
        if (this.#mustSync(slot)) return this.#want(slot, FileStep.SYNC);
    }
    this.#answer(slot, 0);
  }

  /** How zeroes are written, as far as is known of the file. */
  #zeroesStep(slot: number): number {
    const mayUnmap = (this.#requests.flags[slot] & BlockFlag.NO_UNMAP) === 0;
    if (mayUnmap && this.#canPunch) return FileStep.PUNCH;
    return this.#canZeroRange ? FileStep.ZERO_RANGE : FileStep.FILL;
  }

  #mustSync(slot: number): boolean {
    return this.#writeThrough || (this.#requests.flags[slot] & BlockFlag.FUA) !== 0;
  }

  #want(slot: number, step: number): void {
    this.#steps.transition(slot, step);
    this.#repeats[slot] = 0;
    this.#wanted.push(slot);
  }

  #answer(slot: number, errno: number): void {
    this.#steps.transition(slot, FileStep.DONE);
    this.#requests.status[slot] = errno;
    this.#answered.push(slot);
  }
}

/** An errno by which a file says that it has no such allocation, now or ever. */
function isUnsupported(errno: number): boolean {
  return errno === EOPNOTSUPP || errno === ENOSYS || errno === ENODEV;
}
