import { assert, assertEquals, assertNotEquals, fail } from "@std/assert";
import { AdminOpcode, FABRICS_OPCODE, FabricsType, NvmOpcode } from "../../../src/protocol/nvme.ts";
import { AnaStateCode } from "../../../src/protocol/nvme_log.ts";
import { StatusCode } from "../../../src/protocol/nvme_status.ts";
import type { ConnectionFaults } from "../../../src/nvme_target/connection_faults.ts";
import type { ListenerDescription } from "../../../src/nvme_target/description.ts";
import { DrainBudget } from "../../../src/nvme_target/drain_budget.ts";
import type { FaultQueue } from "../../../src/nvme_target/fault_rule.ts";
import { FaultCounts, FaultScript } from "../../../src/nvme_target/fault_script.ts";
import { parseFaults } from "../../../src/nvme_target/fault_words.ts";
import { IoVerdict } from "../../../src/nvme_target/io_faults.ts";
import { type ListenerChange, ListenerFaults } from "../../../src/nvme_target/listener_faults.ts";

const LISTENERS: ListenerDescription[] = [
  { index: 0, traddr: "127.0.0.1", trsvcid: 4420 },
  { index: 1, traddr: "127.0.0.2", trsvcid: 4420 },
];
/** The script's start in the clock of the tests: not zero, so that nobody takes one for the other. */
const START_MS = 10_000;

function script(words: string[], seed = 1, counts?: FaultCounts): FaultScript {
  const rules = parseFaults(words, LISTENERS);
  return new FaultScript({ rules, seed, startMs: START_MS, ...(counts === undefined ? {} : { counts }) });
}

interface Subject {
  listener?: number;
  queue?: FaultQueue;
  stream?: number;
  sinceMs?: number;
}

function faultsOf(from: FaultScript, subject: Subject = {}): ConnectionFaults {
  const faults = from.connection({ listener: 0, queue: "io", stream: 1, sinceMs: START_MS, ...subject });
  return faults ?? fail("No rule is for this connection");
}

/** What `ask` gives at each of these times after the script's start. */
function over<T>(times: number[], ask: (nowMs: number) => T): T[] {
  return times.map((ms) => ask(START_MS + ms));
}

Deno.test("connection() is null where no rule is for the connection, so that it pays nothing", () => {
  const only = script(["1:delay=5ms,op=read", "1:stall,queue=admin", "2:ana=change"]);
  const subject = { stream: 1, sinceMs: START_MS };
  assertEquals(only.connection({ listener: 1, queue: "io", ...subject }), null);
  assertEquals(only.connection({ listener: 1, queue: "admin", ...subject }), null);
  assertEquals(only.connection({ listener: 0, queue: "io", ...subject })?.kinds, ["delay"]);
  assertEquals(only.connection({ listener: 0, queue: "admin", ...subject })?.kinds, ["stall"]);
});

Deno.test("verdict() answers what the first rule that is on says, for the commands that it names only", () => {
  const faults = faultsOf(script([
    "1:status=namespace-not-ready,op=read+flush,at=1s,for=1s",
    "1:drop,op=io,at=1500ms,for=1s",
    "2:status=internal-error",
  ]));
  const at = (opcode: number) => over([0, 999, 1000, 1999, 2000, 2499, 2500], (ms) => faults.verdict(opcode, ms));
  const { NAMESPACE_NOT_READY: status } = StatusCode;
  const { NONE: none, DROP: drop } = IoVerdict;
  assertEquals(at(NvmOpcode.READ), [none, none, status, status, drop, drop, none]);
  assertEquals(at(NvmOpcode.WRITE), [none, none, none, drop, drop, drop, none]);
});

