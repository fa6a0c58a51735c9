/** The loops in C of limits.c: what the steps of the ladder could do at most. */
import { compile } from "./compile.ts";
import { cpuTimeUs } from "./cpu_time.ts";
import type { Sample } from "./measure.ts";
import type { Duration } from "./nvme_case.ts";

const SYMBOLS = {
  limit_nops: { parameters: ["u32", "u32", "u32"], result: "i64" },
  limit_ping: { parameters: ["u32", "u32", "u32"], result: "i64" },
  limit_stream: { parameters: ["u32", "u32", "u32", "u32"], result: "i64" },
  limit_copies: { parameters: ["u32", "u32", "u32", "u32", "u32"], result: "i64" },
} as const;

type Limits = Deno.DynamicLibrary<typeof SYMBOLS>["symbols"];

/** Compiles the library if need be; its path. */
export function buildLimits(): Promise<string> {
  return compile("limits", ["-shared", "-fPIC"], [new URL("../../csrc/um_ring.c", import.meta.url).pathname]);
}

/** Runs one of the loops; operations a second times `scale`. `call` passes the two times on. */
export async function runLimit(
  { seconds, warmUpSeconds }: Duration,
  scale: number,
  call: (limits: Limits, warmUpMs: number, ms: number) => bigint,
): Promise<Sample> {
  const { symbols } = Deno.dlopen(await buildLimits(), SYMBOLS);
  const cpuStart = cpuTimeUs();
  const startMs = performance.now();
  const done = Number(call(symbols, warmUpSeconds * 1000, seconds * 1000));
  if (done <= 0) throw new Error(`The loop in C failed: errno ${-done}`);
  // Processor time is of the warm-up too, in which as much is done in a second as later.
  const share = seconds * 1000 / (performance.now() - startMs) / done;
  return { value: done / seconds * scale, cpuUs: (cpuTimeUs() - cpuStart) * share };
}
