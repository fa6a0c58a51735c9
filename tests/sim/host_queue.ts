import { PATHS_MAX, TICK_MS } from "../../src/base/limits.ts";
import type { BlockDevice, Geometry } from "../../src/block/device.ts";
import { RequestTable } from "../../src/block/request.ts";
import type { Counters } from "../../src/multipath/counters.ts";
import { GUESTS_MAX, Handover } from "../../src/multipath/handover.ts";
import type { HandoverTable } from "../../src/multipath/handover_table.ts";
import { HedgedReads, type ReadInFlight } from "../../src/multipath/hedged_reads.ts";
import type { PathTable } from "../../src/multipath/path_table.ts";
import { MultipathQueue, type PathLimits } from "../../src/multipath/multipath_queue.ts";
import { Connection, type Digests } from "../../src/nvme_host/connection.ts";
import { UblkTags } from "../../src/ublk/tags.ts";
import { Task } from "./clock.ts";
import { crcOf } from "./crc.ts";
import type { HostShared } from "./host_admin.ts";
import type { OpenQueue } from "./host_session.ts";
import { Link } from "./link.ts";
import type { PolicySetting } from "./policy_plan.ts";
import type { Broken } from "./scenario.ts";
import { SelectionCheck } from "./selection.ts";
import { NSID } from "./target.ts";
import { roundUp } from "./target_io.ts";
import { type KernelRequest, UblkDriver } from "./ublk_driver.ts";

export interface HostQueueOptions {
  readonly index: number;
  readonly shared: HostShared;
  readonly depth: number;
  readonly requestBytes: number;
  readonly connectionDepthMax: number;
  readonly receiveBytes: number;
  readonly geometry: Geometry;
  readonly table: PathTable;
  readonly counters: Counters;
  readonly turnMs: number;
  /** The policy that is in force. */
  readonly setting: () => PolicySetting;
  /** Puts something between the ublk queue and the volume. */
  readonly wrap: (volume: BlockDevice, requests: RequestTable) => BlockDevice;
  readonly broken: Broken;
  readonly events: QueueEvents;
  /** What it hands requests over by; null if it is the only queue. */
  readonly handover: HandoverTable | null;
  /** Another queue of the volume. */
  readonly queueAt: (index: number) => HostQueue;
}

/** What a link is made of besides its connection. */
interface LinkOptions {
  readonly depth: number;
  readonly inCapsuleBytes: number;
  readonly limits: PathLimits;
}

/** What a queue tells. */
export interface QueueEvents {
  handleDone(queue: HostQueue, tag: number, result: number): void;
  handleLinkFailed(queue: HostQueue, path: number, reason: string): void;
  /** The path has no link any more, as was asked. */
  handleLinkClosed(queue: HostQueue, path: number): void;
  handleAnaDoubt(path: number): void;
}

/** One worker's share of a volume: `VolumeQueue` and `UblkPort` in simulation. */
export class HostQueue {
  readonly index: number;
  readonly requests: RequestTable;
  readonly memory: Uint8Array<ArrayBuffer>;
  readonly volume: MultipathQueue;
  readonly ublk: UblkTags;
  readonly driver: UblkDriver;
  readonly selection: SelectionCheck;
  readonly links: (Link<Connection> | null)[] = new Array(PATHS_MAX).fill(null);
  readonly #options: HostQueueOptions;
  readonly #handover: Handover | null;
  readonly #linksAt: number;
  readonly #linkStride: number;
  readonly #turn: Task;
  readonly #tick: Task;
  readonly #wake: () => void;
  #paths = 0;
  /** Paths whose link somebody wants to be closed, a bit each. */
  #asked = 0;
  #isPaused = false;
  /** What a paused thread finds when it goes on. */
  readonly #inbox: (() => void)[] = [];
  /** When its last pause ended. */
  resumedAtMs = -Infinity;
  /** Answers with an error to the requests that have the tags now. */
  readonly refusals: Uint32Array;

