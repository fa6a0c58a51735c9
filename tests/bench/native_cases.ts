/** The measurements that need no virtual machine, by name. */
import type { Sample } from "./measure.ts";
import { cpuTimeUs } from "./cpu_time.ts";
import { nullDeviceBody } from "./null_device_case.ts";
import { type Duration, type NvmeLoad, runNullTargetLoad } from "./nvme_case.ts";
import { targetMachineBody } from "./target_machine_case.ts";
import { nopBody, pingBody, streamBody } from "./ring_case.ts";

/** One kind of measurement. */
export interface NativeCase {
  unit: string;
  run(duration: Duration): Sample | Promise<Sample>;
}

const NOPS_A_CALL = 1000;

const nvme = ({ targetSleeps = false, ...load }: NvmeLoad & { targetSleeps?: boolean }): NativeCase => ({
  unit: "IOPS",
  run: (duration) => runNullTargetLoad(load, { ...duration, sleeps: targetSleeps }),
});

/** All of them. The NVMe loads have one path or two ("x2"); "s" marks a target that sleeps while it is idle. */
export const NATIVE_CASES: Readonly<Record<string, NativeCase>> = {
  "nop-1": { unit: "M/s", run: (duration) => repeat(nopBody(1), duration, 1e-6) },
  "nop-32": { unit: "M/s", run: (duration) => repeat(nopBody(32), duration, 1e-6) },
  "socket-ping": { unit: "k/s", run: (duration) => repeat(pingBody(), duration, 1e-3) },
  "socket-stream": { unit: "GiB/s", run: (duration) => repeat(streamBody(), duration, 2 ** -30) },
  "null-device": { unit: "M/s", run: (duration) => repeat(nullDeviceBody(), duration, 1e-6) },
  "target-machine-read": { unit: "M/s", run: (duration) => repeat(targetMachineBody("read"), duration, 1e-6) },
  "target-machine-write": { unit: "M/s", run: (duration) => repeat(targetMachineBody("write"), duration, 1e-6) },
  "read-4k-1": nvme({ paths: 1, op: "read", depth: 1, bytes: 4096 }),
  "read-4k-32": nvme({ paths: 1, op: "read", depth: 32, bytes: 4096 }),
  "read-4k-128": nvme({ paths: 1, op: "read", depth: 128, bytes: 4096 }),
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

/** Run as a program: one repetition of one case, its sample as JSON on stdout. */
if (import.meta.main) {
  const [name = "", seconds = "1", warmUpSeconds = "0.5"] = Deno.args;
  const found = NATIVE_CASES[name];
  if (found === undefined) {
    console.error(`Unknown case "${name}": choose from ${Object.keys(NATIVE_CASES).join(", ")}`);
    Deno.exit(2);
  }
  const sample = await found.run({ seconds: Number(seconds), warmUpSeconds: Number(warmUpSeconds) });
  console.log(JSON.stringify(sample));
  Deno.exit(0);
}
