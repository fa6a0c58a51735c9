/** A data-plane thread: runs the loop, and steps out of it only to hear what the main thread says. */
import { native } from "../../ffi/library.ts";
import { cString, SystemError } from "../../ffi/result.ts";
import { errnoWords } from "../base/errno.ts";
import { DataPlane } from "./data_plane.ts";
import type { FromWorker, ToWorker } from "./worker_messages.ts";

declare const self: {
  name: string;
  onmessage: ((event: MessageEvent<ToWorker>) => void) | null;
  postMessage(message: FromWorker): void;
  close(): void;
};

const tell = (message: FromWorker) => self.postMessage(message);

/** The kernel writes dirty pages through this thread: its own allocations must not wait for that. */
function beFlusher(): string[] {
  const result = native().um_io_flusher();
  if (result >= 0) return [];
  return [`Cannot mark a worker as an I/O flusher (${errnoWords(result)}): under memory pressure writes may stall`];
}

function main(): void {
  native().um_thread_name(cString(self.name));
  const warnings = beFlusher();
  const plane = new DataPlane(tell);
  const posted = new Int32Array(new SharedArrayBuffer(4));
  let taken = 0;
  self.onmessage = guard((event) => {
    taken++;
    plane.handleMessage(event.data);
    // While every message is taken, only the ring matters; a signal ends a run, for then there may be another.
    while (!plane.isStopped && taken === Atomics.load(posted, 0)) plane.run();
    if (plane.isStopped) end(plane);
  });
  tell({ type: "ready", wakeFd: plane.wake.fd, posted: posted.buffer, warnings });
}

function end(plane: DataPlane): void {
  plane[Symbol.dispose]();
  self.close();
}

/** What is thrown here is a fault of ours, or of the kernel: the main thread hears of it. */
function guard<A extends unknown[]>(body: (...args: A) => void): (...args: A) => void {
  return (...args) => {
    try {
      body(...args);
    } catch (error) {
      tell({ type: "failed", reason: reasonOf(error) });
      self.close();
    }
  };
}

/** What the kernel refuses is told in words; anything else is a bug, and where it is helps to find it. */
function reasonOf(error: unknown): string {
  if (error instanceof SystemError) return error.message.replace(/errno \d+$/, errnoWords(error.errno));
  return error instanceof Error ? error.stack ?? error.message : String(error);
}

guard(main)();
