import { LAYOUT } from "../../ffi/layout.ts";
import { native } from "../../ffi/library.ts";
import { EAGAIN, EINTR, errnoWords } from "../base/errno.ts";
import { MSG_NOSIGNAL, MSG_WAITALL } from "../protocol/linux.ts";
import type { ByteMachine } from "./byte_machine.ts";
import { type MemoryArea, TWO_32 } from "./memory.ts";
import type { Ring } from "./ring.ts";
import { tokenHigh, TokenKind } from "./token.ts";

const SEGMENTS_MAX = 1024;

/**
 * A connection on its socket on a ring: at most one receive and one send are in the kernel at a time. The memory for
 * their `msghdr` and `iovec` lies in the arena. The tokens of its operations are `owner` and `index`.
 */
export class SocketLink<M extends ByteMachine> {
  readonly id: number;
  readonly fd: number;
  readonly connection: M;
  readonly #memory: MemoryArea;
  readonly #words: Uint32Array;
  readonly #receiveHeader: number;
  readonly #sendHeader: number;
  readonly #receiveToken: number;
  readonly #sendToken: number;
  readonly #sendMoreToken: number;
  readonly #index: number;
  #isReceiving = false;
  #isSending = false;
  #isShut = false;

  /** Bytes of arena that a link needs for itself. */
  static readonly arenaBytes = 2 * LAYOUT.msghdrBytes + (2 + SEGMENTS_MAX) * LAYOUT.iovecBytes + 16;

  constructor(options: {
    id: number;
    fd: number;
    connection: M;
    memory: MemoryArea;
    arenaOffset: number;
    owner: number;
    index: number;
  }) {
    this.id = options.id;
    this.fd = options.fd;
    this.connection = options.connection;
    this.#memory = options.memory;
    const { bytes } = options.memory;
    this.#words = new Uint32Array(bytes.buffer, bytes.byteOffset, bytes.byteLength >> 2);
    this.#receiveHeader = options.arenaOffset;
    const receiveIov = this.#receiveHeader + LAYOUT.msghdrBytes;
    this.#sendHeader = receiveIov + 2 * LAYOUT.iovecBytes;
    const sendIov = this.#sendHeader + LAYOUT.msghdrBytes;
    this.#writeHeader(this.#receiveHeader, receiveIov);
    this.#writeHeader(this.#sendHeader, sendIov);
    this.#receiveToken = tokenHigh(TokenKind.RECEIVE, options.owner);
    this.#sendToken = tokenHigh(TokenKind.SEND, options.owner);
    this.#sendMoreToken = tokenHigh(TokenKind.SEND_MORE, options.owner);
    this.#index = options.index;
  }

