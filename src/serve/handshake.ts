import { TARGET_HANDSHAKE_MS } from "../base/limits.ts";
import type { Poller } from "../io/poller.ts";
import { FABRICS_OPCODE, FabricsType } from "../protocol/nvme.ts";
import { CONNECT_DATA_BYTES } from "../protocol/nvme_fabrics.ts";
import { StatusCode, StatusField } from "../protocol/nvme_status.ts";
import type { TargetTransfer } from "../nvme_target/connection.ts";
import type { TargetQueue } from "../nvme_target/connection.ts";
import type { ConnectResult } from "../nvme_target/subsystem.ts";
import type { FaultSubject } from "../nvme_target/fault_script.ts";
import { type SocketOwner, TargetSocket, type TargetSocketOptions } from "./target_socket.ts";

const { DNR } = StatusField;
const FABRICS_TYPE_MASK = 0xff;

/** A Connect that succeeded. */
export type Connected = ConnectResult & { controller: NonNullable<ConnectResult["controller"]> };

/** An I/O queue pair that a worker can go on with. */
export interface HandedOver {
  readonly fd: number;
  readonly peer: string;
  readonly transfer: TargetTransfer;
  readonly queue: TargetQueue;
  /** Whom faults are for that hit it. */
  readonly subject: FaultSubject;
}

/** What becomes of a connection that a host has opened; exactly one of these is called, and once. */
export interface HandshakeEvents {
  /** Answers a Connect. It is asked again if the host tries again after a refusal. */
  connect(sqe: Uint32Array, data: Uint8Array): ConnectResult;
  /** It is an admin queue now, whose owner the socket gets. */
  handleAdmin(connected: Connected, socket: TargetSocket): void;
  handleIo(connected: Connected, handedOver: HandedOver): void;
  /** The Connect of an I/O queue had succeeded, and the connection is over all the same. */
  handleIoLost(connected: Connected): void;
  /** It has come to nothing; why, in words. `isRefused`: for what the host did, or failed to do in time. */
  handleFailed(reason: string, isRefused: boolean): void;
}

/**
 * A new connection until it is connected to a queue: ICReq, then Connect, both within {@linkcode TARGET_HANDSHAKE_MS}.
 * The answer to the Connect of an I/O queue is sent before its connection is given away.
 */
export class Handshake implements SocketOwner {
  readonly #events: HandshakeEvents;
  readonly #socket: TargetSocket;
  #timer: ReturnType<typeof setTimeout>;
  /** The I/O queue whose Connect was answered with success. */
  #connected: Connected | null = null;
  #isLate = false;

  constructor(
    poller: Poller,
    options: Omit<TargetSocketOptions, "owner">,
    events: HandshakeEvents,
  ) {
    this.#events = events;
    this.#socket = new TargetSocket(poller, { ...options, owner: this });
    this.#timer = setTimeout(() => this.#expire(), TARGET_HANDSHAKE_MS);
  }

  #expire(): void {
    this.#socket.move();
    if (this.#socket.isSilent || this.#socket.isHoldingAnswers) {
      this.#timer = setTimeout(() => this.#expire(), TARGET_HANDSHAKE_MS); // it cannot help it
      return;
    }
    const isKnown = this.#socket.connection.state === "ready";
    if (!this.#socket.isOpen) return;
    this.#isLate = true;
    this.#socket.end(isKnown ? "it sent no Connect in time" : "it sent no ICReq in time");
  }

  /** Ends it. */
  close(): void {
    this.#socket.end("the listener was closed");
  }

  /** Ends it with a reset. */
  reset(): void {
    this.#socket.reset("the listener went down");
  }

  handleCommands(socket: TargetSocket): boolean {
    const slot = this.#connected === null ? socket.connection.pollCommand() : -1;
    if (slot === -1) return false;
    const verdict = socket.judge(slot);
    if (verdict !== 0) {
      socket.respond(slot, verdict);
      return true;
    }
    const sqe = socket.entry(slot);
    const { commands } = socket.connection;
    const isConnect = (sqe[0]! & 0xff) === FABRICS_OPCODE && (sqe[1]! & FABRICS_TYPE_MASK) === FabricsType.CONNECT;
    if (!isConnect) socket.respond(slot, StatusCode.COMMAND_SEQUENCE_ERROR | DNR);
    else if (commands.dataBytes[slot]! < CONNECT_DATA_BYTES) {
      socket.respond(slot, StatusCode.DATA_SGL_LENGTH_INVALID | DNR);
    } else if (commands.hasData[slot] === 0) socket.connection.fetchData(slot);
    else this.#connect(socket, slot, sqe);
    return true;
  }

  #connect(socket: TargetSocket, slot: number, sqe: Uint32Array): void {
    const result = this.#events.connect(sqe, socket.data(slot).subarray(0, CONNECT_DATA_BYTES));
    const { answer, controller, sqEntries, sqFlowControl } = result;
    if (controller !== null) {
      const { sqHead } = socket.connection.queue;
      socket.connection.setQueue({ sqEntries, sqFlowControl, sqHead: sqHead % sqEntries });
    }
    socket.respond(slot, answer.status, answer.dw0, answer.dw1);
    if (controller === null) return;
    socket.setQueue(result.qid > 0 ? "io" : "admin");
    const connected: Connected = { ...result, controller };
    if (result.qid > 0) {
      this.#connected = connected;
      return;
    }
    clearTimeout(this.#timer);
    this.#events.handleAdmin(connected, socket);
  }

  handleFlushed(socket: TargetSocket): void {
    const connected = this.#connected;
    if (connected === null || socket.isHoldingAnswers) return;
    const { peer, subject } = socket;
    const handed = socket.handOver();
    if (handed === null) return socket.end("it sent more before its Connect was answered");
    clearTimeout(this.#timer);
    const { fd, transfer, sqHead } = handed;
    const queue = { sqEntries: connected.sqEntries, sqFlowControl: connected.sqFlowControl, sqHead };
    this.#events.handleIo(connected, { fd, peer, transfer, queue, subject });
  }

  handleEnd(reason: string): void {
    clearTimeout(this.#timer);
    const brokeProtocol = (this.#socket.connection.failure?.fes ?? 0) !== 0;
    if (this.#connected === null) this.#events.handleFailed(reason, this.#isLate || brokeProtocol);
    else this.#events.handleIoLost(this.#connected);
  }
}
