import { assert } from "../../src/base/assert.ts";
import { EINVAL } from "../../src/base/errno.ts";
import { Fifo } from "../../src/base/fifo.ts";
import type { Prng } from "../../src/base/prng.ts";
import type { BlockDevice } from "../../src/block/device.ts";
import { BlockOp, type RequestTable } from "../../src/block/request.ts";
import { type Clock, Task } from "./clock.ts";

/** How a store is broken on purpose. */
export interface BrokenStore {
  /** One of so many writes leaves half of a block as it was. */
  readonly tearsOneIn?: number;
  /** One of so many writes is acknowledged and not done. */
  readonly losesOneIn?: number;
}

/** The namespace that all portals lead to. Only the blocks from `firstLba` on are there; nobody asks for others. */
export class Store {
  readonly blockSize: number;
  readonly blocks: number;
  readonly firstLba: number;
  /** Blocks that hosts are told of; what is beyond comes back when it grows again. */
  size: number;
  readonly #bytes: Uint8Array<ArrayBuffer>;
  readonly #prng: Prng;
  readonly #broken: BrokenStore;

  constructor(options: { blockSize: number; blocks: number; firstLba: number; prng: Prng; broken?: BrokenStore }) {
    this.blockSize = options.blockSize;
    this.blocks = this.size = options.blocks;
    this.firstLba = options.firstLba;
    this.#prng = options.prng;
    this.#broken = options.broken ?? {};
    this.#bytes = new Uint8Array(options.blockSize * options.blocks);
  }

  /** Carries a request out on its first `blocks` blocks; 0 or an errno. */
  execute(requests: RequestTable, slot: number, arena: Uint8Array, blocks: number): number {
    const op = requests.op[slot];
    if (op === BlockOp.FLUSH) return 0;
    const first = requests.lbaHigh[slot] * 2 ** 32 + requests.lbaLow[slot] - this.firstLba;
    if (first < 0 || first + requests.blocks[slot] > this.blocks) return EINVAL;
    const start = first * this.blockSize, end = start + blocks * this.blockSize;
    const data = requests.dataOffset[slot];
    if (op === BlockOp.READ) arena.set(this.#bytes.subarray(start, end), data);
    else if (op === BlockOp.WRITE) this.#write(arena, data, start, end);
    else this.#bytes.fill(0, start, end);
    return 0;
  }

  #write(arena: Uint8Array, data: number, start: number, end: number): void {
    const { tearsOneIn = 0, losesOneIn = 0 } = this.#broken;
    if (losesOneIn > 0 && this.#prng.below(losesOneIn) === 0) return;
    if (tearsOneIn > 0 && this.#prng.below(tearsOneIn) === 0) end -= this.blockSize / 2;
    this.#bytes.set(arena.subarray(data, data + end - start), start);
  }
}

/** How quick the storage behind a portal is; faults change it at any time. */
export interface Medium {
  /** A request takes at most so long, ms; 0: it is done at once. */
  latencyMs: number;
  /** Nothing is carried out before that time. */
  frozenUntilMs: number;
  /** But no request is kept longer than that, ms: so long may a controller go on that has lost its host. */
  readonly keptMsMax: number;
}

/** The store as one queue of a target sees it: requests are carried out when it pleases the medium. */
export class StoreDevice implements BlockDevice {
  readonly #store: Store;
  readonly #requests: RequestTable;
  readonly #arena: Uint8Array;
  readonly #clock: Clock;
  readonly #medium: Medium;
  readonly #prng: Prng;
  readonly #answered: Fifo;
  readonly #held: Int32Array;
  readonly #dueMs: Float64Array;
  readonly #task: Task;
  readonly #wake: () => void;
  #heldCount = 0;

  constructor(
    store: Store,
    options: {
      requests: RequestTable;
      arena: Uint8Array;
      clock: Clock;
      medium: Medium;
      prng: Prng;
      /** Something is answered. */
      wake: () => void;
    },
  ) {
    this.#store = store;
    this.#requests = options.requests;
    this.#arena = options.arena;
    this.#clock = options.clock;
    this.#medium = options.medium;
    this.#prng = options.prng;
    this.#wake = options.wake;
    this.#answered = new Fifo(options.requests.depth);
    this.#held = new Int32Array(options.requests.depth);
    this.#dueMs = new Float64Array(options.requests.depth);
    this.#task = new Task(options.clock, () => this.#handleDue());
  }

  get held(): number {
    return this.#heldCount;
  }

  submit(slot: number, nowMs: number): void {
    const { latencyMs, frozenUntilMs, keptMsMax } = this.#medium;
    if (latencyMs === 0 && frozenUntilMs <= nowMs) return this.#finish(slot);
    const readyMs = Math.max(nowMs, frozenUntilMs) + this.#prng.unit() * latencyMs;
    const dueMs = Math.min(readyMs, nowMs + keptMsMax);
    assert(this.#heldCount < this.#held.length, "A slot is submitted once");
    this.#held[this.#heldCount++] = slot;
    this.#dueMs[slot] = dueMs;
    this.#task.by(dueMs);
  }

  #finish(slot: number): void {
    const requests = this.#requests;
    requests.status[slot] = this.#store.execute(requests, slot, this.#arena, requests.blocks[slot]);
    this.#answered.push(slot);
  }

  #handleDue(): void {
    const now = this.#clock.nowMs;
    let kept = 0, nextMs = Infinity;
    for (let i = 0; i < this.#heldCount; i++) {
      const slot = this.#held[i];
      if (this.#dueMs[slot] <= now) {
        this.#finish(slot);
        continue;
      }
      this.#held[kept++] = slot;
      nextMs = Math.min(nextMs, this.#dueMs[slot]);
    }
    this.#heldCount = kept;
    if (kept > 0) this.#task.at(nextMs);
    this.#wake();
  }

  pollCompletion(): number {
    return this.#answered.shift();
  }

  /** The target dies: each request that is held is done, done in part, or not done at all. */
  crash(): void {
    for (let i = 0; i < this.#heldCount; i++) {
      const slot = this.#held[i];
      const blocks = this.#prng.below(this.#requests.blocks[slot] + 1);
      this.#store.execute(this.#requests, slot, this.#arena, blocks);
    }
    this.#heldCount = 0;
    this.#task.cancel();
  }
}
