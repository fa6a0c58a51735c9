/** A main thread that has a real data-plane thread watch it, and stands still for a while: standstill_test.ts runs it. */
import { Heartbeat } from "../../src/host/daemon/heartbeat.ts";
import type { FromWorker, ToWorker } from "../../src/host/worker/worker_messages.ts";
import { WorkerThread } from "../../src/io/worker_thread.ts";

const STILL_MS_MAX = 1_000;
const STANDS_MS = 3_500;

const worker = new Worker(new URL("../../src/host/worker/worker.ts", import.meta.url), {
  type: "module",
  name: "umpath-io-0",
});
const thread = await WorkerThread.start<ToWorker, FromWorker>(worker, {
  handleMessage: () => {},
  handleFailed: (reason) => console.error(reason),
});
using heartbeat = new Heartbeat();
thread.post({ type: "watch-main", beats: heartbeat.shared, tid: Deno.pid, stillMsMax: STILL_MS_MAX });
const beats = new Int32Array(heartbeat.shared);
while (Atomics.load(beats, 0) < 8) await new Promise((resolve) => setTimeout(resolve, 50));
console.log("beats");
// A futex, as a system call that does not come back.
Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, STANDS_MS);
console.log("moves");
const moved = Atomics.load(beats, 0);
while (Atomics.load(beats, 0) < moved + 12) await new Promise((resolve) => setTimeout(resolve, 50));
thread.post({ type: "stop" });
Deno.exit(0);
