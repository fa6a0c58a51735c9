import { assert, assertAlmostEquals, assertEquals } from "@std/assert";
import { BlockOp } from "../../../src/block/request.ts";
import { Counters, PathCounter } from "../../../src/multipath/counters.ts";
import { PathMeasurements } from "../../../src/multipath/path_measurements.ts";
import { CommandTable } from "../../../src/nvme_host/command_table.ts";

const { READ, WRITE, FLUSH } = BlockOp;
const PATH = 3;

/** One path with commands that are sent and answered by hand. */
class Bench {
  readonly counters = new Counters();
  readonly measured = new PathMeasurements(this.counters);
  readonly commands = new CommandTable(64);
  nowMs = 5000;

  constructor() {
    this.measured.begin(PATH, this.commands);
  }

  send(op: number, bytes: number): number {
    const command = this.commands.allocate();
    this.commands.dataBytes[command] = bytes;
    this.commands.submittedAtMs[command] = this.nowMs;
    this.measured.handleSubmitted(PATH, command, op, this.nowMs);
    return command;
  }

  answer(command: number, op: number, status = 0): void {
    this.commands.status[command] = status;
    this.measured.handleAnswered(PATH, command, op, this.nowMs);
    this.commands.release(command);
  }

  /** Commands one after the other, each of which takes so long. */
  run(count: number, { op = READ as number, bytes = 4096, tookMs = 1, status = 0 }): void {
    for (let i = 0; i < count; i++) {
      const command = this.send(op, bytes);
      this.nowMs += tookMs;
      this.answer(command, op, status);
    }
  }

  count(counter: keyof typeof PathCounter): number {
    return this.counters.path(PATH, PathCounter[counter]);
  }

  expectedMs(op: number = READ, bytes = 4096): number {
    return this.measured.expectedMs(PATH, op, bytes, this.nowMs);
  }
}

Deno.test("PathMeasurements counts commands and bytes in flight, and forgets them with the path", () => {
  const bench = new Bench();
  const first = bench.send(READ, 4096);
  bench.send(WRITE, 8192);
  bench.send(FLUSH, 0);
  assertEquals([bench.count("IN_FLIGHT"), bench.count("BYTES_IN_FLIGHT")], [3, 12288]);
  bench.answer(first, READ);
  assertEquals([bench.count("IN_FLIGHT"), bench.count("BYTES_IN_FLIGHT")], [2, 8192]);
  bench.measured.end(PATH);
  assertEquals([bench.count("IN_FLIGHT"), bench.count("BYTES_IN_FLIGHT")], [0, 0]);
});

Deno.test("PathMeasurements shows what reads and writes take, each in the mean and at most", () => {
  const bench = new Bench();
  bench.run(200, { op: READ, tookMs: 2 });
  bench.run(1, { op: READ, tookMs: 50 });
  bench.run(200, { op: READ, tookMs: 4 });
  bench.run(3, { op: WRITE, tookMs: 7 });
  assertAlmostEquals(bench.count("READ_MS"), 4, 0.1);
  assertEquals([bench.count("READ_MS_MAX"), bench.count("WRITE_MS"), bench.count("WRITE_MS_MAX")], [50, 7, 7]);
  bench.measured.begin(PATH, new CommandTable(8));
  assertEquals([bench.count("READ_MS"), bench.count("READ_MS_MAX"), bench.count("WRITE_MS_MAX")], [0, 0, 0]);
});

Deno.test("PathMeasurements learns nothing from what failed, and nothing from flushes", () => {
  const bench = new Bench();
  bench.run(50, { tookMs: 0.01, status: 6 });
  bench.run(50, { op: FLUSH, bytes: 0, tookMs: 30 });
  assertEquals([bench.count("READ_MS"), bench.count("WRITE_MS"), bench.expectedMs()], [0, 0, 0]);
});

Deno.test("PathMeasurements expects of a distant path what is in flight there to make no difference", () => {
  const bench = new Bench();
  for (let round = 0; round < 50; round++) {
    const commands = Array.from({ length: 32 }, () => bench.send(READ, 4096));
    bench.nowMs += 20;
    for (const command of commands) bench.answer(command, READ);
  }
  assertAlmostEquals(bench.expectedMs(), 20, 0.01);
  for (let i = 0; i < 32; i++) bench.send(READ, 4096);
  assertAlmostEquals(bench.expectedMs(), 20, 0.01);
});

