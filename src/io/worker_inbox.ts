/**
 * The worker's end of the messages between the main thread and a data-plane thread. A worker that sleeps in the kernel
 * hears no message; so the main thread counts a message, posts it and signals the worker's eventfd, and the worker
 * leaves its loop until it has taken as many messages as were counted.
 */
import { native } from "../../ffi/library.ts";
import { cString, SystemError } from "../../ffi/result.ts";
import { errnoWords } from "../base/errno.ts";
import type { Wake } from "./wake.ts";

/** What every worker tells of itself. */
export type FromAnyWorker =
  /** `posted` counts what was posted to the worker; count before you post, then signal `wakeFd`. */
  | { type: "ready"; wakeFd: number; posted: SharedArrayBuffer; warnings: string[] }
  /** It was told to end and has: nothing of it is left but the descriptor by which it was woken. */
  | { type: "ended" }
  /** A bug, or the kernel refuses what a worker cannot do without: it has ended. */
  | { type: "failed"; reason: string };

/** What a worker runs. */
export interface Plane<In> extends Disposable {
  readonly wake: Wake;
  /** It was told to end. */
  readonly isStopped: boolean;
  handleMessage(message: In): void;
  /** Runs until the main thread has signalled. */
  run(): void;
}

/** The global scope of a worker. */
export interface WorkerScope {
  readonly name: string;
  onmessage: ((event: MessageEvent) => void) | null;
  postMessage(message: unknown): void;
  close(): void;
}

/**
 * Makes the plane, says that it is ready, and runs it until it is told to end. An `ioFlusher` serves a block device of
 * this host.
 */
export function serveInbox<In, Out>(
  scope: WorkerScope,
  { ioFlusher }: { ioFlusher: boolean },
  makePlane: (tell: (message: Out) => void) => Plane<In>,
): void {
  const tell = (message: Out | FromAnyWorker) => scope.postMessage(message);
  const guarded = guard(scope, () => {
    native().um_thread_name(cString(scope.name));
    const warnings = ioFlusher ? beFlusher() : [];
    const plane = makePlane(tell);
    const posted = new Int32Array(new SharedArrayBuffer(4));
    let taken = 0;
    scope.onmessage = guard(scope, (event: MessageEvent<In>) => {
      taken++;
      plane.handleMessage(event.data);
      // While every message is taken, only the ring matters; a signal ends a run, for then there may be another.
      while (!plane.isStopped && taken === Atomics.load(posted, 0)) plane.run();
      if (!plane.isStopped) return;
      scope.onmessage = null;
      plane[Symbol.dispose]();
      tell({ type: "ended" });
      scope.close();
    });
    tell({ type: "ready", wakeFd: plane.wake.fd, posted: posted.buffer, warnings });
  });
  guarded();
}

/** The kernel writes dirty pages through this thread: its own allocations must not wait for that. */
function beFlusher(): string[] {
  const result = native().um_io_flusher();
  if (result >= 0) return [];
  return [`Cannot mark a worker as an I/O flusher (${errnoWords(result)}): under memory pressure writes may stall`];
}

/** What is thrown here is a fault of ours, or of the kernel: the main thread hears of it. */
function guard<A extends unknown[]>(scope: WorkerScope, body: (...args: A) => void): (...args: A) => void {
  return (...args) => {
    try {
      body(...args);
    } catch (error) {
      scope.postMessage({ type: "failed", reason: reasonOf(error) } satisfies FromAnyWorker);
      scope.close();
    }
  };
}

/** What the kernel refuses is told in words; anything else is a bug, and where it is helps to find it. */
function reasonOf(error: unknown): string {
  if (error instanceof SystemError) return error.message.replace(/errno \d+$/, errnoWords(error.errno));
  return error instanceof Error ? error.stack ?? error.message : String(error);
}
