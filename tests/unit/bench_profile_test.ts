import { assertEquals, assertThrows } from "@std/assert";
import { sharesOf } from "../bench/perf_breakdown.ts";
import { largestSelfTimes, profile } from "../bench/v8_profile.ts";

/** As perf 6.1 prints them with -F comm,pid,tid,ip,sym,dso. */
const SCRIPT = `deno 136/136 
	ffffffff81c _copy_to_iter ([kernel.kallsyms])
	ffffffff81b tcp_recvmsg ([kernel.kallsyms])
	ffffffff81a __do_sys_io_uring_enter ([kernel.kallsyms])
	       f82ad syscall (/usr/lib/x86_64-linux-gnu/libc.so.6)

deno 136/136 
	ffffffff81d tcp_ack ([kernel.kallsyms])
	ffffffff81c tcp_v4_rcv ([kernel.kallsyms])
	ffffffff81b tcp_sendmsg ([kernel.kallsyms])

deno 136/136 
	    7f00deadbeef [unknown] (/tmp/perf-136.map)

deno 136/136 
	            12ab um_ring_turn (/repo/dist/lib/libumpath.so)

deno 136/140 
	ffffffff81b tcp_sendmsg ([kernel.kallsyms])

null_target 137/137 
	ffffffff81b tcp_sendmsg ([kernel.kallsyms])

`;

Deno.test("sharesOf() sorts samples of Deno's main thread by the innermost frame and the kernel's chain", () => {
  assertEquals(sharesOf(SCRIPT), [
    { what: "kernel: copy to and from user space", share: 0.25 },
    { what: "kernel: delivery to the peer, within send", share: 0.25 },
    { what: "TypeScript (compiled)", share: 0.25 },
    { what: "C library of umpath", share: 0.25 },
  ]);
});

Deno.test("sharesOf() refuses a recording without a sample of the main thread", () => {
  assertThrows(() => sharesOf("null_target 137/137 \n\t1 main (/x)\n\n"), Error, "no sample");
});

Deno.test("largestSelfTimes() names functions by place, and those in C by their caller", () => {
  const node = (id: number, functionName: string, url: string, children: number[]) => ({
    id,
    callFrame: { functionName, url, lineNumber: 8 },
    children,
  });
  const nodes = [node(1, "(root)", "", [2]), node(2, "turn", "file:///repo/src/io/ring.ts", [3]), node(3, "", "", [])];
  assertEquals(largestSelfTimes({ nodes, samples: [2, 3, 3], timeDeltas: [250, 500, 250] }), [
    { what: "(C) called by turn src/io/ring.ts:9", share: 0.75 },
    { what: "turn src/io/ring.ts:9", share: 0.25 },
  ]);
});

Deno.test("profile() shows the function that takes the time", async () => {
  function burn() {
    const end = performance.now() + 200;
    let sum = 0;
    while (performance.now() < end) for (let i = 0; i < 10_000; i++) sum += i;
    return sum;
  }
  const found = largestSelfTimes(await profile(burn)).find(({ what }) => what.startsWith("burn "));
  assertEquals((found?.share ?? 0) > 0.3, true, `burn() has ${found?.share}`);
});
