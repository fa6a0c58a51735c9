import { native } from "../../ffi/library.ts";
import { assert } from "../base/assert.ts";
import { PATHS_MAX } from "../base/limits.ts";
import { LoadControl } from "../block/load_control.ts";
import { RequestTable } from "../block/request.ts";
import { type LoadPlan, VerifiedLoad } from "../block/verified_load.ts";
import { Memory } from "../io/memory.ts";
import type { Ring } from "../io/ring.ts";
import type { RingOwner } from "../io/ring_loop.ts";
import { SocketLink } from "../io/socket_link.ts";
import { tokenHigh, TokenKind } from "../io/token.ts";
import { Counters } from "../multipath/counters.ts";
import { PathTable } from "../multipath/path_table.ts";
import { Volume } from "../multipath/volume.ts";
import { Connection, CONNECTION_DEPTH_MAX } from "../nvme/connection.ts";
import { descriptorsBytes, descriptorsOffset } from "../spec/ublk.ts";
import { UblkQueue } from "../ublk/queue.ts";
import type { AddLink, AddVolume, FromWorker } from "./worker_messages.ts";

/**
 * One worker's share of a volume: its arena, its ublk queue, and a link for each path. It joins the pure machines with
 * the ring: completions are handed to the machine they belong to, and what the machines want is put into the ring.
 */
export class VolumeQueue implements RingOwner {
  readonly index: number;
  readonly volume: Volume;
  readonly #requests: RequestTable;
  readonly #memory: Memory;
  readonly #linksAt: number;
  readonly #linkStride: number;
  readonly #links: (SocketLink<Connection> | null)[] = new Array(PATHS_MAX).fill(null);
  readonly #tell: (message: FromWorker) => void;
  readonly #charFd: number;
  readonly #ublkToken: number;
  readonly #ublk: UblkQueue | null;
  readonly #descriptors: Memory | null;
  readonly #blockSize: number;
  /** Drives the volume where there is no kernel device. */
  #load: VerifiedLoad | null = null;
  #paths = 0;
  #drainedTold = false;
  #isRemoved = false;

  constructor(message: AddVolume, tell: (message: FromWorker) => void) {
    this.index = message.volume;
    this.#tell = tell;
    this.#blockSize = message.geometry.blockSize;
    this.#linksAt = message.depth * message.requestBytes;
    this.#linkStride = Math.ceil((Connection.arenaBytes(CONNECTION_DEPTH_MAX) + SocketLink.arenaBytes) / 4096) * 4096;
    this.#memory = Memory.allocate(this.#linksAt + PATHS_MAX * this.#linkStride, { lock: true });
    this.#requests = new RequestTable(message.depth, { bufferBytes: message.requestBytes });
    this.volume = new Volume({
      requests: this.#requests,
      memory: this.#memory.bytes,
      nsid: message.nsid,
      blockSize: message.geometry.blockSize,
      readOnly: message.geometry.readOnly,
      policy: message.policy,
      paths: new PathTable(message.paths),
      counters: new Counters(message.counters),
    });
    this.#ublkToken = tokenHigh(TokenKind.UBLK, message.volume);
    this.#charFd = message.ublk?.charFd ?? -1;
    this.#descriptors = message.ublk === null ? null : this.#mapDescriptors(message.ublk.queueId, message.depth);
    this.#ublk = this.#makeUblkQueue(message);
  }

  #mapDescriptors(queueId: number, depth: number): Memory {
    const page = native().um_page_bytes();
    return Memory.mapFile(this.#charFd, descriptorsBytes(depth, page), descriptorsOffset(queueId, page));
  }

  #makeUblkQueue(message: AddVolume): UblkQueue | null {
    if (message.ublk === null || this.#descriptors === null) return null;
    return new UblkQueue({
      queueId: message.ublk.queueId,
      depth: message.depth,
      descriptors: new Int32Array(this.#descriptors.buffer),
      requests: this.#requests,
      device: this.volume,
      geometry: message.geometry,
      ioctlEncode: message.ublk.ioctlEncode,
    });
  }

  get isBusy(): boolean {
    return this.volume.isBusy || this.#load?.isBusy === true;
  }

  // ── control ───────────────────────────────────────────────────────────────────────────────────────────────────────

  addLink(message: AddLink): void {
    assert(this.#links[message.path] === null, "A path's old link is closed before it gets a new one");
    const arenaOffset = this.#linksAt + message.path * this.#linkStride;
    const connection = new Connection({
      memory: this.#memory.bytes,
      arenaOffset: arenaOffset,
      depth: message.depth,
      inCapsuleBytes: message.inCapsuleBytes,
    });
    connection.adopt(message.transfer);
    this.#links[message.path] = new SocketLink({
      id: message.link,
      fd: message.fd,
      connection,
      memory: this.#memory,
      arenaOffset: arenaOffset + Math.ceil(Connection.arenaBytes(CONNECTION_DEPTH_MAX) / 16) * 16,
      owner: this.index,
      index: message.path,
    });
    this.#paths = Math.max(this.#paths, message.path + 1);
    this.volume.addConnection(message.path, connection, message.limits);
  }

