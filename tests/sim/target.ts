import type { Prng } from "../../src/base/prng.ts";
import { Association } from "../../src/serve/association.ts";
import type { Controller } from "../../src/nvme_target/controller.ts";
import type { IoFaults } from "../../src/nvme_target/io_faults.ts";
import { Subsystem } from "../../src/nvme_target/subsystem.ts";
import { TargetTable } from "../../src/nvme_target/target_table.ts";
import type { AdminFaults } from "./admin_faults.ts";
import { type Clock, Task } from "./clock.ts";
import type { LinkManners } from "./link.ts";
import type { Socket } from "./network.ts";
import type { MemoryPool } from "./pool.ts";
import type { Medium, Store } from "./store.ts";
import { TargetControl } from "./target_control.ts";
import { TargetIo, type TargetIoShared } from "./target_io.ts";

const TICK_MS = 100;
export const NQN = "nqn.2014-08.org.nvmexpress:uuid:00000000-0000-4000-8000-000000000001";
export const NSID = 1;

/** A portal of a target: what hosts find behind one route. */
export interface TargetPortal {
  /** Index of the listener, the same as that of the path. */
  readonly index: number;
  readonly medium: Medium;
  readonly faults: IoFaults;
  readonly admin: AdminFaults;
  ana: number;
}

export interface TargetOptions {
  readonly clock: Clock;
  readonly prng: Prng;
  readonly pool: MemoryPool;
  readonly store: Store;
  readonly portals: readonly TargetPortal[];
  readonly manners: LinkManners;
  /** I/O queues that the next controller grants. */
  readonly ioQueuesMax: () => number;
  readonly queueEntriesMax: number;
  readonly transferBytesMax: number;
  readonly inCapsuleBytes: number;
  readonly receiveBytes: number;
  readonly turnMs: number;
  readonly trace: (words: string) => void;
}

interface Session {
  readonly controller: Controller;
  readonly admin: TargetControl;
  readonly association: Association;
}

/** A storage system with one namespace: `TargetServer` in simulation. It can die and come back. */
export class Target {
  readonly #options: TargetOptions;
  readonly #controls = new Set<TargetControl>();
  readonly #ios = new Set<TargetIo>();
  readonly #sessions = new Map<Controller, Session>();
  readonly #tick: Task;
  #table!: TargetTable;
  #subsystem!: Subsystem;
  #shared!: TargetIoShared;
  #isUp = false;
  /** It does not show a growth of the namespace before {@linkcode handleSizeDue}. */
  isSizeLate = false;

  constructor(options: TargetOptions) {
    this.#options = options;
    this.#tick = new Task(options.clock, () => this.#handleTick());
    this.start();
  }

  get isUp(): boolean {
    return this.#isUp;
  }

  /** I/O connections, those that are ending too. */
  get ios(): ReadonlySet<TargetIo> {
    return this.#ios;
  }

  get controls(): ReadonlySet<TargetControl> {
    return this.#controls;
  }

  get sessions(): number {
    return this.#sessions.size;
  }

