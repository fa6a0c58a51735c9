/**
 * The loop of a worker: reap completions → feed the pure machines → put what they want into the ring → one submit and
 * wait. All that became ready in a turn goes to the kernel in one call.
 */
import { assert } from "../base/assert.ts";
import { Fifo } from "../base/fifo.ts";
import { SPIN_US, TICK_MS } from "../base/limits.ts";
import { Memory } from "./memory.ts";
import { Ring } from "./ring.ts";
import { AdaptiveSpin } from "./spin.ts";
import { tokenHigh, TokenKind, tokenKind, tokenOwner } from "./token.ts";
import { Wake } from "./wake.ts";

const RING_SUBMISSIONS = 2048;
const RING_COMPLETIONS = 16384;

/**
 * Whose completions the ring brings: a volume's queue, or a connection of the target. Tokens name it by its index. Whether
 * it is busy, and when it is due, changes in its turns only: it is asked after each, and a turn of one costs no look at
 * the others.
 */
export interface RingOwner extends Disposable {
  /** Something is in flight: time matters, and an answer may be near. */
  readonly isBusy: boolean;
  /** Nothing of it is in the kernel, nor will be: it is disposed of. */
  readonly isOver: boolean;
  /** When it wants a turn though nothing has come in, as a time of `performance.now()`; Infinity for never. */
  readonly nextDueMs?: number;
  /** Takes the completion that `ring` shows, of one of its tokens. */
  handleCompletion(ring: Ring, kind: number, nowMs: number): void;
  /** Called every {@linkcode TICK_MS} while it is busy. */
  handleTime(nowMs: number): void;
  /** Moves on what came in, and puts all that the kernel shall do into the ring. */
  turn(ring: Ring, nowMs: number): void;
}

export class RingLoop<O extends RingOwner> implements Disposable {
  /** Whoever signals it closes it: a signal may be under way when this thread ends. */
  readonly wake = new Wake();
  readonly #ring = new Ring({ submissions: RING_SUBMISSIONS, completions: RING_COMPLETIONS });
  readonly #wakeMemory = Memory.allocate(4096);
  readonly #spin = new AdaptiveSpin(SPIN_US);
  readonly #owners: (O | null)[];
  readonly #touched: Fifo;
  readonly #isTouched: Uint8Array;
  /** What each owner said after its last turn. */
  readonly #isBusy: Uint8Array;
  readonly #due: Float64Array;
  #busyOwners = 0;
  readonly #onOver: (index: number) => void;
  /** No owner has this index or a higher one. */
  #end = 0;
  #onSubmitted: (() => void)[] = [];
  #lastTickMs = 0;
  #dueMs = Infinity;
  #isWoken = false;
  /** Called that often, also while nobody is busy. */
  #look: { everyMs: number; call: (nowMs: number) => void } | null = null;
  #lookAtMs = Infinity;

  /** `onOver` is called when an owner was disposed of. */
  constructor(ownersMax: number, onOver: (index: number) => void) {
    this.#owners = new Array(ownersMax).fill(null);
    this.#touched = new Fifo(ownersMax);
    this.#isTouched = new Uint8Array(ownersMax);
    this.#isBusy = new Uint8Array(ownersMax);
    this.#due = new Float64Array(ownersMax).fill(Infinity);
    this.#onOver = onOver;
    this.#listen();
  }

