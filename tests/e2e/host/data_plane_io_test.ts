/** I/O over real paths to the fake target, with faults in the middle. */
import { assert, assertEquals, assertMatch } from "@std/assert";
import { EIO } from "../../../src/base/errno.ts";
import { setLogSink } from "../../../src/base/log.ts";
import { Prng } from "../../../src/base/prng.ts";
import { BlockOp } from "../../../src/block/request.ts";
import type { Timeouts } from "../../../src/settings/timeouts.ts";
import { AnaStateCode } from "../../../src/protocol/nvme_log.ts";
import { type FakePortal, FakeTarget } from "./fake_target.ts";
import { delay, eventually } from "./host_fixture.ts";
import { BLOCK_BYTES, IoRig } from "./io_rig.ts";
import { Stopwatch } from "../stopwatch.ts";

const DEPTH = 12;
const SLOT_BLOCKS = 64;

interface Options {
  portals?: number;
  timeouts?: Partial<Timeouts>;
  prepare?(portal: FakePortal): void;
}

function testIo(name: string, options: Options, body: (rig: IoRig, target: FakeTarget) => Promise<void>): void {
  Deno.test(name, async () => {
    const log: string[] = [];
    setLogSink((line) => log.push(line));
    try {
      await using target = FakeTarget.start({ portals: options.portals ?? 2, blocks: DEPTH * SLOT_BLOCKS });
      for (const portal of target.portals) options.prepare?.(portal);
      {
        await using rig = new IoRig(target.portals, DEPTH, options.timeouts);
        await body(await rig.start(), target);
      }
      await eventually("no connection is left", () => target.connections === 0);
      assertEquals(log.filter((line) => /bug|does not expect/.test(line)), []);
    } finally {
      setLogSink(null);
    }
  });
}

/** Random reads and writes in every slot's own blocks until `isOver`, each checked; how many there were. */
async function verify(rig: IoRig, target: FakeTarget, isOver: () => boolean, seed: number): Promise<number> {
  let done = 0;
  const run = async (slot: number) => {
    const random = new Prng(seed * 100 + slot);
    const first = slot * SLOT_BLOCKS;
    const expected = target.memory.slice(first * BLOCK_BYTES, (first + SLOT_BLOCKS) * BLOCK_BYTES);
    for (; !isOver(); done++) {
      const lba = random.below(SLOT_BLOCKS);
      const blocks = 1 + random.below(SLOT_BLOCKS - lba);
      const piece = expected.subarray(lba * BLOCK_BYTES, (lba + blocks) * BLOCK_BYTES);
      const op = random.below(2) === 0 ? BlockOp.READ : BlockOp.WRITE;
      const data = new Uint8Array(blocks * BLOCK_BYTES);
      if (op === BlockOp.WRITE) data.fill(1 + random.below(255)).forEach((_, i) => i % 97 === 0 && (data[i] = i));
      assertEquals(await rig.io(slot, { op, lba: first + lba, blocks }, data), 0);
      if (op === BlockOp.WRITE) piece.set(data);
      assert(data.every((byte, i) => byte === piece[i]), `Slot ${slot}, block ${lba}: other data`);
    }
    const all = target.memory.subarray(first * BLOCK_BYTES, (first + SLOT_BLOCKS) * BLOCK_BYTES);
    assert(all.every((byte, i) => byte === expected[i]), `Slot ${slot}: other data in the target`);
  };
  await Promise.all(Array.from({ length: DEPTH }, (_, slot) => run(slot)));
  return done;
}

function write(rig: IoRig, slot: number, byte: number): Promise<number> {
  return rig.io(slot, { op: BlockOp.WRITE, lba: slot, blocks: 1 }, new Uint8Array(BLOCK_BYTES).fill(byte));
}

function read(rig: IoRig, slot: number, data = new Uint8Array(BLOCK_BYTES)): Promise<number> {
  return rig.io(slot, { op: BlockOp.READ, lba: slot, blocks: 1 }, data);
}

/** Keeps I/O back on all portals, and gives each a write and a read that are not answered; those promises. */
async function fillPaths(
  rig: IoRig,
  target: FakeTarget,
): Promise<{ writes: Promise<number>[]; reads: Promise<number>[] }> {
  for (const portal of target.portals) portal.answersIo = false;
  const writes = target.portals.map((_, i) => write(rig, i, 0x77));
  const reads = target.portals.map((_, i) => read(rig, 4 + i));
  await eventually("all are sent", () => target.portals.every((portal) => portal.count("io") === 2));
  return { writes, reads };
}

for (const c2hSuccess of [false, true]) {
  const prepare = (portal: FakePortal) => void (portal.c2hSuccess = c2hSuccess);
  testIo(`reads and writes verify over two paths, SUCCESS flag ${c2hSuccess}`, { prepare }, async (rig, target) => {
    const end = performance.now() + 800;
    const done = await verify(rig, target, () => performance.now() > end, 1);
    assert(done > 100, `${done} I/Os`);
    assertEquals(rig.served(0) + rig.served(1), done);
    assert(Math.abs(rig.served(0) - rig.served(1)) < done / 2, `${rig.served(0)} and ${rig.served(1)}`);
  });
}