  #writeHeader(header: number, iov: number): void {
    this.#memory.bytes.fill(0, header, header + LAYOUT.msghdrBytes);
    this.#writeAddress(header + LAYOUT.msghdrIov, this.#memory.address + iov);
  }

  #writeAddress(offset: number, address: number): void {
    this.#words[offset >> 2] = address | 0;
    this.#words[(offset >> 2) + 1] = address / TWO_32;
  }

  #writeIovec(header: number, index: number, offset: number, bytes: number): void {
    const at = header + LAYOUT.msghdrBytes + index * LAYOUT.iovecBytes;
    this.#writeAddress(at, this.#memory.address + offset);
    this.#words[(at >> 2) + 2] = bytes;
    this.#words[(at >> 2) + 3] = 0;
  }

  /** Neither receive nor send is in the kernel: nothing touches the connection's memory. */
  get isQuiet(): boolean {
    return !this.#isReceiving && !this.#isSending;
  }

  get isShut(): boolean {
    return this.#isShut;
  }

  /** Puts into the ring what the connection wants to receive and send now. */
  arm(ring: Ring): void {
    this.armSend(ring);
    this.armReceive(ring);
  }

  armSend(ring: Ring): void {
    if (this.#isShut || this.connection.state === "failed") return;
    if (!this.#isSending && this.connection.pollSend()) this.#send(ring);
  }

  armReceive(ring: Ring): void {
    if (this.#isShut || this.connection.state === "failed") return;
    if (!this.#isReceiving) this.#receive(ring);
  }

  #receive(ring: Ring): void {
    const connection = this.connection;
    connection.prepareReceive();
    const { segments, offset, bytes } = connection.receiveBuffer;
    // No room before a send is complete; `arm()` is called again then.
    if (segments === 0) return;
    this.#isReceiving = true;
    const base = this.#memory.address;
    if (segments === 1) {
      const address = base + offset[0];
      ring.prepReceive(this.fd, address, bytes[0], 0, this.#receiveToken, this.#index);
      return;
    }
    this.#writeIovec(this.#receiveHeader, 0, offset[0], bytes[0]);
    this.#writeIovec(this.#receiveHeader, 1, offset[1], bytes[1]);
    this.#words[(this.#receiveHeader + LAYOUT.msghdrIovlen) >> 2] = 2;
    ring.prepReceiveMessage(this.fd, base + this.#receiveHeader, 0, this.#receiveToken, this.#index);
  }

  #send(ring: Ring): void {
    const buffer = this.connection.sendBuffer;
    const segments = buffer.segments;
    const flags = MSG_NOSIGNAL | MSG_WAITALL;
    const base = this.#memory.address;
    const token = this.connection.hasMoreToSend ? this.#sendMoreToken : this.#sendToken;
    this.#isSending = true;
    if (segments === 1) {
      const address = base + buffer.segmentOffset(0);
      ring.prepSend(this.fd, address, buffer.segmentBytes(0), flags, token, this.#index);
      return;
    }
    for (let i = 0; i < segments; i++) {
      this.#writeIovec(this.#sendHeader, i, buffer.segmentOffset(i), buffer.segmentBytes(i));
    }
    this.#words[(this.#sendHeader + LAYOUT.msghdrIovlen) >> 2] = segments;
    ring.prepSendMessage(this.fd, base + this.#sendHeader, flags, token, this.#index);
  }

  /** A receive came back with `result` bytes or -errno. */
  handleReceived(result: number): void {
    this.#isReceiving = false;
    if (this.#isShut || this.connection.state === "failed") return;
    if (result > 0) this.connection.handleReceived(result);
    else if (result === 0) this.connection.handleClosed();
    else if (result !== -EAGAIN && result !== -EINTR) this.#failed("receive", -result);
  }

  /** As {@linkcode handleReceived}, but the connection does not get the bytes that came. */
  throwReceived(result: number): void {
    if (result <= 0) this.handleReceived(result);
    else this.#isReceiving = false;
  }

  /** A send came back with `result` bytes or -errno. */
  handleSent(ring: Ring, result: number): void {
    this.#isSending = false;
    if (this.#isShut || this.connection.state === "failed") return;
    if (result < 0 && result !== -EAGAIN && result !== -EINTR) return this.#failed("send", -result);
    if (result <= 0 || !this.connection.handleSent(result)) this.#send(ring);
  }

  #failed(what: string, errno: number): void {
    this.connection.handleTransportError(`cannot ${what}: ${errnoWords(errno)}`);
  }

  /** Ends the socket; receive and send come back soon. The peer is told first if it broke the protocol. */
  shut(): void {
    if (this.#isShut) return;
    this.#isShut = true;
    const pdu = this.connection.terminationPdu();
    if (pdu !== null && !this.#isSending) native().um_socket_send(this.fd, pdu, pdu.length);
    native().um_socket_shutdown(this.fd);
  }

  /** Gives the descriptor back. Only when quiet; what was not sent is thrown away. */
  close(): void {
    native().um_socket_close(this.fd, this.connection.terminationPdu() === null ? 1 : 0);
  }
}
