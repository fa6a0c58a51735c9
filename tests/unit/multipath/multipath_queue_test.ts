import { assert, assertEquals, assertThrows } from "@std/assert";
import { AssertionFailure } from "../../../src/base/assert.ts";
import { EIO, ENODATA, ENOLINK, EOPNOTSUPP, EROFS, ETIMEDOUT } from "../../../src/base/errno.ts";
import { RETRIES_MAX, RETRY_DELAY_MS_MAX } from "../../../src/base/limits.ts";
import { BlockFlag, BlockOp } from "../../../src/block/request.ts";
import { POLICY_NAMES } from "../../../src/multipath/policy_names.ts";
import { NvmOpcode } from "../../../src/protocol/nvme.ts";
import { AnaStateCode } from "../../../src/protocol/nvme_log.ts";
import { StatusCode, StatusField } from "../../../src/protocol/nvme_status.ts";
import { responsePdu, type TargetCommand, withDigests } from "../nvme_host/scripted_target.ts";
import { pattern } from "../nvme_host/wire.ts";
import { lastFailed } from "../../../src/multipath/failed_requests.ts";
import { QueueCounter } from "../../../src/multipath/counters.ts";
import { Rig } from "./rig.ts";

const MANUAL = { manners: { answers: false } };

/** Commands by their LBA and blocks. */
function ranges(commands: TargetCommand[]): [number, number][] {
  return commands.map(({ lba, blocks }) => [lba, blocks] as [number, number]).sort((a, b) => a[0] - b[0]);
}

// ── spread and splitting ────────────────────────────────────────────────────────────────────────────────────────────

Deno.test("MultipathQueue spreads requests over its paths in turn and counts them", () => {
  const rig = new Rig({ paths: 3, depth: 9 });
  for (let slot = 0; slot < 9; slot++) rig.submit(slot, slot < 6 ? BlockOp.READ : BlockOp.WRITE, slot, 1);
  rig.pump();
  assertEquals(rig.answers().sort((a, b) => a[0] - b[0]), Array.from({ length: 9 }, (_, slot) => [slot, 0]));
  for (let path = 0; path < 3; path++) {
    assertEquals([rig.count(path, "READS"), rig.count(path, "WRITES")], [2, 1]);
    assertEquals([rig.count(path, "READ_BYTES"), rig.count(path, "WRITE_BYTES")], [1024, 512]);
    assertEquals([rig.count(path, "ERRORS"), rig.count(path, "FAILOVERS")], [0, 0]);
  }
  rig.checkIdle();
});

Deno.test("MultipathQueue uses the other path when one is full, waits when all are, and then goes on in order", () => {
  const rig = new Rig({ connectionDepth: 2, ...MANUAL });
  for (let slot = 0; slot < 8; slot++) rig.submit(slot, BlockOp.READ, slot, 1);
  rig.pump();
  assertEquals([rig.commands(0).length, rig.commands(1).length], [2, 2]);
  assertEquals(rig.waiting, 4);
  assertEquals([rig.count(0, "IN_FLIGHT"), rig.count(1, "IN_FLIGHT")], [2, 2]);
  rig.answer(1, rig.commands(1)[0]);
  rig.answer(1, rig.commands(1)[0]);
  assertEquals(ranges(rig.commands(1)), [[4, 1], [5, 1]]);
  assertEquals(rig.waiting, 2);
  // One that comes now goes behind those that wait.
  rig.submit(1, BlockOp.READ, 100, 1);
  for (let i = 0; i < 4; i++) rig.answer(0, rig.commands(0)[0]);
  assertEquals(ranges(rig.commands(0)), [[100, 1]]);
  rig.answer(0, rig.commands(0)[0]);
  while (rig.commands(1).length > 0) rig.answer(1, rig.commands(1)[0]);
  assertEquals(rig.answers().map(([slot]) => slot).sort(), [0, 1, 1, 2, 3, 4, 5, 6, 7]);
  rig.checkIdle();
});

Deno.test("MultipathQueue uses a slow path only to look at it, whatever the policy", () => {
  for (const policy of POLICY_NAMES) {
    const rig = new Rig({ policy, connectionDepth: 64 });
    rig.table.setPreferred(1);
    rig.table.setSlow(0b10);
    for (let i = 0; i < 1280; i++) {
      rig.nowMs++;
      rig.submit(0, BlockOp.READ, i, 1);
      rig.pump();
      assertEquals(rig.answers(), [[0, 0]]);
    }
    assertEquals([rig.count(0, "READS"), rig.count(1, "READS")], [1275, 5], policy);
    rig.table.setSlow(0);
    for (let i = 0; i < 8; i++) rig.submit(i, BlockOp.READ, i, 1);
    rig.pump();
    assert(rig.count(1, "READS") > 5, policy);
    rig.checkIdle();
  }
});

Deno.test("MultipathQueue uses a slow path where its peers are gone or refuse, and before those of a worse ANA state", () => {
  const { OPTIMIZED, NON_OPTIMIZED } = AnaStateCode;
  const rig = new Rig({ paths: 3, ...MANUAL });
  rig.table.setAna(2, NON_OPTIMIZED);
  rig.table.setSlow(0b10);
  rig.submit(0, BlockOp.READ, 0, 1);
  rig.pump();
  rig.answer(0, rig.commands(0)[0], StatusCode.ANA_INACCESSIBLE);
  assertEquals(ranges(rig.commands(1)), [[0, 1]], "its peer has refused");
  rig.answer(1, rig.commands(1)[0], StatusCode.ANA_INACCESSIBLE);
  assertEquals(ranges(rig.commands(2)), [[0, 1]], "both peers have refused");
  rig.answer(2, rig.commands(2)[0]);
  rig.losePath(0);
  rig.submit(1, BlockOp.READ, 1, 1);
  rig.pump();
  assertEquals(ranges(rig.commands(1)), [[1, 1]], "its peer is gone");
  rig.answer(1, rig.commands(1)[0]);
  rig.table.setAna(2, OPTIMIZED);
  rig.submit(2, BlockOp.READ, 2, 1);
  rig.pump();
  assertEquals(ranges(rig.commands(2)), [[2, 1]]);
  rig.answer(2, rig.commands(2)[0]);
  assertEquals(rig.answers(), [[0, 0], [1, 0], [2, 0]]);
  rig.checkIdle();
});

