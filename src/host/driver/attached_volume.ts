import { assert } from "../../base/assert.ts";
import { UmpathError, type WireError } from "../../base/errors.ts";
import { REQUEST_BYTES_MAX, ZEROES_PARTS_MAX } from "../../base/limits.ts";
import { logger } from "../../base/log.ts";
import { count, midSentence } from "../../base/text.ts";
import { formatDuration } from "../../base/units.ts";
import { Prng } from "../../base/prng.ts";
import type { Geometry } from "../../block/device.ts";
import type { LoadPlan } from "../../block/verified_load.ts";
import type { Poller } from "../../io/poller.ts";
import { Counters, PathCounter, QueueCounter } from "../../multipath/counters.ts";
import { Failback, type FailbackName } from "../../multipath/failback.ts";
import { PathTable } from "../../multipath/path_table.ts";
import { CONNECTION_DEPTH_MAX } from "../../nvme_host/connection.ts";
import { type ComparableNamespace, type IdentityDifference, identityDifference } from "../../nvme_host/namespace.ts";
import type { KnownNamespace } from "../../nvme_host/namespace_steps.ts";
import { subsystemDifference } from "../../nvme_host/subsystem.ts";
import { heedsPreferred, heedsWeights, type PolicyName } from "../../multipath/policy_names.ts";
import type { DeviceDriver, PathSpec, VolumeChanges, VolumeInfo, VolumeState } from "../../rpc/host_api.ts";
import type { ControllerSession, OpenQueue, SessionOptions } from "./controller_session.ts";
import { deviceUseWords, lastingUseWords } from "../../io/device_users.ts";
import { DeviceWatch } from "../device/device_watch.ts";
import { type KernelDevice, NO_FEED, type QueueFeed, type VolumeQueues } from "../device/kernel_device.ts";
import { type NamedTimeouts, readFailback, readPolicy, type Timeouts } from "../../settings/timeouts.ts";
import {
  formatHedge,
  type HedgeBudget,
  parseHedge,
  readSlowPath,
  type SlowPathMode,
} from "../../settings/latency_settings.ts";
import { pause } from "../../io/run_sequence.ts";
import { IoWatch } from "./io_watch.ts";
import { createVolumeLoop } from "../device/loop_device.ts";
import { NamespaceWatch } from "./namespace_watch.ts";
import { ForeignPath, PathFailure } from "./path_failure.ts";
import { pathWords } from "../../rpc/path_words.ts";
import { OPENING_STALL_MS, OpeningWatch } from "./serving_paths.ts";
import { SlowPathWatch } from "./slow_path_watch.ts";
import { createUblkDevice } from "../device/ublk_device.ts";
import { volumeInfo, volumeState } from "./volume_info.ts";
import type { PathOwner, VolumePath } from "./volume_path.ts";
import { VolumeLinks } from "./volume_links.ts";
import { VolumePaths } from "./volume_paths.ts";
import { VolumeSettings } from "./volume_settings.ts";
import { writeBack } from "../device/write_back.ts";
import { VolumeSize } from "./volume_size.ts";
import type { AddVolume, FromWorker, ToWorker } from "../worker/worker_messages.ts";
import type { WorkerPool } from "./worker_pool.ts";

const log = logger("volume");

/** What a volume is made of; all of it was checked before. */
export interface VolumePlan {
  /** A number that no other volume of the daemon has at the same time. */
  index: number;
  name: string;
  nqn: string;
  nsid: number;
  policy: PolicyName;
  slowPath: SlowPathMode;
  failback: FailbackName;
  hedgeReads: HedgeBudget;
  queues: number;
  depth: number;
  readOnly: boolean;
  /** The times that somebody has named. */
  timeouts: NamedTimeouts;
  session: Omit<SessionOptions, "spec">;
}

/** How long a path that is taken out of use may take to answer what it has: after that, others serve it. */
const DRAIN_MS_MAX = 2_000;
const DRAIN_POLL_MS = 5;

/** How long the search for users of a device that is taken away by force may take. */
const USERS_MS_MAX = 500;

/** How a volume is taken away. */
export interface DetachOptions {
  /** Although its device is in use: all I/O fails from the first moment on. */
  force: boolean;
  /** Is told what is left of it. */
  warn?: (message: string) => void;
}

/**
 * A volume from attach to detach, on the main thread: its paths, its share of every worker, its kernel device.
 */
