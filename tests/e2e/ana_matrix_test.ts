/** Which of two listeners serves, for every pair of their ANA states. */
import { assertEquals } from "@std/assert";
import { loopTest } from "./loop_case.ts";
import { LoopRig } from "./loop_rig.ts";

const STATES = ["optimized", "non-optimized", "inaccessible", "persistent-loss"] as const;
type State = (typeof STATES)[number];
const READS = 8;

/** The listeners that are to serve: the optimized ones, without one of those the others that can. */
function expected(states: State[]): boolean[] {
  const best = (["optimized", "non-optimized"] as const).find((state) => states.includes(state));
  return states.map((state) => state === best);
}

loopTest("every pair of ANA states of two listeners: the best of them serve, and without one I/O waits", async () => {
  await using rig = await LoopRig.start(["--ram", "16M"]);
  // A path that a busy machine loses for a moment would let the other one serve.
  const device = await rig.device("--keep-alive", "1m", "--io-timeout", "1m");
  const read = (count: number) =>
    rig.ok("dd", `if=${device}`, "of=/dev/null", "bs=4096", `count=${count}`, "iflag=direct");
  const now: State[] = ["optimized", "optimized"];
  const set = async (listener: number, state: State) => {
    if (now[listener] !== state) {
      const { code, stderr } = await rig.target.target("ana", rig.target.portals[listener]!.words, state);
      assertEquals(code, 0, stderr);
    }
    now[listener] = state;
    await rig.when(state, ({ paths }) => paths[listener]!.ana === state);
  };
  for (const [i, first] of STATES.entries()) {
    // There and back: each pair differs from the one before in one state.
    for (const second of i % 2 === 0 ? STATES : STATES.toReversed()) {
      await set(0, first);
      await set(1, second);
      const before = (await rig.volume()).paths.map(({ reads }) => reads);
      if (expected(now).some(Boolean)) await read(READS);
      else {
        const waits = read(1);
        waits.catch(() => {});
        await rig.when("waiting", ({ state, waiting }) => state === "no-path" && waiting > 0);
        assertEquals((await rig.volume()).paths.map(({ reads }) => reads), before, now.join());
        await set(1, "optimized");
        await waits;
        continue;
      }
      const after = (await rig.volume()).paths.map(({ reads }) => reads);
      assertEquals(after.map((reads, path) => reads > before[path]!), expected(now), now.join());
    }
  }
  for (const { state, reconnects } of (await rig.volume()).paths) assertEquals([state, reconnects], ["live", 0]);
});
