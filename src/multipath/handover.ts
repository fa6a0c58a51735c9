/**
 * One queue's end of the hand-over between the queues of a volume. A queue that has no link of a usable path hands its
 * requests to a neighbour that has one, its *helper*; the helper serves them as *guests*, in request slots of its own,
 * and answers.
 *
 *     asking queue                                      helper
 *     offer() ─► HandoverTable: request ring ─────────► pollGuest() ─► a guest slot, served like any other
 *     pollAnswer() ◄──────────── answer ring ◄───────── answer(): an errno, or UNSERVED
 *
 * Contract: every request that `offer()` took comes back by `pollAnswer()` once. One that comes back UNSERVED is as it
 * was before: nothing of it is in flight or held. Data is copied between the two buffers by the helper, while the
 * request is its own; neither queue touches the other's memory at any other time. Pure: the owner wakes the queues that
 * `pollWake()` names.
 */
import { assert } from "../base/assert.ts";
import { BlockOp, type RequestTable } from "../block/request.ts";
import { HANDED_MAX, type HandedAnswer, type HandedRequest, type HandoverTable } from "./handover_table.ts";

/** Requests of neighbours that one queue serves at a time, each with a buffer of its own. */
export const GUESTS_MAX = HANDED_MAX;
/** The status of a request that the helper could not serve. */
export const UNSERVED = -1;

export interface HandoverOptions {
  /** The number of the queue. */
  readonly queue: number;
  readonly table: HandoverTable;
  /** The queue's own request slots, and after them those of guests. */
  readonly requests: RequestTable;
  readonly firstGuest: number;
  readonly blockSize: number;
  /** The arena that the slots' buffers are in. */
  readonly memory: Uint8Array;
  /** The arena of another queue. */
  readonly memoryOf: (queue: number) => Uint8Array;
}

