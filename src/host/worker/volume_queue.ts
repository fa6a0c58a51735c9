import { native } from "../../../ffi/library.ts";
import { assert } from "../../base/assert.ts";
import { PATHS_MAX } from "../../base/limits.ts";
import { LoadControl } from "../../block/load_control.ts";
import { RequestTable } from "../../block/request.ts";
import { type LoadPlan, VerifiedLoad } from "../../block/verified_load.ts";
import type { Arena, Region } from "../../io/arena.ts";
import { RegionPlaces } from "../../io/region_places.ts";
import type { Ring } from "../../io/ring.ts";
import type { RingOwner } from "../../io/ring_loop.ts";
import { SocketLink } from "../../io/socket_link.ts";
import { TokenKind } from "../../io/token.ts";
import { Wake } from "../../io/wake.ts";
import { Counters } from "../../multipath/counters.ts";
import { GUESTS_MAX, Handover } from "../../multipath/handover.ts";
import { HandoverTable } from "../../multipath/handover_table.ts";
import { HedgedReads } from "../../multipath/hedged_reads.ts";
import { PathTable } from "../../multipath/path_table.ts";
import { MultipathQueue } from "../../multipath/multipath_queue.ts";
import { Connection, CONNECTION_DEPTH_MAX } from "../../nvme_host/connection.ts";
import type { DevicePort } from "./device_port.ts";
import { FusePort } from "./fuse_port.ts";
import { UblkPort } from "./ublk_port.ts";
import type { AddLink, AddVolume, FromWorker, Neighbours } from "./worker_messages.ts";

/**
 * One worker's share of a volume: its region of the worker's arena, its queue of the kernel device, and a link for each path. It joins the
 * pure machines with the ring: completions are handed to the machine they belong to, and what the machines want is put
 * into the ring.
 */
export class VolumeQueue implements RingOwner {
  readonly index: number;
  readonly volume: MultipathQueue;
  /** The queue's own request slots. */
  readonly #requests: RequestTable;
  readonly #memory: Region;
  readonly #linksAt: number;
  readonly #linkStride: number;
  readonly #links: (SocketLink<Connection> | null)[] = new Array(PATHS_MAX).fill(null);
  readonly #tell: (message: FromWorker) => void;
  readonly #port: DevicePort | null;
  readonly #blockSize: number;
  readonly #neighbours: Neighbours | null;
  /** Drives the volume where there is no kernel device. */
  #load: VerifiedLoad | null = null;
  #paths = 0;
  #drainedTold = false;
  #isRemoved = false;

  constructor(message: AddVolume, arena: Arena, tell: (message: FromWorker) => void) {
    this.index = message.volume;
    this.#tell = tell;
    this.#blockSize = message.geometry.blockSize;
    this.#neighbours = message.neighbours;
    const slots = message.depth + (message.neighbours === null ? 0 : GUESTS_MAX);
    this.#linksAt = slots * message.requestBytes;
    this.#linkStride = Math.ceil((Connection.arenaBytes(CONNECTION_DEPTH_MAX) + SocketLink.arenaBytes) / 4096) * 4096;
    const hedgesAt = this.#linksAt + PATHS_MAX * this.#linkStride;
    const portAt = hedgesAt + HedgedReads.arenaBytes;
    const portBytes = message.fuse ? FusePort.arenaBytes(message.depth) : 0;
    const memory = arena.allocate(portAt + portBytes, { lock: true });
    using made = new DisposableStack();
    made.use(memory);
    this.#memory = memory;
    const requests = new RequestTable(slots, { bufferBytes: message.requestBytes });
    this.#requests = slots === message.depth ? requests : requests.first(message.depth);
    this.volume = new MultipathQueue({
      requests,
      memory: this.#memory.bytes,
      nsid: message.nsid,
      blockSize: message.geometry.blockSize,
      readOnly: message.geometry.readOnly,
      paths: new PathTable(message.paths),
      counters: new Counters(message.counters),
      hedgesAt,
      handover: message.neighbours === null ? null : this.#joinNeighbours(message.neighbours, requests, arena),
    });
    this.#port = this.#makePort(message, portAt);
    if (message.neighbours !== null) this.#showMemory(message.neighbours);
    made.move();
  }

  /** Its memory is known to the others: they copy the data of what they serve for this queue. */
  #showMemory({ queue, places }: Neighbours): void {
    new RegionPlaces(places).set(queue, this.#memory.place);
  }