  #listen(): void {
    this.#ring.prepRead(this.wake.fd, this.#wakeMemory.address, 8, tokenHigh(TokenKind.WAKE, 0), 0);
  }

  /** The owner at `index`, or null. */
  at(index: number): O | null {
    return this.#owners[index] ?? null;
  }

  add(index: number, owner: O): void {
    assert(this.#owners[index] === null, "An index has one owner, and there are as many as was said");
    this.#owners[index] = owner;
    this.#end = Math.max(this.#end, index + 1);
  }

  /** Calls `call` about every `everyMs` from now on, whether there is I/O or not. */
  lookEvery(everyMs: number, call: (nowMs: number) => void): void {
    this.#look = { everyMs, call };
    this.#lookAtMs = 0;
  }

  /** Every owner. */
  forEach(visit: (owner: O) => void): void {
    for (let index = 0; index < this.#end; index++) {
      const owner = this.#owners[index];
      if (owner !== null) visit(owner);
    }
  }

  /** The owner takes a turn before the loop waits the next time. */
  touch(index: number): void {
    if (this.#isTouched[index] === 1) return;
    this.#isTouched[index] = 1;
    this.#touched.push(index);
  }

  /**
   * Calls `done` once the kernel has all that the owners want of it in their next turn. Until then the loop does not
   * wait.
   */
  whenSubmitted(done: () => void): void {
    this.#onSubmitted.push(done);
  }

  /** Runs until the main thread has something to say. */
  run(): void {
    this.#isWoken = false;
    this.#touchAll();
    let nowMs = performance.now();
    while (!this.#isWoken) {
      this.#turnTouched(nowMs);
      const busy = this.#busyOwners > 0;
      const spinUs = this.#spin.budgetUs(busy);
      const hits = this.#ring.spinHits;
      const misses = this.#ring.spinMisses;
      this.#ring.turn(spinUs, this.#waitMs(busy, nowMs));
      if (this.#ring.spinHits !== hits) this.#spin.handleResult(true);
      else if (this.#ring.spinMisses !== misses) this.#spin.handleResult(false);
      if (this.#onSubmitted.length > 0 && this.#ring.pending === 0) this.#tellSubmitted();
      nowMs = performance.now();
      this.#reap(nowMs);
      if (nowMs >= this.#dueMs) this.#touchDue(nowMs);
      if (nowMs - this.#lastTickMs >= TICK_MS) this.#tick(nowMs);
      if (nowMs >= this.#lookAtMs) this.#callLook(nowMs);
    }
  }

  #waitMs(isBusy: boolean, nowMs: number): number {
    if (this.#onSubmitted.length > 0) return 0;
    if (this.#dueMs < Infinity) return Math.min(TICK_MS, Math.max(0, Math.ceil(this.#dueMs - nowMs)));
    if (isBusy) return TICK_MS;
    return this.#look === null ? -1 : this.#look.everyMs;
  }

  #callLook(nowMs: number): void {
    const look = this.#look!;
    this.#lookAtMs = nowMs + look.everyMs;
    look.call(nowMs);
  }

  #tellSubmitted(): void {
    const told = this.#onSubmitted;
    this.#onSubmitted = [];
    for (const done of told) done();
  }

  #reap(nowMs: number): void {
    const ring = this.#ring;
    while (ring.next()) {
      const kind = tokenKind(ring.tokenHigh);
      if (kind === TokenKind.WAKE) {
        this.#isWoken = true;
        this.#listen();
        continue;
      }
      const index = tokenOwner(ring.tokenHigh);
      this.touch(index);
      this.#owners[index]!.handleCompletion(ring, kind, nowMs);
    }
  }

  #turnTouched(nowMs: number): void {
    for (let index = this.#touched.shift(); index >= 0; index = this.#touched.shift()) {
      this.#isTouched[index] = 0;
      const owner = this.#owners[index];
      if (owner === null) continue;
      owner.turn(this.#ring, nowMs);
      if (owner.isOver) this.#forget(index, owner);
      else this.#note(index, owner.isBusy, owner.nextDueMs ?? Infinity);
    }
  }

  #note(index: number, isBusy: boolean, dueMs: number): void {
    const busy = isBusy ? 1 : 0;
    this.#busyOwners += busy - this.#isBusy[index]!;
    this.#isBusy[index] = busy;
    const before = this.#due[index]!;
    if (before === dueMs) return;
    this.#due[index] = dueMs;
    if (dueMs < this.#dueMs) this.#dueMs = dueMs;
    else if (before === this.#dueMs) this.#dueMs = this.#firstDueMs();
  }

  #firstDueMs(): number {
    let first = Infinity;
    for (let index = 0; index < this.#end; index++) first = Math.min(first, this.#due[index]!);
    return first;
  }

  #forget(index: number, owner: O): void {
    this.#note(index, false, Infinity);
    this.#owners[index] = null;
    while (this.#end > 0 && this.#owners[this.#end - 1] === null) this.#end--;
    owner[Symbol.dispose]();
    this.#onOver(index);
  }

  #touchAll(): void {
    for (let index = 0; index < this.#end; index++) {
      if (this.#owners[index] !== null) this.touch(index);
    }
  }

  #tick(nowMs: number): void {
    this.#lastTickMs = nowMs;
    for (let index = 0; index < this.#end; index++) {
      if (this.#isBusy[index] === 0) continue;
      this.#owners[index]!.handleTime(nowMs);
      this.touch(index);
    }
  }

  /** They say anew when they are due in the turn that follows. */
  #touchDue(nowMs: number): void {
    for (let index = 0; index < this.#end; index++) {
      if (nowMs >= this.#due[index]!) this.touch(index);
    }
  }

  [Symbol.dispose](): void {
    this.#ring[Symbol.dispose]();
    this.#wakeMemory[Symbol.dispose]();
  }
}
