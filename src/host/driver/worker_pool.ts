import { logger } from "../../base/log.ts";
import { WorkerThread } from "../../io/worker_thread.ts";
import { STILL_MS_MAX } from "../worker/standstill.ts";
import type { FromWorker, ToWorker } from "../worker/worker_messages.ts";

const log = logger("worker");

/** The data-plane threads. Messages about a volume go to whoever subscribed to that volume. */
export class WorkerPool {
  readonly #threads: WorkerThread<ToWorker>[] = [];
  readonly #subscribers = new Map<number, (message: FromWorker, worker: number) => void>();
  readonly #onFailed: (reason: string) => void;
  readonly #size: number;
  readonly #beats: SharedArrayBuffer | null;
  #started: Promise<void> | null = null;

  /**
   * `onFailed` is called when a worker has failed: what it served is lost. `beats` are those of the calling thread, if
   * the workers shall tell when it stands still.
   */
  constructor(size: number, onFailed: (reason: string) => void, beats: SharedArrayBuffer | null = null) {
    this.#beats = beats;
    this.#size = size;
    this.#onFailed = onFailed;
  }

  get size(): number {
    return this.#size;
  }

  /**
   * Starts the threads, once.
   *
   * @throws UmpathError "host-lacks" if this host does not let them run.
   */
  start(): Promise<void> {
    this.#started ??= this.#start();
    return this.#started;
  }

  async #start(): Promise<void> {
    this.#threads.push(...await Promise.all(Array.from({ length: this.#size }, (_, i) => this.#startThread(i))));
    // One of them looks. If it fails, the daemon ends.
    if (this.#beats !== null) {
      this.post(0, { type: "watch-main", beats: this.#beats, tid: Deno.pid, stillMsMax: STILL_MS_MAX });
    }
    this.#threads[0]?.warnings.forEach((warning) => log.warn(warning));
  }

  #startThread(index: number): Promise<WorkerThread<ToWorker>> {
    const worker = new Worker(new URL("../worker/worker.ts", import.meta.url), {
      type: "module",
      name: `umpath-io-${index}`,
    });
    return WorkerThread.start<ToWorker, FromWorker>(worker, {
      handleMessage: (message) => this.#subscribers.get(message.volume)?.(message, index),
      handleFailed: this.#onFailed,
    });
  }

  subscribe(volume: number, handler: (message: FromWorker, worker: number) => void): void {
    this.#subscribers.set(volume, handler);
  }

  unsubscribe(volume: number): void {
    this.#subscribers.delete(volume);
  }

  post(worker: number, message: ToWorker): void {
    this.#threads[worker].post(message);
  }

  /** What wakes a worker, for another one that has something for it. */
  wakeFd(worker: number): number {
    return this.#threads[worker].wakeFd;
  }

  /** Makes workers look at shared memory that has changed. */
  wake(): void {
    for (const thread of this.#threads) thread.wake();
  }

  stop(): void {
    for (const thread of this.#threads) thread.post({ type: "stop" });
  }
}
