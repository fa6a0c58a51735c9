import { assert, assertEquals } from "@std/assert";
import type { Ring } from "../../../src/io/ring.ts";
import { RingLoop, type RingOwner } from "../../../src/io/ring_loop.ts";
import { tokenHigh, TokenKind } from "../../../src/io/token.ts";
import { Wake } from "../../../src/io/wake.ts";

/** Asks the kernel for nothing so many times, one after the other, and then ends the run of its loop. */
class Owner implements RingOwner {
  turns = 0;
  completions = 0;
  ticks = 0;
  /** How often the loop has asked whether it is busy. */
  looks = 0;
  isOver = false;
  nextDueMs = Infinity;
  onTurn: (nowMs: number) => void = () => {};
  readonly #index: number;
  readonly #loop: RingLoop<Owner>;
  #left: number;
  #isFlying = false;

  constructor(loop: RingLoop<Owner>, index: number, count = 0) {
    this.#loop = loop;
    this.#index = index;
    this.#left = count;
  }

  get isBusy(): boolean {
    this.looks++;
    return this.#isFlying;
  }

  handleCompletion(): void {
    this.completions++;
    this.#isFlying = false;
    if (this.#left === 0) Wake.signal(this.#loop.wake.fd);
  }

  handleTime(): void {
    this.ticks++;
  }

  turn(ring: Ring, nowMs: number): void {
    this.turns++;
    this.onTurn(nowMs);
    if (this.#isFlying || this.#left === 0) return;
    this.#left--;
    this.#isFlying = true;
    ring.prepNop(tokenHigh(TokenKind.FILE, this.#index), 0);
  }

  [Symbol.dispose](): void {}
}

Deno.test("RingLoop asks nothing of owners that are idle, however many turns another one takes", () => {
  using loop = new RingLoop<Owner>(64, () => {});
  using _wake = loop.wake;
  const busy = new Owner(loop, 40, 500);
  const idle = [0, 1, 2, 63].map((index) => ({ index, owner: new Owner(loop, index) }));
  for (const { index, owner } of idle) loop.add(index, owner);
  loop.add(40, busy);
  loop.run();
  assertEquals([busy.completions, busy.turns], [500, 501]);
  for (const { owner } of idle) assertEquals([owner.turns, owner.looks, owner.ticks], [1, 1, 0]);
});

Deno.test("RingLoop gives an owner a turn when it is due, and waits for the first that is due again", () => {
  using loop = new RingLoop<Owner>(8, () => {});
  using _wake = loop.wake;
  const startMs = performance.now();
  const due = [5, 25, 15].map((afterMs, index) => {
    const owner = new Owner(loop, index);
    const seen: number[] = [];
    owner.nextDueMs = startMs + afterMs;
    owner.onTurn = (nowMs) => {
      if (nowMs < owner.nextDueMs) return;
      seen.push(nowMs - startMs);
      owner.nextDueMs = Infinity;
      if (index === 1) Wake.signal(loop.wake.fd);
    };
    loop.add(index, owner);
    return seen;
  });
  loop.run();
  assertEquals(due.map((seen) => seen.length), [1, 1, 1]);
  const [first, last, second] = due.map(([ms]) => ms!);
  assert(first! >= 5 && second! >= 15 && last! >= 25 && first! <= second! && second! <= last!, due.join());
});

Deno.test("RingLoop forgets an owner that is over, and what it was due for", () => {
  const over: number[] = [];
  using loop = new RingLoop<Owner>(4, (index) => over.push(index));
  using _wake = loop.wake;
  const owner = new Owner(loop, 2);
  owner.nextDueMs = performance.now() + 10;
  loop.add(2, owner);
  const other = new Owner(loop, 3);
  other.nextDueMs = performance.now() + 30;
  other.onTurn = (nowMs) => {
    if (nowMs >= other.nextDueMs) Wake.signal(loop.wake.fd);
    if (nowMs >= other.nextDueMs) other.nextDueMs = Infinity;
  };
  loop.add(3, other);
  owner.isOver = true;
  loop.run();
  assertEquals([over, loop.at(2), owner.turns], [[2], null, 1]);
  assertEquals(loop.at(3), other);
});
