/**
 * One controller of the target: it takes the commands of its admin queue, in its state, with its features, events, logs
 * and keep alive. Fabrics commands but Connect are here; Connect is the subsystem's.
 *
 * Contract: commands are given to `handleCommand` in the order in which they came, and time to `handleTime` after them.
 * After either, and after a change of the subsystem, `pollTask` and `pollEvent` are to be drained.
 */

import {
  ABORT_NOT_ABORTED,
  AdminOpcode,
  FABRICS_OPCODE,
  FabricsType,
  LogId,
  SQE_FCTYPE_AT,
  SQE_FLAGS_FUSE_MASK,
  SQE_FLAGS_PSDT_MASK,
  SQE_FLAGS_PSDT_SGL,
  SqeAt,
} from "../protocol/nvme.ts";
import { PROPERTY_SIZE_MASK, PropertyCommandAt, PropertySize, QID_ADMIN } from "../protocol/nvme_fabrics.ts";
import { PropertyAt } from "../protocol/nvme_property.ts";
import { StatusCode, StatusField } from "../protocol/nvme_status.ts";
import { type AdminAnswer, failure, refusal, success } from "./admin_answer.ts";
import { AdminCommand } from "./admin_command.ts";
import { AsyncEvents, type ParkedAnswer } from "./async_events.ts";
import { capabilities, READY_TIMEOUT_UNITS } from "./capabilities.ts";
import { ControllerState, type ControllerStateName } from "./controller_state.ts";
import { discoveryPage } from "./discovery.ts";
import { type CommandError, ErrorLog } from "./error_log.ts";
import { Features } from "./features.ts";
import { getLogPage, type LogRequest, wantsGroupsOnly } from "./get_log_page.ts";
import { identify } from "./identify.ts";
import { DISCOVERY_EVENTS_OFFERED, IO_EVENTS_OFFERED, NVME_VERSION } from "./identify_data.ts";
import type { Inventory } from "./inventory.ts";
import { KeepAliveTimer } from "./keep_alive_timer.ts";
import {
  anaPage,
  changedNamespacesPage,
  commandsSupportedPage,
  DISCOVERY_LOGS,
  firmwareSlotPage,
  IO_LOGS,
  smartPage,
  supportedLogsPage,
} from "./log_data.ts";

export type { ParkedAnswer } from "./async_events.ts";

export interface ControllerOptions {
  cntlid: number;
  /** Index of the listener that its admin connection came to. */
  listener: number;
  hostNqn: string;
  /** 16 bytes. */
  hostId: Uint8Array;
  isDiscovery: boolean;
  /** Keep alive timeout that Connect asked for, milliseconds. */
  katoMs: number;
  nowMs: number;
  inventory: Inventory;
  /** CNTLIDs of the I/O controllers that there are. */
  ioCntlids: () => number[];
}

/** What {@linkcode Controller.pollTask} asks for. */
export type ControllerTask = "close-io-queues";

/** Where in the SQE a failure of this code is to be found, bytes. */
const ERROR_LOCATIONS: Readonly<Record<number, number>> = Object.freeze({
  [StatusCode.INVALID_OPCODE]: SqeAt.OPC,
  [StatusCode.INVALID_NAMESPACE_OR_FORMAT]: SqeAt.NSID,
  [StatusCode.INVALID_LOG_PAGE]: SqeAt.CDW10,
});

export class Controller {
  readonly cntlid: number;
  readonly listener: number;
  readonly hostNqn: string;
  readonly hostId: Uint8Array;
  readonly isDiscovery: boolean;

  readonly #inventory: Inventory;
  readonly #ioCntlids: () => number[];
  readonly #state: ControllerState;
  readonly #keepAlive: KeepAliveTimer;
  readonly #features: Features;
  readonly #events = new AsyncEvents();
  readonly #errors = new ErrorLog();
  readonly #changedNamespaces = new Set<number>();
  /** I/O queues that are connected. */
  readonly #queues = new Set<number>();

