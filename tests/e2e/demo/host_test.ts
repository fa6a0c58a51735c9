/** What the demo finds on a host: file systems, files, kernel devices, and what is left behind. */
import { assert, assertEquals, assertRejects, assertStringIncludes } from "@std/assert";
import { changedFiles, writeFiles } from "../../../src/demo/files.ts";
import { FileSystem, findFileSystem, hasProgram, programPath } from "../../../src/demo/file_system.ts";
import { isKnownToKernel, KernelDevice } from "../../../src/demo/kernel_device.ts";
import { leftovers, mountsIn, openConnections, processesOf } from "../../../src/demo/leftovers.ts";
import { heldWords, loadTable } from "../../../src/demo/loss.ts";
import { freePortals } from "../../../src/demo/served_storage.ts";
import { Stage } from "../../../src/demo/stage.ts";

async function withFolder(body: (folder: string) => void | Promise<void>): Promise<void> {
  const folder = Deno.makeTempDirSync({ prefix: "umpath-unit-" });
  try {
    await body(folder);
  } finally {
    Deno.removeSync(folder, { recursive: true });
  }
}

Deno.test("findFileSystem() takes ext4, else xfs, else none", () => {
  const found = (...programs: string[]) => findFileSystem((name) => programs.includes(name))?.name ?? null;
  assertEquals(found("mkfs.xfs", "mkfs.ext4"), "ext4");
  assertEquals(found("mkfs.xfs", "mkfs.btrfs"), "xfs");
  assertEquals(found("mkfs.btrfs"), null);
});

Deno.test("programPath() adds the folders of administrators' programs, hasProgram() looks into all", async () => {
  assertEquals(programPath("/bin:/sbin"), "/bin:/sbin:/usr/local/sbin:/usr/sbin");
  await withFolder((folder) => {
    Deno.writeTextFileSync(`${folder}/plain`, "");
    Deno.writeTextFileSync(`${folder}/tool`, "", { mode: 0o755 });
    const path = `/nowhere:${folder}`;
    assertEquals(["tool", "plain", "missing"].map((name) => hasProgram(name, path)), [true, false, false]);
  });
});

Deno.test("FileSystem.mount() tells what nobody may do here from what is broken", async () => {
  await withFolder(async (folder) => {
    Deno.mkdirSync(`${folder}/bin`);
    const kind = { name: "ext4", make: ["mkfs.ext4"], check: ["e2fsck"], bytesMin: 0 } as const;
    const stage = new Stage({ PATH: `${folder}/bin:/usr/bin:/bin` });
    const says = (words: string, code: number) => {
      Deno.writeTextFileSync(`${folder}/bin/mount`, `#!/bin/sh\necho '${words}' >&2\nexit ${code}\n`, { mode: 0o755 });
      return new FileSystem(stage, { kind, device: "/dev/loop77", folder });
    };
    assertEquals(await says("mount: only root can do that", 1).mount(), "mount: only root can do that");
    assertEquals(
      await says("mount: x: unknown filesystem type ext4.", 32).mount(),
      "mount: x: unknown filesystem type ext4.",
    );
    const broken = says("mount: wrong fs type, bad superblock", 32);
    const error = await assertRejects(() => broken.mount());
    assertStringIncludes((error as Error).message, "bad superblock");
    assertEquals(await stage.takeBack(), []);
  });
});

Deno.test("changedFiles() names the file of which one bit has changed", async () => {
  await withFolder(async (folder) => {
    const known = await writeFiles(folder, 3, 100_000);
    assertEquals(known.map(({ path }) => Deno.statSync(path).size), [100_000, 100_000, 100_000]);
    assertEquals(new Set(known.map(({ sha256 }) => sha256)).size, 3);
    assertEquals(await changedFiles(known), []);
    const bytes = Deno.readFileSync(known[1]!.path);
    bytes[99_999] ^= 0x80;
    Deno.writeFileSync(known[1]!.path, bytes);
    const changed = await changedFiles(known);
    assertEquals(changed.length, 1);
    assert(changed[0]!.startsWith(`${folder}/file-1 has sha256 `), changed[0]);
  });
});

