/** What the main thread and the workers of a target tell each other; `src/io/worker_inbox.ts` says how. */
import type { TargetQueue, TargetTransfer } from "../nvme_target/connection.ts";
import type { FaultPlan } from "./fault_plan.ts";

/** What is behind a namespace, as any thread of the process can use it. */
export type NamespaceStore =
  | { readonly type: "file"; readonly fd: number }
  /** Memory that is mapped once for the whole process; its size is as far as the namespace can grow. */
  | { readonly type: "ram"; readonly address: number; readonly bytes: number };

/** A namespace as a worker serves it. */
export interface ServedNamespace {
  /** Its place in the `TargetTable`. */
  readonly index: number;
  readonly nsid: number;
  readonly blockSize: number;
  readonly store: NamespaceStore;
}

/** An I/O queue pair whose Connect is answered. `connection` may be used again once "connection-closed" was told. */
export interface AddConnection {
  type: "add-connection";
  connection: number;
  fd: number;
  /** Index of the listener that it came to. */
  listener: number;
  transfer: TargetTransfer;
  queue: TargetQueue;
  /** Tells it apart from other connections of the listener, for faults. */
  stream: number;
  /** When it came to be, ms since the epoch: what goes wrong before does not concern it. */
  sinceEpochMs: number;
  /** Memory of the connection's `IoCounters`. */
  counters: SharedArrayBuffer;
}

export type ToTargetWorker =
  /** The first message: what all connections have in common. */
  | {
    type: "serve";
    namespaces: readonly ServedNamespace[];
    /** Memory of the `TargetTable`. */
    table: SharedArrayBuffer;
    transferBytesMax: number;
    inCapsuleBytes: number;
  }
  | AddConnection
  /** What goes wrong from now on; null for nothing. */
  | { type: "faults"; plan: FaultPlan | null }
  /** Ends a connection; answered by "connection-closed", which comes also if it has ended by itself. */
  | { type: "close-connection"; connection: number }
  | { type: "stop" };

/**
 * The connection is gone and nothing of its commands is under way: neither on its socket nor in a file. `reason` says why
 * it ended by itself; null if it was told to.
 */
export interface ConnectionClosed {
  type: "connection-closed";
  connection: number;
  reason: string | null;
}

/** A command was answered with an error. */
export interface CommandFailed {
  type: "command-failed";
  connection: number;
  cid: number;
  status: number;
  nsid: number;
  lba: number;
  /** What the storage gave; 0 if that was not to blame. */
  errno: number;
  isRead: boolean;
}

export type FromTargetWorker = ConnectionClosed | CommandFailed;
