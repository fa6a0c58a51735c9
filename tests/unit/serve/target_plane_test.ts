import { assert, assertEquals, assertMatch, assertThrows } from "@std/assert";
import { native } from "../../../ffi/library.ts";
import { ENOMEM } from "../../../src/base/errno.ts";
import { AssertionFailure } from "../../../src/base/assert.ts";
import { Wake } from "../../../src/io/wake.ts";
import { faultPlan } from "../../../src/serve/fault_plan.ts";
import { RamStore } from "../../../src/serve/ram_store.ts";
import { TargetPlane } from "../../../src/serve/target_plane.ts";
import { parseFaults } from "../../../src/nvme_target/fault_words.ts";
import { PlaneRig } from "./plane_rig.ts";

const BLOCK = 4096;
const BLOCKS = 64;

/** A worker that serves memory. */
class Rig extends PlaneRig {
  readonly #ram: RamStore;

  constructor() {
    const ram = RamStore.allocate(BLOCKS * BLOCK);
    const store = { type: "ram", address: ram.address, bytes: ram.bytesMax } as const;
    super([{ index: 0, nsid: 1, blockSize: BLOCK, store }], BLOCKS);
    this.#ram = ram;
  }

  setFaults(...words: string[]): void {
    const rules = parseFaults(words, [{ index: 0, traddr: "10.0.0.1", trsvcid: 4420 }]);
    this.plane.handleMessage({ type: "faults", plan: words.length === 0 ? null : faultPlan(rules, 1) });
  }

  override [Symbol.dispose](): void {
    super[Symbol.dispose]();
    this.#ram[Symbol.dispose]();
  }
}

Deno.test("TargetPlane serves several connections, and a place again whose connection is over", () => {
  using rig = new Rig();
  const [one, two] = [rig.connect(), rig.connect()];
  const data = new Uint8Array(BLOCK).fill(7);
  assertEquals(one.write(3, data), 0);
  assertEquals(two.read(3, BLOCK), { status: 0, data });
  rig.plane.handleMessage({ type: "close-connection", connection: one.connection });
  rig.runUntil("it is over", () => rig.closed(one.connection) !== undefined);
  const three = rig.connect({ connection: one.connection });
  assertEquals(two.read(3, BLOCK).status, 0);
  assertEquals(three.isClosed, false);
  rig.plane.handleMessage({ type: "close-connection", connection: one.connection });
  const ends = () => rig.told.filter((message) => message.type === "connection-closed").length;
  rig.runUntil("the second is over too", () => ends() === 2);
  rig.plane.handleMessage({ type: "close-connection", connection: one.connection }); // to nobody
  assertEquals(two.read(3, BLOCK).status, 0);
  rig.hosts.splice(rig.hosts.indexOf(three), 1);
  native().um_close(three.fd);
});

Deno.test("TargetPlane has faults hit the connections there are, and those to come", () => {
  using rig = new Rig();
  const before = rig.connect();
  rig.setFaults("1:status=internal-error,op=read");
  const after = rig.connect();
  for (const host of [before, after]) {
    assertEquals(host.read(0, BLOCK).status & 0x7ff, 0x006);
    assertEquals(host.write(0, new Uint8Array(BLOCK)), 0);
  }
  rig.setFaults();
  for (const host of [before, after]) assertEquals(host.read(0, BLOCK).status, 0);
});

Deno.test("TargetPlane resets connections for a fault, and tells why they are over", () => {
  using rig = new Rig();
  const host = rig.connect();
  rig.setFaults("1:reset");
  host.send(host.host.command({ cid: 1, opcode: 0x00, dwords: { 1: 1 } }));
  rig.runUntil("it is reset", () => rig.closed(host.connection) !== undefined);
  const message = rig.closed(host.connection)!;
  assertEquals(message.type === "connection-closed" && message.reason, "a fault has reset it");
});

Deno.test("TargetPlane closes a connection that there is no memory for, and serves the others", () => {
  using rig = new Rig();
  const kept = rig.connect();
  const symbols = native() as unknown as Record<string, unknown>;
  const commit = symbols.um_commit;
  symbols.um_commit = () => -ENOMEM;
  const lost = rig.connect();
  symbols.um_commit = commit;
  const message = rig.closed(lost.connection)!;
  assertMatch(
    message.type === "connection-closed" ? message.reason! : "",
    /^Cannot map [\d.]+ MiB of memory: out of memory$/,
  );
  assertEquals([lost.isClosed, kept.write(0, new Uint8Array(BLOCK))], [true, 0]);
});

Deno.test("TargetPlane shows V8 no memory anew for a connection", () => {
  using rig = new Rig();
  rig.connect().write(0, new Uint8Array(BLOCK));
  const { external } = Deno.memoryUsage();
  const queue = { sqEntries: 512, sqFlowControl: false, sqHead: 1 };
  for (let i = 0; i < 4; i++) assertEquals(rig.connect({ queue }).write(0, new Uint8Array(BLOCK)), 0);
  assert(Deno.memoryUsage().external - external < 16 << 20);
});

Deno.test("TargetPlane ends when it is told to, and asserts that it was told first what to serve", () => {
  const plane = new TargetPlane(() => {});
  assertEquals(plane.isStopped, false);
  plane.handleMessage({ type: "stop" });
  assertEquals(plane.isStopped, true);
  const counters = new SharedArrayBuffer(64);
  const connection = {
    ...{ type: "add-connection", connection: 0, fd: -1, listener: 0, stream: 0, sinceEpochMs: 0, counters } as const,
    transfer: { headerDigest: false, dataDigest: false, hostDataAlignment: 4, hostR2tsMax: 1 },
    queue: { sqEntries: 16, sqFlowControl: false, sqHead: 1 },
  };
  assertThrows(() => plane.handleMessage(connection), AssertionFailure);
  const { fd } = plane.wake;
  plane[Symbol.dispose]();
  Wake.close(fd);
});
