/** Loop devices that other programs take away, or that are left in use: what umpath tells of them, and does not touch. */
import { assertEquals, assertMatch, assertNotEquals, assertRejects, assertStringIncludes } from "@std/assert";
import { UmpathError } from "../../src/base/errors.ts";
import type { ListResult } from "../../src/rpc/host_api.ts";
import { call } from "../../src/rpc/client.ts";
import { diskSequence, setDiskReadOnly } from "../../src/io/disk_sequence.ts";
import { listLeft } from "../../src/host/device/left_devices.ts";
import { runDirAt } from "../../src/rpc/run_dir.ts";
import { delay } from "./host/host_fixture.ts";
import { loopTest, toolTest } from "./loop_case.ts";
import { LoopRig } from "./loop_rig.ts";
import { UMPATH } from "./cli_fixture.ts";

const NAME = "loop-n1";
const WAIT_MS_MAX = 15_000;
/** Nothing here is about paths: they may take their time. */
const PATIENT = ["--connect-timeout", "10s", "--io-timeout", "10s", "--keep-alive", "10s"];

/** What the daemon tells. */
async function list(rig: LoopRig): Promise<ListResult> {
  return await call("list", {}, { dir: runDirAt(rig.cli.runDir) }) ?? { volumes: [], left: [] };
}

/** Waits until it holds; fails with the daemon's log. */
async function until(rig: LoopRig, what: string, holds: () => Promise<boolean> | boolean): Promise<void> {
  for (const end = Date.now() + WAIT_MS_MAX; !await holds(); await delay(20)) {
    if (Date.now() > end) throw new Error(`Still not: ${what}\n${rig.log()}`);
  }
}

/** The loop device of a file of another program, under the number of `device`. */
async function takeNumber(rig: LoopRig, device: string): Promise<string> {
  const file = `${rig.folder}/other.img`;
  Deno.writeFileSync(file, new Uint8Array(1 << 20));
  await rig.ok("losetup", device, file);
  return file;
}

loopTest("a device that another program has unbound is told at once, and attach makes another", async () => {
  await using rig = await LoopRig.start(["--ram", "16M"]);
  const device = await rig.device(...PATIENT, "--policy", "round-robin");
  await rig.ok("losetup", "-d", device);
  // Nobody has asked: the kernel tells that the file was closed.
  await until(rig, "a line in the log", () => rig.log().includes(`another program has unbound ${device}`));
  const [volume] = (await list(rig)).volumes;
  assertEquals([volume!.state, volume!.device], ["dead", null]);
  assertMatch(volume!.deviceReason ?? "", /^another program has unbound/);
  const { code, stdout, stderr } = await rig.attach(...PATIENT);
  assertEquals(code, 0, stderr);
  assertStringIncludes(stderr, `${NAME} gets a new device: another program has unbound ${device}`);
  await rig.ok("dd", `if=${stdout.trim()}`, "of=/dev/null", "bs=4096", "count=1", "iflag=direct");
  const { state, policy, paths } = await rig.volume();
  assertEquals([state, policy, paths.length], ["live", "round-robin", rig.target.portals.length]);
});

loopTest("another program's device under the number of ours is never named nor touched", async () => {
  await using rig = await LoopRig.start(["--ram", "16M"]);
  const device = await rig.device(...PATIENT);
  await rig.ok("losetup", "-d", device);
  const file = await takeNumber(rig, device);
  try {
    assertEquals((await list(rig)).volumes[0]!.device, null);
    const again = (await rig.attach(...PATIENT)).stdout.trim();
    assertNotEquals(again, device);
    assertEquals(await rig.ok("losetup", "-nO", "BACK-FILE", device), file);
    await rig.ok("losetup", "-d", again);
    await rig.ok("losetup", "-d", device);
    await takeNumber(rig, again);
    for (const words of [["detach", again], ["detach", NAME, "--force"]]) await rig.umpath(...words);
    assertEquals((await list(rig)).volumes, []);
    const left = await rig.ok("losetup", "-nO", "BACK-FILE,AUTOCLEAR", again);
    assertMatch(left, /other\.img\s+0$/);
    await rig.ok("losetup", "-d", again);
  } finally {
    await rig.run("losetup", "-d", device);
  }
});

