/** A volume with a loop device over two paths, one of which answers late, by its latencies: what sending reads twice does. */
import { assert, assertEquals, assertMatch } from "@std/assert";
import { fio } from "../vm/fio.ts";
import { loopTest } from "./loop_case.ts";
import { LoopRig } from "./loop_rig.ts";

const NAME = "loop-n1";
/** Late beyond what a busy machine makes of any read, and of most the budget is. */
const LATE_MS = 400;
const BUDGET_MS = 50;
/** Of 41 reads one goes to the late path: more than a hundredth, and less than the share that may be sent twice. */
const WEIGHTS = ["policy=weighted", "weight.0=40", "weight.1=1"];
const FIO_MS_MAX = 30_000;

/** What 99 of 100 reads take at most, and how many there were. */
async function readsOf(device: string): Promise<{ p99Ms: number; reads: number }> {
  const options = {
    ...{ filename: device, allow_file_create: 0, rw: "randread", bs: "4k", size: "16m", iodepth: 2 },
    ...{ time_based: true, runtime: 4, thinktime: "500us" } as const,
  };
  const { code, jobs, stderr } = await fio(options, { timeoutMs: FIO_MS_MAX });
  assertEquals(code, 0, stderr);
  const { clat_ns, total_ios } = jobs[0]!.read;
  return { p99Ms: clat_ns.percentile!["99.000000"]! / 1e6, reads: total_ios };
}

loopTest("reads that are late on one path are sent over the other, too, and few are late any more", async () => {
  await using rig = await LoopRig.start();
  const device = await rig.device();
  const set = async (...words: string[]) => assertEquals((await rig.umpath("set", NAME, ...words)).code, 0);
  await set(...WEIGHTS);
  // What is read is known, so that a copy that went wrong would be seen.
  const content = `${rig.folder}/content`;
  await rig.ok("dd", "if=/dev/urandom", `of=${content}`, "bs=1M", "count=16");
  await rig.ok("dd", `if=${content}`, `of=${device}`, "bs=1M", "oflag=direct");
  await rig.target.fault(`2:delay=${LATE_MS}ms..${LATE_MS + 1}ms,op=read`);

  const off = await readsOf(device);
  assert(off.p99Ms >= LATE_MS, `p99 ${off.p99Ms} ms without`);
  const { hedges, hedgesWon } = await rig.volume();
  assertEquals([hedges, hedgesWon], [0, 0]);

  await set(`hedge-reads=${BUDGET_MS}ms`);
  const on = await readsOf(device);
  const counted = await rig.volume();
  const words = `p99 ${off.p99Ms} ms without, ${on.p99Ms} ms with; ${counted.hedges} of ${on.reads} sent twice`;
  console.log(words);
  assert(on.p99Ms < LATE_MS / 2, words);
  assert(counted.hedgesWon > on.reads / 100 && counted.hedgesWon <= counted.hedges, words);
  // Each of the two queues may send some in a row at first.
  assert(counted.hedges <= on.reads / 20 + 16 * 2, words);
  const { stdout } = await rig.umpath("show", NAME);
  assertMatch(stdout, /hedge-reads +50ms: \d+ reads repeated, \d+ answered first, \d+ late but not repeated/);
  const { hedgeReads, hedgeMs } = JSON.parse((await rig.umpath("show", NAME, "--json")).stdout).volumes[0];
  assertEquals([hedgeReads, hedgeMs], ["50ms", 50]);

  const read = `${rig.folder}/read`;
  await rig.ok("dd", `if=${device}`, `of=${read}`, "bs=4k", "count=4096", "iflag=direct");
  await rig.ok("cmp", content, read);
  await set("hedge-reads=off");
  // A worker looks at the setting while it has requests, ten times a second: which of the two has them is the kernel's matter.
  const hedgesAfterReads = async () => {
    await rig.ok("dd", `if=${device}`, "of=/dev/null", "bs=4k", "count=1000", "iflag=direct");
    return (await rig.volume()).hedges;
  };
  const counts = [await hedgesAfterReads(), await hedgesAfterReads()];
  while (counts.at(-1) !== counts.at(-2) && counts.length < 8) counts.push(await hedgesAfterReads());
  assertEquals(counts.at(-1), counts.at(-2), `sent twice after that: ${counts.join(", ")}`);
});

loopTest("attach takes when reads are sent twice, and says what is wrong or ignored", async () => {
  await using rig = await LoopRig.start();
  const wrong = await rig.attach("--hedge-reads", "p40");
  assertEquals(wrong.code, 2);
  assertMatch(wrong.stderr, /Cannot use "p40" for --hedge-reads: percentiles are from p50 to p99.99/);
  await rig.device("--hedge-reads", "p99");
  assertEquals((await rig.volume()).hedgeReads, "p99");
  assertMatch((await rig.attach("--hedge-reads", "20ms")).stderr, /--hedge-reads 20ms \(it is p99\)/);
});
