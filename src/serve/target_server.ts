import { native } from "../../ffi/library.ts";
import { UmpathError } from "../base/errors.ts";
import { TARGET_HANDSHAKES_MAX } from "../base/limits.ts";
import { logger } from "../base/log.ts";
import { heldBackWords, RateLimit } from "../base/rate_limit.ts";
import { count, quote } from "../base/text.ts";
import { formatSize } from "../base/units.ts";
import { VERSION } from "../base/version.ts";
import { Arena } from "../io/arena.ts";
import type { Poller } from "../io/poller.ts";
import { NSID_ALL } from "../protocol/nvme.ts";
import { ADMIN_IN_CAPSULE_BYTES } from "../protocol/nvme_tcp.ts";
import { StatusCode } from "../protocol/nvme_status.ts";
import type { Controller } from "../nvme_target/controller.ts";
import type { SubsystemDescription } from "../nvme_target/description.ts";
import { IoCounter } from "../nvme_target/io_counters.ts";
import { CNTLIDS, type ConnectResult, type RefusedConnect, Subsystem } from "../nvme_target/subsystem.ts";
import { TargetTable } from "../nvme_target/target_table.ts";
import { AdminQueue } from "./admin_queue.ts";
import { anaCode, anaName } from "../rpc/ana_names.ts";
import type { ControllerInfo, ListenerInfo, ListenSpec, PortalName, TargetApi, TargetInfo } from "../rpc/target_api.ts";
import { Association } from "./association.ts";
import { FaultControl } from "./fault_control.ts";
import { type Connected, type HandedOver, Handshake } from "./handshake.ts";
import { uuidText } from "./identity.ts";
import { IoConnections } from "./io_connections.ts";
import { type Listener, Listeners, listenerWords } from "./listeners.ts";
import type { Namespace } from "./namespaces.ts";
import type { StorageFailure } from "./storage_errors.ts";

const log = logger("serve");

/** Entries of an admin queue at most, and so its commands in flight: far more than any host uses. */
export const ADMIN_ENTRIES_MAX = 128;
/** How often controllers are told the time: it bounds how late a host is missed. */
const TICK_MS = 250;
/** How often it is looked whether another program has cut a file. */
const SIZE_CHECK_MS = 2_000;
/** A host that is refused comes again and again: a few lines say that, and then one in ten seconds. */
const REFUSALS = { burst: 8, perMs: 10_000 };

/** A controller with all its connections. */
interface Session {
  readonly controller: Controller;
  readonly association: Association;
  readonly admin: AdminQueue;
}

/** Counts of I/O connections that are gone, so that a controller's sums do not go back. */
type Sums = [reads: number, writes: number, readBytes: number, writeBytes: number, errors: number];
const SUMMED = [
  IoCounter.READS,
  IoCounter.WRITES,
  IoCounter.READ_BYTES,
  IoCounter.WRITE_BYTES,
  IoCounter.ERRORS,
] as const;

/** What a target serves and with what. */
export interface TargetServerOptions {
  readonly description: SubsystemDescription;
  readonly namespaces: readonly Namespace[];
  readonly workers: number;
  readonly poller: Poller;
  /** A worker has failed: what it served is lost. */
  onWorkerFailed(reason: string): void;
}

/**
 * The target on the main thread: listeners, the connections of hosts until they are connected to a queue, controllers with
 * their admin queues, and what people ask of all that. I/O queues are in the workers.
 */
export class TargetServer {
  /** What goes wrong here on demand. */
  readonly faults: FaultControl;
  readonly #options: TargetServerOptions;
  /** Buffers of the connections of this thread. */
  readonly #arena = new Arena();
  readonly #table: TargetTable;
  readonly #subsystem: Subsystem;
  readonly #connections: IoConnections;
  readonly #listeners: Listeners;
  readonly #sessions = new Map<Controller, Session>();
  readonly #past = new WeakMap<Controller, Sums>();
  #ticking: ReturnType<typeof setInterval> | undefined;
  readonly #sizeChecks: ReturnType<typeof setInterval>;
  readonly #refusals = new RateLimit(REFUSALS);
  #onSessionOver: () => void = () => {};

