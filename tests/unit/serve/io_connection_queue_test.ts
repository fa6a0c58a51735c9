import { assertEquals, assertMatch } from "@std/assert";
import { native } from "../../../ffi/library.ts";
import { check, cString } from "../../../ffi/result.ts";
import { ENOSPC } from "../../../src/base/errno.ts";
import { NamespaceFile } from "../../../src/serve/namespace_file.ts";
import { RamStore } from "../../../src/serve/ram_store.ts";
import type { ServedNamespace } from "../../../src/serve/worker_messages.ts";
import { AnaStateCode } from "../../../src/protocol/nvme_log.ts";
import { IoCounter } from "../../../src/nvme_target/io_counters.ts";
import { DNR } from "../nvme_target/admin_fixture.ts";
import { PlaneRig } from "./plane_rig.ts";
import { TempFolder } from "./temp_folder.ts";

const BLOCK = 4096;
const BLOCKS = 1024;

function pattern(bytes: number, seed = 1): Uint8Array {
  return Uint8Array.from({ length: bytes }, (_, i) => (i * 7 + seed) & 0xff);
}

/** A worker that serves a file as namespace 1 and memory as namespace 2. */
class Rig extends PlaneRig {
  readonly #folder: TempFolder;
  readonly #file: NamespaceFile;
  readonly #ram: RamStore;