toolTest("a device whose daemon died is not detached while it is mounted, and is told of until it is gone", [
  "mkfs.ext4",
], async () => {
  await using rig = await LoopRig.start(["--ram", "32M"]);
  const device = await rig.device(...PATIENT);
  const mount = `${rig.folder}/mnt`;
  Deno.mkdirSync(mount);
  await rig.ok("mkfs.ext4", "-q", device);
  await rig.ok("mount", device, mount);
  try {
    rig.killDaemon();
    const words = `${device} (was ${NAME}) is still mounted on "${mount}"`;
    const told = await rig.umpath("list");
    assertEquals(told.stderr, `${words}; close or unmount it, then run umpath detach ${NAME} or attach again\n`);
    const refused = await rig.umpath("detach", NAME);
    assertEquals(refused.code, 7, refused.stderr);
    assertStringIncludes(refused.stderr, `Cannot detach ${NAME}: ${words}`);
    const forced = await rig.umpath("detach", NAME, "--force");
    assertEquals(forced.code, 0, forced.stderr);
    assertStringIncludes(forced.stderr, words);
    // The file has no path any more; the note still tells whose it was.
    const again = await rig.umpath("detach", NAME);
    assertEquals(again.code, 7, again.stderr);
    assertStringIncludes(again.stderr, words);
    const other = (await rig.attach(...PATIENT)).stdout.trim();
    assertNotEquals(other, device);
    assertEquals((await list(rig)).left?.map((left) => [left.name, left.words]), [[NAME, words]]);
    // The name is the new volume's; the device is known to the daemon that runs as well.
    const beside = await rig.umpath("detach", device);
    assertEquals(beside.code, 7, beside.stderr);
    assertStringIncludes(beside.stderr, words);
  } finally {
    await rig.run("umount", mount);
  }
  await until(rig, "nothing left", async () => (await list(rig)).left?.length === 0);
  await until(rig, "the number removed", () => !exists(`/sys/block/${device.slice(5)}`));
});

loopTest("what a daemon in a mount namespace of its own has left is found, named and removed", async () => {
  await using rig = await LoopRig.start(["--ram", "16M"]);
  const paths = rig.target.portals.flatMap(({ words }) => ["-p", words]);
  const words = ["attach", rig.target.nqn, ...paths, "--device", "loop"];
  const inside = ["-m", "--propagation", "private", "--", UMPATH];
  const device = await rig.ok("unshare", ...inside, ...words);
  rig.killDaemon();
  await until(rig, "the daemon gone", () => rig.cli.daemonPid() === null || rig.left().length === 0);
  const { code, stderr } = await rig.umpath("detach", "--all");
  assertEquals(code, 0, stderr);
  assertStringIncludes(stderr, `${device} was left by a daemon that died, and is removed`);
  assertEquals(exists(`/sys/block/${device.slice(5)}`), false);
});

toolTest("detach names the loop device or the mount namespace that holds a device", ["mkfs.ext4"], async () => {
  await using rig = await LoopRig.start(["--ram", "32M"]);
  const device = await rig.device(...PATIENT);
  const over = await rig.ok("losetup", "-f", "--show", device);
  const held = await rig.umpath("detach", NAME);
  assertEquals(held.code, 7);
  assertStringIncludes(held.stderr, `${device} is held by ${over}`);
  await rig.ok("losetup", "-d", over);
  await rig.ok("mkfs.ext4", "-q", device);
  const script = `mount ${device} /mnt && touch ${rig.folder}/mounted && exec cat`;
  const holder = rig.start("unshare", "-m", "--propagation", "private", "sh", "-c", script);
  await until(rig, "the mount", () => exists(`${rig.folder}/mounted`));
  const elsewhere = await rig.umpath("detach", NAME);
  assertEquals(elsewhere.code, 7);
  assertStringIncludes(elsewhere.stderr, `is mounted on "/mnt" in the mount namespace of cat (process ${holder.pid})`);
  holder.kill("SIGKILL");
  await holder.status;
  assertEquals((await rig.umpath("detach", NAME)).code, 0);
});

loopTest("a device whose FUSE connection is aborted is told at once, and goes", async () => {
  await using rig = await LoopRig.start(["--ram", "16M"]);
  const device = await rig.device(...PATIENT);
  const connections = `${rig.folder}/connections`;
  Deno.mkdirSync(connections);
  await rig.ok("mount", "-t", "fusectl", "none", connections);
  try {
    const mounts = Deno.readTextFileSync("/proc/self/mountinfo").split("\n");
    const mine = mounts.find((line) => line.includes(` ${rig.cli.runDir}/loop/${NAME} `))!;
    const [, connection] = mine.split(" ")[2]!.split(":");
    Deno.writeTextFileSync(`${connections}/${connection}/abort`, "1\n");
  } finally {
    await rig.ok("umount", connections);
  }
  await until(rig, "a line in the log", () => rig.log().includes(`${device} takes no I/O any more`));
  assertEquals((await rig.volume()).state, "dead");
  assertEquals((await rig.umpath("detach", NAME)).code, 0);
  await rig.assertNothingLeft();
});