Deno.test("MultipathQueue splits what is larger than a command, and puts every part where it belongs", () => {
  const written = new Map<number, Uint8Array>();
  const storage = {
    execute(command: TargetCommand, data: Uint8Array) {
      for (let i = 0; i < command.blocks; i++) {
        const at = data.subarray(i * 512, (i + 1) * 512);
        if (command.opcode === NvmOpcode.WRITE) written.set(command.lba + i, at.slice());
        else at.set(written.get(command.lba + i)!);
      }
      return 0;
    },
  };
  const rig = new Rig({ paths: 3, requestBytes: 65536, limits: { maxTransferBytes: 4096 }, storage });
  const data = pattern(65536 - 512, 3);
  rig.buffer(2).set(data);
  rig.submit(2, BlockOp.WRITE, 1000, 127);
  rig.pump();
  assertEquals(rig.answers(), [[2, 0]]);
  assertEquals([0, 1, 2].map((path) => rig.count(path, "WRITES")), [6, 5, 5]);
  assertEquals(written.size, 127);
  rig.submit(5, BlockOp.READ, 1000, 127);
  rig.pump();
  assertEquals(rig.answers(), [[5, 0]]);
  assertEquals(rig.buffer(5, data.length), data);
  assertEquals(rig.buffer(5).subarray(data.length).every((byte) => byte === 0), true);
  rig.checkIdle();
});

Deno.test("MultipathQueue carries an LBA from its low half into its high half", () => {
  const rig = new Rig({ paths: 1, ...MANUAL });
  rig.submit(0, BlockOp.READ, 2 ** 32 - 4, 16);
  rig.submit(1, BlockOp.READ, 2 ** 32 - 8, 16);
  rig.submit(2, BlockOp.READ, 2 ** 52 + 2 ** 32 - 1, 9);
  rig.pump();
  assertEquals(ranges(rig.commands(0)), [
    ...[[2 ** 32 - 8, 8], [2 ** 32 - 4, 8], [2 ** 32, 8], [2 ** 32 + 4, 8]],
    ...[[2 ** 52 + 2 ** 32 - 1, 8], [2 ** 52 + 2 ** 32 + 7, 1]],
  ] as [number, number][]);
});

Deno.test("MultipathQueue splits by the limits of the path that takes the part", () => {
  const rig = new Rig({ paths: 0, ...MANUAL });
  rig.addPath(0, { ...rig.limits, maxTransferBytes: 1024 });
  rig.addPath(1, { ...rig.limits, maxTransferBytes: 4096 });
  rig.submit(0, BlockOp.READ, 0, 16);
  rig.pump();
  assertEquals(ranges(rig.commands(0)), [[0, 2], [10, 2]]);
  assertEquals(ranges(rig.commands(1)), [[2, 8], [12, 4]]);
});

Deno.test("MultipathQueue sends FUA, and deallocates with write zeroes unless it must not", () => {
  const rig = new Rig({ paths: 1, ...MANUAL });
  rig.submit(0, BlockOp.WRITE, 0, 1, BlockFlag.FUA);
  rig.submit(1, BlockOp.WRITE, 1, 1);
  rig.submit(2, BlockOp.WRITE_ZEROES, 2, 1, BlockFlag.FUA);
  rig.submit(3, BlockOp.WRITE_ZEROES, 3, 1, BlockFlag.NO_UNMAP);
  rig.pump();
  const cdw12 = rig.commands(0).sort((a, b) => a.lba - b.lba)
    .map(({ sqe }) => new DataView(sqe.buffer).getUint32(48, true) >>> 16);
  assertEquals(cdw12, [0x4000, 0, 0x4200, 0]);
});

Deno.test("MultipathQueue splits write zeroes by its own limit and never past what a command can name", () => {
  const rig = new Rig({ paths: 1, ...MANUAL });
  rig.submit(0, BlockOp.WRITE_ZEROES, 0, 130);
  rig.pump();
  assertEquals(ranges(rig.commands(0)), [[0, 64], [64, 64], [128, 2]]);

  const large = new Rig({ paths: 1, limits: { maxWriteZeroesBlocks: 0xffffffff }, ...MANUAL });
  large.submit(0, BlockOp.WRITE_ZEROES, 0, 65537);
  large.pump();
  assertEquals(ranges(large.commands(0)), [[0, 65536], [65536, 1]]);
});

Deno.test("MultipathQueue discards with one range a command, each with a place of its own in the request's buffer", () => {
  const discarded: [number, number][] = [];
  const storage = {
    execute(command: TargetCommand, data: Uint8Array) {
      const view = new DataView(data.buffer, data.byteOffset);
      assertEquals([command.opcode, data.length, view.getUint32(0, true)], [NvmOpcode.DATASET_MANAGEMENT, 16, 0]);
      discarded.push([Number(view.getBigUint64(8, true)), view.getUint32(4, true)]);
      return 0;
    },
  };
  for (const inCapsuleBytes of [0, 4096]) {
    const rig = new Rig({ inCapsuleBytes, limits: { maxDiscardBlocks: 1000 }, storage });
    discarded.length = 0;
    rig.submit(0, BlockOp.DISCARD, 2 ** 32 - 500, 2500);
    rig.pump();
    assertEquals(rig.answers(), [[0, 0]]);
    discarded.sort((a, b) => a[0] - b[0]);
    assertEquals(discarded, [[2 ** 32 - 500, 1000], [2 ** 32 + 500, 1000], [2 ** 32 + 1500, 500]]);
    rig.checkIdle();
  }
  const huge = new Rig({ paths: 1, storage });
  discarded.length = 0;
  huge.submit(0, BlockOp.DISCARD, 0, 0xffffffff);
  huge.pump();
  assertEquals([huge.answers(), discarded], [[[0, 0]], [[0, 0xffffffff]]]);
});

Deno.test("MultipathQueue answers EOPNOTSUPP to what its paths cannot do", () => {
  const rig = new Rig({ limits: { maxDiscardBlocks: 0, maxWriteZeroesBlocks: 0 } });
  rig.submit(0, BlockOp.DISCARD, 0, 8);
  rig.submit(1, BlockOp.WRITE_ZEROES, 0, 8);
  rig.pump();
  assertEquals(rig.answers(), [[0, EOPNOTSUPP], [1, EOPNOTSUPP]]);
  rig.checkIdle();
});

