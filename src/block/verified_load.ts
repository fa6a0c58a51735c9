import { assert } from "../base/assert.ts";
import { Fifo } from "../base/fifo.ts";
import { Prng } from "../base/prng.ts";
import { type LoadControl, LoadFault, LoadOrder } from "./load_control.ts";
import { BlockOp, type RequestTable } from "./request.ts";

/** Where a load works, and with what; plain enough to be sent to another thread. */
export interface LoadPlan {
  /** Requests in flight. */
  depth: number;
  /** Bytes of each request: a multiple of the logical block size and of 4. */
  unitBytes: number;
  /** The load works on so many units, from the first block on. */
  units: number;
  /** What is written, and what is read when, follows from it. */
  seed: number;
  /** Memory of its {@linkcode LoadControl}. */
  control: SharedArrayBuffer;
}

/** What a load works on. */
export interface LoadOptions extends Omit<LoadPlan, "control"> {
  control: LoadControl;
  blockSize: number;
  requests: RequestTable;
  /** The arena of the request buffers. */
  memory: Uint8Array;
}

/**
 * Load that knows what every unit has to contain: each write of a unit has content of its own, and every read is compared
 * with the last write that was answered. Two requests never touch one unit at a time, so there is one right answer.
 *
 * A pure machine: `pollRequest()` fills a slot that the caller submits to any device, `handleDone()` gives it back.
 * Invariant: after a failure nothing is issued any more.
 */
export class VerifiedLoad {
  readonly #control: LoadControl;
  readonly #requests: RequestTable;
  readonly #words: Uint32Array;
  readonly #units: number;
  readonly #unitWords: number;
  readonly #unitBlocks: number;
  readonly #seed: number;
  readonly #prng: Prng;
  readonly #free: Fifo;
  readonly #unitOf: Uint32Array;
  readonly #issuedAtMs: Float64Array;
  /** How often each unit was written; content follows from it. 0: never, so that nothing is known of it. */
  readonly #generation: Uint32Array;
  readonly #isBusyUnit: Uint8Array;
  #orders = 0;
  #order: number = LoadOrder.STOP;
  #next = 0;
  #inFlight = 0;
  /** Requests of an order that was given up are in flight: no unit may be touched twice. */
  #isDraining = false;
  #answeredAtMs = 0;

  constructor(options: LoadOptions) {
    const { depth, requests, unitBytes, units, memory, blockSize } = options;
    assert(depth > 0 && depth <= requests.depth, "There is a slot for each request in flight");
    assert(unitBytes % blockSize === 0 && unitBytes % 4 === 0, "A unit is whole blocks and whole words");
    assert(unitBytes <= requests.bufferBytes, "A unit fits into a request's buffer");
    assert(units >= 2 * depth, "A unit that is free is found quickly");
    this.#control = options.control;
    this.#requests = requests;
    this.#words = new Uint32Array(memory.buffer, memory.byteOffset, Math.floor(memory.byteLength / 4));
    this.#units = units;
    this.#unitWords = unitBytes >> 2;
    this.#unitBlocks = unitBytes / blockSize;
    this.#seed = options.seed;
    this.#prng = new Prng(options.seed);
    this.#free = new Fifo(depth);
    for (let slot = 0; slot < depth; slot++) this.#free.push(slot);
    this.#unitOf = new Uint32Array(depth);
    this.#issuedAtMs = new Float64Array(depth);
    this.#generation = new Uint32Array(units);
    this.#isBusyUnit = new Uint8Array(units);
  }

  /** True while requests are in flight, or an order is not carried out. */
  get isBusy(): boolean {
    return this.#inFlight > 0 || !this.#control.isDone;
  }

