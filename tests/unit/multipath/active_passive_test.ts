import { assertEquals } from "@std/assert";
import { ActivePassive } from "../../../src/multipath/active_passive.ts";
import { ALL_FULL, NO_PATH } from "../../../src/multipath/policy.ts";
import { type CandidatePath, checkEveryConstellation, selectSome } from "./candidates.ts";

Deno.test("ActivePassive picks the preferred path, then the heaviest, then the first", () => {
  const gone = { rank: 0 };
  const cases: [paths: CandidatePath[], preferred: number, picked: number][] = [
    [[{}, {}, {}], -1, 0],
    [[{}, {}, {}], 2, 2],
    [[{}, {}, gone], 2, 0],
    [[{}, { weight: 5 }, {}], -1, 1],
    [[{}, { weight: 5 }, {}], 0, 0],
    [[gone, { weight: 5 }, { weight: 5 }], 0, 1],
    [[{ weight: 1 }, { weight: 2 }, { weight: 3 }], 7, 2],
    [[gone, gone], 0, NO_PATH],
    [[], 0, NO_PATH],
  ];
  for (const [paths, preferred, picked] of cases) {
    assertEquals(selectSome(new ActivePassive(), paths, 3, { preferred }), [picked, picked, picked]);
  }
});

Deno.test("ActivePassive goes back to the preferred path as soon as it is usable", () => {
  const policy = new ActivePassive();
  assertEquals(selectSome(policy, [{}, { rank: 0 }], 1, { preferred: 1 }), [0]);
  assertEquals(selectSome(policy, [{}, {}], 1, { preferred: 1 }), [1]);
});

Deno.test("ActivePassive heeds the rank before what is preferred", () => {
  assertEquals(selectSome(new ActivePassive(), [{ rank: 2 }, { rank: 1 }], 1, { preferred: 0 }), [1]);
  assertEquals(selectSome(new ActivePassive(), [{ rank: 1 }, { rank: 2 }], 1, { preferred: 1 }), [0]);
  assertEquals(selectSome(new ActivePassive(), [{ rank: 2 }, { rank: 2 }], 1, { preferred: 1 }), [1]);
});

Deno.test("ActivePassive waits for its path when that is full", () => {
  assertEquals(selectSome(new ActivePassive(), [{}, { room: 0 }], 1, { preferred: 1 }), [ALL_FULL]);
  assertEquals(selectSome(new ActivePassive(), [{ room: 0 }, {}], 1), [ALL_FULL]);
});

Deno.test("ActivePassive picks a path of the best rank, or waits, in any constellation", () => {
  checkEveryConstellation(new ActivePassive(), { waits: true });
});