  constructor(options: HostQueueOptions) {
    const { depth, requestBytes, shared: { clock }, geometry } = options;
    this.#options = options;
    this.index = options.index;
    this.#linkStride = roundUp(Connection.arenaBytes(options.connectionDepthMax, options.receiveBytes));
    const slots = depth + (options.handover === null ? 0 : GUESTS_MAX);
    this.#linksAt = roundUp(slots * requestBytes);
    const hedgesAt = this.#linksAt + PATHS_USED_MAX * this.#linkStride;
    this.memory = new Uint8Array(hedgesAt + HedgedReads.arenaBytes);
    const requests = new RequestTable(slots, { bufferBytes: requestBytes });
    this.requests = requests.first(depth);
    this.#handover = options.handover === null ? null : new Handover({
      ...{ queue: options.index, table: options.handover, requests, firstGuest: depth },
      ...{ blockSize: geometry.blockSize, memory: this.memory },
      memoryOf: (queue) => options.queueAt(queue).memory,
    });
    this.volume = new MultipathQueue({
      requests,
      memory: this.memory,
      nsid: NSID,
      blockSize: geometry.blockSize,
      readOnly: false,
      paths: options.table,
      counters: options.counters,
      hedgesAt,
      handover: this.#handover,
    });
    if (options.broken.sharesHedgeBuffer === true) shareHedgeBuffer(this.volume);
    this.selection = new SelectionCheck(this.volume.candidates, options.setting);
    const onDone = (tag: number, result: number) => options.events.handleDone(this, tag, result);
    this.driver = new UblkDriver({ depth, blockSize: geometry.blockSize, onDone });
    this.ublk = new UblkTags({
      ...{ queueId: options.index, depth, geometry, requests: this.requests },
      descriptors: this.driver.descriptors,
      device: options.wrap(this.volume, this.requests),
    });
    this.driver.queue = this.ublk;
    this.#turn = new Task(clock, () => this.#handleTurn());
    this.#tick = new Task(clock, () => this.#handleTick());
    this.#wake = () => this.#turn.by(clock.nowMs + options.turnMs);
    this.refusals = new Uint32Array(depth);
    this.ublk.start();
    this.driver.takeCommands();
    this.#tick.in(TICK_MS);
  }

  /** Something has come in, or the shared tables may have changed: a turn is due. */
  wake(): void {
    this.#wake();
  }

  get isPaused(): boolean {
    return this.#isPaused;
  }

  /** Its thread hears of something, now or when it goes on. */
  #deliver(event: () => void): void {
    if (this.#isPaused) this.#inbox.push(event);
    else event();
  }

  /** The kernel hands a request over. */
  startRequest(tag: number, request: KernelRequest): void {
    this.#deliver(() => {
      this.driver.start(tag, request, this.#options.shared.clock.nowMs);
      this.#wake();
    });
  }

  /** Its thread finishes its turn and does nothing any more, while the kernel goes on. */
  pause(): void {
    if (this.#turn.isPending) this.#handleTurn();
    this.#isPaused = true;
  }

  /** It goes on, with the look at deadlines that was due meanwhile. */
  resume(): void {
    if (!this.#isPaused) return;
    this.#isPaused = false;
    const { shared: { clock }, broken } = this.#options;
    this.resumedAtMs = clock.nowMs;
    for (const event of this.#inbox.splice(0)) event();
    // The look that comes late does not count; the one after it does.
    if (broken.blamesPauses === true && this.volume.isBusy) this.volume.handleTime(clock.nowMs);
    this.#handleTick();
    this.#turn.soon();
  }

  #handleTick(): void {
    if (this.#isPaused) return;
    const { clock } = this.#options.shared;
    this.#tick.in(TICK_MS);
    if (!this.volume.isBusy) return;
    this.volume.handleTime(clock.nowMs);
    this.#turn.soon();
  }

  /** Moves answers up and commands down. */
  #handleTurn(): void {
    if (this.#isPaused) return;
    const { nowMs } = this.#options.shared.clock;
    this.volume.handleAnswers(nowMs);
    this.#endFailedLinks(nowMs);
    this.driver.takeCommands();
    for (let path = 0; path < this.#paths; path++) this.links[path]?.arm();
    for (let queue = this.volume.pollWake(); queue >= 0; queue = this.volume.pollWake()) {
      this.#options.queueAt(queue).wake();
    }
    if (this.volume.nextDueMs < Infinity) this.#turn.by(this.volume.nextDueMs);
  }

  // ── links ─────────────────────────────────────────────────────────────────────────────────────────────────────────

  addLink(path: number, open: OpenQueue, options: LinkOptions): void {
    this.#deliver(() => this.#addLink(path, open, options));
  }

  #addLink(path: number, open: OpenQueue, options: LinkOptions): void {
    const { shared, receiveBytes, connectionDepthMax, broken } = this.#options;
    const connection = new Connection({
      memory: this.memory,
      arenaOffset: this.#linksAt + path * this.#linkStride,
      depth: Math.min(options.depth, connectionDepthMax),
      inCapsuleBytes: options.inCapsuleBytes,
      receiveBytes,
      crc32c: crcOf(this.memory),
    });
    connection.adopt(open.transfer);
    this.#watch(path, connection);
    const { memory } = this;
    this.links[path] = new Link(shared.clock, {
      ...shared,
      socket: open.socket,
      machine: connection,
      memory,
      dataEnd: this.#linksAt,
      digests: () => broken.changesBareData === true ? BARE_DATA : connection.parameters.digests,
      wake: this.#wake,
    });
    this.#paths = Math.max(this.#paths, path + 1);
    this.volume.addConnection(path, connection, options.limits);
    this.#wake();
  }

  /** Looks at the choice of the path at the moment of each command, and counts the answers that are errors. */
  #watch(path: number, connection: Connection): void {
    const submit = connection.submit.bind(connection);
    connection.submit = (submission, nowMs) => {
      if (submission.owner < this.#slots) this.selection.check(path);
      else this.selection.checkCopy(path);
      return submit(submission, nowMs);
    };
    const { leaksSlotsOneIn = 0, neverRedirects = false } = this.#options.broken;
    if (neverRedirects) connection.redirect = () => true;
    if (leaksSlotsOneIn > 0) {
      const release = connection.release.bind(connection);
      let released = 0;
      connection.release = (command) => ++released % leaksSlotsOneIn !== 0 && release(command);
    }
    const poll = connection.pollCompletion.bind(connection);
    const { commands } = connection;
    connection.pollCompletion = () => {
      const command = poll();
      if (command >= 0 && commands.status[command] !== 0) this.#countRefusal(commands.owner[command]);
      return command;
    };
  }

  get #slots(): number {
    return this.#options.depth + (this.#handover === null ? 0 : GUESTS_MAX);
  }

  /** A neighbour's request is refused as its own. */
  #countRefusal(owner: number): void {
    const { depth, queueAt } = this.#options;
    if (owner < depth) this.refusals[owner]++;
    if (owner < depth || owner >= this.#slots) return;
    const { queue, slot } = this.#handover!.originOf(owner);
    queueAt(queue).refusals[slot]++;
  }

  closeLink(path: number): void {
    this.#deliver(() => this.#closeLink(path));
  }

  /** The path has no link here, and whoever asked for that is told. */
  #tellClosed(path: number): void {
    if ((this.#asked & (1 << path)) === 0) return;
    this.#asked &= ~(1 << path);
    this.#options.events.handleLinkClosed(this, path);
  }

  #closeLink(path: number): void {
    const link = this.links[path];
    this.#asked |= 1 << path;
    if (link === null) return this.#tellClosed(path);
    this.volume.stopPath(path);
    link.shut();
    this.#wake();
  }

  /** Commands in flight on the path. */
  inFlight(path: number): number {
    return this.links[path]?.machine.inFlight ?? 0;
  }

  releaseHeld(path: number): void {
    this.#deliver(() => {
      this.volume.releaseHeld(path, this.#options.shared.clock.nowMs);
      this.#wake();
    });
  }

  resize(blocks: number, done: () => void): void {
    this.#deliver(() => {
      this.ublk.resize(blocks);
      done();
    });
  }

  #endFailedLinks(nowMs: number): void {
    const { isHasty, leaksSockets } = this.#options.broken;
    for (let path = 0; path < this.#paths; path++) {
      const link = this.links[path];
      if (link === null) continue;
      if (link.machine.state === "failed" && !link.isShut) {
        this.volume.stopPath(path);
        link.shut();
        this.#options.events.handleLinkFailed(this, path, link.machine.failure?.reason ?? "it failed");
      }
      if (!link.isShut || (!link.isQuiet && isHasty !== true)) continue;
      this.links[path] = null;
      this.volume.handlePathLost(path, nowMs);
      this.volume.dispatch(nowMs);
      if (leaksSockets !== true && link.isQuiet) link.close();
      else if (isHasty === true) this.#options.shared.clock.after(LINGER_MS, () => link.close());
      this.#tellClosed(path);
    }
    for (let path = this.volume.takeAnaChanged(); path >= 0; path = this.volume.takeAnaChanged()) {
      this.#options.events.handleAnaDoubt(path);
    }
  }

  // ── requests and end ──────────────────────────────────────────────────────────────────────────────────────────────

  /** The device is stopped; every tag ends. */
  stop(): void {
    this.resume();
    this.driver.abort(this.#options.shared.clock.nowMs);
    this.#tick.cancel();
  }
}

function shareHedgeBuffer(volume: MultipathQueue): void {
  const send = volume.sendCopy.bind(volume);
  volume.sendCopy = (read: ReadInFlight, slot: number, { owner }: { owner: number }) =>
    send(read, slot, { owner, into: read.connection.commands.dataOffset[read.command] });
}

/** Paths of a simulated volume. */
export const PATHS_USED_MAX = 4;
/** What may be changed where nothing is covered. */
const BARE_DATA: Digests = { header: false, data: true };
/** How long the hasty variant leaves a socket that is not quiet. */
const LINGER_MS = 100;
