/** The target's NVM subsystem with its discovery service: who may connect, and what all controllers are told. */

import { assert } from "../base/assert.ts";
import { TARGET_CONTROLLERS_MAX, TARGET_LISTENERS_MAX } from "../base/limits.ts";
import { CNTLID_DYNAMIC, DISCOVERY_NQN, QID_ADMIN } from "../protocol/nvme_fabrics.ts";
import { ADMIN_SQ_ENTRIES_MIN, AnaStateCode } from "../protocol/nvme_log.ts";
import { StatusCode } from "../protocol/nvme_status.ts";
import { type AdminAnswer, failure, refusal, success } from "./admin_answer.ts";
import { AdminCommand } from "./admin_command.ts";
import {
  connectNames,
  type ConnectRefusal,
  type ConnectRequest,
  invalidParameter,
  parseConnect,
  refuseConnect,
  refuseField,
} from "./connect.ts";
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
  /** Where CNTLIDs begin: drawn at each start, so that two targets of one name do not give out the same; 0 unless told. */
  cntlidBase?: number;
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
  /** Who was refused, and why, for people; null if it succeeded. */
  refused: RefusedConnect | null;
}

/** A Connect that was refused. */
export interface RefusedConnect {
  /** As the end of a sentence: "its subsystem NQN is empty". */
  readonly reason: string;
  /** The names that it gave; null where they cannot be read. */
  readonly hostNqn: string | null;
  readonly subsystemNqn: string | null;
}

/** Entries of an admin queue, at most: what ASQSZ of the discovery log says. */
export const ADMIN_QUEUE_ENTRIES_MAX = ADMIN_SQ_ENTRIES_MIN;

/**
 * CNTLIDs of one listener. Each listener has its own, so that after a restart a controller that a host still knows from
 * before is seldom told the CNTLID of a new one at another listener: hosts refuse one that they know twice.
 */
const CNTLIDS_OF_LISTENER = Math.floor(0xffef / TARGET_LISTENERS_MAX);
/** All that are given out, from 1 on. */
export const CNTLIDS = CNTLIDS_OF_LISTENER * TARGET_LISTENERS_MAX;

const NO_SUCH_SUBSYSTEM = "it asks for another subsystem";

const NO_IO: IoTotals = { reads: 0, writes: 0, readBytes: 0, writeBytes: 0, deviceErrors: 0 };

const ANA_STATES: readonly number[] = Object.values(AnaStateCode);

export class Subsystem {
  readonly description: SubsystemDescription;
  readonly #inventory: Inventory;
  readonly #cntlidBase: number;
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
    this.#cntlidBase = deps.cntlidBase ?? 0;
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
    if ("answer" in request) return refused(request, data);
    const { qid, sqEntries, sqFlowControl } = request;
    const outcome = qid === QID_ADMIN
      ? this.#connectAdmin(listener, request, nowMs)
      : this.#connectIo(listener, request);
    if (!(outcome instanceof Controller)) return refused(outcome, data, qid);
    return { answer: success(outcome.cntlid), controller: outcome, qid, sqEntries, sqFlowControl, refused: null };
  }

  /** Makes a controller: of the subsystem, or for discovery. */
  #connectAdmin(listener: number, request: ConnectRequest, nowMs: number): Controller | ConnectRefusal {
    const isDiscovery = request.subsystemNqn === DISCOVERY_NQN;
    if (!isDiscovery && request.subsystemNqn !== this.description.nqn) return refuseField("SUBNQN", NO_SUCH_SUBSYSTEM);
    if (!isDiscovery && !this.#inventory.isHostAllowed(request.hostNqn)) {
      const reason = request.hostNqn === ""
        ? "it gave no host NQN, and not all hosts are allowed"
        : "it is not allowed";
      return refuseConnect(refusal(StatusCode.CONNECT_INVALID_HOST), reason);
    }
    if (request.cntlid !== CNTLID_DYNAMIC) {
      return refuseField(
        "CNTLID",
        `it asks for controller ${request.cntlid}, and controllers are made as they are asked for`,
      );
    }
    if (request.sqEntries > ADMIN_QUEUE_ENTRIES_MAX) {
      return refuseField("SQSIZE", tooDeep(request, ADMIN_QUEUE_ENTRIES_MAX));
    }
    const cntlid = this.#newCntlid(listener);
    // Another host, or another listener, may have room again soon.
    if (cntlid === null) {
      return refuseConnect(failure(StatusCode.CONNECT_CONTROLLER_BUSY), "no more controllers can be made");
    }
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
  #connectIo(listener: number, request: ConnectRequest): Controller | ConnectRefusal {
    if (request.subsystemNqn === DISCOVERY_NQN) return refuseField("QID", "discovery has no I/O queues");
    if (request.subsystemNqn !== this.description.nqn) return refuseField("SUBNQN", NO_SUCH_SUBSYSTEM);
    const controller = this.#controllers.get(request.cntlid);
    if (controller === undefined || controller.isDiscovery || controller.listener !== listener) {
      // Perhaps it was there a moment ago: a new association helps.
      const answer = failure(StatusCode.CONNECT_INVALID_PARAMETERS, invalidParameter("CNTLID").dw0);
      return refuseConnect(answer, `this listener has no controller ${request.cntlid}`);
    }
    const { cntlid } = controller;
    if (controller.hostNqn !== request.hostNqn) return refuseField("HOSTNQN", `controller ${cntlid} is another host's`);
    if (!controller.hostId.every((byte, i) => byte === request.hostId[i])) {
      return refuseField("HOSTID", `controller ${cntlid} belongs to another host ID`);
    }
    const { queueEntriesMax } = this.description.limits;
    if (request.sqEntries > queueEntriesMax) return refuseField("SQSIZE", tooDeep(request, queueEntriesMax));
    const why = controller.refusalOfQueue(request.qid);
    if (why === "QID") return refuseField("QID", `controller ${cntlid} has granted no I/O queue ${request.qid}`);
    if (why !== null) {
      const reason = why === "not-ready"
        ? `controller ${cntlid} is not ready`
        : `controller ${cntlid} has I/O queue ${request.qid} already`;
      return refuseConnect(failure(StatusCode.COMMAND_SEQUENCE_ERROR), reason);
    }
    controller.takeQueue(request.qid);
    return controller;
  }

  /** The next CNTLID of the listener that is free; null if there is none, or if there is no such listener. */
  #newCntlid(listener: number): number | null {
    if (this.#controllers.size >= TARGET_CONTROLLERS_MAX || this.#inventory.listener(listener) === null) return null;
    const last = this.#lastCntlid.get(listener) ?? CNTLIDS_OF_LISTENER - 1;
    for (let step = 1; step <= CNTLIDS_OF_LISTENER; step++) {
      const index = (last + step) % CNTLIDS_OF_LISTENER;
      const cntlid = 1 + (this.#cntlidBase + listener * CNTLIDS_OF_LISTENER + index) % CNTLIDS;
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

/** `data` is what the Connect carried. */
function refused({ answer, reason }: ConnectRefusal, data: Uint8Array, qid: number = QID_ADMIN): ConnectResult {
  const who = { reason, ...connectNames(data) };
  return { answer, controller: null, qid, sqEntries: 0, sqFlowControl: true, refused: who };
}

function tooDeep({ sqEntries }: ConnectRequest, entriesMax: number): string {
  return `its queue has ${sqEntries} entries, more than ${entriesMax}`;
}
