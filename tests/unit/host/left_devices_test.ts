import { assertEquals, assertStringIncludes } from "@std/assert";
import { UmpathError } from "../../../src/base/errors.ts";
import { forgetDevice, leftUblkDevices } from "../../../src/host/device_record.ts";
import { type LeftDevice, leftDevices, matchesLeft, removeLeft } from "../../../src/host/left_devices.ts";
import { ensureRunDir, type RunDir, runDirAt, RunDirLock } from "../../../src/host/run_dir.ts";

/** A run folder for one test. */
async function withRunDir(test: (dir: RunDir) => Promise<void> | void): Promise<void> {
  const folder = Deno.makeTempDirSync({ prefix: "umpath-left-" });
  try {
    await test(ensureRunDir(runDirAt(`${folder}/run`)));
  } finally {
    Deno.removeSync(folder, { recursive: true });
  }
}

function left(name: string, device: string | null, remove: LeftDevice["remove"]): LeftDevice {
  return { name, device, remove };
}

Deno.test("removeLeft() removes all it can, and says what and whose", () =>
  withRunDir(async (dir) => {
    using lock = RunDirLock.take(dir);
    const fails = () =>
      Promise.reject(new UmpathError("timed-out", "Cannot unbind /dev/loop1: stuck", { hint: "Wait" }));
    const { removed, words, failures } = await removeLeft([
      left("a-n1", "/dev/loop0", () => Promise.resolve([])),
      left("b-n1", "/dev/loop1", fails),
      left("", "/dev/ublkb0", () => Promise.resolve([])),
      left("c-n1", null, () => Promise.resolve([])),
      left("d-n1", "/dev/ublkb1", () => Promise.resolve(null)),
      left("e-n1", "/dev/loop4", () => Promise.resolve(["/dev/loop4 is still open"])),
    ], lock);
    assertEquals(removed, ["a-n1", "/dev/ublkb0", "c-n1", "e-n1"]);
    assertEquals(words, [
      "/dev/loop0 was left by a daemon that died, and is removed",
      "/dev/ublkb0 was left by a daemon that died, and is removed",
      "A mount of c-n1 was left by a daemon that died, and is removed",
      "/dev/loop4 was left by a daemon that died",
      "/dev/loop4 is still open",
    ]);
    assertEquals(failures.map(({ code, hint }) => [code, hint]), [["timed-out", "Wait"]]);
    assertStringIncludes(
      failures[0].message,
      "Cannot remove /dev/loop1, which a daemon that died has left: cannot unbind",
    );
  }));

Deno.test("matchesLeft() knows name and device of what is left", () => {
  const loop = left("a-n1", "/dev/loop0", () => Promise.resolve([]));
  assertEquals(["a-n1", "/dev/loop0", "loop0"].map((word) => matchesLeft(loop, word)), [true, true, true]);
  assertEquals(["", "a-n2", "loop", "/dev/loop01"].map((word) => matchesLeft(loop, word)), [
    false,
    false,
    false,
    false,
  ]);
  assertEquals(matchesLeft(left("", null, loop.remove), ""), false);
});

Deno.test("leftUblkDevices() reads the records of a run folder, old ones too, and nothing else", () =>
  withRunDir((dir) => {
    Deno.writeTextFileSync(`${dir.path}/ublk-0`, "4242\nvol1-n1\n");
    Deno.writeTextFileSync(`${dir.path}/ublk-12`, "4243\n");
    for (const other of ["ublk-", "ublk-x", "ublk-1.bak", "ublk-007", "ublk-9999999999", "daemon.log"]) {
      Deno.writeTextFileSync(`${dir.path}/${other}`, "1\n");
    }
    const found = leftUblkDevices(dir).map(({ name, device }) => [device, name]).sort();
    assertEquals(found, [["/dev/ublkb0", "vol1-n1"], ["/dev/ublkb12", ""]]);
    forgetDevice(12, dir);
    assertEquals(leftUblkDevices(dir).length, 1);
  }));

Deno.test("leftDevices() finds the file of a loop device, also behind a symbolic link, and removes it without a word", () =>
  withRunDir(async (dir) => {
    Deno.mkdirSync(`${dir.path}/loop/folder`, { recursive: true });
    Deno.writeTextFileSync(`${dir.path}/loop/vol1-n1`, "");
    Deno.symlinkSync(dir.path, `${dir.path}-link`);
    const linked = { ...dir, path: `${dir.path}-link` };
    using lock = RunDirLock.take(dir);
    const found = leftDevices(linked);
    assertEquals(found.map(({ name, device }) => [name, device]), [["vol1-n1", null]]);
    assertEquals(await removeLeft(found, lock), { removed: [], words: [], failures: [] });
    assertEquals(leftDevices(linked), []);
    assertEquals([...Deno.readDirSync(`${dir.path}/loop`)].map(({ name }) => name), ["folder"]);
  }));

Deno.test("leftDevices() of a folder without any is empty", () =>
  withRunDir((dir) => assertEquals(leftDevices(dir), [])));
