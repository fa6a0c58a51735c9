import { assert, assertEquals, assertNotEquals, assertThrows } from "@std/assert";
import { AssertionFailure } from "../../../src/base/assert.ts";
import { Prng } from "../../../src/base/prng.ts";
import { Backoff } from "../../../src/nvme_host/backoff.ts";

Deno.test("Backoff doubles within its bounds: seeds 1 to 50", () => {
  for (let seed = 1; seed <= 50; seed++) {
    const backoff = new Backoff({ delayMs: 100, delayMsMax: 1000, prng: new Prng(seed) });
    for (const fullMs of [100, 200, 400, 800, 1000, 1000, 1000]) {
      const delayMs = backoff.nextDelayMs();
      assert(Number.isInteger(delayMs) && delayMs >= fullMs / 2 && delayMs <= fullMs, `seed ${seed}: ${delayMs}`);
    }
    assertEquals(backoff.attempts, 7);
  }
});

Deno.test("Backoff starts over after a success", () => {
  const backoff = new Backoff({ delayMs: 100, delayMsMax: 100_000, prng: new Prng(1) });
  for (let i = 0; i < 10; i++) backoff.nextDelayMs();
  backoff.handleSuccess();
  assertEquals(backoff.attempts, 0);
  assert(backoff.nextDelayMs() <= 100);
});

Deno.test("Backoff stays bounded over very many attempts, and never is 0", () => {
  const backoff = new Backoff({ delayMs: 1, delayMsMax: 60_000, prng: new Prng(2) });
  for (let i = 0; i < 2000; i++) {
    const delayMs = backoff.nextDelayMs();
    assert(delayMs >= 1 && delayMs <= 60_000);
  }
});

Deno.test("Backoff of two hosts differs", () => {
  const delays = (seed: number) => {
    const backoff = new Backoff({ delayMs: 1000, delayMsMax: 1000, prng: new Prng(seed) });
    return [1, 2, 3, 4].map(() => backoff.nextDelayMs());
  };
  assertEquals(delays(3), delays(3));
  assertNotEquals(delays(3), delays(4));
});

Deno.test("Backoff refuses bounds that contradict", () => {
  const prng = new Prng(1);
  assertThrows(() => new Backoff({ delayMs: 0, delayMsMax: 10, prng }), AssertionFailure);
  assertThrows(() => new Backoff({ delayMs: 20, delayMsMax: 10, prng }), AssertionFailure);
});
