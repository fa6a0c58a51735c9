import { UmpathError } from "../base/errors.ts";
import { Wake } from "./wake.ts";
import type { FromAnyWorker } from "./worker_inbox.ts";

/** What the main thread does with what comes from a data-plane thread. */
export interface WorkerEvents<Out> {
  handleMessage(message: Out): void;
  /** The worker has failed: what it served is lost. */
  handleFailed(reason: string): void;
}

/** One data-plane thread as the main thread sees it. */
export class WorkerThread<In> {
  /** What the worker had to say of this host as it began. */
  readonly warnings: readonly string[];
  readonly #worker: Worker;
  readonly #wakeFd: number;
  readonly #posted: Int32Array;
  #isEnded = false;

  private constructor(worker: Worker, ready: FromAnyWorker & { type: "ready" }) {
    this.#worker = worker;
    this.#wakeFd = ready.wakeFd;
    this.#posted = new Int32Array(ready.posted);
    this.warnings = ready.warnings;
  }

  /**
   * The thread of `worker`, once it is ready.
   *
   * @throws UmpathError "host-lacks" if this host does not let it run.
   */
  static start<In, Out extends { type: string }>(worker: Worker, on: WorkerEvents<Out>): Promise<WorkerThread<In>> {
    const { promise, resolve, reject } = Promise.withResolvers<WorkerThread<In>>();
    let thread: WorkerThread<In> | null = null;
    const fail = (reason: string) => {
      reject(cannotRun(reason));
      on.handleFailed(reason);
    };
    worker.onmessage = (event: MessageEvent<Out | FromAnyWorker>) => {
      const message = event.data as FromAnyWorker;
      if (message.type === "ready") resolve(thread = new WorkerThread<In>(worker, message));
      else if (message.type === "ended") thread!.#end();
      else if (message.type === "failed") fail(message.reason);
      else on.handleMessage(event.data as Out);
    };
    worker.onerror = (event) => {
      event.preventDefault();
      fail(event.message);
    };
    return promise;
  }

  #end(): void {
    this.#isEnded = true;
    Wake.close(this.#wakeFd);
  }

  /** The eventfd that wakes the worker. It is open until the thread has ended. */
  get wakeFd(): number {
    return this.#wakeFd;
  }

  /** To a thread that has ended: nothing. */
  post(message: In): void {
    if (this.#isEnded) return;
    Atomics.add(this.#posted, 0, 1);
    this.#worker.postMessage(message);
    Wake.signal(this.#wakeFd);
  }

  /** Makes the worker look at shared memory that has changed. */
  wake(): void {
    if (!this.#isEnded) Wake.signal(this.#wakeFd);
  }
}

/** The log has the whole reason; people get its first line. */
function cannotRun(reason: string): UmpathError {
  return new UmpathError("host-lacks", `Cannot run a data-plane thread: ${reason.split("\n", 1)[0]}`, {
    hint: "io_uring is needed: see /proc/sys/kernel/io_uring_disabled, and the seccomp profile if this is a container",
  });
}
