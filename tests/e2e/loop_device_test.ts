/** Loop devices of this very machine over `umpath serve`: what a kernel and its tools see of them, and how they go. */
import { assert, assertEquals, assertMatch, assertNotEquals, assertStringIncludes, fail } from "@std/assert";
import { delay } from "./host/host_fixture.ts";
import { loadErrors, mixedLoad, smallLoad, underLoad } from "../vm/load.ts";
import { UMPATH } from "./cli_fixture.ts";
import { loopTest, toolTest } from "./loop_case.ts";
import { LoopRig, sysfs } from "./loop_rig.ts";
import { Stopwatch } from "./stopwatch.ts";

const SEED = Number(Deno.env.get("UMPATH_SEED") ?? Date.now() % 2 ** 31);
const MIB = 1 << 20;
const GIB = 1024 * MIB;
const NAME = "loop-n1";
const WAIT_MS_MAX = 60_000;
const ROUNDS_MAX = 10;
/** As much as fio has time to write in a test; a run that fails leaves no file of its state in the working folder. */
const QUICK = { size: "6m", rate: "6m,6m", verify_state_save: 0 };

/** One direct read of 4 KiB; null if it went well, else why not. */
async function readError(rig: LoopRig, device: string): Promise<string | null> {
  const { code, stderr } = await rig.run("dd", `if=${device}`, "of=/dev/null", "bs=4096", "count=1", "iflag=direct");
  return code === 0 ? null : stderr;
}

/** Random bytes in a file. */
function randomFile(path: string, bytes: number): Uint8Array {
  const data = new Uint8Array(bytes);
  for (let at = 0; at < bytes; at += 65536) crypto.getRandomValues(data.subarray(at, at + 65536));
  Deno.writeFileSync(path, data);
  return data;
}

/** What a device has at `offset`, read past every cache. */
async function contentOf(rig: LoopRig, device: string, { offset, bytes }: { offset: number; bytes: number }) {
  const out = `${rig.folder}/content`;
  const words = [`if=${device}`, `of=${out}`, "bs=64K", "iflag=direct,skip_bytes,count_bytes"];
  await rig.ok("dd", ...words, `skip=${offset}`, `count=${bytes}`);
  return Deno.readFileSync(out);
}

function isZero(data: Uint8Array): boolean {
  return data.every((byte) => byte === 0);
}

// ── what the kernel sees ────────────────────────────────────────────────────────────────────────────────────────────

loopTest("attach --device loop prints the device only, of the volume's size and block size", async () => {
  await using rig = await LoopRig.start(["--namespace", "ram=24M,bs=512", "--namespace", "ram=40M,bs=4096"]);
  const devices = [await rig.device("--nsid", "1"), await rig.device("--nsid", "2")];
  assertNotEquals(devices[0], devices[1]);
  for (const [device, mib, blockSize] of [[devices[0]!, 24, 512], [devices[1]!, 40, 4096]] as const) {
    assertMatch(device, /^\/dev\/loop\d+$/);
    assertEquals(
      await rig.ok("blockdev", "--getsize64", "--getss", "--getro", device),
      `${mib * MIB}\n${blockSize}\n0`,
    );
    assertEquals([sysfs(device, "loop/dio"), sysfs(device, "queue/write_cache")], ["1", "write back"]);
  }
  // Both serve at the same time, and neither has what the other has.
  const [a, b] = [randomFile(`${rig.folder}/a`, 4 * MIB), randomFile(`${rig.folder}/b`, 4 * MIB)];
  await Promise.all(
    ["a", "b"].map((name, i) => rig.ok("dd", `if=${rig.folder}/${name}`, `of=${devices[i]}`, "bs=1M", "oflag=direct")),
  );
  assertEquals(await contentOf(rig, devices[0]!, { offset: 0, bytes: 4 * MIB }), a);
  assertEquals(await contentOf(rig, devices[1]!, { offset: 0, bytes: 4 * MIB }), b);
  assertEquals(await rig.ok("blockdev", "--getss", devices[0]!), "512");
  assertEquals((await rig.umpath("detach", devices[0]!)).stderr, "loop-n1: detached\n");
  assertEquals(await readError(rig, devices[1]!), null);
  assertEquals((await rig.umpath("detach", "loop-n2")).stderr, "loop-n2: detached\n");
  await rig.assertNothingLeft();
});