export class AttachedVolume implements PathOwner {
  readonly plan: VolumePlan;
  readonly table = new PathTable();
  readonly settings: VolumeSettings;
  readonly failback = new Failback(this.table);
  readonly paths: VolumePaths;
  /** Resolves when nothing is left of the volume. */
  readonly gone: Promise<void>;

  readonly #pool: WorkerPool;
  readonly #size: VolumeSize;
  readonly #watch: NamespaceWatch;
  readonly #slow: SlowPathWatch;
  readonly #io: IoWatch;
  readonly #namespace: ComparableNamespace;
  readonly #model: string;
  readonly #serial: string;
  readonly #counters: Counters[] = [];
  readonly #links = new VolumeLinks(this.table);
  readonly #resolveGone: () => void;
  #device: KernelDevice | null = null;
  readonly #deviceWatch: DeviceWatch;
  #queueStarts: PromiseWithResolvers<void>[] = [];
  #queueDrains: PromiseWithResolvers<void>[] = [];
  #adds: PromiseWithResolvers<WireError | null>[] = [];
  /** The queues that workers have made. */
  #made: number[] = [];
  #workersLeft = 0;
  #workersGone = Promise.withResolvers<void>();
  #isOpened = false;
  /** While the kernel device is made, which the kernel reads: whether a path serves, and why none has for too long. */
  #opening: OpeningWatch | null = null;
  #stall: PathFailure | null = null;
  /** Waits for a path are cut short: no path is expected, or the volume is to go, which is for good. */
  #isHopeless = false;
  #isCutForGood = false;
  #resizes: { left: number; done: () => void } = { left: 0, done: () => {} };
  #detaching: Promise<void> | null = null;
  /**
   * Portals that were proved to lead to another subsystem. Their next controller may have an ID that proves nothing, so
   * they stay out for as long as the volume is attached.
   */
  readonly #strangers = new Set<string>();

