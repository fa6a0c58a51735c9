import { assert, assertEquals } from "@std/assert";
import { EIO, ENODATA, ETIMEDOUT } from "../../../src/base/errno.ts";
import { BlockOp } from "../../../src/block/request.ts";
import { QueueCounter } from "../../../src/multipath/counters.ts";
import { HEDGE_BYTES_MAX } from "../../../src/multipath/hedged_reads.ts";
import { LatencyHistogram } from "../../../src/multipath/latency_histogram.ts";
import { AnaStateCode } from "../../../src/protocol/nvme_log.ts";
import { StatusCode, StatusField } from "../../../src/protocol/nvme_status.ts";
import { c2hPdu, responsePdu, type TargetCommand, withDigests } from "../nvme_host/scripted_target.ts";
import { pattern } from "../nvme_host/wire.ts";
import { Rig, type RigOptions } from "./rig.ts";

const BUDGET_MS = 20;
const DATA = pattern(4096, 3);
const OTHER = pattern(4096, 9);
const { ANA_INACCESSIBLE, UNRECOVERED_READ_ERROR } = StatusCode;

/** Targets that answer when they are told to, and reads that are sent twice after 20 ms. */
class Bench extends Rig {
  constructor(options: RigOptions = {}) {
    super({
      hedge: BUDGET_MS,
      policy: "active-passive",
      limits: { maxTransferBytes: 1 << 20 },
      ...options,
      manners: { answers: false, ...options.manners },
    });
    this.table.setPreferred(0);
  }

  counts(): [sent: number, won: number, suppressed: number] {
    const { HEDGES, HEDGES_WON, HEDGES_SUPPRESSED } = QueueCounter;
    return [HEDGES, HEDGES_WON, HEDGES_SUPPRESSED].map((at) => this.counters.queue(at)) as [number, number, number];
  }

  /** Time passes without a look at deadlines other than those that the volume asks for. */
  wait(ms: number): void {
    this.nowMs += ms;
    if (this.nowMs >= this.volume.nextDueMs) this.pump();
  }

  /** A read of 8 blocks on path 0 that is late, and its copy on path 1. */
  late(slot = 0): { original: TargetCommand; copy: TargetCommand } {
    this.submit(slot, BlockOp.READ, 80, 8);
    this.pump();
    this.wait(BUDGET_MS);
    const [original, copy] = [this.commands(0).at(-1)!, this.commands(1).at(-1)!];
    assertEquals([copy.lba, copy.blocks, copy.opcode], [original.lba, original.blocks, original.opcode]);
    return { original, copy };
  }

  give(path: number, { cid }: TargetCommand, data: Uint8Array<ArrayBuffer>): void {
    const target = this.target(path);
    target.send(withDigests(c2hPdu(cid, data), target.manners));
    target.send(withDigests(responsePdu(cid), target.manners));
    target.commands.delete(cid);
    this.pump();
  }
}

Deno.test("a read that outlives its budget is sent over the other path, and the first answer wins", () => {
  const rig = new Bench();
  rig.submit(1, BlockOp.READ, 8, 8);
  rig.pump();
  assertEquals(rig.volume.nextDueMs, rig.nowMs + BUDGET_MS);
  rig.wait(BUDGET_MS - 1);
  assertEquals([rig.commands(0).length, rig.commands(1).length], [1, 0]);
  rig.wait(1);
  assertEquals([rig.commands(0).length, rig.commands(1).length], [1, 1]);
  assertEquals(rig.volume.nextDueMs, Infinity);
  const [original, copy] = [rig.commands(0)[0], rig.commands(1)[0]];
  rig.give(1, copy, DATA);
  assertEquals(rig.answers(), [[1, 0]]);
  assertEquals(rig.buffer(1, 4096), DATA);
  assertEquals(rig.volume.isBusy, true, "the time goes on for the loser");
  assertEquals([rig.count(0, "IN_FLIGHT"), rig.volume.hedgesInUse], [1, 1], "its CID and the buffer stay in use");
  rig.give(0, original, OTHER);
  assertEquals(rig.buffer(1, 4096), DATA, "the loser writes nothing");
  assertEquals([rig.counts(), rig.count(0, "READS"), rig.count(1, "READS")], [[1, 1, 0], 1, 1]);
  rig.checkIdle();
});

