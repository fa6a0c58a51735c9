import { assert, assertEquals } from "@std/assert";
import { AdaptiveSpin } from "../../../src/io/spin.ts";
import { tokenHigh, TokenKind, tokenKind, tokenOwner } from "../../../src/io/token.ts";

Deno.test("AdaptiveSpin spins while it pays, never at idle, and tries again from time to time", () => {
  const spin = new AdaptiveSpin(20);
  assertEquals([spin.budgetUs(false), spin.budgetUs(true)], [0, 20]);
  for (let i = 0; i < 1000; i++) {
    assertEquals(spin.budgetUs(true), 20);
    spin.handleResult(true);
  }
  let misses = 0;
  while (spin.budgetUs(true) > 0) {
    spin.handleResult(false);
    assert(++misses < 100);
  }
  let probes = 0;
  for (let i = 0; i < 640; i++) {
    if (spin.budgetUs(true) === 0) continue;
    probes++;
    spin.handleResult(false);
  }
  assertEquals(probes, 10);
  // One hit is enough to go on.
  while (spin.budgetUs(true) === 0);
  spin.handleResult(true);
  assertEquals(spin.budgetUs(true), 20);
});

Deno.test("AdaptiveSpin with no budget never spins", () => {
  const spin = new AdaptiveSpin(0);
  for (let i = 0; i < 1000; i++) assertEquals(spin.budgetUs(true), 0);
});

Deno.test("tokenHigh() packs kind and owner, and both come back from a signed number", () => {
  for (const kind of Object.values(TokenKind)) {
    for (const owner of [0, 1, 255, 256, 65535, 2 ** 23, 2 ** 24 - 1]) {
      const high = new Int32Array([tokenHigh(kind, owner)])[0];
      assertEquals([tokenKind(high), tokenOwner(high)], [kind, owner]);
    }
  }
});
