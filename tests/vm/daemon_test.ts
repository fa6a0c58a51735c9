/** The end of the daemon: in order, and by force, each under load. */
import { assert, assertEquals } from "@std/assert";
import { eventually, run, umpath, umpathBinary } from "./harness.ts";
import { AttachedVolume, makeTarget, NQN } from "./attached.ts";
import { daemonPid, processEnd, volumes } from "./daemon_process.ts";
import { deviceRecords, ublkNodes, umpathProcesses } from "./leftovers.ts";
import { loadErrors, newSeed, smallLoad, underLoad } from "./load.ts";
import { fio } from "./fio.ts";
import { UBLK_IO_ERRORS, vmTest } from "./vm_case.ts";

const START_MS = 60_000;
/** How long I/O waits for a path unless attach is told otherwise. */
const NO_PATH_MS_DEFAULT = 60_000;

vmTest("SIGTERM ends a daemon under load in order", { daemon: "own", allow: UBLK_IO_ERRORS }, async () => {
  await using _target = await makeTarget();
  const child = new Deno.Command(umpathBinary(), { args: ["daemon"], stdin: "null", stdout: "null", stderr: "piped" })
    .spawn();
  const words = new Response(child.stderr).text();
  await eventually(daemonPid, START_MS);
  const volume = await AttachedVolume.attach();
  const results = await underLoad(smallLoad(volume.device, newSeed()), async () => {
    child.kill("SIGTERM");
    const status = await child.status;
    assertEquals([status.code, status.signal], [0, null], await words);
    assertEquals([ublkNodes(), deviceRecords(), umpathProcesses()], [[], [], []]);
  }, { untilError: true });
  assert(loadErrors(results).length > 0, "fio saw nothing of the end of its device");
});

vmTest("SIGTERM while I/O waits for a path cuts the wait", { daemon: "own", allow: UBLK_IO_ERRORS }, async () => {
  await using target = await makeTarget();
  const attach = await umpath("attach", NQN, "-p", "127.0.0.1", "-p", "127.0.0.2");
  assertEquals(attach.code, 0, attach.stderr);
  const pid = (await daemonPid())!;
  const results = await underLoad(smallLoad(attach.stdout.trim(), newSeed()), async () => {
    await target.removePort(0);
    await target.removePort(1);
    await eventually(async () => (await volumes())[0]!.waiting > 0, 20_000);
    Deno.kill(pid, "SIGTERM");
    await processEnd(pid, NO_PATH_MS_DEFAULT / 2);
  }, { untilError: true });
  assertEquals(results.at(-1)!.jobs[0]!.error, 5, "fio did not see EIO");
});

vmTest("a daemon that attach started leaves with SIGTERM too", { daemon: "own" }, async () => {
  await using _target = await makeTarget();
  const attach = await umpath("attach", NQN, "-p", "127.0.0.1");
  assertEquals(attach.code, 0, attach.stderr);
  const pid = (await daemonPid())!;
  Deno.kill(pid, "SIGTERM");
  await processEnd(pid);
  assertEquals(await volumes(), []);
});

vmTest("a daemon killed under load leaves errors and no hang, and the next attach cleans up", {
  daemon: "own",
  allow: UBLK_IO_ERRORS,
}, async () => {
  const seed = newSeed();
  await using _target = await makeTarget();
  const first = await umpath("attach", NQN, "-p", "127.0.0.1", "-p", "127.0.0.2");
  assertEquals(first.code, 0, first.stderr);
  const device = first.stdout.trim();
  const results = await underLoad(smallLoad(device, seed), async () => {
    const pid = (await daemonPid())!;
    Deno.kill(pid, "SIGKILL");
    await processEnd(pid);
  }, { untilError: true });
  assert(loadErrors(results).length > 0, "fio saw nothing of the end of its device");
  assertEquals(await volumes(), []);

  const second = await umpath("attach", NQN, "-p", "127.0.0.1", "-p", "127.0.0.2");
  try {
    const left = `umpath: warning: ${device} was left by a daemon that died, and is removed\n`;
    assertEquals([second.code, second.stderr], [0, left]);
    assertEquals(ublkNodes().filter((name) => name.startsWith("ublkb")).length, 1, "the old device is still there");
    assertEquals(loadErrors([await fio({ ...smallLoad(second.stdout.trim(), seed), size: "4m" })]), []);
  } finally {
    assertEquals((await umpath("detach", "--all")).code, 0);
  }
});

vmTest("a foreign ublk device of the same number is not taken for a stale one", { daemon: "own" }, async () => {
  await using _target = await makeTarget();
  // A record of a daemon that died, whose device's number another program has meanwhile: here, another umpath.
  const other = "/run/umpath-other";
  const elsewhere = { env: { UMPATH_RUN_DIR: other } };
  const attach = await run(umpathBinary(), ["attach", NQN, "-p", "127.0.0.1"], elsewhere);
  try {
    assertEquals(attach.code, 0, attach.stderr);
    const number = attach.stdout.trim().replace("/dev/ublkb", "");
    await Deno.mkdir("/run/umpath", { recursive: true, mode: 0o700 });
    await Deno.writeTextFile(`/run/umpath/ublk-${number}`, "999999\n");
    const second = await umpath("attach", NQN, "-p", "127.0.0.2");
    assertEquals(second.code, 0, second.stderr);
    assert(second.stdout !== attach.stdout, "two daemons have the same device");
    assertEquals((await umpath("detach", "--all")).code, 0);
    await run("dd", [`if=${attach.stdout.trim()}`, "of=/dev/null", "bs=4k", "count=1", "iflag=direct"], {
      check: true,
    });
  } finally {
    await run(umpathBinary(), ["detach", "--all"], elsewhere);
  }
});
