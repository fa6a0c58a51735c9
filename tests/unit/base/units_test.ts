import { assertEquals, assertStringIncludes, assertThrows } from "@std/assert";
import { UmpathError } from "../../../src/base/errors.ts";
import { formatDuration, formatSize, parseDuration, parseSize } from "../../../src/base/units.ts";

Deno.test("parseDuration() reads durations", () => {
  const good: [string, number][] = [
    ["250ms", 250],
    ["1ms", 1],
    ["5s", 5000],
    ["0.5s", 500],
    ["2m", 120_000],
    ["1h", 3_600_000],
    ["1.5m", 90_000],
  ];
  for (const [word, ms] of good) assertEquals(parseDuration(word), ms, word);
  assertEquals(parseDuration("off", { off: true }), null);
  assertEquals(parseDuration("0s", { msMin: 0 }), 0);
});

Deno.test("parseDuration() names the bad word, the option and the fault", () => {
  const bad: [string, string][] = [
    ["", "not a duration"],
    ["5", "no unit"],
    ["5x", "not a duration"],
    ["-5s", "not a duration"],
    ["5 s", "not a duration"],
    ["5S", "not a duration"],
    ["1e3s", "not a duration"],
    [".5s", "not a duration"],
    ["0s", "shorter than 1ms"],
    ["0.1ms", "shorter than 1ms"],
    ["600h", "longer than 24 days"],
    ["99999999999999999999s", "longer than 24 days"],
    ["off", "Cannot turn --io-timeout off"],
  ];
  for (const [word, why] of bad) {
    const error = assertThrows(() => parseDuration(word, { name: "--io-timeout" }), UmpathError);
    assertEquals(error.code, "usage");
    assertStringIncludes(error.message, why);
    assertStringIncludes(error.message, "--io-timeout");
    if (word !== "off") assertStringIncludes(error.message, JSON.stringify(word));
  }
});

Deno.test("formatDuration() takes the largest unit that is whole, and parseDuration() reads it back", () => {
  const cases: [number, string][] = [[1, "1ms"], [250, "250ms"], [1000, "1s"], [1500, "1500ms"], [90_000, "90s"], [
    120_000,
    "2m",
  ], [7_200_000, "2h"]];
  for (const [ms, words] of cases) {
    assertEquals(formatDuration(ms), words);
    assertEquals(parseDuration(words), ms);
  }
  assertEquals(formatDuration(null), "off");
  assertEquals(formatDuration(0), "0s");
});

Deno.test("parseSize() reads powers of two", () => {
  const good: [string, number][] = [
    ["0", 0],
    ["512", 512],
    ["64K", 65536],
    ["64k", 65536],
    ["1.5M", 1572864],
    ["1G", 2 ** 30],
    ["1GiB", 2 ** 30],
    ["2T", 2 ** 41],
    ["100B", 100],
  ];
  for (const [word, bytes] of good) assertEquals(parseSize(word), bytes, word);
});

Deno.test("parseSize() names the bad word and the fault", () => {
  const bad: [string, string][] = [
    ["", "not a size"],
    ["K", "not a size"],
    ["1X", "not a size"],
    ["-1", "not a size"],
    ["1 G", "not a size"],
    ["0x10", "not a size"],
    ["1.3", "not a whole number"],
    ["9999999999P", "too large"],
  ];
  for (const [word, why] of bad) {
    const error = assertThrows(() => parseSize(word, "--ram"), UmpathError);
    assertEquals(error.code, "usage");
    assertStringIncludes(error.message, `Cannot use ${JSON.stringify(word)} for --ram`);
    assertStringIncludes(error.message, why);
  }
});

Deno.test("formatSize() writes at most one decimal", () => {
  const cases: [number, string][] = [
    [0, "0 B"],
    [1023, "1023 B"],
    [1024, "1 KiB"],
    [1536, "1.5 KiB"],
    [2 ** 30, "1 GiB"],
    [1.25 * 2 ** 40, "1.3 TiB"],
    [500.5 * 2 ** 20, "501 MiB"],
    [2 ** 60, "1024 PiB"],
  ];
  for (const [bytes, words] of cases) assertEquals(formatSize(bytes), words);
});
