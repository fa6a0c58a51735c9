/** The measurements that need no virtual machine, by name: a ladder from the ring up to two paths. */
import { Poller } from "../../src/io/poller.ts";
import { cpuTimeOfUs, cpuTimeUs } from "./cpu_time.ts";
import { runLimit } from "./limits.ts";
import type { Sample } from "./measure.ts";
import { MEMORY_DEPTH, MEMORY_MIB, memoryDeviceBody } from "./memory_device_case.ts";
import { nullDeviceBody } from "./null_device_case.ts";
import { runNullHostLoad } from "./null_host.ts";
import { NullTarget } from "./null_target.ts";
import { type Duration, type NvmeLoad, pathAddresses, runNullTargetLoad } from "./nvme_case.ts";
import { nopBody, PING_BYTES, pingBody, STREAM_BYTES, STREAM_SENDS, streamBody } from "./ring_case.ts";
import { targetMachineBody } from "./target_machine_case.ts";
import { profile } from "./v8_profile.ts";

/** One kind of measurement. */
export interface NativeCase {
  unit: string;
  run(duration: Duration): Sample | Promise<Sample>;
  /** A loop in C that does the same with the kernel, and nothing else. */
  limit?(duration: Duration): Promise<Sample>;
}

const NOPS_A_CALL = 1000;

/** A load on the null target. With one path there is a limit: the null host spins for its answers, as the target does. */
function nvme({ targetSleeps: sleeps = false, ...load }: NvmeLoad & { targetSleeps?: boolean }): NativeCase {
  const run = (duration: Duration) => runNullTargetLoad(load, { ...duration, sleeps });
  const limit = async (duration: Duration) => {
    await using target = await NullTarget.start({ addresses: pathAddresses(1), sleeps });
    const subject = await target.connect(new Poller(), 1);
    return await runNullHostLoad(load, subject, { ...duration, targetCpuUs: () => cpuTimeOfUs([target.pid]) });
  };
  return { unit: "IOPS", run, ...(load.paths === 1 ? { limit } : {}) };
}

const nops = (batch: number): NativeCase => ({
  unit: "M/s",
  run: (duration) => repeat(nopBody(batch), duration, 1e-6),
  limit: (duration) => runLimit(duration, 1e-6, (limits, warmUpMs, ms) => limits.limit_nops(batch, warmUpMs, ms)),
});

