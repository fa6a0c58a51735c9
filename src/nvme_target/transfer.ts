/** What the two ends of a connection and of its queue have agreed on. */

/** What the IC exchange settled; enough for another thread to go on with the connection. */
export interface TargetTransfer {
  readonly headerDigest: boolean;
  readonly dataDigest: boolean;
  /** What the data of a C2HData PDU is aligned to, in bytes. */
  readonly hostDataAlignment: number;
  /** R2Ts of one command that the host takes at a time. One is all that is ever used. */
  readonly hostR2tsMax: number;
}

/** What Connect said of the submission queue, and where its head is now. */
export interface TargetQueue {
  readonly sqEntries: number;
  readonly sqFlowControl: boolean;
  readonly sqHead: number;
}

/** CRC32C (final value) of `bytes` bytes at `offset` in the arena. */
export type Crc32c = (offset: number, bytes: number) => number;
