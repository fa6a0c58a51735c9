import { type AnaLog, anaServesIo, type AnaState, anaStateOf } from "../../src/nvme_host/ana.ts";
import { type AnaLogPlan, anaLogPlan, readAnaLog } from "../../src/nvme_host/ana_log.ts";
import { parseAsyncEvent, rearmCommand } from "../../src/nvme_host/async_event.ts";
import { bringUp, type BringUpOptions, type ConnectedController } from "../../src/nvme_host/bring_up.ts";
import {
  asyncEventRequestCommand,
  connectIoQueueCommand,
  identifyControllerCommand,
  keepAliveCommand,
} from "../../src/nvme_host/commands.ts";
import type { TransferParameters } from "../../src/nvme_host/connection.ts";
import { KeepAlive } from "../../src/nvme_host/keep_alive.ts";
import { type Look, Lookout } from "../../src/nvme_host/lookout.ts";
import { type KnownNamespace, readNamespace } from "../../src/nvme_host/namespace_steps.ts";
import { reset, shutdown } from "../../src/nvme_host/retire.ts";
import type { BringUpErrorKind } from "../../src/nvme_host/steps.ts";
import { isLastingRefusal } from "../../src/nvme_host/status.ts";
import { LogId } from "../../src/protocol/nvme.ts";
import { ADMIN_TIMEOUT_MS } from "../../src/base/limits.ts";
import { Task } from "./clock.ts";
import { HostAdmin, type HostShared } from "./host_admin.ts";
import type { Socket } from "./network.ts";
import type { Broken } from "./scenario.ts";

const RETIRE_TIMEOUT_MS = 1_000;

export interface OpenQueue {
  readonly socket: Socket;
  readonly transfer: TransferParameters;
}

export interface SessionOptions {
  readonly connectTimeoutMs: number;
  readonly queues: number;
  readonly bringUp: BringUpOptions;
  readonly broken: Broken;
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
  /** The namespace was read again. */
  handleNamespace(): void;
  /** The controller cannot serve the namespace any more. */
  handleFatal(reason: string): void;
}

/** The controller says plainly that it has no such namespace, or none that can be used. */
function isGone(kind: BringUpErrorKind | null): boolean {
  return kind === "not-found" || kind === "unsupported";
}

/** One association with one controller: `ControllerSession` in simulation. */
export class HostSession {
  controller: ConnectedController | null = null;
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
  readonly #lookTask: Task;
  #lookout: Lookout | null = null;
  #plan: AnaLogPlan | null = null;
  #anaLog: AnaLog | null = null;
  #isListDue = false;
  #ana: AnaState = "inaccessible";

