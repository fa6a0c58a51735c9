/** A namespace that changed while its controllers said nothing: who asks is told, and the volume follows. */
import { assertEquals } from "@std/assert";
import type { RescannedVolume } from "../../../src/rpc/host_api.ts";
import { AnaStateCode } from "../../../src/protocol/nvme_log.ts";
import { StatusCode } from "../../../src/protocol/nvme_status.ts";
import { eventually } from "./host_fixture.ts";
import { type Rig, testSet } from "./volume_rig.ts";

async function rescan(rig: Rig): Promise<RescannedVolume> {
  const { volumes } = await rig.set.rescan({ volumes: ["vol-n1"], all: false }, (words) => rig.warnings.push(words));
  assertEquals(volumes.length, 1);
  return volumes[0];
}

testSet(
  "rescan() reads size and ANA states again over all live paths, and says what has changed",
  2,
  async (rig, target) => {
    const [first, second] = target.portals;
    second.ana = AnaStateCode.INACCESSIBLE;
    await rig.attach([first, second]);
    assertEquals((await rescan(rig)).changes, []);
    first.blocks = second.blocks = 4096;
    second.ana = AnaStateCode.NON_OPTIMIZED;
    const { volume, changes } = await rescan(rig);
    assertEquals(volume.sizeBytes, 4096 * 512);
    const { id } = volume.paths.find(({ traddr }) => traddr === second.address)!;
    assertEquals(changes, ["size 1 MiB → 2 MiB", `path ${id} (${second.words}) inaccessible → non-optimized`]);
    assertEquals((await rescan(rig)).changes, []);
    assertEquals(rig.warnings, []);
  },
);

testSet("rescan() names a path that could not be read, and what cannot be looked at", 1, async (rig, target) => {
  const [only] = target.portals;
  await rig.attach([only]);
  only.adminStatus = { step: "identify namespace", status: StatusCode.INTERNAL_ERROR, times: 3 };
  assertEquals((await rescan(rig)).changes, []);
  const why = "identify namespace failed: internal error";
  assertEquals(rig.warnings.splice(0), [`Cannot look at vol-n1 again over path "${only.words}": ${why}`]);
  await only.stop();
  await eventually("it is lost", () => rig.states().join() === "reconnecting");
  await rescan(rig);
  assertEquals(rig.warnings, ["Cannot look at the namespace of vol-n1 again: none of its paths is connected"]);
});

testSet("attach() again looks at the namespace anew", 1, async (rig, target) => {
  const [only] = target.portals;
  only.hasEvents = false;
  await rig.attach([only]);
  only.blocks = 4096;
  assertEquals((await rig.attach([only])).volume.sizeBytes, 4096 * 512);
});
