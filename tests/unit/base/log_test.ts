import { assert, assertEquals, assertMatch } from "@std/assert";
import { listenToLog, logger, logLevel, relayLog, setLogLevel, setLogSink } from "../../../src/base/log.ts";

/** Lines that `body` logs with the environment `environment` (undefined: unset). */
function logged(environment: Record<string, string | undefined>, body: () => void): string[] {
  const before = Object.keys(environment).map((name) => [name, Deno.env.get(name)] as const);
  const set = (name: string, value: string | undefined) =>
    value === undefined ? Deno.env.delete(name) : Deno.env.set(name, value);
  const lines: string[] = [];
  for (const [name, value] of Object.entries(environment)) set(name, value);
  setLogSink((line) => lines.push(line));
  try {
    body();
  } finally {
    setLogSink(null);
    for (const [name, value] of before) set(name, value);
  }
  return lines;
}

function everyLevel(): void {
  const log = logger("path");
  log.error("e");
  log.warn("w");
  log.info("i");
  log.debug("d");
}

Deno.test("logger() writes the time, level and scope on one line", () => {
  const lines = logged({ JOURNAL_STREAM: undefined, UMPATH_LOG: undefined }, everyLevel);
  assertEquals(lines.length, 3);
  assertMatch(lines[0]!, /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z error path: e\n$/);
});

Deno.test("logger() writes priorities and no time for the journal", () => {
  const lines = logged({ JOURNAL_STREAM: "8:1", UMPATH_LOG: "debug" }, everyLevel);
  assertEquals(lines, ["<3>path: e\n", "<4>path: w\n", "<6>path: i\n", "<7>path: d\n"]);
});

Deno.test("logger() obeys UMPATH_LOG and setLogLevel(), and takes an unknown level for info", () => {
  assertEquals(logged({ UMPATH_LOG: "error" }, everyLevel).length, 1);
  assertEquals(logged({ UMPATH_LOG: "WARN" }, everyLevel).length, 2);
  assertEquals(logged({ UMPATH_LOG: "loud" }, everyLevel).length, 3);
  const lines = logged({ UMPATH_LOG: "error" }, () => {
    setLogLevel("debug");
    assertEquals(logLevel(), "debug");
    assert(logger("x").enabled("debug"));
    everyLevel();
  });
  assertEquals(lines.length, 4);
});

Deno.test("logger() builds a debug line only if somebody has it", () => {
  const built = () => {
    calls++;
    return "line";
  };
  let calls = 0;
  assertEquals(logged({ UMPATH_LOG: "info" }, () => logger("path").debug(built)), []);
  assertEquals(calls, 0);
  const stop = listenToLog(() => {});
  logger("path").debug(built);
  stop();
  assertEquals(calls, 1);
  const lines = logged({ UMPATH_LOG: "debug", JOURNAL_STREAM: "8:1" }, () => logger("path").debug(built));
  assertEquals([lines, calls], [["<7>path: line\n"], 2]);
});

Deno.test("relayLog() writes the line of another process, as one line and at its level", () => {
  const lines = logged({ UMPATH_LOG: "info", JOURNAL_STREAM: "8:1" }, () => {
    relayLog("warn", "path: a\nb");
    relayLog("debug", "path: c");
    relayLog("loud", "path: d");
  });
  assertEquals(lines, ["<4>path: a\\nb\n", "<6>path: d\n"]);
});

Deno.test("logger() keeps a message on one line and adds the stack of what was thrown", () => {
  const [forged, thrown] = logged({ JOURNAL_STREAM: "8:1" }, () => {
    logger("peer").warn("a\n<0>b\x1b[2J");
    logger("peer").error("Cannot go on", new Error("why"));
  });
  assertEquals(forged, "<4>peer: a\\n<0>b\\u001b[2J\n");
  assertMatch(thrown!, /^<3>peer: Cannot go on: Error: why\\n {4}at .*\n$/);
});
