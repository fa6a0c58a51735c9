/**
 * A queue pair that the main thread drives: the admin queue of an association for its whole life, an I/O queue until it
 * is connected and handed to a worker. It has the slots of its commands, their time limits and retries; the socket is
 * its driver's.
 *
 *     idle ──start──▶ opening ──ICResp──▶ ready ──handOver──▶ over
 *                        └────────┬─────────┘
 *                  the peer, fail, close ──▶ over
 *
 * Contract: the driver moves the bytes that it asks for and offers, and calls `settle` after that, `handleTime` when
 * `nextDueMs` is over, having received what has arrived by then. Each request has a ticket; `pollAnswer` tells each
 * ticket once, with its answer, or with null once the queue is over.
 *
 * Invariant: a slot that is taken has one request, whose command is in flight.
 */
import { assert } from "../base/assert.ts";
import { ADMIN_DATA_BYTES, ADMIN_QUEUE_SLOTS } from "../base/limits.ts";
import { MachineState, StateTable } from "../base/state_table.ts";
import { AdminSlots } from "../nvme_host/admin_slots.ts";
import { DataDirection } from "../nvme_host/command_table.ts";
import type { AdminCommand } from "../nvme_host/commands.ts";
import { Connection, type Digests, Submission, type TransferParameters } from "../nvme_host/connection.ts";
import type { Crc32c } from "../nvme_host/transfer.ts";
import type { CommandAnswer } from "../nvme_host/steps.ts";
import { StatusCode, StatusField } from "../protocol/nvme_status.ts";
import { ADMIN_IN_CAPSULE_BYTES } from "../protocol/nvme_tcp.ts";
import { Greeting, type QueueLoss } from "./greeting.ts";

const RECEIVE_BYTES = 16 << 10;
/** How often a command is sent again that the network has changed on its way, there or back. */
const TRANSPORT_RETRIES = 3;
const ARENA_OFFSET = ADMIN_QUEUE_SLOTS * ADMIN_DATA_BYTES;

export type AdminQueueState = "idle" | "opening" | "ready" | "over";

/** Which states may follow which. */
export const ADMIN_QUEUE_STATES = new StateTable<AdminQueueState>("An admin queue", {
  idle: ["opening", "over"],
  opening: ["ready", "over"],
  ready: ["over"],
  over: [],
});

/** What is told of a ticket: its answer, or null because the queue is over. */
export interface TicketAnswer {
  ticket: number;
  answer: CommandAnswer | null;
}

interface Request {
  readonly ticket: number;
  readonly command: AdminCommand;
  readonly timeoutMs: number;
  /** Infinity while it waits for a slot, and for a command that may take as long as it likes. */
  deadlineMs: number;
  retries: number;
}

/** What a queue is made of. */
export interface AdminQueueOptions {
  /** {@linkcode AdminQueue.bytes} of it. */
  memory: Uint8Array<ArrayBuffer>;
  crc32c: Crc32c;
}

export class AdminQueue {
  /** Bytes of memory that it needs. */
  static readonly bytes = ARENA_OFFSET + Connection.arenaBytes(ADMIN_QUEUE_SLOTS, RECEIVE_BYTES);
  /** Where its data ends: what lies behind is the connection's. */
  static readonly dataEnd = ARENA_OFFSET;

  readonly #memory: Uint8Array<ArrayBuffer>;
  readonly #connection: Connection;
  readonly #submission = new Submission();
  readonly #requests: (Request | null)[] = new Array(ADMIN_QUEUE_SLOTS).fill(null);
  readonly #slots = new AdminSlots<Request>(ADMIN_QUEUE_SLOTS);
  readonly #state = new MachineState(ADMIN_QUEUE_STATES, "idle");
  readonly #greeting = new Greeting();
  readonly #answers: TicketAnswer[] = [];
  #tickets = 0;
  #loss: QueueLoss | null = null;