  start(): void {
    const { store, clock, portals, ioQueuesMax } = this.#options;
    this.#table = new TargetTable();
    for (const { index, ana } of portals) this.#table.setAna(index, ana);
    const id = new Uint8Array(16).fill(7);
    this.#subsystem = new Subsystem({
      nqn: NQN,
      serial: "SIMULATED",
      model: "umpath simulator",
      namespaces: [{
        ...{ index: 0, nsid: NSID, blockSize: store.blockSize, blocks: store.firstLba + store.size },
        ...{ readOnly: false, volatileCache: false, uuid: id, nguid: id },
      }],
      limits: {
        get ioQueuesMax() {
          return ioQueuesMax();
        },
        queueEntriesMax: this.#options.queueEntriesMax,
        transferBytesMax: this.#options.transferBytesMax,
        inCapsuleBytes: this.#options.inCapsuleBytes,
      },
      allowedHosts: null,
    }, {
      table: this.#table,
      listeners: portals.map(({ index }) => ({ index, traddr: `10.0.${index}.1`, trsvcid: 4420 })),
      nowMs: clock.nowMs,
    });
    this.#shared = { ...this.#options, table: this.#table, nsid: NSID };
    this.#isUp = true;
    this.#tick.in(TICK_MS);
  }

  /** Everything that is not in the store is gone. Hosts learn of it by resets. */
  crash(): void {
    this.#isUp = false;
    this.#tick.cancel();
    for (const io of this.#ios) io.crash();
    for (const control of this.#controls) control.crash();
    this.#ios.clear();
    this.#controls.clear();
    this.#sessions.clear();
  }

  setAna(index: number, state: number): void {
    const portal = this.#options.portals.find((one) => one.index === index)!;
    const { admin } = portal;
    if (portal.ana !== state) admin.hasLostAna = admin.losesEvents;
    portal.ana = state;
    if (!this.#isUp) return;
    if (admin.losesEvents) return this.#table.setAna(index, state);
    this.#subsystem.setAna(index, state, this.#options.clock.nowMs);
    for (const controller of [...this.#sessions.keys()]) this.#handleProgress(controller);
  }

  /** The store has another size. */
  handleResized(): void {
    if (!this.#isUp) return;
    const blocks = this.#options.store.firstLba + this.#options.store.size;
    const { shownBlocks } = this;
    if (blocks === shownBlocks || this.isSizeLate && blocks > shownBlocks) return;
    this.#table.setBlocks(0, blocks);
    for (const controller of [...this.#sessions.keys()]) {
      const portal = this.#options.portals.find(({ index }) => index === controller.listener)!;
      if (!portal.admin.losesEvents) controller.handleNamespaceChange(NSID);
      this.#handleProgress(controller);
    }
  }

  /** Blocks that it shows, and takes commands for. */
  get shownBlocks(): number {
    return this.#table.blocks(0);
  }

  /** It shows the size that the namespace has. */
  handleSizeDue(): void {
    this.isSizeLate = false;
    this.handleResized();
  }

  // ── connections ─────────────────────────────────────────────────────────────────────────────────────────────────────

  accept(listener: number, socket: Socket): void {
    if (!this.#isUp) return socket.close();
    // The main thread sends without waiting: what a socket took is sent.
    const manners = { ...this.#options.manners, sendDelayMs: 0 };
    const control = new TargetControl({ ...this.#options, manners }, {
      socket,
      listener,
      faults: this.#options.portals.find(({ index }) => index === listener)!.admin,
      events: {
        connect: (sqe, data) => this.#subsystem.connect(listener, sqe, data, this.#options.clock.nowMs),
        handleAdmin: (controller, admin) => this.#begin(controller, admin),
        handleIo: (controller, qid, handed) => this.#addQueue(controller, qid, { ...handed, listener }),
        handleIoLost: (controller, qid) => controller.freeQueue(qid),
        handleProgress: (controller) => this.#handleProgress(controller),
        handleOver: (over, controller) => this.#handleControlOver(over, controller),
      },
    });
    this.#controls.add(control);
  }

  #begin(controller: Controller, admin: TargetControl): void {
    const association = new Association(controller, () => {
      this.#options.trace(`target: controller ${controller.cntlid} is over`);
      this.#sessions.delete(controller);
      this.#subsystem.remove(controller);
    });
    this.#sessions.set(controller, { controller, admin, association });
    this.#options.trace(`target: controller ${controller.cntlid} begins at portal ${controller.listener}`);
  }

  #addQueue(
    controller: Controller,
    qid: number,
    handed: Pick<ConstructorParameters<typeof TargetIo>[1], "socket" | "transfer" | "queue" | "listener">,
  ): void {
    const session = this.#sessions.get(controller);
    if (session === undefined || session.association.isEnding) {
      handed.socket.close();
      controller.freeQueue(qid);
      return;
    }
    const { medium, faults } = this.#options.portals.find((one) => one.index === handed.listener)!;
    const io: TargetIo = new TargetIo(this.#shared, {
      ...handed,
      medium,
      faults,
      onClosed: (reason) => {
        this.#options.trace(
          `target: I/O queue ${qid} of controller ${controller.cntlid} is closed: ${reason ?? "as asked"}`,
        );
        this.#ios.delete(io);
        session.association.handleQueueClosed(qid);
        this.#handleProgress(controller);
      },
    });
    this.#ios.add(io);
    session.association.addQueue(qid, io);
  }

  #handleProgress(controller: Controller): void {
    const session = this.#sessions.get(controller);
    if (session === undefined) return;
    session.association.poll();
    session.admin.sendEvents();
  }

  #handleControlOver(control: TargetControl, controller: Controller | null): void {
    this.#controls.delete(control);
    if (controller !== null) this.#sessions.get(controller)?.association.handleAdminEnd();
  }

  #handleTick(): void {
    const { nowMs } = this.#options.clock;
    this.#tick.in(TICK_MS);
    for (const { controller, admin, association } of [...this.#sessions.values()]) {
      if (association.isEnding) continue;
      controller.handleTime(nowMs);
      admin.sendEvents();
      this.#handleProgress(controller);
      if (controller.isExpired && !association.isEnding) admin.end();
    }
  }
}
