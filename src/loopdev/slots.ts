import { SlotStates } from "../base/state_table.ts";
import { ERRNO_MAX } from "../protocol/linux.ts";
import { assert } from "../base/assert.ts";
import { EAGAIN, ECONNABORTED, EINTR, EIO, ENODEV, ENOENT } from "../base/errno.ts";
import { Fifo } from "../base/fifo.ts";
import type { BlockDevice, Geometry } from "../block/device.ts";
import { BlockOp, type RequestTable } from "../block/request.ts";
import { FUSE_LAYOUT, FUSE_WRITE_HEADER_BYTES, FuseInHeader } from "../protocol/fuse.ts";
import { AnswerWriter } from "./answer_writer.ts";
import { ReadBatch } from "./read_batch.ts";
import { RequestReader, Verdict } from "./request_reader.ts";
import { SLOT_STATES, SlotState } from "./slot_state.ts";

/** A slot's part of the queue's memory: what is read before the data of a WRITE, and what is answered before data. */
const IN_BYTES = 128;
const OUT_BYTES = 128;
const SLOT_BYTES = IN_BYTES + OUT_BYTES;

/** What a {@linkcode FuseSlots} is made of. */
export interface FuseQueueOptions {
  /** The arena: the slots' buffers and the queue's own part. */
  memory: Uint8Array<ArrayBuffer>;
  /** Where the queue's own part begins, `FuseSlots.arenaBytes(depth)` bytes, aligned to 8. */
  arenaOffset: number;
  /** The slots that the requests go into. */
  requests: RequestTable;
  /** Where the requests go. */
  device: BlockDevice;
  /** The file as the kernel is told of it. */
  geometry: Geometry;
}

/**
 * The server of a FUSE file system of one regular file, as one worker sees it: requests are read from its own
 * descriptor of the FUSE driver, become requests to a block device, and are answered on the same descriptor.
 *
 * The owner drives it. `handleReadable()` when the driver has requests; in every turn `pollRead()` until it gives -1,
 * each slot of which is read into: first `headerOffset()`, {@linkcode FUSE_WRITE_HEADER_BYTES} of it, then the slot's
 * buffer, so that the data of a WRITE lies where the device wants it; `handleRead()` for each that comes back; and
 * `pollAnswer()` until it gives -1, each slot of which is written: `answerHeaderBytes()` from `answerOffset()`, then
 * `answerDataBytes()` from the slot's buffer; `handleAnswered()` for each.
 *
 *     FREE → READING ─┬→ OWNED → ANSWERED → ANSWERING
 *      ↑        │     └────────────↑            │
 *      └────────┴───────────────────────────────┘
 *
 * Invariant: a slot is read into, or in the device, or answered from, never two of them; every request that wants an
 * answer and was read is answered exactly once.
 */
export class FuseSlots {
  readonly depth: number;
  /** Requests that went to the device, by {@linkcode BlockOp}. */
  readonly served = new Float64Array(Object.keys(BlockOp).length);

  readonly #requests: RequestTable;
  readonly #device: BlockDevice;
  readonly #blockShift: number;
  readonly #reader: RequestReader;
  readonly #writer: AnswerWriter;
  readonly #batch = new ReadBatch();
  readonly #states: SlotStates;
  readonly #arenaOffset: number;
  /** The free slots: the one that was used last is used first, for its buffer may still be in the CPU's cache. */
  readonly #free: Int32Array;
  readonly #answered: Fifo;
  readonly #headerBytes: Uint32Array;
  readonly #dataBytes: Uint32Array;
  #freeCount = 0;
  #inFlight = 0;
  #refused = 0;
  #failed = 0;
  #dropped = 0;
  #failure = 0;
  #isClosed = false;
  #isFileClosed = false;

  constructor(options: FuseQueueOptions) {
    const { requests, memory, arenaOffset, geometry } = options;
    assert(arenaOffset % 8 === 0, "What the kernel reads as numbers is aligned");
    assert(arenaOffset + FuseSlots.arenaBytes(requests.depth) <= memory.length, "The queue's part is in the arena");
    const words = new Uint32Array(memory.buffer, memory.byteOffset, memory.byteLength >> 2);
    this.depth = requests.depth;
    this.#requests = requests;
    this.#device = options.device;
    this.#blockShift = Math.log2(geometry.blockSize);
    this.#reader = new RequestReader(words, requests, geometry);
    this.#writer = new AnswerWriter(words, geometry);
    this.#arenaOffset = arenaOffset;
    this.#states = new SlotStates(SLOT_STATES, this.depth);
    this.#free = new Int32Array(this.depth);
    this.#answered = new Fifo(this.depth);
    this.#headerBytes = new Uint32Array(this.depth);
    this.#dataBytes = new Uint32Array(this.depth);
    for (let slot = this.depth - 1; slot >= 0; slot--) this.#free[this.#freeCount++] = slot;
  }

