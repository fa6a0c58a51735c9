/** What a target is asked over its control socket, and what it answers. The lines are as those of the daemon. */
import type { AnaStateName } from "./host_api.ts";

/** What a namespace is made of, as the command line says it. */
export interface NamespaceSpec {
  readonly nsid: number;
  readonly backing: NamespaceBacking;
  readonly blockSize: 512 | 4096;
  /** UUID in text form; null: that of its storage. */
  readonly uuid: string | null;
  readonly readOnly: boolean;
}

export type NamespaceBacking =
  /** `sizeBytes`: the file is made with that size if it is missing or empty. */
  | { readonly type: "file"; readonly path: string; readonly sizeBytes: number | null }
  | { readonly type: "ram"; readonly sizeBytes: number };

/** Where the target listens, and in which ANA state all namespaces are there. */
export interface ListenSpec {
  readonly traddr: string;
  /** 0: a free port. */
  readonly trsvcid: number;
  readonly ana: AnaStateName;
}

/** What `umpath serve` serves. */
export interface TargetSpec {
  readonly nqn: string;
  readonly serial: string | null;
  readonly listeners: readonly ListenSpec[];
  readonly namespaces: readonly NamespaceSpec[];
  /** NQNs of the hosts that may connect; null: all. */
  readonly allowedHosts: readonly string[] | null;
  /** Data that a capsule of an I/O queue may carry, in bytes. */
  readonly inCapsuleBytes: number;
  /** I/O queues of one controller at most. */
  readonly queues: number;
  /** Entries of one queue at most. */
  readonly depth: number;
  /** Data-plane threads; null: one a CPU, at most four. */
  readonly workers: number | null;
  /** What goes wrong from the start on, in words. */
  readonly faults: readonly string[];
  readonly faultSeed: number;
}

export interface NamespaceInfo {
  nsid: number;
  uuid: string;
  nguid: string;
  blockSize: number;
  sizeBytes: number;
  readOnly: boolean;
  /** Path of the file, or null if it is in memory. */
  file: string | null;
  /** What is behind it. */
  storage: "file" | "block-device" | "memory";
  /** The file is read and written past the page cache. */
  direct: boolean;
}

export interface ListenerInfo {
  traddr: string;
  trsvcid: number;
  ana: AnaStateName;
  controllers: number;
}

export interface ControllerInfo {
  cntlid: number;
  kind: "nvm" | "discovery";
  /** Empty if the host gave none. */
  hostNqn: string;
  /** UUID in text form. */
  hostId: string;
  /** The host's end of the admin connection. */
  peer: string;
  /** The listener that it came to: address and port. */
  listener: string;
  /** I/O queues that are connected. */
  queues: number;
  reads: number;
  writes: number;
  readBytes: number;
  writeBytes: number;
  errors: number;
}

export interface TargetInfo {
  nqn: string;
  serial: string;
  pid: number;
  version: string;
  workers: number;
  namespaces: NamespaceInfo[];
  listeners: ListenerInfo[];
  controllers: ControllerInfo[];
}

/** What goes wrong on a target on demand. */
export interface FaultsInfo {
  /** What chance draws from. */
  seed: number;
  /** Each fault as it was given, and the commands, connections or beginnings that it has hit. */
  faults: { words: string; hits: number }[];
}

/** A listener by its address and port. */
export interface PortalName {
  traddr: string;
  trsvcid: number;
}

/** Every method of a target's control socket with its parameters and result. */
export interface TargetApi {
  show: { params: Record<string, never>; result: TargetInfo };
  ana: { params: PortalName & { ana: AnaStateName }; result: ListenerInfo };
  /** Makes a namespace smaller only with `shrink`. */
  resize: {
    params: { nsid: number; sizeBytes: number; shrink: boolean };
    result: NamespaceInfo & { wasBytes: number };
  };
  "listener-add": { params: ListenSpec; result: ListenerInfo };
  "listener-remove": { params: PortalName; result: Record<string, never> };
  faults: { params: Record<string, never>; result: FaultsInfo };
  /** These faults begin now, in the place of those before. */
  "set-faults": { params: { faults: string[]; seed: number }; result: FaultsInfo };
  stop: { params: Record<string, never>; result: Record<string, never> };
}

export type TargetMethod = keyof TargetApi;
