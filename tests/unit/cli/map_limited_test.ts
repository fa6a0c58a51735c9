import { assertEquals, assertRejects } from "@std/assert";
import { mapLimited } from "../../../src/cli/map_limited.ts";

Deno.test("mapLimited() runs so many at a time, begins in order, and gives outcomes in the order of the items", async () => {
  const gates = Array.from({ length: 7 }, () => Promise.withResolvers<void>());
  const begun: number[] = [];
  let running = 0;
  const most: number[] = [];
  const outcomes = mapLimited([0, 1, 2, 3, 4, 5, 6], 3, async (item) => {
    begun.push(item);
    most.push(++running);
    await gates[item].promise;
    running--;
    if (item === 1) throw new Error("one");
    return item * 10;
  });
  assertEquals(begun, [0, 1, 2]);
  gates[2].resolve();
  assertEquals(await outcomes[2], 20);
  gates[1].resolve();
  await assertRejects(() => outcomes[1], Error, "one");
  assertEquals(begun, [0, 1, 2, 3, 4]);
  gates.forEach(({ resolve }) => resolve());
  const settled = await Promise.allSettled(outcomes);
  assertEquals(settled.map((outcome) => outcome.status === "fulfilled" ? outcome.value : null), [
    ...[0, null, 20, 30, 40, 50, 60],
  ]);
  assertEquals([begun, Math.max(...most)], [[0, 1, 2, 3, 4, 5, 6], 3]);
});

Deno.test("mapLimited() of nothing is nothing", () => {
  assertEquals(mapLimited([], 8, () => Promise.resolve()), []);
});
