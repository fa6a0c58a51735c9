/** Many seeds of the simulator. UMPATH_SEEDS and UMPATH_SEED say how many, and from which on. */
import { assert, assertEquals } from "@std/assert";
import { failureWords, runSeed } from "./runner.ts";
import { runSeeds } from "./seed_runs.ts";
import { NAMED_SEEDS } from "./seeds.ts";

const SEEDS = Number(Deno.env.get("UMPATH_SEEDS") ?? 1_000);
const FIRST = Number(Deno.env.get("UMPATH_SEED") ?? 1);

for (const { name, seed, options } of NAMED_SEEDS) {
  Deno.test(`simulation: seed ${seed}: ${name}`, () => {
    const { failure } = runSeed(seed, options);
    assertEquals(failure, null, failure === null ? "" : failureWords(seed, options));
  });
}

Deno.test(`simulation: ${SEEDS} seeds from ${FIRST} on`, async () => {
  const sums = await runSeeds({ first: FIRST, count: SEEDS });
  const [failed] = sums.failures;
  if (failed !== undefined) throw new Error(`${failureWords(failed.seed)}\nseed ${failed.seed} fails`);
  assertEquals(sums.seeds, SEEDS);
  // What is hardly met proves nothing.
  if (SEEDS >= 100) {
    assert(sums.hedgesWon > SEEDS, `${sums.hedges} reads were sent twice, ${sums.hedgesWon} of them won`);
    assert(sums.handed > 100 * SEEDS, `${sums.handed} requests were handed over`);
  }
});

Deno.test("simulation: a seed decides everything", () => {
  for (const seed of [1, 2, 3, 4]) assertEquals(runSeed(seed, { ios: 2_000 }), runSeed(seed, { ios: 2_000 }));
});
