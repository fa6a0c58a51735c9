import { assertEquals, assertStringIncludes, assertThrows } from "@std/assert";
import { UmpathError } from "../../../../src/base/errors.ts";
import {
  type DeviceNote,
  forgetDevice,
  noteDetached,
  ownNote,
  readNotes,
  writeNote,
} from "../../../../src/host/device/device_record.ts";
import {
  type LeftDevice,
  leftDevices,
  listLeft,
  matchesLeft,
  removeLeft,
} from "../../../../src/host/device/left_devices.ts";
import { ownIdentity, processRuns } from "../../../../src/io/process_identity.ts";
import { ensureRunDir, type RunDir, runDirAt, RunDirLock } from "../../../../src/rpc/run_dir.ts";

/** A run folder for one test. */
async function withRunDir(test: (dir: RunDir) => Promise<void> | void): Promise<void> {
  const folder = Deno.makeTempDirSync({ prefix: "umpath-left-" });
  try {
    await test(ensureRunDir(runDirAt(`${folder}/run`)));
  } finally {
    Deno.removeSync(folder, { recursive: true });
  }
}

function left(name: string, device: string | null, changes: Partial<LeftDevice> = {}): LeftDevice {
  return { name, device, driver: "loop", isDetached: false, remove: () => Promise.resolve("removed"), ...changes };
}

Deno.test("removeLeft() removes all it can, and says what and whose", () =>
  withRunDir(async (dir) => {
    using lock = RunDirLock.take(dir);
    const fails = () =>
      Promise.reject(new UmpathError("timed-out", "Cannot unbind /dev/loop91: stuck", { hint: "Wait" }));
    const { removed, words, failures } = await removeLeft([
      left("a-n1", "/dev/loop90"),
      left("b-n1", "/dev/loop91", { remove: fails }),
      left("", "/dev/ublkb90"),
      left("c-n1", null),
      left("d-n1", "/dev/ublkb91", { remove: () => Promise.resolve("absent") }),
      left("e-n1", "/dev/loop94", { remove: () => Promise.resolve("in-use") }),
      left("f-n1", "/dev/loop95", { remove: () => Promise.resolve("in-use"), isDetached: true }),
    ], { lock, force: true });
    assertEquals(removed, ["a-n1", "/dev/ublkb90", "c-n1", "e-n1"]);
    assertEquals(words, [
      "/dev/loop90 was left by a daemon that died, and is removed",
      "/dev/ublkb90 was left by a daemon that died, and is removed",
      "A mount of c-n1 was left by a daemon that died, and is removed",
      "/dev/loop94 (was e-n1) was left by a daemon that died: all I/O on it fails, and it is removed when it is closed",
      "/dev/loop95 (was f-n1) is still open: all I/O on it fails, and it is removed when it is closed",
    ]);
    assertEquals(failures.map(({ code, hint }) => [code, hint]), [["timed-out", "Wait"]]);
    assertStringIncludes(
      failures[0]!.message,
      "Cannot remove /dev/loop91, which a daemon that died has left: cannot unbind",
    );
  }));

Deno.test("removeLeft() leaves what is in use, unless it is forced, and says who uses it", () =>
  withRunDir(async (dir) => {
    using lock = RunDirLock.take(dir);
    const device = `${dir.path}/device`;
    Deno.writeTextFileSync(device, "");
    const opener = new Deno.Command("sh", {
      args: ["-c", 'exec 7<"$1"; echo; exec sleep 60', "sh", device],
      stdout: "piped",
    }).spawn();
    try {
      await opener.stdout.getReader().read();
      const inUse = left("a-n1", device, { remove: () => Promise.resolve("in-use") });
      const refused = await removeLeft([inUse], { lock, force: false });
      assertEquals([refused.removed, refused.words, refused.failures.map(({ code }) => code)], [[], [], ["in-use"]]);
      const use = `${device} (was a-n1) is still open in sleep (process ${opener.pid})`;
      assertEquals(refused.failures[0]!.message, `Cannot detach a-n1: ${use}`);
      const forced = await removeLeft([inUse], { lock, force: true });
      assertEquals([forced.removed, forced.failures], [["a-n1"], []]);
      assertEquals(forced.words, [`${use}: all I/O on it fails, and it is removed when it is closed`]);
    } finally {
      opener.kill("SIGKILL");
      await opener.status;
    }
  }));