Deno.test("op tells commands of I/O queues from those of admin queues, and Fabrics commands by their type", () => {
  const verdictOf = (words: string, queue: FaultQueue | null, opcode: number, fabricsType = 0) =>
    script([words]).connection({ listener: 0, queue, stream: 1, sinceMs: START_MS })
      ?.verdict(opcode, START_MS, fabricsType) ?? IoVerdict.NONE;
  const { READ } = NvmOpcode;
  assertEquals(READ as number, AdminOpcode.GET_LOG_PAGE, "one opcode, two commands");
  assertEquals(verdictOf("1:drop,op=read", "io", READ), IoVerdict.DROP);
  assertEquals(verdictOf("1:drop,op=read", "admin", READ), IoVerdict.NONE);
  assertEquals(verdictOf("1:drop,op=get-log-page", "admin", READ), IoVerdict.DROP);
  assertEquals(verdictOf("1:drop,op=get-log-page", "io", READ), IoVerdict.NONE);
  assertEquals(verdictOf("1:drop", "io", READ), IoVerdict.DROP);
  assertEquals(verdictOf("1:drop", "io", FABRICS_OPCODE, FabricsType.CONNECT), IoVerdict.NONE);
  assertEquals(verdictOf("1:drop", "admin", AdminOpcode.KEEP_ALIVE), IoVerdict.NONE);
  for (const queue of ["io", "admin", null] as const) {
    for (const op of ["admin", "any", "connect"]) {
      assertEquals(verdictOf(`1:drop,op=${op}`, queue, FABRICS_OPCODE, FabricsType.CONNECT), IoVerdict.DROP);
    }
  }
  assertEquals(verdictOf("1:drop", null, FABRICS_OPCODE, FabricsType.CONNECT), IoVerdict.NONE);
  assertEquals(verdictOf("1:drop,op=any", null, READ), IoVerdict.NONE);
  assertEquals(verdictOf("1:drop,op=connect", "admin", FABRICS_OPCODE, FabricsType.PROPERTY_GET), IoVerdict.NONE);
  assertEquals(
    verdictOf("1:drop,op=property-get", "admin", FABRICS_OPCODE, FabricsType.PROPERTY_GET),
    IoVerdict.DROP,
  );
});

Deno.test("count limits the commands that are hit, over all connections and threads", () => {
  const counts = new FaultCounts();
  const threads = [
    script(["1:drop,count=3"], 1, counts),
    script(["1:drop,count=3"], 1, new FaultCounts(counts.shared)),
  ];
  const faults = threads.flatMap((one) => [faultsOf(one, { stream: 1 }), faultsOf(one, { stream: 2 })]);
  let dropped = 0;
  for (let i = 0; i < 20; i++) {
    if (faults[i % 4]!.verdict(NvmOpcode.READ, START_MS) === IoVerdict.DROP) dropped++;
  }
  assertEquals(dropped, 3);
  assertEquals(counts.hits(0), 3);
});

Deno.test("answerDelayMs() draws from the range, adds what several rules say, and is 0 for other commands", () => {
  const faults = faultsOf(script(["1:delay=10ms..20ms,op=read", "1:delay=5ms,op=read+write"]));
  const delays = Array.from({ length: 200 }, () => faults.answerDelayMs(NvmOpcode.READ, START_MS));
  assert(delays.every((ms) => ms >= 15 && ms < 25), `${delays}`);
  assert(Math.min(...delays) < 16 && Math.max(...delays) > 24, "the whole range is drawn from");
  assertEquals(faults.answerDelayMs(NvmOpcode.WRITE, START_MS), 5);
  assertEquals(faults.answerDelayMs(NvmOpcode.FLUSH, START_MS), 0);
});

Deno.test("spoilsDigest() is true as often as its chance says", () => {
  const faults = faultsOf(script(["1:digest,chance=0.25,op=read"]));
  let spoiled = 0;
  for (let i = 0; i < 4000; i++) if (faults.spoilsDigest(NvmOpcode.READ, START_MS)) spoiled++;
  assert(spoiled > 900 && spoiled < 1100, `${spoiled} of 4000`);
  assertEquals(faults.spoilsDigest(NvmOpcode.WRITE, START_MS), false);
});

Deno.test("the same seed makes the same choices; another seed, stream or rule makes others", () => {
  const draw = (seed: number, stream: number, words = ["1:drop,chance=0.5", "1:delay=1ms..9ms"]) => {
    const faults = faultsOf(script(words, seed), { stream });
    return Array.from({ length: 64 }, (_, i) => [
      faults.verdict(NvmOpcode.READ, START_MS + i),
      faults.answerDelayMs(NvmOpcode.READ, START_MS + i),
    ]).flat();
  };
  assertEquals(draw(7, 1), draw(7, 1));
  assertNotEquals(draw(7, 1), draw(8, 1));
  assertNotEquals(draw(7, 1), draw(7, 2));
  const two = faultsOf(script(["1:drop,chance=0.5", "1:digest,chance=0.5"], 7));
  const verdicts = Array.from({ length: 64 }, () => two.verdict(NvmOpcode.READ, START_MS) === IoVerdict.DROP);
  const digests = Array.from({ length: 64 }, () => two.spoilsDigest(NvmOpcode.READ, START_MS));
  assertNotEquals(verdicts, digests);
});