Deno.test("a copy that is answered after its original harms nobody", () => {
  const rig = new Bench();
  const { original, copy } = rig.late();
  rig.give(0, original, DATA);
  assertEquals(rig.answers(), [[0, 0]]);
  rig.give(1, copy, OTHER);
  assertEquals(rig.buffer(0, 4096), DATA);
  assertEquals([rig.answers(), rig.counts()], [[], [1, 0, 0]]);
  rig.checkIdle();
});

Deno.test("a part of a larger read is sent twice by itself", () => {
  const rig = new Bench({ requestBytes: 16384, limits: { maxTransferBytes: 4096 } });
  rig.submit(0, BlockOp.READ, 2 ** 32 - 8, 24);
  rig.pump();
  const [first, second, third] = rig.commands(0);
  rig.give(0, first, DATA);
  rig.give(0, third, DATA);
  rig.wait(BUDGET_MS);
  assertEquals(rig.commands(1).map(({ lba, blocks }) => [lba, blocks]), [[2 ** 32, 8]]);
  rig.give(1, rig.commands(1)[0], OTHER);
  assertEquals(rig.answers(), [[0, 0]]);
  assertEquals(rig.buffer(0, 12288), new Uint8Array([...DATA, ...OTHER, ...DATA]));
  rig.give(0, second, DATA);
  assertEquals(rig.buffer(0, 12288), new Uint8Array([...DATA, ...OTHER, ...DATA]));
  rig.checkIdle();
});

Deno.test("neither command of a pair fails the read while the other is out", () => {
  const cases: [what: string, original: number, copy: number, copyFirst: boolean, errno: number][] = [
    ["the copy fails", 0, ANA_INACCESSIBLE, true, 0],
    ["the copy fails by the medium", 0, UNRECOVERED_READ_ERROR, true, 0],
    ["the original fails", ANA_INACCESSIBLE, 0, false, 0],
    ["the original fails by the medium", UNRECOVERED_READ_ERROR, 0, false, 0],
    ["the original fails after the copy", ANA_INACCESSIBLE, UNRECOVERED_READ_ERROR, true, 0],
    ["both fail by the medium", UNRECOVERED_READ_ERROR, UNRECOVERED_READ_ERROR, false, ENODATA],
    ["the copy fails by its path after it", UNRECOVERED_READ_ERROR, ANA_INACCESSIBLE, false, ENODATA],
  ];
  for (const [what, originalStatus, copyStatus, copyFirst, errno] of cases) {
    const rig = new Bench({ paths: 3 });
    const { original, copy } = rig.late();
    const end = (path: number, command: TargetCommand, status: number) => {
      if (status === 0) rig.give(path, command, DATA);
      else rig.answer(path, command, status);
    };
    if (copyFirst) end(1, copy, copyStatus);
    end(0, original, originalStatus);
    if (!copyFirst) end(1, copy, copyStatus);
    // What nobody has answered well is sent again.
    for (const path of [1, 2]) for (const command of rig.commands(path)) end(path, command, 0);
    assertEquals(rig.answers(), [[0, errno]], what);
    if (errno === 0) assertEquals(rig.buffer(0, 4096), DATA, what);
    rig.checkIdle();
  }
});

Deno.test("the loss of either path, or of both, moves the read", () => {
  for (const lost of [[0], [1], [0, 1], [1, 0]]) {
    const rig = new Bench({ paths: 3 });
    const { original, copy } = rig.late();
    for (const path of lost) rig.losePath(path);
    assertEquals(rig.answers(), [], `${lost}`);
    if (lost.length === 2) rig.give(2, rig.commands(2)[0], DATA);
    else if (lost[0] === 0) rig.give(1, copy, DATA);
    else rig.give(0, original, DATA);
    assertEquals(rig.answers(), [[0, 0]], `${lost}`);
    assertEquals(rig.buffer(0, 4096), DATA);
    rig.checkIdle();
  }
});

