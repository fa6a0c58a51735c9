import { assert, assertEquals, assertStringIncludes, assertThrows } from "@std/assert";
import { UmpathError } from "../../../src/base/errors.ts";
import { FAULT_RULES_MAX } from "../../../src/base/limits.ts";
import { AnaStateCode } from "../../../src/protocol/nvme_log.ts";
import { StatusCode, StatusField } from "../../../src/protocol/nvme_status.ts";
import type { ListenerDescription } from "../../../src/nvme_target/description.ts";
import { FAULT_OPS } from "../../../src/nvme_target/fault_ops.ts";
import { FAULT_KINDS } from "../../../src/nvme_target/fault_rule.ts";
import { faultHelp, faultLines, parseFault, parseFaults } from "../../../src/nvme_target/fault_words.ts";

const LISTENERS: ListenerDescription[] = [
  { index: 0, traddr: "127.0.0.1", trsvcid: 4420 },
  { index: 1, traddr: "127.0.0.2", trsvcid: 4420 },
  { index: 2, traddr: "127.0.0.2", trsvcid: 4421 },
  { index: 4, traddr: "::1", trsvcid: 4420 },
];

function parse(word: string) {
  return parseFault(word, LISTENERS);
}

function failure(word: string): UmpathError {
  return assertThrows(() => parse(word), UmpathError);
}

Deno.test("parseFault() finds listeners by number, address, address and port, or all of them", () => {
  const good: [string, number[] | null][] = [
    ["1", [0]],
    ["5", [4]],
    ["*", null],
    ["127.0.0.1", [0]],
    ["127.0.0.2", [1, 2]],
    ["127.0.0.2:4421", [2]],
    ["::1", [4]],
    ["[::1]", [4]],
    ["[::1]:4420", [4]],
  ];
  for (const [listener, indexes] of good) assertEquals(parse(`${listener}:reset`).listeners, indexes, listener);
  for (const listener of ["0", "4", "6", "127.0.0.3", "127.0.0.2:4422", "[::1]:1", "", "storage"]) {
    const error = failure(`${listener}:reset`);
    assertStringIncludes(error.message, `the target has no listener ${JSON.stringify(listener)}`);
    assertStringIncludes(error.hint!, "3 (127.0.0.2:4421), 5 ([::1]:4420) or * for all");
  }
});

Deno.test("parseFault() reads a command's fault with all its keys", () => {
  const words = "2:delay=5ms..1.5s,op=read+flush,chance=0.25,count=7,at=2s,for=500ms,every=1m,times=3";
  assertEquals(parse(`  ${words} `), {
    words,
    kind: "delay",
    listeners: [1],
    window: { atMs: 2000, forMs: 500, everyMs: 60_000, times: 3 },
    chance: 0.25,
    count: 7,
    ops: ["read", "flush"],
    queue: null,
    value: 5,
    valueMax: 1500,
  });
});

Deno.test("parseFault() hits all commands of I/O queues, from now on until told otherwise, unless the keys say more", () => {
  const { window, chance, count, ops, value, valueMax } = parse("1:delay=20ms");
  assertEquals(window, { atMs: 0, forMs: null, everyMs: null, times: null });
  assertEquals([chance, count, ops, value, valueMax], [1, null, ["io"], 20, 20]);
  assertEquals(parse("1:stall").window.forMs, null);
  assertEquals(parse("1:stall").queue, null);
  assertEquals(parse("1:reset,every=2s").window, { atMs: 0, forMs: 0, everyMs: 2000, times: null });
  assertEquals(parse("1:half-open").window.forMs, 0);
});

Deno.test("parseFault() reads the argument that its kind takes", () => {
  const values: [string, number][] = [
    ["status=internal-path-error", StatusCode.INTERNAL_PATH_ERROR],
    ["status=write-fault+dnr", StatusCode.WRITE_FAULT | StatusField.DNR],
    ["status=0x371", StatusCode.ABORTED_BY_HOST],
    ["status=0x4006", StatusCode.INTERNAL_ERROR | StatusField.DNR],
    ["ana=change", AnaStateCode.CHANGE],
    ["ana=non-optimized", AnaStateCode.NON_OPTIMIZED],
    ["slow-drain=64K", 65536],
    ["tiny-window=1", 1],
    ["stall", 0],
  ];
  for (const [words, value] of values) assertEquals(parse(`1:${words}`).value, value, words);
  assertEquals(parse("1:stall,queue=admin").queue, "admin");
});

