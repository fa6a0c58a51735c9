import { assertEquals, assertMatch, assertRejects, assertThrows } from "@std/assert";
import { ENOSPC } from "../../../src/base/errno.ts";
import { UmpathError } from "../../../src/base/errors.ts";
import type { NamespaceBacking, NamespaceSpec } from "../../../src/rpc/target_api.ts";
import { Namespace, openNamespaces, spaceWarning, tailWarning } from "../../../src/serve/namespaces.ts";
import { TargetTable } from "../../../src/nvme_target/target_table.ts";
import { LogLines } from "./log_lines.ts";
import { TempFolder } from "./temp_folder.ts";

const MIB = 1 << 20;
const UUID = "5a3c1c1e-0a0b-4c0d-8e0f-000000000001";
const RAM: NamespaceBacking = { type: "ram", sizeBytes: MIB };

function specOf(more: Partial<NamespaceSpec> = {}): NamespaceSpec {
  return { nsid: 1, backing: RAM, blockSize: 4096, uuid: null, readOnly: false, ...more };
}

function fileSpec(path: string, more: Partial<NamespaceSpec> = {}): NamespaceSpec {
  return specOf({ backing: { type: "file", path, sizeBytes: null }, ...more });
}

/** The table as a subsystem fills it in. */
function tableOf({ description: { index, blocks, readOnly } }: Namespace): TargetTable {
  const table = new TargetTable();
  table.setBlocks(index, blocks);
  table.setReadOnly(index, readOnly);
  return table;
}

Deno.test("Namespace.open() describes what hosts are told, and what workers serve", async () => {
  using folder = new TempFolder();
  using ram = await Namespace.open(specOf({ nsid: 7, blockSize: 512, uuid: UUID, readOnly: true }), 2);
  const { index, nsid, blockSize, blocks, readOnly, volatileCache } = ram.description;
  assertEquals([index, nsid, blockSize, blocks, readOnly, volatileCache], [2, 7, 512, 2048, true, false]);
  const { sizeBytes, uuid, file, storage } = ram.info(tableOf(ram));
  assertEquals([sizeBytes, uuid, file, storage], [MIB, UUID, null, "memory"]);
  const { store } = ram.served;
  assertEquals(store.type === "ram" && store.bytes, 8 * MIB, "workers see all that it can grow to");
  const path = folder.sparse("disk.img", 2 * MIB + 512);
  using disk = await Namespace.open(fileSpec(path), 0);
  assertEquals([disk.description.blocks, disk.description.volatileCache], [512, true]);
  assertEquals([disk.info(tableOf(disk)).file, disk.info(tableOf(disk)).storage], [path, "file"]);
  assertEquals(disk.served.store.type, "file");
});

Deno.test("Namespace.open() closes what it has opened when its identity cannot be had", async () => {
  using folder = new TempFolder();
  const path = folder.sparse("disk.img", MIB);
  const descriptors = () => [...Deno.readDirSync("/proc/self/fd")].length;
  const before = descriptors();
  // Where the file has no attributes, the file beside it is read, which is a folder here and cannot be replaced.
  Deno.mkdirSync(`${path}.umpath`);
  using _namespace = await Namespace.open(fileSpec(path), 0);
  _namespace[Symbol.dispose]();
  await assertRejects(() => Namespace.open(fileSpec(folder.sparse("tiny", 1)), 0), UmpathError);
  assertEquals(descriptors(), before);
});

Deno.test("Namespace.resize() grows first and tells then, and tells before it cuts", async () => {
  using folder = new TempFolder();
  using disk = await Namespace.open(fileSpec(folder.sparse("disk.img", MIB)), 0);
  const path = disk.info(tableOf(disk)).file!;
  const told: [blocks: number, fileBytes: number][] = [];
  const tell = (blocks: number) => void told.push([blocks, Deno.statSync(path).size]);
  disk.resize({ sizeBytes: 2 * MIB, mayShrink: false, fromBytes: MIB }, tell);
  disk.resize({ sizeBytes: MIB, mayShrink: true, fromBytes: 2 * MIB }, tell);
  assertEquals(told, [[512, 2 * MIB], [256, 2 * MIB]]);
  assertEquals(Deno.statSync(path).size, MIB);
});

