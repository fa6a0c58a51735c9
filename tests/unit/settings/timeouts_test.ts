import { assertEquals, assertStringIncludes, assertThrows } from "@std/assert";
import { UmpathError } from "../../../src/base/errors.ts";
import { fillTimeouts, POLICY_NAMES, readPolicy, type Timeouts } from "../../../src/settings/timeouts.ts";

Deno.test("fillTimeouts() holds writes as long as the keep-alive timeout, unless told", () => {
  assertEquals(fillTimeouts({}).writeHoldMs, 5_000);
  assertEquals(fillTimeouts({ keepAliveMs: 9_000 }).writeHoldMs, 9_000);
  assertEquals(fillTimeouts({ keepAliveMs: null }).writeHoldMs, 5_000);
  assertEquals(fillTimeouts({ writeHoldMs: null }).writeHoldMs, null);
  assertEquals(fillTimeouts({ writeHoldMs: 0 }).writeHoldMs, 0);
  assertEquals(fillTimeouts({ keepAliveMs: 9_000, writeHoldMs: "auto" }).writeHoldMs, 9_000);
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
  assertStringIncludes(hold.message, "--write-hold 5s (default) with --no-path-timeout 2s");
  const delay = assertThrows(
    () => fillTimeouts({ reconnectDelayMs: 3_000, noPathTimeoutMs: 2_000, writeHoldMs: null }),
    UmpathError,
  );
  assertStringIncludes(delay.message, "--reconnect-delay 3s with --no-path-timeout 2s");
});

Deno.test("fillTimeouts() names the time that was given, where the hold follows from it", () => {
  const given = assertThrows(() => fillTimeouts({ keepAliveMs: 120_000 }), UmpathError);
  assertStringIncludes(given.message, "--keep-alive 2m with --no-path-timeout 1m");
  assertEquals(fillTimeouts({ keepAliveMs: 120_000, writeHoldMs: 5_000 }).keepAliveMs, 120_000);
  const off = assertThrows(() => fillTimeouts({ keepAliveMs: null, noPathTimeoutMs: 2_000 }), UmpathError);
  assertStringIncludes(off.message, "--write-hold 5s (default) with --no-path-timeout 2s");
});

Deno.test("fillTimeouts() refuses to give a lost path up before it is tried again", () => {
  const times = { ctrlLossTimeoutMs: 1_000, reconnectDelayMs: 2_000 };
  const failure = assertThrows(() => fillTimeouts(times), UmpathError);
  assertStringIncludes(failure.message, "--reconnect-delay 2s with --ctrl-loss-timeout 1s");
  assertEquals(fillTimeouts({ ...times, ctrlLossTimeoutMs: 2_000 }).ctrlLossTimeoutMs, 2_000);
});

Deno.test("fillTimeouts() refuses a fast-io-fail-timeout that comes before a reconnect, or after I/O has failed", () => {
  const cases: [Partial<Timeouts>, string][] = [
    [
      { fastIoFailTimeoutMs: 100 },
      "--reconnect-delay 250ms (default) with --fast-io-fail-timeout 100ms: I/O would fail before",
    ],
    [
      { fastIoFailTimeoutMs: 90_000 },
      "--fast-io-fail-timeout 90s with --no-path-timeout 1m (default): I/O would have failed",
    ],
    [{ fastIoFailTimeoutMs: 9_000, ctrlLossTimeoutMs: 8_000 }, "--fast-io-fail-timeout 9s with --ctrl-loss-timeout 8s"],
  ];
  for (const [times, words] of cases) {
    assertStringIncludes(assertThrows(() => fillTimeouts(times), UmpathError).message, words);
  }
  assertEquals(fillTimeouts({ fastIoFailTimeoutMs: 9_000, ctrlLossTimeoutMs: 9_000 }).fastIoFailTimeoutMs, 9_000);
  assertEquals(fillTimeouts({ fastIoFailTimeoutMs: 90_000, noPathTimeoutMs: null }).fastIoFailTimeoutMs, 90_000);
});

Deno.test("fillTimeouts() refuses to notice a silent controller by nothing at all", () => {
  const failure = assertThrows(() => fillTimeouts({ keepAliveMs: null, ioTimeoutMs: null }), UmpathError);
  assertEquals(failure.code, "usage");
  assertStringIncludes(failure.message, "--keep-alive off with --io-timeout off");
  assertEquals(fillTimeouts({ keepAliveMs: null }).keepAliveMs, null);
});

Deno.test("fillTimeouts() names times as settings where they are settings", () => {
  const failure = assertThrows(() => fillTimeouts({ noPathTimeoutMs: 2_000 }, { prefix: "" }), UmpathError);
  assertStringIncludes(failure.message, "Cannot use write-hold 5s (default) with no-path-timeout 2s");
  const both = { reconnectDelayMs: 8_000, reconnectDelayMaxMs: 2_000 };
  const delays = assertThrows(() => fillTimeouts(both, { prefix: "" }), UmpathError);
  assertStringIncludes(delays.message, "Cannot use reconnect-delay 8s with reconnect-delay-max 2s");
});

Deno.test("readPolicy() knows every policy, and names them to whoever asks for another", () => {
  for (const name of POLICY_NAMES) assertEquals(readPolicy(name), name);
  const failure = assertThrows(() => readPolicy("fastest"), UmpathError);
  assertEquals(failure.code, "usage");
  assertStringIncludes(failure.message, "round-robin, queue-depth");
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
