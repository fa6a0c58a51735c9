import { assertEquals } from "@std/assert";
import { heldBackWords, RateLimit } from "../../../src/base/rate_limit.ts";

Deno.test("RateLimit lets a burst through, then one for each period", () => {
  const limit = new RateLimit({ burst: 2, perMs: 100 });
  assertEquals([limit.admit(0), limit.admit(0), limit.admit(1), limit.admit(99)], [0, 0, null, null]);
  assertEquals(limit.heldBack, 2);
  assertEquals([limit.admit(100), limit.admit(101), limit.admit(200)], [2, null, 1]);
});

Deno.test("RateLimit earns no more than a burst in a quiet while", () => {
  const limit = new RateLimit({ burst: 2, perMs: 10 });
  limit.admit(0);
  assertEquals([limit.admit(1e9), limit.admit(1e9), limit.admit(1e9)], [0, 0, null]);
});

Deno.test("RateLimit keeps the rest of a period that has begun", () => {
  const limit = new RateLimit({ burst: 1, perMs: 100 });
  assertEquals([limit.admit(0), limit.admit(150), limit.admit(199), limit.admit(200)], [0, 0, null, 1]);
});

Deno.test("heldBackWords() is silent unless something was held back", () => {
  assertEquals(heldBackWords(0), "");
  assertEquals(heldBackWords(37), " (37 more like it were not logged)");
});
