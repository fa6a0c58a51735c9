/**
 * A volume with real paths and one queue, driven by the thread of the test: paths connect and reconnect as in the daemon,
 * and what a worker does with its ring is done here a turn at a time. So tests submit I/O without a kernel device.
 */
import { assert, assertEquals, fail } from "@std/assert";
import { Prng } from "../../../src/base/prng.ts";
import { BlockOp, RequestTable } from "../../../src/block/request.ts";
import { fillTimeouts, type Timeouts } from "../../../src/settings/timeouts.ts";
import type { ControllerSession, OpenQueue } from "../../../src/host/driver/controller_session.ts";
import { type PathOwner, VolumePath } from "../../../src/host/driver/volume_path.ts";
import { Memory } from "../../../src/io/memory.ts";
import { Poller } from "../../../src/io/poller.ts";
import { Ring } from "../../../src/io/ring.ts";
import { SocketLink } from "../../../src/io/socket_link.ts";
import { TokenKind, tokenKind } from "../../../src/io/token.ts";
import { Counters, PathCounter } from "../../../src/multipath/counters.ts";
import { PathTable } from "../../../src/multipath/path_table.ts";
import { MultipathQueue } from "../../../src/multipath/multipath_queue.ts";
import { Connection, CONNECTION_DEPTH_MAX } from "../../../src/nvme_host/connection.ts";
import type { FakePortal } from "./fake_target.ts";
import { delay, sessionOptions } from "./host_fixture.ts";

export const BLOCK_BYTES = 512;
const BUFFER_BYTES = 64 << 10;
const LINK_STRIDE = Math.ceil((Connection.arenaBytes(CONNECTION_DEPTH_MAX) + SocketLink.arenaBytes) / 4096) * 4096;

/** One I/O of a test. */
export interface Io {
  op: number;
  lba: number;
  blocks: number;
}

export class IoRig implements PathOwner, AsyncDisposable {
  readonly name = "vol";
  readonly queues = 1;
  readonly table = new PathTable();
  readonly counters = new Counters();
  readonly timeouts: Timeouts;
  readonly volume: MultipathQueue;
  readonly paths: VolumePath[];
  /** Paths that were said to be lost by their link, with the reason. */
  readonly linkFailures: string[] = [];
  /** How often the controller of a lost path was told to be dead. */
  released = 0;

  readonly #depth: number;
  readonly #poller = new Poller();
  readonly #ring = new Ring({ submissions: 512, completions: 2048 });
  readonly #memory: Memory;
  readonly #requests: RequestTable;
  readonly #links: ({ link: SocketLink<Connection>; closed: PromiseWithResolvers<void> } | null)[];
  readonly #answers = new Map<number, (errno: number) => void>();
  #nextLink = 1;
  #isTurning = false;
  #isEnded = false;
  #turning: Promise<void> = Promise.resolve();