Deno.test("MultipathQueue that is read-only answers EROFS to all that writes", () => {
  const rig = new Rig({ readOnly: true });
  const ops = [BlockOp.READ, BlockOp.WRITE, BlockOp.FLUSH, BlockOp.DISCARD, BlockOp.WRITE_ZEROES];
  ops.forEach((op, slot) => rig.submit(slot, op, 0, op === BlockOp.FLUSH ? 0 : 8));
  rig.pump();
  assertEquals(new Map(rig.answers()), new Map([[0, 0], [1, EROFS], [2, 0], [3, EROFS], [4, EROFS]]));
  rig.checkIdle();
});

Deno.test("MultipathQueue flushes once, on one path", () => {
  const rig = new Rig(MANUAL);
  rig.submit(0, BlockOp.FLUSH, 0, 0);
  rig.pump();
  assertEquals([...rig.commands(0), ...rig.commands(1)].map((c) => [c.opcode, c.nsid, c.dataBytes]), [[0, 1, 0]]);
});

// ── policies ────────────────────────────────────────────────────────────────────────────────────────────────────────

Deno.test("MultipathQueue uses the policy that its table names, from the next command on, and loses nothing by the switch", () => {
  const rig = new Rig({ depth: 16, ...MANUAL });
  const loads = () => [0, 1].map((path) => rig.commands(path).length);
  const submit = (slots: number[]) => {
    for (const slot of slots) rig.submit(slot, BlockOp.READ, slot, 1);
    rig.pump();
  };
  rig.table.setPolicy("active-passive");
  rig.table.setPreferred(1);
  submit([0, 1, 2, 3]);
  assertEquals(loads(), [0, 4]);
  rig.table.setPolicy("queue-depth");
  submit([4, 5, 6]);
  assertEquals(loads(), [3, 4]);
  rig.table.setPolicy("weighted");
  rig.table.setWeight(0, 3);
  submit([7, 8, 9, 10]);
  assertEquals(loads(), [6, 5]);
  rig.table.setPolicy("round-robin");
  submit([11, 12, 13, 14]);
  assertEquals(loads(), [8, 7]);
  for (const path of [0, 1]) while (rig.commands(path).length > 0) rig.answer(path, rig.commands(path)[0]);
  assertEquals(rig.answers().map(([slot, errno]) => slot + errno).sort((a, b) => a - b), [...Array(15).keys()]);
  rig.checkIdle();
});

Deno.test("MultipathQueue waits for the one path that its policy uses when that is full", () => {
  const rig = new Rig({ policy: "active-passive", connectionDepth: 2, ...MANUAL });
  for (let slot = 0; slot < 5; slot++) rig.submit(slot, BlockOp.READ, slot, 1);
  rig.pump();
  assertEquals([rig.commands(0).length, rig.commands(1).length, rig.waiting], [2, 0, 3]);
  rig.table.setPolicy("round-robin");
  rig.volume.dispatch(rig.nowMs);
  rig.pump();
  assertEquals([rig.commands(0).length, rig.commands(1).length, rig.waiting], [2, 2, 1]);
});

Deno.test("MultipathQueue measures its paths, and lets a policy use those that answer sooner", () => {
  const rig = new Rig({ policy: "service-time", depth: 4, ...MANUAL });
  const takesMs = [20, 1];
  const used = [0, 0];
  for (let i = 0; i < 400; i++) {
    rig.submit(0, i % 2 === 0 ? BlockOp.READ : BlockOp.FLUSH, 0, i % 2 === 0 ? 8 : 0);
    rig.pump();
    const path = rig.commands(0).length > 0 ? 0 : 1;
    if (i % 2 === 0) used[path]++;
    assertEquals(rig.count(path, "BYTES_IN_FLIGHT"), i % 2 === 0 ? 4096 : 0);
    rig.nowMs += takesMs[path];
    rig.answer(path, rig.commands(path)[0]);
    assertEquals(rig.answers(), [[0, 0]]);
  }
  assertEquals(used[0] <= 2, true, `${used}`);
  assertEquals([rig.count(0, "READ_MS"), rig.count(1, "READ_MS_MAX")], [20, 1]);
  rig.checkIdle();
  rig.submit(0, BlockOp.READ, 0, 8);
  rig.pump();
  rig.losePath(1);
  assertEquals([rig.count(1, "IN_FLIGHT"), rig.count(1, "BYTES_IN_FLIGHT")], [0, 0]);
  assertEquals(rig.commands(0).length, 1);
});

// ── statuses ────────────────────────────────────────────────────────────────────────────────────────────────────────

Deno.test("MultipathQueue fails a request with the errno of its status, once all parts are answered", () => {
  const rig = new Rig(MANUAL);
  rig.submit(0, BlockOp.READ, 0, 16);
  rig.pump();
  rig.answer(0, rig.commands(0)[0], StatusCode.UNRECOVERED_READ_ERROR);
  assertEquals(rig.answers(), []);
  rig.answer(1, rig.commands(1)[0]);
  assertEquals(rig.answers(), [[0, ENODATA]]);
  assertEquals([rig.count(0, "ERRORS"), rig.count(1, "ERRORS"), rig.count(0, "FAILOVERS")], [1, 0, 0]);
  rig.checkIdle();
});

Deno.test("MultipathQueue sends what a path cannot serve to another at once, not to the same again", () => {
  const rig = new Rig({ paths: 3, depth: 16, connectionDepth: 32, ...MANUAL });
  for (let slot = 0; slot < 12; slot++) rig.submit(slot, BlockOp.WRITE, slot, 1);
  rig.pump();
  const refuse = (path: number) => {
    for (const command of rig.commands(path)) rig.target(path).respond(command.cid, StatusCode.ANA_INACCESSIBLE);
  };
  // Two paths refuse all they have, and whatever moved from the one to the other.
  for (let round = 0; round < 3; round++) {
    refuse(0);
    refuse(1);
    for (const path of [0, 1, 2]) while (rig.send(rig.paths[path]!) || rig.receive(rig.paths[path]!));
    rig.volume.handleAnswers(rig.nowMs);
  }
  rig.pump();
  while (rig.commands(2).length > 0) {
    const command = rig.commands(2)[0];
    rig.target(2).sendR2t(command.cid, 512);
    rig.pump();
    rig.answer(2, command);
  }
  assertEquals(rig.answers().map(([slot, errno]) => slot + errno).sort((a, b) => a - b), [...Array(12).keys()]);
  rig.checkIdle();
});

