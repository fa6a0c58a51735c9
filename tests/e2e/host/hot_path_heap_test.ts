/**
 * The data path allocates next to nothing: what it leaves on the heap, and how often V8 collects meanwhile, is measured
 * over a million I/Os, over real sockets.
 */
import { assert, assertLess } from "@std/assert";
import type { HeapResult } from "../../bench/heap.ts";

const PROGRAM = new URL("../../bench/heap.ts", import.meta.url).pathname;
const LEFT_BYTES_MAX = 1 << 20;
/** How V8 names the collections that the program itself asks for, just before and after it measures. */
const ASKED_FOR = "testing;";
/** V8 boxes a number or two a turn, and collects a megabyte at a time. An object for each I/O makes it far more. */
const TURN_BYTES_MAX = 32;
const COLLECTED_BYTES = 1 << 20;

/** Runs the load in a network of its own, and reads what V8 says of its collections. */
async function measure(op: "read" | "write"): Promise<{ result: HeapResult; minor: number; major: number }> {
  const words = [
    Deno.execPath(),
    "run",
    "-A",
    "--quiet",
    "--no-check",
    "--v8-flags=--trace-gc,--expose-gc",
    PROGRAM,
    op,
  ];
  const { stdout, stderr, success } = await new Deno.Command("unshare", {
    args: ["--net", "--map-root-user", "sh", "-c", 'ip link set lo up && exec "$@"', "sh", ...words],
    stdin: "null",
  }).output();
  const [output, said] = [stdout, stderr].map((bytes) => new TextDecoder().decode(bytes)) as [string, string];
  assert(success, said);
  const result = JSON.parse(said) as HeapResult;
  const collections = [...output.matchAll(/^\[\S+\]\s+(\d+) ms: (\S+)(.*)/gm)]
    .map(([, ms, kind, why]) => ({ ms: Number(ms), kind: kind!, isAsked: why!.includes(ASKED_FOR) }))
    .filter(({ ms, isAsked }) => !isAsked && ms > result.beginMs && ms < result.endMs);
  const minor = collections.filter(({ kind }) => kind === "Scavenge").length;
  return { result, minor, major: collections.length - minor };
}

for (const op of ["read", "write"] as const) {
  Deno.test(`a million ${op}s leave nothing on the heap, and let V8 rest`, async () => {
    const { result, minor, major } = await measure(op);
    assertLess(result.leftBytes, LEFT_BYTES_MAX);
    assert(major === 0, `${major} major collections`);
    assertLess(minor, 3 + result.turns * TURN_BYTES_MAX / COLLECTED_BYTES);
  });
}