Deno.test("parseFault() names the word and its bad part, and tells what is allowed", () => {
  const bad: [word: string, why: string, hint: string][] = [
    ["", "it is empty", "LISTENER:KIND"],
    ["reset", "it does not say on which listener", "1:reset, or *:reset for all"],
    ["1:", '"" is not a kind of fault', "delay"],
    ["1:dealy=5ms", '"dealy" is not a kind of fault', "Did you mean delay?"],
    ["1:explode", '"explode" is not a kind of fault', "half-open"],
    ["1:toString", '"toString" is not a kind of fault', "half-open"],
    ["127.0.0.1:4420", '"4420" is not a kind of fault', "delay"],
    ["1:delay", "delay needs an argument", "5ms..50ms"],
    ["1:delay=", "delay needs an argument", "5ms..50ms"],
    ["1:delay=5", 'Cannot use "5" for delay: it has no unit', "250ms"],
    ["1:delay=5ms..", 'Cannot use "" for delay', "250ms"],
    ["1:delay=1s..5ms", "ends before it begins", "5ms..50ms"],
    ["1:delay=1ms..2ms..3ms", "is not a range", "5ms..50ms"],
    ["1:delay=0ms", "shorter than 1ms", "250ms"],
    ["1:stall=5s", "stall takes no argument", 'stall without "=5s"'],
    ["1:drop=\x01", "drop takes no argument", "\\u0001"],
    ["1:status=teapot", '"teapot" is not a status', "internal-path-error"],
    ["1:status=write-fautl", '"write-fautl" is not a status', "Did you mean write-fault?"],
    ["1:status=constructor", '"constructor" is not a status', "internal-path-error"],
    ["1:status=success", "is not a status", "0x300"],
    ["1:status=0x0", "is not a status of failure", "0x300"],
    ["1:status=0x4000", "is not a status of failure", "0x300"],
    ["1:status=0x8006", "is not a status of failure", "0x300"],
    ["1:ana=optimised", '"optimised" is not an ANA state', "Did you mean optimized?"],
    ["1:ana=valueOf", '"valueOf" is not an ANA state', "inaccessible"],
    ["1:slow-drain=0", "is not from 1 to 1G", "bytes a second"],
    ["1:slow-drain=fast", 'Cannot use "fast" for slow-drain (bytes a second): it is not a size', "64K"],
    ["1:tiny-window=2G", "is not from 1 to 1G", "4K"],
    ["1:stall,at=5", 'Cannot use "5" for at: it has no unit', "250ms"],
    ["1:stall,for=0s", "shorter than 1ms", "250ms"],
    ["1:stall,for=off", "Cannot turn for off", "250ms"],
    ["1:stall,every=1s", "every needs for", "for=DURATION"],
    ["1:stall,every=1s,for=2s", "for is longer than every", "before it begins again"],
    ["1:stall,times=2", "times needs every", "every=DURATION"],
    ["1:reset,every=1s,times=0", 'times "0" is not a whole number from 1', ""],
    ["1:reset,every=1s,times=1.5", 'times "1.5" is not a whole number', ""],
    ["1:drop,count=many", 'count "many" is not a whole number', ""],
    ["1:drop,chance=0", 'chance "0" is not a probability', "0.1"],
    ["1:drop,chance=1.01", "is not a probability", "0.1"],
    ["1:drop,chance=1e-3", "is not a probability", "0.1"],
    ["1:drop,op=raed", '"raed" is not a command', "Did you mean read?"],
    ["1:late=1s,op=keep-alive", '"keep-alive" is not a command of an I/O queue', "write"],
    ["1:late=2s..1s", "the range", "late=…"],
    ["1:drop,op=", "op has no value", ""],
    ["1:drop,op=read+", '"" is not a command', "keep-alive"],
    ["1:drop,op=hasOwnProperty", "is not a command", "keep-alive"],
    ["1:drop,queue=io", "queue is not for drop", "at, for, every, times, chance, op and count"],
    ["1:reset,op=read", "op is not for reset", "at, for, every, times, chance and queue"],
    ["1:down,queue=io", "queue is not for down", "at, for, every, times and chance"],
    ["1:stall,queue=both", 'queue "both" is not one of admin and io', "for both"],
    ["1:stall,for", "for has no value", ""],
    ["1:stall,at=1s,at=2s", "at stands twice", ""],
    ["1:stall,fro=1s", '"fro" is not a key', "Did you mean for?"],
    ["1:stall,", '"" is not a key', "at, for, every"],
  ];
  for (const [word, why, hint] of bad) {
    const error = failure(word);
    assertEquals(error.code, "usage", word);
    assertStringIncludes(error.message, why, word);
    assertStringIncludes(error.message, JSON.stringify(word), word);
    assertStringIncludes(error.hint ?? "", hint, word);
  }
});

Deno.test("parseFault() does not repeat a word of any length", () => {
  const error = failure(`1:${"x".repeat(5000)}`);
  assertStringIncludes(error.message, "it is longer than 1024 characters");
  assert(error.message.length < 200, error.message);
});

Deno.test("parseFaults() takes as many as a target can have", () => {
  const words = new Array(FAULT_RULES_MAX).fill("*:reset,at=1s");
  assertEquals(parseFaults(words, LISTENERS).length, FAULT_RULES_MAX);
  const error = assertThrows(() => parseFaults([...words, "1:reset"], LISTENERS), UmpathError);
  assertStringIncludes(error.message, `at most ${FAULT_RULES_MAX}`);
});

Deno.test("faultLines() leaves empty lines and comments out", () => {
  const script = "# two faults\n\n 1:reset,at=1s # first\r\n\t\n*:stall,at=2s,for=1s\n#1:drop\n";
  assertEquals(faultLines(script), ["1:reset,at=1s", "*:stall,at=2s,for=1s"]);
  assertEquals(faultLines(""), []);
  assertEquals(faultLines("# one\rline\u2028still\n1:drop # what\rfor"), ["1:drop"]);
});

Deno.test("faultHelp() names every kind and every command", () => {
  const { kinds, keys } = faultHelp();
  for (const kind of Object.keys(FAULT_KINDS)) assert(kinds.some(([term]) => term.split("=")[0] === kind), kind);
  for (const op of Object.keys(FAULT_OPS)) assertStringIncludes(keys.flat().join(" "), op);
});
