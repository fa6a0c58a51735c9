/** What an I/O queue needs of the connection that its commands come in on; `TargetConnection` is one. */
export interface IoConnection {
  /** Anything but "ready": the commands that were taken are dropped once they are in no device. */
  readonly state: string;
  readonly commands: IoCommands;
  /** A slot whose command has arrived, or whose data has been fetched; -1 if there is none. */
  pollCommand(): number;
  /** Asks the host for the slot's data. */
  fetchData(slot: number): void;
  respond(slot: number, status: number, dw0?: number, dw1?: number): void;
  /** Answers with the first `bytes` of the slot's buffer, and success. */
  respondWithData(slot: number, bytes: number, dw0?: number): void;
  /** Frees the slot without an answer. */
  drop(slot: number): void;
  spoilNextDigest(): void;
}

/** The commands of a connection, one array a field, indexed by slot. */
export interface IoCommands {
  readonly depth: number;
  /** 16 dwords a slot. */
  readonly sqe: Uint32Array;
  /** The length that the SGL tells, in bytes. */
  readonly dataBytes: Uint32Array;
  /** Where the slot's buffer begins in the arena. */
  readonly dataOffset: Uint32Array;
  /** 1 if the host's data is in the slot's buffer. */
  readonly hasData: Uint8Array;
}