Deno.test("KernelDevice of nothing is gone", () => {
  const device = new KernelDevice("/dev/ublkb4711");
  assertEquals([device.isBlockDevice, device.isGone], [false, true]);
  assertEquals(isKnownToKernel("nqn.2026-11.io.test:nobody"), false);
});

Deno.test("mountsIn() finds what is mounted on a folder or in it, and nothing else", () => {
  const mountinfo = `22 1 8:1 / / rw - ext4 /dev/sda1 rw
30 22 7:0 / /tmp/umpath-demo-a/mnt rw - ext4 /dev/loop0 rw
31 22 0:40 / /tmp/umpath-demo-a rw - tmpfs tmpfs rw
32 22 7:1 / /tmp/umpath-demo-ab/mnt rw - ext4 /dev/loop1 rw
`;
  assertEquals(mountsIn("/tmp/umpath-demo-a", mountinfo), ["/tmp/umpath-demo-a/mnt", "/tmp/umpath-demo-a"]);
});

Deno.test("openConnections() finds either end of a portal, and not what is nobody's any more", () => {
  const row = (local: string, remote: string, state: string, inode: number) =>
    `   0: ${local} ${remote} ${state} 00000000:00000000 00:00000000 00000000     0        0 ${inode} 1 0 100`;
  const table = [
    "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode",
    row("0200007F:5208", "00000000:0000", "0A", 100),
    row("0100007F:9999", "0200007F:5208", "01", 101),
    row("0100007F:9998", "0200007F:5208", "06", 0),
    row("0100007F:5208", "00000000:0000", "0A", 102),
    row("0200007F:5209", "00000000:0000", "0A", 103),
  ].join("\n");
  assertEquals(openConnections(table, { addr: "127.0.0.2", port: 21000 }), [
    "0200007F:5208 to 00000000:0000 in state 0A",
    "0100007F:9999 to 0200007F:5208 in state 01",
  ]);
});

Deno.test("leftovers() finds processes, sockets and listeners, and nothing once they are gone", async () => {
  await withFolder(async (folder) => {
    const [portal] = freePortals();
    const runDir = `${folder}/run`;
    Deno.mkdirSync(runDir);
    const find = () => leftovers({ folder, runDir, device: null, portals: [portal!] });
    assertEquals(find(), []);
    const stage = new Stage({ UMPATH_RUN_DIR: runDir });
    const child = stage.spawn(["sleep", "60"], { stdout: "null", stderr: "null" });
    const listener = Deno.listen({ hostname: portal!.addr, port: portal!.port });
    const socket = Deno.listen({ transport: "unix", path: `${runDir}/control.sock` });
    while (processesOf(runDir).length === 0) await new Promise((resolve) => setTimeout(resolve, 5));
    const left = find().join("\n");
    for (const words of [`process ${child.pid} (sleep) runs`, "in state 0A is open", `socket ${runDir}/control.sock`]) {
      assertStringIncludes(left, words);
    }
    child.kill("SIGKILL");
    await child.status;
    listener.close();
    socket.close();
    assertEquals(find(), []);
  });
});

Deno.test("loadTable() and heldWords() tell what the load felt", () => {
  const counts = { reads: 1200, writes: 7, bytes: 0, longestReadMs: 3.21, longestWriteMs: 5012, longestPauseMs: 0 };
  assertEquals(loadTable({ counts: () => counts }), [
    "of the application  reads  longest  writes  longest",
    "both paths           1200   3.2 ms       7    5.0 s",
    "one path away        1200   3.2 ms       7    5.0 s",
    "both again           1200   3.2 ms       7    5.0 s",
  ]);
  assertEquals(heldWords({ held: 0, moved: 3 }, 5000), null);
  assertEquals(heldWords({ held: 2, moved: 3 }, null), null);
  assertStringIncludes(heldWords({ held: 1, moved: 3 }, 5000)!, "3 requests in flight on the lost path moved");
});