export class Handover {
  readonly firstGuest: number;
  readonly #options: HandoverOptions;
  readonly #table: HandoverTable;
  readonly #queue: number;
  readonly #requests: RequestTable;
  /** Requests of this queue that each other one has. */
  readonly #handed: Uint16Array;
  /** Of each guest slot: whose request it holds, -1 for none, and the slot that it has there and where its data is. */
  readonly #guestQueue = new Int32Array(GUESTS_MAX).fill(-1);
  readonly #guestSlot = new Int32Array(GUESTS_MAX);
  readonly #guestData = new Uint32Array(GUESTS_MAX);
  readonly #free: Int32Array;
  #freeCount = GUESTS_MAX;
  readonly #toWake: Uint8Array;
  #wakes = 0;
  #heard = 0;
  #isBacklogged = false;
  /** A helper that has given a request back: it is not asked again before the next look at the time. -1: none. */
  #shunned = -1;
  readonly #request: HandedRequest = {
    ...{ slot: 0, op: 0, flags: 0, lbaLow: 0, lbaHigh: 0, blocks: 0, dataOffset: 0, history: 0 },
  };
  /** The answer that came last, and one that goes out. */
  readonly #answer: HandedAnswer = { slot: 0, status: 0, history: 0 };
  readonly #reply: HandedAnswer = { slot: 0, status: 0, history: 0 };

  constructor(options: HandoverOptions) {
    const { table, requests, firstGuest } = options;
    assert(firstGuest + GUESTS_MAX === requests.depth, "Guests have slots behind those of the queue");
    this.#options = options;
    this.#table = table;
    this.#queue = options.queue;
    this.#requests = requests;
    this.firstGuest = firstGuest;
    this.#handed = new Uint16Array(table.queues);
    this.#free = Int32Array.from({ length: GUESTS_MAX }, (_, i) => requests.depth - 1 - i);
    this.#toWake = new Uint8Array(table.queues);
  }

  // ── what this queue hands over ────────────────────────────────────────────────────────────────────────────────────

  /** Hands a request over; false if there is no helper, or it has enough. */
  offer(slot: number, history: number): boolean {
    const helper = this.#table.helper(this.#queue);
    if (helper < 0 || helper === this.#shunned || this.#handed[helper] === HANDED_MAX) return false;
    if (this.#table.isGone(helper)) return false;
    const requests = this.#requests;
    const request = this.#request;
    request.slot = slot;
    request.op = requests.op[slot];
    request.flags = requests.flags[slot];
    request.lbaLow = requests.lbaLow[slot];
    request.lbaHigh = requests.lbaHigh[slot];
    request.blocks = requests.blocks[slot];
    request.dataOffset = requests.dataOffset[slot];
    request.history = history;
    this.#table.pushRequest(this.#queue, helper, request);
    this.#handed[helper]++;
    this.#call(helper);
    return true;
  }

  /** A request that has come back, by its slot, with `status` and `history`; -1 if there is none. */
  pollAnswer(): number {
    for (let helper = 0; helper < this.#handed.length; helper++) {
      if (this.#handed[helper] > 0 && this.#takeAnswer(helper)) return this.#answer.slot;
    }
    return -1;
  }

  #takeAnswer(helper: number): boolean {
    const answer = this.#answer;
    // A helper answers what it has taken before it is gone. What it has not taken it never will.
    const isGone = this.#table.isGone(helper);
    if (!this.#table.takeAnswer(this.#queue, helper, answer)) {
      if (!isGone) return false;
      this.#table.takeRequest(this.#queue, helper, this.#request);
      answer.slot = this.#request.slot;
      answer.status = UNSERVED;
      answer.history = this.#request.history;
    }
    this.#handed[helper]--;
    if (answer.status === UNSERVED) this.#shunned = helper;
    return true;
  }

  /** Of the request that came back last: an errno, 0 for success, or UNSERVED. */
  get status(): number {
    return this.#answer.status;
  }

  /** What was noted of its tries. */
  get history(): number {
    return this.#answer.history;
  }

  /** The helper may be asked again. */
  handleTime(): void {
    this.#shunned = -1;
  }

  // ── what this queue serves for others ─────────────────────────────────────────────────────────────────────────────

  /** A guest slot with a request of a neighbour, what it writes included; -1 if there is none, or no slot for it. */
  pollGuest(): number {
    this.#isBacklogged = false;
    for (let from = 0; from < this.#handed.length; from++) {
      if (from === this.#queue || !this.#table.hasRequest(from, this.#queue)) continue;
      this.#isBacklogged = true;
      return this.#freeCount === 0 ? -1 : this.#takeGuest(from);
    }
    return -1;
  }

  #takeGuest(from: number): number {
    const { blockSize, memory, memoryOf } = this.#options;
    const request = this.#request;
    this.#table.takeRequest(from, this.#queue, request);
    const requests = this.#requests;
    const guest = this.#free[--this.#freeCount];
    this.#guestQueue[guest - this.firstGuest] = from;
    this.#guestSlot[guest - this.firstGuest] = request.slot;
    requests.op[guest] = request.op;
    requests.flags[guest] = request.flags;
    requests.lbaLow[guest] = request.lbaLow;
    requests.lbaHigh[guest] = request.lbaHigh;
    requests.blocks[guest] = request.blocks;
    this.#guestData[guest - this.firstGuest] = request.dataOffset;
    if (request.op === BlockOp.WRITE) {
      const end = request.dataOffset + request.blocks * blockSize;
      memory.set(memoryOf(from).subarray(request.dataOffset, end), requests.dataOffset[guest]);
    }
    return guest;
  }

  /** What was noted of the earlier tries of the guest that came last. */
  get guestHistory(): number {
    return this.#request.history;
  }

  /** The queue that a guest is from, and its slot there. */
  originOf(guest: number): { queue: number; slot: number } {
    return { queue: this.#guestQueue[guest - this.firstGuest], slot: this.#guestSlot[guest - this.firstGuest] };
  }

  /** Answers a guest with an errno, 0 for success, whose data then goes to where it belongs, or UNSERVED. */
  answer(guest: number, status: number, history: number): void {
    const { blockSize, memory, memoryOf } = this.#options;
    const index = guest - this.firstGuest;
    const to = this.#guestQueue[index];
    assert(to >= 0, "A guest is answered once");
    if (status === 0 && this.#requests.op[guest] === BlockOp.READ) {
      const at = this.#requests.dataOffset[guest];
      const bytes = this.#requests.blocks[guest] * blockSize;
      memoryOf(to).set(memory.subarray(at, at + bytes), this.#guestData[index]);
    }
    const reply = this.#reply;
    reply.slot = this.#guestSlot[index];
    reply.status = status;
    reply.history = history;
    this.#table.pushAnswer(to, this.#queue, reply);
    this.#guestQueue[index] = -1;
    this.#free[this.#freeCount++] = guest;
    this.#call(to);
  }

  // ── bells ─────────────────────────────────────────────────────────────────────────────────────────────────────────

  /** A neighbour has something for this queue, or waits for room. */
  get isCalled(): boolean {
    return this.#isBacklogged || this.#table.bell(this.#queue) !== this.#heard;
  }

  /** What was pushed until now is looked at. */
  hear(): void {
    this.#heard = this.#table.bell(this.#queue);
  }

  /** Neighbours wait for room. */
  get isBacklogged(): boolean {
    return this.#isBacklogged;
  }

  #call(queue: number): void {
    this.#table.ring(queue);
    if (this.#toWake[queue] === 1) return;
    this.#toWake[queue] = 1;
    this.#wakes++;
  }

  /** A queue that has to be woken; -1 if there is none. */
  pollWake(): number {
    if (this.#wakes === 0) return -1;
    const queue = this.#toWake.indexOf(1);
    this.#toWake[queue] = 0;
    this.#wakes--;
    return queue;
  }

  // ── end ───────────────────────────────────────────────────────────────────────────────────────────────────────────

  /** Neither has another queue a request of this one, nor this one a request of another. */
  get isQuiet(): boolean {
    if (this.#freeCount < GUESTS_MAX || this.#handed.some((count) => count > 0)) return false;
    for (let from = 0; from < this.#handed.length; from++) {
      if (from !== this.#queue && this.#table.hasRequest(from, this.#queue)) return false;
    }
    return true;
  }

  /** Takes and answers nothing any more. What a neighbour pushes from now on it takes back itself. */
  leave(): void {
    assert(this.isQuiet, "A queue leaves when it has nothing of others and others have nothing of it");
    this.#table.setGone(this.#queue);
    for (let queue = 0; queue < this.#handed.length; queue++) {
      if (queue !== this.#queue) this.#call(queue);
    }
  }
}
