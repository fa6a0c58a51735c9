/**
 * Which path a queue's next command goes over. A rank comes first: the ANA state, worsened for a path that is slow, on
 * standby or has refused the request. Among the paths of the best rank the volume's policy picks.
 */
import { BlockOp, type RequestTable } from "../block/request.ts";
import type { Connection } from "../nvme_host/connection.ts";
import type { PathLimits } from "./command_encoder.ts";
import type { PathMeasurements } from "./path_measurements.ts";
import { PathProbe } from "./path_probe.ts";
import type { PathTable } from "./path_table.ts";
import { makePolicies } from "./policies.ts";
import { type Candidates, NO_PATH, RANK_SLOW } from "./policy.ts";
import type { RequestStates } from "./request_states.ts";

/** What a choice looks at: the queue's own, by path and by slot. */
export interface PathChoiceOptions {
  readonly requests: RequestTable;
  readonly blockSize: number;
  readonly paths: PathTable;
  readonly states: RequestStates;
  readonly measured: PathMeasurements;
  readonly connections: readonly (Connection | null)[];
  /** Null for a path that takes no more commands. */
  readonly limits: readonly (PathLimits | null)[];
}

/**
 * What is added to the rank of a path on standby, more than the ranks of ANA states and slowness differ, and of one that
 * has refused the request, more than all of these do.
 */
const RANK_STANDBY = 4;
const RANK_AVOIDED = 8;

export class PathChoice implements Candidates {
  readonly #requests: RequestTable;
  readonly #blockSize: number;
  readonly #table: PathTable;
  readonly #states: RequestStates;
  readonly #measured: PathMeasurements;
  readonly #connections: readonly (Connection | null)[];
  readonly #limits: readonly (PathLimits | null)[];
  readonly #policies = makePolicies();
  readonly #probe = new PathProbe();
  #paths = 0;

  /** The request that a path is picked for, the paths that have refused it, those that are slow or on standby, the time. */
  #slot = 0;
  #avoided = 0;
  #slow = 0;
  #standby = 0;
  #nowMs = 0;

  constructor(options: PathChoiceOptions) {
    this.#requests = options.requests;
    this.#blockSize = options.blockSize;
    this.#table = options.paths;
    this.#states = options.states;
    this.#measured = options.measured;
    this.#connections = options.connections;
    this.#limits = options.limits;
  }

  /** There is a connection for `path`. */
  handleConnection(path: number): void {
    this.#paths = Math.max(this.#paths, path + 1);
  }

  /** The choices are for this request from now on. */
  consider(slot: number, nowMs: number): void {
    this.#avoided = this.#states.refusedPaths[slot];
    this.#slow = this.#table.slow;
    this.#standby = this.#table.standby;
    this.#slot = slot;
    this.#nowMs = nowMs;
  }

  /** The path for the request's next command, or NO_PATH or ALL_FULL. */
  select(): number {
    const probed = this.#slow === 0 ? NO_PATH : this.#probe.select(this, this.#slow & ~this.#avoided);
    return probed >= 0 ? probed : this.#policies[this.#table.policy].select(this);
  }

  /**
   * A path for a copy of a read of so many bytes that is on `than`: of the best rank, if that is no worse than `than`'s, the
   * one that is expected to answer first. NO_PATH if there is none with room.
   */
  selectBeside(than: number, bytes: number): number {
    // A path that takes nothing any more is worse than any.
    let rankMax = this.rank(than) || Infinity;
    let best = NO_PATH;
    for (let path = 0; path < this.#paths; path++) {
      const rank = this.rank(path);
      if (path === than || rank === 0 || rank > rankMax || this.room(path) <= 0) continue;
      if (this.#limits[path]!.maxTransferBytes < bytes) continue;
      if (best >= 0 && rank === rankMax && this.expectedMs(path) >= this.expectedMs(best)) continue;
      best = path;
      rankMax = rank;
    }
    return best;
  }

  /** True if a usable path has not refused the request yet. */
  hasOther(slot: number): boolean {
    this.#avoided = this.#states.refusedPaths[slot];
    for (let path = 0; path < this.#paths; path++) {
      const rank = this.rank(path);
      if (rank > 0 && rank <= RANK_AVOIDED) return true;
    }
    return false;
  }

  // ── candidates of the policy ──────────────────────────────────────────────────────────────────────────────────────

  get paths(): number {
    return this.#paths;
  }

  rank(path: number): number {
    if (this.#limits[path] === null || !this.#table.isUsable(path)) return 0;
    if (this.#connections[path]!.state !== "ready") return 0;
    const rank = this.#table.anaRank(path);
    const isWorse = rank > 0 && ((this.#avoided | this.#slow | this.#standby) & (1 << path)) !== 0;
    return isWorse ? rank + this.#handicap(path) : rank;
  }

  #handicap(path: number): number {
    const isSlow = (this.#slow & (1 << path)) !== 0;
    const isAvoided = (this.#avoided & (1 << path)) !== 0;
    const isStandby = (this.#standby & (1 << path)) !== 0;
    return (isSlow ? RANK_SLOW : 0) + (isStandby ? RANK_STANDBY : 0) + (isAvoided ? RANK_AVOIDED : 0);
  }

  room(path: number): number {
    const commands = this.#connections[path]!.commands;
    return commands.depth - commands.inUse;
  }

  inFlight(path: number): number {
    return this.#connections[path]!.commands.inUse;
  }

  expectedMs(path: number): number {
    const op = this.#requests.op[this.#slot];
    const hasData = op === BlockOp.READ || op === BlockOp.WRITE;
    const blocksLeft = hasData ? this.#requests.blocks[this.#slot] - this.#states.issued[this.#slot] : 0;
    return this.#measured.expectedMs(path, op, blocksLeft * this.#blockSize, this.#nowMs);
  }

  lastUsedMs(path: number): number {
    return this.#measured.lastUsedMs(path, this.#requests.op[this.#slot]);
  }

  weight(path: number): number {
    return this.#table.weight(path);
  }

  get preferred(): number {
    return this.#table.preferred;
  }

  get nowMs(): number {
    return this.#nowMs;
  }
}
