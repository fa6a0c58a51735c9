/** `umpath demo` where ublk is to be had: it takes that by itself, and every one of its claims holds. */
import { assert, assertEquals } from "@std/assert";
import type { DemoReport } from "../../src/demo/report.ts";
import { run, umpathBinary } from "./harness.ts";
import { vmTest } from "./vm_case.ts";

/** It is a minute on two emulated processors. */
const DEMO_MS_MAX = 170_000;

vmTest("umpath demo takes the whole road on a ublk device and leaves nothing behind", { daemon: "own" }, async () => {
  await run("modprobe", ["ublk_drv"], { check: true });
  const { stdout } = await run(umpathBinary(), ["demo", "--json"], { check: true, timeoutMs: DEMO_MS_MAX });
  const report: DemoReport = JSON.parse(stdout);
  console.log(`${report.seconds} s, ${report.claimsChecked} claims`);
  assertEquals([report.driver, report.lacking], ["ublk", []]);
  assert(/^\/dev\/ublkb\d+$/.test(report.device ?? ""), `the device was ${report.device}`);
  assertEquals([report.fileSystem, report.fileSystemClean], ["ext4", true]);
  assertEquals(report.paths.length, 2);
  assert(report.paths[report.loss.path]!.reconnects > 0);
  for (const phase of [report.load.before, report.load.during, report.load.after]) {
    assert(phase.reads + phase.writes > 0, "the application stood still");
  }
  assertEquals(report.verifiedBytes > 0, true);
});
