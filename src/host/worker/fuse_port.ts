import { LAYOUT } from "../../../ffi/layout.ts";
import { EALREADY } from "../../base/errno.ts";
import type { BlockDevice, Geometry } from "../../block/device.ts";
import type { RequestTable } from "../../block/request.ts";
import { type MemoryArea, TWO_32 } from "../../io/memory.ts";
import type { Ring } from "../../io/ring.ts";
import { tokenHigh, TokenKind } from "../../io/token.ts";
import { FuseSlots } from "../../loopdev/slots.ts";
import { FUSE_WRITE_HEADER_BYTES } from "../../protocol/fuse.ts";
import { POLLERR, POLLIN } from "../../protocol/linux.ts";
import type { DevicePort } from "./device_port.ts";

/** Two struct iovec for a slot's read, two for its answer. */
const SLOT_IOVECS = 4;

/** What a {@linkcode FusePort} is made of. */
export interface FusePortOptions {
  /** The worker's own descriptor of the FUSE driver; it does not block. */
  fd: number;
  requests: RequestTable;
  /** The arena: the requests' buffers and the port's own part. */
  memory: MemoryArea;
  /** Where its own part begins, `FusePort.arenaBytes(depth)` bytes, aligned to 8. */
  arenaOffset: number;
  device: BlockDevice;
  geometry: Geometry;
  /** The volume that its tokens name. */
  volume: number;
}

/**
 * A {@linkcode FuseSlots} on its descriptor on a ring. A poll tells when there are requests; then they are read, each
 * into a slot of its own, until there are none. Several workers poll the same file system and one read takes one
 * request, whoever is first: so nobody may wait in a read.
 */
export class FusePort implements DevicePort {
  readonly #queue: FuseSlots;
  readonly #requests: RequestTable;
  readonly #fd: number;
  readonly #memory: MemoryArea;
  readonly #words: Uint32Array;
  readonly #iovecsAt: number;
  readonly #pollToken: number;
  readonly #readToken: number;
  readonly #writeToken: number;
  readonly #writeFullToken: number;
  /** Submissions with the poll's token that have not completed for the last time. */
  #polls = 0;
  #isStarted = false;
  #isPollRemoved = false;