  constructor(shared: HostShared, options: SessionOptions, events: SessionEvents) {
    this.#shared = shared;
    this.#options = options;
    this.#events = events;
    this.#timeout = new Task(shared.clock, () => this.#lose("it did not come up in time"));
    this.#lookTask = new Task(shared.clock, () => this.#turn());
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
          (controller, why, kind) => this.#handleController(controller, why, kind),
        ),
      onEnd: (reason) => this.#lose(reason),
    });
  }

  #handleController(controller: ConnectedController | null, why: string, kind: BringUpErrorKind | null): void {
    if (this.#isOver) return;
    if (isGone(kind)) return this.#events.handleFatal(why);
    if (controller === null) return this.#lose(why);
    this.controller = controller;
    this.#startKeepAlive(controller);
    this.#startLooking(controller);
    const queues = Math.min(controller.queues, this.#options.queues);
    this.#open = new Array(queues).fill(null);
    for (let qid = 1; qid <= queues; qid++) this.#openQueue(qid, controller);
  }

  get #state(): AnaState {
    return this.#anaLog === null ? "optimized" : anaStateOf(this.#anaLog, this.controller!.namespace);
  }

  #startLooking({ controller, limits, anaLog, asyncEvents }: ConnectedController): void {
    this.#plan = anaLogPlan(controller, limits.maxTransferBytes);
    this.#anaLog = anaLog;
    this.#ana = this.#state;
    this.#lookout = new Lookout({
      hasEvents: asyncEvents !== 0,
      reportsAna: this.#plan !== null,
      anaTransitionSeconds: controller.anaTransitionSeconds,
      nowMs: this.#shared.clock.nowMs,
    });
    this.#lookout.setServing(anaServesIo(this.#ana));
    this.#turn();
  }

  // ── I/O queues ────────────────────────────────────────────────────────────────────────────────────────────────────

  #openQueue(qid: number, { queueDepth, cntlid, flowControl }: ConnectedController): void {
    this.#options.connect((socket) => {
      if (this.#isOver) return socket?.close();
      if (socket === null) return this.#lose("connection of an I/O queue refused");
      const { hostId, hostNqn, subsystemNqn } = this.#options.bringUp;
      const command = connectIoQueueCommand({ qid, queueDepth, cntlid, hostId, hostNqn, subsystemNqn, flowControl });
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

  #turn(): void {
    const lookout = this.#lookout, admin = this.#admin;
    if (this.#isOver || lookout === null || admin?.isOpen !== true) return;
    const { nowMs } = this.#shared.clock;
    for (let order = lookout.poll(nowMs); order !== "idle"; order = lookout.poll(nowMs)) {
      if (order === "ask") this.#ask(admin, lookout);
      else if (order === "ana") this.#readAnaLog(admin, lookout);
      else this.#readNamespace(admin, lookout);
    }
    if (lookout.nextDeadlineMs < Infinity) this.#lookTask.in(Math.max(lookout.nextDeadlineMs - nowMs, 1));
  }

  #ask(admin: HostAdmin, lookout: Lookout): void {
    admin.request(asyncEventRequestCommand(), null, (answer) => {
      if (answer === null || this.#isOver) return;
      const { nowMs } = this.#shared.clock;
      if (answer.status !== 0) {
        if (this.#options.broken.neverAsksAgain === true) return;
        lookout.handleRefusal(nowMs);
        return this.#turn();
      }
      const { kind } = parseAsyncEvent(answer.result0);
      if (kind === "persistent-error") return this.#events.handleFatal("its controller reports a persistent error");
      lookout.handleEvent(nowMs);
      if (kind === "ana-change") this.readAna();
      if (kind === "namespace-change") {
        this.#isListDue = true;
        lookout.want("namespace", nowMs);
      }
      this.#turn();
    });
  }

  #want(look: Look): void {
    this.#lookout?.want(look, this.#shared.clock.nowMs);
    this.#turn();
  }

  /** The ANA log is read anew. */
  readAna(): void {
    if (this.#plan?.groupsOnly === true) this.#want("namespace");
    this.#want("ana");
  }

  /** The namespace is read anew. */
  readNamespace(): void {
    this.#want("namespace");
  }

  #readAnaLog(admin: HostAdmin, lookout: Lookout): void {
    admin.drive(readAnaLog(this.#plan!), (log) => {
      if (this.#isOver) return;
      if (log !== null) this.#handleAnaLog(log);
      lookout.handleLooked("ana", log !== null, this.#shared.clock.nowMs);
      this.#turn();
    });
  }

  #handleAnaLog(log: AnaLog): void {
    this.#anaLog = log;
    const state = this.#state;
    if (state === this.#ana) return;
    this.#ana = state;
    this.#lookout!.setServing(anaServesIo(state));
    this.#events.handleAna(state);
  }

  #readNamespace(admin: HostAdmin, lookout: Lookout): void {
    const go = () => {
      const { nsid, subsystemNqn } = this.#options.bringUp;
      admin.drive(readNamespace(this.controller!, { nsid, subsystemNqn }), (known, why, kind) => {
        if (this.#isOver) return;
        if (known !== null) this.#handleNamespace(known);
        lookout.handleLooked("namespace", known !== null, this.#shared.clock.nowMs);
        const isTaken = known === null && this.#options.broken.takesFailuresForGone === true;
        if (isGone(kind) || isTaken) return this.#events.handleFatal(why);
        this.#turn();
      });
    };
    if (!this.#isListDue) return go();
    admin.request(rearmCommand(LogId.CHANGED_NAMESPACE_LIST)!, ADMIN_TIMEOUT_MS, (answer) => {
      if (answer === null || this.#isOver) return;
      if (answer.status === 0 || isLastingRefusal(answer.status)) {
        this.#isListDue = false;
        return go();
      }
      lookout.handleLooked("namespace", false, this.#shared.clock.nowMs);
      this.#turn();
    });
  }

  #handleNamespace(known: KnownNamespace): void {
    const hasMoved = known.namespace.anaGroupId !== this.controller!.namespace.anaGroupId;
    this.controller = { ...this.controller!, ...known };
    if (hasMoved) this.#want("ana");
    this.#events.handleNamespace();
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
    this.#lookTask.cancel();
    this.#admin?.close();
    for (const connection of this.#connecting) connection.close();
    if (!this.#isUp) { for (const queue of this.#open) queue?.socket.close(); }
  }

  get isOver(): boolean {
    return this.#isOver;
  }
}