  constructor(portals: FakePortal[], depth: number, timeouts: Partial<Timeouts> = {}) {
    this.#depth = depth;
    this.timeouts = fillTimeouts({ reconnectDelayMs: 10, reconnectDelayMaxMs: 30, ...timeouts });
    this.table.setTimeouts({
      ioTimeoutMs: this.timeouts.ioTimeoutMs ?? -1,
      noPathTimeoutMs: this.timeouts.noPathTimeoutMs ?? -1,
      writeHoldMs: this.timeouts.writeHoldMs ?? 0,
    });
    this.#memory = Memory.allocate(depth * BUFFER_BYTES + portals.length * LINK_STRIDE);
    this.#requests = new RequestTable(depth, { bufferBytes: BUFFER_BYTES });
    this.volume = new MultipathQueue({
      requests: this.#requests,
      memory: this.#memory.bytes,
      nsid: 1,
      blockSize: BLOCK_BYTES,
      readOnly: false,
      paths: this.table,
      counters: this.counters,
    });
    this.#links = portals.map(() => null);
    const prng = new Prng(1);
    this.paths = portals.map((portal, index) => {
      const { spec, ...session } = sessionOptions(portal, { queues: 1, keepAliveMs: this.timeouts.keepAliveMs });
      return new VolumePath({ index, spec, owner: this, poller: this.#poller, session, prng });
    });
  }

  /** Connects the paths, all of which must come up, and begins to turn. */
  async start(): Promise<this> {
    for (const path of this.paths) assertEquals(await path.start(null), null);
    this.#turning = this.#turnUntilEnd();
    return this;
  }

  async #turnUntilEnd(): Promise<void> {
    for (let tickMs = 0; !this.#isEnded || this.#links.some((link) => link !== null);) {
      const nowMs = performance.now();
      this.#turn(nowMs);
      if (nowMs - tickMs >= 10) {
        tickMs = nowMs;
        this.volume.handleTime(nowMs);
      }
      await delay(0);
    }
  }

  #turn(nowMs: number): void {
    assert(!this.#isTurning, "One turn at a time");
    this.#isTurning = true;
    this.volume.handleAnswers(nowMs);
    for (let slot = this.volume.pollCompletion(); slot >= 0; slot = this.volume.pollCompletion()) {
      const answer = this.#answers.get(slot) ?? fail(`Request ${slot} is answered twice`);
      this.#answers.delete(slot);
      answer(this.#requests.status[slot]);
    }
    this.#endLinks(nowMs);
    for (const open of this.#links) open?.link.arm(this.#ring);
    this.#ring.turn(0, 0);
    while (this.#ring.next()) {
      const { link } = this.#links[this.#ring.tokenLow]!;
      if (tokenKind(this.#ring.tokenHigh) === TokenKind.RECEIVE) link.handleReceived(this.#ring.result);
      else link.handleSent(this.#ring, this.#ring.result);
    }
    this.#isTurning = false;
  }

  #endLinks(nowMs: number): void {
    this.#links.forEach((open, index) => {
      if (open === null) return;
      const { link, closed } = open;
      if (link.connection.state === "failed" && !link.isShut) {
        const reason = link.connection.failure!.reason;
        this.linkFailures.push(reason);
        this.volume.stopPath(index);
        link.shut();
        this.paths[index].handleLinkFailed(reason);
      }
      if (!link.isShut || !link.isQuiet) return;
      link.close();
      this.#links[index] = null;
      this.volume.handlePathLost(index, nowMs);
      this.volume.dispatch(nowMs);
      closed.resolve();
    });
    const doubted = this.volume.takeAnaChanged();
    if (doubted >= 0) this.paths[doubted].handleAnaDoubt();
  }

  /** The errno of an I/O; a write takes its data from `data`, a read puts it there. One I/O a slot at a time. */
  async io(slot: number, io: Io, data: Uint8Array): Promise<number> {
    assert(slot < this.#depth && !this.#answers.has(slot), "A slot has one I/O at a time");
    const requests = this.#requests;
    const buffer = this.#memory.bytes.subarray(requests.dataOffset[slot], requests.dataOffset[slot] + data.length);
    if (io.op === BlockOp.WRITE) buffer.set(data);
    else buffer.fill(0xee);
    requests.op[slot] = io.op;
    requests.lbaLow[slot] = io.lba;
    requests.blocks[slot] = io.blocks;
    const { promise, resolve } = Promise.withResolvers<number>();
    this.#answers.set(slot, resolve);
    this.volume.submit(slot, performance.now());
    const errno = await promise;
    if (io.op === BlockOp.READ) data.set(buffer);
    return errno;
  }

  /** Reads and writes that were answered on a path. */
  served(path: number): number {
    return this.counters.path(path, PathCounter.READS) + this.counters.path(path, PathCounter.WRITES);
  }

  // ── what a path asks of its volume ──────────────────────────────────────────────────────────────────────────────

  objection(): null {
    return null;
  }

  strangerTo(): null {
    return null;
  }

  banStranger(): never {
    throw new Error("There is one subsystem");
  }

  addLinks(path: VolumePath, session: ControllerSession, queues: OpenQueue[]): number[] {
    const { queueDepth, inCapsuleBytes, limits, controller } = session.controller;
    const memory = this.#memory;
    const arenaOffset = this.#depth * BUFFER_BYTES + path.index * LINK_STRIDE;
    const connection = new Connection({ memory: memory.bytes, arenaOffset, depth: queueDepth, inCapsuleBytes });
    connection.adopt(queues[0].transfer);
    const link = new SocketLink({
      id: this.#nextLink++,
      fd: queues[0].fd,
      connection,
      memory,
      arenaOffset: arenaOffset + Math.ceil(Connection.arenaBytes(CONNECTION_DEPTH_MAX) / 16) * 16,
      owner: 0,
      index: path.index,
    });
    assert(this.#links[path.index] === null, "The old link is closed");
    this.#links[path.index] = { link, closed: Promise.withResolvers<void>() };
    this.volume.addConnection(path.index, connection, { ...limits, retryDelaysMs: controller.retryDelaysMs });
    return [link.id];
  }

  async closeLinks(path: VolumePath): Promise<void> {
    const open = this.#links[path.index];
    if (open === null) return;
    this.volume.stopPath(path.index);
    open.link.shut();
    await open.closed.promise;
  }

  releaseHeld(path: VolumePath): void {
    this.released++;
    this.volume.releaseHeld(path.index, performance.now());
  }

  drain(): Promise<boolean> {
    return Promise.resolve(true);
  }

  handleLive(): void {}

  handlePathChanged(): void {}

  handleNamespace(): void {}

  handleRefused(): void {}

  async [Symbol.asyncDispose](): Promise<void> {
    this.table.cut();
    await Promise.all(this.paths.map((path) => path.end("it was removed")));
    this.#isEnded = true;
    await this.#turning;
    assertEquals(this.#answers.size, 0, "Every request was answered");
    this.#ring[Symbol.dispose]();
    this.#memory[Symbol.dispose]();
  }
}
