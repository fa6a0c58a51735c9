import { assertEquals, assertStringIncludes, assertThrows } from "@std/assert";
import { UmpathError } from "../../../src/base/errors.ts";
import { parseSettings, SETTING_KEYS } from "../../../src/cli/settings.ts";
import { TIMEOUT_OPTIONS } from "../../../src/cli/timeout_options.ts";
import { TIME_LIMITS } from "../../../src/settings/timeouts.ts";

const NOTHING = { policy: null, failback: null, preferredPath: null, weights: [], timeouts: {} };
const SPEC = { transport: "tcp", traddr: "192.0.2.1", trsvcid: 4420, hostTraddr: null, hostIface: null };

Deno.test("parseSettings() takes policies, paths, weights and every time", () => {
  assertEquals(parseSettings(["policy=queue-depth"]), { ...NOTHING, policy: "queue-depth" });
  assertEquals(parseSettings(["slow-path=demote"]), { ...NOTHING, slowPath: "demote" });
  assertEquals(parseSettings(["failback=now"]), { ...NOTHING, failback: "now" });
  for (const budget of ["off", "p99", "p99.9", "p50", "20ms", "2s"]) {
    assertEquals(parseSettings([`hedge-reads=${budget}`]), { ...NOTHING, hedgeReads: budget });
  }
  assertEquals(parseSettings(["preferred-path=3"]), { ...NOTHING, preferredPath: { id: 3 } });
  assertEquals(parseSettings(["preferred-path=none"]), { ...NOTHING, preferredPath: "none" });
  assertEquals(parseSettings(["preferred-path=192.0.2.1"]).preferredPath, SPEC);
  assertEquals(parseSettings(["weight.0=3", "weight.192.0.2.1:4420=1000"]).weights, [
    { path: { id: 0 }, weight: 3 },
    { path: SPEC, weight: 1000 },
  ]);
  for (const { name, key } of TIMEOUT_OPTIONS) {
    assertEquals(parseSettings([`${name.slice(2)}=3s`]).timeouts, { [key]: 3000 });
    if (TIME_LIMITS[key].off) assertEquals(parseSettings([`${name.slice(2)}=off`]).timeouts, { [key]: null });
  }
  assertEquals(parseSettings(["write-hold=auto"]).timeouts, { writeHoldMs: "auto" });
});

Deno.test("parseSettings() finds the value behind the equals signs of a path", () => {
  const url = "tcp://192.0.2.1:4420?host-traddr=192.0.2.9&host-iface=eth1";
  const spec = { ...SPEC, hostTraddr: "192.0.2.9", hostIface: "eth1" };
  assertEquals(parseSettings([`weight.${url}=7`]).weights, [{ path: spec, weight: 7 }]);
  assertEquals(parseSettings([`preferred-path=${url}`]).preferredPath, spec);
});

Deno.test("parseSettings() says which word is wrong, and why", () => {
  const cases: [words: string[], what: string][] = [
    [["policy"], '"policy": it is not KEY=VALUE'],
    [["=5s"], '"=5s": it is not KEY=VALUE'],
    [["weight.0"], '"weight.0": it is not KEY=VALUE'],
    [["policy=fastest"], '"fastest" for policy'],
    [["slow-path=demoted"], '"demoted" for slow-path: it is not one of off and demote'],
    [["hedge-reads=sometimes"], '"sometimes" for hedge-reads: it is neither a percentile nor a duration'],
    [["hedge-reads=p100"], '"p100" for hedge-reads: it is neither'],
    [["hedge-reads=p49"], '"p49" for hedge-reads: percentiles are from p50 to p99.99'],
    [["hedge-reads=p99.995"], "percentiles are from p50 to p99.99"],
    [["hedge-reads=5"], '"5" for hedge-reads: it has no unit'],
    [["hedge-reads=0ms"], "it is shorter than 1ms"],
    [["polcy=weighted"], '"polcy": a volume has no such setting'],
    [["io-timeout=soon"], '"soon" for io-timeout'],
    [["io-timeout=auto"], '"auto" for io-timeout'],
    [["io-timeout=5"], "it has no unit"],
    [["connect-timeout=off"], "Cannot turn connect-timeout off"],
    [["failback=never"], "auto, manual and now"],
    [["weight.0=0"], '"0" for weight.0'],
    [["weight.0=1001"], "from 1 to 1000"],
    [["weight.=3"], "it is empty"],
    [["preferred-path=storage.example.com"], '"storage.example.com"'],
    [["policy=weighted", "policy=weighted"], "policy: it is given twice"],
  ];
  for (const [words, what] of cases) {
    const failure = assertThrows(() => parseSettings(words), UmpathError);
    assertEquals(failure.code, "usage");
    assertStringIncludes(failure.message, what);
  }
  assertEquals(assertThrows(() => parseSettings(["polcy=x"]), UmpathError).hint, "Did you mean policy?");
  assertStringIncludes(assertThrows(() => parseSettings(["q=x"]), UmpathError).hint!, SETTING_KEYS.at(-1)!);
});
