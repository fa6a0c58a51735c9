/** The null host of null_host.c: it shows what a target could do if nothing else was slow. */
import { compile } from "./compile.ts";
import { cpuTimeUs } from "./cpu_time.ts";
import type { Sample } from "./measure.ts";
import type { Duration, NvmeLoad, NvmeSubject } from "./nvme_case.ts";

/** Compiles the library if need be; its path. */
export function buildNullHost(): Promise<string> {
  return compile("null_host", ["-shared", "-fPIC"]);
}

/** Runs a load over the first queue, which is of no use afterwards: as `runNvmeLoad()`. */
export async function runNullHostLoad(
  load: NvmeLoad,
  { queues, blocks }: NvmeSubject,
  { seconds, warmUpSeconds, targetCpuUs }: Duration & { targetCpuUs: () => number },
): Promise<Sample> {
  const { symbols } = Deno.dlopen(await buildNullHost(), {
    null_host_run: { parameters: ["i32", "i32", "u32", "u32", "u32", "u32", "u32"], result: "i64" },
  });
  const run = (warmUpMs: number, ms: number) => {
    const { fd, depth } = queues[0]!;
    const isWrite = load.op === "write" ? 1 : 0;
    return Number(
      symbols.null_host_run(fd, isWrite, Math.min(load.depth, depth), load.bytes, blocks, warmUpMs, ms),
    );
  };
  const cpuStart = cpuTimeUs();
  const targetStart = targetCpuUs();
  const startMs = performance.now();
  const done = run(warmUpSeconds * 1000, seconds * 1000);
  if (done <= 0) throw new Error(`The null host failed: errno ${-done}`);
  // Processor time is of the warm-up too, in which as much is done in a second as later.
  const share = seconds * 1000 / (performance.now() - startMs) / done;
  const details = {
    initiatorCpuUs: (cpuTimeUs() - cpuStart) * share,
    targetCpuUs: (targetCpuUs() - targetStart) * share,
  };
  return { value: done / seconds, cpuUs: details.initiatorCpuUs + details.targetCpuUs, details };
}
