/**
 * What the main thread and a load in another thread share: what the load is to do, what it has done, and what went
 * wrong first. Plain words of memory: the one side writes orders, the other counts.
 */
import { assert } from "../base/assert.ts";

/** What a load can be told to do. */
export const LoadOrder = {
  /** Issue nothing more. Ends when nothing is in flight. */
  STOP: 0,
  /** Write every unit once, in order. */
  FILL: 1,
  /** Read and write units at random, half of each, until {@linkcode LoadOrder.STOP}. */
  MIX: 2,
  /** Read every unit once, in order. */
  VERIFY: 3,
} as const;

/** What can go wrong with a request. */
export const LoadFault = { NONE: 0, ERROR: 1, WRONG_DATA: 2 } as const;

/** The first failure of a load. */
export interface LoadFailure {
  kind: "error" | "wrong-data";
  isWrite: boolean;
  /** The unit that was read or written. */
  unit: number;
  /** Of an error: a positive errno; else 0. */
  errno: number;
  /** Of wrong data: the offset in the unit of the first wrong byte's word, in bytes. */
  offset: number;
}

/** What was done in one window of time. */
export interface LoadCounts {
  reads: number;
  writes: number;
  bytes: number;
  /** The longest request, milliseconds; 0 if there was none. */
  longestReadMs: number;
  longestWriteMs: number;
  /** The longest time in which no request at all was answered while the load ran, milliseconds. */
  longestPauseMs: number;
}

/** Windows that are counted apart. */
export const LOAD_WINDOWS = 8;

const Word = { ORDER: 0, ORDERS: 1, DONE: 2, WINDOW: 3, FAULT: 4, IS_WRITE: 5, UNIT: 6, ERRNO: 7, OFFSET: 8 } as const;
const WORDS = 16;
const Count = { READS: 0, WRITES: 1, BYTES: 2, READ_MS: 3, WRITE_MS: 4, PAUSE_MS: 5 } as const;
const COUNTS = 8;

/** Both ends of the shared memory of one load. */
export class LoadControl {
  static readonly BYTES = WORDS * 4 + LOAD_WINDOWS * COUNTS * 8;
  readonly buffer: SharedArrayBuffer;
  readonly #words: Int32Array;
  readonly #counts: Float64Array;

  /** Over memory that another thread has made, or over new memory. */
  constructor(buffer: SharedArrayBuffer = new SharedArrayBuffer(LoadControl.BYTES)) {
    assert(buffer.byteLength === LoadControl.BYTES, "The memory was made by a LoadControl");
    this.buffer = buffer;
    this.#words = new Int32Array(buffer, 0, WORDS);
    this.#counts = new Float64Array(buffer, WORDS * 4);
  }

  // ── the end that orders ───────────────────────────────────────────────────────────────────────────────────────────

  /** Gives an order; one that has not ended is given up for it. The load is to be woken after that. */
  give(order: number): void {
    Atomics.store(this.#words, Word.ORDER, order);
    Atomics.add(this.#words, Word.ORDERS, 1);
  }

  /** The last order is carried out, or given up after a failure, and nothing is in flight. */
  get isDone(): boolean {
    return Atomics.load(this.#words, Word.DONE) === Atomics.load(this.#words, Word.ORDERS);
  }

  /** From now on requests are counted in this window. */
  set window(window: number) {
    assert(window >= 0 && window < LOAD_WINDOWS, "There is such a window");
    Atomics.store(this.#words, Word.WINDOW, window);
  }

  counts(window: number): LoadCounts {
    const at = (count: number) => this.#counts[window * COUNTS + count]!;
    return {
      reads: at(Count.READS),
      writes: at(Count.WRITES),
      bytes: at(Count.BYTES),
      longestReadMs: at(Count.READ_MS),
      longestWriteMs: at(Count.WRITE_MS),
      longestPauseMs: at(Count.PAUSE_MS),
    };
  }

  get failure(): LoadFailure | null {
    const fault = Atomics.load(this.#words, Word.FAULT);
    if (fault === LoadFault.NONE) return null;
    return {
      kind: fault === LoadFault.ERROR ? "error" : "wrong-data",
      isWrite: this.#words[Word.IS_WRITE] === 1,
      unit: this.#words[Word.UNIT]!,
      errno: this.#words[Word.ERRNO]!,
      offset: this.#words[Word.OFFSET]!,
    };
  }

  // ── the end that obeys ────────────────────────────────────────────────────────────────────────────────────────────

  /** How many orders were given; the last of them is {@linkcode order}. */
  get orders(): number {
    return Atomics.load(this.#words, Word.ORDERS);
  }

  get order(): number {
    return Atomics.load(this.#words, Word.ORDER);
  }

  /** The order that was the `orders`-th has ended. */
  end(orders: number): void {
    Atomics.store(this.#words, Word.DONE, orders);
  }

  countRequest(isWrite: boolean, bytes: number, ms: number): void {
    const at = Atomics.load(this.#words, Word.WINDOW) * COUNTS;
    const counts = this.#counts;
    const longest = at + (isWrite ? Count.WRITE_MS : Count.READ_MS);
    counts[at + (isWrite ? Count.WRITES : Count.READS)]++;
    counts[at + Count.BYTES] += bytes;
    if (ms > counts[longest]) counts[longest] = ms;
  }

  countPause(ms: number): void {
    const at = Atomics.load(this.#words, Word.WINDOW) * COUNTS + Count.PAUSE_MS;
    if (ms > this.#counts[at]) this.#counts[at] = ms;
  }

  /** Keeps the first failure; `fault` is one of {@linkcode LoadFault}. */
  fail(fault: number, isWrite: boolean, unit: number, detail: number): void {
    const words = this.#words;
    if (words[Word.FAULT] !== LoadFault.NONE) return;
    words[Word.IS_WRITE] = isWrite ? 1 : 0;
    words[Word.UNIT] = unit;
    words[Word.ERRNO] = fault === LoadFault.ERROR ? detail : 0;
    words[Word.OFFSET] = fault === LoadFault.WRONG_DATA ? detail : 0;
    Atomics.store(words, Word.FAULT, fault);
  }

  get hasFailed(): boolean {
    return Atomics.load(this.#words, Word.FAULT) !== LoadFault.NONE;
  }
}
