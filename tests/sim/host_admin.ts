import { ADMIN_DATA_BYTES, ADMIN_QUEUE_SLOTS, ADMIN_TIMEOUT_MS } from "../../src/base/limits.ts";
import type { Prng } from "../../src/base/prng.ts";
import { AdminSlots } from "../../src/nvme_host/admin_slots.ts";
import { DataDirection } from "../../src/nvme_host/command_table.ts";
import type { AdminCommand } from "../../src/nvme_host/commands.ts";
import { Connection, type Digests, Submission, type TransferParameters } from "../../src/nvme_host/connection.ts";
import { AdminError, type BringUpErrorKind, type CommandAnswer, type Steps } from "../../src/nvme_host/steps.ts";
import { StatusCode, StatusField } from "../../src/protocol/nvme_status.ts";
import { ADMIN_IN_CAPSULE_BYTES } from "../../src/protocol/nvme_tcp.ts";
import { crcOf } from "./crc.ts";
import { type Clock, Task } from "./clock.ts";
import { Link, type LinkManners } from "./link.ts";
import type { Socket } from "./network.ts";
import type { MemoryPool } from "./pool.ts";
import { roundUp } from "./target_io.ts";

const RECEIVE_BYTES = 16 << 10;
const TRANSPORT_RETRIES = 3;
const OWN_OFFSET = ADMIN_QUEUE_SLOTS * ADMIN_DATA_BYTES;

export interface HostShared {
  readonly clock: Clock;
  readonly prng: Prng;
  readonly pool: MemoryPool;
  readonly manners: LinkManners;
  readonly digests: Digests;
}

interface Waiter {
  readonly command: AdminCommand;
  /** Null: the connection is over. */
  readonly done: (answer: CommandAnswer | null) => void;
  readonly timer: Task | null;
  readonly timeoutMs: number | null;
  retries: number;
}

/** A connection of the host's main thread: `HostConnection` in simulation. */
export class HostAdmin {
  readonly link: Link<Connection>;
  readonly #clock: Clock;
  readonly #pool: MemoryPool;
  readonly #memory: Uint8Array<ArrayBuffer>;
  readonly #connection: Connection;
  readonly #submission = new Submission();
  readonly #waiters: (Waiter | null)[] = new Array(ADMIN_QUEUE_SLOTS).fill(null);
  readonly #slots = new AdminSlots<Waiter>(ADMIN_QUEUE_SLOTS);
  readonly #turn: Task;
  readonly #onEnd: (reason: string) => void;
  #onReady: (() => void) | null;
  #isOpen = true;

