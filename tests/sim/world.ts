import { assert } from "../../src/base/assert.ts";
import { RETRIES_MAX } from "../../src/base/limits.ts";
import { mixSeed, Prng } from "../../src/base/prng.ts";
import type { Geometry } from "../../src/block/device.ts";
import { Counters, PathCounter, QueueCounter } from "../../src/multipath/counters.ts";
import { PathTable } from "../../src/multipath/path_table.ts";
import { AnaStateCode } from "../../src/protocol/nvme_log.ts";
import { SILENCE_MS_MAX } from "../../src/nvme_target/keep_alive_timer.ts";
import { ADMIN_FAULTS } from "./admin_faults.ts";
import { brokenDevice } from "./broken_device.ts";
import {
  calmBoundMs,
  CHECK_MS,
  checkDeadlines,
  checkDrained,
  checkGone,
  checkPrompt,
  checkTargetsIdle,
} from "./checks.ts";
import { Clock, Task } from "./clock.ts";
import { FaultPlan, FAULTS } from "./faults.ts";
import { HostVolume } from "./host_volume.ts";
import type { HostQueue } from "./host_queue.ts";
import { Network } from "./network.ts";
import type { Route } from "./route.ts";
import { Oracle } from "./oracle.ts";
import { MemoryPool } from "./pool.ts";
import { PolicyPlan, policyWords } from "./policy_plan.ts";
import { Portal } from "./portal.ts";
import type { Scenario } from "./scenario.ts";
import { SizeLog } from "./size_log.ts";
import { SpreadWatch } from "./spread.ts";
import { Store } from "./store.ts";
import { Target } from "./target.ts";
import type { Trace } from "./trace.ts";
import { Violation } from "./violation.ts";
import { type FailedRequest, Workload } from "./workload.ts";

/** Requests between two pauses of a worker where there are no faults; odd, so that each worker has its turn. */
const CALM_PAUSE_IOS = 2_101;
/**
 * How long it may take until a path is looked at whose events were lost or refused: the pause between two looks, and one
 * after looks that failed.
 */
const ADMIN_SETTLE_MS = 20_000;
/** A run that takes longer has come to a standstill. */
const RUN_MS_MAX = 10 * 3_600_000;
/** How long a target may take to notice that a host is gone: the silence of one that has never enabled its controller. */
const GOODBYE_MS = SILENCE_MS_MAX + 5_000;

/** Everything there is in one run: hosts, network, targets, load, faults, checkers. */
export class World {
  readonly scenario: Scenario;
  readonly clock = new Clock();
  readonly network: Network;
  readonly portals: readonly Portal[];
  readonly targets: readonly Target[];
  readonly volume: HostVolume;
  readonly workload: Workload;
  readonly store: Store;
  readonly sizes: SizeLog;
  readonly counters: readonly Counters[];
  readonly table = new PathTable();
  readonly calmBoundMs: number;
  /** Since when no path serves; Infinity while one does. */
  pathlessSinceMs = 0;
  /** When anything changed last. */
  lastChangeMs = 0;
  /** When each queue was seen last with commands in flight. */
  readonly lastBusyMs: number[] = [];
  longestPauseMs = 0;
  #nextPauseMs = 0;

  readonly #faults: readonly FaultPlan[];
  readonly #policies: PolicyPlan;
  readonly #spread: SpreadWatch;
  readonly #trace: Trace | null;
  readonly #checkTask: Task;
  #isRecovered = false;

