import { assertEquals } from "@std/assert";
import { PATHS_MAX } from "../../../src/base/limits.ts";
import { Counters, PathCounter, QueueCounter } from "../../../src/multipath/counters.ts";
import { PathTable } from "../../../src/multipath/path_table.ts";
import { POLICY_NAMES } from "../../../src/multipath/policy_names.ts";
import { AnaStateCode } from "../../../src/protocol/nvme_log.ts";

Deno.test("PathTable shows every reader what one writer says, path by path", () => {
  const writer = new PathTable();
  const reader = new PathTable(writer.shared);
  for (let path = 0; path < PATHS_MAX; path++) assertEquals([reader.isUsable(path), reader.ana(path)], [false, 0]);
  for (let path = 0; path < PATHS_MAX; path++) {
    writer.setUsable(path, path % 2 === 0);
    writer.setAna(path, path);
  }
  for (let path = 0; path < PATHS_MAX; path++) {
    assertEquals([reader.isUsable(path), reader.ana(path)], [path % 2 === 0, path]);
  }
  writer.setUsable(0, false);
  assertEquals(reader.isUsable(0), false);
});

Deno.test("PathTable carries the policy, the preferred path and the weights, each with what holds unless told", () => {
  const writer = new PathTable();
  const reader = new PathTable(writer.shared);
  assertEquals([reader.policy, reader.preferred, reader.weight(0), reader.weight(PATHS_MAX - 1)], [0, -1, 1, 1]);
  POLICY_NAMES.forEach((name, number) => {
    writer.setPolicy(name);
    assertEquals(reader.policy, number);
  });
  writer.setPreferred(3);
  for (let path = 0; path < PATHS_MAX; path++) writer.setWeight(path, path + 7);
  assertEquals(reader.preferred, 3);
  for (let path = 0; path < PATHS_MAX; path++) assertEquals(reader.weight(path), path + 7);
  assertEquals(new PathTable(writer.shared).preferred, 3, "a reader changes nothing");
});

Deno.test("PathTable carries which paths are slow", () => {
  const writer = new PathTable();
  const reader = new PathTable(writer.shared);
  assertEquals(reader.slow, 0);
  writer.setSlow(0b1010);
  writer.setUsable(0, true);
  assertEquals([reader.slow, reader.policy, reader.preferred, reader.isUsable(1)], [0b1010, 0, -1, false]);
});

Deno.test("PathTable carries times, -1 for off, and the cut", () => {
  const writer = new PathTable();
  const reader = new PathTable(writer.shared);
  writer.setTimeouts({ ioTimeoutMs: 30_000, noPathTimeoutMs: -1, writeHoldMs: 0 });
  assertEquals([reader.ioTimeoutMs, reader.noPathTimeoutMs, reader.writeHoldMs], [30_000, -1, 0]);
  assertEquals(reader.isCut, false);
  writer.cut();
  assertEquals([reader.isCut, reader.isGivenUp], [true, false]);
  writer.giveUp();
  writer.cut();
  assertEquals([reader.isCut, reader.isGivenUp], [true, true], "what is given up stays so");
  writer.setUsable(PATHS_MAX - 1, true);
  writer.setAna(PATHS_MAX - 1, 0xf);
  assertEquals([reader.ioTimeoutMs, reader.noPathTimeoutMs, reader.writeHoldMs], [30_000, -1, 0]);
});

Deno.test("Counters keep every path and queue counter apart", () => {
  const counters = new Counters();
  const reader = new Counters(counters.shared);
  const names = Object.values(PathCounter);
  for (let path = 0; path < PATHS_MAX; path++) {
    for (const counter of names) counters.addPath(path, counter, 1 + path * names.length + counter);
  }
  counters.setQueue(QueueCounter.WAITING, 7);
  counters.setQueue(QueueCounter.HELD, 8);
  for (let path = 0; path < PATHS_MAX; path++) {
    for (const counter of names) assertEquals(reader.path(path, counter), 1 + path * names.length + counter);
  }
  assertEquals([reader.queue(QueueCounter.WAITING), reader.queue(QueueCounter.HELD)], [7, 8]);
  counters.addPath(3, PathCounter.READ_BYTES, 2 ** 52);
  assertEquals(reader.path(3, PathCounter.READ_BYTES), 2 ** 52 + 1 + 3 * names.length + PathCounter.READ_BYTES);
  assertEquals(reader.path(3, PathCounter.WRITES), 1 + 3 * names.length + PathCounter.WRITES);
});

Deno.test("PathTable counts when a path may serve anew, and no other change", () => {
  const table = new PathTable();
  const count = () => table.servedCount;
  table.setAna(0, AnaStateCode.OPTIMIZED);
  assertEquals(count(), 0);
  table.setUsable(0, true);
  assertEquals(count(), 1);
  table.setAna(0, AnaStateCode.INACCESSIBLE);
  table.setUsable(0, false);
  table.setUsable(0, true);
  assertEquals(count(), 1);
  table.setAna(0, AnaStateCode.NON_OPTIMIZED);
  assertEquals(new PathTable(table.shared).servedCount, 2);
});