  private constructor(folder: TempFolder, file: NamespaceFile, ram: RamStore) {
    const namespaces: ServedNamespace[] = [
      { index: 0, nsid: 1, blockSize: BLOCK, store: { type: "file", fd: file.fd } },
      { index: 1, nsid: 2, blockSize: BLOCK, store: { type: "ram", address: ram.address, bytes: ram.bytesMax } },
    ];
    super(namespaces, BLOCKS);
    [this.#folder, this.#file, this.#ram] = [folder, file, ram];
  }

  static async open(): Promise<Rig> {
    const folder = new TempFolder();
    const path = folder.sparse("disk.img", BLOCKS * BLOCK);
    const file = await NamespaceFile.open({ path, blockSize: BLOCK, readOnly: false, sizeBytes: null });
    return new Rig(folder, file, RamStore.allocate(BLOCKS * BLOCK));
  }

  get path(): string {
    return this.#file.path;
  }

  /** What the file has at a block. */
  block(lba: number): Uint8Array {
    return Deno.readFileSync(this.path).subarray(lba * BLOCK, (lba + 1) * BLOCK);
  }

  override [Symbol.dispose](): void {
    super[Symbol.dispose]();
    this.#file[Symbol.dispose]();
    this.#ram[Symbol.dispose]();
    this.#folder[Symbol.dispose]();
  }
}

Deno.test("IoConnectionQueue writes to a file and to memory, each by its own number, and reads it back", async () => {
  using rig = await Rig.open();
  const host = rig.connect();
  for (const nsid of [1, 2]) {
    const data = pattern(2 * BLOCK, nsid);
    assertEquals(host.write(5, data, { nsid }), 0);
    const { status, data: read } = host.read(5, 2 * BLOCK, nsid);
    assertEquals([status, read], [0, data], `namespace ${nsid}`);
  }
  assertEquals(rig.block(6), pattern(2 * BLOCK, 1).subarray(BLOCK));
  const [reads, writes, readBytes, writeBytes] = [
    IoCounter.READS,
    IoCounter.WRITES,
    IoCounter.READ_BYTES,
    IoCounter.WRITE_BYTES,
  ].map((counter) => host.counters.get(counter));
  assertEquals([reads, writes, readBytes, writeBytes], [2, 2, 4 * BLOCK, 4 * BLOCK]);
});

Deno.test("IoConnectionQueue flushes, forces and zeroes", async () => {
  using rig = await Rig.open();
  const host = rig.connect();
  assertEquals(host.write(0, pattern(2 * BLOCK), { fua: true }), 0);
  assertEquals([host.flush(), host.flush(1), host.flush(2)], [0, 0, 0]);
  assertEquals(host.writeZeroes(0, BLOCK), 0);
  assertEquals(rig.block(0).every((byte) => byte === 0), true);
  assertEquals(rig.block(1), pattern(2 * BLOCK).subarray(BLOCK));
});

Deno.test("IoConnectionQueue tells of commands that it refuses, with their place", async () => {
  using rig = await Rig.open();
  const host = rig.connect();
  assertEquals(host.write(BLOCKS, pattern(BLOCK)) & 0x3ff, 0x080, "LBA out of range");
  const [told] = rig.told;
  assertEquals(told?.type === "command-failed" && [told.connection, told.cid, told.nsid, told.lba, told.errno], [
    host.connection,
    1,
    1,
    BLOCKS,
    0,
  ]);
  assertEquals(host.counters.get(IoCounter.DEVICE_ERRORS), 0);
});

Deno.test("IoConnectionQueue tells which errno a file gave, and whether it was read", async () => {
  using rig = await Rig.open();
  const host = rig.connect();
  Deno.truncateSync(rig.path, BLOCK);
  assertEquals(host.read(8, BLOCK).status & 0x7ff, 0x281, "unrecovered read error");
  const failed = rig.told.flatMap((message) => message.type === "command-failed" ? [message] : []);
  assertEquals(failed.map(({ lba, isRead, errno }) => [lba, isRead, errno > 0]), [[8, true, true]]);
  assertEquals(host.counters.get(IoCounter.DEVICE_ERRORS), 1);
});

Deno.test("IoConnectionQueue answers a full disk as capacity exceeded, and tells of it", () => {
  // A file of the kernel's that takes no data, ever.
  const fd = check(native().um_file_open(cString("/dev/full"), 1, 0, 0), "Cannot open /dev/full");
  using _close = { [Symbol.dispose]: () => void native().um_close(fd) };
  using rig = new PlaneRig([{ index: 0, nsid: 1, blockSize: BLOCK, store: { type: "file", fd } }]);
  const host = rig.connect();
  assertEquals(host.write(0, pattern(BLOCK)) & ~0x2000, 0x081 | DNR);
  const [told] = rig.told;
  assertEquals(told?.type === "command-failed" && [told.errno, told.isRead], [ENOSPC, false]);
});

Deno.test("IoConnectionQueue tells a bounded number of errors between two ticks", async () => {
  using rig = await Rig.open();
  const host = rig.connect({ queue: { sqEntries: 64, sqFlowControl: false, sqHead: 1 } });
  for (let i = 0; i < 30; i++) {
    host.send(host.host.command({ cid: i, opcode: 0x02, sgl: { length: BLOCK }, dwords: { 1: 9 } }));
  }
  let answers = 0;
  rig.runUntil("all are answered", () => (answers += host.take().length) === 30);
  const told = rig.told.filter(({ type }) => type === "command-failed").length;
  assertEquals(told >= 16 && told <= 30, true, `${told} were told of`);
});

Deno.test("IoConnectionQueue follows the ANA state of its listener", async () => {
  using rig = await Rig.open();
  const host = rig.connect();
  rig.table.setAna(0, AnaStateCode.INACCESSIBLE);
  assertEquals(host.write(0, pattern(BLOCK)) & 0x7ff, 0x302);
  rig.table.setAna(0, AnaStateCode.NON_OPTIMIZED);
  assertEquals(host.write(0, pattern(BLOCK)), 0);
});

Deno.test("IoConnectionQueue is over once its host has left, and says why", async () => {
  using rig = await Rig.open();
  const [leaves, breaks, told, kept] = [rig.connect(), rig.connect(), rig.connect(), rig.connect()];
  leaves.send(leaves.host.command({ cid: 1, opcode: 0x00, dwords: { 1: 1 } }));
  shutdown(leaves.fd);
  breaks.send(new Uint8Array(16).fill(0xee));
  rig.plane.handleMessage({ type: "close-connection", connection: told.connection });
  const gone = [leaves, breaks, told];
  rig.runUntil("they are over", () => gone.every(({ connection }) => rig.closed(connection) !== undefined));
  const reasons = gone.map(({ connection }) => {
    const message = rig.closed(connection)!;
    return message.type === "connection-closed" ? message.reason : undefined;
  });
  assertEquals(reasons[0], "the host closed the connection");
  assertMatch(reasons[1]!, /^the host sent a PDU/);
  assertEquals(reasons[2], null, "it was told to");
  assertEquals(breaks.take().map(({ type }) => type), [3], "the host that broke the protocol is told");
  assertEquals([told.isClosed, kept.isClosed, kept.write(0, pattern(BLOCK))], [true, false, 0]);
});

function shutdown(fd: number): void {
  assertEquals(native().um_socket_shutdown(fd), 0);
}