  private constructor(options: TargetServerOptions, table: TargetTable, connections: IoConnections) {
    this.#options = options;
    this.#table = table;
    this.#connections = connections;
    this.#listeners = new Listeners(options.poller, (listener, fd, peer) => this.#accept(listener, fd, peer));
    const ioTotals = () => connections.totals();
    const cntlidBase = crypto.getRandomValues(new Uint32Array(1))[0]! % CNTLIDS;
    const nowMs = performance.now();
    this.#subsystem = new Subsystem(options.description, { table, listeners: [], nowMs, ioTotals, cntlidBase });
    this.#sizeChecks = setInterval(() => {
      for (const namespace of options.namespaces) this.#checkSize(namespace);
    }, SIZE_CHECK_MS);
    this.faults = new FaultControl({
      listeners: () => this.#listeners.listed.map(({ description }) => description),
      ana: (listener) => table.ana(listener),
      setAna: (listener, state) => this.#setAna(listener, state),
      takeDown: (index) => this.#takeDown(index),
      bringUp: (index) => this.#listeners.bringUp(this.#listeners.at(index)),
      tellWorkers: (plan) => connections.tellFaults(plan),
    });
  }

  /**
   * Starts the workers. Nobody is listened to yet.
   *
   * @throws UmpathError "host-lacks" if this host does not let them run.
   */
  static async start(options: TargetServerOptions): Promise<TargetServer> {
    const table = new TargetTable();
    const { description: { limits }, workers, onWorkerFailed } = options;
    const connections = await IoConnections.start({
      workers,
      namespaces: options.namespaces.map((namespace) => namespace.served),
      table: table.shared,
      transferBytesMax: limits.transferBytesMax,
      inCapsuleBytes: limits.inCapsuleBytes,
      onWorkerFailed,
    });
    return new TargetServer(options, table, connections);
  }

  // ── listeners ───────────────────────────────────────────────────────────────────────────────────────────────────────

  /**
   * Listens there. A place that was removed before has its number again.
   *
   * @throws UmpathError as `Listeners.add()` does.
   */
  listen({ traddr, trsvcid, ana }: ListenSpec): ListenerInfo {
    const code = anaCode(ana);
    const listener = this.#listeners.add({ traddr, trsvcid });
    const { description } = listener;
    this.#subsystem.addListener(description);
    this.#subsystem.setAna(description.index, code, performance.now());
    this.faults.handleListenerAdded();
    this.#tellAll();
    return this.#listenerInfo(listener);
  }

  /**
   * Listens there no more, and ends all connections that came there.
   *
   * @throws UmpathError "not-found" if it is not listened to.
   */
  unlisten(name: PortalName): void {
    const listener = this.#listeners.find(name);
    this.#remove(listener, "the listener was removed");
    this.#tellAll();
    log.info(`Listening on ${listenerWords(listener)} no more`);
  }

  #remove(listener: Listener, reason: string): void {
    const { index } = listener.description;
    this.#subsystem.removeListener(index);
    this.faults.forget(index);
    this.#listeners.remove(listener);
    for (const { admin } of this.#sessionsAt(index)) admin.end(reason);
  }

  #sessionsAt(listener: number): Session[] {
    return [...this.#sessions.values()].filter(({ controller }) => controller.listener === listener);
  }

  #takeDown(index: number): void {
    this.#listeners.takeDown(this.#listeners.at(index));
    for (const { admin } of this.#sessionsAt(index)) admin.reset("the listener went down");
  }

  #listenerWords(index: number): string {
    return listenerWords(this.#listeners.at(index));
  }

  // ── connections ─────────────────────────────────────────────────────────────────────────────────────────────────────

  #accept(listener: Listener, fd: number, peer: string): void {
    const { index } = listener.description;
    const { handshakes } = this.#listeners;
    if (listener.portal === null || handshakes >= TARGET_HANDSHAKES_MAX) {
      const reason = listener.portal === null
        ? "the listener is closed"
        : `${count(handshakes, "connection")} wait for their Connect already`;
      this.#logRefusal({ peer, listener: index }, reason);
      native().um_socket_close(fd, 1);
      return;
    }
    const { limits } = this.#options.description;
    const options = {
      arena: this.#arena,
      faults: { control: this.faults, listener: index },
      fd,
      peer,
      slots: ADMIN_ENTRIES_MAX,
      transferBytesMax: limits.transferBytesMax,
      inCapsuleBytes: ADMIN_IN_CAPSULE_BYTES,
    };
    const handshake: Handshake = new Handshake(this.#options.poller, options, {
      connect: (sqe, data) => {
        const result = this.#connect(index, sqe, data);
        if (result.refused !== null) this.#logRefusal({ peer, listener: index }, connectWords(result.refused));
        return result;
      },
      handleAdmin: (connected, socket) => {
        listener.handshakes.delete(handshake);
        this.#begin(connected.controller, (events) => new AdminQueue({ ...connected, socket, ...events }));
      },
      handleIo: (connected, handedOver) => {
        listener.handshakes.delete(handshake);
        this.#addQueue(connected, handedOver);
      },
      handleIoLost: ({ controller, qid }) => {
        listener.handshakes.delete(handshake);
        controller.freeQueue(qid);
      },
      handleFailed: (reason, isRefused) => {
        listener.handshakes.delete(handshake);
        if (isRefused) this.#logRefusal({ peer, listener: index }, reason);
        else log.debug(`The connection of ${peer} came to nothing: ${reason}`);
      },
    });
    listener.handshakes.add(handshake);
  }

  #connect(listener: number, sqe: Uint32Array, data: Uint8Array): ConnectResult {
    const result = this.#subsystem.connect(listener, sqe, data, performance.now());
    const { controller, qid, sqEntries } = result;
    if (controller === null) return result;
    if (qid > 0 && !this.#connections.isFull) return result;
    if (qid === 0 && sqEntries <= ADMIN_ENTRIES_MAX) return result;
    const reason = qid > 0
      ? "the target has as many I/O queues as it can have"
      : `its admin queue has ${sqEntries} entries, more than ${ADMIN_ENTRIES_MAX}`;
    const refused = { reason, hostNqn: controller.hostNqn, subsystemNqn: this.#options.description.nqn };
    if (qid > 0) controller.freeQueue(qid);
    else this.#subsystem.remove(controller);
    return {
      ...result,
      controller: null,
      refused,
      answer: { status: StatusCode.CONNECT_CONTROLLER_BUSY, dw0: 0, dw1: 0, data: null },
    };
  }

  /** A host that was not let in. */
  #logRefusal({ peer, listener }: { peer: string; listener: number }, reason: string): void {
    const heldBack = this.#refusals.admit(performance.now());
    if (heldBack === null) return;
    log.warn(`${peer} is refused at ${this.#listenerWords(listener)}: ${reason}${heldBackWords(heldBack)}`);
  }

  #begin(
    controller: Controller,
    makeAdmin: (events: { onProgress(): void; onEnd(reason: string): void }) => AdminQueue,
  ): void {
    const association = new Association(controller, () => this.#handleOver(controller));
    const admin = makeAdmin({
      onProgress: () => this.#handleProgress(controller),
      onEnd: (reason) => {
        log.info(`${controllerWords(controller)} ends: ${reason}`);
        association.handleAdminEnd();
      },
    });
    this.#sessions.set(controller, { controller, association, admin });
    this.#past.set(controller, [0, 0, 0, 0, 0]);
    this.#ticking ??= setInterval(() => this.#tick(), TICK_MS);
    const where = this.#listenerWords(controller.listener);
    log.info(`${controllerWords(controller)} begins: ${admin.peer} came to ${where}`);
  }

  #addQueue(connected: Connected, { fd, transfer, queue, subject }: HandedOver): void {
    const { controller, qid } = connected;
    const session = this.#sessions.get(controller);
    if (session === undefined || session.association.isEnding || this.#connections.isFull) {
      native().um_socket_close(fd, 1);
      controller.freeQueue(qid);
      return;
    }
    const connection = this.#connections.add({
      fd,
      listener: controller.listener,
      qid,
      ...{ transfer, queue, subject },
      onFailed: ({ cid, status, nsid, lba, ...failure }) => {
        controller.recordError({ sqid: qid, cid, status, nsid, lba });
        if (failure.errno !== 0) this.#handleStorageFailure(nsid, failure);
      },
      onClosed: (reason) => {
        if (reason !== null) log.info(`I/O queue ${qid} of ${controllerWords(controller)} is lost: ${reason}`);
        const past = this.#past.get(controller)!;
        SUMMED.forEach((counter, i) => past[i]! += connection.counters.get(counter));
        session.association.handleQueueClosed(qid);
        this.#handleProgress(controller);
      },
    });
    session.association.addQueue(qid, connection);
  }

  /** A command of a host failed in what is behind a namespace; a Flush may be of all of them. */
  #handleStorageFailure(nsid: number, failure: StorageFailure): void {
    for (const namespace of this.#options.namespaces) {
      const { description } = namespace;
      if (nsid !== NSID_ALL && description.nsid !== nsid) continue;
      this.#checkSize(namespace);
      namespace.handleFailure(failure, performance.now());
    }
  }

  #checkSize(namespace: Namespace): void {
    const { index, blockSize } = namespace.description;
    namespace.checkSize(this.#table.blocks(index) * blockSize);
  }

  /** The controller was told something: it may want something done, and have events for hosts. */
  #handleProgress(controller: Controller): void {
    const session = this.#sessions.get(controller);
    if (session === undefined) return;
    session.association.poll();
    session.admin.sendEvents();
  }

  #handleOver(controller: Controller): void {
    this.#sessions.delete(controller);
    this.#subsystem.remove(controller);
    if (this.#sessions.size === 0) {
      clearInterval(this.#ticking);
      this.#ticking = undefined;
    }
    this.#onSessionOver();
  }

  /** What one has done may concern all of them. */
  #tellAll(): void {
    for (const controller of [...this.#sessions.keys()]) this.#handleProgress(controller);
  }

  #tick(): void {
    const nowMs = performance.now();
    for (const { controller, admin, association } of [...this.#sessions.values()]) {
      if (association.isEnding) continue;
      admin.handleTime(nowMs);
      this.#handleProgress(controller);
      if (controller.isExpired && !association.isEnding) admin.end("its host has not kept it alive");
    }
  }

  // ── what people ask ─────────────────────────────────────────────────────────────────────────────────────────────────

  setAna(name: PortalName & { ana: unknown }): ListenerInfo {
    const code = anaCode(name.ana);
    const listener = this.#listeners.find(name);
    this.#setAna(listener.description.index, code);
    return this.#listenerInfo(listener);
  }

  #setAna(index: number, code: number): void {
    this.#subsystem.setAna(index, code, performance.now());
    this.#tellAll();
    log.info(`${this.#listenerWords(index)} is now ${anaName(code)}`);
  }

  resize({ nsid, sizeBytes, shrink }: TargetApi["resize"]["params"]): TargetApi["resize"]["result"] {
    const namespace = this.#options.namespaces.find(({ description }) => description.nsid === nsid);
    if (namespace === undefined) {
      throw new UmpathError("not-found", `There is no namespace ${nsid}`, {
        hint: "umpath target show lists the namespaces",
      });
    }
    const { sizeBytes: wasBytes } = namespace.info(this.#table);
    namespace.resize({ sizeBytes, mayShrink: shrink, fromBytes: wasBytes }, (blocks) => {
      this.#subsystem.resize(nsid, blocks);
      this.#tellAll();
    });
    if (sizeBytes !== wasBytes) {
      log.info(`Namespace ${nsid} has ${formatSize(sizeBytes)} now, not ${formatSize(wasBytes)}`);
    }
    return { ...namespace.info(this.#table), wasBytes };
  }

  info(): TargetInfo {
    const { description, namespaces, workers } = this.#options;
    return {
      nqn: description.nqn,
      serial: description.serial,
      pid: Deno.pid,
      version: VERSION,
      workers,
      namespaces: namespaces.map((namespace) => namespace.info(this.#table)),
      listeners: this.#listeners.listed.map((one) => this.#listenerInfo(one)),
      controllers: [...this.#sessions.values()].map((session) => this.#controllerInfo(session)),
    };
  }

  #listenerInfo({ description: { index, traddr, trsvcid } }: Listener): ListenerInfo {
    const controllers = [...this.#sessions.keys()].filter(({ listener }) => listener === index).length;
    return { traddr, trsvcid, ana: anaName(this.#table.ana(index)), controllers };
  }

  #controllerInfo({ controller, association, admin }: Session): ControllerInfo {
    const sums: Sums = [...this.#past.get(controller)!];
    for (const { counters } of association.queues.values()) {
      SUMMED.forEach((counter, i) => sums[i]! += counters.get(counter));
    }
    const [reads, writes, readBytes, writeBytes, errors] = sums;
    return {
      cntlid: controller.cntlid,
      kind: controller.isDiscovery ? "discovery" : "nvm",
      hostNqn: controller.hostNqn,
      hostId: uuidText(controller.hostId),
      peer: admin.peer,
      listener: this.#listenerWords(controller.listener),
      queues: association.queues.size,
      ...{ reads, writes, readBytes, writeBytes, errors },
    };
  }

  // ── end ─────────────────────────────────────────────────────────────────────────────────────────────────────────────

  /** Ends in order: no more connections, controllers ended, no command under way, everything on stable storage. */
  async close(): Promise<void> {
    clearInterval(this.#sizeChecks);
    this.faults[Symbol.dispose]();
    for (const listener of this.#listeners.listed) this.#remove(listener, "the target ends");
    while (this.#sessions.size > 0 || this.#connections.count > 0) {
      const { promise, resolve } = Promise.withResolvers<void>();
      this.#onSessionOver = resolve;
      await promise;
    }
    this.#connections.stop();
    await Promise.all(this.#options.namespaces.map((namespace) => namespace.sync()));
  }
}

function controllerWords(controller: Controller): string {
  return `Controller ${controller.cntlid} of ${controller.hostNqn || NO_HOST_NQN}`;
}

/** What a host that has no NQN is called. */
const NO_HOST_NQN = "(no host NQN)";

function connectWords({ reason, hostNqn, subsystemNqn }: RefusedConnect): string {
  const host = hostNqn === null ? "unreadable" : hostNqn === "" ? NO_HOST_NQN : quote(hostNqn);
  return `${reason} (host NQN ${host}, subsystem NQN ${subsystemNqn === null ? "unreadable" : quote(subsystemNqn)})`;
}