  constructor(plan: VolumePlan, first: ControllerSession, deps: { pool: WorkerPool; poller: Poller; seed: number }) {
    this.plan = plan;
    this.#deviceWatch = new DeviceWatch(plan.name);
    this.#pool = deps.pool;
    this.paths = new VolumePaths({
      owner: this,
      poller: deps.poller,
      prng: new Prng(deps.seed),
      session: () => ({ ...plan.session, queues: plan.queues, depth: plan.depth }),
      onMake: (index, { isNew }) => this.#handlePathMade(index, isNew),
      onRemove: (index) => this.#handlePathRemoved(index),
    });
    const { controller, name, limits } = first.controller;
    this.#namespace = { ...name, blockSize: limits.blockSize };
    this.#model = controller.model;
    this.#serial = controller.serial;
    this.#size = new VolumeSize(this, geometryOf(first, plan.readOnly), { isReadOnlyByOption: plan.readOnly });
    this.#watch = new NamespaceWatch(this);
    const { promise, resolve } = Promise.withResolvers<void>();
    this.gone = promise;
    this.#resolveGone = resolve;
    this.settings = new VolumeSettings(this.table, plan);
    this.#slow = new SlowPathWatch({ name: plan.name, table: this.table, paths: this.paths, counters: this.#counters });
    this.#slow.setMode(plan.slowPath);
    this.#io = new IoWatch({
      name: plan.name,
      blockSize: () => this.geometry.blockSize,
      counters: this.#counters,
      pathWords: (path) => {
        const spec = this.paths.at(path)?.spec;
        return spec === undefined ? null : `path ${path} (${pathWords(spec)})`;
      },
      waitMs: () => this.table.isCut ? 0 : waitMsOf(this.settings.timeouts),
      isGoing: () => this.#isCutForGood,
    });
    this.failback.setMode(plan.failback);
  }

  get name(): string {
    return this.plan.name;
  }

  get queues(): number {
    return this.plan.queues;
  }

  get timeouts(): Timeouts {
    return this.settings.timeouts;
  }

  /** What the namespace is called by the world: its UUID, else NGUID, else EUI-64. */
  get uuid(): string {
    return this.#namespace.uuid || this.#namespace.nguid || this.#namespace.eui64;
  }

  /** What the world calls it besides. */
  get identifiers(): string[] {
    const { nguid, eui64 } = this.#namespace;
    return [nguid, eui64].filter((id) => id !== "" && id !== this.uuid);
  }

  get nqn(): string {
    return this.plan.nqn;
  }

  get geometry(): Geometry {
    return this.#size.geometry;
  }

  get blocks(): number {
    return this.geometry.blocks;
  }

  /** What the kernel has of it; null if it has nothing, or nothing of ours any more. */
  get kernelDevice(): KernelDevice | null {
    return this.#deviceWatch.isGone ? null : this.#device;
  }

  /** The kernel device, or null. */
  get device(): string | null {
    return this.kernelDevice?.path ?? null;
  }

  /** What the kernel device is, or was, made with. */
  get kernelDriver(): DeviceDriver {
    return this.#device?.driver ?? "none";
  }

  /** Why the kernel device is lost, in words; null if it is not, as far as the last look has told. */
  get deviceReason(): string | null {
    return this.#deviceWatch.lost;
  }

  /** Looks whether the kernel device still is the one that was made: its name may be another's by now. */
  lookAtDevice(): Promise<void> {
    return this.#deviceWatch.look();
  }

  /** It was attached: its first path and its device were made. */
  get isOpen(): boolean {
    return this.#isOpened;
  }

  get isDetaching(): boolean {
    return this.#detaching !== null;
  }

  // ── attach ────────────────────────────────────────────────────────────────────────────────────────────────────────

  /**
   * Makes the volume in the workers, its first path live, and the kernel device where one is wanted. What was made is
   * undone on failure.
   *
   * @throws UmpathError
   */
  async open(spec: PathSpec, first: ControllerSession, driver: DeviceDriver): Promise<void> {
    this.#pool.subscribe(this.plan.index, (message, thread) => this.#handleMessage(message, this.#queueIn(thread)));
    try {
      if (driver === "none") {
        await this.#addToWorkers(REQUEST_BYTES_MAX, new Array(this.plan.queues).fill(NO_FEED));
        await this.#startFirst(spec, first);
      } else {
        await this.#makeDevice(driver, this.#queuesFor(spec, first));
      }
      this.#isOpened = true;
      this.#io.begin();
      // The namespace may have changed its size while the device was made.
      void this.#size.settle();
    } catch (error) {
      if (this.paths.count === 0) first.abandon();
      await this.#abandon();
      throw error;
    }
  }

  /** A device that was read in vain is none: its partitions are not known. */
  async #makeDevice(driver: "ublk" | "loop", queues: VolumeQueues): Promise<void> {
    using opening = new OpeningWatch(() => this.#handleStalled());
    this.#opening = opening;
    try {
      await this.#createDevice(driver, queues);
    } catch (error) {
      throw this.#stall ?? error;
    }
    if (this.#stall === null) return;
    await this.#device!.destroy({ force: true });
    this.#device = null;
    throw this.#stall;
  }

  /** Nothing waits for a path any more, so that the kernel's reads end, and the attach with them. */
  #handleStalled(): void {
    const states = this.paths.all.map((path) => `"${pathWords(path.spec)}" is ${path.reason ?? path.ana}`);
    const action = `Cannot make the device of ${this.name}`;
    const reason = `no path has served I/O for ${OPENING_STALL_MS / 1000} s: ${states.join(", ")}`;
    this.#stall = new PathFailure("unreachable", { action, reason }, {
      hint: "Attach again when a path is optimized or non-optimized",
    });
    log.error(`${action}: ${reason}`);
    this.cutWaits();
  }

  /** Makes an {@linkcode open} that is under way fail soon: the volume is not wanted any more. */
  interruptOpen(): void {
    if (this.#isOpened) return;
    this.cutWaits();
    for (const path of this.paths.all) void path.end("its volume is not wanted any more");
  }

  async #startFirst(spec: PathSpec, first: ControllerSession): Promise<void> {
    const failure = await this.paths.make(spec).start(first);
    if (failure !== null) throw failure;
  }

  /** The thread of a queue: volumes with few queues spread over all threads. */
  threadOf(queue: number): number {
    return (this.plan.index + queue) % this.#pool.size;
  }

  /** The volume's queue in a thread, which has one at most. */
  #queueIn(thread: number): number {
    const { size } = this.#pool;
    return (thread + size - this.plan.index % size) % size;
  }

  #post(queue: number, message: ToWorker): void {
    this.#pool.post(this.threadOf(queue), message);
  }

  /** One queue for each feed, in as many workers. */
  async #addToWorkers(requestBytes: number, feeds: QueueFeed[]): Promise<void> {
    this.#adds = feeds.map(() => Promise.withResolvers<WireError | null>());
    this.#links.begin(feeds.length);
    const wakeFds = feeds.map((_, queue) => this.#pool.wakeFd(this.threadOf(queue)));
    for (const [queue, feed] of feeds.entries()) {
      const counters = new Counters();
      this.#counters.push(counters);
      const message: AddVolume = {
        type: "add-volume",
        volume: this.plan.index,
        // A namespace that is write protected refuses writes itself, and may take them later.
        geometry: { ...this.geometry, readOnly: this.plan.readOnly },
        nsid: this.plan.nsid,
        depth: this.plan.depth,
        requestBytes,
        paths: this.table.shared,
        counters: counters.shared,
        neighbours: this.#links.neighboursOf(queue, wakeFds),
        ...feed,
      };
      this.#post(queue, message);
    }
    const failures = await Promise.all(this.#adds.map((add) => add.promise));
    this.#made = [...failures.keys()].filter((queue) => failures[queue] === null);
    const failure = failures.find((failed) => failed !== null);
    if (failure === undefined) return;
    const { message, hint } = failure;
    throw new UmpathError("host-lacks", `Cannot make the queues of ${this.name}: ${midSentence(message)}`, { hint });
  }

  async #createDevice(driver: "ublk" | "loop", queues: VolumeQueues): Promise<void> {
    const create = driver === "ublk" ? createUblkDevice : createVolumeLoop;
    const { name, queues: queueCount, depth } = this.plan;
    this.#device = await create({ name, geometry: this.geometry, queues: queueCount, depth }, queues);
    this.#deviceWatch.adopt(this.#device);
  }

  /** The device is scanned for partitions as it starts, which is I/O: its first path is live before. */
  #queuesFor(spec: PathSpec, first: ControllerSession): VolumeQueues {
    return {
      serve: async ({ queues, depth, requestBytes }, feeds) => {
        this.plan.queues = queues;
        this.plan.depth = depth;
        await this.#addToWorkers(requestBytes, feeds);
        await this.#startFirst(spec, first);
        await this.#startQueues();
      },
      drain: () => this.#drainQueues(),
    };
  }

  async #startQueues(): Promise<void> {
    this.#queueStarts = Array.from({ length: this.plan.queues }, () => Promise.withResolvers<void>());
    this.#queueDrains = Array.from({ length: this.plan.queues }, () => Promise.withResolvers<void>());
    for (let queue = 0; queue < this.plan.queues; queue++) {
      this.#post(queue, { type: "start-queue", volume: this.plan.index });
    }
    await Promise.all(this.#queueStarts.map((started) => started.promise));
  }

  async #drainQueues(): Promise<void> {
    if (this.#queueDrains.length === 0) {
      this.#queueDrains = this.#counters.map(() => Promise.withResolvers<void>());
      this.#tellWorkers("abandon-queue");
    }
    await Promise.all(this.#made.map((queue) => this.#queueDrains[queue].promise));
  }

  #tellWorkers(type: "abandon-queue" | "remove-volume"): void {
    for (const queue of this.#made) this.#post(queue, { type, volume: this.plan.index });
  }

  /** Lets a load in the first worker drive the volume, which has no kernel device. */
  startLoad(plan: LoadPlan): void {
    assert(this.device === null, "A volume's requests come from one place");
    this.#post(0, { type: "start-load", volume: this.plan.index, plan });
  }

  // ── paths ─────────────────────────────────────────────────────────────────────────────────────────────────────────

  /**
   * Changes what is named, all of it or nothing.
   *
   * @throws UmpathError "not-found" for a path, "usage" for a policy or a time.
   */
  change(changes: VolumeChanges, warn: (message: string) => void): void {
    const { policy, preferredPath, weights, slowPath = null, hedgeReads = null, timeouts } = changes;
    const failback = changes.failback == null || changes.failback === "now" ? null : readFailback(changes.failback);
    const preferred = preferredPath === null || preferredPath === "none" ? null : this.paths.named(preferredPath);
    const weighed = weights.map(({ path, weight }) => ({ path: this.paths.named(path), weight }));
    this.settings.change({
      ...policy === null ? {} : { policy: readPolicy(policy) },
      ...slowPath === null ? {} : { slowPath: readSlowPath(slowPath) },
      ...hedgeReads === null ? {} : { hedgeReads: parseHedge(hedgeReads) },
      timeouts,
    });
    this.#slow.setMode(this.settings.slowPath);
    if (preferredPath !== null) this.table.setPreferred(preferred?.index ?? -1);
    for (const { path, weight } of weighed) this.table.setWeight(path.index, weight);
    if (failback !== null) this.failback.setMode(failback);
    if (isChoiceAnew(changes)) this.failback.release();
    if (Object.keys(timeouts).length > 0) this.paths.all.forEach((path) => path.handleTimesChanged());
    this.handlePathChanged();
    if (preferred !== null && !heedsPreferred(this.settings.policy)) {
      warn(`The policy of ${this.name}, ${this.settings.policy}, does not heed the preferred path`);
    }
    if (weighed.length > 0 && !heedsWeights(this.settings.policy)) {
      warn(`The policy of ${this.name}, ${this.settings.policy}, does not heed weights`);
    }
    const { holdRisk } = this.settings;
    if (timeouts.writeHoldMs !== undefined && holdRisk !== null) warn(`${this.name}: ${holdRisk}`);
    const isConnected = this.paths.all.some((path) => path.cntlid !== null);
    if (timeouts.keepAliveMs !== undefined && isConnected) {
      warn(`The keep-alive time of ${this.name} holds for each path from its next connect on`);
    }
  }

  #handlePathMade(index: number, isNew: boolean): void {
    this.failback.forget(index);
    if (!isNew) return;
    this.#counters.forEach((counters) => counters.clearPath(index));
    this.#slow.handlePathMade(index);
  }

  /** What follows from all paths follows without it. */
  #handlePathRemoved(index: number): void {
    this.failback.forget(index);
    this.#slow.handlePathMade(index);
    if (this.paths.count > 0) this.#foldExecutes();
    this.handlePathChanged();
  }

  #foldExecutes(): void {
    this.settings.setLateExecution(Math.max(...this.paths.all.map((path) => path.lateExecutionMs)));
  }

  objection(path: VolumePath, session: ControllerSession): PathFailure | null {
    const action = this.#cannotUse(path.spec);
    if (this.#strangers.has(portalOf(path.spec))) {
      const reason = `it led to another subsystem of this name before: detach ${this.name} if that is mended`;
      return new ForeignPath({ action, reason });
    }
    const difference = this.difference(session.controller);
    if (difference !== null && difference.isProved) {
      return new ForeignPath({ action, reason: `it leads to another namespace: ${difference.words}` });
    }
    if (difference !== null) {
      const reason = `nothing shows that it leads to the same namespace: ${difference.words}`;
      return new PathFailure("refused", { action, reason }, { isFinal: true });
    }
    return null;
  }

  strangerTo(path: VolumePath, session: ControllerSession, silent: ReadonlySet<ControllerSession>) {
    for (const other of this.paths.all) {
      if (other === path || other.session === null || silent.has(other.session)) continue;
      const words = subsystemDifference(other.session.controller, session.controller, pathWords(other.spec));
      if (words !== null) return { session: other.session, difference: words };
    }
    return null;
  }

  banStranger({ spec }: VolumePath, reason: string): ForeignPath {
    this.#strangers.add(portalOf(spec));
    return new ForeignPath({ action: this.#cannotUse(spec), reason });
  }

  #cannotUse(spec: PathSpec): string {
    return `Cannot use path "${pathWords(spec)}" for ${this.name}`;
  }

  difference({ name, limits }: KnownNamespace): IdentityDifference | null {
    const other = { ...name, blockSize: limits.blockSize };
    return identityDifference(this.#provable(this.#namespace), this.#provable(other));
  }

  /** A namespace without any identifier cannot be proved to be the same over two paths; over a single one it need not. */
  #provable(namespace: ComparableNamespace): ComparableNamespace {
    const areNameless = isNameless(namespace) && isNameless(this.#namespace);
    return areNameless && this.paths.count === 1 ? { ...namespace, uuid: "of the only path" } : namespace;
  }

  addLinks(path: VolumePath, session: ControllerSession, queues: OpenQueue[]): number[] {
    const { queueDepth, inCapsuleBytes, limits } = session.controller;
    this.#watch.handleLive(path, limits);
    return this.#links.deal(path.index, queues.length).map((link, i) => {
      const { id } = link;
      const queue = queues[i];
      this.#post(link.queue, {
        type: "add-link",
        volume: this.plan.index,
        path: path.index,
        link: id,
        fd: queue.fd,
        depth: Math.min(queueDepth, CONNECTION_DEPTH_MAX),
        inCapsuleBytes,
        transfer: queue.transfer,
        limits: {
          maxTransferBytes: limits.maxTransferBytes,
          maxDiscardBlocks: limits.maxDiscardBlocks,
          maxWriteZeroesBlocks: limits.maxWriteZeroesBlocks,
          retryDelaysMs: session.controller.controller.retryDelaysMs,
        },
      });
      return id;
    });
  }

  async closeLinks(path: VolumePath): Promise<void> {
    this.#watch.handleDown(path);
    const mine = this.#links.of(path.index);
    for (const { id, queue } of mine) {
      this.#post(queue, { type: "close-link", volume: this.plan.index, path: path.index, link: id });
    }
    await Promise.all(mine.map((link) => link.closed.promise));
    this.#links.forget(mine);
  }

  async drain(path: VolumePath): Promise<boolean> {
    const inFlight = () => Counters.sumPath(this.#counters, path.index, PathCounter.IN_FLIGHT);
    // Twice, for a worker may have looked at the path's state just before it was changed.
    let quietLooks = 0;
    for (let waitedMs = 0; waitedMs < DRAIN_MS_MAX && quietLooks < 2 && !this.table.isCut; waitedMs += DRAIN_POLL_MS) {
      quietLooks = inFlight() === 0 ? quietLooks + 1 : 0;
      await new Promise((resolve) => setTimeout(resolve, DRAIN_POLL_MS));
    }
    return quietLooks === 2;
  }

  handleLive(): void {
    const { writeHoldMs: holdMs } = this.settings.timeouts;
    this.#foldExecutes();
    if (this.settings.timeouts.writeHoldMs !== holdMs) this.settings.warnIfHoldIsLong(this.name);
  }

  releaseHeld(path: VolumePath): void {
    log.info(`${this.name}: the lost controller of path ${path.index} is reset: writes that were held go on`);
    for (let queue = 0; queue < this.#counters.length; queue++) {
      this.#post(queue, { type: "release-held", volume: this.plan.index, path: path.index });
    }
  }

  handlePathChanged(): void {
    this.failback.handleChange();
    this.#opening?.handlePaths(this.paths.all.some(({ isServing }) => isServing));
    this.#links.judgeHelpers();
    this.#judgeHope();
    const { all } = this.paths;
    const serving = all.filter(({ isServing }) => isServing).length;
    if (!this.isDetaching && !this.#isCutForGood) this.#io.handlePaths({ serving, all: all.length }, performance.now());
    this.wakeWorkers();
  }

  /** I/O waits for a path as long as one is expected; while the volume is detached, only for one that serves. */
  #judgeHope(): void {
    const paths = this.paths.all;
    const isLost = paths.some(({ prospect }) => prospect === "lost");
    const isHopeless = this.isDetaching
      ? !paths.some(({ isServing }) => isServing)
      : isLost && !paths.some(({ prospect }) => prospect === "expected");
    if (this.#isCutForGood || isHopeless === this.#isHopeless) return;
    this.#isHopeless = isHopeless;
    if (!isHopeless) return this.table.uncut();
    log.error(`${this.name}: no path is expected to come back soon: I/O fails until one does`);
    this.table.cut();
  }

  wakeWorkers(): void {
    this.#pool.wake();
  }

  handleNamespace(path: VolumePath, session: ControllerSession): void {
    this.#watch.handleShown(path, session.controller);
  }

  handleRefused(path: VolumePath): void {
    if (!path.wasLive) return;
    log.error(`${this.name}: path ${path.index} is out of use: ${path.reason}`);
    if (this.paths.all.some((other) => other.state !== "disabled")) return;
    log.error(`${this.name}: no path leads to its namespace any more: I/O fails until one is attached that does`);
    this.handlePathChanged();
  }

  /** Resolves when the queues and the kernel device have the size that the volume has by now. */
  sizeSettled(): Promise<void> {
    return this.#size.settle();
  }

  setProtected(isProtected: boolean): void {
    this.#size.setReadOnly(this.plan.readOnly || isProtected);
  }

  resize(blocks: number): void {
    this.#size.change(blocks);
  }

  async resizeQueues(blocks: number): Promise<void> {
    const { promise, resolve } = Promise.withResolvers<void>();
    this.#resizes = { left: this.#made.length, done: resolve };
    for (const queue of this.#made) {
      this.#post(queue, { type: "resize-volume", volume: this.plan.index, blocks });
    }
    if (this.#made.length > 0) await promise;
  }

  #handleMessage(message: FromWorker, queue: number): void {
    switch (message.type) {
      case "volume-added":
        return this.#adds[queue].resolve(message.failure);
      case "queue-started":
        return this.#queueStarts[queue].resolve();
      case "queue-drained":
        this.#deviceWatch.handleQueueEnded(message.failure);
        return this.#queueDrains[queue]?.resolve();
      case "device-doubt":
        return void this.#deviceWatch.look();
      case "link-failed":
        if (this.#links.find(message.link) !== null) this.paths.at(message.path)?.handleLinkFailed(message.reason);
        return;
      case "link-closed":
        return this.#links.find(message.link)?.closed.resolve();
      case "ana-doubt":
        return this.paths.at(message.path)?.handleAnaDoubt();
      case "volume-resized":
        if (--this.#resizes.left === 0) this.#resizes.done();
        return;
      case "volume-removed":
        if (--this.#workersLeft === 0) this.#workersGone.resolve();
        return;
    }
  }

  // ── detach ────────────────────────────────────────────────────────────────────────────────────────────────────────

  /**
   * Refuses if the device is in use.
   *
   * @throws UmpathError "in-use"
   */
  async checkUnused(): Promise<void> {
    await this.lookAtDevice();
    const device = this.device;
    const why = device === null ? null : await lastingUseWords(device);
    if (why !== null) throw inUse(this.name, `${device} ${why}`);
  }

  /** Logs who uses the device, as far as that is known soon: it is to be taken away all the same. */
  async logUsers(): Promise<void> {
    await Promise.race([this.#findUsers(), pause(USERS_MS_MAX)]);
  }

  async #findUsers(): Promise<void> {
    await this.lookAtDevice();
    const { device } = this;
    const why = device === null ? null : await deviceUseWords(device);
    if (why !== null) log.warn(`${this.name}: ${device} ${why} and is taken away: all I/O on it fails from now on`);
  }

  /** Writes back what is dirty of the device, for `msMax` at most. Others fail from then on. */
  async writeBack(msMax: number): Promise<void> {
    const { device } = this;
    if (device === null || this.geometry.readOnly || this.isDetaching) return;
    if (!this.paths.all.some((path) => path.isServing)) {
      return log.error(`${this.name}: no path serves: what is not written back of ${device} is lost`);
    }
    log.info(`${this.name}: writing back what is dirty of ${device}, for ${formatDuration(msMax)} at most`);
    const outcome = await Promise.race([writeBack(device), pause(msMax).then(() => null)]);
    if (outcome === null) {
      log.error(`${this.name}: ${device} is not written back after ${formatDuration(msMax)}: what is left is lost`);
    } else if (outcome.length > 0) log.error(`${this.name}: cannot write back ${outcome.join("; ")}`);
    else log.info(`${this.name}: ${device} is written back`);
  }

  /** Takes the volume away: device, links, paths, workers' shares. The same promise for everybody who asks. */
  detach(options: DetachOptions): Promise<void> {
    this.#detaching ??= this.#detach(options).catch((error) => {
      this.#detaching = null;
      throw error;
    });
    return this.#detaching;
  }

  async #detach(options: DetachOptions): Promise<void> {
    log.info(`${this.name}: detaching${this.device === null ? "" : ` ${this.device}`}`);
    const isStuck = this.paths.all.every((path) => !path.isServing);
    if (isStuck) this.cutWaits();
    if (options.force) await this.failAll();
    if (this.#device !== null) {
      const warnings = await this.#destroyDevice(this.#device, options);
      for (const { message } of warnings) {
        log.warn(`${this.name}: ${message}`);
        options.warn?.(`${this.name}: ${message}`);
      }
      this.#device = null;
    }
    await this.#abandon();
    log.info(`${this.name}: detached`);
  }

  async #destroyDevice(device: KernelDevice, options: { force: boolean }): Promise<UmpathError[]> {
    this.#deviceWatch.retire();
    try {
      return await device.destroy(options);
    } catch (error) {
      this.#deviceWatch.keep();
      const use = error instanceof UmpathError && error.code === "in-use" ? await deviceUseWords(device.path) : null;
      throw use === null ? error : inUse(this.name, `${device.path} ${use}`);
    }
  }

  /** Nothing waits for a path any more: what has none fails. Makes a detach that is under way quick. */
  cutWaits(): void {
    this.#isCutForGood = true;
    this.table.cut();
    this.wakeWorkers();
  }

  /** All I/O fails at once, what is in flight as well: its answers are not waited for. */
  async failAll(): Promise<void> {
    const requests = this.#requestsInside;
    this.cutWaits();
    this.table.giveUp();
    await Promise.all(this.paths.all.map((path) => this.paths.remove(path, { abandons: true })));
    if (requests === 0) return;
    log.warn(`${this.name}: ${count(requests, "request")} failed, unanswered: the volume is detached by force`);
  }

  /** Requests of the device that have no answer yet, about: the workers go on counting. */
  get #requestsInside(): number {
    const inFlight = this.paths.all.map(({ index }) => Counters.sumPath(this.#counters, index, PathCounter.IN_FLIGHT));
    const waiting = this.#counters.map((counters) =>
      counters.queue(QueueCounter.WAITING) + counters.queue(QueueCounter.HELD)
    );
    return [...inFlight, ...waiting].reduce((sum, requests) => sum + requests, 0);
  }

  async #abandon(): Promise<void> {
    this.cutWaits();
    this.#slow.end();
    this.#io.end();
    await Promise.all(this.paths.all.map((path) => this.paths.remove(path)));
    this.#workersLeft = this.#made.length;
    if (this.#workersLeft > 0) {
      this.#tellWorkers("remove-volume");
      await this.#workersGone.promise;
    }
    this.#pool.unsubscribe(this.plan.index);
    this.#resolveGone();
  }

  // ── what it tells ─────────────────────────────────────────────────────────────────────────────────────────────────

  get state(): VolumeState {
    if (this.isDetaching) return "detaching";
    return this.deviceReason === null ? volumeState(this.paths.all) : "dead";
  }

  info(): VolumeInfo {
    const { name, nqn, nsid, queues, depth, session } = this.plan;
    const { policy, slowPath, timeouts, writeHoldAuto } = this.settings;
    const hedgeReads = formatHedge(this.settings.hedgeReads);
    const facts = {
      ...{ name, nqn, nsid, policy, slowPath, hedgeReads, queues, depth, timeouts, writeHoldAuto },
      failback: this.failback.mode,
      preferredPath: this.table.preferred < 0 ? null : this.table.preferred,
      headerDigest: session.digests?.header ?? false,
      dataDigest: session.digests?.data ?? false,
      uuid: this.uuid,
      identifiers: this.identifiers,
      device: this.device,
      deviceReason: this.deviceReason,
      driver: this.kernelDriver,
      sizeBytes: this.geometry.blocks * this.geometry.blockSize,
      blockSize: this.geometry.blockSize,
      sizeWarning: this.#size.warning ?? this.#watch.disagreement,
      readOnly: this.#size.readOnlyReason !== null,
      readOnlyReason: this.#size.readOnlyReason,
      model: this.#model,
      serial: this.#serial,
    };
    const { state } = this;
    return volumeInfo({ ...facts, state }, {
      paths: this.paths.all,
      counters: this.#counters,
      table: this.table,
      slow: this.#slow,
    });
  }
}

