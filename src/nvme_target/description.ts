/** What a target is made of: said once at its start, plain enough to be sent between threads. */

/** A namespace. Its NSID, size and write protection can be looked up in the {@linkcode TargetTable} by `index`. */
export interface NamespaceDescription {
  /** Its place in the table. */
  readonly index: number;
  readonly nsid: number;
  /** Logical block size in bytes: 512 or 4096. */
  readonly blockSize: number;
  /** Size in logical blocks at the start; exact as a number. */
  readonly blocks: number;
  readonly readOnly: boolean;
  /** What is written is on stable storage only after a FLUSH, or with FUA. */
  readonly volatileCache: boolean;
  /** 16 bytes each, of the storage behind it. */
  readonly uuid: Uint8Array;
  readonly nguid: Uint8Array;
}

/** A portal that hosts connect to. Its ANA state is in the {@linkcode TargetTable} by `index`. */
export interface ListenerDescription {
  /** Its place in the table, and its number as a port of the subsystem (PORTID is one more). */
  readonly index: number;
  /** IPv4 or IPv6, without brackets; as hosts are told it in the discovery log. */
  readonly traddr: string;
  readonly trsvcid: number;
}

/** What every controller of the subsystem tells and grants. */
export interface SubsystemLimits {
  /** I/O queues of one controller. */
  readonly ioQueuesMax: number;
  /** Entries of one queue, not 0's based. */
  readonly queueEntriesMax: number;
  /** Data of one command in bytes: a power of two, at least 4096. */
  readonly transferBytesMax: number;
  /** Data that may travel in a command capsule of an I/O queue in bytes: a multiple of 16, 0 for none. */
  readonly inCapsuleBytes: number;
}

export interface SubsystemDescription {
  readonly nqn: string;
  /** At most 20 ASCII characters. */
  readonly serial: string;
  /** At most 40 ASCII characters. */
  readonly model: string;
  readonly namespaces: readonly NamespaceDescription[];
  readonly limits: SubsystemLimits;
  /** NQNs of the hosts that may connect; null: all. */
  readonly allowedHosts: readonly string[] | null;
}
