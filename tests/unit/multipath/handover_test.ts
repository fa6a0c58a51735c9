/** Queues of a volume that hand requests over to each other, for they have no link of a usable path. */
import { assert, assertEquals } from "@std/assert";
import { EIO, ENODATA } from "../../../src/base/errno.ts";
import { LOSSES_MAX } from "../../../src/base/limits.ts";
import { BlockOp } from "../../../src/block/request.ts";
import { failedCount } from "../../../src/multipath/failed_requests.ts";
import { GUESTS_MAX } from "../../../src/multipath/handover.ts";
import { HANDED_MAX } from "../../../src/multipath/handover_table.ts";
import { chooseHelpers, dealLinks } from "../../../src/multipath/link_deal.ts";
import { NvmOpcode } from "../../../src/protocol/nvme.ts";
import { StatusCode } from "../../../src/protocol/nvme_status.ts";
import type { TargetCommand } from "../nvme_host/scripted_target.ts";
import { makeNeighbours, pumpAll, type RigOptions } from "./rig.ts";

const MANUAL: RigOptions = { manners: { answers: false } };

/** Blocks of 512 bytes that reads find as they were written. */
function memoryStorage() {
  const blocks = new Map<number, Uint8Array>();
  return {
    execute: ({ opcode, lba, data }: TargetCommand, into: Uint8Array) => {
      const bytes = opcode === NvmOpcode.WRITE ? data : into;
      for (let at = 0; at < bytes.length; at += 512) {
        if (opcode === NvmOpcode.WRITE) blocks.set(lba + at / 512, bytes.slice(at, at + 512));
        else into.set(blocks.get(lba + at / 512) ?? new Uint8Array(512), at);
      }
      return 0;
    },
  };
}

Deno.test("dealLinks() gives a path's links to the queues that have the fewest", () => {
  assertEquals(dealLinks(2, [0, 0]), [0, 1]);
  assertEquals(dealLinks(1, [0, 0, 0]), [0]);
  assertEquals(dealLinks(1, [1, 0, 0]), [1], "two paths with a link each serve two queues");
  assertEquals(dealLinks(2, [1, 2, 1, 0]), [0, 3]);
});

Deno.test("chooseHelpers() names a queue that serves for each that does not, evenly", () => {
  assertEquals(chooseHelpers([true, true]), [-1, -1]);
  assertEquals(chooseHelpers([false, false]), [-1, -1]);
  assertEquals(chooseHelpers([true, false, true, false, false]), [-1, 0, -1, 2, 0]);
});

Deno.test("MultipathQueue hands requests to its helper while it has no path, with what they write, and gets what they read", () => {
  const { rigs, table } = makeNeighbours([0, 1], { storage: memoryStorage() });
  const [asking, helper] = rigs;
  table.setHelper(0, 1);
  asking.buffer(0, 4096).fill(0xa5);
  asking.submit(0, BlockOp.WRITE, 40, 8);
  pumpAll(rigs);
  assertEquals(asking.answers(), [[0, 0]]);
  asking.submit(1, BlockOp.READ, 40, 8);
  asking.submit(2, BlockOp.FLUSH, 0, 0);
  pumpAll(rigs);
  assertEquals(asking.answers().sort(), [[1, 0], [2, 0]]);
  assertEquals(asking.buffer(1, 4096), new Uint8Array(4096).fill(0xa5));
  assertEquals(asking.buffer(1).subarray(4096), new Uint8Array(4096), "nothing is touched behind it");
  assertEquals(helper.answers(), [], "they are not the helper's to answer");
  assertEquals([helper.count(0, "READS"), helper.count(0, "WRITES")], [1, 1]);
  for (const rig of rigs) rig.checkIdle();
});

Deno.test("MultipathQueue does not hand over what it has a path for, and waits where nobody helps", () => {
  const { rigs, table } = makeNeighbours([1, 1], { noPathTimeoutMs: 3_000 });
  const [asking, helper] = rigs;
  table.setHelper(0, 1);
  asking.submit(0, BlockOp.READ, 0, 1);
  pumpAll(rigs);
  assertEquals([asking.answers(), asking.count(0, "READS"), helper.count(0, "READS")], [[[0, 0]], 1, 0]);
  asking.losePath(0);
  table.setHelper(0, -1);
  asking.submit(1, BlockOp.READ, 0, 1);
  asking.advance(2_900);
  pumpAll(rigs);
  assertEquals([asking.answers(), asking.waiting], [[], 1]);
  asking.advance(100);
  assertEquals(asking.answers(), [[1, EIO]]);
});

Deno.test("MultipathQueue counts the failure of a request that it has handed over, and its helper does not", () => {
  const storage = { execute: () => StatusCode.UNRECOVERED_READ_ERROR };
  const { rigs, table } = makeNeighbours([0, 1], { storage });
  table.setHelper(0, 1);
  rigs[0].submit(0, BlockOp.READ, 40, 8);
  pumpAll(rigs);
  assertEquals(rigs[0].answers(), [[0, ENODATA]]);
  assertEquals(rigs.map(({ counters }) => failedCount(counters)), [1, 0]);
});