  constructor(scenario: Scenario, makeTrace: ((nowMs: () => number) => Trace) | null = null) {
    this.scenario = scenario;
    this.#trace = makeTrace?.(() => this.clock.nowMs) ?? null;
    // A stream of its own for each part, so that a change in one does not shuffle the others.
    const stream = (part: number) => new Prng(mixSeed(Math.imul(scenario.seed, 31) + part));
    const pool = new MemoryPool();
    this.network = new Network(this.clock, stream(1));
    // What a controller does after it has lost its host is over before the writes that are held go on.
    const keptMsMax = scenario.keepAliveMs * 0.8;
    this.portals = scenario.latencyMs.map((latencyMs, index) =>
      new Portal(index, {
        prng: stream(2),
        latencyMs,
        mediumMs: scenario.mediumMs,
        keptMsMax,
        ioQueuesMax: scenario.ioQueuesMax,
      })
    );
    const { blockSize, blocks, firstLba, broken } = scenario;
    const store = this.store = new Store({
      blockSize,
      blocks,
      firstLba,
      prng: stream(3),
      ...(broken.store ? { broken: broken.store } : {}),
    });
    if (scenario.kind === "calm") {
      this.portals[0].ana = [AnaStateCode.OPTIMIZED, AnaStateCode.NON_OPTIMIZED][stream(4).below(2)];
    }
    const groups = scenario.isOneTarget ? [this.portals] : this.portals.map((portal) => [portal]);
    this.targets = groups.map((portals, index) =>
      new Target({
        ...{ clock: this.clock, prng: stream(5 + index), pool, store, portals, manners: scenario.manners },
        ioQueuesMax: () => Math.min(...portals.map(({ ioQueuesMax }) => ioQueuesMax)),
        queueEntriesMax: scenario.connectionDepth + 1,
        transferBytesMax: scenario.transferBytesMax,
        inCapsuleBytes: scenario.inCapsuleBytes,
        receiveBytes: scenario.receiveBytes,
        turnMs: scenario.turnMs,
        trace: (words) => this.trace(words),
      })
    );
    this.sizes = new SizeLog(blocks);
    this.counters = Array.from({ length: scenario.queues }, () => new Counters());
    this.lastBusyMs = this.counters.map(() => 0);
    this.#policies = new PolicyPlan(scenario.policies, { table: this.table, isLost: broken.losesPolicy === true });
    this.#spread = new SpreadWatch(this.table, this.counters, this.portals.map(({ index }) => index));
    this.volume = new HostVolume(this, {
      setting: () => this.#policies.current,
      pool,
      prng: stream(20),
      geometry: geometryOf(scenario),
      wrap: (device, requests) => brokenDevice(device, { broken, requests, prng: stream(21) }),
      handleDone: (queue, tag, result) => this.workload.handleDone(queue, tag, result),
    });
    const oracle = new Oracle({ blocks, blockSize });
    const plans = [new FaultPlan(this, stream(22), FAULTS)];
    // Those of the admin side have a stream of their own, and half of the seeds go without.
    if (scenario.hasAdminFaults) plans.unshift(new FaultPlan(this, stream(24), ADMIN_FAULTS));
    this.#faults = plans;
    this.workload = new Workload(scenario, {
      ...{ clock: this.clock, prng: stream(23), oracle, queues: this.volume.queues },
      events: {
        blocks: () => this.volume.size.deviceBlocks - firstLba,
        handleIssue: (issued) => this.#handleIssue(issued),
        handleError: (failed) => this.#checkError(failed),
        trace: this.#trace?.isPrinted === true ? (words) => this.trace(words()) : null,
      },
    });
    this.calmBoundMs = calmBoundMs(this);
    this.#checkTask = new Task(this.clock, () => {
      checkDeadlines(this);
      this.#checkTask.in(CHECK_MS);
    });
  }

  get queues(): readonly HostQueue[] {
    return this.volume.queues;
  }

  get faultsBegun(): number {
    return this.#faults.reduce((sum, { begun }) => sum + begun, 0);
  }

  /** Digests that the host has found wrong in its I/O queues. */
  get digestErrors(): number {
    const { DIGEST_ERRORS } = PathCounter;
    const sumOf = (counters: Counters) =>
      this.portals.reduce((sum, { index }) => sum + counters.path(index, DIGEST_ERRORS), 0);
    return this.counters.reduce((sum, counters) => sum + sumOf(counters), 0);
  }

  /** Reads that were sent twice, and those of them that the second copy has answered. */
  get hedges(): { sent: number; won: number } {
    const sumOf = (counter: number) => this.counters.reduce((sum, counters) => sum + counters.queue(counter), 0);
    return { sent: sumOf(QueueCounter.HEDGES), won: sumOf(QueueCounter.HEDGES_WON) };
  }

  /** Requests that a queue without a link has handed over. */
  get handed(): number {
    return this.counters.reduce((sum, counters) => sum + counters.queue(QueueCounter.HANDED), 0);
  }

  get traceLines(): string[] {
    return this.#trace?.lines ?? [];
  }

  trace(words: string): void {
    this.#trace?.add(words);
  }

  #handleIssue(issued: number): void {
    for (let due = this.#policies.dueAt(issued); due !== null; due = this.#policies.dueAt(issued)) {
      this.#endSetting();
      this.#policies.advance();
      this.trace(`the policy is ${policyWords(due)} now`);
    }
    if (this.scenario.kind !== "calm") { for (const plan of this.#faults) plan.handleIssue(issued); }
    else if (issued % CALM_PAUSE_IOS === 0) this.#pause(issued);
  }

  /** A worker's thread stands still for longer than commands may take: nobody else is to blame. */
  #pause(issued: number): void {
    const queue = this.queues[issued % this.queues.length];
    const pauseMs = this.scenario.ioTimeoutMs + 1_000;
    // A request waits for one pause at most.
    if (this.clock.nowMs < this.#nextPauseMs) return;
    this.#nextPauseMs = this.clock.nowMs + 2 * pauseMs;
    this.longestPauseMs = pauseMs;
    this.handleFault(`queue ${queue.index} is paused`);
    queue.pause();
    this.clock.after(pauseMs, () => {
      this.handleFault(`queue ${queue.index} goes on`);
      queue.resume();
    });
  }

  #endSetting(): void {
    if (this.scenario.kind === "calm") this.#spread.endSetting(this.#policies.current);
  }

  // ── what faults do ──────────────────────────────────────────────────────────────────────────────────────────────────

  handleFault(words: string): void {
    this.lastChangeMs = this.clock.nowMs;
    this.trace(words);
  }

  healRoute(route: Route): void {
    route.setDeaf({ toTarget: false, toHost: false });
  }

  resize(blocks: number): void {
    if (blocks === this.store.size) return;
    this.handleFault(`the namespace has ${blocks} blocks now`);
    this.store.size = blocks;
    for (const target of this.targets) target.handleResized();
    this.#noteSizes();
  }

  /** A target shows the size that it has held back. */
  showSize(target: Target): void {
    target.handleSizeDue();
    this.#noteSizes();
  }

  /** The volume or its device has another size. */
  handleResized(words: string): void {
    this.handleFault(words);
    this.#noteSizes();
  }

  #noteSizes(): void {
    const shown = Math.min(this.volume.size.least, ...this.targets.map(({ shownBlocks }) => shownBlocks));
    this.sizes.note(Math.min(shown - this.scenario.firstLba, this.store.size), this.clock.nowMs);
  }

  targetOf(portal: Portal): Target {
    return this.targets[this.scenario.isOneTarget ? 0 : portal.index];
  }

  setAna(portal: Portal, state: number): void {
    if (portal.ana !== state) this.handleFault(`portal ${portal.index} gets ANA state ${state}`);
    this.targetOf(portal).setAna(portal.index, state);
  }

  iosOf(portal: Portal) {
    return [...this.targetOf(portal).ios].filter(({ listener }) => listener === portal.index);
  }

  controlsOf(portal: Portal) {
    return [...this.targetOf(portal).controls].filter(({ listener }) => listener === portal.index);
  }

  hostLinksOf(portal: Portal) {
    return this.queues.flatMap(({ links }) => links[portal.index] === null ? [] : [{ link: links[portal.index]! }]);
  }

  hostAdminsOf({ index }: Portal) {
    const admin = this.volume.paths[index].session?.admin;
    return admin?.isOpen === true ? [admin] : [];
  }

  // ── what the host tells ─────────────────────────────────────────────────────────────────────────────────────────────

  handlePathChange(path: number, words: string): void {
    this.trace(`path ${path} ${words}`);
    this.lastChangeMs = this.clock.nowMs;
    const serves = ({ index }: Portal) => {
      const ana = this.table.ana(index);
      return this.table.isUsable(index) && (ana === AnaStateCode.OPTIMIZED || ana === AnaStateCode.NON_OPTIMIZED);
    };
    const isServed = this.portals.some(serves);
    if (isServed) this.pathlessSinceMs = Infinity;
    else if (this.pathlessSinceMs === Infinity) this.pathlessSinceMs = this.clock.nowMs;
  }

  /** An error may go up to the application only for a reason. */
  #checkError({ errno, issuedMs, refusals, first, end }: FailedRequest): void {
    const { nowMs } = this.clock;
    const { noPathTimeoutMs, hasHardErrors } = this.scenario;
    this.trace(`a request fails with errno ${errno}`);
    const ageMs = nowMs - issuedMs;
    const isPathless = noPathTimeoutMs >= 0 && nowMs - this.pathlessSinceMs >= noPathTimeoutMs - CHECK_MS;
    if (end > this.sizes.smallestSince(issuedMs)) return;
    if (!this.#isRecovered && (hasHardErrors || isPathless || refusals > RETRIES_MAX)) return;
    const words = `A request of blocks ${first} to ${end - 1} fails with errno ${errno} after ${
      ageMs.toFixed(0)
    } ms and ${refusals} refusals`;
    throw new Violation("errno", `${words} for no reason`);
  }

  // ── the run ─────────────────────────────────────────────────────────────────────────────────────────────────────────

  /** @throws Violation, or whatever a machine throws, when something is wrong. */
  run(): void {
    this.trace(`seed ${this.scenario.seed} begins`);
    this.#runUntil("all paths are live", () => this.volume.isAllLive, this.calmBoundMs);
    this.#checkTask.in(CHECK_MS);
    this.workload.start();
    if (this.scenario.kind === "liveness") this.#recover(this.scenario.ios / 2);
    this.#runUntil("all requests are answered", () => this.#isDone, RUN_MS_MAX);
    checkDrained(this);
    this.#endSetting();
    if (this.scenario.kind === "calm") checkPrompt(this);
    if (this.scenario.kind === "safety") this.#recover(this.scenario.ios);
    this.#rest();
    this.#detach();
  }

  /** Long enough for what a controller still executes of a host that it has lost. */
  #rest(): void {
    const endMs = this.clock.nowMs + 2 * this.scenario.keepAliveMs;
    this.clock.run(() => this.clock.nowMs >= endMs, Infinity);
    checkTargetsIdle(this);
  }

  get #isDone(): boolean {
    const { issued, inFlight } = this.workload;
    // Of a read that was sent twice, what lost may be answered later.
    return issued === this.scenario.ios && inFlight === 0 &&
      this.queues.every(({ volume }) => volume.hedgesInUse === 0);
  }

  #runUntil(what: string, isOver: () => boolean, withinMs: number): void {
    const startMs = this.clock.nowMs;
    if (this.clock.run(isOver, startMs + withinMs)) return;
    const inFlight = `${this.workload.inFlight} of ${this.workload.issued} requests in flight`;
    const paths = this.volume.paths.map(({ state }, index) => `path ${index} ${state}`).join(", ");
    throw new Violation("progress", `Not within ${withinMs} ms: ${what} (${inFlight}, ${paths})`);
  }

  /** Faults stop once so many requests were issued; soon after that all paths are live, and nothing fails any more. */
  #recover(issued: number): void {
    this.#runUntil("half of the load", () => this.workload.issued >= issued, RUN_MS_MAX);
    this.trace("the faults are over");
    for (const plan of this.#faults) plan.stop();
    const withinMs = this.calmBoundMs + (this.scenario.hasAdminFaults ? ADMIN_SETTLE_MS : 0);
    this.#runUntil("all paths are live again", () => this.volume.isAllLive && this.#isServing, withinMs);
    // What waited through the faults may still come to its end.
    const startMs = this.clock.nowMs;
    this.clock.run(() => this.clock.nowMs > startMs + this.calmBoundMs || this.workload.inFlight === 0, Infinity);
    this.#isRecovered = true;
  }

  get #isServing(): boolean {
    const { blocks, deviceBlocks } = this.volume.size;
    const size = this.scenario.firstLba + this.store.size;
    return blocks === size && deviceBlocks === size && this.volume.size.isAgreed &&
      this.portals.every((portal) => this.#knowsAna(portal));
  }

  /** Between two states that serve nothing shows a change that was not told. */
  #knowsAna({ index, admin }: Portal): boolean {
    const ana = this.table.ana(index);
    return ana === AnaStateCode.OPTIMIZED || admin.hasLostAna && ana === AnaStateCode.NON_OPTIMIZED;
  }

  #detach(): void {
    this.trace("detach");
    this.#checkTask.cancel();
    for (const queue of this.queues) queue.stop();
    let removed = 0;
    this.volume.remove(() => removed++);
    this.#runUntil("all paths are removed", () => removed === this.portals.length, this.calmBoundMs);
    const isQuiet = () => this.network.openSockets === 0 && this.targets.every(({ sessions }) => sessions === 0);
    this.clock.run(isQuiet, this.clock.nowMs + GOODBYE_MS);
    assert(removed === this.portals.length, "A path is removed once");
    checkGone(this);
  }
}

function geometryOf({ blockSize, blocks, firstLba }: Scenario): Geometry {
  return {
    ...{ blockSize, blocks: firstLba + blocks, physicalBlockSize: blockSize, minIoBytes: 0, optimalIoBytes: 0 },
    ...{ volatileCache: false, readOnly: false, discardGranularity: blockSize },
    ...{ maxDiscardBytes: 1 << 20, maxWriteZeroesBytes: 1 << 20 },
  };
}
