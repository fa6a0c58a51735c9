import { assert, assertEquals } from "@std/assert";
import { EIO } from "../../../src/base/errno.ts";
import { LoadControl, LoadOrder } from "../../../src/block/load_control.ts";
import { MemoryDevice } from "../../../src/block/memory_device.ts";
import { BlockOp, RequestTable } from "../../../src/block/request.ts";
import { VerifiedLoad } from "../../../src/block/verified_load.ts";

const UNIT_BYTES = 4096;
const UNITS = 64;
const DEPTH = 8;
const BLOCK_SIZE = 512;

/** A load on a device in memory, which answers when the test says so. */
class Rig {
  readonly control = new LoadControl();
  readonly requests = new RequestTable(DEPTH, { bufferBytes: UNIT_BYTES });
  readonly arena = new Uint8Array(DEPTH * UNIT_BYTES);
  readonly storage = new Uint8Array(UNITS * UNIT_BYTES).fill(0xee);
  readonly device: MemoryDevice;
  readonly load: VerifiedLoad;
  /** Units of the requests in the device. */
  readonly inside = new Map<number, number>();
  nowMs = 1000;

  constructor(seed = 7) {
    const { requests, storage, arena, control } = this;
    this.device = new MemoryDevice(requests, { blockSize: BLOCK_SIZE, storage, arena, stepped: true });
    this.load = new VerifiedLoad({
      ...{ depth: DEPTH, unitBytes: UNIT_BYTES, units: UNITS, seed, blockSize: BLOCK_SIZE },
      ...{ control: new LoadControl(control.buffer), requests, memory: arena },
    });
  }

  /** Submits all that there is; how many. */
  submit(): number {
    let submitted = 0;
    for (let slot = this.load.pollRequest(this.nowMs); slot >= 0; slot = this.load.pollRequest(this.nowMs)) {
      const unit = this.requests.lbaLow[slot] * BLOCK_SIZE / UNIT_BYTES;
      assert(Number.isInteger(unit) && unit < UNITS, `unit ${unit}`);
      assert(![...this.inside.values()].includes(unit), `unit ${unit} is touched twice at a time`);
      this.inside.set(slot, unit);
      this.device.submit(slot, this.nowMs);
      submitted++;
    }
    return submitted;
  }

  /** Answers one request, the last that was submitted first now and then. */
  answer(errno = 0): number {
    this.device.step(this.device.held - 1, errno);
    const slot = this.device.pollCompletion();
    this.inside.delete(slot);
    this.load.handleDone(slot, this.nowMs);
    return slot;
  }

  /** Carries an order that ends by itself out. */
  carryOut(order: number): void {
    this.control.give(order);
    while (this.submit() > 0 || this.device.held > 0) this.answer();
    assert(this.control.isDone);
  }

  mix(requests: number): void {
    this.control.give(LoadOrder.MIX);
    for (let i = 0; i < requests; i++) {
      this.submit();
      this.nowMs += 1;
      this.answer();
    }
    this.carryOut(LoadOrder.STOP);
  }
}

Deno.test("VerifiedLoad fills every unit once, mixes reads and writes, and verifies all of it", () => {
  const rig = new Rig();
  rig.carryOut(LoadOrder.FILL);
  assertEquals([rig.control.counts(0).writes, rig.control.counts(0).reads], [UNITS, 0]);
  assert(!rig.storage.subarray(0, UNIT_BYTES).every((byte) => byte === 0xee));
  rig.control.window = 1;
  rig.mix(2000);
  const mixed = rig.control.counts(1);
  assert(mixed.reads > 800 && mixed.writes > 800, JSON.stringify(mixed));
  rig.control.window = 2;
  rig.carryOut(LoadOrder.VERIFY);
  assertEquals([rig.control.counts(2).writes, rig.control.counts(2).reads], [0, UNITS]);
  assertEquals(rig.control.counts(2).bytes, UNITS * UNIT_BYTES);
  assertEquals(rig.control.failure, null);
  assertEquals(rig.load.isBusy, false);
});

Deno.test("VerifiedLoad has no more requests in flight than its depth, and waits while it is told nothing", () => {
  const rig = new Rig();
  assertEquals(rig.submit(), 0);
  assertEquals(rig.load.isBusy, false);
  rig.control.give(LoadOrder.FILL);
  assertEquals(rig.load.isBusy, true);
  assertEquals(rig.submit(), DEPTH);
  assertEquals(rig.submit(), 0);
});

