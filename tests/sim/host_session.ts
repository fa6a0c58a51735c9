import { type AnaLog, type AnaState, anaStateOf } from "../../src/nvme/ana.ts";
import { anaLogPlan, readAnaLog } from "../../src/nvme/ana_log.ts";
import { parseAsyncEvent } from "../../src/nvme/async_event.ts";
import { bringUp, type BringUpOptions, type ConnectedController } from "../../src/nvme/bring_up.ts";
import {
  asyncEventRequestCommand,
  changedNamespaceListCommand,
  connectIoQueueCommand,
  identifyControllerCommand,
  keepAliveCommand,
} from "../../src/nvme/commands.ts";
import type { TransferParameters } from "../../src/nvme/connection.ts";
import { KeepAlive } from "../../src/nvme/keep_alive.ts";
import { readNamespace } from "../../src/nvme/namespace_steps.ts";
import { reset, shutdown } from "../../src/nvme/retire.ts";
import { ADMIN_TIMEOUT_MS } from "../../src/base/limits.ts";
import { Task } from "./clock.ts";
import { HostAdmin, type HostShared } from "./host_admin.ts";
import type { Socket } from "./network.ts";

const RETIRE_TIMEOUT_MS = 1_000;
const EVENT_PAUSE_MS = 10;

export interface OpenQueue {
  readonly socket: Socket;
  readonly transfer: TransferParameters;
}

export interface SessionOptions {
  readonly connectTimeoutMs: number;
  readonly queues: number;
  readonly bringUp: BringUpOptions;
  /** Connects over TCP; null if that is refused. It may never be answered. */
  readonly connect: (done: (socket: Socket | null) => void) => void;
}

/** What a session tells. */
export interface SessionEvents {
  /** The controller is up, and all its I/O queues are connected. */
  handleUp(queues: OpenQueue[]): void;
  /** It did not come up, or the admin queue is over. Not after `abandon()`. */
  handleLost(reason: string): void;
  handleAna(state: AnaState): void;
  /** Attributes of the namespace have changed. */
  handleNamespaceChange(): void;
}

/** One association with one controller: `ControllerSession` in simulation. */
export class HostSession {
  controller: ConnectedController | null = null;
  /** The namespace has changed since bring-up. */
  hasNamespaceChanged = false;
  readonly #shared: HostShared;
  readonly #options: SessionOptions;
  readonly #events: SessionEvents;
  readonly #timeout: Task;
  readonly #keepAliveTask: Task;
  #admin: HostAdmin | null = null;
  /** I/O queues that are being connected, and those that are. */
  readonly #connecting = new Set<HostAdmin>();
  #open: (OpenQueue | null)[] = [];
  #isUp = false;
  #isOver = false;
  #isReadingAna = false;
  #isAnaStale = false;
  #ana: AnaState = "inaccessible";