testIo("no I/O is lost or torn while paths are killed, one or both, again and again", {
  timeouts: { writeHoldMs: 20 },
}, async (rig, target) => {
  let rounds = 0;
  const kill = async () => {
    for (; rounds < 12; rounds++) {
      await delay(60);
      const portal = target.portals[rounds % 2];
      if (rounds % 4 === 0) portal.killIoQueues();
      else if (rounds % 4 === 1) await portal.kill();
      else if (rounds % 4 === 2) {
        await portal.stop();
        await delay(40);
        portal.start();
      } else await Promise.all(target.portals.map((each) => each.kill()));
    }
  };
  const [done] = await Promise.all([verify(rig, target, () => rounds === 12, 2), kill()]);
  assert(done > 50, `${done} I/Os`);
  assert(rig.paths.every((path) => path.reconnects > 0), "both paths were lost");
});

testIo("reads of a lost path move at once, writes after the hold", {
  timeouts: { writeHoldMs: 2_000 },
}, async (rig, target) => {
  const { writes, reads } = await fillPaths(rig, target);
  const [first, second] = target.portals;
  await first.stop();
  second.releaseIo();
  const took = new Stopwatch();
  assertEquals(await Promise.all(reads), [0, 0]);
  took.assertWithin(1_500);
  assertEquals(await Promise.race([Promise.all(writes), Promise.resolve("held")]), "held");
  assertEquals(await Promise.all(writes), [0, 0]);
  assert(took.ms >= 1_900, `Writes took ${took.ms} ms`);
  took.assertWithin(8_000, "The hold of writes");
  assertEquals([target.memory[0], target.memory[BLOCK_BYTES]], [0x77, 0x77]);
  first.start();
});

testIo("held writes go on at once when the lost controller says that it is reset", {
  timeouts: { writeHoldMs: 5_000 },
}, async (rig, target) => {
  const { writes, reads } = await fillPaths(rig, target);
  target.portals[0].killIoQueues();
  target.portals[1].releaseIo();
  const took = new Stopwatch();
  assertEquals(await Promise.all([...writes, ...reads]), [0, 0, 0, 0]);
  took.assertWithin(4_000);
  assertEquals(rig.released, 1);
});

testIo("a command without an answer takes its path down, and goes to the other one", {
  timeouts: { ioTimeoutMs: 200, writeHoldMs: 0 },
}, async (rig, target) => {
  target.portals[0].answersIo = false;
  const results = await Promise.all(Array.from({ length: 8 }, (_, slot) => write(rig, slot, slot + 1)));
  assertEquals(results, new Array(8).fill(0));
  assertMatch(rig.linkFailures.join(), /a command was not answered within 0\.2 s/);
  for (let slot = 0; slot < 8; slot++) assertEquals(target.memory[slot * BLOCK_BYTES], slot + 1);
  target.portals[0].answersIo = true;
  await eventually("the path is back", () => rig.paths[0].state === "live");
});

testIo("I/O waits while no path is live, and goes on when one is", {
  timeouts: { writeHoldMs: 0 },
}, async (rig, target) => {
  await Promise.all(target.portals.map((portal) => portal.stop()));
  await eventually("both are lost", () => rig.paths.every((path) => path.state === "reconnecting"));
  const waiting = Promise.all([write(rig, 0, 0x11), read(rig, 1)]);
  await delay(150);
  assertEquals(await Promise.race([waiting, Promise.resolve("waits")]), "waits");
  target.portals[1].start();
  assertEquals(await waiting, [0, 0]);
});

testIo("I/O fails with EIO when no path came back for the no-path timeout, and when the wait is cut", {
  timeouts: { writeHoldMs: 0, noPathTimeoutMs: 300 },
}, async (rig, target) => {
  await Promise.all(target.portals.map((portal) => portal.stop()));
  await eventually("both are lost", () => rig.paths.every((path) => path.state === "reconnecting"));
  const took = new Stopwatch();
  assertEquals(await Promise.all([write(rig, 0, 1), read(rig, 1)]), [EIO, EIO]);
  assert(took.ms >= 250, `${took.ms} ms`);
  took.assertWithin(5_000);
  target.portals[0].start();
  await eventually("it is live", () => rig.paths[0].state === "live");
  assertEquals(await write(rig, 0, 2), 0);
  await target.portals[0].stop();
  await eventually("it is lost", () => rig.paths[0].state === "reconnecting");
  const cut = write(rig, 0, 3);
  rig.table.cut();
  assertEquals(await cut, EIO);
});

testIo("I/O leaves a path that is inaccessible, told by an event or by the answer, and comes back to it", {
  prepare: (portal) => void (portal.ana = AnaStateCode.OPTIMIZED),
}, async (rig, target) => {
  const [first] = target.portals;
  first.ana = AnaStateCode.INACCESSIBLE; // without an event: only answers tell
  for (let i = 0; i < 20; i++) assertEquals(await write(rig, i % DEPTH, i), 0);
  await eventually("the log was read", () => rig.paths[0].ana === "inaccessible");
  const served = rig.served(0);
  for (let i = 0; i < 10; i++) assertEquals(await write(rig, i, i), 0);
  assertEquals(rig.served(0), served);
  first.setAna(AnaStateCode.OPTIMIZED);
  await eventually("it is optimized", () => rig.paths[0].ana === "optimized");
  for (let i = 0; i < 10; i++) assertEquals(await write(rig, i, i), 0);
  assert(rig.served(0) > served, "the path is used again");
  assertEquals(rig.paths[0].reconnects, 0);
});
