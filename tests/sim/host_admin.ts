import { ADMIN_TIMEOUT_MS } from "../../src/base/limits.ts";
import type { Prng } from "../../src/base/prng.ts";
import { AdminQueue } from "../../src/control/admin_queue.ts";
import type { AdminCommand } from "../../src/nvme_host/commands.ts";
import type { Digests, TransferParameters } from "../../src/nvme_host/connection.ts";
import { AdminError, type BringUpErrorKind, type CommandAnswer, type Steps } from "../../src/nvme_host/steps.ts";
import { type Clock, Task } from "./clock.ts";
import { crcOf } from "./crc.ts";
import { Link, type LinkManners } from "./link.ts";
import type { Socket } from "./network.ts";
import type { MemoryPool } from "./pool.ts";
import { roundUp } from "./target_io.ts";

export interface HostShared {
  readonly clock: Clock;
  readonly prng: Prng;
  readonly pool: MemoryPool;
  readonly manners: LinkManners;
  readonly digests: Digests;
}

/** Hears of the answer; null: the connection is over. */
type Done = (answer: CommandAnswer | null) => void;

/** The driver of an `AdminQueue` in simulation: its socket, its timer and who asked. */
export class HostAdmin {
  readonly link: Link<AdminQueue>;
  readonly #clock: Clock;
  readonly #pool: MemoryPool;
  readonly #memory: Uint8Array<ArrayBuffer>;
  readonly #queue: AdminQueue;
  readonly #waiting = new Map<number, Done>();
  readonly #turn: Task;
  readonly #timer: Task;
  readonly #onEnd: (reason: string) => void;
  #onReady: (() => void) | null;
  #isOpen = true;

  /** `onReady` is called after the IC exchange, `onEnd` when it is over for any cause other than `close()`. */
  constructor(shared: HostShared, socket: Socket, events: { onReady: () => void; onEnd: (reason: string) => void }) {
    this.#clock = shared.clock;
    this.#pool = shared.pool;
    this.#onReady = events.onReady;
    this.#onEnd = events.onEnd;
    this.#memory = shared.pool.take(roundUp(AdminQueue.bytes));
    this.#queue = new AdminQueue({ memory: this.#memory, crc32c: crcOf(this.#memory) });
    this.#turn = new Task(shared.clock, () => this.#handleTurn());
    this.#timer = new Task(shared.clock, () => this.#handleTime());
    const wake = () => this.#turn.soon();
    // The main thread sends without waiting: what a socket took is sent.
    const manners = { ...shared.manners, sendDelayMs: 0 };
    this.link = new Link(shared.clock, {
      ...shared,
      manners,
      socket,
      machine: this.#queue,
      memory: this.#memory,
      dataEnd: AdminQueue.dataEnd,
      digests: () => shared.digests,
      wake,
    });
    this.#queue.start(shared.digests);
    this.#turn.soon();
  }

  get isOpen(): boolean {
    return this.#isOpen;
  }

  /** Commands in flight. */
  get inFlight(): number {
    return this.#queue.inFlight;
  }

  /** Sends a command; no answer in `timeoutMs` (null: for ever) fails the connection. */
  request(command: AdminCommand, timeoutMs: number | null, done: Done): void {
    // A connection that has failed is ended in this turn.
    if (!this.#isOpen || this.#queue.state !== "ready") return done(null);
    this.#waiting.set(this.#queue.request(command, { timeoutMs, nowMs: this.#clock.nowMs }), done);
    this.#turn.soon();
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
    this.#queue.settle(this.#clock.nowMs);
    this.#carryOut();
    if (!this.#isOpen) return;
    this.link.arm();
    if (!this.#queue.isReady) return;
    const onReady = this.#onReady;
    this.#onReady = null;
    onReady?.();
  }

  #handleTime(): void {
    if (!this.#isOpen) return;
    this.#queue.settle(this.#clock.nowMs);
    this.#queue.handleTime(this.#clock.nowMs);
    this.#carryOut();
  }

  /** Tells answers, sets the timer, and ends with the queue. */
  #carryOut(): void {
    for (let told = this.#queue.pollAnswer(); told !== null; told = this.#queue.pollAnswer()) {
      const done = this.#waiting.get(told.ticket)!;
      this.#waiting.delete(told.ticket);
      done(told.answer);
    }
    this.#queue.invariants();
    const { loss } = this.#queue;
    if (loss !== null) return this.#end(loss.reason);
    if (this.#queue.nextDueMs < Infinity) this.#timer.in(Math.max(this.#queue.nextDueMs - this.#clock.nowMs, 0));
    else this.#timer.cancel();
  }

  /** Ends the connection for a reason of the host's. */
  fail(reason: string): void {
    if (!this.#isOpen) return;
    this.#queue.fail(reason);
    this.#carryOut();
  }

  #end(reason: string): void {
    if (!this.#isOpen) return;
    this.#leave();
    this.#onEnd(reason);
  }

  /** Ends the connection; commands that wait are given up. */
  close(): void {
    if (!this.#isOpen) return;
    this.#leave();
    this.#queue.fail("the connection was closed");
    this.#carryOut();
  }

  #leave(): void {
    const pdu = this.#queue.terminationPdu();
    const socket = this.link.leave();
    if (pdu !== null) socket.outgoing.write(pdu, 0, pdu.length);
    socket.close();
    this.#forget();
  }

  /** Gives the socket to somebody else, who goes on with `Connection.adopt()`; null if something is under way on it. */
  handOver(): { socket: Socket; transfer: TransferParameters } | null {
    const transfer = this.#queue.handOver();
    if (transfer === null) {
      this.#carryOut();
      return null;
    }
    const socket = this.link.leave();
    this.#forget();
    this.#carryOut();
    return { socket, transfer };
  }

  #forget(): void {
    this.#isOpen = false;
    this.#turn.cancel();
    this.#timer.cancel();
    this.#pool.give(this.#memory);
  }
}