Deno.test("MultipathQueue tells every path whose ANA state is in doubt, once", () => {
  const rig = new Rig({ paths: 3, ...MANUAL });
  for (let slot = 0; slot < 6; slot++) rig.submit(slot, BlockOp.READ, slot, 1);
  rig.pump();
  assertEquals(rig.volume.takeAnaChanged(), -1);
  for (const path of [2, 0]) {
    for (const command of rig.commands(path)) rig.target(path).respond(command.cid, StatusCode.ANA_TRANSITION);
  }
  rig.pump();
  assertEquals([rig.volume.takeAnaChanged(), rig.volume.takeAnaChanged()].sort(), [0, 2]);
  assertEquals(rig.volume.takeAnaChanged(), -1);
});

Deno.test("MultipathQueue retries what the controller could not do just now, later and a bounded number of times", () => {
  const rig = new Rig({ paths: 1, ioTimeoutMs: -1, ...MANUAL });
  rig.submit(0, BlockOp.READ, 0, 1);
  rig.pump();
  let tries = 0;
  const startMs = rig.nowMs;
  while (rig.answers().length === 0) {
    if (rig.commands(0).length > 0) {
      tries++;
      rig.answer(0, rig.commands(0)[0], StatusCode.NAMESPACE_NOT_READY);
      assertEquals(rig.commands(0).length, 0, "it is not sent again at once");
      if (rig.volume.isBusy) {
        rig.volume.handleAnswers(rig.nowMs);
        assertEquals(rig.waiting, 1);
      }
    } else rig.advance(100);
    assertEquals(rig.nowMs - startMs < 60_000, true, "it ends");
  }
  assertEquals(tries, 17);
  assertEquals(rig.nowMs - startMs > 10_000, true, "the delay grows");
  assertEquals(rig.requests.status[0], 121);
  rig.checkIdle();
});

Deno.test("MultipathQueue waits as long as the controller asks for with CRD, within a bound", () => {
  const retryDelaysMs = [0, 700, 2_500, 6_553_500];
  const rig = new Rig({ paths: 1, ioTimeoutMs: -1, limits: { retryDelaysMs }, ...MANUAL });
  rig.submit(0, BlockOp.READ, 0, 1);
  rig.pump();
  for (const [crd, delayMs] of [[1, 700], [2, 2_500], [3, 30_000], [0, 800]]) {
    rig.answer(0, rig.commands(0)[0], StatusCode.NAMESPACE_NOT_READY | (crd << StatusField.CRD_SHIFT));
    for (let ms = 100; ms < delayMs; ms += 100) rig.advance(100);
    assertEquals([rig.commands(0).length, rig.waiting], [0, 1], `CRD ${crd}: not yet`);
    rig.advance(100);
    assertEquals(rig.commands(0).length, 1, `CRD ${crd}: now`);
  }
  rig.answer(0, rig.commands(0)[0], StatusCode.WRITE_FAULT | (1 << StatusField.CRD_SHIFT));
  assertEquals(rig.answers(), [[0, ENODATA]], "a medium error is not retried");
  rig.checkIdle();
});

Deno.test("MultipathQueue fails with ETIMEDOUT what found no path after its command was not answered, else with EIO", () => {
  const rig = new Rig({ paths: 1, ioTimeoutMs: 1_000, noPathTimeoutMs: 5_000, ...MANUAL });
  rig.submit(0, BlockOp.READ, 0, 1);
  rig.pump();
  rig.advance(500);
  rig.submit(1, BlockOp.READ, 1, 1);
  rig.pump();
  rig.advance(500);
  assertEquals(rig.paths[0]!.connection.state, "failed");
  rig.losePath(0);
  rig.submit(2, BlockOp.READ, 2, 1);
  rig.advance(4_900);
  assertEquals(rig.answers(), []);
  for (let ms = 0; ms < 1_000; ms += 100) rig.advance(100);
  assertEquals(rig.answers().sort(), [[0, ETIMEDOUT], [1, EIO], [2, EIO]]);
  rig.checkIdle();
});

Deno.test("MultipathQueue reads again elsewhere what came with a wrong data digest, and counts it", () => {
  const rig = new Rig({ manners: { answers: false, dataDigest: true } });
  rig.submit(0, BlockOp.READ, 7, 1);
  rig.pump();
  const path = rig.commands(0).length > 0 ? 0 : 1;
  rig.spoil(path, rig.commands(path)[0], pattern(512, 1));
  assertEquals(rig.answers(), []);
  assertEquals([rig.commands(path).length, ranges(rig.commands(1 - path))], [0, [[7, 1]]]);
  assertEquals([rig.count(path, "DIGEST_ERRORS"), rig.count(path, "ERRORS"), rig.count(path, "FAILOVERS")], [1, 1, 1]);
  rig.target(1 - path).storage = {
    execute: (_, data) => {
      data.set(pattern(512, 2));
      return 0;
    },
  };
  rig.answer(1 - path, rig.commands(1 - path)[0]);
  assertEquals(rig.answers(), [[0, 0]]);
  assertEquals(rig.buffer(0, 512), pattern(512, 2));
  assertEquals([rig.count(1 - path, "DIGEST_ERRORS"), rig.paths[path]!.connection.state], [0, "ready"]);
  rig.checkIdle();
});

Deno.test("MultipathQueue gives up with ENOLINK on a read that comes with a wrong data digest each time", () => {
  const rig = new Rig({ paths: 1, manners: { answers: false, dataDigest: true } });
  rig.submit(0, BlockOp.READ, 7, 1);
  rig.pump();
  for (let i = 0; i <= RETRIES_MAX; i++) {
    assertEquals(rig.answers(), []);
    rig.spoil(0, rig.commands(0)[0], pattern(512, 1));
    rig.advance(RETRY_DELAY_MS_MAX);
  }
  assertEquals(rig.answers(), [[0, ENOLINK]]);
  assertEquals(rig.count(0, "DIGEST_ERRORS"), RETRIES_MAX + 1);
  rig.checkIdle();
});

Deno.test("MultipathQueue writes again elsewhere, at once, what the controller got with a wrong data digest", () => {
  const rig = new Rig({ manners: { answers: false } });
  rig.submit(0, BlockOp.WRITE, 7, 1);
  rig.pump();
  const path = rig.commands(0).length > 0 ? 0 : 1;
  rig.answer(path, rig.commands(path)[0], StatusCode.TRANSIENT_TRANSPORT_ERROR);
  assertEquals([rig.commands(path).length, ranges(rig.commands(1 - path)), rig.held], [0, [[7, 1]], 0]);
  rig.target(1 - path).manners.answers = true;
  const [command] = rig.commands(1 - path);
  rig.target(1 - path).sendR2t(command.cid, 512);
  rig.pump();
  assertEquals(rig.answers(), [[0, 0]]);
  rig.checkIdle();
});