function isNameless({ uuid, nguid, eui64 }: ComparableNamespace): boolean {
  return uuid === "" && nguid === "" && eui64 === "";
}

function portalOf({ traddr, trsvcid }: PathSpec): string {
  return `${traddr} ${trsvcid}`;
}

/** The device of the volume `name` is not taken away; `why` says who uses it. */
function inUse(name: string, why: string): UmpathError {
  return new UmpathError("in-use", `Cannot detach ${name}: ${why}`, {
    hint: "Unmount or close it first, or use --force, which fails all I/O from then on",
  });
}

/** How long I/O waits when all paths are lost at once; null: without end. */
function waitMsOf({ noPathTimeoutMs, fastIoFailTimeoutMs }: Timeouts): number | null {
  const waitMs = Math.min(noPathTimeoutMs ?? Infinity, fastIoFailTimeoutMs ?? Infinity);
  return waitMs === Infinity ? null : waitMs;
}

/** Somebody says which paths are to be used: that holds at once. */
function isChoiceAnew({ failback, policy, preferredPath, weights }: VolumeChanges): boolean {
  return failback === "now" || policy !== null || preferredPath !== null || weights.length > 0;
}

function geometryOf(session: ControllerSession, readOnly: boolean): Geometry {
  const { limits } = session.controller;
  return {
    blockSize: limits.blockSize,
    blocks: limits.blocks,
    physicalBlockSize: limits.physicalBlockSize,
    minIoBytes: limits.minIoBytes,
    optimalIoBytes: limits.optimalIoBytes,
    volatileCache: limits.volatileCache,
    readOnly: readOnly || limits.readOnly,
    maxDiscardBytes: limits.maxDiscardBlocks * limits.blockSize,
    discardGranularity: limits.discardGranularity,
    maxWriteZeroesBytes: limits.maxWriteZeroesBlocks * limits.blockSize * ZEROES_PARTS_MAX,
  };
}
