import { assertEquals } from "@std/assert";
import { type LoopTraces, staleFiles } from "../../../../src/host/device/left_loop.ts";

const FOLDER = "/run/umpath/loop";

/** Lines as a kernel wrote them; the optional fields are any number. */
function mountinfo(...mounts: [point: string, type: string][]): string {
  const rest = "rw,nosuid,nodev,noexec,relatime";
  const lines = mounts.map(([point, type], i) => `4${i} 27 0:3${i} / ${point} ${rest} - ${type} umpath rw,user_id=0`);
  return ["27 1 254:0 / / rw,relatime shared:1 master:2 - ext4 /dev/vda rw", ...lines, ""].join("\n");
}

function traces(changes: Partial<LoopTraces> = {}): LoopTraces {
  return { files: [], mountinfo: mountinfo(), backingFiles: new Map(), ...changes };
}

Deno.test("staleFiles() finds file, mount and device of a volume", () => {
  const found = staleFiles(
    FOLDER,
    traces({
      files: ["vol1-n1"],
      mountinfo: mountinfo([`${FOLDER}/vol1-n1`, "fuse.umpath"]),
      backingFiles: new Map([["/dev/loop4", `${FOLDER}/vol1-n1`], ["/dev/loop0", "/srv/disk.img"]]),
    }),
  );
  assertEquals(found, [{ path: `${FOLDER}/vol1-n1`, isMounted: true, devices: ["/dev/loop4"] }]);
});

Deno.test("staleFiles() finds each of them without the others", () => {
  const device = traces({ backingFiles: new Map([["/dev/loop1", `${FOLDER}/a`], ["/dev/loop0", `${FOLDER}/a`]]) });
  assertEquals(staleFiles(FOLDER, device), [
    { path: `${FOLDER}/a`, isMounted: false, devices: ["/dev/loop0", "/dev/loop1"] },
  ]);
  const mount = traces({ mountinfo: mountinfo([`${FOLDER}/b`, "fuse.umpath"]) });
  assertEquals(staleFiles(FOLDER, mount), [{ path: `${FOLDER}/b`, isMounted: true, devices: [] }]);
  assertEquals(staleFiles(FOLDER, traces({ files: ["c"] })), [
    { path: `${FOLDER}/c`, isMounted: false, devices: [] },
  ]);
});

Deno.test("staleFiles() leaves alone what is not of this run folder, or not of our making", () => {
  const mounts = mountinfo(
    ["/run/other/loop/vol1-n1", "fuse.umpath"],
    [`${FOLDER}/deep/vol1-n1`, "fuse.umpath"],
    [`${FOLDER}2/vol1-n1`, "fuse.umpath"],
    [FOLDER, "fuse.umpath"],
    [`${FOLDER}/theirs`, "fuse.sshfs"],
    [`${FOLDER}/bound`, "ext4"],
  );
  const backingFiles = new Map([["/dev/loop0", "/run/other/loop/vol1-n1"], ["/dev/loop1", "/"]]);
  assertEquals(staleFiles(FOLDER, traces({ mountinfo: mounts, backingFiles })), []);
});

Deno.test("staleFiles() reads paths with blanks as the kernel writes them in each place", () => {
  const folder = "/tmp/my run/loop";
  const found = staleFiles(
    folder,
    traces({
      mountinfo: mountinfo(["/tmp/my\\040run/loop/vol1-n1", "fuse.umpath"]),
      backingFiles: new Map([["/dev/loop0", "/tmp/my run/loop/vol1-n1"]]),
    }),
  );
  assertEquals(found, [{ path: "/tmp/my run/loop/vol1-n1", isMounted: true, devices: ["/dev/loop0"] }]);
});

Deno.test("staleFiles() passes over lines of the mount table that are cut", () => {
  for (const line of ["fuse.umpath", "1 2 3 4", "40 27 0:30 / /run/umpath/loop/a rw", "40 27 0:30 / - fuse.umpath"]) {
    assertEquals(staleFiles(FOLDER, traces({ mountinfo: line })), []);
  }
});
