import { assertEquals } from "@std/assert";
import { exitCode, parseBroken, parseSkipped, parseSummary } from "../../scripts/test_summary.ts";

Deno.test("parseSummary() takes the last summary line, with colours, steps and ignored tests", () => {
  const output =
    "ok | 1 passed | 0 failed (1s)\n\x1b[0m\x1b[31mFAILED\x1b[0m | 12 passed (3 steps) | 2 failed (1 step)" +
    " | 4 ignored (2 steps) \x1b[0m\x1b[38;5;245m(13s)\x1b[0m\n";
  assertEquals(parseSummary(output), { passed: 12, failed: 2, skipped: 4 });
  assertEquals(parseSummary("ok | 7 passed | 0 failed | 3 filtered out (2ms)"), { passed: 7, failed: 0, skipped: 0 });
});

Deno.test("parseSummary() finds nothing in the output of a run that crashed", () => {
  assertEquals(parseSummary("one ... ok (3ms)\nerror: Uncaught\n"), undefined);
});

Deno.test("parseBroken() counts what was printed before the run ended, and its end as a failure", () => {
  const output =
    "one ... ok (3ms)\ntwo ...\noutput\n FAILED (1m6s)\nthree ... ignored (0ms)\nfour ... ok (15µs)\nfive ...";
  assertEquals(parseBroken(output), { passed: 2, failed: 2, skipped: 1 });
});

Deno.test("parseSkipped() gives the names of ignored tests", () => {
  const output = "one ... ok (3ms)\nattach (needs ublk_drv) ... \x1b[33mignored\x1b[0m (0ms)\n";
  assertEquals(parseSkipped(output), ["attach (needs ublk_drv)"]);
});

Deno.test("exitCode() takes a skipped ring for no pass, unless skips are allowed, and a failure for a failure", () => {
  const [ok, bad, skipped, partly] = [[3, 0, 0], [3, 1, 0], [0, 0, 1], [2, 0, 5]].map(([passed, failed, skipped]) => ({
    passed: passed!,
    failed: failed!,
    skipped: skipped!,
  }));
  const rows: [rings: (typeof ok)[], plain: number, allowed: number][] = [
    [[ok], 0, 0],
    [[ok, partly], 0, 0],
    [[ok, skipped], 3, 0],
    [[bad, skipped], 1, 1],
    [[skipped], 3, 1],
    [[], 1, 1],
  ];
  for (const [rings, plain, allowed] of rows) {
    const counts = rings.map((ring) => ring!);
    assertEquals([false, true].map((allowSkips) => exitCode(counts, { allowSkips })), [plain, allowed]);
  }
});
