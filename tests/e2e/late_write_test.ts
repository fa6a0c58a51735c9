/**
 * Why writes are held: a controller that has lost its host carries a write out late, after newer data was written over
 * another path. Without the hold the stale data is what is read afterwards, with it never.
 */
import { assertEquals, assertStringIncludes } from "@std/assert";
import { delay } from "./host/host_fixture.ts";
import { Cli } from "./cli_fixture.ts";
import { loopTest } from "./loop_case.ts";
import { Served } from "./served.ts";

const NQN = "nqn.2026-11.io.test:late";
const BLOCK_BYTES = 4096;
/** The older write comes so late; on a machine that is too busy for that it is tried again, later each time. */
const LATE_MS = 1_500;
const LATE_MS_MAX = 24_000;
/** NVMe allows a controller that has lost its host to work on within the keep-alive time. */
const KEEP_ALIVE_PARTS = 8 / 3;
const HIT_MS_MAX = 60_000;
const HOST = [
  ...["--hostnqn", "nqn.2014-08.org.nvmexpress:uuid:2f0e0d0c-0b0a-4908-8706-050403020100"],
  ...["--hostid", "2f0e0d0c-0b0a-4908-8706-050403020100"],
];

interface Outcome {
  /** The byte that is read in the end. */
  read: number;
  /** The newer write was answered so long after the older one was sent. */
  tookMs: number;
  /** The path was lost before the older write was carried out. */
  isLostFirst: boolean;
}

/** An older write that is lost with its path, and a newer one over the other, until both come as the test is about. */
async function readAfterLateWrite(hold: string, isMeant: (outcome: Outcome, lateMs: number) => boolean) {
  for (let lateMs = LATE_MS;; lateMs *= 2) {
    const keepAliveMs = Math.round(lateMs * KEEP_ALIVE_PARTS / 1000) * 1000;
    const outcome = await tryLateWrite(hold, { lateMs, keepAliveMs });
    if (isMeant(outcome, lateMs) || lateMs >= LATE_MS_MAX) return { ...outcome, keepAliveMs };
  }
}

async function tryLateWrite(hold: string, times: { lateMs: number; keepAliveMs: number }): Promise<Outcome> {
  const { lateMs, keepAliveMs } = times;
  await using cli = new Cli();
  await using target = await Served.start(cli, { nqn: NQN, words: ["--ram", "32M"] });
  const paths = target.portals.flatMap(({ words }) => ["-p", words]);
  const durations = ["--keep-alive", `${keepAliveMs}ms`, "--write-hold", hold];
  const words = ["--device", "loop", "--policy", "active-passive", ...HOST, ...durations];
  const attached = await cli.run("attach", NQN, ...paths, ...words);
  assertEquals(attached.code, 0, attached.stderr);
  const device = attached.stdout.trim();
  const first = target.portals[0]!.words;
  const set = await cli.run("set", device, `preferred-path=${first}`);
  assertEquals(set.code, 0, set.stderr);

  await target.fault(`${first}:late=${lateMs}ms,op=write,count=1`);
  const startMs = performance.now();
  const older = write(cli, device, 0x11);
  await hit(target);
  // All connections to that controller end at once: nobody is left to reset it.
  await target.fault(`${first}:down,for=${2 * lateMs}ms`);
  const isLostFirst = await Promise.race([older.then(() => false), delay(0).then(() => true)]);
  await older;
  await write(cli, device, 0x22);
  const tookMs = performance.now() - startMs;
  await delay(Math.max(0, 2 * lateMs - tookMs));
  const read = await readByte(cli, device);
  const shown = await cli.run("show", device);
  const inForce = hold === "auto" ? `write-hold ${keepAliveMs / 1000}s (auto)` : `write-hold ${hold}`;
  assertStringIncludes(shown.stdout, inForce);
  await target.fault("clear");
  const detached = await cli.run("detach", "--all");
  assertEquals(detached.code, 0, detached.stderr);
  await target.end();
  await cli.assertNoDaemonIsLeft();
  return { read, tookMs, isLostFirst };
}

async function hit(target: Served): Promise<void> {
  for (const end = Date.now() + HIT_MS_MAX;;) {
    const { stdout } = await target.target("fault", "--json");
    if (JSON.parse(stdout).faults[0].hits === 1) return;
    if (Date.now() > end) throw new Error("The older write has not come to the faulty path in time");
  }
}

async function write(cli: Cli, device: string, byte: number): Promise<void> {
  const file = `${cli.folder}/${byte}`;
  await Deno.writeFile(file, new Uint8Array(BLOCK_BYTES).fill(byte));
  const words = [`if=${file}`, `of=${device}`, `bs=${BLOCK_BYTES}`, "count=1", "oflag=direct", "conv=notrunc"];
  const { code, stderr } = await cli.runProgram(["dd", ...words]);
  assertEquals(code, 0, stderr);
}

async function readByte(cli: Cli, device: string): Promise<number> {
  const file = `${cli.folder}/read`;
  const words = [`if=${device}`, `of=${file}`, `bs=${BLOCK_BYTES}`, "count=1", "iflag=direct"];
  const { code, stderr } = await cli.runProgram(["dd", ...words]);
  assertEquals(code, 0, stderr);
  const bytes = await Deno.readFile(file);
  assertEquals(new Set(bytes).size, 1, "a block is the older write or the newer, never some of both");
  return bytes[0]!;
}

loopTest("A write that a lost controller carries out late destroys newer data with write-hold=off", async () => {
  const { read, tookMs } = await readAfterLateWrite("off", ({ tookMs }, lateMs) => tookMs < lateMs);
  assertEquals(read, 0x11, `the newer write was answered ${Math.round(tookMs)} ms after the older one was sent`);
});

loopTest("A write that a lost controller carries out late destroys nothing with write-hold=auto", async () => {
  const { read, tookMs, keepAliveMs } = await readAfterLateWrite("auto", ({ isLostFirst }) => isLostFirst);
  assertEquals([read, tookMs >= keepAliveMs], [0x22, true]);
});