Deno.test("matchesLeft() knows name and device of what is left", () => {
  const loop = left("a-n1", "/dev/loop0");
  assertEquals(["a-n1", "/dev/loop0", "loop0"].map((word) => matchesLeft(loop, word)), [true, true, true]);
  assertEquals(["", "a-n2", "loop", "/dev/loop01"].map((word) => matchesLeft(loop, word)), [
    false,
    false,
    false,
    false,
  ]);
  assertEquals(matchesLeft(left("", null), ""), false);
});

Deno.test("readNotes() reads the notes of a run folder, old ones too, and nothing else", () =>
  withRunDir(async (dir) => {
    Deno.writeTextFileSync(`${dir.path}/ublk-0`, "4242\nvol1-n1\n");
    Deno.writeTextFileSync(`${dir.path}/ublk-12`, "4243\n");
    for (const other of ["ublk-", "ublk-x", "ublk-1.bak", "ublk-007", "ublk-9999999999", "daemon.log", "loop"]) {
      Deno.writeTextFileSync(`${dir.path}/${other}`, "1\n");
    }
    const note = ownNote({ driver: "loop", number: 7, volume: "vol2-n1", isAdded: true });
    writeNote(note, dir);
    writeNote({ ...note, sequence: "44", isDetached: true }, dir);
    const old = { driver: "ublk", sequence: null, boot: null, isAdded: false, isDetached: false };
    assertEquals(await readNotes(dir), [
      { ...note, sequence: "44", isDetached: true },
      { ...old, number: 0, volume: "vol1-n1", owner: { pid: 4242, start: null } },
      { ...old, number: 12, volume: "", owner: { pid: 4243, start: null } },
    ] as DeviceNote[]);
    forgetDevice({ driver: "ublk", number: 12 }, dir);
    assertEquals((await readNotes(dir)).length, 2);
  }));

Deno.test("writeNote() says in words that the run folder takes no note", () =>
  withRunDir((dir) => {
    const note = ownNote({ driver: "ublk", number: 7, volume: "vol2-n1", isAdded: false });
    const gone = { ...dir, path: `${dir.path}/gone` };
    const error = assertThrows(() => writeNote(note, gone), UmpathError, "Cannot note /dev/ublkb7 in run folder");
    assertEquals([error.code, error.message.includes("os error")], ["host-lacks", false]);
    // What is taken away is taken away without a note as well.
    noteDetached(note, gone);
  }));

Deno.test("processRuns() tells a process from one that was given its number later", async () => {
  const own = ownIdentity();
  assertEquals(await processRuns(own), true);
  assertEquals(await processRuns({ ...own, start: null }), true);
  assertEquals(await processRuns({ ...own, start: `${Number(own.start) - 1}` }), false);
  assertEquals(await processRuns({ pid: 0x3fffffff, start: null }), false);
});

Deno.test("leftDevices() finds the file of a loop device, also behind a symbolic link, and removes it without a word", () =>
  withRunDir(async (dir) => {
    Deno.mkdirSync(`${dir.path}/loop/folder`, { recursive: true });
    Deno.writeTextFileSync(`${dir.path}/loop/vol1-n1`, "");
    Deno.symlinkSync(dir.path, `${dir.path}-link`);
    const linked = { ...dir, path: `${dir.path}-link` };
    using lock = RunDirLock.take(dir);
    const found = await leftDevices(linked);
    assertEquals(found.map(({ name, device }) => [name, device]), [["vol1-n1", null]]);
    assertEquals(await removeLeft(found, { lock, force: true }), { removed: [], words: [], failures: [] });
    assertEquals(await leftDevices(linked), []);
    assertEquals([...Deno.readDirSync(`${dir.path}/loop`)].map(({ name }) => name), ["folder"]);
  }));

Deno.test("leftDevices() of a folder without any is empty", () =>
  withRunDir(async (dir) => {
    assertEquals(await leftDevices(dir), []);
    assertEquals(await listLeft(dir, { besideDaemon: true }), []);
  }));
