import { assertEquals } from "@std/assert";
import { ALL_FULL, NO_PATH } from "../../../src/multipath/policy.ts";
import { QueueDepth } from "../../../src/multipath/queue_depth.ts";
import { checkEveryConstellation, selectSome } from "./candidates.ts";

Deno.test("QueueDepth picks the path with the fewest commands in flight", () => {
  const cases: [inFlight: number[], picked: number][] = [
    [[3, 2, 4], 1],
    [[0, 2, 4], 0],
    [[9, 9, 8], 2],
    [[7], 0],
  ];
  for (const [inFlight, picked] of cases) {
    const paths = inFlight.map((commands) => ({ inFlight: commands }));
    assertEquals(selectSome(new QueueDepth(), paths, 3), [picked, picked, picked]);
  }
});

Deno.test("QueueDepth takes paths with as many commands in turn", () => {
  assertEquals(selectSome(new QueueDepth(), [{}, {}, {}], 6), [0, 1, 2, 0, 1, 2]);
  const paths = [{ inFlight: 2 }, { inFlight: 5 }, { inFlight: 2 }];
  assertEquals(selectSome(new QueueDepth(), paths, 4), [0, 2, 0, 2]);
});

Deno.test("QueueDepth heeds the rank before the depth, and skips what is full", () => {
  assertEquals(selectSome(new QueueDepth(), [{ rank: 2 }, { inFlight: 8 }], 2), [1, 1]);
  assertEquals(selectSome(new QueueDepth(), [{ room: 0 }, { inFlight: 8 }], 2), [1, 1]);
  assertEquals(selectSome(new QueueDepth(), [{ rank: 2 }, { room: 0 }], 1), [ALL_FULL]);
  assertEquals(selectSome(new QueueDepth(), [{ room: 0 }, { rank: 2 }], 1), [ALL_FULL]);
  assertEquals(selectSome(new QueueDepth(), [{ rank: 0 }], 1), [NO_PATH]);
  assertEquals(selectSome(new QueueDepth(), [], 1), [NO_PATH]);
});

Deno.test("QueueDepth picks a path of the best rank with room, if there is one, in any constellation", () => {
  checkEveryConstellation(new QueueDepth());
});
