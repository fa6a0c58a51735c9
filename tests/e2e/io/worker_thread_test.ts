import { assertEquals } from "@std/assert";
import { native } from "../../../ffi/library.ts";
import { LoadControl } from "../../../src/block/load_control.ts";
import type { ToFileLoad } from "../../../src/demo/file_load_worker.ts";
import { WorkerThread } from "../../../src/io/worker_thread.ts";
import { eventually } from "../host/host_fixture.ts";

/** Event descriptors that this process has open. */
function eventDescriptors(): number {
  return [...Deno.readDirSync("/proc/self/fd")].filter(({ name }) => {
    try {
      return Deno.readLinkSync(`/proc/self/fd/${name}`) === "anon_inode:[eventfd]";
    } catch {
      return false;
    }
  }).length;
}

/** Starts the thread of the demo's load: any would do. */
function start(failures: string[]): Promise<WorkerThread<ToFileLoad>> {
  const worker = new Worker(new URL("../../../src/demo/file_load_worker.ts", import.meta.url), { type: "module" });
  return WorkerThread.start<ToFileLoad, { type: string }>(worker, {
    handleMessage: () => {},
    handleFailed: (reason) => failures.push(reason),
  });
}

Deno.test("WorkerThread may be told anything while its thread ends, and after that, and leaves no descriptor", async () => {
  native();
  const failures: string[] = [];
  (await start(failures)).post({ type: "stop" });
  await new Promise((resolve) => setTimeout(resolve, 200));
  const before = eventDescriptors();
  const plan = { depth: 1, unitBytes: 4096, units: 1024, seed: 1, control: new LoadControl().buffer };
  for (let i = 0; i < 20; i++) {
    const thread = await start(failures);
    if (i % 2 === 0) thread.post({ type: "plan", plan });
    thread.post({ type: "stop" });
    for (let k = 0; k < 50; k++) {
      thread.wake();
      if (k % 10 === 0) await new Promise((resolve) => setTimeout(resolve, k % 20));
      if (k === 30) thread.post({ type: "stop" });
    }
  }
  assertEquals(failures, []);
  await eventually("no event descriptor is left", () => eventDescriptors() <= before);
});
