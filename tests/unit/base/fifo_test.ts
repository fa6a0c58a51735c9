import { assertEquals, assertThrows } from "@std/assert";
import { AssertionFailure } from "../../../src/base/assert.ts";
import { Fifo } from "../../../src/base/fifo.ts";
import { Prng } from "../../../src/base/prng.ts";

Deno.test("Fifo gives back what was pushed, oldest first, and -1 when it is empty", () => {
  const fifo = new Fifo(3);
  assertEquals([fifo.shift(), fifo.peek(), fifo.length], [-1, -1, 0]);
  [5, 0, 2 ** 31 - 1].forEach((item) => fifo.push(item));
  assertEquals(fifo.peek(), 5);
  assertEquals([fifo.shift(), fifo.shift(), fifo.shift(), fifo.shift()], [5, 0, 2 ** 31 - 1, -1]);
});

Deno.test("Fifo holds its capacity, a power of two, and asserts that it does not overflow", () => {
  for (const [asked, capacity] of [[1, 1], [2, 2], [3, 4], [1000, 1024], [1024, 1024]]) {
    const fifo = new Fifo(asked);
    assertEquals(fifo.capacity, capacity);
    for (let i = 0; i < capacity; i++) fifo.push(i);
    assertThrows(() => fifo.push(0), AssertionFailure);
    assertEquals(fifo.length, capacity);
    fifo.clear();
    assertEquals([fifo.length, fifo.shift()], [0, -1]);
  }
  assertThrows(() => new Fifo(0), AssertionFailure);
  assertThrows(() => new Fifo(4).push(-1), AssertionFailure);
});

Deno.test("Fifo does what an array does", () => {
  const prng = new Prng(3);
  const fifo = new Fifo(8);
  let model: number[] = [];
  for (let step = 0; step < 200_000; step++) {
    const what = prng.below(100);
    if (what === 0) {
      fifo.clear();
      model = [];
    } else if (what < 52 && model.length < 8) {
      const item = prng.below(2 ** 31);
      fifo.push(item);
      model.push(item);
    } else assertEquals(fifo.shift(), model.shift() ?? -1);
    assertEquals(fifo.length, model.length);
    assertEquals(fifo.peek(), model[0] ?? -1);
  }
});