Deno.test("VerifiedLoad finds one wrong bit, and says where", () => {
  const rig = new Rig();
  rig.carryOut(LoadOrder.FILL);
  rig.storage[5 * UNIT_BYTES + 4095] ^= 0x10;
  rig.carryOut(LoadOrder.VERIFY);
  assertEquals(rig.control.failure, { kind: "wrong-data", isWrite: false, unit: 5, errno: 0, offset: 4092 });
});

Deno.test("VerifiedLoad finds a write that was lost: the unit has what was there before", () => {
  const rig = new Rig();
  rig.carryOut(LoadOrder.FILL);
  const before = rig.storage.slice();
  rig.mix(500);
  assertEquals(rig.control.failure, null);
  rig.storage.set(before);
  rig.carryOut(LoadOrder.VERIFY);
  assertEquals(rig.control.failure?.kind, "wrong-data");
});

Deno.test("VerifiedLoad finds data that is in the place of other data", () => {
  const rig = new Rig();
  rig.carryOut(LoadOrder.FILL);
  rig.storage.copyWithin(3 * UNIT_BYTES, 4 * UNIT_BYTES, 5 * UNIT_BYTES);
  rig.carryOut(LoadOrder.VERIFY);
  assertEquals(rig.control.failure, { kind: "wrong-data", isWrite: false, unit: 3, errno: 0, offset: 0 });
});

Deno.test("VerifiedLoad finds a read that was answered without any data", () => {
  const rig = new Rig();
  rig.carryOut(LoadOrder.FILL);
  rig.control.give(LoadOrder.VERIFY);
  rig.submit();
  const slot = rig.load.pollRequest(rig.nowMs);
  assertEquals(slot, -1);
  // The answer comes, the buffer stays as the load left it.
  for (const [busy] of rig.inside) {
    rig.requests.status[busy] = 0;
    rig.load.handleDone(busy, rig.nowMs);
    break;
  }
  assertEquals(rig.control.failure?.kind, "wrong-data");
});

Deno.test("VerifiedLoad keeps the first error, issues nothing after it, and ends when all is answered", () => {
  const rig = new Rig();
  rig.carryOut(LoadOrder.FILL);
  rig.control.give(LoadOrder.MIX);
  rig.submit();
  const slot = rig.answer(EIO);
  const isWrite = rig.requests.op[slot] === BlockOp.WRITE;
  const failure = rig.control.failure;
  assertEquals([failure?.kind, failure?.isWrite, failure?.errno], ["error", isWrite, EIO]);
  assertEquals(rig.submit(), 0);
  assertEquals(rig.control.isDone, false);
  rig.answer(5);
  while (rig.device.held > 0) rig.answer();
  assertEquals(rig.submit(), 0);
  assertEquals(rig.control.isDone, true);
  assertEquals(rig.control.failure, failure);
});

Deno.test("VerifiedLoad counts the longest read, write and pause of each window", () => {
  const rig = new Rig();
  rig.carryOut(LoadOrder.FILL);
  rig.control.window = 1;
  rig.control.give(LoadOrder.VERIFY);
  rig.submit();
  rig.nowMs += 30;
  rig.answer();
  rig.control.window = 2;
  rig.nowMs += 400;
  rig.answer();
  rig.nowMs += 5;
  rig.answer();
  const [first, second] = [rig.control.counts(1), rig.control.counts(2)];
  assertEquals([first.reads, first.longestReadMs, first.longestPauseMs, first.longestWriteMs], [1, 30, 30, 0]);
  assertEquals([second.reads, second.longestReadMs, second.longestPauseMs], [2, 435, 400]);
});

Deno.test("VerifiedLoad carries out a new order only when what was in flight is answered", () => {
  for (let seed = 0; seed < 20; seed++) {
    const rig = new Rig(seed);
    rig.carryOut(LoadOrder.FILL);
    rig.control.give(LoadOrder.MIX);
    rig.submit();
    rig.control.give(LoadOrder.VERIFY);
    for (let left = DEPTH; left > 0; left--) {
      assertEquals(rig.submit(), 0, `seed ${seed}`);
      rig.answer();
    }
    assertEquals(rig.submit(), DEPTH);
    while (rig.submit() > 0 || rig.device.held > 0) rig.answer();
    assertEquals([rig.control.isDone, rig.control.failure], [true, null]);
  }
});