Deno.test("PathMeasurements expects of a narrow path that each byte in flight makes it later", () => {
  const bench = new Bench();
  // 1 ms there and back, and 1 ms for each 4 KiB command, one after the other.
  for (let round = 0; round < 100; round++) {
    const commands = Array.from({ length: 16 }, () => bench.send(READ, 4096));
    bench.nowMs += 1;
    for (const command of commands) {
      bench.nowMs += 1;
      bench.answer(command, READ);
    }
  }
  assertAlmostEquals(bench.expectedMs(), 3, 0.5);
  for (let i = 0; i < 15; i++) bench.send(READ, 4096);
  assertAlmostEquals(bench.expectedMs(), 17, 3);
});

Deno.test("PathMeasurements keeps reads and writes apart", () => {
  const bench = new Bench();
  bench.run(100, { op: READ, tookMs: 1 });
  assertAlmostEquals(bench.expectedMs(WRITE), 1, 0.01, "it is not known yet");
  bench.run(100, { op: WRITE, tookMs: 9 });
  assertAlmostEquals(bench.expectedMs(READ), 1, 0.01);
  assertAlmostEquals(bench.expectedMs(WRITE), 9, 0.01);
});

Deno.test("PathMeasurements notices within seconds that a path has become slower, and at once that it is faster", () => {
  const bench = new Bench();
  bench.run(1000, { tookMs: 1 });
  bench.run(100, { tookMs: 20 });
  assert(bench.expectedMs() > 18, `${bench.expectedMs()}`);
  bench.run(200, { tookMs: 20 });
  assertAlmostEquals(bench.expectedMs(), 20, 0.5);
  bench.run(1, { tookMs: 1 });
  assert(bench.expectedMs() < 2, `${bench.expectedMs()}`);
});

Deno.test("PathMeasurements believes the newest answer of a path that is seldom used", () => {
  const bench = new Bench();
  for (const tookMs of [20, 22, 1, 1.5]) {
    bench.nowMs += 1_500;
    bench.run(1, { tookMs });
    assertAlmostEquals(bench.expectedMs(), tookMs, 0.01);
    assertAlmostEquals(bench.count("READ_MS"), tookMs, 0.01);
  }
});

Deno.test("PathMeasurements expects of a path that has fallen silent what it has kept others waiting", () => {
  const bench = new Bench();
  bench.run(100, { tookMs: 1 });
  bench.nowMs += 60_000;
  assertAlmostEquals(bench.expectedMs(), 1, 0.01, "there is nothing that it should answer");
  const stuck = bench.send(READ, 4096);
  bench.nowMs += 300;
  assertEquals(bench.expectedMs(), 300);
  bench.answer(stuck, READ);
  assertAlmostEquals(bench.expectedMs(), 300, 1, "nothing else was heard of it for long");
  bench.run(200, { tookMs: 1 });
  assert(bench.expectedMs() < 3, `${bench.expectedMs()}`);
});

Deno.test("PathMeasurements lets a path of which nothing is known be tried with one command", () => {
  const bench = new Bench();
  assertEquals([bench.expectedMs(READ), bench.expectedMs(WRITE)], [0, 0]);
  const first = bench.send(READ, 4096);
  assert(bench.expectedMs(READ) > 1000 && bench.expectedMs(WRITE) > 1000);
  bench.nowMs += 2;
  bench.answer(first, READ);
  assertAlmostEquals(bench.expectedMs(WRITE), 2, 0.01);
});

Deno.test("PathMeasurements knows when a path was used last for reads, and for what writes", () => {
  const bench = new Bench();
  const last = () => [READ, WRITE].map((op) => bench.measured.lastUsedMs(PATH, op));
  assertEquals(last(), [0, 0]);
  bench.run(3, { tookMs: 5 });
  assertEquals(last(), [5010, 0]);
  bench.run(1, { op: WRITE, tookMs: 5 });
  assertEquals(last(), [5010, 5015]);
});