Deno.test("a path that is lost with the loser of a pair gives its buffer back", () => {
  const rig = new Bench();
  for (const loser of [0, 1]) {
    for (let i = 0; i < 100; i++) {
      rig.submit(5, BlockOp.READ, i, 1);
      rig.pump();
      rig.answer(0, rig.commands(0)[0]);
      assertEquals(rig.answers(), [[5, 0]]);
    }
    const { original, copy } = rig.late();
    rig.give(1 - loser, loser === 0 ? copy : original, DATA);
    rig.losePath(loser);
    assertEquals(rig.volume.hedgesInUse, 0);
    rig.addPath(loser);
    rig.answers();
    rig.checkIdle();
  }
});

Deno.test("a read whose data is arriving straight into its buffer is answered only when nothing writes there", () => {
  const large = pattern(65536, 5);
  const begun = (): { rig: Bench; copy: TargetCommand; original: TargetCommand; pdu: Uint8Array } => {
    const rig = new Bench({ requestBytes: 65536 });
    rig.submit(0, BlockOp.READ, 0, 128);
    rig.pump();
    rig.wait(BUDGET_MS);
    const [original, copy] = [rig.commands(0)[0], rig.commands(1)[0]];
    const pdu = c2hPdu(original.cid, new Uint8Array(65536).fill(0xaa));
    rig.target(0).send(pdu.subarray(0, 1000));
    rig.pump();
    // The receive of the rest is in the kernel.
    rig.arm(rig.paths[0]!);
    rig.give(1, copy, large);
    assertEquals(rig.answers(), []);
    return { rig, copy, original, pdu };
  };
  const more = begun();
  more.rig.target(0).send(more.pdu.subarray(1000, 2000));
  more.rig.pump();
  assertEquals(more.rig.answers(), [[0, 0]], "the receive is over, the rest goes elsewhere");
  more.rig.target(0).send(more.pdu.subarray(2000));
  more.rig.answer(0, more.original);
  assertEquals(more.rig.buffer(0), large);
  more.rig.target(0).send(responsePdu(more.original.cid));
  const all = begun();
  all.rig.target(0).send(all.pdu.subarray(1000));
  all.rig.target(0).send(responsePdu(all.original.cid));
  all.rig.target(0).commands.clear();
  all.rig.pump();
  assertEquals(all.rig.answers(), [[0, 0]], "the original is answered");
  assertEquals(all.rig.buffer(0), new Uint8Array(65536).fill(0xaa));
  all.rig.checkIdle();
  const lost = begun();
  const { armed } = lost.rig.paths[0]!;
  lost.rig.failPath(0);
  lost.rig.pump();
  assertEquals(lost.rig.answers(), [], "its socket is not quiet");
  lost.rig.memory.fill(0xee, armed!.offset[0], armed!.offset[0] + armed!.bytes[0]);
  lost.rig.quietPath(0);
  assertEquals(lost.rig.answers(), [[0, 0]]);
  assertEquals(lost.rig.buffer(0), large);
  lost.rig.checkIdle();
});

Deno.test("a read whose data has begun to come in small pieces is answered at once, whatever its digest", () => {
  for (const dataDigest of [false, true]) {
    const rig = new Bench({ manners: { dataDigest } });
    const { original, copy } = rig.late();
    const pdu = withDigests(c2hPdu(original.cid, OTHER), rig.target(0).manners);
    rig.target(0).send(pdu.subarray(0, 1000));
    rig.pump();
    rig.arm(rig.paths[0]!);
    rig.give(1, copy, DATA);
    assertEquals(rig.answers(), [[0, 0]]);
    rig.target(0).send(pdu.subarray(1000));
    rig.target(0).send(responsePdu(original.cid));
    rig.target(0).commands.clear();
    rig.pump();
    assertEquals(rig.buffer(0, 4096), DATA);
    assertEquals([rig.count(0, "DIGEST_ERRORS"), rig.count(0, "ERRORS")], [0, 0]);
    rig.checkIdle();
  }
});