  #joinNeighbours({ queue, places, handover, wakeFds }: Neighbours, requests: RequestTable, arena: Arena): Handover {
    const all = new RegionPlaces(places);
    const memories: (Uint8Array | null)[] = new Array(wakeFds.length).fill(null);
    return new Handover({
      queue,
      table: new HandoverTable(wakeFds.length, handover),
      requests,
      firstGuest: this.#requests.depth,
      blockSize: this.#blockSize,
      memory: this.#memory.bytes,
      memoryOf: (of) => memories[of] ??= arena.viewOf(all.at(of)),
    });
  }

  #makePort({ volume, geometry, ublk, fuse }: AddVolume, arenaOffset: number): DevicePort | null {
    const shared = { requests: this.#requests, memory: this.#memory, device: this.volume, geometry, volume };
    if (ublk !== null) return new UblkPort({ ...ublk, ...shared });
    return fuse ? new FusePort({ ...fuse, ...shared, arenaOffset }) : null;
  }

  get isBusy(): boolean {
    return this.volume.isBusy || this.#load?.isBusy === true;
  }

  get nextDueMs(): number {
    return this.volume.nextDueMs;
  }

  // ── control ───────────────────────────────────────────────────────────────────────────────────────────────────────

  addLink(message: AddLink): void {
    assert(this.#links[message.path] === null, "A path's old link is closed before it gets a new one");
    const arenaOffset = this.#linksAt + message.path * this.#linkStride;
    const memory = this.#memory.bytes;
    const connection = new Connection({
      memory,
      arenaOffset: arenaOffset,
      depth: message.depth,
      inCapsuleBytes: message.inCapsuleBytes,
      crc32c: (offset, bytes) => native().um_crc32c_part(memory, offset, bytes),
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
    this.#port?.start();
  }

  abandonQueue(): void {
    this.#port?.close();
  }

  /** The device has that many blocks from now on. */
  resize(blocks: number): void {
    this.#port?.resize(blocks);
  }

  /** From now on requests come from a load in here. */
  startLoad(plan: LoadPlan): void {
    assert(this.#port === null && this.#load === null, "A volume's requests come from one place");
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
    return this.#isRemoved && this.#links.every((link) => link === null) &&
      (this.#port === null || this.#drainedTold) && this.volume.hasNoNeighbour;
  }

  remove(): void {
    this.#isRemoved = true;
    for (let path = 0; path < this.#paths; path++) {
      const link = this.#links[path];
      if (link !== null) this.closeLink(path, link.id);
    }
  }

  [Symbol.dispose](): void {
    this.volume.leave();
    this.#wakeNeighbours();
    this.#port?.[Symbol.dispose]();
    this.#memory[Symbol.dispose]();
  }

  // ── completions ───────────────────────────────────────────────────────────────────────────────────────────────────

  /** Takes the completion that `ring` shows. */
  handleCompletion(ring: Ring, kind: number, nowMs: number): void {
    const index = ring.tokenLow;
    if (kind === TokenKind.RECEIVE) this.#links[index]!.handleReceived(ring.result);
    else if (kind === TokenKind.SEND || kind === TokenKind.SEND_MORE) this.#links[index]!.handleSent(ring, ring.result);
    else this.#port!.handleCompletion(ring, kind, nowMs);
  }

  handleTime(nowMs: number): void {
    this.volume.handleTime(nowMs);
  }

  // ── one turn ──────────────────────────────────────────────────────────────────────────────────────────────────────

  /** Moves answers up and commands down, and puts all that the kernel shall do into the ring. */
  turn(ring: Ring, nowMs: number): void {
    this.volume.handleAnswers(nowMs);
    this.#endFailedLinks(nowMs);
    if (this.#port !== null) this.#turnPort(ring, this.#port, nowMs);
    if (this.#load !== null) this.#drive(this.#load, nowMs);
    for (let path = 0; path < this.#paths; path++) this.#links[path]?.arm(ring);
    if (this.#neighbours !== null) this.#wakeNeighbours();
  }

  #wakeNeighbours(): void {
    for (let queue = this.volume.pollWake(); queue >= 0; queue = this.volume.pollWake()) {
      Wake.signal(this.#neighbours!.wakeFds[queue]);
    }
  }

  #turnPort(ring: Ring, port: DevicePort, nowMs: number): void {
    port.turn(ring, nowMs);
    if (port.takeDoubt()) this.#tell({ type: "device-doubt", volume: this.index });
    if (!port.isDrained || this.#drainedTold) return;
    this.#drainedTold = true;
    port[Symbol.dispose]();
    this.#tell({ type: "queue-drained", volume: this.index, failure: port.failure });
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
