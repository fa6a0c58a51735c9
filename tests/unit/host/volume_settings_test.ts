import { assertEquals } from "@std/assert";
import { setLogSink } from "../../../src/base/log.ts";
import { VolumeSettings } from "../../../src/host/volume_settings.ts";
import { PathTable } from "../../../src/multipath/path_table.ts";

Deno.test("VolumeSettings warns of a hold that controllers ask for and that is longer than the wait for a path", () => {
  const lines: string[] = [];
  const heldFor = (executesMs: number, timeouts = {}): number => {
    const table = new PathTable();
    const settings = new VolumeSettings(table, { policy: "queue-depth", slowPath: "off", hedgeReads: null, timeouts });
    settings.setExecutes(executesMs);
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
