/** A file in memory under a `FileDevice`, with whatever a kernel may do: for tests. */
import { assert } from "@std/assert";
import { EAGAIN, EINTR, EINVAL, EOPNOTSUPP } from "../../../src/base/errno.ts";
import type { Prng } from "../../../src/base/prng.ts";
import type { FileDevice } from "../../../src/block/file_device.ts";
import { AllocateMode, FileOperation, WriteFlag } from "../../../src/block/file_operation.ts";

export interface SimulatedFileOptions {
  bytes: number;
  /** The arena that the data is in. */
  memory: Uint8Array;
  prng: Prng;
  canPunch?: boolean;
  canZeroRange?: boolean;
  /** It is open with O_DIRECT: everything is a multiple of this, bytes. */
  alignment?: number;
  /** How often an operation moves less than it was asked to, is interrupted, or fails with one of `errnos`: 0 to 1. */
  shortChance?: number;
  interruptChance?: number;
  errorChance?: number;
  errnos?: number[];
}

/** One operation as it was asked for. */
export interface FileRequest {
  slot: number;
  operation: number;
  offset: number;
  bytes: number;
  memoryOffset: number;
  flags: number;
}

/**
 * What is written is in `content`; what would be left after a loss of power is in `stable`, where a write gets by a sync,
 * by RWF_DSYNC, or now and then by chance. Operations are done in any order.
 */
export class SimulatedFile {
  readonly content: Uint8Array;
  readonly stable: Uint8Array;
  /** Operations that the device has asked for and that are not done. */
  readonly pending: FileRequest[] = [];
  /** Operations that were done, as `operation` counts them. */
  readonly counts = [0, 0, 0, 0];
  readonly #options: SimulatedFileOptions;

  constructor(options: SimulatedFileOptions) {
    this.#options = options;
    this.content = new Uint8Array(options.bytes);
    this.stable = new Uint8Array(options.bytes);
  }

  /** Takes what the device asks for. */
  take(device: FileDevice): void {
    for (let slot = device.pollOperation(); slot !== -1; slot = device.pollOperation()) {
      assert(!this.pending.some((one) => one.slot === slot), "A slot has one operation at a time");
      this.pending.push({
        slot,
        operation: device.operation(slot),
        offset: device.fileOffset(slot),
        bytes: device.bytes(slot),
        memoryOffset: device.memoryOffset(slot),
        flags: device.flags(slot),
      });
    }
  }

  /** Does one of the pending operations, any of them, and tells the device. */
  step(device: FileDevice): void {
    const { prng, errorChance = 0, interruptChance = 0, errnos = [] } = this.#options;
    const [request] = this.pending.splice(prng.below(this.pending.length), 1);
    const chance = prng.unit();
    let result: number;
    if (chance < errorChance) {
      this.#spoil(request);
      result = -errnos[prng.below(errnos.length)];
    } else if (chance < errorChance + interruptChance) result = -[EINTR, EAGAIN][prng.below(2)];
    else result = this.execute(request);
    device.handleOperationDone(request.slot, result);
  }

  /** Does everything that the device asks for, until it asks for nothing any more. */
  run(device: FileDevice): void {
    for (this.take(device); this.pending.length > 0; this.take(device)) this.step(device);
  }

  /** What the system call would give. */
  execute({ operation, offset, bytes, memoryOffset, flags }: FileRequest): number {
    const { memory, alignment = 1, canPunch = true, canZeroRange = true } = this.#options;
    this.counts[operation]++;
    const isData = operation === FileOperation.READ || operation === FileOperation.WRITE;
    if (isData && (offset % alignment || bytes % alignment || memoryOffset % alignment)) return -EINVAL;
    switch (operation) {
      case FileOperation.READ: {
        const got = Math.max(0, Math.min(this.#part(bytes), this.content.length - offset));
        memory.set(this.content.subarray(offset, offset + got), memoryOffset);
        return got;
      }
      case FileOperation.WRITE: {
        const put = this.#part(bytes);
        assert(offset + put <= this.content.length, "Nothing is written past the end");
        this.content.set(memory.subarray(memoryOffset, memoryOffset + put), offset);
        if ((flags & WriteFlag.DSYNC) !== 0) this.#makeStable(offset, put);
        else this.#writeBack();
        return put;
      }
      case FileOperation.SYNC:
        this.#makeStable(0, this.content.length);
        return 0;
      case FileOperation.ALLOCATE: {
        const isPunch = (flags & AllocateMode.PUNCH_HOLE) !== 0;
        assert(flags === (AllocateMode.KEEP_SIZE | (isPunch ? AllocateMode.PUNCH_HOLE : AllocateMode.ZERO_RANGE)));
        assert(bytes > 0 && offset + bytes <= this.content.length, "A range is inside and not empty");
        if (!(isPunch ? canPunch : canZeroRange)) return -EOPNOTSUPP;
        this.content.fill(0, offset, offset + bytes);
        this.#writeBack();
        return 0;
      }
    }
    throw new Error(`There is no operation ${operation}`);
  }

  #part(bytes: number): number {
    const { prng, shortChance = 0 } = this.#options;
    return prng.unit() < shortChance ? 1 + prng.below(bytes) : bytes;
  }

  #makeStable(offset: number, bytes: number): void {
    this.stable.set(this.content.subarray(offset, offset + bytes), offset);
  }

  /** Now and then the kernel writes some of it back by itself. */
  #writeBack(): void {
    const { prng } = this.#options;
    if (prng.below(8) > 0) return;
    const offset = prng.below(this.content.length);
    this.#makeStable(offset, 1 + prng.below(this.content.length - offset));
  }

  /** A write that fails may have been done in part. */
  #spoil({ operation, offset, bytes, memoryOffset }: FileRequest): void {
    if (operation !== FileOperation.WRITE) return;
    const put = this.#options.prng.below(bytes + 1);
    this.content.set(this.#options.memory.subarray(memoryOffset, memoryOffset + put), offset);
  }
}