toolTest("a daemon that ends while its device is mounted leaves a note of it", ["mkfs.ext4"], async () => {
  await using rig = await LoopRig.start(["--ram", "32M"]);
  const device = await rig.device(...PATIENT);
  const mount = `${rig.folder}/mnt`;
  Deno.mkdirSync(mount);
  await rig.ok("mkfs.ext4", "-q", device);
  await rig.ok("mount", device, mount);
  try {
    Deno.kill(rig.cli.daemonPid()!, "SIGTERM");
    await until(rig, "the daemon gone", async () => {
      // It may leave while it is asked.
      return await call("info", {}, { dir: runDirAt(rig.cli.runDir) }).catch(() => "leaving") === null;
    });
    await until(rig, "the note", async () => {
      const left = await listLeft(runDirAt(rig.cli.runDir), { besideDaemon: false });
      const told = `${device} (was ${NAME}) is still mounted on "${mount}"; close or unmount it: it is removed then`;
      return left.map(({ words, remedy }) => `${words}; ${remedy}`).join() === told;
    });
  } finally {
    await rig.run("umount", mount);
  }
  assertEquals((await rig.umpath("detach", "--all")).code, 0);
});

loopTest("a volume whose I/O hangs holds neither the daemon nor another volume", async () => {
  await using rig = await LoopRig.start(["--namespace", "ram=16M", "--namespace", "ram=16M"]);
  const endless = ["--no-path-timeout", "off", "--io-timeout", "120s", "--keep-alive", "off"];
  const device = await rig.device("--nsid", "1", "--connect-timeout", "10s", ...endless);
  await rig.target.fault("*:drop,op=read,count=1");
  const reader = rig.start("dd", `if=${device}`, "of=/dev/null", "bs=4096", "count=1", "iflag=direct");
  await until(rig, "a read that hangs", async () => (await rig.volume()).paths.some(({ inflight }) => inflight > 0));
  // It waits for the read, and whoever opens the device from now on waits for it.
  const freezer = rig.start("losetup", "--direct-io=off", device);
  await until(rig, "a device that hangs", () => wait(freezer.pid) !== "");
  const refused = await rig.umpath("detach", NAME);
  assertEquals(refused.code, 7, refused.stderr);
  assertStringIncludes(refused.stderr, `is open in dd (process ${reader.pid})`);
  const other = await rig.attach("--nsid", "2", ...PATIENT);
  assertEquals(other.code, 0, other.stderr);
  assertEquals((await rig.umpath("detach", "loop-n2")).code, 0);
  // The read goes on over a new connection.
  await rig.target.fault("*:reset");
  await rig.target.fault("clear");
  assertEquals([(await reader.status).code, (await freezer.status).code], [0, 0], rig.log());
  assertEquals((await rig.umpath("detach", NAME)).code, 0);
});

/** What a process waits for in the kernel; empty if it runs, or is not to be seen. */
function wait(pid: number): string {
  try {
    const where = Deno.readTextFileSync(`/proc/${pid}/wchan`);
    return where === "0" ? "" : where;
  } catch {
    return "";
  }
}

loopTest("setDiskReadOnly() changes the very disk that is meant, and no other", async () => {
  await using rig = await LoopRig.start(["--ram", "16M"]);
  const file = `${rig.folder}/disk.img`;
  Deno.writeFileSync(file, new Uint8Array(1 << 20));
  const path = await rig.ok("losetup", "-f", "--show", file);
  try {
    const disk = { path, sequence: (await diskSequence(path))!, isReadOnly: false };
    for (const readOnly of [true, false]) {
      await setDiskReadOnly(disk, readOnly);
      assertEquals(await rig.ok("blockdev", "--getro", path), readOnly ? "1" : "0");
    }
    const other = { ...disk, sequence: String(Number(disk.sequence) + 1) };
    const error = await assertRejects(() => setDiskReadOnly(other, true), UmpathError, "another program's by now");
    assertEquals([error.code, await rig.ok("blockdev", "--getro", path)], ["in-use", "0"]);
    await assertRejects(
      () => setDiskReadOnly({ ...disk, isReadOnly: true }, false),
      UmpathError,
      "it was made read-only",
    );
  } finally {
    await rig.run("losetup", "-d", path);
  }
});

function exists(path: string): boolean {
  try {
    Deno.lstatSync(path);
    return true;
  } catch {
    return false;
  }
}

loopTest("a file under the name of a free loop device is left alone, and another number is taken", async () => {
  await using rig = await LoopRig.start(["--ram", "16M"]);
  const used = new Set([...Deno.readDirSync("/sys/block"), ...Deno.readDirSync("/dev")].map(({ name }) => name));
  let number = 0;
  while (used.has(`loop${number}`)) number++;
  const file = `/dev/loop${number}`;
  Deno.writeTextFileSync(file, "written after a detach", { createNew: true });
  try {
    const device = await rig.device(...PATIENT);
    assertNotEquals(device, file);
    assertEquals(Deno.statSync(device).isBlockDevice, true);
    assertEquals((await rig.umpath("detach", NAME)).code, 0);
    assertEquals(Deno.readTextFileSync(file), "written after a detach");
  } finally {
    Deno.removeSync(file);
  }
});
