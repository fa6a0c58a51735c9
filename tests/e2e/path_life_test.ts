/** The packed program and paths that do not come back: how long I/O and a detach wait for them. */
import { assert, assertEquals, assertMatch, assertStringIncludes } from "@std/assert";
import { delay } from "./host/host_fixture.ts";
import { loopTest } from "./loop_case.ts";
import { LoopRig } from "./loop_rig.ts";
import { Stopwatch } from "./stopwatch.ts";

/** Much less than the minute that I/O waits for a path unless told otherwise. */
const SOON_MS_MAX = 15_000;

/** Waits for a line: the daemon writes its log a moment after what the line is about. */
async function logged(rig: LoopRig, words: RegExp): Promise<void> {
  for (let tries = 0; tries < 200 && !words.test(rig.log()); tries++) await delay(50);
  assertMatch(rig.log(), words);
}

loopTest(
  "I/O on a device fails when all paths are lost for longer than --fast-io-fail-timeout, and works when one is back",
  async () => {
    await using rig = await LoopRig.start();
    const device = await rig.device("--fast-io-fail-timeout", "1s");
    const read = () => rig.run("dd", `if=${device}`, "of=/dev/null", "bs=4096", "count=1", "iflag=direct");
    assertEquals((await read()).code, 0);
    assertStringIncludes((await rig.umpath("show")).stdout, "fast-io-fail-timeout 1s");
    for (const index of [0, 1]) await rig.listener("remove", index);
    const took = new Stopwatch();
    const failed = await read();
    assertMatch(failed.stderr, /Input\/output error/);
    took.assertWithin(SOON_MS_MAX);
    await logged(rig, /no path is expected to come back soon: I\/O fails until one does/);
    await logged(rig, /loop-n1: no path is left: I\/O waits, for 1s at most/);
    const { failedReads } = await rig.volume();
    assert(failedReads > 0);
    const words = /error volume: loop-n1: read of [0-9.]+ \S+ at LBA \d+ failed with EIO: no path for [0-9.]+ s/;
    await logged(rig, words);
    assertMatch((await rig.umpath("show")).stdout, /failed +\d+ reads?/);
    await rig.listener("add", 1);
    await rig.when("degraded", ({ state }) => state === "degraded");
    await logged(rig, /loop-n1: a path serves again: I\/O goes on after [0-9.]+ s/);
    assertEquals((await read()).code, 0);
    assertEquals((await rig.umpath("detach", "--all")).code, 0);
  },
);

loopTest("umpath detach does not wait for paths that are live and inaccessible, though I/O does", async () => {
  await using rig = await LoopRig.start();
  const device = await rig.device();
  for (const { words } of rig.target.portals) {
    assertEquals((await rig.target.target("ana", words, "inaccessible")).code, 0);
  }
  await rig.when("inaccessible", ({ paths }) => paths.every(({ ana }) => ana === "inaccessible"));
  // What is in the page cache is written when the device is closed, and nobody has it open then.
  rig.start("dd", "if=/dev/zero", `of=${device}`, "bs=4096", "count=1", "conv=notrunc");
  await rig.when("waiting", ({ waiting }) => waiting > 0);
  const took = new Stopwatch();
  const { code, stderr } = await rig.umpath("detach", "--all");
  assertEquals(code, 0, stderr);
  took.assertWithin(SOON_MS_MAX);
});
