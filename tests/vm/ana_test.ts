/** ANA states of the target's ports decide which path takes I/O. */
import { assert, assertEquals } from "@std/assert";
import { eventually, fio } from "./harness.ts";
import { AttachedVolume, makeTarget, PORTS } from "./attached.ts";
import { loadErrors, newSeed, smallLoad, underLoad } from "./load.ts";
import { vmTest } from "./vm_case.ts";

const GROUP = 1;

/** Commands that the two paths have completed so far. */
async function counts(volume: AttachedVolume): Promise<[number, number]> {
  const [first, second] = (await volume.info()).paths;
  return [first!.reads + first!.writes, second!.reads + second!.writes];
}

vmTest("an inaccessible port takes no I/O, and takes it again when it is optimized", {}, async () => {
  await using target = await makeTarget();
  await using volume = await AttachedVolume.attach();
  const results = await underLoad(smallLoad(volume.device, newSeed()), async () => {
    await target.setAnaState(0, GROUP, "inaccessible");
    await eventually(async () => (await volume.path(PORTS[0]!)).ana === "inaccessible", 20_000);
    await eventually(async () => (await volume.path(PORTS[0]!)).inflight === 0, 20_000);
    const before = await counts(volume);
    await eventually(async () => (await counts(volume))[1] > before[1] + 50, 20_000);
    assertEquals((await counts(volume))[0], before[0], "the inaccessible path took I/O");
    assertEquals((await volume.path(PORTS[0]!)).state, "live");

    await target.setAnaState(0, GROUP, "optimized");
    await eventually(async () => (await counts(volume))[0] > before[0] + 50, 20_000);
  });
  assertEquals(loadErrors(results), []);
});

vmTest("an optimized port is preferred to one that is not", {}, async () => {
  await using target = await makeTarget();
  await target.setAnaState(0, GROUP, "non-optimized");
  await using volume = await AttachedVolume.attach();
  await eventually(async () => (await volume.path(PORTS[0]!)).ana === "non-optimized", 20_000);
  const before = await counts(volume);
  assertEquals(loadErrors([await fio({ ...smallLoad(volume.device, newSeed()), size: "4m" })]), []);
  const after = await counts(volume);
  assertEquals(after[0], before[0], "the port that is not optimized took I/O");
  assert(after[1] > before[1]);
});

vmTest("with both ports inaccessible I/O waits, and goes on with the first that is not", {}, async () => {
  await using target = await makeTarget();
  await using volume = await AttachedVolume.attach();
  const results = await underLoad(smallLoad(volume.device, newSeed()), async () => {
    await target.setAnaState(0, GROUP, "inaccessible");
    await target.setAnaState(1, GROUP, "inaccessible");
    await eventually(async () => (await volume.info()).waiting > 0, 20_000);
    await volume.waitState("no-path");
    const before = await counts(volume);
    await new Promise((resolve) => setTimeout(resolve, 1000));
    assertEquals(await counts(volume), before);
    await target.setAnaState(1, GROUP, "non-optimized");
    await eventually(async () => (await counts(volume))[1] > before[1] + 20, 20_000);
    await target.setAnaState(0, GROUP, "optimized");
  });
  assertEquals(loadErrors(results), []);
});