Deno.test("MultipathQueue counts a wrong header digest, which costs the connection", () => {
  const rig = new Rig({ manners: { answers: false, headerDigest: true } });
  rig.submit(0, BlockOp.FLUSH, 0, 0);
  rig.pump();
  const path = rig.commands(0).length > 0 ? 0 : 1;
  const pdu = withDigests(responsePdu(rig.commands(path)[0].cid), { headerDigest: true, dataDigest: false });
  pdu[25] ^= 1;
  rig.target(path).send(pdu);
  rig.pump();
  assertEquals(rig.paths[path]!.connection.state, "failed");
  rig.volume.stopPath(path);
  rig.quietPath(path);
  assertEquals(rig.count(path, "DIGEST_ERRORS"), 1);
  rig.answer(1 - path, rig.commands(1 - path)[0]);
  assertEquals(rig.answers(), [[0, 0]]);
  rig.checkIdle();
});

Deno.test("MultipathQueue does not retry what the controller forbids to retry", () => {
  const rig = new Rig(MANUAL);
  for (const status of [StatusCode.NAMESPACE_NOT_READY, StatusCode.ANA_INACCESSIBLE]) {
    rig.submit(0, BlockOp.READ, 0, 1);
    rig.pump();
    const path = rig.commands(0).length > 0 ? 0 : 1;
    rig.answer(path, rig.commands(path)[0], status | StatusField.DNR);
    assertEquals(rig.answers().length, 1);
    assertEquals(rig.requests.status[0] > 0, true);
    rig.checkIdle();
  }
});

Deno.test("MultipathQueue sends all of a request again when one of its parts must be, and a good end is a good end", () => {
  const rig = new Rig(MANUAL);
  rig.submit(0, BlockOp.READ, 0, 16);
  rig.pump();
  rig.answer(0, rig.commands(0)[0], StatusCode.COMMAND_INTERRUPTED);
  rig.answer(1, rig.commands(1)[0]);
  assertEquals([rig.answers(), rig.commands(0).length + rig.commands(1).length], [[], 0]);
  rig.advance(200);
  assertEquals(ranges([...rig.commands(0), ...rig.commands(1)]), [[0, 8], [8, 8]]);
  for (const path of [0, 1]) rig.answer(path, rig.commands(path)[0]);
  assertEquals(rig.answers(), [[0, 0]]);
  rig.checkIdle();
});

// ── lost paths ──────────────────────────────────────────────────────────────────────────────────────────────────────

Deno.test("MultipathQueue moves reads and flushes of a lost path at once, and holds what changes data", () => {
  const rig = new Rig({ paths: 1, writeHoldMs: 2000, ...MANUAL });
  const ops = [BlockOp.READ, BlockOp.FLUSH, BlockOp.WRITE, BlockOp.WRITE_ZEROES, BlockOp.DISCARD];
  ops.forEach((op, slot) => rig.submit(slot, op, 8 * slot, op === BlockOp.FLUSH ? 0 : 8));
  rig.pump();
  assertEquals(rig.commands(0).length, 5);
  rig.addPath(1);
  rig.losePath(0);
  assertEquals(rig.commands(1).map((c) => c.opcode).sort(), [NvmOpcode.FLUSH, NvmOpcode.READ]);
  assertEquals([rig.held, rig.count(0, "FAILOVERS"), rig.count(0, "IN_FLIGHT")], [3, 5, 0]);
  rig.advance(1900);
  assertEquals([rig.held, rig.commands(1).length], [3, 2]);
  rig.advance(100);
  assertEquals([rig.held, rig.commands(1).length], [0, 5]);
  rig.target(1).manners.answers = true;
  for (const command of rig.commands(1)) {
    if (command.data.length > 0) rig.target(1).sendR2t(command.cid, command.dataBytes);
    else rig.answer(1, command);
  }
  rig.pump();
  assertEquals(rig.answers().map(([, errno]) => errno), [0, 0, 0, 0, 0]);
  rig.checkIdle();
});

Deno.test("MultipathQueue does not give a request back before the lost path's socket is quiet", () => {
  const rig = new Rig({ ioTimeoutMs: -1, ...MANUAL });
  rig.submit(0, BlockOp.READ, 0, 8);
  rig.submit(1, BlockOp.READ, 8, 8);
  rig.pump();
  rig.failPath(0);
  rig.pump();
  assertEquals(rig.commands(1).length, 1);
  rig.table.cut();
  rig.advance(60_000);
  assertEquals(rig.answers().length, 0);
  rig.answer(1, rig.commands(1)[0]);
  assertEquals(rig.answers(), [[1, 0]]);
  rig.quietPath(0);
  assertEquals(rig.commands(1).length, 1);
});

Deno.test("MultipathQueue takes answers that came before the path was lost, and those that waited for their send", () => {
  const rig = new Rig({ paths: 1, inCapsuleBytes: 4096, ...MANUAL });
  rig.submit(0, BlockOp.READ, 0, 1);
  rig.submit(1, BlockOp.WRITE, 1, 8);
  const path = rig.paths[0]!;
  rig.send(path, 72 + 72 + 100);
  const [read] = rig.commands(0);
  rig.target(0).answer(read.cid);
  // The target answers the write although its data is not complete.
  rig.target(0).respond(path.connection.commands.cid[1], 0x06);
  rig.receive(path);
  path.connection.handleTransportError("it was pulled out");
  rig.losePath(0);
  assertEquals(rig.answers(), [[0, 0]]);
  assertEquals(rig.held, 0, "the write was answered: there is nothing to hold");
});

Deno.test("MultipathQueue holds no write of a volume that is given up, and answers what is held with EIO", () => {
  const rig = new Rig({ paths: 2, writeHoldMs: 10_000, ...MANUAL });
  rig.submit(0, BlockOp.WRITE, 0, 1);
  rig.submit(1, BlockOp.WRITE, 8, 1);
  rig.pump();
  rig.losePath(0);
  rig.losePath(1);
  rig.advance(200);
  assertEquals([rig.held, rig.answers()], [2, []]);
  rig.table.cut();
  rig.advance(200);
  assertEquals([rig.held, rig.answers()], [2, []], "a wait that is cut does not make a write unsafe");
  rig.table.giveUp();
  rig.advance(200);
  assertEquals(rig.answers(), [[0, EIO], [1, EIO]]);
  rig.checkIdle();
});