loopTest("attach --device auto makes a loop device where there is no ublk, and says why", async () => {
  await using rig = await LoopRig.start();
  const { code, stdout, stderr } = await rig.attach("--device", "auto");
  assertEquals(code, 0, stderr);
  if (stdout.startsWith("/dev/ublkb")) return assertEquals(stderr, "");
  assertMatch(stdout, /^\/dev\/loop\d+\n$/);
  assertMatch(stderr, /^umpath: warning: Using a loop device, which is slower than ublk: .*\n$/);
  assertEquals((await rig.volume()).driver, "loop");
  assertEquals(/\(|open-control|cannot make/i.test(stderr), false, stderr);
  const again = await rig.attach("--device", "auto");
  assertEquals([again.stdout, again.stderr], [stdout, ""]);
});

loopTest("a read-only volume is a read-only device, whoever says so", async () => {
  await using rig = await LoopRig.start(["--namespace", "ram=16M", "--namespace", "ram=16M,ro"]);
  for (const words of [["--nsid", "1", "--read-only"], ["--nsid", "2"]]) {
    const device = await rig.device(...words);
    assertEquals(await rig.ok("blockdev", "--getro", device), "1");
    assertEquals(await readError(rig, device), null);
    const { code, stderr } = await rig.run("dd", "if=/dev/zero", `of=${device}`, "bs=4096", "count=1", "oflag=direct");
    assertEquals(code, 1, "a read-only device took a write");
    assertMatch(stderr, /Operation not permitted|Read-only/);
  }
});

loopTest("fsync flushes, a discard deallocates, and what is zeroed reads as zeroes", async () => {
  const folder = Deno.makeTempDirSync({ prefix: "umpath-file-" });
  try {
    const file = `${folder}/disk.img`;
    await using rig = await LoopRig.start(["--size", "32M", file]);
    const device = await rig.device();
    randomFile(`${rig.folder}/data`, 16 * MIB);
    const write = () => rig.ok("dd", `if=${rig.folder}/data`, `of=${device}`, "bs=1M", "oflag=direct", "conv=fsync");
    const [writes, flushes] = await rig.counted(["write", "flush"], write);
    assert(flushes! > 0 && writes! >= 16, `${writes} writes, ${flushes} flushes`);
    const allocated = () => (Deno.statSync(file).blocks ?? 0) * 512;
    assert(allocated() >= 16 * MIB);

    const discard = () => rig.ok("blkdiscard", "-o", String(4 * MIB), "-l", String(8 * MIB), device);
    const [deallocated, zeroed] = await rig.counted(["deallocate", "write-zeroes"], discard);
    assert(deallocated! + zeroed! > 0, "the target has heard of no discard");
    assert(allocated() <= 9 * MIB, `${allocated()} bytes are allocated after 8 of 16 MiB were discarded`);
    assert(isZero(await contentOf(rig, device, { offset: 4 * MIB, bytes: 8 * MIB })), "a hole does not read as zeroes");

    await rig.ok("blkdiscard", "-z", "-o", String(12 * MIB), "-l", String(MIB), device);
    assert(isZero(await contentOf(rig, device, { offset: 12 * MIB, bytes: MIB })));
    const data = Deno.readFileSync(`${rig.folder}/data`);
    assertEquals(await contentOf(rig, device, { offset: 0, bytes: 4 * MIB }), data.subarray(0, 4 * MIB));
    assertEquals(await contentOf(rig, device, { offset: 13 * MIB, bytes: 3 * MIB }), data.subarray(13 * MIB));
  } finally {
    Deno.removeSync(folder, { recursive: true });
  }
});

toolTest("a large volume is discarded in few commands, many at a time", ["mkfs.ext4", "e2fsck"], async () => {
  const folder = Deno.makeTempDirSync({ prefix: "umpath-loop-" });
  try {
    // The kernel's requests for it have 4 GiB at most.
    await using rig = await LoopRig.start(["--size", "1T", `${folder}/disk.img`]);
    const device = await rig.device("--io-timeout", "1m");
    const [zeroed] = await rig.counted(["write-zeroes"], () => rig.ok("blkdiscard", "-l", String(8 * GIB), device));
    assert(zeroed! >= 256 && zeroed! <= 260, `${zeroed} commands of 32 MiB zero 8 GiB`);

    await rig.target.fault("*:delay=5s,op=write-zeroes");
    const hits = async () => {
      const { stdout } = await rig.target.target("fault", "--json");
      return (JSON.parse(stdout).faults as { hits: number }[])[0]!.hits;
    };
    const discard = rig.ok("blkdiscard", "-l", String(GIB), device);
    for (const end = Date.now() + WAIT_MS_MAX; await hits() < 16;) {
      if (Date.now() > end) fail(`${await hits()} commands are in flight at a time`);
    }
    await rig.target.fault("clear");
    await discard;
    await rig.ok("mkfs.ext4", "-q", "-F", device);
    await rig.ok("e2fsck", "-f", "-n", device);
  } finally {
    Deno.removeSync(folder, { recursive: true });
  }
});

loopTest("large reads and writes come through whole, and the last block of the device too", async () => {
  await using rig = await LoopRig.start();
  const device = await rig.device();
  const data = randomFile(`${rig.folder}/data`, 64 * MIB);
  await rig.ok("dd", `if=${rig.folder}/data`, `of=${device}`, "bs=8M", "oflag=direct");
  await rig.ok("cmp", `${rig.folder}/data`, device);
  const last = 64 * MIB - 4096;
  assertEquals(await contentOf(rig, device, { offset: last, bytes: 4096 }), data.subarray(last));
  const { code } = await rig.run("dd", "if=/dev/zero", `of=${device}`, "bs=4096", "count=1", `seek=${64 * MIB / 4096}`);
  assertEquals(code, 1, "a write behind the end went well");
});

toolTest("ext4 on a loop device keeps its files", ["mkfs.ext4", "fsck.ext4"], async () => {
  await using rig = await LoopRig.start();
  const device = await rig.device();
  const mount = `${rig.folder}/mnt`;
  Deno.mkdirSync(mount);
  await rig.ok("mkfs.ext4", "-q", device);
  await rig.ok("mount", device, mount);
  const contents = Array.from({ length: 8 }, (_, i) => randomFile(`${mount}/file${i}`, 300_000 * (i + 1)));
  const inUse = await rig.umpath("detach", device);
  assertEquals(inUse.code, 7);
  assertStringIncludes(inUse.stderr, `${device} is mounted on "${mount}"`);
  await rig.ok("umount", mount);
  await rig.ok("fsck.ext4", "-fn", device);
  assertEquals((await rig.umpath("detach", device)).code, 0);
  // The files are at the target, not in a cache of the device.
  const again = await rig.device();
  await rig.ok("mount", "-o", "ro", again, mount);
  contents.forEach((content, i) => assertEquals(Deno.readFileSync(`${mount}/file${i}`), content));
  await rig.ok("umount", mount);
});

loopTest("nobody but root sees the file of a loop device", async () => {
  await using rig = await LoopRig.start(["--ram", "16M"]);
  const device = await rig.device();
  // Where everybody may look: what keeps others out is the mount, not the folder that it is in.
  const seen = `${rig.folder}/seen`;
  Deno.writeTextFileSync(seen, "");
  await rig.ok("mount", "--bind", `${rig.cli.runDir}/loop/${NAME}`, seen);
  assertEquals((Deno.statSync(seen).mode ?? 0) & 0o777, 0o600);
  for (const program of ["stat", "cat"]) {
    const { code, stderr } = await rig.run(
      "setpriv",
      "--reuid=65534",
      "--regid=65534",
      "--clear-groups",
      program,
      seen,
    );
    assertEquals(code, 1, `${program} of another user went well`);
    assertMatch(stderr, /Permission denied/);
  }
  await rig.ok("umount", seen);
  assertEquals((Deno.statSync(device).mode ?? 0) & 0o007, 0);
});

// ── paths come and go ───────────────────────────────────────────────────────────────────────────────────────────────

toolTest("a listener that is removed and comes back costs a verified load nothing", ["fio"], async () => {
  await using rig = await LoopRig.start(["--ram", "32M"]);
  const device = await rig.device();
  // Late answers: there are commands in flight whenever the listener goes, or the time after that.
  await rig.target.fault("*:delay=5ms..20ms");
  const hasMoved = async () => (await rig.volume()).paths.some(({ failovers }) => failovers > 0);
  let rounds = 0;
  const results = await underLoad({ ...mixedLoad(device, SEED), bsrange: "4k-32k", size: "16m" }, async () => {
    for (; rounds === 0 || (rounds < ROUNDS_MAX && !await hasMoved()); rounds++) {
      for (const index of [1, 0]) {
        await rig.listener("remove", index);
        await rig.when(
          "degraded",
          ({ state, paths }) => state === "degraded" && paths[index]!.state === "reconnecting",
        );
        await rig.listener("add", index);
        await rig.when("live", ({ state }) => state === "live");
        const { reads } = (await rig.volume()).paths[index]!;
        await rig.when("used again", ({ paths }) => paths[index]!.reads > reads);
      }
    }
  });
  assertEquals(loadErrors(results), [], `seed ${SEED}\n${rig.log()}`);
  const { paths } = await rig.volume();
  assertEquals(paths.map(({ reconnects }) => reconnects), [rounds, rounds]);
  assert(await hasMoved(), "no command has moved to the other path");
});

loopTest("I/O without a path waits for the no-path timeout, and fails with EIO after it", async () => {
  await using rig = await LoopRig.start(["--ram", "16M"]);
  const device = await rig.device("--no-path-timeout", "2s");
  const both = async (verb: "add" | "remove") => {
    for (const index of [0, 1]) await rig.listener(verb, index);
  };
  await both("remove");
  await rig.when("without a path", ({ state }) => state === "no-path");
  const waits = readError(rig, device);
  await delay(600);
  await both("add");
  assertEquals(await waits, null);
  await rig.when("live", ({ state }) => state === "live");

  await both("remove");
  await rig.when("without a path", ({ state }) => state === "no-path");
  // The two seconds are over sooner than this, for they began with the loss.
  const took = new Stopwatch();
  assertMatch(await readError(rig, device) ?? "no error", /Input\/output error/);
  took.assertWithin(6000);
  await both("add");
  await rig.when("live", ({ state }) => state === "live");
  assertEquals(await readError(rig, device), null);
});

// ── how devices go ──────────────────────────────────────────────────────────────────────────────────────────────────

toolTest("detach --force under load fails the load and leaves nothing", ["fio"], async () => {
  await using rig = await LoopRig.start(["--ram", "32M"]);
  const device = await rig.device();
  // fio closes the device now and then.
  const holder = rig.start("sh", "-c", `exec <${device} && echo >${rig.folder}/open && exec sleep 600`);
  const isHeld = () => [...Deno.readDirSync(rig.folder)].some(({ name }) => name === "open");
  const results = await underLoad({ ...smallLoad(device, SEED), ...QUICK }, async () => {
    await rig.when("held open", isHeld);
    const refused = await rig.umpath("detach", device);
    assertEquals(refused.code, 7, refused.stderr);
    assertMatch(refused.stderr, /is open in (fio|sleep)/);
    holder.kill("SIGKILL");
    await holder.status;
    assertEquals((await rig.umpath("detach", device, "--force")).code, 0);
  }, { untilError: true });
  assertMatch(loadErrors(results).join(), /exit code 1/);
  await rig.assertNothingLeft();
});

toolTest(
  "a daemon that is killed under load leaves nothing to detach, which says so; nothing hangs",
  ["fio"],
  async () => {
    await using rig = await LoopRig.start(["--ram", "32M"]);
    for (const words of [["--all"], [NAME], ["device"]]) {
      const device = await rig.device();
      const took = new Stopwatch();
      const results = await underLoad(
        { ...smallLoad(device, SEED), ...QUICK },
        () => Promise.resolve(rig.killDaemon()),
        { untilError: true },
      );
      assertMatch(loadErrors(results).join(), /Input\/output error|exit code 1/);
      took.assertWithin(10_000);
      assertMatch(await readError(rig, device) ?? "no error", /Input\/output error/);
      const { code, stderr } = await rig.umpath("detach", ...words.map((word) => word === "device" ? device : word));
      assertEquals(code, 0, stderr);
      assertEquals(
        stderr,
        `umpath: warning: ${device} was left by a daemon that died, and is removed\n${NAME}: detached\n`,
      );
      await rig.assertNothingLeft();
    }
    assertEquals((await rig.umpath("detach", "--all")).stderr, "Nothing is attached\n");
  },
);

loopTest("list and show tell of the device that a killed daemon has left, and set says why it cannot", async () => {
  await using rig = await LoopRig.start(["--ram", "16M"]);
  const device = await rig.device();
  rig.killDaemon();
  const list = await rig.umpath("list");
  assertMatch(list.stdout, new RegExp(`^${NAME} +${device} .* dead `));
  assertEquals(
    list.stderr,
    `${device} (was ${NAME}) was left by a daemon that died; run umpath detach ${NAME} or attach again\n`,
  );
  const { left } = JSON.parse((await rig.umpath("list", "--json")).stdout);
  assertEquals(left.map(({ name, device }: { name: string; device: string }) => [name, device]), [[NAME, device]]);
  for (const word of [NAME, device]) {
    const show = await rig.umpath("show", word);
    assertEquals([show.code, show.stdout.split("\n")[0]], [0, `${NAME}: dead, its daemon died`], show.stderr);
    const set = await rig.umpath("set", word, "policy=round-robin");
    assertEquals(set.code, 3);
    assertStringIncludes(set.stderr, `${NAME} is not attached any more: its daemon died, and ${device} is left`);
  }
  const offered = await rig.umpath("complete", "--", "umpath detach ");
  assertEquals(offered.stdout, `${NAME}\t${device}, its daemon died\n`, offered.stderr);
  assertEquals((await rig.umpath("detach", NAME)).code, 0);
  await rig.assertNothingLeft();
});

loopTest("a volume is named by links to its device, a mount point, its NQN or the beginning of its name", async () => {
  await using rig = await LoopRig.start(["--ram", "16M"]);
  const device = await rig.device();
  await rig.ok("mkfs.ext4", "-q", device);
  const folder = Deno.makeTempDirSync({ prefix: "umpath-names-" });
  try {
    Deno.mkdirSync(`${folder}/mnt`);
    Deno.symlinkSync(device, `${folder}/by-id`);
    await rig.ok("mount", device, `${folder}/mnt`);
    try {
      const words = [device, device.slice("/dev/".length), `${folder}/by-id`, `${folder}/mnt`, NAME.slice(0, 4)];
      for (const word of words) {
        const { code, stdout, stderr } = await rig.umpath("show", word, "--json");
        assertEquals([code, JSON.parse(stdout || "{}").volumes?.[0]?.name], [0, NAME], `${word}: ${stderr}`);
        const set = await rig.umpath("set", word, "io-timeout=20s");
        assertEquals(set.code, 0, `${word}: ${set.stderr}`);
      }
      assertEquals((await rig.umpath("detach", `${folder}/mnt`)).code, 7);
    } finally {
      await rig.ok("umount", `${folder}/mnt`);
    }
  } finally {
    Deno.removeSync(folder, { recursive: true });
  }
  assertEquals((await rig.umpath("detach", NAME.slice(0, 4))).code, 0);
  await rig.assertNothingLeft();
});

loopTest("the next attach removes what a killed daemon has left, and says so once", async () => {
  await using rig = await LoopRig.start(["--ram", "16M"]);
  const device = await rig.device();
  await rig.ok("dd", "if=/dev/zero", `of=${device}`, "bs=1M", "count=4"); // what is cached may be lost, but must not hang
  rig.killDaemon();
  const { code, stdout, stderr } = await rig.attach();
  assertEquals([code, stderr], [0, `umpath: warning: ${device} was left by a daemon that died, and is removed\n`]);
  assertEquals(await readError(rig, stdout.trim()), null);
  assertEquals(await rig.device(), stdout.trim());
  assertEquals((await rig.umpath("detach", "--all")).stderr, `${NAME}: detached\n`);
  await rig.assertNothingLeft();
});

loopTest(
  "what a killed daemon has left goes although somebody has it open, and a stranger's name takes nothing",
  async () => {
    await using rig = await LoopRig.start(["--ram", "16M"]);
    const device = await rig.device();
    const user = rig.start("sh", "-c", `exec 3<${device}; echo >${rig.folder}/opened; exec cat`);
    while (!exists(`${rig.folder}/opened`)) await delay(20);
    rig.killDaemon();
    const stranger = await rig.umpath("detach", "other-n1");
    assertEquals([stranger.code, rig.files()], [3, [NAME]], stranger.stderr);
    const refused = await rig.umpath("detach", "--all");
    assertEquals(refused.code, 7, refused.stderr);
    const { code, stderr } = await rig.umpath("detach", "--all", "--force");
    assertEquals(code, 0, stderr);
    assertStringIncludes(stderr, `${device} (was ${NAME}) is still open in cat`);
    assertEquals([rig.left().filter((words) => !/\(cat\)/.test(words)), rig.files()], [[], []]);
    assertMatch(await readError(rig, device) ?? "no error", /Input\/output error/);
    user.kill("SIGKILL");
    await user.status;
    for (let i = 0; i < 100 && exists(`/sys/block/${device.slice(5)}/loop/backing_file`); i++) await delay(20);
    assertEquals(exists(`/sys/block/${device.slice(5)}/loop/backing_file`), false, "the number is not free");
  },
);

function exists(path: string): boolean {
  try {
    Deno.lstatSync(path);
    return true;
  } catch {
    return false;
  }
}

loopTest("a daemon that is ended takes its devices along", async () => {
  await using rig = await LoopRig.start(["--ram", "16M"]);
  await rig.device();
  Deno.kill(rig.cli.daemonPid()!, "SIGTERM");
  await rig.assertNothingLeft();
});

loopTest("a detach succeeds after the storage system has gone, and I/O that waits for it fails", async () => {
  await using rig = await LoopRig.start(["--ram", "16M"]);
  const device = await rig.device();
  await rig.endTarget();
  await rig.when("without a path", ({ state }) => state === "no-path");
  const waits = readError(rig, device);
  await delay(300);
  assertEquals((await rig.umpath("detach", device, "--force")).code, 0);
  assertMatch(await waits ?? "no error", /Input\/output error/);
  await rig.assertNothingLeft();
});

loopTest("a detach copes with what somebody has taken away by hand", async () => {
  await using rig = await LoopRig.start(["--ram", "16M"]);
  const file = `${rig.cli.runDir}/loop/${NAME}`;
  const byHand: ((device: string) => Promise<unknown>)[] = [
    (device) => rig.ok("losetup", "-d", device),
    () => rig.ok("umount", "-l", file),
    () => rig.ok("umount", "-f", "-l", file),
    (device) => rig.ok("losetup", "-d", device).then(() => rig.ok("umount", file)),
    () => rig.ok("umount", "-l", file).then(() => Deno.removeSync(file)),
  ];
  for (const [i, take] of byHand.entries()) {
    const device = await rig.device();
    await take(device);
    const { code, stderr } = await rig.umpath("detach", NAME);
    assertEquals([i, code], [i, 0], `${stderr}${rig.log()}`);
    await rig.assertNothingLeft();
  }
});

loopTest("an attach that cannot have a loop device leaves nothing, and says what this host lacks", async () => {
  await using rig = await LoopRig.start(["--ram", "16M"]);
  const hidden = ["-m", "sh", "-c"];
  for (const node of ["/dev/fuse", "/dev/loop-control"]) {
    const words = rig.target.portals.map((portal) => `-p ${portal.words}`).join(" ");
    const attach = `mount --bind /dev/null ${node} && exec "$0" attach ${rig.target.nqn} ${words} --device loop`;
    const { code, stdout, stderr } = await rig.run("unshare", ...hidden, attach, UMPATH);
    assertEquals([code, stdout], [6, ""], `${node}: ${stderr}`);
    await rig.assertNothingLeft();
  }
});

loopTest("twenty attachments in a row leave no mount, loop device, descriptor or process", async () => {
  await using rig = await LoopRig.start(["--ram", "16M"]);
  const daemon = await rig.daemon();
  const once = async () => {
    const device = await rig.device();
    assertEquals((await rig.umpath("detach", device)).code, 0);
    assertEquals(rig.files(), []);
  };
  const descriptors = () => [...Deno.readDirSync(`/proc/${daemon.pid}/fd`)].length;
  await once();
  const before = descriptors();
  for (let i = 0; i < 19; i++) await once();
  for (let i = 0; i < 1000 && descriptors() > before; i++) await delay(20);
  assert(descriptors() <= before, `${descriptors()} descriptors are open, ${before} before`);
  daemon.kill("SIGTERM");
  assertEquals((await daemon.status).code, 0);
  await rig.assertNothingLeft();
});
