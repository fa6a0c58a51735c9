import { assert, assertEquals } from "@std/assert";
import { ALL_FULL, NO_PATH } from "../../../src/multipath/policy.ts";
import { ServiceTime } from "../../../src/multipath/service_time.ts";
import { checkEveryConstellation, selectSome, shares } from "./candidates.ts";

Deno.test("ServiceTime picks the path that is expected to answer first", () => {
  const cases: [expectedMs: number[], picked: number][] = [
    [[20, 0.1], 1],
    [[0.1, 20], 0],
    [[3, 2, 1], 2],
    [[5], 0],
    // Of one nothing is known: it is tried.
    [[0.1, 0, 0.1], 1],
  ];
  for (const [expectedMs, picked] of cases) {
    const paths = expectedMs.map((ms) => ({ expectedMs: ms }));
    assertEquals(selectSome(new ServiceTime(), paths, 3), [picked, picked, picked]);
  }
});

Deno.test("ServiceTime takes paths in turn that are about as fast", () => {
  assertEquals(selectSome(new ServiceTime(), [{}, {}, {}], 6), [0, 1, 2, 0, 1, 2]);
  const alike = [{ expectedMs: 1 }, { expectedMs: 1.1 }, { expectedMs: 5 }];
  assertEquals(selectSome(new ServiceTime(), alike, 4), [0, 1, 0, 1]);
});

Deno.test("ServiceTime heeds the rank before the time, and skips what is full", () => {
  assertEquals(selectSome(new ServiceTime(), [{ rank: 2 }, { expectedMs: 8 }], 2), [1, 1]);
  assertEquals(selectSome(new ServiceTime(), [{ room: 0 }, { expectedMs: 8 }], 2), [1, 1]);
  assertEquals(selectSome(new ServiceTime(), [{ rank: 2 }, { room: 0 }], 1), [ALL_FULL]);
  assertEquals(selectSome(new ServiceTime(), [{ rank: 0 }], 1), [NO_PATH]);
  assertEquals(selectSome(new ServiceTime(), [], 1), [NO_PATH]);
});

Deno.test("ServiceTime tries a path that was unused for long with one of 256 commands, and no more", () => {
  const paths = [{ expectedMs: 1, lastUsedMs: 5000 }, { expectedMs: 20, lastUsedMs: 4000 }];
  assertEquals(shares(new ServiceTime(), paths, 2560, { nowMs: 5000 }), [2550, 10]);
  assertEquals(shares(new ServiceTime(), paths, 2560, { nowMs: 4999 }), [2560, 0]);
  // Neither of a worse rank nor one that is full.
  for (const more of [{ rank: 2 }, { rank: 0 }, { room: 0 }]) {
    const picked = shares(new ServiceTime(), [paths[0], { ...paths[1], ...more }], 4096, { nowMs: 9000 });
    assertEquals(picked, [4096, 0]);
  }
});

Deno.test("ServiceTime tries the path that was unused longest", () => {
  const used = [9000, 2000, 1000, 3000];
  const paths = used.map((lastUsedMs, i) => ({ lastUsedMs, expectedMs: i === 0 ? 1 : 20 }));
  const picked = shares(new ServiceTime(), paths, 4096, { nowMs: 9000 });
  assert(picked[2] === 16 && picked[1] + picked[3] === 0, picked.join());
});

Deno.test("ServiceTime picks a path of the best rank with room, if there is one, in any constellation", () => {
  checkEveryConstellation(new ServiceTime());
});