Deno.test("MultipathQueue releases held writes when their controller is known to be dead", () => {
  const rig = new Rig(MANUAL);
  for (let slot = 0; slot < 4; slot++) rig.submit(slot, BlockOp.WRITE, slot, 1);
  rig.pump();
  rig.losePath(0);
  assertEquals(rig.held, 2);
  rig.volume.releaseHeld(1, rig.nowMs);
  assertEquals(rig.held, 2);
  rig.volume.releaseHeld(0, rig.nowMs);
  assertEquals(rig.held, 0);
  rig.pump();
  assertEquals(rig.commands(1).length, 4);
});

Deno.test("MultipathQueue holds a write whose parts were lost on two paths until both controllers are dead", () => {
  const rig = new Rig({ paths: 3, ...MANUAL });
  rig.submit(0, BlockOp.WRITE, 0, 16);
  rig.pump();
  assertEquals([0, 1, 2].map((path) => rig.commands(path).length), [1, 1, 0]);
  rig.losePath(0);
  rig.losePath(1);
  assertEquals(rig.held, 1);
  rig.volume.releaseHeld(1, rig.nowMs);
  rig.pump();
  assertEquals([rig.held, rig.commands(2).length], [1, 0], "the controller of path 0 may still write");
  rig.volume.releaseHeld(0, rig.nowMs);
  rig.pump();
  assertEquals([rig.held, rig.commands(2).length], [0, 2]);
});

Deno.test("MultipathQueue holds writes for an earlier controller of a path when a later one is known to be dead", () => {
  const rig = new Rig({ writeHoldMs: 2000, ...MANUAL });
  rig.submit(0, BlockOp.WRITE, 0, 1);
  rig.pump();
  rig.losePath(0);
  rig.addPath(0);
  rig.submit(1, BlockOp.WRITE, 1, 1);
  rig.submit(2, BlockOp.WRITE, 2, 1);
  rig.pump();
  assertEquals([0, 1].map((path) => rig.commands(path).length), [1, 1]);
  rig.losePath(0);
  assertEquals(rig.held, 2);
  rig.volume.releaseHeld(0, rig.nowMs);
  rig.pump();
  assertEquals([rig.held, rig.commands(1).length], [1, 2], "the first controller of path 0 may still write");
  rig.advance(2000);
  assertEquals([rig.held, rig.commands(1).length], [0, 3]);
});

Deno.test("MultipathQueue holds a failed write, too, while a lost controller may still execute a part of it", () => {
  const rig = new Rig({ writeHoldMs: 2000, ...MANUAL });
  rig.submit(0, BlockOp.WRITE, 0, 16);
  rig.pump();
  rig.answer(0, rig.commands(0)[0], StatusCode.WRITE_FAULT);
  rig.losePath(1);
  assertEquals(rig.answers(), [], "what is written to the same blocks after the answer could be overwritten");
  rig.advance(1900);
  assertEquals(rig.answers(), []);
  rig.advance(100);
  assertEquals(rig.answers(), [[0, ENODATA]]);
  rig.checkIdle();
});

Deno.test("MultipathQueue does not hold if it is told not to", () => {
  const rig = new Rig({ writeHoldMs: 0, ...MANUAL });
  rig.submit(0, BlockOp.WRITE, 0, 1);
  rig.submit(1, BlockOp.WRITE, 1, 1);
  rig.pump();
  rig.losePath(1);
  assertEquals([rig.held, rig.commands(0).length], [0, 2]);
});

Deno.test("MultipathQueue goes on with a request that was partly issued when a path was lost", () => {
  const rig = new Rig({ connectionDepth: 1, requestBytes: 65536, depth: 4, ...MANUAL });
  // Two of eight parts are in flight, the rest waits for room.
  rig.submit(0, BlockOp.READ, 0, 64);
  rig.submit(1, BlockOp.READ, 1000, 1);
  rig.pump();
  assertEquals([rig.commands(0).length, rig.commands(1).length, rig.waiting], [1, 1, 2]);
  rig.losePath(1);
  // The part on the path that is left must be answered before the request begins anew; the other one overtakes it.
  rig.answer(0, rig.commands(0)[0]);
  assertEquals(ranges(rig.commands(0)), [[1000, 1]]);
  rig.answer(0, rig.commands(0)[0]);
  for (let part = 0; part < 8; part++) {
    assertEquals(ranges(rig.commands(0)), [[8 * part, 8]]);
    rig.answer(0, rig.commands(0)[0]);
  }
  assertEquals(rig.answers(), [[1, 0], [0, 0]]);
  rig.checkIdle();
});

Deno.test("MultipathQueue fails a connection whose command is not answered in time, and moves on", () => {
  const rig = new Rig({ ioTimeoutMs: 3000, ...MANUAL });
  rig.submit(0, BlockOp.READ, 0, 1);
  rig.pump();
  rig.advance(2900);
  assertEquals(rig.paths[0]!.connection.state, "ready");
  rig.advance(100);
  assertEquals(rig.paths[0]!.connection.state, "failed");
  assertEquals(rig.paths[0]!.connection.failure!.reason, "a command was not answered within 3 s");
  assertEquals(rig.paths[1]!.connection.state, "ready");
  rig.losePath(0);
  assertEquals(rig.commands(1).length, 1);
});

Deno.test("MultipathQueue does not hold the pause of its own process against a command", () => {
  const rig = new Rig({ paths: 1, ioTimeoutMs: 1000, ...MANUAL });
  rig.submit(0, BlockOp.READ, 0, 1);
  rig.pump();
  rig.advance(500);
  rig.nowMs += 60_000;
  rig.volume.handleTime(rig.nowMs);
  assertEquals(rig.paths[0]!.connection.state, "ready", "its answer may have come meanwhile");
  rig.answer(0, rig.commands(0)[0]);
  assertEquals(rig.answers(), [[0, 0]]);
  rig.submit(0, BlockOp.READ, 0, 1);
  rig.pump();
  rig.advance(500);
  rig.nowMs += 60_000;
  rig.advance(200);
  assertEquals(rig.paths[0]!.connection.state, "failed", "it has not come, and there was time to read it");
});

