import { assertEquals, assertThrows } from "@std/assert";
import { AssertionFailure } from "../../../src/base/assert.ts";
import { KeepAlive, lateExecutionMsOf } from "../../../src/nvme_host/keep_alive.ts";

Deno.test("KeepAlive sends at half of the timeout, once", () => {
  const keepAlive = new KeepAlive({ keepAliveMs: 10_000, nowMs: 1000 });
  assertEquals([keepAlive.poll(1000), keepAlive.poll(5999), keepAlive.nextDeadlineMs], ["idle", "idle", 6000]);
  assertEquals([keepAlive.poll(6000), keepAlive.state, keepAlive.poll(6000)], ["send", "awaiting", "idle"]);
});

Deno.test("KeepAlive keeps its rhythm however late the answer is", () => {
  const keepAlive = new KeepAlive({ keepAliveMs: 10_000, nowMs: 0 });
  assertEquals(keepAlive.poll(5000), "send");
  keepAlive.handleAnswer(5200);
  assertEquals(keepAlive.nextDeadlineMs, 10_000);
  assertEquals([keepAlive.poll(9999), keepAlive.poll(10_000)], ["idle", "send"]);
  keepAlive.handleAnswer(14_999);
  assertEquals(keepAlive.nextDeadlineMs, 15_000);
});

Deno.test("KeepAlive takes a controller for dead that does not answer, for good", () => {
  const keepAlive = new KeepAlive({ keepAliveMs: 10_000, nowMs: 0 });
  assertEquals(keepAlive.poll(5000), "send");
  assertEquals(keepAlive.nextDeadlineMs, 10_000);
  assertEquals([keepAlive.poll(9999), keepAlive.poll(10_000)], ["idle", "dead"]);
  keepAlive.handleAnswer(10_001);
  assertEquals([keepAlive.poll(10_002), keepAlive.state, keepAlive.nextDeadlineMs], ["dead", "dead", Infinity]);
});

Deno.test("KeepAlive has an answer deadline of its own", () => {
  const keepAlive = new KeepAlive({ keepAliveMs: 10_000, answerTimeoutMs: 12_000, nowMs: 0 });
  assertEquals(keepAlive.poll(5000), "send");
  assertEquals([keepAlive.poll(16_999), keepAlive.poll(17_000)], ["idle", "dead"]);
});

Deno.test("KeepAlive sends at once after an answer that took longer than the interval", () => {
  const keepAlive = new KeepAlive({ keepAliveMs: 10_000, answerTimeoutMs: 12_000, nowMs: 0 });
  keepAlive.poll(5000);
  keepAlive.handleAnswer(15_000);
  assertEquals(keepAlive.poll(15_000), "send");
});

Deno.test("KeepAlive counts the deadline from the sending, also after a pause of this process", () => {
  const keepAlive = new KeepAlive({ keepAliveMs: 10_000, nowMs: 0 });
  assertEquals(keepAlive.poll(60_000), "send");
  assertEquals([keepAlive.poll(64_999), keepAlive.poll(65_000)], ["idle", "dead"]);
});

Deno.test("KeepAlive.handleAnswer() without a question changes nothing", () => {
  const keepAlive = new KeepAlive({ keepAliveMs: 10_000, nowMs: 0 });
  keepAlive.handleAnswer(100);
  assertEquals([keepAlive.state, keepAlive.nextDeadlineMs], ["idle", 5000]);
});

Deno.test("KeepAlive.handleTime() moves the state without taking what is due", () => {
  const keepAlive = new KeepAlive({ keepAliveMs: 10_000, nowMs: 0 });
  keepAlive.handleTime(5000);
  keepAlive.handleTime(5001);
  assertEquals([keepAlive.state, keepAlive.poll(5002)], ["due", "send"]);
});

Deno.test("KeepAlive needs a timeout", () => {
  assertThrows(() => new KeepAlive({ keepAliveMs: 0, nowMs: 0 }), AssertionFailure);
});

Deno.test("lateExecutionMsOf() is CQT and 2 KATO, or 3 with TBKAS; without CQT, the controller's timer alone", () => {
  const cases: [keepAliveMs: number | null, trafficBasedKeepAlive: boolean, quiesceMs: number, ms: number][] = [
    [5_000, false, 0, 5_000],
    [5_000, true, 0, 10_000],
    [5_000, false, 1, 10_001],
    [5_000, true, 65_535, 80_535],
    [null, true, 0, 0],
    [null, false, 700, 700],
  ];
  for (const [keepAliveMs, trafficBasedKeepAlive, quiesceMs, ms] of cases) {
    assertEquals(lateExecutionMsOf({ keepAliveMs, trafficBasedKeepAlive, quiesceMs }), ms);
  }
});
