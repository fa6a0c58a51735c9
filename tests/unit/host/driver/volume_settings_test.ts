import { assertEquals } from "@std/assert";
import type { NamedTimeouts } from "../../../../src/settings/timeouts.ts";
import { setLogSink } from "../../../../src/base/log.ts";
import { VolumeSettings } from "../../../../src/host/driver/volume_settings.ts";
import { PathTable } from "../../../../src/multipath/path_table.ts";

Deno.test("VolumeSettings.holdRisk tells of a named hold that is shorter than a lost controller may execute", () => {
  const riskOf = (timeouts: NamedTimeouts) => {
    const named = { policy: "queue-depth" as const, slowPath: "off" as const, hedgeReads: null, timeouts };
    const settings = new VolumeSettings(new PathTable(), named);
    settings.setLateExecution(5_000);
    return settings.holdRisk;
  };
  assertEquals(riskOf({ writeHoldMs: 1_000 })?.slice(0, 53), "write-hold 1s is shorter than the 5s that a lost cont");
  const none: NamedTimeouts[] = [{}, { writeHoldMs: "auto" }, { writeHoldMs: 5_000 }, { writeHoldMs: null }];
  for (const timeouts of none) assertEquals(riskOf(timeouts), null, JSON.stringify(timeouts));
});

Deno.test("VolumeSettings warns of a hold that controllers ask for and that is longer than the wait for a path", () => {
  const lines: string[] = [];
  const heldFor = (lateExecutionMs: number, timeouts = {}): number => {
    const table = new PathTable();
    const settings = new VolumeSettings(table, { policy: "queue-depth", slowPath: "off", hedgeReads: null, timeouts });
    settings.setLateExecution(lateExecutionMs);
    settings.warnIfHoldIsLong("vol");
    return table.writeHoldMs;
  };
  setLogSink((line) => lines.push(line));
  try {
    assertEquals(heldFor(20_000), 20_000);
    assertEquals(heldFor(90_000, { writeHoldMs: 1_000 }), 1_000);
    assertEquals(heldFor(90_000, { noPathTimeoutMs: null }), 90_000);
    assertEquals(lines, []);
    assertEquals(heldFor(90_000), 90_000);
    assertEquals(lines.map((line) => /held for (\S+), .* Make (\S+) longer/.exec(line)?.slice(1)), [[
      "90s",
      "no-path-timeout",
    ]]);
  } finally {
    setLogSink(null);
  }
});
