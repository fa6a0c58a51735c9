/**
 * A test of umpath in the VM: whatever it does, the host is as it was when it is over, and the kernel log is clean.
 *
 * What a test forgot is taken away in any case, and makes a test that passed fail.
 */
import { dmesgMark, dmesgProblems } from "./kernel_log.ts";
import { ask, endDaemon, SHARED_LOG, startSharedDaemon } from "./daemon_process.ts";
import { eventually } from "./eventually.ts";
import { leftovers, ublkMounts, ublkNodes, ublkUsers, umpathProcesses } from "./leftovers.ts";
import { run, umpathRunDir } from "./process.ts";

/** A test waits so long for what it has taken away to be gone: deleting a device takes the kernel a moment. */
const SETTLE_MS = 10_000;
const LOG_LINES = 40;

/** The machine emulates its processor: commands are to be patient. */
Deno.env.set("UMPATH_SLOW", "1");

/** How a test differs from most. */
export interface VmCaseOptions {
  /** Lines of the kernel log that the test asks for. */
  allow?: RegExp[];
  /** "shared": `umpath daemon` runs already, for this and the next test. "own": the test begins without a daemon. */
  daemon?: "shared" | "own";
}

/** The kernel's words when I/O on a ublk device fails: allowed where a test makes it fail. */
export const UBLK_IO_ERRORS = [/I\/O error,? (on )?dev(ice)? ublkb\d/];

/** Declares a test; see the top of the file. */
export function vmTest(name: string, options: VmCaseOptions, body: () => Promise<void>): void {
  Deno.test(name, { sanitizeOps: false, sanitizeResources: false }, async () => {
    const shared = options.daemon !== "own";
    if (!shared) await endDaemon();
    const daemon = shared ? await startSharedDaemon() : null;
    const mark = await dmesgMark();
    const failures: unknown[] = [];
    await body().catch((error) => failures.push(error));
    const left = await settled(daemon);
    if (left.length > 0) {
      failures.push(new Error(`The test left something behind:\n${left.join("\n")}`));
      console.error(await ownWords());
      await sweep().catch((error) => failures.push(error));
    }
    const problems = await dmesgProblems(mark, options.allow);
    if (problems.length > 0) failures.push(new Error(`The kernel log tells of trouble:\n${problems.join("\n")}`));
    if (failures.length > 0 && left.length === 0) console.error(await ownWords());
    if (failures.length === 1) throw failures[0];
    if (failures.length > 1) throw new AggregateError(failures, failures.map(String).join("\n"));
  });
}

/** What is left after a moment to settle. */
async function settled(daemon: number | null): Promise<string[]> {
  try {
    await eventually(() => leftovers(daemon).length === 0, SETTLE_MS);
    return [];
  } catch {
    return leftovers(daemon);
  }
}

/** The last lines of the daemons' logs. */
async function ownWords(): Promise<string> {
  const words: string[] = [];
  for (const path of [SHARED_LOG, `${umpathRunDir()}/daemon.log`]) {
    const text = await Deno.readTextFile(path).catch(() => "");
    if (text !== "") words.push(`${path}:`, ...text.trimEnd().split("\n").slice(-LOG_LINES));
  }
  return words.join("\n");
}

/** Takes everything away by force, the host's own way where umpath's fails, so that the next test starts clean. */
async function sweep(): Promise<void> {
  for (const { folder } of ublkMounts()) await run("umount", ["-l", folder]);
  for (const pid of ublkUsers()) end(pid);
  await ask("detach", { volumes: [], all: true, force: true }).catch(() => {});
  await endDaemon().catch(() => {});
  for (const { pid } of umpathProcesses()) end(pid);
  await eventually(() => umpathProcesses().length === 0, SETTLE_MS);
  if (ublkNodes().length === 0) return;
  // A daemon removes at its start what one that died has left.
  await startSharedDaemon();
  await endDaemon();
  if (ublkNodes().length > 0) throw new Error(`Cannot take away ${ublkNodes().join(", ")}: later tests may fail`);
}

function end(pid: number): void {
  try {
    Deno.kill(pid, "SIGKILL");
  } catch {
    // It has just ended.
  }
}
