import type { Prng } from "../../src/base/prng.ts";
import { RequestTable } from "../../src/block/request.ts";
import type { AssociationQueue } from "../../src/serve/association.ts";
import { TargetConnection, type TargetQueue, type TargetTransfer } from "../../src/nvme_target/connection.ts";
import { IoCounters } from "../../src/nvme_target/io_counters.ts";
import type { IoFaults } from "../../src/nvme_target/io_faults.ts";
import { IoQueue } from "../../src/nvme_target/io_queue.ts";
import type { TargetTable } from "../../src/nvme_target/target_table.ts";
import { crcOf } from "./crc.ts";
import { type Clock, Task } from "./clock.ts";
import { Link, type LinkManners } from "./link.ts";
import type { Socket } from "./network.ts";
import type { MemoryPool } from "./pool.ts";
import { type Medium, type Store, StoreDevice } from "./store.ts";

/** What all I/O connections of a target have in common. */
export interface TargetIoShared {
  readonly clock: Clock;
  readonly prng: Prng;
  readonly pool: MemoryPool;
  readonly store: Store;
  readonly table: TargetTable;
  readonly nsid: number;
  readonly transferBytesMax: number;
  readonly inCapsuleBytes: number;
  readonly receiveBytes: number;
  readonly manners: LinkManners;
  readonly turnMs: number;
}

/** An I/O connection of a target: `IoConnectionQueue` in simulation. */
export class TargetIo implements AssociationQueue {
  readonly counters = new IoCounters();
  readonly connection: TargetConnection;
  readonly link: Link<TargetConnection>;
  readonly listener: number;
  readonly #pool: MemoryPool;
  readonly #memory: Uint8Array<ArrayBuffer>;
  readonly #device: StoreDevice;
  readonly #queue: IoQueue;
  readonly #clock: Clock;
  readonly #turn: Task;
  readonly #wake: () => void;
  readonly #onClosed: (reason: string | null) => void;
  #isClosed = false;
  #isOver = false;

  constructor(
    shared: TargetIoShared,
    options: {
      socket: Socket;
      listener: number;
      medium: Medium;
      faults: IoFaults;
      transfer: TargetTransfer;
      queue: TargetQueue;
      onClosed: (reason: string | null) => void;
    },
  ) {
    const { clock, prng, transferBytesMax, receiveBytes, inCapsuleBytes } = shared;
    const depth = options.queue.sqEntries;
    const slots = IoQueue.slots(depth);
    const arenaOffset = slots * transferBytesMax;
    this.listener = options.listener;
    this.#clock = clock;
    this.#pool = shared.pool;
    this.#onClosed = options.onClosed;
    this.#turn = new Task(clock, () => this.#handleTurn());
    this.#wake = () => this.#turn.by(clock.nowMs + shared.turnMs);
    const memory = this.#memory = shared.pool.take(
      roundUp(arenaOffset + TargetConnection.arenaBytes(depth, receiveBytes)),
    );
    const requests = new RequestTable(slots, { bufferBytes: transferBytesMax });
    this.connection = new TargetConnection({
      ...{ memory, arenaOffset, slots: depth, dataOffset: 0, dataBytes: transferBytesMax },
      ...{ inCapsuleBytes, receiveBytes, crc32c: crcOf(memory) },
    });
    this.connection.adopt(options.transfer, options.queue);
    const { medium } = options;
    this.#device = new StoreDevice(shared.store, { requests, arena: memory, clock, medium, prng, wake: this.#wake });
    this.#queue = new IoQueue({
      connection: this.connection,
      requests,
      memory,
      namespaces: [{ index: 0, nsid: shared.nsid, blockSize: shared.store.blockSize, device: this.#device }],
      table: shared.table,
      listener: options.listener,
      transferBytesMax,
      counters: this.counters,
    });
    this.#queue.faults = options.faults;
    const { socket } = options;
    this.link = new Link(clock, {
      socket,
      machine: this.connection,
      memory,
      prng,
      manners: shared.manners,
      dataEnd: arenaOffset,
      digests: () => ({ header: options.transfer.headerDigest, data: options.transfer.dataDigest }),
      wake: this.#wake,
    });
    this.#turn.soon();
  }

  /** Requests that the medium has. */
  get heldByDevice(): number {
    return this.#device.held;
  }

  /** Ends it; `onClosed` is called when it is quiet. */
  close(): void {
    this.#isClosed = true;
    this.connection.handleTransportError("the target closed it");
    this.#wake();
  }

  #handleTurn(): void {
    if (this.#isOver) return;
    const now = this.#clock.nowMs;
    this.#queue.turn(now);
    if (this.connection.state === "failed") return this.#end();
    this.link.arm();
    const dueMs = this.#queue.nextDueMs;
    if (dueMs !== Infinity) this.#turn.by(Math.max(dueMs, now));
  }

  #end(): void {
    this.link.shut();
    if (!this.link.isQuiet || !this.#queue.isIdle) return;
    this.#free();
    this.#onClosed(this.#isClosed ? null : this.connection.failure?.reason ?? "it failed");
  }

  /** The target is gone at once: nothing of this is carried out any more. */
  crash(): void {
    if (this.#isOver) return;
    this.#device.crash();
    this.link.leave();
    this.#free();
  }

  #free(): void {
    this.#isOver = true;
    this.#turn.cancel();
    this.link.close();
    this.#pool.give(this.#memory);
  }
}

export function roundUp(bytes: number): number {
  return (bytes + 15) & ~15;
}
