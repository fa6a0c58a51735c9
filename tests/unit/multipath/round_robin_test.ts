import { assertEquals } from "@std/assert";
import { ALL_FULL, NO_PATH } from "../../../src/multipath/policy.ts";
import { RoundRobin } from "../../../src/multipath/round_robin.ts";
import { type CandidatePath, checkEveryConstellation, selectSome } from "./candidates.ts";

/** Paths as [rank, room]. */
function paths(...pairs: [rank: number, room: number][]): CandidatePath[] {
  return pairs.map(([rank, room]) => ({ rank, room }));
}

Deno.test("RoundRobin takes each usable path in turn", () => {
  assertEquals(selectSome(new RoundRobin(), paths([1, 9], [1, 9], [1, 9]), 7), [0, 1, 2, 0, 1, 2, 0]);
  assertEquals(selectSome(new RoundRobin(), paths([1, 9], [0, 9], [1, 9]), 5), [0, 2, 0, 2, 0]);
});

Deno.test("RoundRobin skips full paths, and says when all are", () => {
  assertEquals(selectSome(new RoundRobin(), paths([1, 0], [1, 9], [1, 0]), 3), [1, 1, 1]);
  assertEquals(selectSome(new RoundRobin(), paths([1, 0], [0, 9], [1, 0]), 2), [ALL_FULL, ALL_FULL]);
});

Deno.test("RoundRobin uses the best rank only, even if it is full", () => {
  assertEquals(selectSome(new RoundRobin(), paths([2, 9], [1, 9], [2, 9], [1, 9]), 4), [1, 3, 1, 3]);
  assertEquals(selectSome(new RoundRobin(), paths([2, 9], [1, 0]), 1), [ALL_FULL]);
  assertEquals(selectSome(new RoundRobin(), paths([1, 0], [2, 9]), 1), [ALL_FULL]);
  assertEquals(selectSome(new RoundRobin(), paths([0, 9], [2, 9]), 2), [1, 1]);
});

Deno.test("RoundRobin says when no path is usable, and when there is none", () => {
  assertEquals(selectSome(new RoundRobin(), paths([0, 9], [0, 9]), 1), [NO_PATH]);
  assertEquals(selectSome(new RoundRobin(), [], 1), [NO_PATH]);
});

Deno.test("RoundRobin goes on where it was when paths come and go", () => {
  const policy = new RoundRobin();
  assertEquals(selectSome(policy, paths([1, 9], [1, 9], [1, 9]), 3), [0, 1, 2]);
  assertEquals(selectSome(policy, paths([1, 9]), 2), [0, 0]);
  assertEquals(selectSome(policy, paths([1, 9], [1, 9], [1, 9], [1, 9]), 3), [1, 2, 3]);
});

Deno.test("RoundRobin picks a path of the best rank with room, if there is one, in any constellation", () => {
  checkEveryConstellation(new RoundRobin());
});
