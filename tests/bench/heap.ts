/**
 * What the hot path leaves on the heap, as a program: `heap.ts read|write`, to be run with `--v8-flags=--trace-gc,--expose-gc`.
 * What it measured comes on stderr, what V8 says on stdout.
 */
import { Poller } from "../../src/io/poller.ts";
import { type NvmeSubject, pathAddresses, startNvmeLoad } from "./nvme_case.ts";
import { NullTarget } from "./null_target.ts";

const WARM_UP_IOS = 300_000;
const IOS = 1_000_000;
const PATHS = 2;

/** What the program says. */
export interface HeapResult {
  /** When the I/Os were done, about as V8 counts milliseconds. */
  beginMs: number;
  endMs: number;
  turns: number;
  /** What they have left on the heap. */
  leftBytes: number;
}

function measure(op: "read" | "write", subject: NvmeSubject): HeapResult {
  const { complete, ring } = startNvmeLoad({ paths: PATHS, op, depth: 32, bytes: 4096 }, subject);
  complete(WARM_UP_IOS);
  const before = heapBytes();
  const turns = ring.turns;
  const beginMs = performance.now();
  complete(IOS);
  const endMs = performance.now();
  return { beginMs, endMs, turns: ring.turns - turns, leftBytes: heapBytes() - before };
}

/** What is on the heap and in use. */
function heapBytes(): number {
  (globalThis as unknown as { gc: () => void }).gc();
  return Deno.memoryUsage().heapUsed;
}

if (import.meta.main) {
  await using target = await NullTarget.start({ addresses: pathAddresses(PATHS) });
  const result = measure(Deno.args[0] === "write" ? "write" : "read", await target.connect(new Poller(), PATHS));
  console.error(JSON.stringify(result));
}
