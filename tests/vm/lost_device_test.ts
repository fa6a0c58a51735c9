/** ublk devices that another program stops or deletes, or that are left in use. */
import { assert, assertEquals, assertMatch } from "@std/assert";
import { listLeft } from "../../src/host/device/left_devices.ts";
import { runDirAt } from "../../src/rpc/run_dir.ts";
import { NO_QUEUES, runControl } from "../../src/host/device/ublk_driver.ts";
import type { UblkCommandName } from "../../src/protocol/ublk.ts";
import { commandStep, type ControlSequence, probeFeatures } from "../../src/ublk/control.ts";
import { AttachedVolume, makeTarget } from "./attached.ts";
import { ask, volumes } from "./daemon_process.ts";
import { eventually } from "./eventually.ts";
import { withFilesystem, writeFiles } from "./filesystem.ts";
import { run, umpath, umpathRunDir } from "./harness.ts";
import { UBLK_IO_ERRORS, vmTest } from "./vm_case.ts";

const WAIT_MS = 30_000;

/** What `ublk del` and the like do: one command to the driver about a device of another process. */
function* command(name: UblkCommandName, devId: number): ControlSequence<number> {
  const ioctlEncode = (yield* probeFeatures(`/dev/ublkb${devId}`)) !== null;
  return (yield commandStep(name, { ioctlEncode, devId })).result;
}

function numberOf(device: string): number {
  return Number(/\d+$/.exec(device)![0]);
}

async function readBlock(device: string): Promise<number> {
  return (await run("dd", [`if=${device}`, "of=/dev/null", "bs=4k", "count=1", "iflag=direct"])).code;
}

for (const names of [["STOP_DEV"], ["STOP_DEV", "DEL_DEV_ASYNC"]] as UblkCommandName[][]) {
  vmTest(`a device that another program ends with ${names.join(", ")} is dead, and attach makes another`, {
    allow: UBLK_IO_ERRORS,
  }, async () => {
    await using _target = await makeTarget();
    await using volume = await AttachedVolume.attach({ policy: "round-robin" });
    for (const name of names) {
      assertEquals(await runControl(command(name, numberOf(volume.device)), NO_QUEUES), 0, name);
    }
    await eventually(async () => (await volume.info()).state === "dead", WAIT_MS);
    const { device, deviceReason } = await volume.info();
    assertEquals(device, null);
    assertMatch(deviceReason ?? "", /^another program has stopped \/dev\/ublkb\d+$/);
    await using again = await AttachedVolume.attach();
    assertEquals(again.name, volume.name);
    assert(again.warnings.some((words) => words.includes("gets a new device")), again.warnings.join());
    const info = await again.info();
    assertEquals([info.state, info.policy, info.device], ["live", "round-robin", again.device]);
    assertEquals(await readBlock(again.device), 0);
  });
}

vmTest("a volume whose device another program has deleted is detached in order", {}, async () => {
  await using _target = await makeTarget();
  await using volume = await AttachedVolume.attach();
  for (const name of ["STOP_DEV", "DEL_DEV_ASYNC"] as const) {
    await runControl(command(name, numberOf(volume.device)), NO_QUEUES);
  }
  await eventually(async () => (await volume.info()).state === "dead", WAIT_MS);
  const { code, stderr } = await umpath("detach", volume.name);
  assertEquals(code, 0, stderr);
  assertEquals(await volumes(), []);
});

const MOUNT_ERRORS = [...UBLK_IO_ERRORS, /EXT4-fs.*ublkb|JBD2.*ublkb|on dev ublkb/];

vmTest("a device that was detached by force is told of while it is mounted", { allow: MOUNT_ERRORS }, async () => {
  await using _target = await makeTarget();
  await using volume = await AttachedVolume.attach();
  await withFilesystem("ext4", volume.device, async (folder) => {
    await writeFiles(folder, 1);
    const detach = await umpath("detach", "--force", volume.name);
    assertEquals(detach.code, 0, detach.stderr);
    const words = `${volume.device} (was ${volume.name}) is still mounted on "${folder}"`;
    assertEquals((await listLeft(runDirAt(umpathRunDir()), { besideDaemon: false })).map((left) => left.words), [
      words,
    ]);
    const list = await ask("list", {});
    if (list !== null) assertEquals(list.left?.map((left) => left.words), [words]);
  }, { make: true });
  await eventually(
    async () => (await listLeft(runDirAt(umpathRunDir()), { besideDaemon: false })).length === 0,
    WAIT_MS,
  );
});
