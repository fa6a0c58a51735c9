import { assert } from "../base/assert.ts";

/** Which way a command's data goes, as bits 1:0 of an opcode (or of FCTYPE) say (NVMe Base 2.0, section 3.3.3.1). */
export const TransferDirection = { NONE: 0, TO_CONTROLLER: 1, FROM_CONTROLLER: 2, BOTH: 3 } as const;

/**
 * Where a command is in its life:
 * FREE → ARRIVING → ARRIVED → OWNED (→ FETCHING → ARRIVED → OWNED) → ANSWERING → ANSWERED → FREE.
 */
export const SlotPhase = {
  FREE: 0,
  /** The capsule's header came, its data is on the way. */
  ARRIVING: 1,
  /** Waits for `pollCommand()`. */
  ARRIVED: 2,
  /** The owner executes it. */
  OWNED: 3,
  /** The host is asked for its data by R2T. */
  FETCHING: 4,
  /** The answer waits, or a part of it, until it is given to the socket. */
  ANSWERING: 5,
  /** All of the answer was given to the socket, which may still read the slot's data. */
  ANSWERED: 6,
} as const;

/**
 * The commands in flight on one queue pair as the controller knows them, one array a field, indexed by slot. The CID is
 * the host's and may be any number; where it is in flight is looked up in a table of all of them.
 */
export class CommandSlots {
  readonly depth: number;
  /** One of {@linkcode SlotPhase}. */
  readonly phase: Uint8Array;
  /** The submission queue entries as the host sent them: 16 dwords a slot, from `slot * 16` on. */
  readonly sqe: Uint32Array;
  readonly cid: Uint16Array;
  /** One of {@linkcode TransferDirection}. */
  readonly direction: Uint8Array;
  /** The length that the SGL tells, in bytes; never more than the slot's data buffer holds. */
  readonly dataBytes: Uint32Array;
  /** Where the slot's data buffer begins in the arena. */
  readonly dataOffset: Uint32Array;
  /** 1 if the host's data is in the slot's buffer: it came in the capsule, or was fetched. */
  readonly hasData: Uint8Array;
  /** The status that the connection itself answers with once the capsule or the data is in; 0 for none. */
  readonly verdict: Uint16Array;
  /** Data received by R2T so far, in bytes, and the tag of that R2T. */
  readonly fetched: Uint32Array;
  readonly tag: Uint16Array;
  /** 1 while the R2T is not written yet. */
  readonly wantsR2t: Uint8Array;
  /** 1 if the command was dropped while its data is under way. */
  readonly dropped: Uint8Array;
  /** The answer: its status, its dwords, how much data goes before it and how much of that is written. */
  readonly status: Uint16Array;
  readonly result0: Uint32Array;
  readonly result1: Uint32Array;
  readonly answerBytes: Uint32Array;
  readonly answerSent: Uint32Array;

  /** For each CID one more than the slot that it is in flight in; 0 for none. */
  readonly #slotOfCid = new Uint16Array(65536);
  readonly #free: Int32Array;
  #freeCount: number;

  /** Slot s has the data buffer of `dataBytes` bytes at `dataOffset + s * dataBytes`. */
  constructor(depth: number, data: { offset: number; bytes: number }) {
    assert(depth >= 1 && depth <= 4096, "A queue pair has 1 to 4096 command slots");
    this.depth = depth;
    this.phase = new Uint8Array(depth);
    this.sqe = new Uint32Array(depth * 16);
    this.cid = new Uint16Array(depth);
    this.direction = new Uint8Array(depth);
    this.dataBytes = new Uint32Array(depth);
    this.dataOffset = Uint32Array.from({ length: depth }, (_, slot) => data.offset + slot * data.bytes);
    this.hasData = new Uint8Array(depth);
    this.verdict = new Uint16Array(depth);
    this.fetched = new Uint32Array(depth);
    this.tag = new Uint16Array(depth);
    this.wantsR2t = new Uint8Array(depth);
    this.dropped = new Uint8Array(depth);
    this.status = new Uint16Array(depth);
    this.result0 = new Uint32Array(depth);
    this.result1 = new Uint32Array(depth);
    this.answerBytes = new Uint32Array(depth);
    this.answerSent = new Uint32Array(depth);
    this.#free = Int32Array.from({ length: depth }, (_, i) => depth - 1 - i);
    this.#freeCount = depth;
  }

  /** Slots that are not free. */
  get inUse(): number {
    return this.depth - this.#freeCount;
  }

  /** A free slot, which is ARRIVING from now on; -1 if there is none. */
  take(): number {
    if (this.#freeCount === 0) return -1;
    const slot = this.#free[--this.#freeCount];
    this.phase[slot] = SlotPhase.ARRIVING;
    this.dataBytes[slot] = 0;
    this.hasData[slot] = 0;
    this.verdict[slot] = 0;
    this.dropped[slot] = 0;
    return slot;
  }

  /** From now on `cid` is the command in `slot`. */
  name(slot: number, cid: number): void {
    this.#slotOfCid[cid] = slot + 1;
  }

  /** The slot that `cid` was last named for and that is not free; -1 if there is none. */
  find(cid: number): number {
    return this.#slotOfCid[cid] - 1;
  }

  /** Makes a slot free. */
  release(slot: number): void {
    assert(this.phase[slot] !== SlotPhase.FREE, "A slot is released once");
    this.phase[slot] = SlotPhase.FREE;
    const cid = this.cid[slot];
    if (this.#slotOfCid[cid] === slot + 1) this.#slotOfCid[cid] = 0;
    this.#free[this.#freeCount++] = slot;
  }
}