Deno.test("a copy with a wrong digest leaves the read to its original, and the other way round", () => {
  const rig = new Bench({ manners: { dataDigest: true } });
  const first = rig.late(0);
  rig.spoil(1, first.copy, OTHER);
  assertEquals(rig.answers(), []);
  rig.give(0, first.original, DATA);
  assertEquals(rig.answers(), [[0, 0]]);
  assertEquals(rig.buffer(0, 4096), DATA);
  assertEquals([rig.count(0, "DIGEST_ERRORS"), rig.count(1, "DIGEST_ERRORS")], [0, 1]);
  for (let i = 0; i < 20; i++) {
    rig.submit(1, BlockOp.READ, 0, 1);
    rig.pump();
    rig.answer(0, rig.commands(0)[0]);
    rig.answers();
  }
  const second = rig.late(0);
  rig.spoil(0, second.original, OTHER);
  assertEquals(rig.answers(), []);
  rig.give(1, second.copy, DATA);
  assertEquals(rig.answers(), [[0, 0]]);
  assertEquals(rig.buffer(0, 4096), DATA);
  assertEquals([rig.count(0, "DIGEST_ERRORS"), rig.count(1, "DIGEST_ERRORS")], [1, 1]);
  rig.checkIdle();
});

Deno.test("only reads are sent twice, those that fit, and only over paths of no worse rank with room", () => {
  const twice = (rig: Bench, ...requests: [op: number, blocks: number][]): number => {
    requests.forEach(([op, blocks], slot) => rig.submit(slot, op, 0, blocks));
    rig.pump();
    rig.wait(BUDGET_MS);
    return rig.paths[1] === null ? rig.counts()[0] : rig.commands(1).length;
  };
  const { WRITE, FLUSH, READ } = BlockOp;
  assertEquals(twice(new Bench(), [WRITE, 8], [FLUSH, 0], [BlockOp.WRITE_ZEROES, 8]), 0);
  const large = new Bench({ requestBytes: 2 * HEDGE_BYTES_MAX });
  assertEquals(twice(large, [READ, HEDGE_BYTES_MAX / 512 + 1]), 0);
  assertEquals(large.counts(), [0, 0, 1]);
  assertEquals(twice(new Bench({ requestBytes: 2 * HEDGE_BYTES_MAX }), [READ, HEDGE_BYTES_MAX / 512]), 1);
  assertEquals(twice(new Bench({ paths: 1 }), [READ, 8]), 0);
  const worse = new Bench();
  worse.table.setAna(1, AnaStateCode.NON_OPTIMIZED);
  assertEquals([twice(worse, [READ, 8]), ...worse.counts()], [0, 0, 0, 0]);
  const slower = new Bench();
  slower.table.setSlow(0b10);
  assertEquals(twice(slower, [READ, 8]), 0);
  const off = new Bench({ hedge: 0 });
  assertEquals([twice(off, [READ, 8]), off.volume.nextDueMs], [0, Infinity]);
});

Deno.test("at most a twentieth of the reads is sent twice; what is too much is counted", () => {
  const rig = new Bench({ depth: 64, connectionDepth: 64 });
  let sent = 0;
  for (let round = 0; round < 40; round++) {
    for (let slot = 0; slot < 50; slot++) rig.submit(slot, BlockOp.READ, slot, 1);
    rig.pump();
    rig.wait(BUDGET_MS);
    sent += rig.commands(1).length;
    for (const path of [0, 1]) for (const command of rig.commands(path)) rig.answer(path, command);
    assertEquals(rig.answers().length, 50);
  }
  const [hedges, won, suppressed] = rig.counts();
  assertEquals([hedges, hedges + suppressed], [sent, 2000]);
  assert(sent >= 96 && sent <= 101 && won === 0, `${sent} sent, ${won} won`);
  rig.checkIdle();
});

