import { assertEquals, assertThrows } from "@std/assert";
import { AssertionFailure } from "../../../src/base/assert.ts";
import { Prng } from "../../../src/base/prng.ts";
import { FreeSpans } from "../../../src/io/free_spans.ts";

Deno.test("FreeSpans takes from the first span that is long enough", () => {
  const free = new FreeSpans(100);
  assertEquals([free.take(10), free.take(30), free.take(10), free.take(50)], [0, 10, 40, 50]);
  assertEquals([free.take(1), free.freeBytes, free.count], [-1, 0, 0]);
  free.give(40, 10);
  free.give(0, 10);
  assertEquals([free.take(11), free.take(10), free.take(4), free.freeBytes], [-1, 0, 40, 6]);
});

Deno.test("FreeSpans joins what is given back with its neighbours, in every order", () => {
  for (const order of [[0, 1, 2], [0, 2, 1], [1, 0, 2], [1, 2, 0], [2, 0, 1], [2, 1, 0]]) {
    const free = new FreeSpans(30);
    for (let i = 0; i < 3; i++) free.take(10);
    for (const [given, piece] of order.entries()) {
      assertEquals(free.isWhole, false);
      free.give(piece * 10, 10);
      free.invariants();
      assertEquals(free.freeBytes, (given + 1) * 10);
    }
    assertEquals([free.isWhole, free.count, free.take(30)], [true, 1, 0]);
  }
});

Deno.test("FreeSpans asserts that what is given back was taken", () => {
  const free = new FreeSpans(100);
  free.take(50);
  for (const [offset, bytes] of [[-1, 2], [0, 0], [40, 20], [50, 10], [90, 20], [60, 1]]) {
    assertThrows(() => free.give(offset!, bytes!), AssertionFailure, undefined, `${offset} ${bytes}`);
  }
  free.give(0, 50);
  assertThrows(() => free.give(0, 50), AssertionFailure);
  assertThrows(() => free.take(0), AssertionFailure);
});

Deno.test("FreeSpans and a map of every byte agree in a storm", () => {
  for (let seed = 1; seed <= 30; seed++) {
    const random = new Prng(seed);
    const bytes = 1 + random.below(400);
    const free = new FreeSpans(bytes);
    const isUsed = new Array<boolean>(bytes).fill(false);
    const taken: [offset: number, bytes: number][] = [];
    for (let step = 0; step < 400; step++) {
      if (taken.length > 0 && random.below(2) === 0) {
        const [offset, length] = taken.splice(random.below(taken.length), 1)[0]!;
        free.give(offset, length);
        isUsed.fill(false, offset, offset + length);
      } else {
        const length = 1 + random.below(60);
        const offset = free.take(length);
        assertEquals(offset, firstFree(isUsed, length), `seed ${seed}, step ${step}`);
        if (offset < 0) continue;
        isUsed.fill(true, offset, offset + length);
        taken.push([offset, length]);
      }
      free.invariants();
      assertEquals(free.freeBytes, isUsed.filter((used) => !used).length, `seed ${seed}, step ${step}`);
    }
    for (const [offset, length] of taken) free.give(offset, length);
    assertEquals(free.isWhole, true, `seed ${seed}`);
  }
});

/** Where the first run of `length` bytes begins that nobody uses; -1 if there is none. */
function firstFree(isUsed: readonly boolean[], length: number): number {
  let run = 0;
  for (let at = 0; at < isUsed.length; at++) {
    run = isUsed[at] ? 0 : run + 1;
    if (run === length) return at - length + 1;
  }
  return -1;
}