  /** Bytes of the arena that a queue of `depth` slots needs beside the slots' buffers. */
  static arenaBytes(depth: number): number {
    return depth * SLOT_BYTES;
  }

  /** Requests that were read and are not yet answered. */
  get inFlight(): number {
    return this.#inFlight;
  }

  /** Requests that were answered here because they do not fit the file. */
  get refused(): number {
    return this.#refused;
  }

  /** Requests that the device answered with an errno. */
  get failed(): number {
    return this.#failed;
  }

  /** Answers that nobody waited for any more. */
  get dropped(): number {
    return this.#dropped;
  }

  /** The first negative errno that ended the queue or spoiled an answer, other than the normal end; 0 if none did. */
  get failure(): number {
    return this.#failure;
  }

  /** No more requests are read: the file system is unmounted, its driver failed, or `close()` was called. */
  get isClosed(): boolean {
    return this.#isClosed;
  }

  /** Nothing more is read, and no slot is in the kernel or in the device. */
  get isDrained(): boolean {
    return this.#isClosed && this.#freeCount === this.depth;
  }

  /** Every slot is in use: it matters how soon one is free again. */
  get isFull(): boolean {
    return this.#freeCount === 0;
  }

  /** Where the header of a slot's request is read to, an offset into the arena. */
  headerOffset(slot: number): number {
    return this.#arenaOffset + slot * SLOT_BYTES;
  }

  /** Where a slot's answer begins, an offset into the arena. */
  answerOffset(slot: number): number {
    return this.headerOffset(slot) + IN_BYTES;
  }

  /** Bytes of the answer of a slot that was just polled, from `answerOffset()` on. */
  answerHeaderBytes(slot: number): number {
    return this.#headerBytes[slot];
  }

  /** Bytes of the answer of a slot that was just polled, from its buffer; may be 0. */
  answerDataBytes(slot: number): number {
    return this.#dataBytes[slot];
  }

  /** The file has that many blocks from now on. */
  resize(blocks: number): void {
    this.#reader.resize(blocks);
    this.#writer.resize(blocks);
  }

  /** Reads no more requests; answers those that were read. What the kernel has queued fails at the unmount. */
  close(): void {
    this.#isClosed = true;
  }

  /** True, once for any number of times, if somebody has closed the file: the loop device does when it is unbound. */
  takeFileClosed(): boolean {
    const isFileClosed = this.#isFileClosed;
    this.#isFileClosed = false;
    return isFileClosed;
  }

  /** The driver says that there may be requests. */
  handleReadable(): void {
    this.#batch.handleReadable();
  }

  /** There will be no more requests: the file system is unmounted, or `errno` is why the kernel does not tell of any. */
  handleOver(errno: number): void {
    if (errno !== 0) this.#noteFailure(errno);
    this.#isClosed = true;
  }

