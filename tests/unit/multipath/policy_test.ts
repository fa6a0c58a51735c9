import { assertEquals } from "@std/assert";
import { Prng } from "../../../src/base/prng.ts";
import { ALL_FULL, type Candidates, NO_PATH, POLICIES, RoundRobin } from "../../../src/multipath/policy.ts";

/** Paths as [rank, room]. */
function candidates(paths: [rank: number, room: number][]): Candidates {
  return { paths: paths.length, rank: (path) => paths[path][0], room: (path) => paths[path][1] };
}

function selectSome(policy: RoundRobin, paths: [number, number][], count: number): number[] {
  return Array.from({ length: count }, () => policy.select(candidates(paths)));
}

Deno.test("RoundRobin takes each usable path in turn", () => {
  assertEquals(selectSome(new RoundRobin(), [[1, 9], [1, 9], [1, 9]], 7), [0, 1, 2, 0, 1, 2, 0]);
  assertEquals(selectSome(new RoundRobin(), [[1, 9], [0, 9], [1, 9]], 5), [0, 2, 0, 2, 0]);
});

Deno.test("RoundRobin skips full paths, and says when all are", () => {
  assertEquals(selectSome(new RoundRobin(), [[1, 0], [1, 9], [1, 0]], 3), [1, 1, 1]);
  assertEquals(selectSome(new RoundRobin(), [[1, 0], [0, 9], [1, 0]], 2), [ALL_FULL, ALL_FULL]);
});

Deno.test("RoundRobin uses the best rank only, even if it is full", () => {
  assertEquals(selectSome(new RoundRobin(), [[2, 9], [1, 9], [2, 9], [1, 9]], 4), [1, 3, 1, 3]);
  assertEquals(selectSome(new RoundRobin(), [[2, 9], [1, 0]], 1), [ALL_FULL]);
  assertEquals(selectSome(new RoundRobin(), [[1, 0], [2, 9]], 1), [ALL_FULL]);
  assertEquals(selectSome(new RoundRobin(), [[0, 9], [2, 9]], 2), [1, 1]);
});

Deno.test("RoundRobin says when no path is usable, and when there is none", () => {
  assertEquals(selectSome(new RoundRobin(), [[0, 9], [0, 9]], 1), [NO_PATH]);
  assertEquals(selectSome(new RoundRobin(), [], 1), [NO_PATH]);
});

Deno.test("RoundRobin goes on where it was when paths come and go", () => {
  const policy = new RoundRobin();
  assertEquals(selectSome(policy, [[1, 9], [1, 9], [1, 9]], 3), [0, 1, 2]);
  assertEquals(selectSome(policy, [[1, 9]], 2), [0, 0]);
  assertEquals(selectSome(policy, [[1, 9], [1, 9], [1, 9], [1, 9]], 3), [1, 2, 3]);
});

Deno.test("RoundRobin picks a path of the best rank with room, if there is one, in any constellation", () => {
  const prng = new Prng(11);
  const policy = new RoundRobin();
  for (let i = 0; i < 50_000; i++) {
    const paths = Array.from({ length: prng.below(6) }, () => [prng.below(4), prng.below(2)] as [number, number]);
    const picked = policy.select(candidates(paths));
    const best = Math.min(...paths.map(([rank]) => rank).filter((rank) => rank > 0));
    const usable = paths.filter(([rank]) => rank === best);
    if (usable.length === 0) assertEquals(picked, NO_PATH);
    else if (usable.every(([, room]) => room === 0)) assertEquals(picked, ALL_FULL);
    else assertEquals(paths[picked], [best, 1]);
  }
});

Deno.test("POLICIES knows each policy by its name, and makes one for each queue", () => {
  for (const [name, make] of Object.entries(POLICIES)) {
    assertEquals(make().name, name);
    assertEquals(make() === make(), false);
  }
});
