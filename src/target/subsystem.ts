/** The target's NVM subsystem with its discovery service: who may connect, and what all controllers are told. */

import { assert } from "../base/assert.ts";
import { TARGET_CONTROLLERS_MAX, TARGET_LISTENERS_MAX } from "../base/limits.ts";
import { CNTLID_DYNAMIC, DISCOVERY_NQN, QID_ADMIN } from "../spec/nvme_fabrics.ts";
import { ADMIN_SQ_ENTRIES_MIN, AnaStateCode } from "../spec/nvme_log.ts";
import { StatusCode } from "../spec/nvme_status.ts";
import { type AdminAnswer, failure, refusal, success } from "./admin_answer.ts";
import { AdminCommand } from "./admin_command.ts";
import { type ConnectRequest, invalidParameter, parseConnect } from "./connect.ts";
import { Controller } from "./controller.ts";
import type { ListenerDescription, SubsystemDescription } from "./description.ts";
import { mdts } from "./identify_data.ts";
import { Inventory, type IoTotals } from "./inventory.ts";
import type { TargetTable } from "./target_table.ts";

export interface SubsystemDeps {
  /** Filled in by the subsystem from its description; ANA states that are 0 become optimized. */
  table: TargetTable;
  listeners: readonly ListenerDescription[];
  /** The time at the start, milliseconds, for the hours of the SMART log; 0 unless told. */
  nowMs?: number;
  /** I/O of all controllers since the start, for the SMART log; nothing unless told. */
  ioTotals?: () => IoTotals;
}

/** How a Connect ended. */
export interface ConnectResult {
  answer: AdminAnswer;
  /** The controller that the queue belongs to; null if the Connect failed. */
  controller: Controller | null;
  qid: number;
  /** Entries of the queue, not 0's based. */
  sqEntries: number;
  sqFlowControl: boolean;
}

/** Entries of an admin queue, at most: what ASQSZ of the discovery log says. */
export const ADMIN_QUEUE_ENTRIES_MAX = ADMIN_SQ_ENTRIES_MIN;

/**
 * CNTLIDs of one listener. Each listener has its own, so that after a restart a controller that a host still knows from
 * before is seldom told the CNTLID of a new one at another listener: hosts refuse one that they know twice.
 */
const CNTLIDS_OF_LISTENER = Math.floor(0xffef / TARGET_LISTENERS_MAX);

const NO_IO: IoTotals = { reads: 0, writes: 0, readBytes: 0, writeBytes: 0, deviceErrors: 0 };

const ANA_STATES: readonly number[] = Object.values(AnaStateCode);

export class Subsystem {
  readonly description: SubsystemDescription;
  readonly #inventory: Inventory;
  /** By CNTLID. */
  readonly #controllers = new Map<number, Controller>();
  /** The CNTLID that was given last, counted from the first one of its listener. */
  readonly #lastCntlid = new Map<number, number>();

