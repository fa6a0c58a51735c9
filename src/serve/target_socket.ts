import { native } from "../../ffi/library.ts";
import { EAGAIN, EINTR, errnoWords } from "../base/errno.ts";
import { messageOf } from "../base/errors.ts";
import { logger } from "../base/log.ts";
import type { Arena, Region } from "../io/arena.ts";
import type { Poller, Watch } from "../io/poller.ts";
import { FABRICS_OPCODE, SQE_FCTYPE_AT } from "../protocol/nvme.ts";
import { TargetConnection, type TargetTransfer } from "../nvme_target/connection.ts";
import type { ConnectionFaults } from "../nvme_target/connection_faults.ts";
import type { FaultQueue } from "../nvme_target/fault_rule.ts";
import type { FaultSubject } from "../nvme_target/fault_script.ts";
import type { FaultControl } from "./fault_control.ts";
import { setWindow } from "./fault_socket.ts";
import { SocketFaults } from "./socket_faults.ts";

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
  /** Where it has its buffers. */
  readonly arena: Arena;
  readonly fd: number;
  /** The other end, for people: "127.0.0.1:50000". */
  readonly peer: string;
  /** Commands in flight at most. */
  readonly slots: number;
  /** Most data of one command, in bytes. */
  readonly transferBytesMax: number;
  readonly inCapsuleBytes: number;
  readonly owner: SocketOwner;
  /** What decides that something goes wrong here, and on which listener this is. */
  readonly faults: { readonly control: FaultControl; readonly listener: number };
}

/**
 * A connection of a host on its socket, driven by the main thread: admin queues for their whole life, I/O queues until
 * their Connect is answered and a worker goes on with them.
 */
export class TargetSocket {
  readonly connection: TargetConnection;
  readonly peer: string;

  readonly #poller: Poller;
  readonly #memory: Region;
  readonly #watch: Watch;
  readonly #control: FaultControl;
  #subject: FaultSubject;
  /** Null as long as nothing has been wrong. */
  #faults: SocketFaults | null = null;
  #owner: SocketOwner;
  #fd: number;
  #isMoving = false;

  constructor(poller: Poller, options: TargetSocketOptions) {
    const { slots, transferBytesMax, inCapsuleBytes } = options;
    this.peer = options.peer;
    this.#poller = poller;
    this.#owner = options.owner;
    this.#fd = options.fd;
    this.#control = options.faults.control;
    this.#subject = this.#control.subject(options.faults.listener);
    const arenaOffset = slots * transferBytesMax;
    this.#memory = options.arena.allocate(arenaOffset + TargetConnection.arenaBytes(slots, RECEIVE_BYTES));
    const memory = this.#memory.bytes;
    try {
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
    } catch (error) {
      this.#memory[Symbol.dispose]();
      throw error;
    }
    this.#control.add(this);
  }

  get isOpen(): boolean {
    return this.#fd >= 0;
  }

  /** Somebody else has its commands from now on. */
  set owner(owner: SocketOwner) {
    this.#owner = owner;
  }

  // ── faults ──────────────────────────────────────────────────────────────────────────────────────────────────────────

  get subject(): FaultSubject {
    return this.#subject;
  }

  /** Connect has told which queue it is: other faults may be for it from now on. */
  setQueue(queue: FaultQueue): void {
    this.#subject = { ...this.#subject, queue };
    this.#control.add(this);
  }