  /** A slot that the next request is to be read into, or -1 if nothing is to be read now. */
  pollRead(): number {
    if (this.#isClosed || this.#freeCount === 0 || !this.#batch.pollRead()) return -1;
    const slot = this.#free[--this.#freeCount];
    this.#states.transition(slot, SlotState.READING);
    return slot;
  }

  /**
   * A read has brought `result` bytes of a request, or -errno. `nowMs` is a monotonic time in milliseconds.
   */
  handleRead(slot: number, result: number, nowMs: number): void {
    if (result < 0) return this.#handleNoRequest(slot, -result);
    this.#batch.handleHit();
    if (result < FUSE_LAYOUT.inHeaderBytes) return this.#release(slot);
    const verdict = this.#reader.read(slot, this.headerOffset(slot) >> 2, result);
    if (verdict === Verdict.NO_ANSWER) return this.#release(slot);
    this.#inFlight++;
    if (verdict !== Verdict.DEVICE) return this.#answerHere(slot, verdict);
    this.#states.transition(slot, SlotState.OWNED);
    this.served[this.#requests.op[slot]]++;
    this.#device.submit(slot, nowMs);
  }

  /** ENOENT is a request that was given up while it was read. */
  #handleNoRequest(slot: number, errno: number): void {
    if (errno === EINTR || errno === ENOENT) this.#batch.handleHit();
    else this.#batch.handleMiss();
    const isOver = errno !== EAGAIN && errno !== EINTR && errno !== ENOENT;
    if (isOver && errno !== ENODEV && errno !== ECONNABORTED) this.#noteFailure(-errno);
    if (isOver) this.#isClosed = true;
    this.#release(slot);
  }

  #noteFailure(errno: number): void {
    if (this.#failure === 0) this.#failure = errno;
  }

  /**
   * The next slot whose answer is to be written, or -1. Takes answers from the device, and gives it what is left of
   * requests that it gets in parts.
   */
  pollAnswer(nowMs: number): number {
    this.#drainDevice(nowMs);
    const slot = this.#answered.shift();
    if (slot >= 0) this.#states.transition(slot, SlotState.ANSWERING);
    return slot;
  }

  /** The answer of a slot was taken, `result` bytes of it, or it was not: -errno. ENOENT is one that nobody waits for. */
  handleAnswered(slot: number, result: number): void {
    if (result === -EINTR || result === -EAGAIN) {
      this.#states.transition(slot, SlotState.ANSWERED);
      this.#answered.push(slot);
      return;
    }
    this.#inFlight--;
    const total = this.#headerBytes[slot] + this.#dataBytes[slot];
    if (result === -ENOENT || result === -ENODEV || result === -ECONNABORTED) this.#dropped++;
    else if (result !== total) this.#noteFailure(result < 0 ? result : -EIO);
    this.#release(slot);
  }

  #release(slot: number): void {
    this.#states.transition(slot, SlotState.FREE);
    this.#free[this.#freeCount++] = slot;
  }

  // ── answers ───────────────────────────────────────────────────────────────────────────────────────────────────────

  #drainDevice(nowMs: number): void {
    for (let slot = this.#device.pollCompletion(); slot >= 0; slot = this.#device.pollCompletion()) {
      const status = this.#requests.status[slot];
      assert(status >= 0 && status <= ERRNO_MAX, "A device answers with 0 or a positive errno");
      if (status === 0 && this.#reader.readNext(slot)) this.#device.submit(slot, nowMs);
      else this.#answerDevice(slot, -status);
    }
  }

  #answerDevice(slot: number, error: number): void {
    if (error !== 0) {
      this.#failed++;
      return this.#answer(slot, error, 0, 0);
    }
    const op = this.#requests.op[slot];
    const bytes = this.#requests.blocks[slot] << this.#blockShift;
    if (op === BlockOp.READ) this.#answer(slot, 0, 0, bytes);
    else if (op === BlockOp.WRITE) this.#answer(slot, 0, this.#writer.written(this.#bodyAt(slot), bytes), 0);
    else this.#answer(slot, 0, 0, 0);
  }

  #answerHere(slot: number, verdict: number): void {
    const at = this.#bodyAt(slot);
    if (verdict < 0) this.#refused++;
    if (verdict === Verdict.CLOSED) this.#isFileClosed = true;
    switch (verdict) {
      case Verdict.ATTRIBUTES:
        return this.#answer(slot, 0, this.#writer.attributes(at), 0);
      case Verdict.OPENED:
        return this.#answer(slot, 0, this.#writer.opened(at), 0);
      case Verdict.STATFS:
        return this.#answer(slot, 0, this.#writer.statfs(at), 0);
      case Verdict.WRITTEN:
        return this.#answer(slot, 0, this.#writer.written(at, 0), 0);
      default:
        return this.#answer(slot, Math.min(verdict, 0), 0, 0);
    }
  }

  #bodyAt(slot: number): number {
    return (this.answerOffset(slot) + FUSE_LAYOUT.outHeaderBytes) >> 2;
  }

  /** `error` is 0 or a negative errno; `bytes` lie behind the header, `dataBytes` in the slot's buffer. */
  #answer(slot: number, error: number, bytes: number, dataBytes: number): void {
    const uniqueAt = (this.headerOffset(slot) >> 2) + FuseInHeader.uniqueLow;
    this.#writer.header(this.answerOffset(slot) >> 2, uniqueAt, error, bytes + dataBytes);
    this.#headerBytes[slot] = FUSE_LAYOUT.outHeaderBytes + bytes;
    this.#dataBytes[slot] = dataBytes;
    this.#states.transition(slot, SlotState.ANSWERED);
    this.#answered.push(slot);
  }
}

assert(IN_BYTES >= FUSE_WRITE_HEADER_BYTES, "The headers of a WRITE fit their part");
assert(OUT_BYTES >= FUSE_LAYOUT.outHeaderBytes + FUSE_LAYOUT.attrOutBytes, "The longest answer fits its part");
