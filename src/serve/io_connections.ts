import { assert } from "../base/assert.ts";
import { TARGET_CONNECTIONS_MAX } from "../base/limits.ts";
import { WorkerThread } from "../io/worker_thread.ts";
import type { TargetQueue, TargetTransfer } from "../nvme_target/connection.ts";
import type { FaultSubject } from "../nvme_target/fault_script.ts";
import type { IoTotals } from "../nvme_target/inventory.ts";
import { IoCounter, IoCounters } from "../nvme_target/io_counters.ts";
import type { FaultPlan } from "./fault_plan.ts";
import type { CommandFailed, FromTargetWorker, ServedNamespace, ToTargetWorker } from "./worker_messages.ts";

/** What all I/O connections have in common. */
export interface IoConnectionsOptions {
  readonly workers: number;
  readonly namespaces: readonly ServedNamespace[];
  readonly table: SharedArrayBuffer;
  readonly transferBytesMax: number;
  readonly inCapsuleBytes: number;
  /** A worker has failed: what it served is lost. */
  onWorkerFailed(reason: string): void;
}

/** An open I/O queue pair. */
export interface NewIoConnection {
  readonly fd: number;
  readonly listener: number;
  readonly qid: number;
  readonly transfer: TargetTransfer;
  readonly queue: TargetQueue;
  readonly subject: FaultSubject;
  /** A command was answered with an error. */
  onFailed(failed: CommandFailed): void;
  /** Nothing of the connection is under way any more; `reason` is null if `close()` ended it. */
  onClosed(reason: string | null): void;
}

/** An I/O connection as the main thread sees it: its queue pair is in a worker. */
export class IoConnection {
  readonly counters = new IoCounters();
  readonly #close: () => void;

  constructor(close: () => void) {
    this.#close = close;
  }

  /** Ends it; `onClosed` is called when it is quiet. */
  close(): void {
    this.#close();
  }
}

/** The data-plane threads of a target and the I/O connections in them. Queue `qid` is served by one worker. */
export class IoConnections {
  readonly #options: IoConnectionsOptions;
  readonly #threads: WorkerThread<ToTargetWorker>[] = [];
  readonly #open: (NewIoConnection | null)[] = new Array(TARGET_CONNECTIONS_MAX).fill(null);
  /** Of the connections that are open, and sums of those that are not any more. */
  readonly #counters = new Map<number, IoCounters>();
  readonly #past = new IoCounters();
  readonly #free: number[] = Array.from({ length: TARGET_CONNECTIONS_MAX }, (_, i) => TARGET_CONNECTIONS_MAX - 1 - i);

  private constructor(options: IoConnectionsOptions) {
    this.#options = options;
  }

  /**
   * Starts the threads.
   *
   * @throws UmpathError "host-lacks" if this host does not let them run.
   */
  static async start(options: IoConnectionsOptions): Promise<IoConnections> {
    const connections = new IoConnections(options);
    const starting = Array.from({ length: options.workers }, (_, index) => connections.#startThread(index));
    connections.#threads.push(...await Promise.all(starting));
    const { namespaces, table, transferBytesMax, inCapsuleBytes } = options;
    for (const thread of connections.#threads) {
      thread.post({ type: "serve", namespaces, table, transferBytesMax, inCapsuleBytes });
    }
    return connections;
  }

  #startThread(index: number): Promise<WorkerThread<ToTargetWorker>> {
    const url = new URL("./target_worker.ts", import.meta.url);
    const worker = new Worker(url, { type: "module", name: `umpath-srv-${index}` });
    return WorkerThread.start<ToTargetWorker, FromTargetWorker>(worker, {
      handleMessage: (message) => {
        if (message.type === "command-failed") this.#open[message.connection]?.onFailed(message);
        else this.#handleClosed(message.connection, message.reason);
      },
      handleFailed: this.#options.onWorkerFailed,
    });
  }

  #handleClosed(index: number, reason: string | null): void {
    const connection = this.#open[index];
    assert(connection != null, "A connection is closed once");
    this.#open[index] = null;
    this.#free.push(index);
    for (const counter of Object.values(IoCounter)) this.#past.add(counter, this.#counters.get(index)!.get(counter));
    this.#counters.delete(index);
    connection.onClosed(reason);
  }

  /** What all connections have done since the start. */
  totals(): IoTotals {
    const all = [this.#past, ...this.#counters.values()];
    const sum = (counter: number) => all.reduce((total, counters) => total + counters.get(counter), 0);
    return {
      reads: sum(IoCounter.READS),
      writes: sum(IoCounter.WRITES),
      readBytes: sum(IoCounter.READ_BYTES),
      writeBytes: sum(IoCounter.WRITE_BYTES),
      deviceErrors: sum(IoCounter.DEVICE_ERRORS),
    };
  }

  get workers(): number {
    return this.#options.workers;
  }

  /** Connections that are not closed. */
  get count(): number {
    return TARGET_CONNECTIONS_MAX - this.#free.length;
  }

  get isFull(): boolean {
    return this.#free.length === 0;
  }

  /** Gives a connection to its worker. Only if not full. */
  add(connection: NewIoConnection): IoConnection {
    const index = this.#free.pop();
    assert(index !== undefined && connection.qid > 0, "There is room for an I/O connection");
    const thread = this.#threads[(connection.qid - 1) % this.#threads.length]!;
    const added = new IoConnection(() => thread.post({ type: "close-connection", connection: index }));
    this.#open[index] = connection;
    this.#counters.set(index, added.counters);
    const { fd, listener, transfer, queue, subject: { stream, sinceMs } } = connection;
    thread.post({
      type: "add-connection",
      connection: index,
      ...{ fd, listener, transfer, queue, stream },
      sinceEpochMs: performance.timeOrigin + sinceMs,
      counters: added.counters.shared,
    });
    return added;
  }

  /** Tells all threads what goes wrong from now on; null for nothing. */
  tellFaults(plan: FaultPlan | null): void {
    for (const thread of this.#threads) thread.post({ type: "faults", plan });
  }

  stop(): void {
    for (const thread of this.#threads) thread.post({ type: "stop" });
  }
}
