import { assertEquals, assertNotEquals } from "@std/assert";
import { mixSeed, Prng } from "../../../src/base/prng.ts";

function draw(seed: number, count = 64): number[] {
  const prng = new Prng(seed);
  return Array.from({ length: count }, () => prng.uint32());
}

Deno.test("Prng draws the same numbers for the same seed and others for another", () => {
  assertEquals(draw(1), draw(1));
  for (const seed of [0, 2, -1, 2 ** 31, 0x9e3779b9]) assertNotEquals(draw(1), draw(seed));
});

Deno.test("Prng gives numbers in range, spread over all of it, for any seed", () => {
  for (const seed of [0, 1, -1, 0x9e3779b9, 2 ** 31, 2 ** 32 - 1]) {
    const prng = new Prng(seed);
    const counts = new Array(10).fill(0);
    for (let i = 0; i < 10_000; i++) {
      const below = prng.below(10);
      assertEquals(Number.isInteger(below) && below >= 0 && below < 10, true);
      counts[below]++;
      const unit = prng.unit();
      assertEquals(unit >= 0 && unit < 1, true);
      const word = prng.uint32();
      assertEquals(Number.isInteger(word) && word >= 0 && word < 2 ** 32, true);
    }
    assertEquals(counts.every((count) => count > 800 && count < 1200), true, `seed ${seed}: ${counts}`);
    assertEquals(prng.below(1), 0);
  }
});

Deno.test("mixSeed() leaves the draws of seeds in a row nothing in common", () => {
  for (const first of [0, 1_000, 123_456_789, 820_196_287]) {
    for (let skip = 0; skip < 8; skip++) {
      const counts = [0, 0, 0, 0];
      for (let i = 0; i < 400; i++) {
        const prng = new Prng(mixSeed(first + i));
        for (let k = 0; k < skip; k++) prng.uint32();
        counts[prng.below(4)]!++;
      }
      assertEquals(counts.every((count) => count > 50 && count < 150), true, `${first}, draw ${skip}: ${counts}`);
    }
  }
});
