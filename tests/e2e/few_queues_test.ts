/** The packed program and controllers that grant fewer I/O queues than the volume has. */
import { assert, assertEquals, assertMatch, assertStringIncludes } from "@std/assert";
import { loopTest } from "./loop_case.ts";
import { LoopRig } from "./loop_rig.ts";
import { Served } from "./served.ts";

const WRITERS = 4;
const BYTES = 4 << 20;
/** Nothing here is about times. */
const PATIENT = ["--connect-timeout", "10s", "--keep-alive", "5s", "--io-timeout", "30s"];

/** Writes each quarter of the device at the same time, by writers of their own, and compares it with what was written. */
async function writeAndCompare(rig: LoopRig, device: string): Promise<void> {
  const data = Array.from({ length: WRITERS }, (_, i) => `${rig.folder}/data-${i}`);
  await Promise.all(data.map(async (file, i) => {
    await rig.ok("dd", "if=/dev/urandom", `of=${file}`, "bs=1M", `count=${BYTES >> 20}`);
    const place = ["bs=64K", `count=${BYTES >> 16}`];
    await rig.ok("dd", `if=${file}`, `of=${device}`, ...place, `seek=${i * 256}`, "oflag=direct", "conv=notrunc,fsync");
    await rig.ok("dd", `if=${device}`, `of=${file}.read`, ...place, `skip=${i * 256}`, "iflag=direct");
    await rig.ok("cmp", file, `${file}.read`);
  }));
}

loopTest("a volume of two queues works over paths with one queue each, and over one such path", async () => {
  await using rig = await LoopRig.start(["--ram", "64M", "--queues", "1"]);
  const daemon = await rig.daemon();
  const device = await rig.device("--queues", "2", ...PATIENT);
  assertEquals((await rig.volume()).paths.map(({ queues }) => queues), [1, 1]);
  const shown = await rig.umpath("show");
  assertStringIncludes(shown.stdout, "1 of 2 queues");
  assertStringIncludes(shown.stdout, "2 queues of depth 128");
  // The second path came after the device, which was read meanwhile.
  const { handedOver } = await rig.volume();
  await writeAndCompare(rig, device);
  assertEquals((await rig.volume()).handedOver, handedOver, "two paths with a queue each serve two queues");
  assertEquals((await rig.umpath("path", "disable", "loop-n1", "1")).code, 0);
  // Which queue gets a request is the kernel's to decide.
  const isHanded = async () => (await rig.volume()).handedOver > handedOver;
  for (let tries = 0; tries < 20 && !(await isHanded()); tries++) await writeAndCompare(rig, device);
  const volume = await rig.volume();
  assert(await isHanded(), JSON.stringify(volume));
  assertEquals([volume.waiting, volume.held, volume.paths[0].errors], [0, 0, 0]);
  assertMatch((await rig.umpath("show")).stdout, /handed over +\d+ requests? to other queues/);
  assertEquals((await rig.umpath("detach", "--all")).code, 0);
  daemon.kill("SIGTERM");
  assertEquals((await daemon.status).code, 0);
});

loopTest(
  "a volume goes on when its controllers grant fewer queues at a reconnect, and uses more when it gets them",
  async () => {
    const file = await Deno.makeTempFile({ prefix: "umpath-queues-" });
    try {
      await Deno.truncate(file, 64 << 20);
      const words = (queues: number) => [file, "--queues", `${queues}`];
      await using rig = await LoopRig.start(words(2));
      const daemon = await rig.daemon();
      const device = await rig.device("--queues", "2", ...PATIENT);
      await writeAndCompare(rig, device);
      await rig.endTarget();
      {
        await using _poorer = await Served.start(rig.cli, {
          nqn: rig.target.nqn,
          at: rig.target.portals,
          words: words(1),
        });
        await rig.when(
          "live with less",
          ({ state, paths }) => state === "live" && paths.every(({ queues }) => queues === 1),
        );
        await writeAndCompare(rig, device);
      }
      await using _richer = await Served.start(rig.cli, {
        nqn: rig.target.nqn,
        at: rig.target.portals,
        words: words(2),
      });
      await rig.when(
        "live with all",
        ({ state, paths }) => state === "live" && paths.every(({ queues }) => queues === 2),
      );
      const before = (await rig.volume()).handedOver;
      await writeAndCompare(rig, device);
      assertEquals((await rig.volume()).handedOver, before);
      assertEquals((await rig.umpath("detach", "--all")).code, 0);
      daemon.kill("SIGTERM");
      assertEquals((await daemon.status).code, 0);
    } finally {
      await Deno.remove(file);
    }
  },
);
