import { assertEquals, assertStringIncludes, assertThrows } from "@std/assert";
import { UmpathError } from "../../../src/base/errors.ts";
import { fillTimeouts } from "../../../src/host/defaults.ts";

Deno.test("fillTimeouts() holds writes as long as the keep-alive timeout, unless told", () => {
  assertEquals(fillTimeouts({}).writeHoldMs, 5_000);
  assertEquals(fillTimeouts({ keepAliveMs: 9_000 }).writeHoldMs, 9_000);
  assertEquals(fillTimeouts({ keepAliveMs: null }).writeHoldMs, 5_000);
  assertEquals(fillTimeouts({ writeHoldMs: null }).writeHoldMs, null);
  assertEquals(fillTimeouts({ writeHoldMs: 0 }).writeHoldMs, 0);
});

Deno.test("fillTimeouts() makes the longest reconnect delay no shorter than the first", () => {
  assertEquals(fillTimeouts({ reconnectDelayMs: 8_000 }).reconnectDelayMaxMs, 8_000);
  assertEquals(fillTimeouts({ reconnectDelayMaxMs: 60_000 }).reconnectDelayMaxMs, 60_000);
  assertEquals(fillTimeouts({ reconnectDelayMaxMs: 100 }).reconnectDelayMs, 100);
  const both = assertThrows(() => fillTimeouts({ reconnectDelayMs: 8_000, reconnectDelayMaxMs: 2_000 }), UmpathError);
  assertEquals(both.code, "usage");
  assertStringIncludes(both.message, "--reconnect-delay 8s with --reconnect-delay-max 2s");
});

Deno.test("fillTimeouts() refuses times that contradict each other and names both", () => {
  const hold = assertThrows(() => fillTimeouts({ noPathTimeoutMs: 2_000 }), UmpathError);
  assertEquals(hold.code, "usage");
  assertStringIncludes(hold.message, "--write-hold 5s with --no-path-timeout 2s");
  const delay = assertThrows(
    () => fillTimeouts({ reconnectDelayMs: 3_000, noPathTimeoutMs: 2_000, writeHoldMs: null }),
    UmpathError,
  );
  assertStringIncludes(delay.message, "--reconnect-delay 3s with --no-path-timeout 2s");
});

Deno.test("fillTimeouts() lets I/O fail at once without a path, if no write is held", () => {
  assertEquals(fillTimeouts({ noPathTimeoutMs: 0, writeHoldMs: null }).noPathTimeoutMs, 0);
  assertEquals(fillTimeouts({ noPathTimeoutMs: 0, writeHoldMs: 0 }).noPathTimeoutMs, 0);
  assertThrows(() => fillTimeouts({ noPathTimeoutMs: 0 }), UmpathError, "--write-hold");
});

Deno.test("fillTimeouts() has no quarrel with times that are off", () => {
  const times = fillTimeouts({ noPathTimeoutMs: null, writeHoldMs: 3_600_000, ioTimeoutMs: null });
  assertEquals([times.noPathTimeoutMs, times.ioTimeoutMs], [null, null]);
});
