/**
 * One queue of a volume: the user-space block device over all paths to one namespace, as one worker sees it. Requests
 * come in by `submit()`, become commands on the connection that the policy picks, and come back by `pollCompletion()`.
 *
 *     submit ─► ready ─► (policy) ─► in flight ─► done
 *                 ▲                     │ path lost, path-related status
 *                 ├──────── reads ◄─────┤
 *                 └─ held ◄── writes ◄──┘     delayed ◄── "not now" from the controller
 *
 * Pure: the connections' bytes are moved by somebody else, time comes as an argument.
 *
 * Invariant: a request has `outstanding` commands in flight, and is answered once, when there are none and nothing of
 * it is left to issue. Its buffer is touched by nobody after that, because a lost path gives its commands back only
 * when its socket is quiet (`handlePathLost`).
 */
import { assert } from "../base/assert.ts";
import { EIO, EOPNOTSUPP, EROFS, ETIMEDOUT } from "../base/errno.ts";
import { Fifo } from "../base/fifo.ts";
import { PATHS_MAX, RETRIES_MAX, TICK_MS } from "../base/limits.ts";
import type { BlockDevice } from "../block/device.ts";
import { BlockOp, type RequestTable } from "../block/request.ts";
import { CommandPhase } from "../nvme/command_table.ts";
import type { Connection } from "../nvme/connection.ts";
import { statusDisposition, statusErrno } from "../nvme/status.ts";
import { CommandEncoder, type PathLimits } from "./command_encoder.ts";
import { type Counters, PathCounter, QueueCounter } from "./counters.ts";
import { PathMeasurements } from "./path_measurements.ts";
import type { PathTable } from "./path_table.ts";
import { PathProbe } from "./path_probe.ts";
import { makePolicies } from "./policies.ts";
import { ALL_FULL, type Candidates, NO_PATH, RANK_SLOW } from "./policy.ts";
import { Again, Place, RequestStates } from "./request_states.ts";
import { controllerDelayMs, retryDelayMs } from "./retry.ts";
import { Suspects } from "./suspects.ts";

export type { PathLimits };

export interface VolumeOptions {
  readonly requests: RequestTable;
  /** The arena that the requests' buffers and the connections live in. */
  readonly memory: Uint8Array<ArrayBuffer>;
  readonly nsid: number;
  readonly blockSize: number;
  readonly readOnly: boolean;
  readonly paths: PathTable;
  readonly counters: Counters;
}

/**
 * What is added to the rank of a path on standby, more than the ranks of ANA states and slowness differ, and of one that
 * has refused the request, more than all of these do.
 */
const RANK_STANDBY = 4;
const RANK_AVOIDED = 8;

/** A look at the deadlines that comes so long after the one before it, though one is due every tick, comes late. */
const LOOK_LATE_MS = 5 * TICK_MS;

export class Volume implements BlockDevice, Candidates {
  readonly #requests: RequestTable;
  readonly #blockSize: number;
  readonly #readOnly: boolean;
  readonly #table: PathTable;
  readonly #counters: Counters;
  readonly #connections: (Connection | null)[] = new Array(PATHS_MAX).fill(null);
  readonly #limits: (PathLimits | null)[] = new Array(PATHS_MAX).fill(null);

  readonly #ready: Fifo;
  readonly #completions: Fifo;
  readonly #measured: PathMeasurements;
  readonly #policies = makePolicies();
  readonly #probe = new PathProbe();
  readonly #states: RequestStates;
  readonly #suspects: Suspects;
  readonly #encoder: CommandEncoder;

  /** The request that a path is picked for, the paths that have refused it and those that are slow, and the time. */
  #slot = 0;
  #avoided = 0;
  #slow = 0;
  #nowMs = 0;
  #paths = 0;
  #inside = 0;
  /** Since when no path serves, as far as requests have noticed, and the table's count of that moment. */
  #noPathSinceMs = NaN;
  #noPathServedCount = 0;
  /** Paths whose ANA state is in doubt, a bit each. */
  #anaChanged = 0;
  /** The last look at the deadlines, or since when there are any; and whether it came late. */
  #lookedAtMs = 0;
  #isLookLate = false;

