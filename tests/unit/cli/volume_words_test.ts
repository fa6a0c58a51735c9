import { assertEquals } from "@std/assert";
import { mountsIn, volumeWord } from "../../../src/cli/volume_words.ts";

Deno.test("volumeWord() leaves names, identifiers and what is not there as they are", () => {
  for (const word of ["vol-n1", "ublkb0", "nqn.2026-11.io.test:a/b", "/dev/ublkb77", "/nonexistent/x", "./x", ""]) {
    assertEquals(volumeWord(word), word);
  }
});

Deno.test("volumeWord() follows a link to a device, from a partition to all of it, and from where it is mounted", () => {
  const folder = Deno.makeTempDirSync({ prefix: "umpath-words-" });
  try {
    const root = mountsIn(Deno.readTextFileSync("/proc/self/mountinfo")).findLast(({ at }) => at === "/")!;
    // A kernel of its own: the device of the root file system is the second partition of a loop device.
    Deno.mkdirSync(`${folder}/devices/loop7/loop7p2`, { recursive: true });
    Deno.writeTextFileSync(`${folder}/devices/loop7/loop7p2/partition`, "2\n");
    Deno.mkdirSync(`${folder}/dev`);
    Deno.symlinkSync("../devices/loop7/loop7p2", `${folder}/dev/${root.number}`);
    Deno.symlinkSync("/", `${folder}/link`);
    assertEquals(volumeWord("/", `${folder}/dev`), "/dev/loop7");
    assertEquals(volumeWord(`${folder}/link`, `${folder}/dev`), "/dev/loop7");
  } finally {
    Deno.removeSync(folder, { recursive: true });
  }
});

Deno.test("mountsIn() reads mount points with spaces, and optional fields", () => {
  const text = "36 35 98:0 / /mnt\\040two rw,noatime master:1 shared:2 - ext3 /dev/loop0 rw\n" +
    "37 35 0:44 / /b rw - btrfs /dev/loop1 rw\nbroken line\n";
  assertEquals(mountsIn(text), [
    { number: "98:0", at: "/mnt two", source: "/dev/loop0" },
    { number: "0:44", at: "/b", source: "/dev/loop1" },
  ]);
});
