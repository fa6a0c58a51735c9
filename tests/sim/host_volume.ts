import type { Prng } from "../../src/base/prng.ts";
import { type ComparableNamespace, identityDifference } from "../../src/nvme_host/namespace.ts";
import type { KnownNamespace } from "../../src/nvme_host/namespace_steps.ts";
import { subsystemDifference } from "../../src/nvme_host/subsystem.ts";
import type { Geometry } from "../../src/block/device.ts";
import type { HostShared } from "./host_admin.ts";
import { HostPath, type PathOwner } from "./host_path.ts";
import { HostQueue, type HostQueueOptions, PATHS_USED_MAX } from "./host_queue.ts";
import { HandoverTable } from "../../src/multipath/handover_table.ts";
import { chooseHelpers, dealLinks } from "../../src/multipath/link_deal.ts";
import { HostSize } from "./host_size.ts";
import type { HostSession, OpenQueue } from "./host_session.ts";
import type { Socket } from "./network.ts";
import type { PolicySetting } from "./policy_plan.ts";
import type { Portal } from "./portal.ts";
import type { MemoryPool } from "./pool.ts";
import { NQN, NSID } from "./target.ts";
import { Violation } from "./violation.ts";
import type { World } from "./world.ts";
import type { PathTable } from "../../src/multipath/path_table.ts";
import { assert } from "../../src/base/assert.ts";

/** The volume with its paths and its share of every worker: `AttachedVolume` in simulation. */
export class HostVolume implements PathOwner {
  readonly queues: readonly HostQueue[];
  readonly paths: readonly HostPath[];
  readonly size: HostSize;
  readonly #world: World;
  /** The namespace as it was seen first. */
  #namespace: ComparableNamespace | null = null;
  readonly #shared: HostShared;
  /** Of each path, who waits for its links to be closed, and how many are not. */
  readonly #handover: HandoverTable | null;
  /** Of each path, the queues that have a link of it. */
  readonly #dealt: (readonly number[])[];
  readonly #closing: ({ readonly done: () => void; left: number } | null)[];

  constructor(
    world: World,
    options: {
      pool: MemoryPool;
      prng: Prng;
      geometry: Geometry;
      wrap: HostQueueOptions["wrap"];
      setting: () => PolicySetting;
      handleDone: (queue: HostQueue, tag: number, result: number) => void;
    },
  ) {
    const { scenario, clock, table } = world;
    const { pool, prng, geometry } = options;
    this.#world = world;
    this.#shared = { clock, prng, pool, manners: scenario.manners, digests: scenario.digests };
    assert(scenario.paths <= PATHS_USED_MAX, "There is memory for the links of every path");
    const { broken, writeHoldMs } = scenario;
    table.setTimeouts({
      ioTimeoutMs: broken.hasNoIoTimeout === true ? -1 : scenario.ioTimeoutMs,
      noPathTimeoutMs: broken.hasNoPathTimeout === true ? -1 : scenario.noPathTimeoutMs,
      writeHoldMs,
    });
    this.#closing = new Array(scenario.paths).fill(null);
    this.#dealt = new Array(scenario.paths).fill([]);
    this.#handover = scenario.queues > 1 ? new HandoverTable(scenario.queues) : null;
    this.queues = world.counters.map((counters, index) =>
      new HostQueue({
        ...{ index, shared: this.#shared, geometry, table, counters, wrap: options.wrap, setting: options.setting },
        depth: scenario.depth,
        requestBytes: scenario.requestBytes,
        connectionDepthMax: scenario.connectionDepth,
        receiveBytes: scenario.receiveBytes,
        turnMs: scenario.turnMs,
        broken,
        handover: this.#handover,
        queueAt: (queue) => this.queues[queue],
        events: {
          handleDone: options.handleDone,
          handleLinkFailed: (_queue, path, reason) => this.#mail(() => this.paths[path].handleLinkFailed(reason)),
          handleLinkClosed: (_queue, path) => this.#mail(() => this.#handleLinkClosed(path)),
          handleAnaDoubt: (path) => this.#mail(() => this.paths[path].handleAnaDoubt()),
        },
      })
    );
    this.size = new HostSize(geometry.blocks, {
      queues: this.queues,
      mail: (deliver) => this.#mail(deliver),
      onChange: (words) => world.handleResized(words),
      isIgnored: scenario.broken.ignoresSize === true,
    });
    this.paths = world.portals.map((portal) => this.#makePath(portal, prng));
  }

  get table(): PathTable {
    return this.#world.table;
  }

  /** Every path is live, and every worker that was dealt a link of it has it. */
  get isAllLive(): boolean {
    return this.paths.every(({ state, index }) =>
      state === "live" && this.#dealt[index].every((queue) => this.queues[queue].links[index] !== null)
    );
  }

  /** Links, or the use of paths, have changed: which queue helps which. */
  #judgeHelpers(): void {
    if (this.#handover === null || this.#world.scenario.broken.hasNoHelpers === true) return;
    const { table } = this;
    const serves = this.queues.map(({ index: queue }) =>
      this.#dealt.some((dealt, path) => dealt.includes(queue) && table.isUsable(path) && table.anaRank(path) > 0)
    );
    for (const [queue, helper] of chooseHelpers(serves).entries()) this.#handover.setHelper(queue, helper);
  }

  #makePath(portal: Portal, prng: Prng): HostPath {
    const { scenario } = this.#world;
    return new HostPath({
      index: portal.index,
      owner: this,
      shared: this.#shared,
      prng,
      session: {
        connectTimeoutMs: scenario.connectTimeoutMs,
        queues: scenario.queues,
        broken: scenario.broken,
        bringUp: {
          subsystemNqn: NQN,
          hostNqn: "nqn.2014-08.org.nvmexpress:uuid:00000000-0000-4000-8000-0000000000ff",
          hostId: new Uint8Array(16).fill(9),
          nsid: NSID,
          keepAliveMs: scenario.keepAliveMs,
          wantedQueues: scenario.queues,
          wantedQueueDepth: scenario.connectionDepth,
        },
        connect: (done) => this.#connect(portal, done),
      },
      reconnectDelayMs: scenario.reconnectDelayMs,
      reconnectDelayMsMax: scenario.reconnectDelayMsMax,
      isResetBlind: scenario.broken.isResetBlind === true,
    });
  }

  /** A TCP connection to a portal: refused if nobody listens, without an end if nothing gets through. */
  #connect({ route, index }: Portal, done: (socket: Socket | null) => void): void {
    const { clock, network, portals } = this.#world;
    clock.after(route.latencyMs, () => {
      if (route.isDeaf) return;
      const target = this.#world.targetOf(portals[index]);
      if (!target.isUp) return done(null);
      const [host, other] = network.pair(route);
      target.accept(index, other);
      clock.after(route.latencyMs, () => done(host));
    });
  }

