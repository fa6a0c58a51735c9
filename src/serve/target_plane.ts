import { assert } from "../base/assert.ts";
import { TARGET_CONNECTIONS_MAX } from "../base/limits.ts";
import { Arena } from "../io/arena.ts";
import { Memory } from "../io/memory.ts";
import { RingLoop } from "../io/ring_loop.ts";
import type { Wake } from "../io/wake.ts";
import type { Plane } from "../io/worker_inbox.ts";
import type { FaultScript } from "../nvme_target/fault_script.ts";
import { TargetTable } from "../nvme_target/target_table.ts";
import { faultScript } from "./fault_plan.ts";
import { IoConnectionQueue, type ServedTarget } from "./io_connection_queue.ts";
import type { AddConnection, FromTargetWorker, ToTargetWorker } from "./worker_messages.ts";
import { native } from "../../ffi/library.ts";

/** What a worker of the target runs: I/O connections on one ring. */
export class TargetPlane implements Plane<ToTargetWorker> {
  readonly #loop = new RingLoop<IoConnectionQueue>(TARGET_CONNECTIONS_MAX, () => {});
  readonly #arena = new Arena();
  readonly #tell: (message: FromTargetWorker) => void;
  #target: ServedTarget | null = null;
  #script: FaultScript | null = null;
  #isStopped = false;

  constructor(tell: (message: FromTargetWorker) => void) {
    this.#tell = tell;
  }

  get wake(): Wake {
    return this.#loop.wake;
  }

  get isStopped(): boolean {
    return this.#isStopped;
  }

  /** Carries out what the main thread says. */
  handleMessage(message: ToTargetWorker): void {
    switch (message.type) {
      case "serve":
        return this.#serve(message);
      case "add-connection":
        return this.#add(message);
      case "faults":
        this.#script = message.plan === null ? null : faultScript(message.plan);
        return this.#loop.forEach((connection) => connection.setScript(this.#script));
      case "close-connection":
        this.#loop.at(message.connection)?.close();
        return this.#loop.touch(message.connection);
      case "stop":
        this.#isStopped = true;
    }
  }

  #serve(message: ToTargetWorker & { type: "serve" }): void {
    const namespaces = message.namespaces.map((namespace) => {
      const { store } = namespace;
      return { ...namespace, storage: store.type === "ram" ? Memory.at(store.address, store.bytes).bytes : null };
    });
    this.#target = { ...message, arena: this.#arena, namespaces, table: new TargetTable(message.table) };
  }

  /** A connection that there is no memory for is closed: its host learns of it, and others go on. */
  #add(message: AddConnection): void {
    const { connection } = message;
    assert(this.#target !== null, "A worker is told what to serve before anything else");
    try {
      const added = new IoConnectionQueue(message, this.#target, this.#tell);
      if (this.#script !== null) added.setScript(this.#script);
      this.#loop.add(connection, added);
    } catch (error) {
      native().um_socket_close(message.fd, 1);
      const reason = error instanceof Error ? error.message : String(error);
      this.#tell({ type: "connection-closed", connection, reason });
    }
  }

  run(): void {
    this.#loop.run();
  }

  [Symbol.dispose](): void {
    this.#loop[Symbol.dispose]();
    this.#arena[Symbol.dispose]();
  }
}