Deno.test("a budget by percentile is that of the reads of late, once enough are known", () => {
  const rig = new Bench({ hedge: -95_000 });
  const read = (tookMs: number) => {
    rig.submit(0, BlockOp.READ, 0, 1);
    rig.pump();
    rig.wait(tookMs);
    for (const path of [1, 0]) for (const command of rig.commands(path)) rig.answer(path, command);
    assertEquals(rig.answers(), [[0, 0]]);
    rig.volume.handleTime(rig.nowMs);
  };
  for (let i = 0; i < 63; i++) read(i % 10 === 0 ? 200 : 4);
  assertEquals([rig.counts(), rig.counters.queue(QueueCounter.HEDGE_MS)], [[0, 0, 0], 0]);
  for (let i = 0; i < 37; i++) read(4);
  const budgetMs = rig.counters.queue(QueueCounter.HEDGE_MS);
  assert(budgetMs >= 4 && budgetMs <= 230, `${budgetMs} ms`);
  for (let i = 0; i < 400; i++) read(4);
  const laterMs = rig.counters.queue(QueueCounter.HEDGE_MS);
  assert(laterMs >= 4 && laterMs < 5, `${laterMs} ms`);
  rig.submit(0, BlockOp.READ, 0, 1);
  rig.pump();
  rig.wait(laterMs + 0.01);
  assertEquals(rig.commands(1).length, 1);
});

Deno.test("the budget changes while reads are in flight, and none is lost", () => {
  const rig = new Bench({ hedge: 0, ioTimeoutMs: 1000 });
  rig.submit(0, BlockOp.READ, 80, 8);
  rig.pump();
  rig.table.setHedge(300);
  rig.advance(200);
  assertEquals(rig.commands(1).length, 0);
  rig.advance(100);
  assertEquals(rig.commands(1).length, 1);
  rig.table.setHedge(0);
  rig.advance(100);
  rig.give(1, rig.commands(1)[0], DATA);
  assertEquals(rig.answers(), [[0, 0]]);
  rig.advance(700);
  assertEquals(rig.paths[0]!.connection.state, "failed", "a loser without an answer takes its path down as any");
  rig.losePath(0);
  assertEquals(rig.volume.hedgesInUse, 0);
});

Deno.test("a read on a path that takes nothing any more is sent over any other", () => {
  for (const end of ["stopped", "disabled", "inaccessible"] as const) {
    const rig = new Bench();
    rig.table.setAna(1, AnaStateCode.NON_OPTIMIZED);
    rig.submit(0, BlockOp.READ, 0, 8);
    rig.pump();
    if (end === "stopped") rig.volume.stopPath(0);
    else if (end === "disabled") rig.table.setUsable(0, false);
    else rig.table.setAna(0, AnaStateCode.INACCESSIBLE);
    rig.wait(BUDGET_MS);
    rig.give(1, rig.commands(1)[0], DATA);
    assertEquals(rig.answers(), [[0, 0]], end);
    rig.losePath(0);
    rig.checkIdle();
  }
});

Deno.test("the delay that the original was told holds, though its copy fails last", () => {
  const rig = new Bench({ limits: { maxTransferBytes: 1 << 20, retryDelaysMs: [0, 700, 0, 0] } });
  const { original, copy } = rig.late();
  rig.answer(0, original, StatusCode.NAMESPACE_NOT_READY | (1 << StatusField.CRD_SHIFT));
  assertEquals(rig.answers(), []);
  rig.losePath(1);
  assertEquals([copy.blocks, rig.commands(0).length], [8, 0]);
  rig.advance(600);
  assertEquals([rig.commands(0).length, rig.waiting], [0, 1]);
  rig.advance(100);
  rig.give(0, rig.commands(0)[0], DATA);
  assertEquals(rig.answers(), [[0, 0]]);
  rig.checkIdle();
});

Deno.test("a lost path counts what it has moved, and not what another had answered", () => {
  const rig = new Bench({ paths: 3 });
  rig.late(0);
  rig.losePath(0);
  rig.losePath(1);
  assertEquals([rig.count(0, "FAILOVERS"), rig.count(1, "FAILOVERS")], [1, 1]);
  rig.give(2, rig.commands(2)[0], DATA);
  assertEquals(rig.answers(), [[0, 0]]);
  const loser = new Bench();
  const { copy } = loser.late();
  loser.give(1, copy, DATA);
  loser.losePath(0);
  assertEquals([loser.answers(), loser.count(0, "FAILOVERS")], [[[0, 0]], 0]);
});

