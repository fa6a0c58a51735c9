import type { Crc32c } from "./transfer.ts";

/** Why a connection failed. */
export interface ConnectionFailure {
  /** In words, for people. */
  readonly reason: string;
  /** Fatal error status for the termination request; 0 if the peer is not to be told. */
  readonly fes: number;
  /** Fatal error information: a byte of the offending header, or the digest that was received. */
  readonly fei: number;
}

export interface ConnectionOptions {
  /** The arena: data buffers of the commands, and the connection's own part of it. */
  readonly memory: Uint8Array<ArrayBuffer>;
  /** Where the connection's own part begins; `Connection.arenaBytes()` long, aligned to 8. */
  readonly arenaOffset: number;
  /** Command slots: at most one less than the queue's size. */
  readonly depth: number;
  /** Data that may travel in a command capsule, in bytes. */
  readonly inCapsuleBytes: number;
  /** Size of the receive buffer in bytes. */
  readonly receiveBytes?: number;
  /**
   * A read may be answered with success and less data than was asked for: what a controller tells of itself may be
   * shorter. How much came is in `CommandTable.transferred`.
   */
  readonly takesShortReads?: boolean;
  /** Needed, and called, only with digests. */
  readonly crc32c?: Crc32c;
}
