import { assert } from "../base/assert.ts";

/** Requests of one queue that another one has at a time: a power of two. */
export const HANDED_MAX = 32;

/** Words of a queue, of a pair of queues, and of an entry of a pair's two rings. */
const Queue = { HELPER: 0, BELL: 1, GONE: 2, WORDS: 4 } as const;
const Pair = { ASKED: 0, TAKEN: 1, ANSWERED: 2, HEARD: 3, WORDS: 4 } as const;
const REQUEST_WORDS = 8;
const ANSWER_WORDS = 4;
const PAIR_WORDS = Pair.WORDS + HANDED_MAX * (REQUEST_WORDS + ANSWER_WORDS);

/** A request on its way to a helper: what is asked, and where its data is in the asking queue's memory. */
export interface HandedRequest {
  slot: number;
  op: number;
  flags: number;
  lbaLow: number;
  lbaHigh: number;
  blocks: number;
  dataOffset: number;
  /** What was noted of its earlier tries. */
  history: number;
}

/** What a helper says of a request: an errno, 0 for success, or -1 if it could not serve it. */
export interface HandedAnswer {
  slot: number;
  status: number;
  history: number;
}

/**
 * The memory by which the queues of a volume hand requests over to each other. Each pair of queues has two rings with
 * one writer and one reader each: requests one way, answers the other. Each ring has room for all that can be under way,
 * so a push always succeeds. The control plane writes which queue helps which; a bell of each queue counts what was
 * pushed to it.
 */
export class HandoverTable {
  readonly shared: SharedArrayBuffer;
  readonly queues: number;
  readonly #words: Int32Array;
  readonly #pairsAt: number;

  constructor(queues: number, shared?: SharedArrayBuffer) {
    assert(queues > 0, "A volume has a queue");
    this.queues = queues;
    this.#pairsAt = queues * Queue.WORDS;
    this.shared = shared ?? new SharedArrayBuffer((this.#pairsAt + queues * queues * PAIR_WORDS) * 4);
    this.#words = new Int32Array(this.shared);
    if (shared === undefined) { for (let queue = 0; queue < queues; queue++) this.setHelper(queue, -1); }
  }

  #queueAt(queue: number): number {
    return queue * Queue.WORDS;
  }

  #pairAt(from: number, to: number): number {
    return this.#pairsAt + (from * this.queues + to) * PAIR_WORDS;
  }

  /** The queue that takes the requests of `queue` while it has no path; -1 if there is none. */
  helper(queue: number): number {
    return this.#words[this.#queueAt(queue) + Queue.HELPER];
  }

  setHelper(queue: number, helper: number): void {
    assert(helper < this.queues && helper !== queue, "A queue is helped by another one");
    Atomics.store(this.#words, this.#queueAt(queue) + Queue.HELPER, helper);
  }

  /** Changes whenever something was pushed for `queue`, or another queue is gone. */
  bell(queue: number): number {
    return this.#words[this.#queueAt(queue) + Queue.BELL];
  }

  ring(queue: number): void {
    Atomics.add(this.#words, this.#queueAt(queue) + Queue.BELL, 1);
  }

  /** True once the queue takes and answers nothing any more. */
  isGone(queue: number): boolean {
    return Atomics.load(this.#words, this.#queueAt(queue) + Queue.GONE) === 1;
  }

  setGone(queue: number): void {
    Atomics.store(this.#words, this.#queueAt(queue) + Queue.GONE, 1);
  }

  // ── requests ──────────────────────────────────────────────────────────────────────────────────────────────────────

  pushRequest(from: number, to: number, request: HandedRequest): void {
    const words = this.#words;
    const pair = this.#pairAt(from, to);
    const asked = words[pair + Pair.ASKED];
    assert(asked - Atomics.load(words, pair + Pair.TAKEN) < HANDED_MAX, "A queue counts what it has handed over");
    const at = pair + Pair.WORDS + (asked & (HANDED_MAX - 1)) * REQUEST_WORDS;
    words[at] = request.slot;
    words[at + 1] = request.op | (request.flags << 8);
    words[at + 2] = request.lbaLow;
    words[at + 3] = request.lbaHigh;
    words[at + 4] = request.blocks;
    words[at + 5] = request.dataOffset;
    words[at + 6] = request.history;
    Atomics.store(words, pair + Pair.ASKED, (asked + 1) | 0);
  }

  /** True if `from` has a request for `to` that was not taken. */
  hasRequest(from: number, to: number): boolean {
    const pair = this.#pairAt(from, to);
    return Atomics.load(this.#words, pair + Pair.ASKED) !== this.#words[pair + Pair.TAKEN];
  }

  /** Takes the oldest request of `from` for `to`. */
  takeRequest(from: number, to: number, into: HandedRequest): void {
    assert(this.hasRequest(from, to), "A request is taken that is there");
    const words = this.#words;
    const pair = this.#pairAt(from, to);
    const taken = words[pair + Pair.TAKEN];
    const at = pair + Pair.WORDS + (taken & (HANDED_MAX - 1)) * REQUEST_WORDS;
    into.slot = words[at];
    into.op = words[at + 1] & 0xff;
    into.flags = words[at + 1] >>> 8;
    into.lbaLow = words[at + 2] >>> 0;
    into.lbaHigh = words[at + 3] >>> 0;
    into.blocks = words[at + 4] >>> 0;
    into.dataOffset = words[at + 5] >>> 0;
    into.history = words[at + 6];
    Atomics.store(words, pair + Pair.TAKEN, (taken + 1) | 0);
  }

  // ── answers ───────────────────────────────────────────────────────────────────────────────────────────────────────

  /** `by` answers a request of `from`. */
  pushAnswer(from: number, by: number, { slot, status, history }: HandedAnswer): void {
    const words = this.#words;
    const pair = this.#pairAt(from, by);
    const answered = words[pair + Pair.ANSWERED];
    const at = pair + Pair.WORDS + HANDED_MAX * REQUEST_WORDS + (answered & (HANDED_MAX - 1)) * ANSWER_WORDS;
    words[at] = slot;
    words[at + 1] = status;
    words[at + 2] = history;
    Atomics.store(words, pair + Pair.ANSWERED, (answered + 1) | 0);
  }

  /** Takes the oldest answer of `by` to `from`; false if there is none. */
  takeAnswer(from: number, by: number, into: HandedAnswer): boolean {
    const words = this.#words;
    const pair = this.#pairAt(from, by);
    const heard = words[pair + Pair.HEARD];
    if (Atomics.load(words, pair + Pair.ANSWERED) === heard) return false;
    const at = pair + Pair.WORDS + HANDED_MAX * REQUEST_WORDS + (heard & (HANDED_MAX - 1)) * ANSWER_WORDS;
    into.slot = words[at];
    into.status = words[at + 1];
    into.history = words[at + 2];
    Atomics.store(words, pair + Pair.HEARD, (heard + 1) | 0);
    return true;
  }
}