  constructor(options: ControllerOptions) {
    this.cntlid = options.cntlid;
    this.listener = options.listener;
    this.hostNqn = options.hostNqn;
    this.hostId = options.hostId;
    this.isDiscovery = options.isDiscovery;
    this.#inventory = options.inventory;
    this.#ioCntlids = options.ioCntlids;
    this.#state = new ControllerState({
      isDiscovery: options.isDiscovery,
      hasIoQueues: () => this.#queues.size > 0,
    });
    this.#keepAlive = new KeepAliveTimer(options.katoMs, options.nowMs);
    this.#features = new Features(this.#featuresHost());
  }

  get stateName(): ControllerStateName {
    return this.#state.name;
  }

  /** KATO as it holds, milliseconds; 0 is none. */
  get katoMs(): number {
    return this.#keepAlive.katoMs;
  }

  /** I/O queues that are connected, in rising order. */
  get ioQueues(): number[] {
    return [...this.#queues].sort((a, b) => a - b);
  }

  #featuresHost() {
    // deno-lint-ignore no-this-alias
    const controller = this;
    return {
      isDiscovery: this.isDiscovery,
      hostId: this.hostId,
      ioQueuesMax: this.#inventory.description.limits.ioQueuesMax,
      hasVolatileCache: this.#inventory.hasVolatileCache,
      eventsOffered: this.isDiscovery ? DISCOVERY_EVENTS_OFFERED : IO_EVENTS_OFFERED,
      get hasIoQueues() {
        return controller.#queues.size > 0;
      },
      get eventConfig() {
        return controller.#events.config;
      },
      set eventConfig(config: number) {
        controller.#events.setConfig(config);
      },
      get katoMs() {
        return controller.#keepAlive.katoMs;
      },
      setKato: (katoMs: number, nowMs: number) => controller.#setKato(katoMs, nowMs),
      isActiveNamespace: (nsid: number) => controller.#inventory.namespace(nsid) !== null,
    };
  }

  // ── commands ──────────────────────────────────────────────────────────────────────────────────────────────────────

  /** Bytes that the host has to send for this command: the data to fetch before {@linkcode handleCommand}. */
  dataNeeded(sqe: Uint32Array): number {
    const command = new AdminCommand(sqe);
    return command.opcode === AdminOpcode.SET_FEATURES ? this.#features.dataNeeded(command) : 0;
  }

  /**
   * Executes an admin or Fabrics command of the admin queue. Null: an event request, whose slot is to be given to
   * {@linkcode park} now.
   */
  handleCommand(sqe: Uint32Array, data: Uint8Array | null, nowMs: number): AdminAnswer | null {
    const command = new AdminCommand(sqe);
    this.#keepAlive.handleCommand(command.opcode === AdminOpcode.KEEP_ALIVE, nowMs);
    const answer = this.#execute(command, data, nowMs);
    this.#watchHost(nowMs);
    if (answer === null || answer.status === 0) return answer;
    return this.#recordFailure(command, answer);
  }

  #execute(command: AdminCommand, data: Uint8Array | null, nowMs: number): AdminAnswer | null {
    if (this.isExpired) return failure(StatusCode.KEEP_ALIVE_TIMER_EXPIRED);
    const flags = command.u8(SqeAt.FLAGS);
    if ((flags & SQE_FLAGS_FUSE_MASK) !== 0 || (flags & SQE_FLAGS_PSDT_MASK) !== SQE_FLAGS_PSDT_SGL) {
      return refusal(StatusCode.INVALID_FIELD);
    }
    if (command.opcode === FABRICS_OPCODE) return this.#executeFabrics(command);
    if (command.opcode === AdminOpcode.KEEP_ALIVE) return success();
    const isServing = this.#state.name === "ready" || this.#state.name === "shutting-down";
    if (!isServing) return refusal(StatusCode.COMMAND_SEQUENCE_ERROR);
    return this.#executeAdmin(command, data, nowMs);
  }

  #executeAdmin(command: AdminCommand, data: Uint8Array | null, nowMs: number): AdminAnswer | null {
    switch (command.opcode) {
      case AdminOpcode.IDENTIFY:
        return identify(command, {
          inventory: this.#inventory,
          cntlid: this.cntlid,
          isDiscovery: this.isDiscovery,
          ioCntlids: this.#ioCntlids,
        });
      case AdminOpcode.GET_LOG_PAGE:
        return getLogPage(command, {
          transferBytesMax: this.#inventory.description.limits.transferBytesMax,
          page: (request) => this.#logPage(request, nowMs),
          handleRead: (request) => this.#handleLogRead(request),
        });
      case AdminOpcode.GET_FEATURES:
        return this.#features.get(command);
      case AdminOpcode.SET_FEATURES:
        return this.#features.set(command, data, nowMs);
      case AdminOpcode.ASYNC_EVENT_REQUEST:
        return this.#events.accept(command.cid) ? null : refusal(StatusCode.ASYNC_EVENT_LIMIT_EXCEEDED);
      case AdminOpcode.ABORT:
        // A discovery controller has no Abort (section 3.1.2.3).
        return this.isDiscovery ? refusal(StatusCode.INVALID_OPCODE) : this.#abort(command);
      default:
        return refusal(StatusCode.INVALID_OPCODE);
    }
  }

  /** Whatever is not an event request that waits is answered already, or about to be. */
  #abort({ cdw10 }: AdminCommand): AdminAnswer {
    const sqid = cdw10 & 0xffff, cid = cdw10 >>> 16;
    return success(sqid === QID_ADMIN && this.#events.abort(cid) ? 0 : ABORT_NOT_ABORTED);
  }

  #recordFailure(command: AdminCommand, answer: AdminAnswer): AdminAnswer {
    const code = answer.status & StatusField.CODE_MASK;
    const isFabrics = command.opcode === FABRICS_OPCODE;
    this.recordError({
      sqid: QID_ADMIN,
      cid: command.cid,
      status: answer.status,
      nsid: isFabrics ? 0 : command.nsid,
      ...(code in ERROR_LOCATIONS ? { location: ERROR_LOCATIONS[code] } : {}),
    });
    return { ...answer, status: answer.status | StatusField.MORE };
  }

  /** Keeps a command that failed for the Error Information log; those of the admin queue are kept already. */
  recordError(error: CommandError): void {
    this.#errors.record(error);
  }

  // ── Fabrics commands ──────────────────────────────────────────────────────────────────────────────────────────────

  #executeFabrics(command: AdminCommand): AdminAnswer {
    switch (command.u8(SQE_FCTYPE_AT)) {
      case FabricsType.PROPERTY_GET:
        return this.#getProperty(command);
      case FabricsType.PROPERTY_SET:
        return this.#setProperty(command);
      case FabricsType.CONNECT:
        return refusal(StatusCode.COMMAND_SEQUENCE_ERROR);
      case FabricsType.DISCONNECT:
        // It is for I/O queues (section 6.4).
        return refusal(StatusCode.FABRICS_INVALID_QUEUE_TYPE);
      default:
        // Authentication is not asked for, so it is not taken.
        return refusal(StatusCode.INVALID_OPCODE);
    }
  }

  #getProperty(command: AdminCommand): AdminAnswer {
    const size = command.u8(PropertyCommandAt.ATTRIB) & PROPERTY_SIZE_MASK;
    const property = command.u32(PropertyCommandAt.OFST);
    const wanted = property === PropertyAt.CAP ? PropertySize.BYTES_8 : PropertySize.BYTES_4;
    if (size !== wanted) return refusal(StatusCode.INVALID_FIELD);
    switch (property) {
      case PropertyAt.CAP: {
        const { low, high } = capabilities(this.#inventory.description.limits);
        return success(low, high);
      }
      case PropertyAt.VS:
        return success(NVME_VERSION);
      case PropertyAt.CC:
        return success(this.#state.cc);
      case PropertyAt.CSTS:
        return success(this.#state.csts);
      case PropertyAt.CRTO:
        return success(READY_TIMEOUT_UNITS);
      default:
        return refusal(StatusCode.INVALID_FIELD);
    }
  }

  #setProperty(command: AdminCommand): AdminAnswer {
    const size = command.u8(PropertyCommandAt.ATTRIB) & PROPERTY_SIZE_MASK;
    const isCc = command.u32(PropertyCommandAt.OFST) === PropertyAt.CC;
    if (!isCc || size !== PropertySize.BYTES_4) return refusal(StatusCode.INVALID_FIELD);
    const isReset = this.#state.writeCc(command.u32(PropertyCommandAt.VALUE));
    if (isReset) this.#reset();
    return success();
  }

  #reset(): void {
    this.#events.reset();
    this.#features.reset();
    this.#changedNamespaces.clear();
  }

  // ── logs ──────────────────────────────────────────────────────────────────────────────────────────────────────────

  #logPage(request: LogRequest, nowMs: number): Uint8Array<ArrayBuffer> | null {
    const logs = this.isDiscovery ? DISCOVERY_LOGS : IO_LOGS;
    if (!logs.includes(request.logId)) return null;
    const inventory = this.#inventory;
    switch (request.logId) {
      case LogId.SUPPORTED_LOG_PAGES:
        return supportedLogsPage(logs);
      case LogId.ERROR_INFORMATION:
        return this.#errors.page;
      case LogId.SMART:
        return smartPage(inventory, { errors: this.#errors.count, nowMs });
      case LogId.FIRMWARE_SLOT:
        return firmwareSlotPage();
      case LogId.CHANGED_NAMESPACE_LIST:
        return changedNamespacesPage(this.#changedNamespaces);
      case LogId.COMMANDS_SUPPORTED:
        return commandsSupportedPage();
      case LogId.ASYMMETRIC_NAMESPACE_ACCESS:
        return anaPage(inventory, { listener: this.listener, groupsOnly: wantsGroupsOnly(request) });
      case LogId.FEATURES_SUPPORTED:
        return this.#features.supportedPage;
      case LogId.DISCOVERY:
        return discoveryPage(inventory, this);
      default:
        return null;
    }
  }

  #handleLogRead({ logId }: LogRequest): void {
    if (logId === LogId.CHANGED_NAMESPACE_LIST) this.#changedNamespaces.clear();
    this.#events.handleLogRead(logId);
  }

  // ── events ────────────────────────────────────────────────────────────────────────────────────────────────────────

  /** Keeps the slot of the event request that {@linkcode handleCommand} has just given null for. */
  park(slot: number): void {
    this.#events.park(slot);
  }

  /** The next event request that is to be answered now, or null. */
  pollEvent(): ParkedAnswer | null {
    return this.#events.poll();
  }

  /** The ANA state of its listener has changed. */
  handleAnaChange(): void {
    if (!this.isDiscovery) this.#events.raise("ana-change");
  }

  /** What Identify tells of the namespace has changed. */
  handleNamespaceChange(nsid: number): void {
    if (this.isDiscovery) return;
    this.#changedNamespaces.add(nsid);
    this.#events.raise("namespace-attribute");
  }

  /** A listener has come or gone. */
  handleDiscoveryChange(): void {
    if (this.isDiscovery) this.#events.raise("discovery-log-change");
  }

  // ── keep alive ────────────────────────────────────────────────────────────────────────────────────────────────────

  /** Tells the time, after all commands that have arrived. */
  handleTime(nowMs: number): void {
    if (this.isExpired) return;
    this.#keepAlive.handleTime(nowMs);
    if (!this.isExpired) return;
    this.#state.fail();
    this.recordError({ sqid: QID_ADMIN, cid: 0xffff, status: StatusCode.KEEP_ALIVE_TIMER_EXPIRED, nsid: 0 });
  }

  /** The host has not kept the controller alive: the association is to be ended. */
  get isExpired(): boolean {
    return this.#keepAlive.isExpired;
  }

  /** When {@linkcode handleTime} has something to do next, milliseconds; infinite without keep alive. */
  get nextDeadlineMs(): number {
    return this.#keepAlive.deadlineMs;
  }

  #setKato(katoMs: number, nowMs: number): void {
    this.#keepAlive.setKato(katoMs, nowMs);
  }

  /** The keep alive timer runs while the controller is enabled (section 3.9); else only silence ends it. */
  #watchHost(nowMs: number): void {
    if (this.#state.name !== "ready") this.#keepAlive.watch("silence", nowMs);
    else if (this.#keepAlive.katoMs > 0) this.#keepAlive.watch("keep-alive", nowMs);
    else this.#keepAlive.watch(this.isDiscovery ? "silence" : "off", nowMs);
  }

  // ── I/O queues ────────────────────────────────────────────────────────────────────────────────────────────────────

  /** Why the I/O queue cannot be connected; null if it can. Fields are those of Connect. */
  refusalOfQueue(qid: number): "QID" | "not-ready" | "in-use" | null {
    if (this.isDiscovery || qid > this.#features.grantedQueues) return "QID";
    if (this.#state.name !== "ready") return "not-ready";
    return this.#queues.has(qid) ? "in-use" : null;
  }

  /** An I/O queue is connected; it was asked for before. */
  takeQueue(qid: number): void {
    this.#queues.add(qid);
  }

  /** An I/O connection is closed and quiet: its queue identifier can be connected again. */
  freeQueue(qid: number): void {
    if (this.#queues.delete(qid) && this.#queues.size === 0) this.#state.handleIoQueuesClosed();
  }

  /** What the caller has to do now, told once; null: nothing. */
  pollTask(): ControllerTask | null {
    return this.#state.pollCloseIoQueues() ? "close-io-queues" : null;
  }

  /** The I/O connections are closed and none of their commands is executed any more. */
  handleIoQueuesClosed(): void {
    this.#queues.clear();
    this.#state.handleIoQueuesClosed();
  }
}
