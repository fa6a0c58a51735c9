import { native } from "../../ffi/library.ts";
import { EAGAIN, EINTR, errnoWords } from "../base/errno.ts";
import { messageOf } from "../base/errors.ts";
import { logger } from "../base/log.ts";
import { Memory } from "../io/memory.ts";
import type { Poller, Watch } from "../io/poller.ts";
import { TargetConnection, type TargetTransfer } from "../target/connection.ts";

const log = logger("serve");
const RECEIVE_BYTES = 64 << 10;

/** Who has the commands of a connection, and hears when it is over. */
export interface SocketOwner {
  /** Commands may have arrived: true if any has. */
  handleCommands(socket: TargetSocket): boolean;
  /** Everything that there was to send is sent. */
  handleFlushed?(socket: TargetSocket): void;
  /** The connection is over for a reason of the peer's, in words; never after `close()` or `handOver()`. */
  handleEnd(reason: string): void;
}

/** What a connection of the main thread takes. */
export interface TargetSocketOptions {
  readonly fd: number;
  /** The other end, for people: "127.0.0.1:50000". */
  readonly peer: string;
  /** Commands in flight at most. */
  readonly slots: number;
  /** Most data of one command, in bytes. */
  readonly transferBytesMax: number;
  readonly inCapsuleBytes: number;
  readonly owner: SocketOwner;
}

/**
 * A connection of a host on its socket, driven by the main thread: admin queues for their whole life, I/O queues until
 * their Connect is answered and a worker goes on with them.
 */
export class TargetSocket {
  readonly connection: TargetConnection;
  readonly peer: string;

  readonly #poller: Poller;
  readonly #memory: Memory;
  readonly #watch: Watch;
  #owner: SocketOwner;
  #fd: number;
  #isMoving = false;

  constructor(poller: Poller, options: TargetSocketOptions) {
    const { slots, transferBytesMax, inCapsuleBytes } = options;
    this.peer = options.peer;
    this.#poller = poller;
    this.#owner = options.owner;
    this.#fd = options.fd;
    const arenaOffset = slots * transferBytesMax;
    this.#memory = Memory.allocate(arenaOffset + TargetConnection.arenaBytes(slots, RECEIVE_BYTES));
    const memory = this.#memory.bytes;
    this.connection = new TargetConnection({
      memory,
      arenaOffset,
      slots,
      dataOffset: 0,
      dataBytes: transferBytesMax,
      inCapsuleBytes,
      crc32c: (offset, bytes) => native().um_crc32c_part(memory, offset, bytes),
      receiveBytes: RECEIVE_BYTES,
    });
    this.#watch = { fd: options.fd, wantsRead: true, wantsWrite: false, onReady: () => this.#handleReady() };
    poller.add(this.#watch);
  }

  get isOpen(): boolean {
    return this.#fd >= 0;
  }

  /** Somebody else has its commands from now on. */
  set owner(owner: SocketOwner) {
    this.#owner = owner;
  }

  /** The submission queue entry of a slot, 16 dwords. */
  entry(slot: number): Uint32Array {
    return this.connection.commands.sqe.slice(slot * 16, slot * 16 + 16);
  }

  /** The data that came with the command in a slot. */
  data(slot: number): Uint8Array<ArrayBuffer> {
    const { dataOffset, dataBytes } = this.connection.commands;
    return this.#memory.bytes.slice(dataOffset[slot], dataOffset[slot] + dataBytes[slot]);
  }

  /** Answers with success and as much of `data` as the host has room for. */
  respondWithData(slot: number, data: Uint8Array, [dw0, dw1]: readonly [number, number]): void {
    const { dataOffset, dataBytes } = this.connection.commands;
    const sent = data.subarray(0, dataBytes[slot]);
    this.#memory.bytes.set(sent, dataOffset[slot]);
    this.connection.respondWithData(slot, sent.length, dw0, dw1);
  }

  /** A fault of ours in here costs this connection, and not those that the poller has besides. */
  #handleReady(): void {
    try {
      this.move();
    } catch (error) {
      log.error(`A bug in umpath ended the connection with ${this.peer}`, error);
      this.end(`a bug in umpath: ${messageOf(error)}`);
    }
  }

  /** Receives, has commands handled and sends, all that is possible now. Nothing if it is doing so already. */
  move(): void {
    if (!this.isOpen || this.#isMoving) return;
    this.#isMoving = true;
    try {
      this.#receive();
      // What is sent makes room for commands that wait in the receive buffer.
      while (this.isOpen && this.#owner.handleCommands(this)) this.#send();
      this.#send();
      if (this.isOpen && !this.connection.sendBuffer.isSending) this.#owner.handleFlushed?.(this);
    } finally {
      this.#isMoving = false;
    }
    const failure = this.connection.failure;
    if (failure !== null && this.isOpen) this.end(failure.reason);
  }

  #receive(): void {
    const connection = this.connection;
    while (connection.state !== "failed") {
      connection.prepareReceive();
      const { segments, offset, bytes } = connection.receiveBuffer;
      if (segments === 0) return;
      const into = this.#memory.bytes.subarray(offset[0], offset[0] + bytes[0]);
      const got = native().um_socket_receive(this.#fd, into, bytes[0]);
      if (got === -EAGAIN || got === -EINTR) return;
      if (got > 0) connection.handleReceived(got);
      else if (got === 0) connection.handleClosed();
      else connection.handleTransportError(errnoWords(got));
    }
  }

  #send(): void {
    if (!this.isOpen) return;
    const connection = this.connection;
    const buffer = connection.sendBuffer;
    while (connection.state !== "failed" && (buffer.isSending || connection.pollSend())) {
      const offset = buffer.segmentOffset(0);
      const bytes = buffer.segmentBytes(0);
      const sent = native().um_socket_send(this.#fd, this.#memory.bytes.subarray(offset, offset + bytes), bytes);
      if (sent < 0 && sent !== -EAGAIN) connection.handleTransportError(errnoWords(sent));
      if (sent <= 0) break;
      connection.handleSent(sent);
    }
    this.#wantWrite(buffer.isSending);
  }

  #wantWrite(wanted: boolean): void {
    if (this.#watch.wantsWrite === wanted) return;
    this.#watch.wantsWrite = wanted;
    this.#poller.changed();
  }

  /** Ends it for a reason that its owner hears. The host is told if it broke the protocol. */
  end(reason: string): void {
    if (!this.isOpen) return;
    this.close();
    this.#owner.handleEnd(reason);
  }

  /** Ends it without a word to its owner. */
  close(): void {
    if (!this.isOpen) return;
    const pdu = this.connection.terminationPdu();
    const fd = this.#forget();
    if (pdu !== null) native().um_socket_send(fd, pdu, pdu.length);
    native().um_socket_shutdown(fd);
    native().um_socket_close(fd, 0);
  }

  /**
   * Gives the socket to somebody else, who goes on with `TargetConnection.adopt()`; null if anything is under way that
   * the other would miss: then it is still open.
   */
  handOver(): { fd: number; transfer: TargetTransfer; sqHead: number } | null {
    const connection = this.connection;
    if (connection.state !== "ready" || connection.isMidPdu || connection.inFlight > 0) return null;
    const { transfer, queue: { sqHead } } = connection;
    return { fd: this.#forget(), transfer, sqHead };
  }

  #forget(): number {
    const fd = this.#fd;
    this.#fd = -1;
    // A poll that is under way may still look at the descriptor, and no harm comes of that.
    void this.#poller.remove(this.#watch);
    this.connection.handleTransportError("it was given away");
    this.#memory[Symbol.dispose]();
    return fd;
  }
}