Deno.test("isStalled() is true from at for as long as for says, and again every so often, times in all", () => {
  const faults = faultsOf(script(["1:stall,at=1s,for=200ms,every=1s,times=2"]));
  const times = [999, 1000, 1199, 1200, 1999, 2000, 2199, 2200, 3000, 4000, 99_000];
  const on = over(times, (nowMs) => faults.isStalled(nowMs));
  assertEquals(on, [false, true, true, false, false, true, true, false, false, false, false]);
  const forever = faultsOf(script(["1:stall,at=1s"]));
  assertEquals(over([0, 1000, 1e9], (nowMs) => forever.isStalled(nowMs)), [false, true, true]);
});

Deno.test("a connection is chosen once for each beginning, and choices do not hang on when one asks", () => {
  const often = faultsOf(script(["1:stall,for=500ms,every=1s,chance=0.5"], 3));
  const seldom = faultsOf(script(["1:stall,for=500ms,every=1s,chance=0.5"], 3));
  let hits = 0;
  for (let second = 0; second < 400; second++) {
    const states = over([0, 100, 499], (ms) => often.isStalled(ms + second * 1000));
    assertEquals(new Set(states).size, 1, "one choice for a beginning");
    if (states[0]) hits++;
    if (second % 3 === 0) assertEquals(seldom.isStalled(START_MS + second * 1000 + 400), states[0]);
  }
  assert(hits > 150 && hits < 250, `${hits} of 400`);
});

Deno.test("shouldReset() is true once for a connection that was there at the beginning, however late one asks", () => {
  const reset = script(["1:reset,at=1s"]);
  const early = faultsOf(reset);
  assertEquals(over([0, 999, 1500, 1501, 9000], (ms) => early.shouldReset(ms)), [false, false, true, false, false]);
  const late = faultsOf(reset, { sinceMs: START_MS + 1001 });
  assertEquals(over([1001, 2000], (ms) => late.shouldReset(ms)), [false, false]);
  assertEquals(reset.counts.hits(0), 1);
});

Deno.test("shouldReset() hits every connection that comes while a reset lasts, and those of each beginning", () => {
  const lasting = script(["1:reset,at=1s,for=1s"]);
  assertEquals(faultsOf(lasting, { sinceMs: START_MS + 1900 }).shouldReset(START_MS + 1900), true);
  assertEquals(faultsOf(lasting, { sinceMs: START_MS + 2001 }).shouldReset(START_MS + 2001), false);
  const repeated = script(["1:reset,every=1s,times=3"]);
  const ask = (sinceMs: number, atMs: number) =>
    faultsOf(repeated, { sinceMs: START_MS + sinceMs }).shouldReset(START_MS + atMs);
  assertEquals([ask(0, 0), ask(1, 999), ask(1, 1000), ask(1001, 2000), ask(2001, 9000)], [
    true,
    false,
    true,
    true,
    false,
  ]);
});

Deno.test("isHalfOpen() stays true when the fault is over, for the connections that it has met", () => {
  const words = script(["1:half-open,at=1s,for=1s,queue=admin"]);
  const met = faultsOf(words, { queue: "admin" });
  assertEquals(over([999, 1000, 2000, 1e6], (ms) => met.isHalfOpen(ms)), [false, true, true, true]);
  const later = faultsOf(words, { queue: "admin", sinceMs: START_MS + 2001 });
  assertEquals(over([2001, 1e6], (ms) => later.isHalfOpen(ms)), [false, false]);
  assertEquals(words.connection({ listener: 0, queue: "io", stream: 1, sinceMs: START_MS }), null);
});

Deno.test("a connection whose queue is not known yet is hit by what hits both kinds", () => {
  const subject = { listener: 0, queue: null, stream: 1, sinceMs: START_MS };
  assertEquals(script(["1:stall,queue=io", "1:reset,queue=admin"]).connection(subject), null);
  assertEquals(script(["1:stall"]).connection(subject)?.isStalled(START_MS), true);
});

