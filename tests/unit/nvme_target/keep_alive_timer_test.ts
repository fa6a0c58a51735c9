import { assertEquals } from "@std/assert";
import { KeepAliveTimer } from "../../../src/nvme_target/keep_alive_timer.ts";

function expiresAt(timer: KeepAliveTimer, fromMs: number): number {
  for (let nowMs = fromMs; nowMs < fromMs + 1_000_000; nowMs++) {
    timer.handleTime(nowMs);
    if (timer.isExpired) return nowMs;
  }
  return Infinity;
}

Deno.test("KeepAliveTimer expires KATO after the last Keep Alive, rounded up to 100 ms and a little later", () => {
  const timer = new KeepAliveTimer(1_001, 0);
  timer.watch("keep-alive", 0);
  assertEquals(timer.katoMs, 1_100);
  timer.handleCommand(true, 500);
  timer.handleCommand(false, 900);
  assertEquals(timer.deadlineMs, 500 + 1_100 + 100);
  assertEquals(expiresAt(timer, 900), 1_700);
  assertEquals(timer.deadlineMs, Infinity);
});

Deno.test("KeepAliveTimer takes a new KATO from now on", () => {
  const timer = new KeepAliveTimer(1_000, 0);
  timer.watch("keep-alive", 0);
  timer.setKato(5_000, 700);
  assertEquals(timer.deadlineMs, 700 + 5_000 + 100);
});

Deno.test("KeepAliveTimer gives a silent host up after two minutes, and none that it does not watch", () => {
  const timer = new KeepAliveTimer(0, 0);
  timer.handleCommand(false, 1_000);
  assertEquals(timer.deadlineMs, 121_100);
  timer.watch("off", 2_000);
  assertEquals(timer.deadlineMs, Infinity);
  timer.handleTime(10_000_000);
  assertEquals(timer.isExpired, false);
  timer.watch("silence", 10_000_000);
  assertEquals(expiresAt(timer, 10_000_000), 10_120_100);
});