Deno.test("a read that was not answered in time and then finds no path fails with ETIMEDOUT, sent twice or not", () => {
  const rig = new Bench({ ioTimeoutMs: 1_000, noPathTimeoutMs: 5_000 });
  rig.late();
  rig.advance(1_500);
  for (const path of [0, 1]) {
    assertEquals(rig.paths[path]!.connection.state, "failed");
    rig.losePath(path);
  }
  rig.advance(5_100);
  assertEquals(rig.answers(), [[0, ETIMEDOUT]]);
  rig.checkIdle();
});

Deno.test("the next look at late reads is always to come, whatever the fractions of the clock", () => {
  const rig = new Bench({ hedge: 1, depth: 64, connectionDepth: 64 });
  for (let i = 0; i < 2_000; i++) {
    rig.nowMs = 1_000 + i * 1.1 + Math.sin(i) / 7;
    rig.submit(0, BlockOp.READ, 0, 1);
    rig.pump();
    rig.wait(0);
    rig.nowMs = rig.volume.nextDueMs;
    rig.pump();
    assert(rig.volume.nextDueMs > rig.nowMs, `${rig.volume.nextDueMs} is due at ${rig.nowMs}`);
    for (const path of [1, 0]) for (const command of rig.commands(path)) rig.answer(path, command);
    assertEquals(rig.answers(), [[0, 0]]);
  }
});

Deno.test("a volume that ends with a pair out answers once", () => {
  const rig = new Bench();
  rig.late();
  rig.table.cut();
  rig.losePath(1);
  assertEquals(rig.answers(), []);
  rig.losePath(0);
  assertEquals(rig.answers(), [[0, EIO]]);
  rig.checkIdle();
});

Deno.test("LatencyHistogram gives percentiles at most an eighth too long, and forgets", () => {
  const histogram = new LatencyHistogram();
  for (let i = 1; i <= 63; i++) histogram.add(i);
  assertEquals(histogram.percentileMs(50), Infinity, "too few");
  for (let i = 64; i <= 1000; i++) histogram.add(i);
  for (const percent of [50, 90, 95, 99]) {
    const ms = histogram.percentileMs(percent);
    assert(ms >= percent * 10 && ms <= percent * 10 * 1.13, `p${percent}: ${ms}`);
  }
  assertEquals(histogram.percentileMs(99.9), Infinity, "too few beyond");
  for (let i = 0; i < 20; i++) {
    histogram.fade(99);
    for (let n = 0; n < 500; n++) histogram.add(1);
  }
  assert(histogram.percentileMs(99) < 1.2);
  histogram.add(0);
  histogram.add(1e9);
  histogram.clear();
  assertEquals(histogram.percentileMs(50), Infinity);
});

Deno.test("a copy goes over no path whose commands are smaller than the read", () => {
  const rig = new Bench({ paths: 1 });
  rig.addPath(1, { ...rig.limits, maxTransferBytes: 2048 });
  rig.submit(0, BlockOp.READ, 80, 8);
  rig.pump();
  rig.wait(BUDGET_MS);
  assertEquals([rig.commands(0).length, rig.commands(1).length], [1, 0]);
  rig.addPath(2);
  rig.submit(1, BlockOp.READ, 160, 8);
  rig.pump();
  rig.wait(BUDGET_MS);
  assertEquals([1, 2].map((path) => rig.commands(path).length), [0, 1]);
});

Deno.test("reads that were not late for long save up no more copies than there are buffers", () => {
  const rig = new Bench();
  const read = () => {
    rig.submit(0, BlockOp.READ, 0, 8);
    rig.pump();
  };
  const finish = () => {
    rig.give(0, rig.commands(0)[0], DATA);
    for (const copy of rig.commands(1)) rig.give(1, copy, DATA);
    assertEquals(rig.answers(), [[0, 0]]);
  };
  for (let i = 0; i < 10_000; i++) {
    read();
    finish();
  }
  assertEquals(rig.counts(), [0, 0, 0]);
  for (let i = 0; i < 120; i++) {
    read();
    rig.wait(BUDGET_MS);
    finish();
  }
  const [sent] = rig.counts();
  assert(sent >= 20 && sent <= 22, `${sent} copies of 120 late reads: 16, and one for twenty`);
  rig.checkIdle();
});