  constructor({ memory, crc32c }: AdminQueueOptions) {
    assert(memory.length >= AdminQueue.bytes, "There is memory for all slots and the connection");
    this.#memory = memory;
    this.#connection = new Connection({
      memory,
      arenaOffset: ARENA_OFFSET,
      depth: ADMIN_QUEUE_SLOTS,
      inCapsuleBytes: ADMIN_IN_CAPSULE_BYTES,
      receiveBytes: RECEIVE_BYTES,
      takesShortReads: true,
      crc32c,
    });
  }

  get isReady(): boolean {
    return this.#state.name === "ready";
  }

  get isOver(): boolean {
    return this.#state.name === "over";
  }

  /** Why it is over; null while it is not. */
  get loss(): QueueLoss | null {
    return this.#loss;
  }

  /** Commands in flight. */
  get inFlight(): number {
    return this.#connection.inFlight;
  }

  /** When `handleTime` has something to do, milliseconds; Infinity: never. */
  get nextDueMs(): number {
    return this.#requests.reduce((first, request) => Math.min(first, request?.deadlineMs ?? Infinity), Infinity);
  }

  // ── what is wanted ────────────────────────────────────────────────────────────────────────────────────────────────

  /** The socket is connected: begins the IC exchange. */
  start(digests?: Digests): void {
    this.#state.transition("opening");
    this.#connection.start(digests);
  }

  /**
   * Sends a command as soon as a slot is free; its ticket. Without an answer in `timeoutMs` from then on (null: for ever)
   * the queue is over.
   *
   * @throws AdminQueueFull
   */
  request(command: AdminCommand, { timeoutMs, nowMs }: { timeoutMs: number | null; nowMs: number }): number {
    assert(this.isReady, "Commands go to a queue that is ready");
    const ticket = ++this.#tickets;
    const request = { ticket, command, timeoutMs: timeoutMs ?? Infinity, deadlineMs: Infinity, retries: 0 };
    const slot = this.#slots.enter(request);
    if (slot >= 0) this.#begin(request, slot, nowMs);
    return ticket;
  }

  /** Ends it for a reason of the host's. */
  fail(reason: string): void {
    if (!this.isOver) this.#end({ kind: "lost", reason, speaksTls: false });
  }

  /**
   * What a worker goes on with on the same socket; null, and over as failed, if the peer has sent what nobody asked for.
   */
  handOver(): TransferParameters | null {
    assert(this.isReady, "A queue is handed over once it is ready");
    if (this.#connection.isMidPdu || this.#connection.inFlight > 0) {
      this.fail("the controller sent an unexpected PDU before any I/O");
      return null;
    }
    const { parameters } = this.#connection;
    this.fail("the connection was handed over");
    return parameters;
  }

  // ── what its driver moves: a `ByteMachine` ────────────────────────────────────────────────────────────────────────

  /** "failed" is final: nothing is received nor sent any more. */
  get state(): string {
    return this.isOver ? "failed" : this.#connection.state;
  }

  get receiveBuffer(): Connection["receiveBuffer"] {
    return this.#connection.receiveBuffer;
  }

  get sendBuffer(): Connection["sendBuffer"] {
    return this.#connection.sendBuffer;
  }

  get hasMoreToSend(): boolean {
    return this.#connection.hasMoreToSend;
  }

  prepareReceive(): void {
    this.#connection.prepareReceive();
  }

  handleReceived(bytes: number): void {
    if (this.#state.name === "opening") {
      const offset = this.receiveBuffer.offset[0];
      this.#greeting.hear(this.#memory.subarray(offset, offset + bytes));
    }
    this.#connection.handleReceived(bytes);
  }

  handleClosed(): void {
    this.#connection.handleClosed();
  }

  handleTransportError(words: string): void {
    this.#connection.handleTransportError(words);
  }

  pollSend(): boolean {
    return !this.isOver && this.#connection.pollSend();
  }

  handleSent(bytes: number): boolean {
    return this.#connection.handleSent(bytes);
  }

  terminationPdu(): Uint8Array<ArrayBuffer> | null {
    return this.#connection.terminationPdu();
  }

  // ── what has happened ─────────────────────────────────────────────────────────────────────────────────────────────

  /** Takes what the bytes that were moved have brought. True if there is more to send because of it. */
  settle(nowMs: number): boolean {
    if (this.isOver) return false;
    const hasMore = this.#takeCompletions(nowMs);
    const { failure } = this.#connection;
    if (failure !== null) {
      this.#end(this.#greeting.lossOf(failure, { wasReady: this.isReady }));
      return false;
    }
    if (this.#state.name === "opening" && this.#connection.state === "ready") this.#state.transition("ready");
    return hasMore;
  }

  /** Time has passed; what has arrived by now was received. */
  handleTime(nowMs: number): void {
    const late = this.#requests.find((request) => request !== null && nowMs >= request.deadlineMs);
    if (late != null) this.fail(`${late.command.name} was not answered within ${late.timeoutMs / 1000} s`);
  }

  /** The next ticket of which there is something to tell, or null. */
  pollAnswer(): TicketAnswer | null {
    return this.#answers.shift() ?? null;
  }

  #begin(request: Request, slot: number, nowMs: number): void {
    request.deadlineMs = nowMs + request.timeoutMs;
    this.#requests[slot] = request;
    this.#submit(request.command, slot);
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
    assert(this.#connection.submit(submission, 0) >= 0, "There are as many commands as slots");
  }

  /** True if commands were sent because of them. */
  #takeCompletions(nowMs: number): boolean {
    let hasMore = false;
    const connection = this.#connection;
    const { commands } = connection;
    for (let command = connection.pollCompletion(); command >= 0; command = connection.pollCompletion()) {
      const slot = commands.owner[command]!;
      const request = this.#requests[slot]!;
      const dataAt = slot * ADMIN_DATA_BYTES;
      const answer: CommandAnswer = {
        status: commands.status[command]!,
        result0: commands.result0[command]!,
        result1: commands.result1[command]!,
        data: request.command.dataInBytes > 0
          ? this.#memory.slice(dataAt, dataAt + commands.transferred[command]!)
          : null,
      };
      connection.release(command);
      if (this.#isToResend(request, answer.status)) {
        request.retries++;
        this.#submit(request.command, slot);
        hasMore = true;
        continue;
      }
      this.#requests[slot] = null;
      this.#answers.push({ ticket: request.ticket, answer });
      // A connection that has failed since takes no more: those that wait are told so when the queue ends.
      if (connection.state !== "ready") continue;
      const next = this.#slots.leave(slot);
      if (next === null) continue;
      this.#begin(next, slot, nowMs);
      hasMore = true;
    }
    return hasMore;
  }

  /** Every admin command of ours may be executed twice. */
  #isToResend({ retries }: Request, status: number): boolean {
    const isTransport = (status & (StatusField.CODE_MASK | StatusField.DNR)) === StatusCode.TRANSIENT_TRANSPORT_ERROR;
    return isTransport && retries < TRANSPORT_RETRIES && this.#connection.state === "ready";
  }

  #end(loss: QueueLoss): void {
    this.#state.transition("over");
    this.#loss = loss;
    const given = this.#requests.splice(0, ADMIN_QUEUE_SLOTS).filter((request) => request !== null);
    this.#requests.push(...new Array(ADMIN_QUEUE_SLOTS).fill(null));
    for (const { ticket } of [...given, ...this.#slots.drain()]) this.#answers.push({ ticket, answer: null });
  }

  /** Asserts what always holds between calls. */
  invariants(): void {
    const taken = this.#requests.filter((request) => request !== null).length;
    if (!this.isOver) assert(taken === this.inFlight, "A slot that is taken has a command in flight");
    else assert(taken === 0 && this.#loss !== null, "A queue that is over has no request, and a reason");
    const tickets = this.#answers.map(({ ticket }) => ticket);
    assert(new Set(tickets).size === tickets.length, "A ticket is told once");
  }
}