  constructor(options: FusePortOptions) {
    const { requests, memory, arenaOffset } = options;
    this.#queue = new FuseSlots({
      memory: memory.bytes,
      arenaOffset,
      requests,
      device: options.device,
      geometry: options.geometry,
    });
    this.#requests = requests;
    this.#fd = options.fd;
    this.#memory = memory;
    const { bytes } = memory;
    this.#words = new Uint32Array(bytes.buffer, bytes.byteOffset, bytes.byteLength >> 2);
    this.#iovecsAt = arenaOffset + FuseSlots.arenaBytes(requests.depth);
    this.#pollToken = tokenHigh(TokenKind.FUSE_POLL, options.volume);
    this.#readToken = tokenHigh(TokenKind.FUSE_READ, options.volume);
    this.#writeToken = tokenHigh(TokenKind.FUSE_WRITE, options.volume);
    this.#writeFullToken = tokenHigh(TokenKind.FUSE_WRITE_FULL, options.volume);
    for (let slot = 0; slot < this.#queue.depth; slot++) this.#writeIovecs(slot);
  }

  /** Bytes of the arena that a port of `depth` slots needs beside the requests' buffers. */
  static arenaBytes(depth: number): number {
    return FuseSlots.arenaBytes(depth) + depth * SLOT_IOVECS * LAYOUT.iovecBytes;
  }

  start(): void {
    this.#isStarted = true;
  }

  resize(blocks: number): void {
    this.#queue.resize(blocks);
  }

  close(): void {
    this.#queue.close();
  }

  get failure(): number {
    return this.#queue.failure;
  }

  get isDrained(): boolean {
    return this.#queue.isDrained && this.#polls === 0;
  }

  takeDoubt(): boolean {
    return this.#queue.takeFileClosed();
  }

  handleCompletion(ring: Ring, kind: number, nowMs: number): void {
    if (kind === TokenKind.FUSE_READ) this.#queue.handleRead(ring.tokenLow, ring.result, nowMs);
    else if (kind === TokenKind.FUSE_POLL) this.#handlePoll(ring);
    else this.#queue.handleAnswered(ring.tokenLow, ring.result);
  }

  #handlePoll(ring: Ring): void {
    if (ring.isMultishotOver) this.#polls--;
    // The removal came while the poll was telling of something: it has to be asked for again.
    if (ring.result === -EALREADY) this.#isPollRemoved = false;
    if (this.#isPollRemoved || ring.result === -EALREADY) return;
    if (ring.result < 0) this.#queue.handleOver(ring.result);
    // It is unmounted: a read in the ring would go on to say that there is nothing yet.
    else if ((ring.result & POLLERR) !== 0) this.#queue.handleOver(0);
    else this.#queue.handleReadable();
  }

  turn(ring: Ring, nowMs: number): void {
    this.#answer(ring, nowMs);
    if (!this.#isStarted) return;
    this.#read(ring);
    if (this.#queue.isClosed) this.#endPoll(ring);
    else if (this.#polls === 0) this.#poll(ring);
  }

  #poll(ring: Ring): void {
    ring.prepPoll(this.#fd, POLLIN, this.#pollToken, 0);
    this.#polls++;
  }

  /** The poll holds the descriptor, and with it the file system. */
  #endPoll(ring: Ring): void {
    if (this.#polls === 0 || this.#isPollRemoved) return;
    this.#isPollRemoved = true;
    ring.prepPollRemove(this.#pollToken, 0);
    this.#polls++;
  }

  #read(ring: Ring): void {
    for (let slot = this.#queue.pollRead(); slot >= 0; slot = this.#queue.pollRead()) {
      ring.prepReadVector(this.#fd, this.#iovecAddress(slot, 0), 2, this.#readToken, slot);
    }
  }

  #answer(ring: Ring, nowMs: number): void {
    const queue = this.#queue;
    for (let slot = queue.pollAnswer(nowMs); slot >= 0; slot = queue.pollAnswer(nowMs)) {
      const dataBytes = queue.answerDataBytes(slot);
      const at = this.#iovecAt(slot, 2) >> 2;
      this.#words[at + 2] = queue.answerHeaderBytes(slot);
      this.#words[at + LAYOUT.iovecBytes / 4 + 2] = dataBytes;
      const token = queue.isFull ? this.#writeFullToken : this.#writeToken;
      ring.prepWriteVector(this.#fd, this.#iovecAddress(slot, 2), dataBytes > 0 ? 2 : 1, token, slot);
    }
  }

  // ── struct iovec ──────────────────────────────────────────────────────────────────────────────────────────────────

  #writeIovecs(slot: number): void {
    const data = this.#requests.dataOffset[slot];
    this.#writeIovec(slot, 0, this.#queue.headerOffset(slot), FUSE_WRITE_HEADER_BYTES);
    this.#writeIovec(slot, 1, data, this.#requests.bufferBytes);
    this.#writeIovec(slot, 2, this.#queue.answerOffset(slot), 0);
    this.#writeIovec(slot, 3, data, 0);
  }

  #writeIovec(slot: number, index: number, offset: number, bytes: number): void {
    const at = this.#iovecAt(slot, index) >> 2;
    const address = this.#memory.address + offset;
    this.#words[at] = address | 0;
    this.#words[at + 1] = address / TWO_32;
    this.#words[at + 2] = bytes;
    this.#words[at + 3] = 0;
  }

  #iovecAt(slot: number, index: number): number {
    return this.#iovecsAt + (slot * SLOT_IOVECS + index) * LAYOUT.iovecBytes;
  }

  #iovecAddress(slot: number, index: number): number {
    return this.#memory.address + this.#iovecAt(slot, index);
  }

  /** Its memory is the volume's. */
  [Symbol.dispose](): void {}
}