  /** What goes wrong from now on; null for nothing more. */
  setFaults(faults: ConnectionFaults | null): void {
    if (faults === null && this.#faults === null) return;
    this.#faults ??= new SocketFaults(() => this.#handleReady());
    this.#faults.set(faults);
  }

  /** The host hears nothing now for a fault's sake: nobody may be impatient with it. */
  get isSilent(): boolean {
    return this.#faults?.link.isSilent ?? false;
  }

  /** An answer is held back for a fault's sake. */
  get isHoldingAnswers(): boolean {
    return this.#faults?.isHolding ?? false;
  }

  /** Decides what goes wrong with a command that has arrived: the status to answer it with, 0 to carry it out. */
  judge(slot: number): number {
    if (this.#faults === null) return 0;
    const entry = this.entry(slot);
    const opcode = entry[0]! & 0xff;
    const fabricsType = opcode === FABRICS_OPCODE ? entry[SQE_FCTYPE_AT >> 2]! & 0xff : 0;
    return this.#faults.judge(slot, { opcode, fabricsType });
  }

  #answer(slot: number, give: () => void): void {
    if (this.#faults === null) give();
    else this.#faults.answer(slot, this.connection, give);
  }

  /** Looks at what is wrong with the way of the bytes now; false if the connection is over for that. */
  #handleFaults(faults: SocketFaults): boolean {
    faults.handleTime(performance.now());
    const window = faults.link.pollWindow();
    if (window !== null) setWindow(this.#fd, window);
    if (faults.link.isReset) this.reset("a fault has reset it");
    return this.isOpen;
  }

  // ── commands ────────────────────────────────────────────────────────────────────────────────────────────────────────

  /** The submission queue entry of a slot, 16 dwords. */
  entry(slot: number): Uint32Array {
    return this.connection.commands.sqe.slice(slot * 16, slot * 16 + 16);
  }

  /** The data that came with the command in a slot. */
  data(slot: number): Uint8Array<ArrayBuffer> {
    const { dataOffset, dataBytes } = this.connection.commands;
    return this.#memory.bytes.slice(dataOffset[slot], dataOffset[slot] + dataBytes[slot]);
  }

  /** Answers without data, when and as faults want it. `status` is the 15-bit status field. */
  respond(slot: number, status: number, dw0 = 0, dw1 = 0): void {
    this.#answer(slot, () => this.connection.respond(slot, status, dw0, dw1));
  }

  /** Answers with success and as much of `data` as the host has room for, when and as faults want it. */
  respondWithData(slot: number, data: Uint8Array, [dw0, dw1]: readonly [number, number]): void {
    const { dataOffset, dataBytes } = this.connection.commands;
    const sent = data.subarray(0, dataBytes[slot]);
    this.#memory.bytes.set(sent, dataOffset[slot]);
    this.#answer(slot, () => this.connection.respondWithData(slot, sent.length, dw0, dw1));
  }

  // ── bytes ───────────────────────────────────────────────────────────────────────────────────────────────────────────

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
    if (this.#faults !== null && !this.#handleFaults(this.#faults)) return;
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
    if (this.isOpen) this.#faults?.schedule(performance.now());
    const failure = this.connection.failure;
    if (failure !== null && this.isOpen) this.end(failure.reason);
  }

  #receive(): void {
    const connection = this.connection;
    const link = this.#faults?.link ?? null;
    this.#want({ read: link === null || link.mayReceive });
    while (connection.state !== "failed" && (link === null || link.mayReceive)) {
      connection.prepareReceive();
      const { segments, offset, bytes } = connection.receiveBuffer;
      if (segments === 0) return;
      const into = this.#memory.bytes.subarray(offset[0], offset[0] + bytes[0]);
      const got = native().um_socket_receive(this.#fd, into, bytes[0]);
      if (got === -EAGAIN || got === -EINTR) return;
      if (got > 0) {
        link?.handleMoved(got);
        if (link === null || !link.isHalfOpen) connection.handleReceived(got);
      } else if (got === 0) connection.handleClosed();
      else connection.handleTransportError(errnoWords(got));
    }
  }

  #send(): void {
    if (!this.isOpen) return;
    const connection = this.connection;
    const buffer = connection.sendBuffer;
    const link = this.#faults?.link ?? null;
    const maySend = () => link === null || link.maySend;
    while (connection.state !== "failed" && maySend() && (buffer.isSending || connection.pollSend())) {
      const offset = buffer.segmentOffset(0);
      const bytes = buffer.segmentBytes(0);
      const sent = native().um_socket_send(this.#fd, this.#memory.bytes.subarray(offset, offset + bytes), bytes);
      if (sent < 0 && sent !== -EAGAIN) connection.handleTransportError(errnoWords(sent));
      if (sent <= 0) break;
      link?.handleMoved(sent);
      connection.handleSent(sent);
    }
    this.#want({ write: buffer.isSending && maySend(), read: link === null || link.mayReceive });
  }

  #want({ read = this.#watch.wantsRead, write = this.#watch.wantsWrite }: { read?: boolean; write?: boolean }): void {
    if (this.#watch.wantsRead === read && this.#watch.wantsWrite === write) return;
    this.#watch.wantsRead = read;
    this.#watch.wantsWrite = write;
    this.#poller.change(this.#watch);
  }

  /** Ends it for a reason that its owner hears. The host is told if it broke the protocol. */
  end(reason: string): void {
    if (!this.isOpen) return;
    this.close();
    this.#owner.handleEnd(reason);
  }

  /** Ends it as `end()` does, and the host is told by nothing but a reset. */
  reset(reason: string): void {
    if (!this.isOpen) return;
    const fd = this.#forget();
    native().um_socket_reset(fd);
    native().um_socket_close(fd, 1);
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
    if (this.#faults !== null) setWindow(this.#fd, Infinity); // the other begins anew with what is wrong
    return { fd: this.#forget(), transfer, sqHead };
  }

  #forget(): number {
    const fd = this.#fd;
    this.#fd = -1;
    this.#poller.remove(this.#watch);
    this.#control.delete(this);
    this.#faults?.[Symbol.dispose]();
    this.connection.handleTransportError("it was given away");
    this.#memory[Symbol.dispose]();
    return fd;
  }
}