  constructor(shared: HostShared, options: SessionOptions, events: SessionEvents) {
    this.#shared = shared;
    this.#options = options;
    this.#events = events;
    this.#timeout = new Task(shared.clock, () => this.#lose("it did not come up in time"));
    this.#keepAliveTask = new Task(shared.clock, () => this.#checkKeepAlive());
    this.#timeout.in(options.connectTimeoutMs);
    options.connect((socket) => this.#handleConnected(socket));
  }

  get ana(): AnaState {
    return this.#ana;
  }

  get admin(): HostAdmin | null {
    return this.#admin;
  }

  #handleConnected(socket: Socket | null): void {
    if (this.#isOver) return socket?.close();
    if (socket === null) return this.#lose("connection refused");
    this.#admin = new HostAdmin(this.#shared, socket, {
      onReady: () =>
        this.#admin!.drive(
          bringUp(this.#options.bringUp),
          (controller, why) => this.#handleController(controller, why),
        ),
      onEnd: (reason) => this.#lose(reason),
    });
  }

  #handleController(controller: ConnectedController | null, why: string): void {
    if (this.#isOver) return;
    if (controller === null) return this.#lose(why);
    this.controller = controller;
    this.#ana = this.#stateIn(controller.anaLog);
    this.#startKeepAlive(controller);
    if (controller.asyncEvents !== 0) this.#listen();
    const queues = Math.min(controller.queues, this.#options.queues);
    this.#open = new Array(queues).fill(null);
    for (let qid = 1; qid <= queues; qid++) this.#openQueue(qid, controller);
  }

  #stateIn(log: AnaLog | null): AnaState {
    return log === null ? "optimized" : anaStateOf(log, this.controller!.namespace);
  }

  // ── I/O queues ────────────────────────────────────────────────────────────────────────────────────────────────────

  #openQueue(qid: number, { queueDepth, cntlid }: ConnectedController): void {
    this.#options.connect((socket) => {
      if (this.#isOver) return socket?.close();
      if (socket === null) return this.#lose("connection of an I/O queue refused");
      const { hostId, hostNqn, subsystemNqn } = this.#options.bringUp;
      const command = connectIoQueueCommand({ qid, queueDepth, cntlid, hostId, hostNqn, subsystemNqn });
      const connection: HostAdmin = new HostAdmin(this.#shared, socket, {
        onReady: () =>
          connection.request(command, null, (answer) => this.#handleQueue(qid, connection, answer?.status ?? -1)),
        onEnd: (reason) => this.#lose(`its I/O queue ${qid}: ${reason}`),
      });
      this.#connecting.add(connection);
    });
  }

  #handleQueue(qid: number, connection: HostAdmin, status: number): void {
    if (this.#isOver || !connection.isOpen) return;
    if (status !== 0) return this.#lose(`its I/O queue ${qid} is refused`);
    const open = connection.handOver();
    if (open === null) return this.#lose("the controller sent what nobody asked for");
    this.#connecting.delete(connection);
    this.#open[qid - 1] = open;
    if (this.#open.includes(null)) return;
    this.#timeout.cancel();
    this.#isUp = true;
    const queues = this.#open as OpenQueue[];
    this.#open = [];
    this.#events.handleUp(queues);
  }

  // ── keep alive and events ─────────────────────────────────────────────────────────────────────────────────────────

  #keepAlive: KeepAlive | null = null;

  #startKeepAlive({ keepAliveMs }: ConnectedController): void {
    if (keepAliveMs === null || keepAliveMs === 0) return;
    this.#keepAlive = new KeepAlive({ keepAliveMs, nowMs: this.#shared.clock.nowMs });
    this.#checkKeepAlive();
  }

  #checkKeepAlive(): void {
    const { clock } = this.#shared;
    const keepAlive = this.#keepAlive, admin = this.#admin;
    if (keepAlive === null || admin === null || !admin.isOpen) return;
    const order = keepAlive.poll(clock.nowMs);
    if (order === "dead") return admin.fail("it does not answer keep-alives");
    if (order === "send") {
      admin.request(keepAliveCommand(), null, (answer) => answer !== null && keepAlive.handleAnswer(clock.nowMs));
    }
    this.#keepAliveTask.in(Math.max(keepAlive.nextDeadlineMs - clock.nowMs, 10));
  }

  #listen(): void {
    if (this.#isOver || this.#admin?.isOpen !== true) return;
    this.#admin.request(asyncEventRequestCommand(), null, (answer) => {
      if (answer === null || answer.status !== 0) return;
      const { kind } = parseAsyncEvent(answer.result0);
      if (kind === "ana-change") this.readAna();
      if (kind === "namespace-change") this.#handleNamespaceChange();
      this.#shared.clock.after(EVENT_PAUSE_MS, () => this.#listen());
    });
  }

  #handleNamespaceChange(): void {
    this.#admin?.request(changedNamespaceListCommand(), ADMIN_TIMEOUT_MS, (answer) => {
      if (answer === null || this.#isOver) return;
      this.hasNamespaceChanged = true;
      this.#events.handleNamespaceChange();
    });
  }

  /** Asks again how many blocks the namespace has; null and why if it does not say. */
  readNamespace(done: (blocks: number | null, why: string) => void): void {
    const { nsid, subsystemNqn } = this.#options.bringUp;
    const steps = readNamespace(this.controller!, { nsid, subsystemNqn });
    this.#admin!.drive(steps, (known, why) => done(known === null ? null : known.limits.blocks, why));
  }

  /** Reads the ANA log; whoever asks during a read gets another one after it. */
  readAna(): void {
    if (this.#isReadingAna) {
      this.#isAnaStale = true;
      return;
    }
    const controller = this.controller;
    if (this.#isOver || controller === null) return;
    const plan = anaLogPlan(controller.controller, controller.limits.maxTransferBytes);
    if (plan === null) return;
    this.#isReadingAna = true;
    this.#admin?.drive(readAnaLog(plan), (log) => {
      this.#isReadingAna = false;
      const isStale = this.#isAnaStale;
      this.#isAnaStale = false;
      if (log === null) return;
      const state = this.#stateIn(log);
      if (state !== this.#ana) {
        this.#ana = state;
        this.#events.handleAna(state);
      }
      if (isStale) this.readAna();
    });
  }

  /** Whether the controller answers a question that is asked now. */
  answers(done: (isAnswered: boolean) => void): void {
    const admin = this.#admin;
    if (admin === null || !admin.isOpen) return done(false);
    admin.request(identifyControllerCommand(), ADMIN_TIMEOUT_MS, (answer) => done(answer !== null));
  }

  // ── end ───────────────────────────────────────────────────────────────────────────────────────────────────────────

  #lose(reason: string): void {
    if (this.#isOver) return;
    this.abandon();
    this.#events.handleLost(reason);
  }

  /** Resets the controller over the admin queue, if that lives; true: it executes nothing any more. */
  reset(done: (isReset: boolean) => void): void {
    this.#retire(reset(RETIRE_TIMEOUT_MS), done);
  }

  /** Ends the association in order. */
  close(done: () => void): void {
    this.#retire(shutdown(RETIRE_TIMEOUT_MS), () => {
      this.abandon();
      done();
    });
  }

  #retire(steps: ReturnType<typeof reset>, done: (isDone: boolean) => void): void {
    const admin = this.#admin;
    if (admin === null || !admin.isOpen) return done(false);
    const timer = new Task(this.#shared.clock, () => admin.close());
    timer.in(2 * RETIRE_TIMEOUT_MS);
    admin.drive(steps, (result) => {
      timer.cancel();
      done(result === true);
    });
  }

  /** Ends the association at once. */
  abandon(): void {
    if (this.#isOver) return;
    this.#isOver = true;
    this.#timeout.cancel();
    this.#keepAliveTask.cancel();
    this.#admin?.close();
    for (const connection of this.#connecting) connection.close();
    if (!this.#isUp) { for (const queue of this.#open) queue?.socket.close(); }
  }

  get isOver(): boolean {
    return this.#isOver;
  }
}
