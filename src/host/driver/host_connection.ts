import { native } from "../../../ffi/library.ts";
import { EAGAIN, EINTR, errnoWords } from "../../base/errno.ts";
import { quote } from "../../base/text.ts";
import { messageOf, UmpathError } from "../../base/errors.ts";
import { ADMIN_DATA_BYTES, ADMIN_QUEUE_SLOTS, ADMIN_TIMEOUT_MS } from "../../base/limits.ts";
import { logger } from "../../base/log.ts";
import type { Poller, Watch } from "../../io/poller.ts";
import { ConnectFailure, tcpConnect, type TcpEndpoints } from "../../io/tcp.ts";
import { AdminSlots } from "../../nvme_host/admin_slots.ts";
import { DataDirection } from "../../nvme_host/command_table.ts";
import type { AdminCommand } from "../../nvme_host/commands.ts";
import {
  Connection,
  type ConnectionFailure,
  type Digests,
  Submission,
  type TransferParameters,
} from "../../nvme_host/connection.ts";
import type { CommandAnswer } from "../../nvme_host/steps.ts";
import { StatusCode, StatusField } from "../../protocol/nvme_status.ts";
import { ADMIN_IN_CAPSULE_BYTES, FatalErrorStatus } from "../../protocol/nvme_tcp.ts";

const log = logger("path");

/** A connection that is over, or could not be opened; the message says why, in words. */
export class ConnectionLost extends Error {
  override name = "ConnectionLost";
}

/** What answers there has never spoken NVMe/TCP: another attempt finds the same. */
export class NotNvmeTcp extends ConnectionLost {
  override name = "NotNvmeTcp";
  /** True if the port takes secured connections only, so that address and port may be right. */
  readonly speaksTls: boolean;

  constructor(message: string, { speaksTls = false }: { speaksTls?: boolean } = {}) {
    super(message);
    this.speaksTls = speaksTls;
  }
}

/** A controller that speaks NVMe/TCP, and not as it was asked to: another attempt finds the same. */
export class TransportMismatch extends ConnectionLost {
  override name = "TransportMismatch";
}

const RECEIVE_BYTES = 16 << 10;
/** How often a command is sent again that the network has changed on its way, there or back. */
const TRANSPORT_RETRIES = 3;

interface Waiter {
  resolve(answer: CommandAnswer): void;
  reject(error: Error): void;
  command: AdminCommand;
  timeoutMs: number | null;
  retries: number;
  timer: ReturnType<typeof setTimeout> | undefined;
}

/** So much of what a peer says first tells what it is. */
const HEARD_BYTES_MAX = 24;
const TLS_ALERT = 0x15;
const TLS_MAJOR = 0x03;

function isTlsAlert(heard: Uint8Array): boolean {
  return heard[0] === TLS_ALERT && heard[1] === TLS_MAJOR;
}

/** What a peer speaks that begins with these bytes, if that is known not to be NVMe/TCP; null otherwise. */
export function foreignWords(heard: Uint8Array): string | null {
  if (isTlsAlert(heard)) return "it speaks TLS, which umpath does not support";
  const text = /^[\x20-\x7e]{4,}/.exec(String.fromCharCode(...heard))?.[0];
  if (text === undefined) return null;
  const cut = text.length === HEARD_BYTES_MAX ? "…" : "";
  return `it is not an NVMe/TCP port: it answered with ${quote(text + cut)}`;
}

function lossOf(cause: ConnectFailure | UmpathError): ConnectionLost {
  return new ConnectionLost(cause.message, { cause });
}

/**
 * A connection on its socket, driven by the main thread: admin queues for their whole life, I/O queues until they are
 * connected and handed to a worker.
 */
export class HostConnection {
  /** Settles with the reason when the connection is over for any other cause than `close()` or `handOver()`. */
  readonly lost: Promise<string>;