Deno.test("MultipathQueue hands over no more than its helper has room for, and all are served in the end", () => {
  const { rigs, table } = makeNeighbours([0, 0, 1], { depth: 48, connectionDepth: 4, ...MANUAL });
  const [one, other, helper] = rigs;
  table.setHelper(0, 2);
  table.setHelper(1, 2);
  for (let slot = 0; slot < 48; slot++) {
    one.submit(slot, BlockOp.READ, slot, 1);
    other.submit(slot, BlockOp.READ, 1_000 + slot, 1);
  }
  pumpAll(rigs);
  assertEquals([one.waiting, other.waiting], [48 - HANDED_MAX, 48 - HANDED_MAX]);
  assert(helper.waiting <= GUESTS_MAX, "guests have slots of their own");
  const answered = [0, 0];
  for (let turns = 0; turns < 200 && answered[0] + answered[1] < 96; turns++) {
    const [command] = helper.commands(0);
    helper.answer(0, command);
    pumpAll(rigs);
    answered[0] += one.answers().length;
    answered[1] += other.answers().length;
  }
  assertEquals(answered, [48, 48]);
  for (const rig of rigs) rig.checkIdle();
});

Deno.test("MultipathQueue has a request back unserved when its helper loses its path, and a later helper serves it", () => {
  const { rigs, table } = makeNeighbours([0, 1, 1], MANUAL);
  const [asking, first, second] = rigs;
  table.setHelper(0, 1);
  asking.submit(0, BlockOp.READ, 7, 1);
  pumpAll(rigs);
  assertEquals(first.commands(0).length, 1);
  first.losePath(0);
  pumpAll(rigs);
  assertEquals([asking.answers(), asking.waiting], [[], 1], "it waits where it came from");
  asking.advance(500);
  pumpAll(rigs);
  first.checkIdle();
  assertEquals(asking.waiting, 1, "it is asked again, and has no path yet");
  table.setHelper(0, 2);
  asking.advance(100);
  pumpAll(rigs);
  second.answer(0, second.commands(0)[0]);
  pumpAll(rigs);
  assertEquals(asking.answers(), [[0, 0]]);
  for (const rig of rigs) rig.checkIdle();
});

Deno.test("MultipathQueue waits for a path no longer than it may, though a helper takes its requests and gives them back", () => {
  const { rigs, table } = makeNeighbours([0, 0], { noPathTimeoutMs: 3_000 });
  const [asking] = rigs;
  table.setHelper(0, 1);
  asking.submit(0, BlockOp.READ, 7, 1);
  for (let waitedMs = 0; waitedMs < 2_900; waitedMs += 100) {
    pumpAll(rigs);
    asking.advance(100);
  }
  pumpAll(rigs);
  assertEquals(asking.answers(), []);
  for (let waitedMs = 0; waitedMs < 300; waitedMs += 100) {
    asking.advance(100);
    pumpAll(rigs);
  }
  assertEquals(asking.answers(), [[0, EIO]]);
});

Deno.test("MultipathQueue holds the write of a neighbour as its own: until the controller is dead, or the hold is over", () => {
  for (const isReset of [true, false]) {
    const { rigs, table } = makeNeighbours([0, 1, 1], { writeHoldMs: 2_000, ...MANUAL });
    const [asking, first, second] = rigs;
    table.setHelper(0, 1);
    asking.submit(0, BlockOp.WRITE, 7, 1);
    asking.submit(1, BlockOp.READ, 9, 1);
    pumpAll(rigs);
    first.losePath(0);
    table.setHelper(0, 2);
    asking.advance(100);
    pumpAll(rigs);
    assertEquals(
      [first.held, second.commands(0).map(({ lba }) => lba)],
      [1, [9]],
      "the read moves, the write does not",
    );
    if (isReset) first.volume.releaseHeld(0, first.nowMs);
    else first.advance(2_000);
    pumpAll(rigs);
    assertEquals(second.commands(0).map(({ lba }) => lba).sort(), [7, 9]);
  }
});

Deno.test("MultipathQueue gives a request up that ends its connections, though neighbours take turns with it", () => {
  const { rigs, table } = makeNeighbours([0, 1], MANUAL);
  const [asking, helper] = rigs;
  table.setHelper(0, 1);
  asking.submit(0, BlockOp.READ, 7, 1);
  let losses = 0;
  let answers: [number, number][] = [];
  for (let steps = 0; steps < 2_000 && answers.length === 0; steps++) {
    pumpAll(rigs);
    if (helper.paths[0] === null) helper.addPath(0);
    else if (helper.commands(0).length > 0) {
      losses++;
      helper.losePath(0);
    }
    for (const rig of rigs) rig.advance(100);
    pumpAll(rigs);
    answers = asking.answers();
  }
  assertEquals([losses, answers], [LOSSES_MAX + 1, [[0, EIO]]]);
});

Deno.test("MultipathQueue takes back what a helper that is gone has not taken, and leaves only when it has nothing of others", () => {
  const { rigs, table } = makeNeighbours([0, 1], MANUAL);
  const [asking, helper] = rigs;
  table.setHelper(0, 1);
  asking.submit(0, BlockOp.READ, 7, 1);
  pumpAll(rigs);
  assert(!helper.volume.hasNoNeighbour && !asking.volume.hasNoNeighbour);
  helper.answer(0, helper.commands(0)[0]);
  pumpAll(rigs);
  assertEquals(asking.answers(), [[0, 0]]);
  // The two pass each other: the helper has looked for the last time.
  assert(helper.volume.hasNoNeighbour);
  asking.submit(1, BlockOp.READ, 7, 1);
  const look = Object.getOwnPropertyDescriptor(Object.getPrototypeOf(table), "hasRequest")!;
  Object.defineProperty(table, "hasRequest", { value: () => false, configurable: true });
  helper.volume.leave();
  Object.defineProperty(table, "hasRequest", { ...look, configurable: true });
  asking.pump();
  assertEquals([asking.answers(), asking.waiting], [[], 1]);
  assert(asking.volume.hasNoNeighbour);
  table.setHelper(0, -1);
  asking.advance(5_100);
  assertEquals(asking.answers(), [[1, EIO]]);
});