  /** Ends a link; "link-closed" is told once its socket is quiet, or at once if there is no such link. */
  closeLink(path: number, id: number): void {
    const link = this.#links[path];
    if (link === null || link.id !== id) return this.#tellClosed(path, id);
    this.volume.stopPath(path);
    link.shut();
  }

  #tellClosed(path: number, link: number): void {
    this.#tell({ type: "link-closed", volume: this.index, path, link });
  }

  startQueue(): void {
    this.#ublk?.start();
  }

  abandonQueue(): void {
    this.#ublk?.close();
  }

  /** From now on requests come from a load in here. */
  startLoad(plan: LoadPlan): void {
    assert(this.#ublk === null && this.#load === null, "A volume's requests come from one place");
    this.#load = new VerifiedLoad({
      ...plan,
      control: new LoadControl(plan.control),
      blockSize: this.#blockSize,
      requests: this.#requests,
      memory: this.#memory.bytes,
    });
  }

  /** Nothing of the volume is in the kernel, so that its memory may go. */
  get isOver(): boolean {
    return this.#isRemoved && this.#links.every((link) => link === null) && (this.#ublk === null || this.#drainedTold);
  }

  remove(): void {
    this.#isRemoved = true;
    for (let path = 0; path < this.#paths; path++) {
      const link = this.#links[path];
      if (link !== null) this.closeLink(path, link.id);
    }
  }

  [Symbol.dispose](): void {
    this.#descriptors?.[Symbol.dispose]();
    this.#memory[Symbol.dispose]();
  }

  // ── completions ───────────────────────────────────────────────────────────────────────────────────────────────────

  /** Takes the completion that `ring` shows. */
  handleCompletion(ring: Ring, kind: number, nowMs: number): void {
    const index = ring.tokenLow;
    if (kind === TokenKind.UBLK) this.#ublk!.handleCommandDone(index, ring.result, nowMs);
    else if (kind === TokenKind.RECEIVE) this.#links[index]!.handleReceived(ring.result);
    else this.#links[index]!.handleSent(ring, ring.result);
  }

  handleTime(nowMs: number): void {
    this.volume.handleTime(nowMs);
  }

  // ── one turn ──────────────────────────────────────────────────────────────────────────────────────────────────────

  /** Moves answers up and commands down, and puts all that the kernel shall do into the ring. */
  turn(ring: Ring, nowMs: number): void {
    this.volume.handleAnswers(nowMs);
    this.#endFailedLinks(nowMs);
    if (this.#ublk !== null) this.#commit(ring, this.#ublk);
    if (this.#load !== null) this.#drive(this.#load, nowMs);
    for (let path = 0; path < this.#paths; path++) this.#links[path]?.arm(ring);
  }

  #commit(ring: Ring, ublk: UblkQueue): void {
    const base = this.#memory.address;
    for (let tag = ublk.pollCommand(); tag >= 0; tag = ublk.pollCommand()) {
      const address = base + this.#requests.dataOffset[tag];
      const result = ublk.commandResult(tag);
      ring.prepUblk(this.#charFd, ublk.commandOp(tag), ublk.queueId, tag, result, address, this.#ublkToken);
    }
    if (ublk.isDrained && !this.#drainedTold) {
      this.#drainedTold = true;
      // The mapping holds the character device open, and with it the whole device.
      this.#descriptors?.[Symbol.dispose]();
      this.#tell({ type: "queue-drained", volume: this.index, failure: ublk.failure });
    }
  }

  /** Gives answers back and takes new requests, until there is neither: a request may be answered at once. */
  #drive(load: VerifiedLoad, nowMs: number): void {
    for (let isMoved = true; isMoved;) {
      isMoved = false;
      for (let slot = this.volume.pollCompletion(); slot >= 0; slot = this.volume.pollCompletion()) {
        load.handleDone(slot, nowMs);
        isMoved = true;
      }
      for (let slot = load.pollRequest(nowMs); slot >= 0; slot = load.pollRequest(nowMs)) {
        this.volume.submit(slot, nowMs);
        isMoved = true;
      }
    }
  }

  #endFailedLinks(nowMs: number): void {
    for (let path = 0; path < this.#paths; path++) {
      const link = this.#links[path];
      if (link === null) continue;
      if (link.connection.state === "failed" && !link.isShut) this.#handleLinkFailed(path, link);
      if (link.isShut && link.isQuiet) this.#handleLinkQuiet(path, link, nowMs);
    }
    for (let path = this.volume.takeAnaChanged(); path >= 0; path = this.volume.takeAnaChanged()) {
      this.#tell({ type: "ana-doubt", volume: this.index, path });
    }
  }

  #handleLinkFailed(path: number, link: SocketLink<Connection>): void {
    this.volume.stopPath(path);
    link.shut();
    const reason = link.connection.failure?.reason ?? "it failed";
    this.#tell({ type: "link-failed", volume: this.index, path, link: link.id, reason });
  }

  #handleLinkQuiet(path: number, link: SocketLink<Connection>, nowMs: number): void {
    link.close();
    this.#links[path] = null;
    this.volume.handlePathLost(path, nowMs);
    this.volume.dispatch(nowMs);
    this.#tellClosed(path, link.id);
  }
}
