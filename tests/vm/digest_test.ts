/** Digests against the kernel's target, and what is on its storage compared through the kernel's own initiator. */
import { assertEquals } from "@std/assert";
import { AttachedVolume, KERNEL_HOST_NQN, makeTarget, NQN, PORTS } from "./attached.ts";
import { fio } from "./fio.ts";
import { kernelConnect } from "./kernel_initiator.ts";
import { run } from "./process.ts";
import { vmTest } from "./vm_case.ts";

const BOTH = { headerDigest: true, dataDigest: true };
/** In capsules at most 16 KiB, so that 4 KiB travel in them and 128 KiB by R2T. */
const SIZES = ["4k", "128k"];

vmTest("volume with digests over nvmet verifies 4 KiB and 128 KiB, and the kernel reads the same", {}, async () => {
  await using _target = await makeTarget();
  await using volume = await AttachedVolume.attach(BOTH);
  const { headerDigest, dataDigest, paths } = await volume.info();
  assertEquals([headerDigest, dataDigest], [true, true]);
  assertEquals(paths.map(({ state }) => state), ["live", "live"]);
  for (const [i, bs] of SIZES.entries()) {
    const { code, jobs, stderr } = await fio({
      ...{ filename: volume.device, rw: "randrw", bs, iodepth: 16, offset: `${32 * i}m`, size: "16m" },
      ...{ verify: "crc32c", verify_fatal: 1, serialize_overlap: 1, randseed: 7 + i },
    });
    assertEquals([code, jobs[0]!.error], [0, 0], stderr);
  }
  const kernel = await kernelConnect(NQN, [PORTS[0]!], KERNEL_HOST_NQN, ["--hdr-digest", "--data-digest"]);
  try {
    await run("cmp", [volume.device, kernel.device], { check: true });
    // What the kernel writes is read by umpath, too.
    await run("dd", ["if=/dev/urandom", `of=${kernel.device}`, "bs=128k", "count=64", "oflag=direct"], { check: true });
    await run("blockdev", ["--flushbufs", volume.device], { check: true });
    await run("cmp", [volume.device, kernel.device], { check: true });
  } finally {
    await kernel.disconnect();
  }
  for (const { reconnects, digestErrors, errors } of (await volume.info()).paths) {
    assertEquals([reconnects, digestErrors, errors], [0, 0, 0]);
  }
});

for (const digests of [{ headerDigest: true }, { dataDigest: true }]) {
  vmTest(`volume with ${Object.keys(digests)[0]} alone verifies over nvmet`, {}, async () => {
    await using _target = await makeTarget();
    await using volume = await AttachedVolume.attach(digests);
    const { code, jobs, stderr } = await fio({
      ...{ filename: volume.device, rw: "randrw", bsrange: "4k-256k", iodepth: 16, size: "16m" },
      ...{ verify: "crc32c", verify_fatal: 1, serialize_overlap: 1, randseed: 11 },
    });
    assertEquals([code, jobs[0]!.error], [0, 0], stderr);
    for (const { reconnects, errors } of (await volume.info()).paths) assertEquals([reconnects, errors], [0, 0]);
  });
}