/** All of them. The NVMe loads have one path or two ("x2"); "s" marks a target that sleeps while it is idle. */
export const NATIVE_CASES: Readonly<Record<string, NativeCase>> = {
  "nop-1": nops(1),
  "nop-32": nops(32),
  "socket-ping": {
    unit: "k/s",
    run: (duration) => repeat(pingBody(), duration, 1e-3),
    limit: (duration) => runLimit(duration, 1e-3, (limits, ...times) => limits.limit_ping(PING_BYTES, ...times)),
  },
  "socket-stream": {
    unit: "GiB/s",
    run: (duration) => repeat(streamBody(), duration, 2 ** -30),
    limit: (duration) =>
      runLimit(duration, 2 ** -30, (limits, ...times) => limits.limit_stream(STREAM_SENDS, STREAM_BYTES, ...times)),
  },
  "null-device": { unit: "M/s", run: (duration) => repeat(nullDeviceBody(), duration, 1e-6) },
  "memory-device": {
    unit: "M/s",
    run: (duration) => repeat(memoryDeviceBody(), duration, 1e-6),
    limit: (duration) =>
      runLimit(duration, 1e-6, (limits, ...times) => limits.limit_copies(MEMORY_DEPTH, 4096, MEMORY_MIB, ...times)),
  },
  "target-machine-read": { unit: "M/s", run: (duration) => repeat(targetMachineBody("read"), duration, 1e-6) },
  "target-machine-write": { unit: "M/s", run: (duration) => repeat(targetMachineBody("write"), duration, 1e-6) },
  "read-4k-1": nvme({ paths: 1, op: "read", depth: 1, bytes: 4096 }),
  "read-4k-32": nvme({ paths: 1, op: "read", depth: 32, bytes: 4096 }),
  "read-4k-128": nvme({ paths: 1, op: "read", depth: 127, bytes: 4096 }),
  "read-128k-16": nvme({ paths: 1, op: "read", depth: 16, bytes: 131072 }),
  "read-4k-1-x2": nvme({ paths: 2, op: "read", depth: 1, bytes: 4096 }),
  "read-4k-32-x2": nvme({ paths: 2, op: "read", depth: 32, bytes: 4096 }),
  "read-4k-128-x2": nvme({ paths: 2, op: "read", depth: 128, bytes: 4096 }),
  "read-4k-32-x2-time": nvme({ paths: 2, op: "read", depth: 32, bytes: 4096, policy: "service-time" }),
  "read-4k-32-x2-depth": nvme({ paths: 2, op: "read", depth: 32, bytes: 4096, policy: "queue-depth" }),
  "write-4k-32-x2": nvme({ paths: 2, op: "write", depth: 32, bytes: 4096 }),
  "read-128k-16-x2": nvme({ paths: 2, op: "read", depth: 16, bytes: 131072 }),
  "write-128k-16-x2": nvme({ paths: 2, op: "write", depth: 16, bytes: 131072 }),
  "read-4k-1-s": nvme({ paths: 1, op: "read", depth: 1, bytes: 4096, targetSleeps: true }),
  "read-4k-32-x2-s": nvme({ paths: 2, op: "read", depth: 32, bytes: 4096, targetSleeps: true }),
  "read-128k-16-x2-s": nvme({ paths: 2, op: "read", depth: 16, bytes: 131072, targetSleeps: true }),
  "write-128k-16-x2-s": nvme({ paths: 2, op: "write", depth: 16, bytes: 131072, targetSleeps: true }),
};

/** Calls `body` for so long; operations a second times `scale`. */
function repeat(body: () => number, { seconds, warmUpSeconds }: Duration, scale: number): Sample {
  runFor(body, warmUpSeconds);
  const cpuStart = cpuTimeUs();
  const start = performance.now();
  const done = runFor(body, seconds);
  const elapsed = (performance.now() - start) / 1000;
  return { value: done / elapsed * scale, cpuUs: (cpuTimeUs() - cpuStart) / done };
}

function runFor(body: () => number, seconds: number): number {
  const end = performance.now() + seconds * 1000;
  let done = 0;
  while (performance.now() < end) {
    for (let i = 0; i < NOPS_A_CALL; i++) done += body();
  }
  return done;
}

/** Runs a case until its code is compiled; then once more, profiled by V8, or by perf, which waits for a word in a FIFO. */
async function runProfiled(how: string, file: string, { run }: NativeCase, duration: Duration): Promise<void> {
  await run({ seconds: duration.warmUpSeconds, warmUpSeconds: 0 });
  const body = () => run({ seconds: duration.seconds, warmUpSeconds: 0 });
  if (how === "v8") return Deno.writeTextFileSync(file, JSON.stringify(await profile(body)));
  Deno.writeTextFileSync(file, "enable\n");
  await body();
}

/** Run as a program: one repetition of one case or of its limit, the sample as JSON on stdout; or a profile of a case. */
if (import.meta.main) {
  const [name = "", seconds = "1", warmUpSeconds = "0.5", what = "case", file] = Deno.args;
  const duration = { seconds: Number(seconds), warmUpSeconds: Number(warmUpSeconds) };
  const found = NATIVE_CASES[name];
  const run = what === "limit" ? found?.limit : found?.run;
  if (found === undefined || run === undefined) {
    console.error(`Unknown ${what} "${name}": choose from ${Object.keys(NATIVE_CASES).join(", ")}`);
    Deno.exit(2);
  }
  if (file !== undefined) await runProfiled(what, file, found, duration);
  else console.log(JSON.stringify(await run(duration)));
  Deno.exit(0);
}