Deno.test("bytesPerSecond() and receiveWindowBytes() give the smallest limit in force, or none", () => {
  const faults = faultsOf(
    script(["1:slow-drain=64K,for=2s", "*:slow-drain=1K,at=1s,for=500ms", "1:tiny-window=2K,at=1s"]),
  );
  assertEquals(over([0, 1000, 1500, 2000], (ms) => faults.bytesPerSecond(ms)), [65536, 1024, 65536, Infinity]);
  assertEquals(over([0, 1000], (ms) => faults.receiveWindowBytes(ms)), [Infinity, 2048]);
});

Deno.test("nextChangeMs() tells the next beginning or end of what time alone changes", () => {
  const faults = faultsOf(
    script(["1:stall,at=1s,for=200ms,every=1s,times=2", "1:delay=1s,at=5s", "1:reset,at=1100ms"]),
  );
  const next = over([0, 999, 1000, 1100, 1200, 2000, 2199, 2200, 9000], (ms) => faults.nextChangeMs(ms) - START_MS);
  assertEquals(next, [1000, 1000, 1100, 1200, 2000, 2200, 2200, Infinity, Infinity]);
});

function changes(faults: ListenerFaults, nowMs: number): ListenerChange[] {
  faults.handleTime(nowMs);
  const found: ListenerChange[] = [];
  for (let change = faults.pollChange(); change !== null; change = faults.pollChange()) found.push(change);
  return found;
}

Deno.test("ListenerFaults tells ANA changes and a closed listener once, and what undoes them", () => {
  const faults = new ListenerFaults(0);
  faults.setScript(
    script(["1:down,at=1s,for=1s", "*:ana=inaccessible,at=500ms,for=3s", "1:ana=change,at=1s,for=1s", "2:down"]),
  );
  const steps = over([0, 500, 900, 1000, 1500, 2000, 3500, 9000], (ms) => changes(faults, ms));
  assertEquals(steps, [
    [],
    [{ type: "ana", state: AnaStateCode.INACCESSIBLE }],
    [],
    [{ type: "ana", state: AnaStateCode.CHANGE }, { type: "down" }],
    [],
    [{ type: "ana", state: AnaStateCode.INACCESSIBLE }, { type: "up" }],
    [{ type: "ana", state: null }],
    [],
  ]);
});

Deno.test("ListenerFaults undoes what is on when its script is taken away, and keeps what the next one wants too", () => {
  const faults = new ListenerFaults(1);
  faults.setScript(script(["2:down", "2:ana=inaccessible"]));
  assertEquals(changes(faults, START_MS).length, 2);
  faults.setScript(script(["*:down"]));
  assertEquals(changes(faults, START_MS + 1), [{ type: "ana", state: null }]);
  faults.setScript(null);
  assertEquals(changes(faults, START_MS + 2), [{ type: "up" }]);
  assertEquals(faults.nextChangeMs(START_MS + 2), Infinity);
});

Deno.test("ListenerFaults tells when the next change is due", () => {
  const from = script(["1:down,at=2s,for=1s,every=5s", "2:delay=1ms"]);
  const faults = new ListenerFaults(0);
  faults.setScript(from);
  assertEquals(over([0, 2000, 3000, 7000], (ms) => faults.nextChangeMs(ms) - START_MS), [2000, 3000, 7000, 8000]);
});

Deno.test("DrainBudget lets a piece through at once and the next when that one is paid for", () => {
  const budget = new DrainBudget();
  assert(budget.mayMove(0));
  budget.handleMoved(1000, 10_000, 0);
  assertEquals([budget.mayMove(99), budget.mayMove(100), budget.freeMs], [false, true, 100]);
  budget.handleMoved(500, 10_000, 300);
  assertEquals(budget.freeMs, 350);
  budget.handleMoved(500, 10_000, 300);
  assertEquals(budget.freeMs, 400);
  budget.handleMoved(1e9, 1, 300);
  assert(budget.freeMs <= 10_300, "the debt is bounded");
  budget.forgive();
  assert(budget.mayMove(300));
  budget.handleMoved(1e9, Infinity, 300);
  assert(budget.mayMove(300), "without a limit nothing is owed");
});

Deno.test("the average rate that a DrainBudget lets through is the one asked for", () => {
  const budget = new DrainBudget();
  let moved = 0;
  for (let ms = 0; ms < 10_000; ms++) {
    if (!budget.mayMove(ms)) continue;
    moved += 1460;
    budget.handleMoved(1460, 50_000, ms);
  }
  assert(Math.abs(moved - 500_000) < 15_000, `${moved} bytes in 10 s`);
});
