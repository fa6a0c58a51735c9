/** Detach of devices in use, by force, and of what is not there. */
import { assertEquals, assertMatch } from "@std/assert";
import { run, umpath } from "./harness.ts";
import { AttachedVolume, makeTarget } from "./attached.ts";
import { volumes } from "./daemon_process.ts";
import { withFilesystem, writeFiles } from "./filesystem.ts";
import { loadErrors, newSeed, smallLoad, underLoad } from "./load.ts";
import { UBLK_IO_ERRORS, vmTest } from "./vm_case.ts";

vmTest("detach of a mounted device is refused, and the device stays usable", {}, async () => {
  await using _target = await makeTarget();
  await using volume = await AttachedVolume.attach();
  await withFilesystem("ext4", volume.device, async (folder) => {
    await writeFiles(folder, 1);
    const detach = await umpath("detach", volume.name);
    assertEquals([detach.code, detach.stdout], [7, ""], detach.stderr);
    assertMatch(detach.stderr, /mounted/);
    const all = await umpath("detach", "--all");
    assertEquals(all.code, 7, all.stderr);
    await writeFiles(folder, 2);
  }, { make: true });
  assertEquals((await volume.info()).state, "live");
});

vmTest("detach of a device that a process has open is refused and says which process", {}, async () => {
  await using _target = await makeTarget();
  await using volume = await AttachedVolume.attach();
  const file = await Deno.open(volume.device, { read: true, write: true });
  try {
    const detach = await umpath("detach", volume.device);
    assertEquals([detach.code, detach.stdout], [7, ""], detach.stderr);
    assertMatch(detach.stderr, new RegExp(`process ${Deno.pid}`));
    await run("dd", ["if=/dev/zero", `of=${volume.device}`, "bs=4k", "count=4", "oflag=direct"], { check: true });
  } finally {
    file.close();
  }
});

const MOUNT_ERRORS = [...UBLK_IO_ERRORS, /EXT4-fs.*ublkb|JBD2.*ublkb|on dev ublkb/];

vmTest("detach --force takes a mounted device away, and its users get errors", { allow: MOUNT_ERRORS }, async () => {
  await using _target = await makeTarget();
  await using volume = await AttachedVolume.attach();
  let detach = { code: -1, stderr: "" };
  let lateWrite = { code: -1, stderr: "" };
  await withFilesystem("ext4", volume.device, async (folder) => {
    await writeFiles(folder, 1);
    detach = await umpath("detach", "--force", volume.name);
    lateWrite = await run("dd", ["if=/dev/zero", `of=${folder}/late`, "bs=4k", "count=1", "conv=fsync"]);
  }, { make: true });
  assertEquals(detach.code, 0, detach.stderr);
  assertEquals(lateWrite.code, 1, "a write to a device that is gone succeeded");
  assertEquals(await volumes(), []);
});

vmTest("detach --force under load gives errors and no hang", { allow: UBLK_IO_ERRORS }, async () => {
  await using _target = await makeTarget();
  await using volume = await AttachedVolume.attach();
  const results = await underLoad(smallLoad(volume.device, newSeed()), async () => {
    const detach = await umpath("detach", "--force", volume.name);
    assertEquals(detach.code, 0, detach.stderr);
  }, { untilError: true });
  assertEquals(loadErrors(results).length, 1, "fio saw nothing of the end of its device");
  assertEquals(await volumes(), []);
});

vmTest("detach of what is not attached says so", {}, async () => {
  for (const word of ["vol-n1", "/dev/ublkb7"]) {
    const detach = await umpath("detach", word);
    assertEquals([detach.code, detach.stdout], [3, ""], detach.stderr);
    assertMatch(detach.stderr, new RegExp(word));
  }
});

vmTest("detach by UUID while no path is live ends at once", {}, async () => {
  await using target = await makeTarget();
  await using volume = await AttachedVolume.attach();
  await target.removePort(0);
  await target.removePort(1);
  await volume.waitState("no-path");
  const started = performance.now();
  const detach = await umpath("detach", (await volume.info()).uuid);
  assertEquals(detach.code, 0, detach.stderr);
  assertEquals(performance.now() - started < 15_000, true, "it waited for a path");
});
