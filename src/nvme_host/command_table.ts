import { assert } from "../base/assert.ts";

/** Which way a command's data goes. */
export const DataDirection = { NONE: 0, FROM_CONTROLLER: 1, TO_CONTROLLER: 2 } as const;

/** Where a command is in its life. A slot goes FREE → ACTIVE → (ANSWERED →) DONE → FREE. */
export const CommandPhase = {
  FREE: 0,
  /** Submitted; no answer yet. */
  ACTIVE: 1,
  /** Answered, but a send still reads its data: neither buffer nor CID may be used again. */
  ANSWERED: 2,
  /** The owner may take the answer. */
  DONE: 3,
} as const;

/** A CID that the Error Information log uses for "no command" (NVMe Base 2.0, section 3.3.3.1): better not used. */
const CID_NONE = 0xffff;

/**
 * The command slots of one queue pair, one array a field. The CID on the wire is the slot's number with a generation
 * above it, so that an answer to an earlier use of the slot is told from one to the present use.
 */
export class CommandTable {
  readonly depth: number;
  readonly phase: Uint8Array;
  readonly cid: Uint16Array;
  readonly direction: Uint8Array;
  /** Where the data is in the arena, and how much there is, in bytes. */
  readonly dataOffset: Uint32Array;
  readonly dataBytes: Uint32Array;
  /** Bytes received, or asked for by R2T or sent in the capsule. */
  readonly transferred: Uint32Array;
  /** What the last R2T asked for and is not yet in a send. */
  readonly r2tOffset: Uint32Array;
  readonly r2tBytes: Uint32Array;
  readonly r2tTag: Uint16Array;
  /** 1 while the slot is in the queue of R2Ts to answer. */
  readonly r2tQueued: Uint8Array;
  /** Sends that read the slot's data and are not complete. */
  readonly sends: Uint16Array;
  /** The send epoch of the capsule: the command is on the wire once that epoch has been taken. */
  readonly epoch: Int32Array;
  /** 1 if data of the command came with a wrong digest. */
  readonly spoilt: Uint8Array;
  /** 1 if the data goes elsewhere since it was submitted, and so belongs to nobody. */
  readonly redirected: Uint8Array;
  /** Whatever number the submitter gave. */
  readonly owner: Int32Array;
  readonly submittedAtMs: Float64Array;
  /** The 15-bit status field and the two result dwords of the answer. */
  readonly status: Uint16Array;
  readonly result0: Uint32Array;
  readonly result1: Uint32Array;

  readonly #slotBits: number;
  readonly #free: Int32Array;
  #freeCount: number;

  constructor(depth: number) {
    assert(depth >= 1 && depth <= 4096, "A queue pair has 1 to 4096 command slots");
    this.depth = depth;
    this.#slotBits = Math.ceil(Math.log2(Math.max(depth, 2)));
    this.phase = new Uint8Array(depth);
    this.cid = new Uint16Array(depth);
    this.direction = new Uint8Array(depth);
    this.dataOffset = new Uint32Array(depth);
    this.dataBytes = new Uint32Array(depth);
    this.transferred = new Uint32Array(depth);
    this.r2tOffset = new Uint32Array(depth);
    this.r2tBytes = new Uint32Array(depth);
    this.r2tTag = new Uint16Array(depth);
    this.r2tQueued = new Uint8Array(depth);
    this.sends = new Uint16Array(depth);
    this.epoch = new Int32Array(depth);
    this.spoilt = new Uint8Array(depth);
    this.redirected = new Uint8Array(depth);
    this.owner = new Int32Array(depth);
    this.submittedAtMs = new Float64Array(depth);
    this.status = new Uint16Array(depth);
    this.result0 = new Uint32Array(depth);
    this.result1 = new Uint32Array(depth);
    this.#free = Int32Array.from({ length: depth }, (_, i) => depth - 1 - i);
    this.#freeCount = depth;
    for (let slot = 0; slot < depth; slot++) this.cid[slot] = slot;
  }

  /** Commands that are submitted and whose slot was not released. */
  get inUse(): number {
    return this.depth - this.#freeCount;
  }

  /** Takes a slot and gives it a new CID; -1 if none is free. */
  allocate(): number {
    if (this.#freeCount === 0) return -1;
    const slot = this.#free[--this.#freeCount];
    this.phase[slot] = CommandPhase.ACTIVE;
    this.spoilt[slot] = 0;
    this.redirected[slot] = 0;
    this.cid[slot] += 1 << this.#slotBits;
    if (this.cid[slot] === CID_NONE) this.cid[slot] += 1 << this.#slotBits;
    return slot;
  }

  /** Gives back a slot whose answer was taken, or whose connection is over. */
  release(slot: number): void {
    assert(this.phase[slot] !== CommandPhase.FREE, "A command slot is released once");
    this.phase[slot] = CommandPhase.FREE;
    this.#free[this.#freeCount++] = slot;
  }

  /** The slot in which the command `cid` is ACTIVE; -1 if there is none. */
  find(cid: number): number {
    const slot = cid & ((1 << this.#slotBits) - 1);
    if (slot >= this.depth || this.cid[slot] !== cid || this.phase[slot] !== CommandPhase.ACTIVE) return -1;
    return slot;
  }
}
