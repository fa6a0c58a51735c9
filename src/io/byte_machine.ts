/** What moves bytes over a socket sees of a connection, be it the host's end or the target's. */
export interface ByteMachine {
  /** "failed" is final: nothing is received nor sent any more. */
  readonly state: string;
  /** Where the next bytes belong, as pieces of the arena; `prepareReceive()` says so. None: nowhere for now. */
  readonly receiveBuffer: {
    readonly segments: number;
    readonly offset: readonly [number, number];
    readonly bytes: readonly [number, number];
  };
  /** What is to be sent, as pieces of the arena. */
  readonly sendBuffer: {
    readonly segments: number;
    segmentOffset(index: number): number;
    segmentBytes(index: number): number;
  };
  /** There is more to send than one send could gather. */
  readonly hasMoreToSend: boolean;
  prepareReceive(): void;
  /** `bytes` bytes were received to where `prepareReceive()` said. */
  handleReceived(bytes: number): void;
  /** The peer closed its end. */
  handleClosed(): void;
  handleTransportError(words: string): void;
  /** True if there is something in `sendBuffer` to send now. */
  pollSend(): boolean;
  /** `bytes` more are sent; true if that was the rest. */
  handleSent(bytes: number): boolean;
  /** What the peer is told at the end if it broke the protocol; null otherwise. */
  terminationPdu(): Uint8Array<ArrayBuffer> | null;
}
