import { assert } from "./assert.ts";

/** A bounded first-in-first-out queue of small integers, allocated once. The capacity is rounded up to a power of two. */
export class Fifo {
  readonly #items: Int32Array;
  readonly #mask: number;
  #head = 0;
  #tail = 0;

  constructor(capacityMin: number) {
    assert(capacityMin > 0, "A Fifo holds at least one item");
    const capacity = 2 ** Math.ceil(Math.log2(capacityMin));
    this.#items = new Int32Array(capacity);
    this.#mask = capacity - 1;
  }

  get length(): number {
    return (this.#tail - this.#head) | 0;
  }

  get capacity(): number {
    return this.#mask + 1;
  }

  push(item: number): void {
    assert(item >= 0, "A Fifo holds items that are not negative");
    assert(this.length <= this.#mask, "A Fifo must not overflow: its capacity is the number of slots there are");
    this.#items[this.#tail & this.#mask] = item;
    this.#tail = (this.#tail + 1) | 0;
  }

  /** The oldest item, or -1 if there is none. */
  shift(): number {
    if (this.#head === this.#tail) return -1;
    const item = this.#items[this.#head & this.#mask]!;
    this.#head = (this.#head + 1) | 0;
    return item;
  }

  /** The oldest item without taking it, or -1 if there is none. */
  peek(): number {
    return this.#head === this.#tail ? -1 : this.#items[this.#head & this.#mask]!;
  }

  clear(): void {
    this.#head = this.#tail = 0;
  }
}