  constructor(description: SubsystemDescription, deps: SubsystemDeps) {
    const { limits } = description;
    assert(mdts(limits.transferBytesMax) > 0, "A transfer has a size that MDTS can say");
    assert(limits.ioQueuesMax >= 1 && limits.queueEntriesMax >= 2, "A controller has an I/O queue of two entries");
    assert(limits.inCapsuleBytes % 16 === 0, "In-capsule data is told in units of 16 bytes");
    this.description = description;
    this.#inventory = new Inventory(description, {
      table: deps.table,
      listeners: deps.listeners,
      startMs: deps.nowMs ?? 0,
      ioTotals: deps.ioTotals ?? (() => NO_IO),
    });
  }

  /** All of them, those of discovery too. */
  get controllers(): Iterable<Controller> {
    return this.#controllers.values();
  }

  controller(cntlid: number): Controller | null {
    return this.#controllers.get(cntlid) ?? null;
  }

  get listeners(): readonly ListenerDescription[] {
    return this.#inventory.listeners;
  }

  // ── Connect ───────────────────────────────────────────────────────────────────────────────────────────────────────

  /** Answers a Connect that came to the listener; `data` is what its capsule carried. */
  connect(listener: number, sqe: Uint32Array, data: Uint8Array, nowMs: number): ConnectResult {
    const request = parseConnect(new AdminCommand(sqe), data);
    if ("status" in request) return refused(request);
    const { qid, sqEntries, sqFlowControl } = request;
    const outcome = qid === QID_ADMIN
      ? this.#connectAdmin(listener, request, nowMs)
      : this.#connectIo(listener, request);
    if (!(outcome instanceof Controller)) return refused(outcome, qid);
    return { answer: success(outcome.cntlid), controller: outcome, qid, sqEntries, sqFlowControl };
  }

  /** Makes a controller: of the subsystem, or for discovery. */
  #connectAdmin(listener: number, request: ConnectRequest, nowMs: number): Controller | AdminAnswer {
    const isDiscovery = request.subsystemNqn === DISCOVERY_NQN;
    if (!isDiscovery && request.subsystemNqn !== this.description.nqn) return invalidParameter("SUBNQN");
    if (!isDiscovery && !this.#inventory.isHostAllowed(request.hostNqn)) {
      return refusal(StatusCode.CONNECT_INVALID_HOST);
    }
    if (request.cntlid !== CNTLID_DYNAMIC) return invalidParameter("CNTLID");
    if (request.sqEntries > ADMIN_QUEUE_ENTRIES_MAX) return invalidParameter("SQSIZE");
    const cntlid = this.#newCntlid(listener);
    // Another host, or another listener, may have room again soon.
    if (cntlid === null) return failure(StatusCode.CONNECT_CONTROLLER_BUSY);
    const controller = new Controller({
      cntlid,
      listener,
      hostNqn: request.hostNqn,
      hostId: request.hostId,
      isDiscovery,
      katoMs: request.katoMs,
      nowMs,
      inventory: this.#inventory,
      ioCntlids: () => this.#ioCntlids(),
    });
    this.#controllers.set(cntlid, controller);
    return controller;
  }

  /** Adds a queue to a controller of the same host, subsystem and listener. */
  #connectIo(listener: number, request: ConnectRequest): Controller | AdminAnswer {
    if (request.subsystemNqn === DISCOVERY_NQN) return invalidParameter("QID");
    if (request.subsystemNqn !== this.description.nqn) return invalidParameter("SUBNQN");
    const controller = this.#controllers.get(request.cntlid);
    if (controller === undefined || controller.isDiscovery || controller.listener !== listener) {
      // Perhaps it was there a moment ago: a new association helps.
      return failure(StatusCode.CONNECT_INVALID_PARAMETERS, invalidParameter("CNTLID").dw0);
    }
    if (controller.hostNqn !== request.hostNqn) return invalidParameter("HOSTNQN");
    if (!controller.hostId.every((byte, i) => byte === request.hostId[i])) return invalidParameter("HOSTID");
    if (request.sqEntries > this.description.limits.queueEntriesMax) return invalidParameter("SQSIZE");
    const why = controller.refusalOfQueue(request.qid);
    if (why === "QID") return invalidParameter("QID");
    if (why !== null) return failure(StatusCode.COMMAND_SEQUENCE_ERROR);
    controller.takeQueue(request.qid);
    return controller;
  }

  /** The next CNTLID of the listener that is free; null if there is none, or if there is no such listener. */
  #newCntlid(listener: number): number | null {
    if (this.#controllers.size >= TARGET_CONTROLLERS_MAX || this.#inventory.listener(listener) === null) return null;
    const last = this.#lastCntlid.get(listener) ?? CNTLIDS_OF_LISTENER - 1;
    for (let step = 1; step <= CNTLIDS_OF_LISTENER; step++) {
      const index = (last + step) % CNTLIDS_OF_LISTENER;
      const cntlid = 1 + listener * CNTLIDS_OF_LISTENER + index;
      if (this.#controllers.has(cntlid)) continue;
      this.#lastCntlid.set(listener, index);
      return cntlid;
    }
    return null;
  }

  #ioCntlids(): number[] {
    return [...this.#controllers.values()].filter(({ isDiscovery }) => !isDiscovery).map(({ cntlid }) => cntlid);
  }

  /** The controller's admin connection is over, and all its I/O connections are. */
  remove(controller: Controller): void {
    if (!this.#controllers.delete(controller.cntlid) || controller.isDiscovery) return;
    const { stateName } = controller;
    if (stateName !== "shut-down" && stateName !== "disabled") this.#inventory.unsafeShutdowns++;
  }

  // ── changes ───────────────────────────────────────────────────────────────────────────────────────────────────────

  /** Changes the ANA state (`AnaStateCode`) of a listener and tells the hosts. */
  setAna(listener: number, state: number, _nowMs: number): void {
    assert(ANA_STATES.includes(state), "An ANA state is checked where it is read from the user");
    if (!this.#inventory.setAna(listener, state)) return;
    for (const controller of this.controllers) if (controller.listener === listener) controller.handleAnaChange();
  }

  /** Changes the size of a namespace and tells the hosts. */
  resize(nsid: number, blocks: number): void {
    const namespace = this.#namespace(nsid);
    assert(Number.isSafeInteger(blocks) && blocks > 0, "A size is checked where it is read from the user");
    if (this.#inventory.blocks(namespace) === blocks) return;
    this.#inventory.table.setBlocks(namespace.index, blocks);
    this.#tellNamespaceChange(nsid);
  }

  /** Changes whether a namespace takes writes and tells the hosts. */
  setReadOnly(nsid: number, readOnly: boolean): void {
    const namespace = this.#namespace(nsid);
    if (this.#inventory.isReadOnly(namespace) === readOnly) return;
    this.#inventory.table.setReadOnly(namespace.index, readOnly);
    this.#tellNamespaceChange(nsid);
  }

  #namespace(nsid: number) {
    const namespace = this.#inventory.namespace(nsid);
    assert(namespace !== null, `There is a namespace ${nsid}: it is checked where it is read from the user`);
    return namespace;
  }

  #tellNamespaceChange(nsid: number): void {
    for (const controller of this.controllers) controller.handleNamespaceChange(nsid);
  }

  addListener(listener: ListenerDescription): void {
    this.#inventory.addListener(listener);
    this.#tellDiscoveryChange();
  }

  /** Takes a listener out of the discovery log; its controllers stay until they are removed. */
  removeListener(index: number): void {
    if (this.#inventory.removeListener(index)) this.#tellDiscoveryChange();
  }

  #tellDiscoveryChange(): void {
    for (const controller of this.controllers) controller.handleDiscoveryChange();
  }
}

function refused(answer: AdminAnswer, qid: number = QID_ADMIN): ConnectResult {
  return { answer, controller: null, qid, sqEntries: 0, sqFlowControl: true };
}
