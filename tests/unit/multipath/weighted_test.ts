import { assert, assertEquals } from "@std/assert";
import { ALL_FULL, NO_PATH } from "../../../src/multipath/policy.ts";
import { Weighted } from "../../../src/multipath/weighted.ts";
import { checkEveryConstellation, selectSome, shares } from "./candidates.ts";

Deno.test("Weighted picks each path as often as its weight says, spread out", () => {
  const three = [{ weight: 3 }, { weight: 1 }];
  assertEquals(selectSome(new Weighted(), three, 8), [0, 0, 1, 0, 0, 0, 1, 0]);
  const cases: [weights: number[], rounds: number][] = [[[1, 1], 50], [[5, 1, 1], 20], [[1000, 1], 3], [[2, 3, 7], 9]];
  for (const [weights, rounds] of cases) {
    const total = weights.reduce((sum, weight) => sum + weight);
    const paths = weights.map((weight) => ({ weight }));
    assertEquals(shares(new Weighted(), paths, total * rounds), weights.map((weight) => weight * rounds));
  }
});

Deno.test("Weighted takes paths of the same weight in turn", () => {
  assertEquals(selectSome(new Weighted(), [{}, {}, {}], 6), [0, 1, 2, 0, 1, 2]);
});

Deno.test("Weighted heeds the rank before the weight, and skips what is full", () => {
  assertEquals(selectSome(new Weighted(), [{ rank: 2, weight: 9 }, {}], 3), [1, 1, 1]);
  assertEquals(selectSome(new Weighted(), [{ room: 0, weight: 9 }, {}], 3), [1, 1, 1]);
  assertEquals(selectSome(new Weighted(), [{ room: 0 }, { rank: 2 }], 1), [ALL_FULL]);
  assertEquals(selectSome(new Weighted(), [{ rank: 0 }], 1), [NO_PATH]);
  assertEquals(selectSome(new Weighted(), [], 1), [NO_PATH]);
});

Deno.test("Weighted has its shares again soon after a path was away or full", () => {
  const policy = new Weighted();
  const both = [{ weight: 4 }, { weight: 1 }];
  for (let i = 0; i < 1000; i++) {
    selectSome(policy, [{ weight: 4, room: 0 }, { weight: 1 }], i % 3);
    selectSome(policy, both, 1);
  }
  const [first, second] = shares(policy, both, 1000);
  assert(first > 780 && second > 180, `${first} and ${second} of 1000`);
});

Deno.test("Weighted picks a path of the best rank with room, if there is one, in any constellation", () => {
  checkEveryConstellation(new Weighted());
});

Deno.test("Weighted makes a path that was full owe nothing", () => {
  const policy = new Weighted();
  const both = [{ weight: 3 }, { weight: 1 }];
  assertEquals(selectSome(policy, both, 2), [0, 0]);
  assertEquals(selectSome(policy, [{ weight: 3, room: 0 }, { weight: 1 }], 3), [1, 1, 1]);
  assertEquals(selectSome(policy, both, 4), [0, 1, 0, 0]);
});
