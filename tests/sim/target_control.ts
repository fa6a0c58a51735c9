import type { Prng } from "../../src/base/prng.ts";
import { TARGET_HANDSHAKE_MS } from "../../src/base/limits.ts";
import { FABRICS_OPCODE, FabricsType } from "../../src/protocol/nvme.ts";
import { CONNECT_DATA_BYTES } from "../../src/protocol/nvme_fabrics.ts";
import { StatusCode, StatusField } from "../../src/protocol/nvme_status.ts";
import { ADMIN_IN_CAPSULE_BYTES } from "../../src/protocol/nvme_tcp.ts";
import type { AdminAnswer } from "../../src/nvme_target/admin_answer.ts";
import { TargetConnection, type TargetQueue, type TargetTransfer } from "../../src/nvme_target/connection.ts";
import type { Controller } from "../../src/nvme_target/controller.ts";
import { ADMIN_QUEUE_ENTRIES_MAX, type ConnectResult } from "../../src/nvme_target/subsystem.ts";
import { abortEntry, type AdminFaults } from "./admin_faults.ts";
import { crcOf } from "./crc.ts";
import { type Clock, Task } from "./clock.ts";
import { Link, type LinkManners } from "./link.ts";
import type { Socket } from "./network.ts";
import type { MemoryPool } from "./pool.ts";
import { roundUp } from "./target_io.ts";

const RECEIVE_BYTES = 16 << 10;
const SLOTS = ADMIN_QUEUE_ENTRIES_MAX;
/** How often it is looked whether the answer to a Connect is sent. */
const FLUSH_MS = 1;

/** What becomes of a connection. */
export interface ControlEvents {
  connect(sqe: Uint32Array, data: Uint8Array): ConnectResult;
  handleAdmin(controller: Controller, control: TargetControl): void;
  handleIo(
    controller: Controller,
    qid: number,
    handed: { socket: Socket; transfer: TargetTransfer; queue: TargetQueue },
  ): void;
  /** The I/O queue was connected, and is lost before it was handed over. */
  handleIoLost(controller: Controller, qid: number): void;
  /** Commands were carried out on the admin queue. */
  handleProgress(controller: Controller): void;
  /** It is over, whatever it was. */
  handleOver(control: TargetControl, controller: Controller | null): void;
}

/** A new connection, and an admin queue for its whole life: `Handshake` and `AdminQueue` in simulation. */
export class TargetControl {
  readonly connection: TargetConnection;
  readonly link: Link<TargetConnection>;
  readonly listener: number;
  readonly #clock: Clock;
  readonly #pool: MemoryPool;
  readonly #memory: Uint8Array<ArrayBuffer>;
  readonly #events: ControlEvents;
  readonly #faults: AdminFaults;
  readonly #turn: Task;
  readonly #timeout: Task;
  #controller: Controller | null = null;
  /** CIDs of event requests by the slots that they wait in. */
  readonly #eventRequests = new Map<number, number>();
  /** The I/O queue whose Connect is being answered. */
  #io: ConnectResult | null = null;
  #isOver = false;

  constructor(
    shared: { clock: Clock; prng: Prng; pool: MemoryPool; transferBytesMax: number; manners: LinkManners },
    options: { socket: Socket; listener: number; faults: AdminFaults; events: ControlEvents },
  ) {
    const { clock, transferBytesMax } = shared;
    const arenaOffset = SLOTS * transferBytesMax;
    this.listener = options.listener;
    this.#clock = clock;
    this.#pool = shared.pool;
    this.#events = options.events;
    this.#faults = options.faults;
    const memory = shared.pool.take(roundUp(arenaOffset + TargetConnection.arenaBytes(SLOTS, RECEIVE_BYTES)));
    this.#memory = memory;
    this.connection = new TargetConnection({
      ...{ memory, arenaOffset, slots: SLOTS, dataOffset: 0, dataBytes: transferBytesMax },
      ...{ inCapsuleBytes: ADMIN_IN_CAPSULE_BYTES, receiveBytes: RECEIVE_BYTES, crc32c: crcOf(memory) },
    });
    this.#turn = new Task(clock, () => this.#handleTurn());
    this.#timeout = new Task(clock, () => this.end());
    this.#timeout.in(TARGET_HANDSHAKE_MS);
    this.link = new Link(clock, {
      ...shared,
      machine: this.connection,
      memory,
      dataEnd: arenaOffset,
      digests: () => {
        const { headerDigest, dataDigest } = this.connection.transfer;
        return { header: headerDigest, data: dataDigest };
      },
      socket: options.socket,
      wake: () => this.#turn.soon(),
    });
    this.#turn.soon();
  }

