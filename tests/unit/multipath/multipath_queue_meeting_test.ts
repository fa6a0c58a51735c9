/** A volume where two things meet that other tests have one at a time: a loss and a refusal, a hold and a reconnect. */
import { assertEquals } from "@std/assert";
import { BlockOp } from "../../../src/block/request.ts";
import { NvmOpcode } from "../../../src/protocol/nvme.ts";
import { AnaStateCode } from "../../../src/protocol/nvme_log.ts";
import { StatusCode, StatusField } from "../../../src/protocol/nvme_status.ts";
import type { TargetCommand } from "../nvme_host/scripted_target.ts";
import { pattern } from "../nvme_host/wire.ts";
import { Rig } from "./rig.ts";

const MANUAL = { manners: { answers: false } };

Deno.test("MultipathQueue holds a write for an earlier controller of one path when that of another is known to be dead", () => {
  const rig = new Rig({ paths: 3, writeHoldMs: 2000, ...MANUAL });
  rig.submit(0, BlockOp.WRITE, 0, 16);
  rig.pump();
  assertEquals([0, 1, 2].map((path) => rig.commands(path).length), [1, 1, 0]);
  rig.losePath(0);
  rig.losePath(1);
  rig.addPath(0);
  rig.volume.releaseHeld(1, rig.nowMs);
  rig.pump();
  assertEquals(rig.held, 1, "the first controller of path 0 may still write");
  rig.advance(1900);
  assertEquals(rig.held, 1);
  rig.advance(100);
  assertEquals([rig.held, [0, 2].map((path) => rig.commands(path).length)], [0, [1, 1]]);
});

Deno.test("MultipathQueue sends nothing on a connection whose failure came with the last answer", () => {
  const rig = new Rig({ paths: 1, connectionDepth: 1, ...MANUAL });
  rig.submit(0, BlockOp.READ, 0, 1);
  rig.submit(1, BlockOp.READ, 1, 1);
  rig.pump();
  const path = rig.paths[0]!;
  rig.target(0).answer(rig.commands(0)[0].cid);
  rig.target(0).send(new Uint8Array(24).fill(0xff));
  rig.receive(path);
  assertEquals(path.connection.state, "failed");
  rig.volume.handleAnswers(rig.nowMs);
  assertEquals([rig.answers(), rig.waiting], [[[0, 0]], 1]);
  rig.losePath(0);
  rig.addPath(0);
  rig.volume.dispatch(rig.nowMs);
  rig.pump();
  assertEquals(rig.commands(0).map(({ lba }) => lba), [1]);
});

Deno.test("MultipathQueue sends what was refused once, and then lost, again at once: as lost", () => {
  const rig = new Rig(MANUAL);
  rig.table.setAna(1, AnaStateCode.NON_OPTIMIZED);
  rig.submit(0, BlockOp.READ, 0, 1);
  rig.pump();
  rig.answer(0, rig.commands(0)[0], StatusCode.ANA_INACCESSIBLE);
  assertEquals([rig.commands(0).length, rig.commands(1).length], [0, 1]);
  rig.losePath(1);
  assertEquals(rig.commands(0).length, 1, "a refusal that every path has given would wait");
  rig.answer(0, rig.commands(0)[0]);
  assertEquals(rig.answers(), [[0, 0]]);
  rig.checkIdle();
});

Deno.test("MultipathQueue waits for the longest of the delays that the parts of a request were refused with", () => {
  for (const crds of [[1, 2], [2, 1]]) {
    const rig = new Rig({ paths: 1, ioTimeoutMs: -1, limits: { retryDelaysMs: [0, 300, 900, 0] }, ...MANUAL });
    rig.submit(0, BlockOp.READ, 0, 16);
    rig.pump();
    for (const crd of crds) {
      rig.answer(0, rig.commands(0)[0], StatusCode.NAMESPACE_NOT_READY | (crd << StatusField.CRD_SHIFT));
    }
    rig.advance(800);
    assertEquals([rig.commands(0).length, rig.waiting], [0, 1], `CRD ${crds}: not yet`);
    rig.advance(100);
    assertEquals(rig.commands(0).length, 2, `CRD ${crds}: now`);
  }
});

Deno.test("MultipathQueue asks the better path again after a delay, though it has refused the request before", () => {
  const rig = new Rig(MANUAL);
  rig.table.setAna(1, AnaStateCode.NON_OPTIMIZED);
  rig.submit(0, BlockOp.READ, 0, 1);
  rig.pump();
  rig.answer(0, rig.commands(0)[0], StatusCode.ANA_INACCESSIBLE);
  rig.answer(1, rig.commands(1)[0], StatusCode.NAMESPACE_NOT_READY);
  rig.advance(1_000);
  assertEquals([rig.commands(0).length, rig.commands(1).length], [1, 0]);
});

Deno.test("MultipathQueue tries a suspect on the path that has refused it before, once the others have lost it", () => {
  const rig = new Rig({ paths: 3, ...MANUAL });
  for (const path of [1, 2]) rig.table.setAna(path, AnaStateCode.NON_OPTIMIZED);
  rig.submit(0, BlockOp.READ, 0, 1);
  rig.pump();
  rig.answer(0, rig.commands(0)[0], StatusCode.ANA_INACCESSIBLE);
  for (let losses = 1; losses <= 4; losses++) {
    const path = rig.commands(1).length === 1 ? 1 : 2;
    assertEquals([rig.commands(0).length, rig.commands(path).length], [0, 1], `${losses - 1} losses`);
    rig.losePath(path);
    rig.addPath(path, rig.limits, AnaStateCode.NON_OPTIMIZED);
  }
  rig.advance(1_000);
  assertEquals([0, 1, 2].map((path) => rig.commands(path).length), [1, 0, 0]);
});

Deno.test("MultipathQueue keeps the ranges of many discards of one request in that request's buffer, each until it is answered", () => {
  const discarded = new Map<number, number>();
  const storage = {
    execute(command: TargetCommand, data: Uint8Array) {
      const view = new DataView(data.buffer, data.byteOffset);
      assertEquals([command.opcode, view.getUint32(4, true)], [NvmOpcode.DATASET_MANAGEMENT, 1]);
      const block = Number(view.getBigUint64(8, true));
      discarded.set(block, (discarded.get(block) ?? 0) + 1);
      return 0;
    },
  };
  // A buffer of 32 ranges, 16 of which are in flight at a time.
  const rig = new Rig({ requestBytes: 512, limits: { maxDiscardBlocks: 1 }, storage });
  const others = [1, 2, 3].map((slot) => ({ slot, data: pattern(512, slot) }));
  for (const { slot, data } of others) rig.buffer(slot).set(data);
  rig.submit(0, BlockOp.DISCARD, 1000, 100);
  rig.pump();
  assertEquals(rig.answers(), [[0, 0]]);
  assertEquals([...discarded].sort((a, b) => a[0] - b[0]), Array.from({ length: 100 }, (_, i) => [1000 + i, 1]));
  for (const { slot, data } of others) assertEquals(rig.buffer(slot), data, `the buffer of slot ${slot}`);
  rig.checkIdle();
});
