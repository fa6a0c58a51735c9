/** A read that ends every connection it is sent on, of a device that others use. */
import { assert, assertEquals, assertStringIncludes } from "@std/assert";
import { loopTest } from "./loop_case.ts";
import { LoopRig } from "./loop_rig.ts";
import { Stopwatch } from "./stopwatch.ts";

/** Seventeen connections end with it, and the delays between them add up to 19 s. */
const GIVEN_UP_MS_MIN = 15_000;
/** A write beside it waits for a new connection, and for the end of the write hold of one that ended with both. */
const WRITE_MS_MAX = 10_000;

loopTest(
  "A read that ends each connection it is sent on fails with EIO, and the volume serves others meanwhile",
  async () => {
    await using rig = await LoopRig.start();
    const device = await rig.device("--hdr-digest");
    const dd = (...words: string[]) => rig.run("dd", "bs=4096", "count=1", "status=none", ...words);
    const read = () => dd(`if=${device}`, "of=/dev/null", "iflag=direct");
    const write = () => dd("if=/dev/zero", `of=${device}`, "oflag=direct", "conv=notrunc");

    // The header of its data is spoiled: the connection cannot go on.
    await rig.target.fault("*:digest,op=read");
    const startMs = performance.now();
    let isOver = false;
    const reading = read().finally(() => isOver = true);
    let writes = 0;
    for (; !isOver; writes++) {
      const took = new Stopwatch();
      assertEquals((await write()).code, 0, rig.log());
      took.assertWithin(WRITE_MS_MAX, "a write");
    }
    const { code, stderr } = await reading;
    const tookMs = performance.now() - startMs;
    assertEquals(code, 1);
    assertStringIncludes(stderr, "Input/output error");
    assert(tookMs >= GIVEN_UP_MS_MIN && writes > 20, `${tookMs} ms, ${writes} writes`);
    const { stdout } = await rig.target.target("fault", "--json");
    assertEquals(JSON.parse(stdout).faults[0].hits, 17);

    await rig.target.fault("clear");
    await rig.when("live", ({ paths }) => paths.every(({ state }) => state === "live"));
    assertEquals([(await read()).code, (await write()).code], [0, 0]);
  },
);