Deno.test("MultipathQueue tells a pause of its own process from a time without requests", () => {
  const rig = new Rig({ paths: 1, ioTimeoutMs: 1000, ...MANUAL });
  rig.nowMs += 60_000;
  rig.submit(0, BlockOp.READ, 0, 1);
  rig.pump();
  rig.advance(100);
  rig.nowMs += 60_000;
  rig.volume.handleTime(rig.nowMs);
  assertEquals(rig.paths[0]!.connection.state, "ready");
  rig.advance(100);
  assertEquals(rig.paths[0]!.connection.state, "failed");
});

Deno.test("MultipathQueue waits for answers as long as it takes if there is no timeout", () => {
  const rig = new Rig({ ioTimeoutMs: -1, ...MANUAL });
  rig.submit(0, BlockOp.READ, 0, 1);
  rig.pump();
  rig.advance(10 ** 7, 10 ** 6);
  assertEquals(rig.paths[0]!.connection.state, "ready");
});

// ── no path ─────────────────────────────────────────────────────────────────────────────────────────────────────────

Deno.test("MultipathQueue without a path waits, and fails requests with EIO when it has waited long enough", () => {
  const rig = new Rig({ paths: 1, noPathTimeoutMs: 5000 });
  rig.losePath(0);
  rig.submit(0, BlockOp.READ, 0, 1);
  rig.submit(1, BlockOp.WRITE, 0, 1);
  rig.pump();
  assertEquals(rig.waiting, 2);
  rig.advance(4900);
  assertEquals(rig.answers(), []);
  rig.advance(100);
  assertEquals(rig.answers(), [[0, EIO], [1, EIO]]);
  // The volume has had no path for long: what comes now fails at once.
  rig.submit(2, BlockOp.READ, 0, 1);
  assertEquals(rig.answers(), [[2, EIO]]);
  rig.checkIdle();
});

Deno.test("MultipathQueue goes on when a path is back in time", () => {
  const rig = new Rig({ paths: 1, noPathTimeoutMs: 5000 });
  rig.losePath(0);
  for (let slot = 0; slot < 16; slot++) rig.submit(slot, BlockOp.READ, slot, 1);
  rig.advance(4900);
  rig.addPath(0);
  rig.advance(100);
  assertEquals(rig.answers().map(([slot, errno]) => slot + errno), [...Array(16).keys()]);
  // The next loss has its own time.
  rig.losePath(0);
  rig.submit(0, BlockOp.READ, 0, 1);
  rig.advance(4900);
  assertEquals(rig.answers(), []);
  rig.advance(100);
  assertEquals(rig.answers(), [[0, EIO]]);
  rig.checkIdle();
});

Deno.test("MultipathQueue counts the time without a path from the last one, though no request used it", () => {
  const rig = new Rig({ paths: 1, noPathTimeoutMs: 5000 });
  rig.table.setAna(0, AnaStateCode.INACCESSIBLE);
  rig.submit(0, BlockOp.READ, 0, 1);
  rig.advance(5000);
  assertEquals(rig.answers(), [[0, EIO]]);
  rig.table.setAna(0, AnaStateCode.OPTIMIZED);
  rig.nowMs += 3_600_000;
  rig.table.setAna(0, AnaStateCode.CHANGE);
  rig.submit(1, BlockOp.READ, 0, 1);
  rig.advance(4900);
  assertEquals(rig.answers(), []);
  rig.table.setAna(0, AnaStateCode.NON_OPTIMIZED);
  rig.advance(100);
  assertEquals(rig.answers(), [[1, 0]]);
});

Deno.test("MultipathQueue does not wait longer for a path because useless ones come and go", () => {
  const rig = new Rig({ paths: 1, noPathTimeoutMs: 5000 });
  rig.table.setAna(0, AnaStateCode.INACCESSIBLE);
  rig.submit(0, BlockOp.READ, 0, 1);
  for (let i = 0; i < 7; i++) {
    rig.advance(700);
    rig.losePath(0);
    rig.addPath(0, rig.limits, AnaStateCode.INACCESSIBLE);
  }
  rig.advance(100);
  assertEquals(rig.answers(), [[0, EIO]]);
});

Deno.test("MultipathQueue waits for ever if there is no limit, until the wait is cut", () => {
  const rig = new Rig({ paths: 1, noPathTimeoutMs: -1 });
  rig.losePath(0);
  rig.submit(0, BlockOp.READ, 0, 1);
  rig.advance(10 ** 7, 10 ** 6);
  assertEquals(rig.answers(), []);
  rig.table.cut();
  rig.advance(100);
  assertEquals(rig.answers(), [[0, EIO]]);
  rig.submit(1, BlockOp.READ, 0, 1);
  assertEquals(rig.answers(), [[1, EIO]]);
  rig.checkIdle();
});

Deno.test("MultipathQueue serves requests over paths that work though the wait is cut", () => {
  const rig = new Rig();
  rig.table.cut();
  rig.submit(0, BlockOp.WRITE, 0, 16);
  rig.pump();
  assertEquals(rig.answers(), [[0, 0]]);
});

Deno.test("MultipathQueue answers a request with EIO, once, whose last parts found no path", () => {
  const rig = new Rig({ paths: 1, connectionDepth: 1, noPathTimeoutMs: 0, ...MANUAL });
  rig.submit(0, BlockOp.READ, 0, 16);
  rig.pump();
  rig.table.setUsable(0, false);
  rig.volume.handleTime(rig.nowMs);
  assertEquals(rig.answers(), [], "a part is in flight");
  rig.answer(0, rig.commands(0)[0]);
  assertEquals(rig.answers(), [[0, EIO]]);
  rig.checkIdle();
});

// ── ANA and the table ───────────────────────────────────────────────────────────────────────────────────────────────

Deno.test("MultipathQueue uses optimized paths before others, and inaccessible ones not at all", () => {
  const rig = new Rig({ paths: 4, depth: 16, connectionDepth: 16, noPathTimeoutMs: 100_000, ...MANUAL });
  const states = [
    AnaStateCode.NON_OPTIMIZED,
    AnaStateCode.OPTIMIZED,
    AnaStateCode.INACCESSIBLE,
    AnaStateCode.OPTIMIZED,
  ];
  states.forEach((state, path) => rig.table.setAna(path, state));
  const submitFour = (from: number) => {
    for (let slot = from; slot < from + 4; slot++) rig.submit(slot, BlockOp.READ, slot, 1);
    rig.pump();
    return [0, 1, 2, 3].map((path) => rig.commands(path).length);
  };
  assertEquals(submitFour(0), [0, 2, 0, 2]);
  rig.table.setUsable(1, false);
  rig.table.setAna(3, AnaStateCode.PERSISTENT_LOSS);
  assertEquals(submitFour(4), [4, 2, 0, 2]);
  rig.table.setAna(0, AnaStateCode.CHANGE);
  assertEquals(submitFour(8), [4, 2, 0, 2]);
  assertEquals(rig.waiting, 4);
  rig.table.setAna(2, AnaStateCode.NON_OPTIMIZED);
  rig.advance(100);
  assertEquals(rig.commands(2).length, 4);
});