Deno.test("Namespace.resize() refuses what no namespace can have, and what would lose data unasked", async () => {
  using ram = await Namespace.open(specOf(), 0);
  const refusal = (sizeBytes: number, mayShrink = false) =>
    assertThrows(() => ram.resize({ sizeBytes, mayShrink, fromBytes: MIB }, () => told++), UmpathError);
  let told = 0;
  assertMatch(refusal(0).message, /^Cannot make namespace 1 0 B large: a namespace has at least one block, of 4 KiB$/);
  assertMatch(refusal(5000).message, /5000 bytes are no whole number of blocks of 4096$/);
  const cut = refusal(MIB / 2);
  assertEquals(cut.message, "Cannot shrink namespace 1 from 1 MiB to 512 KiB: its last 512 KiB would be lost");
  assertEquals([cut.code, cut.hint], ["usage", "Give --shrink to do it all the same"]);
  assertMatch(refusal(64 * MIB, true).message, /it is in memory$/);
  assertEquals(told, 0);
  ram.resize({ sizeBytes: MIB / 2, mayShrink: true, fromBytes: MIB }, () => told++);
  assertEquals(told, 1);
});

Deno.test("tailWarning() says what is left out of a file, and which block size would take more of it", () => {
  assertEquals(tailWarning({ path: "a", bytes: 8192 }, 4096), null);
  assertMatch(
    tailWarning({ path: "a", bytes: 8704 }, 4096)!,
    /^The last 512 bytes .*; --block-size 512 serves them too$/,
  );
  assertMatch(
    tailWarning({ path: "a", bytes: 5000 }, 4096)!,
    /^The last 904 bytes .*; --block-size 512 leaves out 392 only$/,
  );
  assertMatch(tailWarning({ path: "a", bytes: 5000 }, 512)!, /^The last 392 bytes .* block of 512$/);
});

Deno.test("spaceWarning() is given where the holes of a file are larger than the room there is", () => {
  assertEquals(spaceWarning({ path: "a", holeBytes: MIB, freeBytes: MIB }), null);
  const words = spaceWarning({ path: "a", holeBytes: 2 * MIB, freeBytes: MIB })!;
  assertMatch(words, /^Writes to "a" can fail for want of space: 2 MiB of it .* which has 1 MiB left$/);
});

Deno.test("Namespace.logOpened() says what is served, where, and what to know of it", async () => {
  using folder = new TempFolder();
  using log = new LogLines();
  using ram = await Namespace.open(specOf({ nsid: 2 }), 0);
  using disk = await Namespace.open(fileSpec(folder.sparse("disk.img", MIB + 512), { uuid: UUID }), 1);
  assertEquals(log.take(), [], "nothing is said before everything is served");
  ram.logOpened();
  disk.logOpened();
  const lines = log.take();
  assertMatch(lines[0]!, /^info serve: Serving namespace 2 of 1 MiB in blocks of 4096 bytes in memory/);
  assertMatch(lines[1]!, /^info serve: Serving namespace 1 of 1 MiB .* in ".*disk.img", (past|through) the page cache/);
  assertMatch(lines[2]!, /^warn serve: The last 512 bytes of ".*disk.img" are not served/);
});

Deno.test("Namespace tells of failures of a file, and has none to tell of memory", async () => {
  using folder = new TempFolder();
  using log = new LogLines();
  using ram = await Namespace.open(specOf(), 0);
  using disk = await Namespace.open(fileSpec(folder.sparse("disk.img", MIB)), 1);
  for (const namespace of [ram, disk]) {
    namespace.handleFailure({ errno: ENOSPC, isRead: false }, 0);
    namespace.checkSize(2 * MIB);
    await namespace.sync();
  }
  assertEquals(log.take().map((line) => line.replace(/".*"/, "FILE")), [
    "error serve: Namespace 1: cannot write FILE: no space left on device",
    "error serve: Namespace 1: FILE has only 1 MiB of its 2 MiB: another program has cut it. " +
    "What was cut off is lost, and reads of it fail",
  ]);
});

Deno.test("openNamespaces() opens all or none, and no storage twice", async () => {
  using folder = new TempFolder();
  const path = folder.sparse("disk.img", MIB);
  const missing = fileSpec(`${folder.path}/none`, { nsid: 2 });
  await assertRejects(() => openNamespaces([fileSpec(path), missing]), UmpathError, "there is no such file");
  const readers = [fileSpec(path, { readOnly: true }), fileSpec(path, { readOnly: true, nsid: 2 })];
  const twice = await assertRejects(() => openNamespaces(readers), UmpathError);
  assertMatch(twice.message, /^Cannot serve namespaces 1 and 2 together: they are one storage, or were given one UUID/);
  const opened = await openNamespaces([fileSpec(path), specOf({ nsid: 2 }), specOf({ nsid: 3 })]);
  assertEquals(opened.map(({ description: { index, nsid } }) => [index, nsid]), [[0, 1], [1, 2], [2, 3]]);
  for (const namespace of opened) namespace[Symbol.dispose]();
});