  /** A slot to submit now; -1 if there is none at the moment. */
  pollRequest(nowMs: number): number {
    this.#takeOrder(nowMs);
    if (this.#inFlight === 0 && this.#isOver) this.#control.end(this.#orders);
    if (this.#isOver || this.#isDraining) return -1;
    const slot = this.#free.shift();
    if (slot < 0) return -1;
    const unit = this.#pickUnit();
    const isWrite = this.#order === LoadOrder.FILL || (this.#order === LoadOrder.MIX && this.#prng.below(2) === 0);
    this.#fillSlot(slot, unit, isWrite);
    this.#issuedAtMs[slot] = nowMs;
    this.#inFlight++;
    return slot;
  }

  #takeOrder(nowMs: number): void {
    const orders = this.#control.orders;
    if (orders === this.#orders) return;
    this.#orders = orders;
    this.#order = this.#control.order;
    this.#next = 0;
    this.#isDraining = this.#inFlight > 0;
    if (!this.#isDraining) this.#answeredAtMs = nowMs;
  }

  /** Nothing more is to be issued for the order. */
  get #isOver(): boolean {
    if (this.#order === LoadOrder.STOP || this.#control.hasFailed) return true;
    return this.#order !== LoadOrder.MIX && this.#next === this.#units;
  }

  #pickUnit(): number {
    if (this.#order !== LoadOrder.MIX) return this.#next++;
    for (;;) {
      const unit = this.#prng.below(this.#units);
      if (this.#isBusyUnit[unit] === 0) return unit;
    }
  }

  #fillSlot(slot: number, unit: number, isWrite: boolean): void {
    const requests = this.#requests;
    const first = unit * this.#unitBlocks;
    this.#unitOf[slot] = unit;
    this.#isBusyUnit[unit] = 1;
    requests.op[slot] = isWrite ? BlockOp.WRITE : BlockOp.READ;
    requests.flags[slot] = 0;
    requests.lbaLow[slot] = first;
    requests.lbaHigh[slot] = Math.floor(first / 2 ** 32);
    requests.blocks[slot] = this.#unitBlocks;
    const at = requests.dataOffset[slot] >> 2;
    if (isWrite) this.#writeContent(at, unit, this.#generation[unit] + 1);
    // What is there from before must not be taken for what was read.
    else this.#words.fill(0, at, at + this.#unitWords);
  }

  /** The slot was answered, with its errno in `RequestTable.status`. */
  handleDone(slot: number, nowMs: number): void {
    const unit = this.#unitOf[slot];
    const isWrite = this.#requests.op[slot] === BlockOp.WRITE;
    const status = this.#requests.status[slot];
    this.#isBusyUnit[unit] = 0;
    this.#inFlight--;
    if (this.#inFlight === 0) this.#isDraining = false;
    this.#free.push(slot);
    this.#control.countRequest(isWrite, this.#unitWords << 2, nowMs - this.#issuedAtMs[slot]);
    this.#control.countPause(nowMs - this.#answeredAtMs);
    this.#answeredAtMs = nowMs;
    if (status !== 0) this.#control.fail(LoadFault.ERROR, isWrite, unit, status);
    else if (isWrite) this.#generation[unit]++;
    else this.#check(slot, unit);
  }

  #check(slot: number, unit: number): void {
    const generation = this.#generation[unit];
    if (generation === 0) return;
    const wrong = this.#wrongWord(this.#requests.dataOffset[slot] >> 2, unit, generation);
    if (wrong >= 0) this.#control.fail(LoadFault.WRONG_DATA, false, unit, wrong * 4);
  }

  // ── content: a sequence of words that follows from seed, unit and generation (xorshift32) ────────────────────────

  #firstWord(unit: number, generation: number): number {
    const mixed = Math.imul(unit + 1, 0x9e3779b1) ^ Math.imul(generation, 0x85ebca6b) ^ this.#seed;
    return (mixed ^ (mixed >>> 15)) | 0 || 1;
  }

  #writeContent(at: number, unit: number, generation: number): void {
    const words = this.#words;
    let x = this.#firstWord(unit, generation);
    for (let i = 0; i < this.#unitWords; i++) {
      x ^= x << 13;
      x ^= x >>> 17;
      x ^= x << 5;
      words[at + i] = x;
    }
  }

  /** The first word that is not what it has to be; -1 if all are. */
  #wrongWord(at: number, unit: number, generation: number): number {
    const words = this.#words;
    let x = this.#firstWord(unit, generation);
    for (let i = 0; i < this.#unitWords; i++) {
      x ^= x << 13;
      x ^= x >>> 17;
      x ^= x << 5;
      if (words[at + i] !== x >>> 0) return i;
    }
    return -1;
  }
}