Deno.test("MultipathQueue picks no path that is stopped, though its commands may still be answered", () => {
  const rig = new Rig(MANUAL);
  rig.submit(0, BlockOp.READ, 0, 1);
  rig.submit(1, BlockOp.READ, 1, 1);
  rig.pump();
  rig.volume.stopPath(0);
  rig.submit(2, BlockOp.READ, 2, 1);
  rig.submit(3, BlockOp.READ, 3, 1);
  rig.pump();
  assertEquals([rig.commands(0).length, rig.commands(1).length], [1, 3]);
  rig.answer(0, rig.commands(0)[0]);
  assertEquals(rig.answers(), [[0, 0]]);
});

Deno.test("MultipathQueue takes a path again after it was lost, and refuses two connections for one", () => {
  const rig = new Rig({ paths: 2 });
  assertThrows(() => rig.addPath(1), AssertionFailure);
  rig.losePath(1);
  rig.volume.handlePathLost(1, rig.nowMs);
  rig.addPath(1);
  for (let slot = 0; slot < 4; slot++) rig.submit(slot, BlockOp.READ, slot, 1);
  rig.pump();
  assertEquals([rig.count(0, "READS"), rig.count(1, "READS")], [2, 2]);
  rig.checkIdle();
});

Deno.test("MultipathQueue is idle in its eyes when nothing is inside", () => {
  const rig = new Rig(MANUAL);
  assertEquals(rig.volume.isBusy, false);
  rig.submit(0, BlockOp.READ, 0, 1);
  assertEquals(rig.volume.isBusy, true);
  rig.pump();
  rig.answer(0, rig.commands(0)[0]);
  assertEquals(rig.volume.isBusy, false);
  rig.volume.handleTime(rig.nowMs + 10 ** 9);
  assertEquals(rig.paths[0]!.connection.state, "ready");
});

Deno.test("MultipathQueue asks a path again that has refused a request, after a delay, if there is no other", () => {
  const rig = new Rig({ paths: 2, ...MANUAL });
  rig.submit(0, BlockOp.READ, 0, 1);
  rig.pump();
  rig.answer(0, rig.commands(0)[0], StatusCode.ANA_TRANSITION);
  rig.answer(1, rig.commands(1)[0], StatusCode.ANA_TRANSITION);
  assertEquals([rig.commands(0).length, rig.commands(1).length, rig.waiting], [0, 0, 1]);
  rig.advance(200);
  assertEquals(rig.commands(0).length + rig.commands(1).length, 1);
});

Deno.test("MultipathQueue prefers a non-optimized path to an optimized one that has refused the request", () => {
  const rig = new Rig({ paths: 2, ...MANUAL });
  rig.table.setAna(1, AnaStateCode.NON_OPTIMIZED);
  rig.submit(0, BlockOp.READ, 0, 1);
  rig.pump();
  rig.answer(0, rig.commands(0)[0], StatusCode.ANA_INACCESSIBLE);
  assertEquals([rig.commands(0).length, rig.commands(1).length], [0, 1]);
  rig.submit(1, BlockOp.READ, 0, 1);
  rig.pump();
  assertEquals([rig.commands(0).length, rig.commands(1).length], [1, 1], "other requests use it all the same");
});

Deno.test("MultipathQueue uses a path on standby only while no other serves, or for a request that all others have refused", () => {
  const rig = new Rig({ ...MANUAL });
  rig.table.setAna(1, AnaStateCode.NON_OPTIMIZED);
  rig.table.setStandby(0, true);
  rig.submit(0, BlockOp.READ, 0, 1);
  rig.pump();
  assertEquals([rig.commands(0).length, rig.commands(1).length], [0, 1]);
  rig.target(1).respond(rig.commands(1)[0].cid, StatusCode.INTERNAL_PATH_ERROR);
  rig.pump();
  assertEquals([rig.commands(0).length, rig.commands(1).length], [1, 0]);
  rig.answer(0, rig.commands(0)[0]);
  rig.losePath(1);
  rig.submit(1, BlockOp.READ, 0, 1);
  rig.pump();
  rig.answer(0, rig.commands(0)[0]);
  assertEquals(rig.answers(), [[0, 0], [1, 0]]);
  rig.checkIdle();
});

Deno.test("MultipathQueue counts requests that fail by what they were, and keeps what the last one was and why", () => {
  const rig = new Rig({ paths: 1, noPathTimeoutMs: 2_000, ...MANUAL });
  rig.submit(0, BlockOp.READ, 2 ** 32 + 5, 8);
  rig.pump();
  rig.answer(0, rig.commands(0)[0], StatusCode.UNRECOVERED_READ_ERROR);
  const read = { op: BlockOp.READ, lba: 2 ** 32 + 5, blocks: 8, errno: ENODATA, pathlessMs: -1 };
  assertEquals(lastFailed(rig.counters), { ...read, status: StatusCode.UNRECOVERED_READ_ERROR, path: 0 });
  rig.losePath(0);
  rig.submit(1, BlockOp.WRITE, 7, 1);
  rig.submit(2, BlockOp.FLUSH, 0, 0);
  rig.submit(3, BlockOp.WRITE_ZEROES, 9, 1);
  rig.advance(2_000);
  assertEquals(rig.answers().map(([slot, errno]) => [slot, errno]), [[0, ENODATA], [1, EIO], [2, EIO], [3, EIO]]);
  const { FAILED_READS, FAILED_WRITES, FAILED_FLUSHES, FAILED_DISCARDS } = QueueCounter;
  const counters = [FAILED_READS, FAILED_WRITES, FAILED_FLUSHES, FAILED_DISCARDS];
  assertEquals(counters.map((counter) => rig.counters.queue(counter)), [1, 1, 1, 1]);
  const zeroes = { op: BlockOp.WRITE_ZEROES, lba: 9, blocks: 1, errno: EIO, status: 0, path: -1, pathlessMs: 2_000 };
  assertEquals(lastFailed(rig.counters), zeroes);
});