  readonly #poller: Poller;
  readonly #memory = new Uint8Array(
    ADMIN_QUEUE_SLOTS * ADMIN_DATA_BYTES + Connection.arenaBytes(ADMIN_QUEUE_SLOTS, RECEIVE_BYTES),
  );
  readonly #connection: Connection;
  readonly #submission = new Submission();
  readonly #waiters: (Waiter | null)[] = new Array(ADMIN_QUEUE_SLOTS).fill(null);
  readonly #slots = new AdminSlots<Waiter>(ADMIN_QUEUE_SLOTS);
  readonly #watch: Watch;
  readonly #opened = Promise.withResolvers<void>();
  readonly #resolveLost: (reason: string) => void;
  #fd: number;
  #wasReady = false;
  #heard = new Uint8Array(0);
  /** Why the connection is over, once it is. */
  #endReason = "the connection was closed";

  /**
   * Connects over TCP and exchanges ICReq and ICResp, both within `timeoutMs`, unless `signal` is aborted first.
   *
   * @throws ConnectionLost with the reason in words.
   */
  static async open(
    poller: Poller,
    to: TcpEndpoints,
    timeoutMs: number,
    { signal, digests }: { signal?: AbortSignal | undefined; digests?: Digests } = {},
  ): Promise<HostConnection> {
    const startMs = performance.now();
    let fd: number;
    try {
      fd = await tcpConnect(poller, to, timeoutMs, signal);
    } catch (error) {
      if (error instanceof ConnectFailure || error instanceof UmpathError) throw lossOf(error);
      throw error;
    }
    const connection = HostConnection.#over(poller, fd);
    using _calledOff = connection.failOn(signal);
    await connection.#exchange(digests, Math.max(timeoutMs - (performance.now() - startMs), 1));
    return connection;
  }

  static #over(poller: Poller, fd: number): HostConnection {
    try {
      return new HostConnection(poller, fd);
    } catch (error) {
      native().um_socket_close(fd, 1);
      throw error instanceof UmpathError ? lossOf(error) : error;
    }
  }

  private constructor(poller: Poller, fd: number) {
    const { promise, resolve } = Promise.withResolvers<string>();
    this.lost = promise;
    this.#resolveLost = resolve;
    this.#poller = poller;
    this.#fd = fd;
    this.#connection = new Connection({
      memory: this.#memory,
      arenaOffset: ADMIN_QUEUE_SLOTS * ADMIN_DATA_BYTES,
      depth: ADMIN_QUEUE_SLOTS,
      inCapsuleBytes: ADMIN_IN_CAPSULE_BYTES,
      receiveBytes: RECEIVE_BYTES,
      takesShortReads: true,
      crc32c: (offset, bytes) => native().um_crc32c_part(this.#memory, offset, bytes),
    });
    this.#watch = { fd, wantsRead: true, wantsWrite: false, onReady: () => this.#handleReady() };
    this.#poller.add(this.#watch);
    this.#opened.promise.catch(() => {});
  }

  async #exchange(digests: Digests | undefined, timeoutMs: number): Promise<void> {
    const timer = setTimeout(() => {
      this.receiveNow();
      if (!this.#isReady) {
        this.fail("it accepts connections but does not answer as NVMe/TCP within the connect-timeout");
      }
    }, timeoutMs);
    if (this.isOpen) this.#connection.start(digests);
    this.#move();
    try {
      await this.#opened.promise;
    } finally {
      clearTimeout(timer);
    }
  }

  get isOpen(): boolean {
    return this.#fd >= 0;
  }

  /** Why the connection is over; null while it is open. */
  get endReason(): string | null {
    return this.isOpen ? null : this.#endReason;
  }

  get #isReady(): boolean {
    return this.#connection.state === "ready";
  }

  /**
   * Sends a command once a slot is free and waits for its answer, at most `timeoutMs` (null: for ever); a command without an answer in time
   * fails the connection.
   *
   * @throws ConnectionLost if the connection is over before the answer, with the reason why it is; AdminQueueFull.
   */
  request(command: AdminCommand, timeoutMs: number | null = ADMIN_TIMEOUT_MS): Promise<CommandAnswer> {
    if (!this.isOpen) return Promise.reject(new ConnectionLost(this.#endReason));
    const { promise, resolve, reject } = Promise.withResolvers<CommandAnswer>();
    const waiter: Waiter = { resolve, reject, command, timeoutMs, retries: 0, timer: undefined };
    try {
      const slot = this.#slots.enter(waiter);
      if (slot >= 0) this.#begin(waiter, slot);
    } catch (error) {
      return Promise.reject(error);
    }
    this.#move();
    return promise;
  }

  #begin(waiter: Waiter, slot: number): void {
    const { command, timeoutMs } = waiter;
    if (timeoutMs !== null) waiter.timer = setTimeout(() => this.#expire(slot, waiter, timeoutMs), timeoutMs);
    this.#waiters[slot] = waiter;
    this.#submit(command, slot);
  }

  #expire(slot: number, waiter: Waiter, timeoutMs: number): void {
    this.receiveNow();
    if (this.#waiters[slot] !== waiter) return;
    this.fail(`${waiter.command.name} was not answered within ${timeoutMs / 1000} s`);
  }

  /**
   * Takes what has arrived by now. To be called before a deadline is held against the peer: after a pause of this process
   * its answer may be there and not be read yet.
   */
  receiveNow(): void {
    this.#move();
  }

  #submit(command: AdminCommand, slot: number): void {
    const submission = this.#submission;
    submission.sqe.set(new Uint32Array(command.sqe.slice().buffer));
    submission.owner = slot;
    submission.dataOffset = slot * ADMIN_DATA_BYTES;
    submission.dataBytes = command.dataOut?.length ?? command.dataInBytes;
    submission.direction = command.dataOut !== null
      ? DataDirection.TO_CONTROLLER
      : command.dataInBytes > 0
      ? DataDirection.FROM_CONTROLLER
      : DataDirection.NONE;
    if (command.dataOut !== null) this.#memory.set(command.dataOut, submission.dataOffset);
    this.#connection.submit(submission, 0);
  }

  /** A fault of ours in here costs this connection, and not those that the poller has besides. */
  #handleReady(): void {
    try {
      this.#move();
    } catch (error) {
      log.error("A bug in umpath ended a connection", error);
      this.fail(`a bug in umpath: ${messageOf(error)}`);
    }
  }

  /** Sends and receives all that is possible now, and takes the answers. */
  #move(): void {
    if (!this.isOpen) return;
    this.#receive();
    if (this.isOpen) this.#send();
    if (this.#takeAnswers()) this.#send();
    const failure = this.#connection.failure;
    if (failure !== null && this.isOpen) return this.#end(this.#lossOf(failure), this.#connection.terminationPdu());
    if (!this.#isReady) return;
    this.#wasReady = true;
    this.#opened.resolve();
  }

  /** Whoever cannot even answer ICReq is no controller. */
  #lossOf(failure: ConnectionFailure): ConnectionLost {
    const heard = this.#wasReady ? null : foreignWords(this.#heard);
    if (heard !== null) return new NotNvmeTcp(heard, { speaksTls: isTlsAlert(this.#heard) });
    const isNoController = failure.fes !== 0 && !this.#wasReady;
    if (!isNoController) return new ConnectionLost(failure.reason);
    if (failure.fes === FatalErrorStatus.UNSUPPORTED_PARAMETER) return new TransportMismatch(failure.reason);
    return new NotNvmeTcp(`it is not an NVMe/TCP port: ${failure.reason}`);
  }

  #receive(): void {
    while (this.#connection.state !== "failed") {
      const connection = this.#connection;
      connection.prepareReceive();
      const offset = connection.receiveBuffer.offset[0];
      const bytes = connection.receiveBuffer.bytes[0];
      const got = native().um_socket_receive(this.#fd, this.#memory.subarray(offset, offset + bytes), bytes);
      if (got === -EAGAIN || got === -EINTR) return;
      if (got > 0) {
        if (!this.#wasReady) this.#hear(this.#memory.subarray(offset, offset + got));
        connection.handleReceived(got);
      } else if (got === 0) connection.handleClosed();
      else connection.handleTransportError(errnoWords(got));
    }
  }

  /** Keeps the first bytes of a peer that may be no controller. */
  #hear(bytes: Uint8Array): void {
    const more = bytes.subarray(0, HEARD_BYTES_MAX - this.#heard.length);
    if (more.length > 0) this.#heard = Uint8Array.of(...this.#heard, ...more);
  }

  #send(): void {
    const connection = this.#connection;
    const buffer = connection.sendBuffer;
    while (connection.state !== "failed" && (buffer.isSending || connection.pollSend())) {
      const offset = buffer.segmentOffset(0);
      const bytes = buffer.segmentBytes(0);
      const sent = native().um_socket_send(this.#fd, this.#memory.subarray(offset, offset + bytes), bytes);
      if (sent < 0 && sent !== -EAGAIN) connection.handleTransportError(errnoWords(sent));
      if (sent <= 0) break;
      connection.handleSent(sent);
    }
    this.#wantWrite(buffer.isSending);
  }

  #wantWrite(wanted: boolean): void {
    if (this.#watch.wantsWrite === wanted) return;
    this.#watch.wantsWrite = wanted;
    this.#poller.change(this.#watch);
  }

  /** True if there is something to send. */
  #takeAnswers(): boolean {
    let hasMore = false;
    const connection = this.#connection;
    const commands = connection.commands;
    for (let command = connection.pollCompletion(); command >= 0; command = connection.pollCompletion()) {
      const slot = commands.owner[command];
      const waiter = this.#waiters[slot]!;
      const dataAt = slot * ADMIN_DATA_BYTES;
      const answer: CommandAnswer = {
        status: commands.status[command],
        result0: commands.result0[command],
        result1: commands.result1[command],
        data: waiter.command.dataInBytes > 0
          ? this.#memory.slice(dataAt, dataAt + commands.transferred[command])
          : null,
      };
      connection.release(command);
      if (this.#isToResend(waiter, answer.status)) {
        waiter.retries++;
        this.#submit(waiter.command, slot);
        hasMore = true;
        continue;
      }
      this.#waiters[slot] = null;
      clearTimeout(waiter.timer);
      waiter.resolve(answer);
      const next = this.#slots.leave(slot);
      if (next === null) continue;
      this.#begin(next, slot);
      hasMore = true;
    }
    return hasMore;
  }

  /** Every admin command of ours may be executed twice. */
  #isToResend(waiter: Waiter, status: number): boolean {
    const isTransport = (status & (StatusField.CODE_MASK | StatusField.DNR)) === StatusCode.TRANSIENT_TRANSPORT_ERROR;
    return isTransport && waiter.retries < TRANSPORT_RETRIES && this.#isReady;
  }

  /** Ends the connection for a reason of the host's. */
  fail(reason: string): void {
    if (this.isOpen) this.#end(new ConnectionLost(reason), null);
  }

  /** Fails the connection when `signal` is aborted, until what this gives is disposed of. */
  failOn(signal: AbortSignal | undefined): Disposable {
    const onAbort = () => this.fail("it was called off");
    signal?.addEventListener("abort", onAbort);
    if (signal?.aborted) onAbort();
    return { [Symbol.dispose]: () => signal?.removeEventListener("abort", onAbort) };
  }

  /** Ends the connection in order; `lost` never settles. */
  close(): void {
    if (!this.isOpen) return;
    const fd = this.#forget(new ConnectionLost(this.#endReason));
    native().um_socket_close(fd, 1);
  }

  #end(loss: ConnectionLost, pdu: Uint8Array<ArrayBuffer> | null): void {
    const fd = this.#forget(loss);
    if (pdu !== null) native().um_socket_send(fd, pdu, pdu.length);
    native().um_socket_close(fd, pdu === null ? 1 : 0);
    this.#resolveLost(loss.message);
  }

  #forget(error: ConnectionLost): number {
    const fd = this.#fd;
    this.#fd = -1;
    this.#poller.remove(this.#watch);
    this.#endReason = error.message;
    this.#opened.reject(error);
    this.#waiters.forEach((waiter, slot) => {
      if (waiter === null) return;
      clearTimeout(waiter.timer);
      this.#waiters[slot] = null;
      waiter.reject(error);
    });
    for (const waiter of this.#slots.drain()) waiter.reject(error);
    return fd;
  }

  /**
   * Gives the socket to somebody else, who goes on with `Connection.adopt()`.
   *
   * @throws ConnectionLost if it is over, or the peer has sent something that nobody asked for.
   */
  handOver(): { fd: number; transfer: TransferParameters } {
    if (!this.isOpen) throw new ConnectionLost(this.#endReason);
    if (this.#connection.isMidPdu || this.#connection.inFlight > 0) {
      const error = new ConnectionLost("the controller sent an unexpected PDU before any I/O");
      this.close();
      throw error;
    }
    const transfer = this.#connection.parameters;
    const fd = this.#forget(new ConnectionLost("the connection was handed over"));
    return { fd, transfer };
  }
}
