/** Where the processor is while a thread does I/O, kernel included: samples of `perf`, sorted into kinds of work. */
import { run } from "../vm/process.ts";

const SAMPLES_A_SECOND = 1999;
/** `perf` reads symbols of big programs. */
const SCRIPT_TIMEOUT_MS = 120_000;

/** A place in a call chain. */
interface Frame {
  symbol: string;
  /** The program, the library, or one of perf's own names in brackets. */
  object: string;
}

interface Kind {
  name: string;
  has(leaf: Frame, kernelChain: string): boolean;
}

/** The first that fits counts; the last one fits always. */
const KINDS: readonly Kind[] = [
  { name: "TypeScript (compiled)", has: ({ object }) => /perf-\d+\.map|\[JIT\]|\/\/anon|^\[unknown\]$/.test(object) },
  { name: "C library of umpath", has: ({ object }) => object.includes("libumpath") },
  {
    name: "libc: memcpy, memmove, memset",
    has: ({ object, symbol }) => isLibc(object) && /mem(cpy|move|set)/.test(symbol),
  },
  { name: "libc: other", has: ({ object }) => isLibc(object) },
  { name: "clock (vdso)", has: ({ object }) => object === "[vdso]" },
  { name: "runtime: V8's builtins, calls into C, collector", has: ({ object }) => !isKernel(object) },
  {
    name: "kernel: copy to and from user space",
    has: ({ symbol }) => /^_?_?(raw_)?copy_|copy_user|copy_(to|from)_iter/.test(symbol),
  },
  { name: "kernel: sleep and wake-up", has: (_, chain) => /\bschedule\b|try_to_wake_up/.test(chain) },
  {
    name: "kernel: delivery to the peer, within send",
    has: (_, chain) => /net_rx_action|tcp_v[46]_rcv/.test(chain) && /tcp_sendmsg/.test(chain),
  },
  { name: "kernel: send", has: (_, chain) => /tcp_sendmsg|io_send|sendmsg|sys_send/.test(chain) },
  { name: "kernel: receive", has: (_, chain) => /tcp_recvmsg|io_recv|recvmsg|sys_recv/.test(chain) },
  { name: "kernel: read and write of files", has: (_, chain) => /io_read|io_write|vfs_read|vfs_write/.test(chain) },
  { name: "kernel: io_uring_enter besides", has: (_, chain) => chain.includes("sys_io_uring_enter") },
  {
    name: "kernel: entry of system calls",
    has: ({ symbol }) => /^(do_syscall_64|x64_sys_call|entry_SYSCALL)/.test(symbol),
  },
  { name: "kernel: page faults", has: (_, chain) => chain.includes("exc_page_fault") },
  { name: "kernel: other", has: () => true },
];

/** Why there is no breakdown on this machine; null if there is. */
export async function lackOfPerf(): Promise<string | null> {
  const file = await Deno.makeTempFile({ prefix: "umpath-bench-" });
  try {
    const { code, stderr } = await run("perf", ["record", "-q", "-e", "cpu-clock", "-o", file, "--", "true"]);
    return code === 0 ? null : `perf is not permitted here: ${stderr.trim().split("\n")[0]}`;
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return "perf is missing (apt-get install linux-perf)";
    throw error;
  } finally {
    await Deno.remove(file);
  }
}

/** The words before a program's own that sample it into a file. It says by the FIFO when to begin. */
export function perfRecord(file: string, fifo: string): string[] {
  const what = ["-q", "-e", "cpu-clock", "-F", String(SAMPLES_A_SECOND), "-g"];
  return ["perf", "record", ...what, "-D", "-1", `--control=fifo:${fifo}`, "-o", file, "--"];
}

/** Shares of kinds of work in the samples of the main thread of Deno, the largest first. */
export async function breakdown(file: string): Promise<{ what: string; share: number }[]> {
  const fields = ["-F", "comm,pid,tid,ip,sym,dso"];
  const { stdout } = await run("perf", ["script", "-i", file, ...fields], {
    timeoutMs: SCRIPT_TIMEOUT_MS,
    check: true,
  });
  return sharesOf(stdout);
}

/** Sorts what `perf script` prints: blocks of a line with name and IDs and one for each frame, the innermost first. */
export function sharesOf(script: string): { what: string; share: number }[] {
  const counts = new Map<string, number>();
  let sum = 0;
  for (const block of script.split("\n\n")) {
    const [head = "", ...lines] = block.trim().split("\n");
    const ids = /^deno\s+(\d+)\/(\d+)/.exec(head);
    if (ids === null || ids[1] !== ids[2]) continue;
    const frames = lines.map(frameOf).filter((frame) => frame !== null);
    if (frames.length === 0) continue;
    const kind = kindOf(frames);
    counts.set(kind, (counts.get(kind) ?? 0) + 1);
    sum++;
  }
  if (sum === 0) throw new Error("Cannot break down what perf has recorded: no sample of the main thread");
  return [...counts].map(([what, count]) => ({ what, share: count / sum })).toSorted((a, b) => b.share - a.share);
}

function kindOf(frames: Frame[]): string {
  const leaf = frames[0]!;
  const chain = frames.filter(({ object }) => isKernel(object)).map(({ symbol }) => symbol).join(" ");
  return KINDS.find(({ has }) => has(leaf, chain))!.name;
}

function frameOf(line: string): Frame | null {
  const match = /^\s*[0-9a-f]+ (.*) \((.*)\)$/.exec(line);
  return match === null ? null : { symbol: match[1]!, object: match[2]! };
}

function isKernel(object: string): boolean {
  return object.startsWith("[kernel") || object === "[guest.kernel.kallsyms]";
}

function isLibc(object: string): boolean {
  return /\/libc[.-]/.test(object);
}