  /** `onReady` is called after the IC exchange, `onEnd` when it is over for any cause other than `close()`. */
  constructor(shared: HostShared, socket: Socket, events: { onReady: () => void; onEnd: (reason: string) => void }) {
    this.#clock = shared.clock;
    this.#pool = shared.pool;
    this.#onReady = events.onReady;
    this.#onEnd = events.onEnd;
    this.#memory = shared.pool.take(roundUp(OWN_OFFSET + Connection.arenaBytes(ADMIN_QUEUE_SLOTS, RECEIVE_BYTES)));
    this.#connection = new Connection({
      memory: this.#memory,
      arenaOffset: OWN_OFFSET,
      depth: ADMIN_QUEUE_SLOTS,
      inCapsuleBytes: ADMIN_IN_CAPSULE_BYTES,
      receiveBytes: RECEIVE_BYTES,
      takesShortReads: true,
      crc32c: crcOf(this.#memory),
    });
    this.#turn = new Task(shared.clock, () => this.#handleTurn());
    const wake = () => this.#turn.soon();
    // The main thread sends without waiting: what a socket took is sent.
    const manners = { ...shared.manners, sendDelayMs: 0 };
    this.link = new Link(shared.clock, {
      ...shared,
      manners,
      socket,
      machine: this.#connection,
      memory: this.#memory,
      dataEnd: OWN_OFFSET,
      digests: () => shared.digests,
      wake,
    });
    this.#connection.start(shared.digests);
    this.#turn.soon();
  }

  get isOpen(): boolean {
    return this.#isOpen;
  }

  /** Commands in flight. */
  get inFlight(): number {
    return this.#connection.inFlight;
  }

  /** Sends a command; no answer in `timeoutMs` (null: for ever) fails the connection. */
  request(command: AdminCommand, timeoutMs: number | null, done: (answer: CommandAnswer | null) => void): void {
    // A connection that has failed is ended in this turn.
    if (!this.#isOpen || this.#connection.state !== "ready") return done(null);
    const expire = () => this.fail(`${command.name} was not answered within ${timeoutMs! / 1000} s`);
    const timer = timeoutMs === null ? null : new Task(this.#clock, expire);
    const waiter: Waiter = { command, done, timer, timeoutMs, retries: 0 };
    const slot = this.#slots.enter(waiter);
    if (slot >= 0) this.#begin(waiter, slot);
    this.#turn.soon();
  }

  #begin(waiter: Waiter, slot: number): void {
    waiter.timer?.in(waiter.timeoutMs!);
    this.#waiters[slot] = waiter;
    this.#submit(waiter.command, slot);
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

  /** Carries out what a sequence of steps wants; null if the connection is over before, or a step fails. */
  drive<T>(steps: Steps<T>, done: (result: T | null, failure: string, kind: BringUpErrorKind | null) => void): void {
    const go = (answer: CommandAnswer | null): void => {
      let next: IteratorResult<Parameters<typeof this.step>[0], T>;
      try {
        next = steps.next(answer);
      } catch (error) {
        if (!(error instanceof AdminError)) throw error;
        return done(null, error.message, error.kind);
      }
      if (next.done) return done(next.value, "", null);
      this.step(next.value, go, () => done(null, "the connection is over", null));
    };
    go(null);
  }

  step(
    step: { readonly kind: "command"; readonly command: AdminCommand } | { readonly kind: "wait"; readonly ms: number },
    go: (answer: CommandAnswer | null) => void,
    lost: () => void,
  ): void {
    if (step.kind === "wait") return this.#clock.after(step.ms, () => go(null));
    this.request(step.command, ADMIN_TIMEOUT_MS, (answer) => answer === null ? lost() : go(answer));
  }

  #handleTurn(): void {
    if (!this.#isOpen) return;
    this.#takeAnswers();
    if (!this.#isOpen) return;
    const { failure } = this.#connection;
    if (failure !== null) return this.fail(failure.reason);
    this.link.arm();
    if (this.#connection.state !== "ready") return;
    const onReady = this.#onReady;
    this.#onReady = null;
    onReady?.();
  }

  #takeAnswers(): void {
    const { commands } = this.#connection;
    for (let command = this.#connection.pollCompletion(); command >= 0; command = this.#connection.pollCompletion()) {
      const slot = commands.owner[command];
      const waiter = this.#waiters[slot]!;
      const at = slot * ADMIN_DATA_BYTES;
      const answer = {
        status: commands.status[command],
        result0: commands.result0[command],
        result1: commands.result1[command],
        data: waiter.command.dataInBytes > 0 ? this.#memory.slice(at, at + commands.transferred[command]) : null,
      };
      this.#connection.release(command);
      if (this.#isToResend(waiter, answer.status)) {
        waiter.retries++;
        this.#submit(waiter.command, slot);
        continue;
      }
      this.#waiters[slot] = null;
      waiter.timer?.cancel();
      const next = this.#slots.leave(slot);
      if (next !== null) this.#begin(next, slot);
      waiter.done(answer);
      if (!this.#isOpen) return;
    }
  }

  #isToResend({ retries }: Waiter, status: number): boolean {
    const isTransport = (status & (StatusField.CODE_MASK | StatusField.DNR)) === StatusCode.TRANSIENT_TRANSPORT_ERROR;
    return isTransport && retries < TRANSPORT_RETRIES && this.#connection.state === "ready";
  }

  /** Ends the connection for a reason of the host's. */
  fail(reason: string): void {
    if (!this.#isOpen) return;
    this.close();
    this.#onEnd(reason);
  }

  /** Ends the connection; commands that wait are given up. */
  close(): void {
    if (!this.#isOpen) return;
    const pdu = this.#connection.terminationPdu();
    const socket = this.link.leave();
    if (pdu !== null) socket.outgoing.write(pdu, 0, pdu.length);
    socket.close();
    this.#forget();
  }

  /** Gives the socket to somebody else, who goes on with `Connection.adopt()`; null if something is under way on it. */
  handOver(): { socket: Socket; transfer: TransferParameters } | null {
    if (this.#connection.isMidPdu || this.#connection.inFlight > 0) return null;
    const transfer = this.#connection.parameters;
    const socket = this.link.leave();
    this.#forget();
    return { socket, transfer };
  }

  #forget(): void {
    this.#isOpen = false;
    this.#turn.cancel();
    this.#pool.give(this.#memory);
    for (let slot = 0; slot < this.#waiters.length; slot++) {
      const waiter = this.#waiters[slot];
      if (waiter === null) continue;
      this.#waiters[slot] = null;
      waiter.timer?.cancel();
      waiter.done(null);
    }
    for (const waiter of this.#slots.drain()) waiter.done(null);
  }
}