  /** A message between the main thread and a worker. */
  #mail(deliver: () => void): void {
    this.#world.clock.after(this.#world.scenario.mailMs, deliver);
  }

  // ── what paths want ─────────────────────────────────────────────────────────────────────────────────────────────────

  strangerTo(path: HostPath, session: HostSession, silent: ReadonlySet<HostSession>): HostSession | null {
    for (const other of this.paths) {
      const known = other.isServing ? other.session : null;
      if (other === path || known === null || silent.has(known)) continue;
      if (subsystemDifference(known.controller!, session.controller!, `path ${other.index}`) !== null) return known;
    }
    return null;
  }

  addLinks(path: number, session: HostSession, queues: OpenQueue[]): void {
    const { queueDepth, inCapsuleBytes, limits: namespace, controller } = session.controller!;
    const limits = { ...namespace, retryDelaysMs: controller.retryDelaysMs };
    this.size.handleLive(this.paths[path], namespace.blocks);
    const counts = this.queues.map(({ index }) => this.#dealt.filter((dealt) => dealt.includes(index)).length);
    this.#dealt[path] = dealLinks(queues.length, counts);
    this.#dealt[path].forEach((index, i) => {
      this.#mail(() => this.queues[index].addLink(path, queues[i], { depth: queueDepth, inCapsuleBytes, limits }));
    });
  }

  handleNamespace(path: HostPath, session: HostSession): void {
    this.#checkIdentity(path, session.controller!);
    this.size.handleShown(path, session.controller!.limits.blocks);
  }

  /** There is one namespace only: what is taken for another one is not told from a trouble. */
  #checkIdentity({ index }: HostPath, { name, limits }: KnownNamespace): void {
    const shown = { ...name, blockSize: limits.blockSize };
    this.#namespace ??= shown;
    const difference = identityDifference(this.#namespace, shown);
    if (difference === null) return;
    throw new Violation("identity", `Path ${index} is taken for one to another namespace: ${difference.words}`);
  }

  closeLinks(path: number, done: () => void): void {
    this.size.handleDown(this.paths[path]);
    this.#closing[path] = { done, left: this.queues.length };
    for (const queue of this.queues) this.#mail(() => queue.closeLink(path));
  }

  #handleLinkClosed(path: number): void {
    const closing = this.#closing[path]!;
    if (--closing.left > 0) return;
    this.#closing[path] = null;
    this.#dealt[path] = [];
    closing.done();
  }

  releaseHeld(path: number): void {
    for (const queue of this.queues) this.#mail(() => queue.releaseHeld(path));
  }

  wakeWorkers(): void {
    this.#judgeHelpers();
    for (const queue of this.queues) this.#mail(() => queue.wake());
  }

  handleChange(path: number, words: string): void {
    this.#world.handlePathChange(path, words);
  }

  // ── end ─────────────────────────────────────────────────────────────────────────────────────────────────────────────

  remove(handleRemoved: () => void): void {
    for (const path of this.paths) path.remove(handleRemoved);
  }
}
