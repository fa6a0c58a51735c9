import { native } from "../../../ffi/library.ts";
import { EAGAIN, EINTR, errnoWords } from "../../base/errno.ts";
import { messageOf, UmpathError } from "../../base/errors.ts";
import { ADMIN_TIMEOUT_MS } from "../../base/limits.ts";
import { logger } from "../../base/log.ts";
import { AdminQueue } from "../../control/admin_queue.ts";
import type { QueueLoss } from "../../control/greeting.ts";
import type { Poller, Watch } from "../../io/poller.ts";
import { ConnectFailure, tcpConnect, type TcpEndpoints } from "../../io/tcp.ts";
import type { AdminCommand } from "../../nvme_host/commands.ts";
import type { Digests, TransferParameters } from "../../nvme_host/connection.ts";
import type { CommandAnswer } from "../../nvme_host/steps.ts";

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

/** The loss of a queue as an error. */
function errorOf({ kind, reason, speaksTls }: QueueLoss): ConnectionLost {
  if (kind === "foreign") return new NotNvmeTcp(reason, { speaksTls });
  return kind === "mismatch" ? new TransportMismatch(reason) : new ConnectionLost(reason);
}

function lossOf(cause: ConnectFailure | UmpathError): ConnectionLost {
  return new ConnectionLost(cause.message, { cause });
}

/** Who waits for the answer of a ticket. */
type Waiting = PromiseWithResolvers<CommandAnswer>;

/**
 * The driver of an {@linkcode AdminQueue}: its socket, its timer, and the promises of those that asked. Admin queues have
 * one for their whole life, I/O queues until they are connected and handed to a worker.
 */
export class HostConnection {
  /** Settles with the reason when the connection is over for any other cause than `close()` or `handOver()`. */
  readonly lost: Promise<string>;