  constructor(options: VolumeOptions) {
    const depth = options.requests.depth;
    this.#requests = options.requests;
    this.#blockSize = options.blockSize;
    this.#readOnly = options.readOnly;
    this.#table = options.paths;
    this.#counters = options.counters;
    this.#measured = new PathMeasurements(options.counters);
    this.#ready = new Fifo(depth);
    this.#completions = new Fifo(depth);
    this.#states = new RequestStates(options.requests);
    this.#suspects = new Suspects(depth);
    this.#encoder = new CommandEncoder({ ...options, states: this.#states });
  }

  // ── the block device ──────────────────────────────────────────────────────────────────────────────────────────────

  submit(slot: number, nowMs: number): void {
    if (this.#inside++ === 0) this.#expectLook(nowMs);
    this.#states.reset(slot);
    this.#suspects.reset(slot);
    const op = this.#requests.op[slot];
    if (this.#readOnly && op !== BlockOp.READ && op !== BlockOp.FLUSH) return this.#complete(slot, EROFS);
    if (this.#ready.length > 0 || !this.#issue(slot, nowMs)) this.#makeReady(slot);
  }

  pollCompletion(): number {
    return this.#completions.shift();
  }

  /** True while any request is inside: only then time matters. */
  get isBusy(): boolean {
    return this.#inside > 0;
  }

  // ── paths ─────────────────────────────────────────────────────────────────────────────────────────────────────────

  /** Uses a connection that is ready for `path`. */
  addConnection(path: number, connection: Connection, limits: PathLimits): void {
    assert(this.#connections[path] === null, "A path has one connection in a queue");
    this.#connections[path] = connection;
    this.#limits[path] = limits;
    this.#measured.begin(path, connection.commands);
    this.#paths = Math.max(this.#paths, path + 1);
    this.#states.keepHeld(path);
  }

  /** Picks no more commands for the path; those in flight stay until {@linkcode handlePathLost}. */
  stopPath(path: number): void {
    this.#limits[path] = null;
  }

  /**
   * The path's connection is over and its socket quiet. What was in flight on it moves: reads at once, what changes
   * data after the hold.
   */
  handlePathLost(path: number, nowMs: number): void {
    const connection = this.#connections[path];
    if (connection === null) return;
    connection.handleQuiet();
    this.#drainCompletions(path, connection, nowMs);
    this.#countDigestErrors(path, connection);
    this.#connections[path] = null;
    this.#limits[path] = null;
    const commands = connection.commands;
    for (let command = 0; command < commands.depth; command++) {
      if (commands.phase[command] === CommandPhase.FREE) continue;
      this.#commandLost(path, commands.owner[command], nowMs);
    }
    this.#measured.end(path);
  }

  #commandLost(path: number, slot: number, nowMs: number): void {
    const holdMs = this.#table.writeHoldMs;
    this.#counters.addPath(path, PathCounter.FAILOVERS, 1);
    this.#states.outstanding[slot]--;
    this.#states.again[slot] = Again.ELSEWHERE;
    if (holdMs > 0 && changesData(this.#requests.op[slot])) {
      this.#states.holdUntilMs[slot] = nowMs + holdMs;
      this.#states.holdPaths[slot] |= 1 << path;
    }
    if (this.#states.outstanding[slot] === 0 && this.#states.place[slot] === Place.NOWHERE) this.#settle(slot, nowMs);
  }

  /** The last controller of `path` is known to execute nothing any more: writes held for it may go elsewhere now. */
  releaseHeld(path: number, nowMs: number): void {
    for (let slot = 0; slot < this.#requests.depth; slot++) {
      if ((this.#states.holdPaths[slot] & (1 << path)) === 0) continue;
      this.#states.holdPaths[slot] &= ~(1 << path);
      if (this.#states.holdPaths[slot] !== 0) continue;
      this.#states.holdUntilMs[slot] = 0;
      if (this.#states.place[slot] === Place.HELD) this.#unpark(slot);
    }
    this.dispatch(nowMs);
  }

  /** A path whose ANA state an answer has put in doubt; -1 if there is none. Taken by this call. */
  takeAnaChanged(): number {
    if (this.#anaChanged === 0) return -1;
    const path = 31 - Math.clz32(this.#anaChanged);
    this.#anaChanged &= ~(1 << path);
    return path;
  }

  // ── candidates of the policy ──────────────────────────────────────────────────────────────────────────────────────

  get paths(): number {
    return this.#paths;
  }

  rank(path: number): number {
    if (this.#limits[path] === null || !this.#table.isUsable(path)) return 0;
    if (this.#connections[path]!.state !== "ready") return 0;
    const rank = this.#table.anaRank(path);
    return rank === 0 ? 0 : rank + this.#handicap(path);
  }

  #handicap(path: number): number {
    const isSlow = (this.#slow & (1 << path)) !== 0;
    const isAvoided = (this.#avoided & (1 << path)) !== 0;
    const isStandby = this.#table.isStandby(path);
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

  // ── requests out ──────────────────────────────────────────────────────────────────────────────────────────────────

  /** Issues what is ready, as far as paths take it. */
  dispatch(nowMs: number): void {
    for (let slot = this.#ready.peek(); slot >= 0; slot = this.#ready.peek()) {
      const isOver = this.#states.error[slot] !== 0 || this.#states.again[slot] !== Again.NO;
      const hasTurn = isOver || this.#suspects.takeTurn(slot);
      if (hasTurn && !isOver && !this.#issue(slot, nowMs)) break;
      this.#ready.shift();
      this.#states.place[slot] = Place.NOWHERE;
      if (!hasTurn) this.#park(slot, Place.DELAYED, Infinity);
      if (isOver && this.#states.outstanding[slot] === 0) this.#settle(slot, nowMs);
    }
    this.#countWaiting();
  }

  #countWaiting(): void {
    this.#counters.setQueue(QueueCounter.WAITING, this.#ready.length + this.#states.delayed);
  }

  #makeReady(slot: number): void {
    this.#states.place[slot] = Place.READY;
    this.#ready.push(slot);
  }

  /** Issues what is left of a request; false if it must wait for a path. */
  #issue(slot: number, nowMs: number): boolean {
    const states = this.#states;
    const total = Math.max(this.#requests.blocks[slot], 1);
    this.#consider(slot, nowMs);
    while (states.issued[slot] < total) {
      const path = this.#selectPath();
      if (path === ALL_FULL) return false;
      if (path === NO_PATH) return this.#handleNoPath(slot, nowMs);
      this.#noPathSinceMs = NaN;
      const blocks = this.#issueCommand(slot, path, nowMs);
      if (blocks === 0) {
        states.error[slot] = EOPNOTSUPP;
        if (states.outstanding[slot] === 0) this.#complete(slot, EOPNOTSUPP);
        return true;
      }
      states.issued[slot] += blocks;
      states.parts[slot]++;
      states.outstanding[slot]++;
    }
    return true;
  }

  /** The candidates are those for the request from now on. */
  #consider(slot: number, nowMs: number): void {
    this.#avoided = this.#states.refusedPaths[slot];
    this.#slow = this.#table.slow;
    this.#slot = slot;
    this.#nowMs = nowMs;
  }

  #selectPath(): number {
    const probed = this.#slow === 0 ? NO_PATH : this.#probe.select(this, this.#slow & ~this.#avoided);
    return probed >= 0 ? probed : this.#policies[this.#table.policy].select(this);
  }

  /** Issues one command for the next part of a request; how many blocks it is about, 0 if the path cannot do it. */
  #issueCommand(slot: number, path: number, nowMs: number): number {
    const blocks = this.#encoder.encode(slot, this.#limits[path]!);
    if (blocks === 0) return 0;
    const command = this.#connections[path]!.submit(this.#encoder.submission, nowMs);
    assert(command >= 0, "The policy picked a path that has room");
    this.#measured.handleSubmitted(path, command, this.#requests.op[slot], nowMs);
    return blocks;
  }

  /** True if the request was answered because it has waited too long for a path. */
  #handleNoPath(slot: number, nowMs: number): boolean {
    const servedCount = this.#table.servedCount;
    if (Number.isNaN(this.#noPathSinceMs) || servedCount !== this.#noPathServedCount) {
      this.#noPathSinceMs = nowMs;
      this.#noPathServedCount = servedCount;
    }
    const timeoutMs = this.#table.noPathTimeoutMs;
    const isOver = this.#table.isCut || (timeoutMs >= 0 && nowMs - this.#noPathSinceMs >= timeoutMs);
    if (!isOver) return false;
    const errno = this.#states.isTimedOut[slot] === 1 ? ETIMEDOUT : EIO;
    this.#states.error[slot] = errno;
    if (this.#states.outstanding[slot] === 0) this.#complete(slot, errno);
    return true;
  }

  // ── answers ───────────────────────────────────────────────────────────────────────────────────────────────────────

  /** Takes the answers of every connection and issues what became possible. */
  handleAnswers(nowMs: number): void {
    for (let path = 0; path < this.#paths; path++) {
      const connection = this.#connections[path];
      if (connection !== null) this.#drainCompletions(path, connection, nowMs);
    }
    if (this.#ready.length > 0) this.dispatch(nowMs);
    else this.#countWaiting();
  }

  #drainCompletions(path: number, connection: Connection, nowMs: number): void {
    const commands = connection.commands;
    for (let command = connection.pollCompletion(); command >= 0; command = connection.pollCompletion()) {
      const slot = commands.owner[command];
      const status = commands.status[command];
      const bytes = commands.dataBytes[command];
      this.#measured.handleAnswered(path, command, this.#requests.op[slot], nowMs);
      connection.release(command);
      this.#states.outstanding[slot]--;
      if (status === 0) this.#count(path, slot, bytes);
      else {
        this.#countDigestErrors(path, connection);
        this.#handleStatus(path, slot, status);
      }
      if (this.#states.outstanding[slot] === 0 && this.#states.place[slot] === Place.NOWHERE) this.#settle(slot, nowMs);
    }
  }

  #count(path: number, slot: number, bytes: number): void {
    const op = this.#requests.op[slot];
    if (op === BlockOp.READ) {
      this.#counters.addPath(path, PathCounter.READS, 1);
      this.#counters.addPath(path, PathCounter.READ_BYTES, bytes);
    } else if (op === BlockOp.WRITE) {
      this.#counters.addPath(path, PathCounter.WRITES, 1);
      this.#counters.addPath(path, PathCounter.WRITE_BYTES, bytes);
    }
  }

  #countDigestErrors(path: number, connection: Connection): void {
    this.#counters.addPath(path, PathCounter.DIGEST_ERRORS, connection.takeDigestErrors());
  }

  #handleStatus(path: number, slot: number, status: number): void {
    this.#counters.addPath(path, PathCounter.ERRORS, 1);
    this.#states.lastStatus[slot] = status;
    const delayMs = controllerDelayMs(status, this.#limits[path]?.retryDelaysMs ?? []);
    this.#states.controllerDelayMs[slot] = Math.max(this.#states.controllerDelayMs[slot], delayMs);
    switch (statusDisposition(status)) {
      case "failover":
        this.#counters.addPath(path, PathCounter.FAILOVERS, 1);
        this.#anaChanged |= 1 << path;
        this.#states.refusedPaths[slot] |= 1 << path;
        this.#states.again[slot] = Again.ELSEWHERE;
        break;
      case "retry":
        this.#states.again[slot] = Again.LATER;
        break;
      default:
        this.#states.error[slot] = statusErrno(status);
    }
  }

  /** No command of the request is in flight: it is answered, or goes round again. */
  #settle(slot: number, nowMs: number): void {
    const states = this.#states;
    this.#endTurn(slot);
    // A request that failed is held, too: what is written after its answer must not be overwritten by a part of it.
    if (states.holdUntilMs[slot] > nowMs) return this.#park(slot, Place.HELD, states.holdUntilMs[slot]);
    states.holdPaths[slot] = 0;
    if (states.error[slot] !== 0) return this.#complete(slot, states.error[slot]);
    if (states.again[slot] === Again.NO) return this.#complete(slot, 0);
    const isRefusal = states.lastStatus[slot] !== 0;
    if (isRefusal && ++states.retries[slot] > RETRIES_MAX) {
      return this.#complete(slot, statusErrno(states.lastStatus[slot]));
    }
    if (!isRefusal && !this.#suspects.handleLost(slot)) {
      return this.#complete(slot, states.isTimedOut[slot] === 1 ? ETIMEDOUT : EIO);
    }
    const lossesAlone = isRefusal ? 0 : this.#suspects.lossesAlone(slot);
    const isDelayed = isRefusal ? states.again[slot] === Again.LATER || !this.#hasOtherPath(slot) : lossesAlone > 0;
    const delayMs = retryDelayMs(isRefusal ? states.retries[slot] : lossesAlone, states.controllerDelayMs[slot]);
    if (isDelayed) states.refusedPaths[slot] = 0;
    states.restart(slot);
    if (isDelayed) this.#park(slot, Place.DELAYED, nowMs + delayMs);
    else this.#makeReady(slot);
  }

  /** True if a usable path has not refused the request yet. */
  #hasOtherPath(slot: number): boolean {
    this.#avoided = this.#states.refusedPaths[slot];
    for (let path = 0; path < this.#paths; path++) {
      const rank = this.rank(path);
      if (rank > 0 && rank <= RANK_AVOIDED) return true;
    }
    return false;
  }

  #park(slot: number, place: number, untilMs: number): void {
    this.#states.park(slot, place, untilMs);
    this.#counters.setQueue(QueueCounter.HELD, this.#states.held);
  }

  #unpark(slot: number): void {
    this.#states.unpark(slot);
    this.#counters.setQueue(QueueCounter.HELD, this.#states.held);
    this.#makeReady(slot);
  }

  /** Another request that has to be sent alone may be sent now. */
  #endTurn(slot: number): void {
    const next = this.#suspects.endTurn(slot);
    if (next >= 0) this.#unpark(next);
  }

  #complete(slot: number, errno: number): void {
    assert(this.#states.outstanding[slot] === 0, "A request is answered when none of its commands is in flight");
    this.#endTurn(slot);
    this.#inside--;
    this.#requests.status[slot] = errno;
    this.#completions.push(slot);
  }

  // ── time ──────────────────────────────────────────────────────────────────────────────────────────────────────────

  /** Notices deadlines that have passed: commands without an answer, holds, delays, and no path for too long. */
  handleTime(nowMs: number): void {
    if (this.#inside === 0) return;
    // After a pause of this process the answers may be there and not be read yet: the look after this one counts.
    this.#isLookLate = !this.#isLookLate && nowMs - this.#lookedAtMs >= LOOK_LATE_MS;
    this.#lookedAtMs = nowMs;
    if (!this.#isLookLate) this.#checkCommands(nowMs);
    if (this.#states.held + this.#states.delayed > 0) this.#wakeParked(nowMs);
    if (this.#ready.length > 0) this.dispatch(nowMs);
  }

  /** While nothing is inside nobody looks. */
  #expectLook(nowMs: number): void {
    this.#lookedAtMs = nowMs;
    this.#isLookLate = false;
  }

  #checkCommands(nowMs: number): void {
    const timeoutMs = this.#table.ioTimeoutMs;
    if (timeoutMs < 0) return;
    for (let path = 0; path < this.#paths; path++) {
      const connection = this.#connections[path];
      if (connection === null || connection.state !== "ready") continue;
      const commands = connection.commands;
      for (let command = 0; command < commands.depth; command++) {
        const isWaiting = commands.phase[command] !== CommandPhase.FREE;
        if (!isWaiting || nowMs - commands.submittedAtMs[command] < timeoutMs) continue;
        this.#states.isTimedOut[commands.owner[command]] = 1;
        connection.handleTransportError(`a command was not answered within ${timeoutMs / 1000} s`);
      }
    }
  }

  #wakeParked(nowMs: number): void {
    for (let slot = 0; slot < this.#requests.depth; slot++) {
      if (this.#states.isParked(slot) && nowMs >= this.#states.wakeAtMs[slot]) this.#unpark(slot);
    }
  }
}

function changesData(op: number): boolean {
  return op === BlockOp.WRITE || op === BlockOp.WRITE_ZEROES || op === BlockOp.DISCARD;
}
