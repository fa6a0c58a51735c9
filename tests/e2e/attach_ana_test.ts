/** The packed program, and a namespace that no path serves while it is attached. */
import { assert, assertEquals, assertMatch, assertStringIncludes } from "@std/assert";
import { loopTest } from "./loop_case.ts";
import { LoopRig } from "./loop_rig.ts";

/** A partition scan that waits for a path would take half a minute, for each device that is tried. */
const SOON_MS_MAX = 20_000;

for (const [state, words] of [["inaccessible", "inaccessible"], ["persistent-loss", "in persistent loss"]]) {
  loopTest(`umpath attach says that no path serves the namespace before it makes a device: ${state}`, async () => {
    await using rig = await LoopRig.start();
    const [first, second] = rig.target.portals;
    for (const portal of [first!, second!]) await rig.target.target("ana", portal.words, state!);
    const startMs = performance.now();
    const { code, stdout, stderr } = await rig.attach("--connect-timeout", "10s");
    assert(performance.now() - startMs < SOON_MS_MAX, `${performance.now() - startMs} ms`);
    assertEquals([code, stdout], [4, ""], stderr);
    for (const portal of [first!, second!]) {
      const why = `annot do I/O over "${portal.words}": the namespace is ${words} there (ANA)`;
      assertStringIncludes(stderr, why);
    }
    assertMatch(stderr, /hint: Make a path optimized/);
    await rig.assertNothingLeft();
    // One path is enough, whichever it is.
    await rig.target.target("ana", second!.words, "non-optimized");
    const device = await rig.device("--connect-timeout", "10s");
    await rig.ok("dd", `if=${device}`, "of=/dev/null", "bs=4096", "count=1", "iflag=direct");
    assertEquals((await rig.umpath("detach", "--all")).code, 0);
  });
}
