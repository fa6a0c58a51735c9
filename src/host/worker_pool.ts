import { UmpathError } from "../base/errors.ts";
import { logger } from "../base/log.ts";
import { Wake } from "../io/wake.ts";
import type { FromWorker, ToWorker } from "./worker_messages.ts";

const log = logger("worker");

/** One data-plane thread as the main thread sees it. */
class WorkerThread {
  readonly #worker: Worker;
  readonly #wakeFd: number;
  readonly #posted: Int32Array;

  constructor(worker: Worker, ready: FromWorker & { type: "ready" }) {
    this.#worker = worker;
    this.#wakeFd = ready.wakeFd;
    this.#posted = new Int32Array(ready.posted);
  }

  post(message: ToWorker): void {
    Atomics.add(this.#posted, 0, 1);
    this.#worker.postMessage(message);
    Wake.signal(this.#wakeFd);
  }

  wake(): void {
    Wake.signal(this.#wakeFd);
  }
}

/** The data-plane threads. Messages about a volume go to whoever subscribed to that volume. */
export class WorkerPool {
  readonly #threads: WorkerThread[] = [];
  readonly #subscribers = new Map<number, (message: FromWorker, worker: number) => void>();
  readonly #onFailed: (reason: string) => void;
  readonly #size: number;
  #started: Promise<void> | null = null;

  /** `onFailed` is called when a worker has failed: what it served is lost. */
  constructor(size: number, onFailed: (reason: string) => void) {
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
  }

  #startThread(index: number): Promise<WorkerThread> {
    const { promise, resolve, reject } = Promise.withResolvers<WorkerThread>();
    const worker = new Worker(new URL("./worker.ts", import.meta.url), { type: "module", name: `umpath-io-${index}` });
    worker.onmessage = (event: MessageEvent<FromWorker>) => {
      const message = event.data;
      if (message.type === "ready") {
        if (index === 0) message.warnings.forEach((warning) => log.warn(warning));
        resolve(new WorkerThread(worker, message));
      } else if (message.type === "failed") {
        reject(cannotRun(message.reason));
        this.#onFailed(message.reason);
      } else {
        this.#subscribers.get(message.volume)?.(message, index);
      }
    };
    worker.onerror = (event) => {
      event.preventDefault();
      reject(cannotRun(event.message));
      this.#onFailed(event.message);
    };
    return promise;
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

  /** Makes workers look at shared memory that has changed. */
  wake(): void {
    for (const thread of this.#threads) thread.wake();
  }

  stop(): void {
    for (const thread of this.#threads) thread.post({ type: "stop" });
  }
}

/** The log has the whole reason; people get its first line. */
function cannotRun(reason: string): UmpathError {
  return new UmpathError("host-lacks", `Cannot run a data-plane thread: ${reason.split("\n", 1)[0]}`, {
    hint: "io_uring is needed: see /proc/sys/kernel/io_uring_disabled, and the seccomp profile if this is a container",
  });
}