  #handleTurn(): void {
    if (this.#isOver) return;
    const { connection } = this;
    let isProgress = false;
    while (connection.state === "ready") {
      const slot = this.#io === null ? connection.pollCommand() : -1;
      if (slot < 0) break;
      if (this.#controller === null) this.#handshake(slot);
      else this.#handleCommand(this.#controller, slot);
      isProgress = true;
    }
    if (isProgress && this.#controller !== null) {
      this.#events.handleProgress(this.#controller);
      this.sendEvents();
    }
    if (this.#isOver) return;
    if (connection.state !== "failed") this.link.arm();
    if (connection.state === "failed") return this.end();
    if (this.#io !== null) this.#handOver(this.#io);
  }

  #entry(slot: number): Uint32Array {
    return this.connection.commands.sqe.slice(slot * 16, slot * 16 + 16);
  }

  #data(slot: number, bytes: number): Uint8Array<ArrayBuffer> {
    const offset = this.connection.commands.dataOffset[slot];
    return this.#memory.slice(offset, offset + bytes);
  }

  // ── handshake ─────────────────────────────────────────────────────────────────────────────────────────────────────

  #handshake(slot: number): void {
    const { connection } = this;
    const sqe = this.#entry(slot);
    const isConnect = (sqe[0] & 0xff) === FABRICS_OPCODE && (sqe[1] & 0xff) === FabricsType.CONNECT;
    if (!isConnect || connection.commands.dataBytes[slot] < CONNECT_DATA_BYTES) {
      return connection.respond(slot, StatusCode.COMMAND_SEQUENCE_ERROR | StatusField.DNR);
    }
    if (connection.commands.hasData[slot] === 0) return connection.fetchData(slot);
    const result = this.#events.connect(sqe, this.#data(slot, CONNECT_DATA_BYTES));
    const { answer, controller, sqEntries, sqFlowControl, qid } = result;
    if (controller !== null) {
      connection.setQueue({ sqEntries, sqFlowControl, sqHead: connection.queue.sqHead % sqEntries });
    }
    connection.respond(slot, answer.status, answer.dw0, answer.dw1);
    if (controller === null) return;
    if (qid > 0) {
      this.#io = result;
      return;
    }
    this.#timeout.cancel();
    this.#controller = controller;
    this.#events.handleAdmin(controller, this);
  }

  #handOver(io: ConnectResult): void {
    const { connection } = this;
    if (connection.sendBuffer.isSending || connection.inFlight > 0) return this.#turn.in(FLUSH_MS);
    const { controller, qid, sqEntries, sqFlowControl } = io;
    if (connection.isMidPdu) return this.end();
    const transfer = connection.transfer;
    const queue = { sqEntries, sqFlowControl, sqHead: connection.queue.sqHead };
    const socket = this.link.leave();
    this.#io = null;
    this.#forget();
    this.#events.handleOver(this, null);
    this.#events.handleIo(controller!, qid, { socket, transfer, queue });
  }

  // ── admin queue ───────────────────────────────────────────────────────────────────────────────────────────────────

  #handleCommand(controller: Controller, slot: number): void {
    const { connection } = this;
    const sqe = this.#entry(slot);
    const needed = controller.dataNeeded(sqe);
    if (needed > connection.commands.dataBytes[slot]) {
      return connection.respond(slot, StatusCode.DATA_SGL_LENGTH_INVALID | StatusField.DNR);
    }
    if (needed > 0 && connection.commands.hasData[slot] === 0) return connection.fetchData(slot);
    const verdict = this.#faults.verdict(sqe);
    if (verdict !== 0) return connection.respond(slot, verdict);
    const answer = controller.handleCommand(sqe, needed > 0 ? this.#data(slot, needed) : null, this.#clock.nowMs);
    if (answer === null) {
      controller.park(slot);
      this.#eventRequests.set(slot, sqe[0] >>> 16);
      return;
    }
    if (answer.data !== null && answer.status === 0) this.#faults.spoil(sqe, answer.data);
    this.#answer(slot, answer);
  }

  #answer(slot: number, { status, dw0, dw1, data }: AdminAnswer): void {
    const { connection } = this;
    if (data === null || status !== 0) return connection.respond(slot, status, dw0, dw1);
    const { dataOffset, dataBytes } = connection.commands;
    const sent = data.subarray(0, dataBytes[slot]);
    this.#memory.set(sent, dataOffset[slot]);
    connection.respondWithData(slot, sent.length, dw0, dw1);
  }

  /** Sends the events that have come up. */
  sendEvents(): void {
    const controller = this.#controller;
    if (controller === null || this.#isOver) return;
    for (let event = controller.pollEvent(); event !== null; event = controller.pollEvent()) {
      this.#eventRequests.delete(event.slot);
      this.#answer(event.slot, event.answer);
      this.#turn.soon();
    }
  }

  /** Ends the event requests that wait with this status. */
  endEventRequests(status: number): void {
    const controller = this.#controller;
    if (controller === null || this.#isOver) return;
    this.sendEvents();
    for (const cid of this.#eventRequests.values()) controller.handleCommand(abortEntry(cid), null, this.#clock.nowMs);
    for (let event = controller.pollEvent(); event !== null; event = controller.pollEvent()) {
      this.#eventRequests.delete(event.slot);
      this.#answer(event.slot, { ...event.answer, status });
      this.#turn.soon();
    }
  }

  // ── end ───────────────────────────────────────────────────────────────────────────────────────────────────────────

  end(): void {
    if (this.#isOver) return;
    this.link.leave();
    this.link.socket.close();
    const controller = this.#controller, io = this.#io;
    this.#forget();
    if (io !== null) this.#events.handleIoLost(io.controller!, io.qid);
    this.#events.handleOver(this, controller);
  }

  /** The target is gone at once. */
  crash(): void {
    if (this.#isOver) return;
    this.link.leave();
    this.link.socket.close();
    this.#forget();
  }

  #forget(): void {
    this.#isOver = true;
    this.#turn.cancel();
    this.#timeout.cancel();
    this.connection.handleTransportError("it is over");
    this.#pool.give(this.#memory);
  }
}