  readonly #poller: Poller;
  readonly #memory = new Uint8Array(AdminQueue.bytes);
  readonly #queue: AdminQueue;
  readonly #waiting = new Map<number, Waiting>();
  readonly #watch: Watch;
  readonly #opened = Promise.withResolvers<void>();
  readonly #resolveLost: (reason: string) => void;
  #timer: ReturnType<typeof setTimeout> | undefined;
  #timerDueMs = Infinity;
  #fd: number;
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
    this.#queue = new AdminQueue({
      memory: this.#memory,
      crc32c: (offset, bytes) => native().um_crc32c_part(this.#memory, offset, bytes),
    });
    this.#watch = { fd, wantsRead: true, wantsWrite: false, onReady: () => this.#guarded(() => this.#move()) };
    this.#poller.add(this.#watch);
    this.#opened.promise.catch(() => {});
  }

  async #exchange(digests: Digests | undefined, timeoutMs: number): Promise<void> {
    const timer = setTimeout(() => {
      this.receiveNow();
      if (this.isOpen && !this.#queue.isReady) {
        this.fail("it accepts connections but does not answer as NVMe/TCP within the connect-timeout");
      }
    }, timeoutMs);
    if (this.isOpen) this.#queue.start(digests);
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

  /**
   * Sends a command once a slot is free and waits for its answer, at most `timeoutMs` (null: for ever); a command without
   * an answer in time fails the connection.
   *
   * @throws ConnectionLost if the connection is over before the answer, with the reason why it is; AdminQueueFull.
   */
  request(command: AdminCommand, timeoutMs: number | null = ADMIN_TIMEOUT_MS): Promise<CommandAnswer> {
    if (!this.isOpen) return Promise.reject(new ConnectionLost(this.#endReason));
    const waiting = Promise.withResolvers<CommandAnswer>();
    try {
      this.#waiting.set(this.#queue.request(command, { timeoutMs, nowMs: performance.now() }), waiting);
    } catch (error) {
      return Promise.reject(error);
    }
    this.#move();
    return waiting.promise;
  }

  /**
   * Takes what has arrived by now. To be called before a deadline is held against the peer: after a pause of this process
   * its answer may be there and not be read yet.
   */
  receiveNow(): void {
    this.#move();
  }

  /** A fault of ours in here costs this connection, and not those that the daemon has besides. */
  #guarded(work: () => void): void {
    try {
      work();
    } catch (error) {
      log.error("A bug in umpath ended a connection", error);
      this.fail(`a bug in umpath: ${messageOf(error)}`);
    }
  }

  /** Sends and receives all that is possible now, and carries out what comes of it. */
  #move(): void {
    if (!this.isOpen) return;
    this.#receive();
    // What was sent may end a command, whose slot the next one gets.
    do {
      this.#send();
    } while (this.#queue.settle(performance.now()));
    if (this.#queue.isReady) this.#opened.resolve();
    this.#carryOut();
  }

  /** Tells answers, sets the timer, and ends with the queue. */
  #carryOut(): void {
    const { loss } = this.#queue;
    for (let told = this.#queue.pollAnswer(); told !== null; told = this.#queue.pollAnswer()) {
      const waiting = this.#waiting.get(told.ticket)!;
      this.#waiting.delete(told.ticket);
      if (told.answer !== null) waiting.resolve(told.answer);
      else waiting.reject(errorOf(loss!));
    }
    this.#queue.invariants();
    if (loss !== null) return this.#end(errorOf(loss));
    this.#setTimer();
  }

  #setTimer(): void {
    const dueMs = this.#queue.nextDueMs;
    if (dueMs === this.#timerDueMs) return;
    clearTimeout(this.#timer);
    this.#timerDueMs = dueMs;
    if (dueMs === Infinity) return;
    this.#timer = setTimeout(
      () => this.#guarded(() => this.#handleTime()),
      Math.max(Math.ceil(dueMs - performance.now()), 0),
    );
  }

  #handleTime(): void {
    this.#timerDueMs = Infinity;
    this.receiveNow();
    if (!this.isOpen) return;
    this.#queue.handleTime(performance.now());
    this.#carryOut();
  }

  #receive(): void {
    const queue = this.#queue;
    while (queue.state !== "failed") {
      queue.prepareReceive();
      const offset = queue.receiveBuffer.offset[0];
      const bytes = queue.receiveBuffer.bytes[0];
      const got = native().um_socket_receive(this.#fd, this.#memory.subarray(offset, offset + bytes), bytes);
      if (got === -EAGAIN || got === -EINTR) return;
      if (got > 0) queue.handleReceived(got);
      else if (got === 0) queue.handleClosed();
      else queue.handleTransportError(errnoWords(got));
    }
  }

  #send(): void {
    const queue = this.#queue;
    const buffer = queue.sendBuffer;
    while (queue.state !== "failed" && (buffer.isSending || queue.pollSend())) {
      const offset = buffer.segmentOffset(0);
      const bytes = buffer.segmentBytes(0);
      const sent = native().um_socket_send(this.#fd, this.#memory.subarray(offset, offset + bytes), bytes);
      if (sent < 0 && sent !== -EAGAIN) queue.handleTransportError(errnoWords(sent));
      if (sent <= 0) break;
      queue.handleSent(sent);
    }
    this.#wantWrite(buffer.isSending);
  }

  #wantWrite(wanted: boolean): void {
    if (this.#watch.wantsWrite === wanted) return;
    this.#watch.wantsWrite = wanted;
    this.#poller.change(this.#watch);
  }

  /** Ends the connection for a reason of the host's. */
  fail(reason: string): void {
    if (!this.isOpen) return;
    this.#queue.fail(reason);
    this.#carryOut();
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
    const fd = this.#leave(new ConnectionLost(this.#endReason));
    native().um_socket_close(fd, 1);
    this.#queue.fail(this.#endReason);
    this.#carryOut();
  }

  #end(loss: ConnectionLost): void {
    if (!this.isOpen) return;
    const pdu = this.#queue.terminationPdu();
    const fd = this.#leave(loss);
    if (pdu !== null) native().um_socket_send(fd, pdu, pdu.length);
    native().um_socket_close(fd, pdu === null ? 1 : 0);
    this.#resolveLost(loss.message);
  }

  /** The socket is not ours any more. */
  #leave(error: ConnectionLost): number {
    const fd = this.#fd;
    this.#fd = -1;
    clearTimeout(this.#timer);
    this.#poller.remove(this.#watch);
    this.#endReason = error.message;
    this.#opened.reject(error);
    return fd;
  }

  /**
   * Gives the socket to somebody else, who goes on with `Connection.adopt()`.
   *
   * @throws ConnectionLost if it is over, or the peer has sent something that nobody asked for.
   */
  handOver(): { fd: number; transfer: TransferParameters } {
    if (!this.isOpen) throw new ConnectionLost(this.#endReason);
    const transfer = this.#queue.handOver();
    const error = errorOf(this.#queue.loss!);
    const fd = this.#leave(error);
    this.#carryOut();
    if (transfer !== null) return { fd, transfer };
    native().um_socket_close(fd, 1);
    throw error;
  }
}
