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
import { EOPNOTSUPP, EROFS } from "../base/errno.ts";
import { Fifo } from "../base/fifo.ts";
import { PATHS_MAX, TICK_MS } from "../base/limits.ts";
import type { BlockDevice } from "../block/device.ts";
import { BlockOp, type RequestTable } from "../block/request.ts";
import { CommandPhase } from "../nvme_host/command_table.ts";
import type { Connection } from "../nvme_host/connection.ts";
import { statusDisposition } from "../nvme_host/status.ts";
import { CommandEncoder, type PathLimits } from "./command_encoder.ts";
import { type Counters, PathCounter, QueueCounter } from "./counters.ts";
import { noteFailed } from "./failed_requests.ts";
import { type Handover, UNSERVED } from "./handover.ts";
import { type CopySender, HedgedReads, LOST, type ReadInFlight } from "./hedged_reads.ts";
import { PathChoice } from "./path_choice.ts";
import { PathMeasurements } from "./path_measurements.ts";
import type { PathTable } from "./path_table.ts";
import { ALL_FULL, type Candidates, NO_PATH } from "./policy.ts";
import { Again, Place, RequestStates } from "./request_states.ts";
import { Retries, SEND_AGAIN } from "./retries.ts";

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
  /** Where in the arena `HedgedReads.arenaBytes` are; without them no read is sent again. */
  readonly hedgesAt?: number;
  /** Where there are neighbours: `requests` has the slots of their requests behind those of the queue itself. */
  readonly handover?: Handover | null;
}

/** A look at the deadlines that comes so long after the one before it, though one is due every tick, comes late. */
const LOOK_LATE_MS = 5 * TICK_MS;

export class MultipathQueue implements BlockDevice, CopySender {
  readonly #requests: RequestTable;
  readonly #readOnly: boolean;
  readonly #table: PathTable;
  readonly #counters: Counters;
  readonly #connections: (Connection | null)[] = new Array(PATHS_MAX).fill(null);
  readonly #limits: (PathLimits | null)[] = new Array(PATHS_MAX).fill(null);

  readonly #ready: Fifo;
  readonly #completions: Fifo;
  readonly #measured: PathMeasurements;
  readonly #choice: PathChoice;
  readonly #states: RequestStates;
  readonly #retries: Retries;
  readonly #encoder: CommandEncoder;
  readonly #hedges: HedgedReads;
  /** Owners of commands below it are request slots, the others are pairs of hedged reads. */
  readonly #depth: number;
  /** The queue's own request slots are below it, the others are those of guests. */
  readonly #firstGuest: number;
  readonly #handover: Handover | null;

  #nowMs = 0;
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
    this.#readOnly = options.readOnly;
    this.#table = options.paths;
    this.#counters = options.counters;
    this.#measured = new PathMeasurements(options.counters);
    this.#ready = new Fifo(depth);
    this.#completions = new Fifo(depth);
    this.#states = new RequestStates(options.requests);
    this.#choice = new PathChoice({
      ...options,
      ...{ connections: this.#connections, limits: this.#limits, states: this.#states, measured: this.#measured },
    });
    this.#retries = new Retries(depth, this.#states);
    this.#encoder = new CommandEncoder({ ...options, states: this.#states });
    const { memory, counters, hedgesAt: buffersAt = null } = options;
    this.#hedges = new HedgedReads({ depth, memory, counters, connections: this.#connections, buffersAt });
    this.#hedges.handleSetting(options.paths.hedge, -Infinity);
    this.#depth = depth;
    this.#handover = options.handover ?? null;
    this.#firstGuest = this.#handover?.firstGuest ?? depth;
  }

  // ── the block device ──────────────────────────────────────────────────────────────────────────────────────────────

  submit(slot: number, nowMs: number): void {
    if (this.#inside++ === 0) this.#expectLook(nowMs);
    this.#states.reset(slot);
    this.#retries.reset(slot);
    const op = this.#requests.op[slot];
    if (this.#readOnly && op !== BlockOp.READ && op !== BlockOp.FLUSH) return this.#complete(slot, EROFS);
    if (this.#ready.length > 0 || !this.#issue(slot, nowMs)) this.#makeReady(slot);
  }

  pollCompletion(): number {
    return this.#completions.shift();
  }

  /** True while any request is inside, or what is left of a read that was sent twice: only then time matters. */
  get isBusy(): boolean {
    return this.#inside > 0 || this.#hedges.inUse > 0 || this.#handover?.isBacklogged === true;
  }

  /** When the volume wants to look at the time though nothing has come in; Infinity for never. */
  get nextDueMs(): number {
    return this.#hedges.isOn ? this.#hedges.dueMs : Infinity;
  }

  /** The paths as its policy sees them, for those who check what it picks. */
  get candidates(): Candidates {
    return this.#choice;
  }

  /** Reads of which two copies were sent, and not both are over yet. */
  get hedgesInUse(): number {
    return this.#hedges.inUse;
  }

  // ── paths ─────────────────────────────────────────────────────────────────────────────────────────────────────────

  /** Uses a connection that is ready for `path`. */
  addConnection(path: number, connection: Connection, limits: PathLimits): void {
    assert(this.#connections[path] === null, "A path has one connection in a queue");
    this.#connections[path] = connection;
    this.#limits[path] = limits;
    this.#measured.begin(path, connection.commands);
    this.#choice.handleConnection(path);
    this.#states.holdUntilTimeOnly(path);
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
    this.#nowMs = nowMs;
    this.#countDigestErrors(path, connection);
    this.#connections[path] = null;
    this.#limits[path] = null;
    const commands = connection.commands;
    for (let command = 0; command < commands.depth; command++) {
      if (commands.phase[command] === CommandPhase.FREE) continue;
      if (this.#servedBy(commands.owner[command]) >= 0) this.#counters.addPath(path, PathCounter.FAILOVERS, 1);
      this.#handleEnd(path, commands.owner[command], LOST);
    }
    this.#measured.end(path);
    this.#takeWon(nowMs);
  }

  #handleLoss(path: number, slot: number): void {
    const holdMs = this.#table.writeHoldMs;
    this.#retries.handleLoss(slot);
    if (holdMs > 0 && changesData(this.#requests.op[slot])) {
      this.#states.holdUntilMs[slot] = this.#nowMs + holdMs;
      this.#states.holdPaths[slot] |= 1 << path;
    }
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

  // ── requests out ──────────────────────────────────────────────────────────────────────────────────────────────────

  /** Issues what is ready, as far as paths take it. */
  dispatch(nowMs: number): void {
    this.#nowMs = nowMs;
    for (let slot = this.#ready.peek(); slot >= 0; slot = this.#ready.peek()) {
      const isOver = this.#states.error[slot] !== 0 || this.#states.again[slot] !== Again.NO;
      const hasTurn = isOver || this.#retries.takeTurn(slot);
      if (hasTurn && !isOver && !this.#issue(slot, nowMs)) break;
      this.#ready.shift();
      this.#states.place[slot] = Place.NOWHERE;
      if (!hasTurn) this.#park(slot, Place.DELAYED, Infinity);
      if (isOver && this.#states.outstanding[slot] === 0) this.#settle(slot);
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
    this.#nowMs = nowMs;
    this.#choice.consider(slot, nowMs);
    while (states.issued[slot] < total) {
      const path = this.#choice.select();
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

  /** Issues one command for the next part of a request; how many blocks it is about, 0 if the path cannot do it. */
  #issueCommand(slot: number, path: number, nowMs: number): number {
    const blocks = this.#encoder.encode(slot, this.#limits[path]!);
    if (blocks === 0) return 0;
    const command = this.#connections[path]!.submit(this.#encoder.submission, nowMs);
    assert(command >= 0, "The policy picked a path that has room");
    this.#measured.handleSubmitted(path, command, this.#requests.op[slot], nowMs);
    if (this.#hedges.isOn && this.#requests.op[slot] === BlockOp.READ) this.#hedges.handleSubmitted(nowMs);
    return blocks;
  }

  sendCopy(read: ReadInFlight, slot: number, { owner, into }: { owner: number; into: number }): boolean {
    const { dataOffset, dataBytes } = read.connection.commands;
    const part = { dataOffset: dataOffset[read.command], dataBytes: dataBytes[read.command] };
    this.#choice.consider(slot, this.#nowMs);
    const path = this.#choice.selectBeside(read.path, part.dataBytes);
    if (path === NO_PATH) return false;
    this.#encoder.encodeCopy(slot, part, into);
    this.#encoder.submission.owner = owner;
    const command = this.#connections[path]!.submit(this.#encoder.submission, this.#nowMs);
    this.#measured.handleSubmitted(path, command, BlockOp.READ, this.#nowMs);
    return true;
  }

  /** True if the request was handed over, or answered because it has waited too long for a path. */
  #handleNoPath(slot: number, nowMs: number): boolean {
    if (slot >= this.#firstGuest) return this.#giveBack(slot);
    if (this.#handover !== null && this.#states.outstanding[slot] === 0) {
      if (this.#handover.offer(slot, this.#retries.history(slot))) return true;
    }
    const servedCount = this.#table.servedCount;
    if (Number.isNaN(this.#noPathSinceMs) || servedCount !== this.#noPathServedCount) {
      this.#noPathSinceMs = nowMs;
      this.#noPathServedCount = servedCount;
    }
    const timeoutMs = this.#table.noPathTimeoutMs;
    const isOver = this.#table.isCut || (timeoutMs >= 0 && nowMs - this.#noPathSinceMs >= timeoutMs);
    if (!isOver) return false;
    const errno = this.#retries.lostErrno(slot);
    this.#states.error[slot] = errno;
    if (this.#states.outstanding[slot] === 0) this.#complete(slot, errno);
    return true;
  }

  // ── neighbours ────────────────────────────────────────────────────────────────────────────────────────────────────

  /** A guest finds no path here: its queue waits for one, or asks another helper. False while a part is in flight. */
  #giveBack(slot: number): boolean {
    if (this.#states.outstanding[slot] > 0) return false;
    this.#endTurn(slot);
    this.#inside--;
    this.#handover!.answer(slot, UNSERVED, this.#retries.history(slot));
    return true;
  }

  /** Takes what neighbours have answered, and their requests as far as there is room. */
  #hearNeighbours(handover: Handover, nowMs: number): void {
    handover.hear();
    for (let slot = handover.pollAnswer(); slot >= 0; slot = handover.pollAnswer()) {
      if (handover.status === UNSERVED) {
        this.#retries.resume(slot, handover.history);
        this.#makeReady(slot);
      } else {
        this.#noPathSinceMs = NaN;
        this.#counters.addQueue(QueueCounter.HANDED, 1);
        this.#complete(slot, handover.status);
      }
    }
    for (let guest = handover.pollGuest(); guest >= 0; guest = handover.pollGuest()) {
      this.#takeGuest(guest, handover.guestHistory, nowMs);
    }
  }

  #takeGuest(slot: number, history: number, nowMs: number): void {
    if (this.#inside++ === 0) this.#expectLook(nowMs);
    this.#states.reset(slot);
    this.#retries.reset(slot);
    this.#retries.resume(slot, history);
    this.#makeReady(slot);
  }

  /** A queue that has to be woken, for there is something for it; -1 if there is none. */
  pollWake(): number {
    return this.#handover === null ? -1 : this.#handover.pollWake();
  }

  /** No other queue has a request of this one, nor this one a request of another. */
  get hasNoNeighbour(): boolean {
    return this.#handover === null || this.#handover.isQuiet;
  }

  /** The queue is taken away: neighbours do not count on it any more. Those of `pollWake()` are to be told. */
  leave(): void {
    this.#handover?.leave();
  }

  // ── answers ───────────────────────────────────────────────────────────────────────────────────────────────────────

  /** Takes the answers of every connection and of neighbours, and issues what became possible. */
  handleAnswers(nowMs: number): void {
    for (let path = 0; path < this.#choice.paths; path++) {
      const connection = this.#connections[path];
      if (connection !== null) this.#drainCompletions(path, connection, nowMs);
    }
    if (this.#hedges.hasWon) this.#takeWon(nowMs);
    if (this.#hedges.isOn && nowMs >= this.#hedges.dueMs) this.#hedgeLate(nowMs);
    if (this.#handover !== null && this.#handover.isCalled) this.#hearNeighbours(this.#handover, nowMs);
    if (this.#ready.length > 0) this.dispatch(nowMs);
    else this.#countWaiting();
  }

  #drainCompletions(path: number, connection: Connection, nowMs: number): void {
    const commands = connection.commands;
    this.#nowMs = nowMs;
    for (let command = connection.pollCompletion(); command >= 0; command = connection.pollCompletion()) {
      const owner = commands.owner[command];
      const status = commands.status[command];
      const bytes = commands.dataBytes[command];
      const op = owner < this.#depth ? this.#requests.op[owner] : BlockOp.READ;
      this.#measured.handleAnswered(path, command, op, nowMs);
      if (this.#hedges.isOn && op === BlockOp.READ && status === 0) {
        this.#hedges.handleLatency(nowMs - commands.submittedAtMs[command]);
      }
      connection.release(command);
      if (status === 0) this.#count(path, op, bytes);
      else this.#noteStatus(path, owner, status);
      this.#handleEnd(path, owner, status);
    }
  }

  /** A command ended with a status or LOST: the part of the request is over, unless another command has it, too. */
  #handleEnd(path: number, owner: number, status: number): void {
    if (owner < this.#depth) return this.#handlePartOver(path, owner, status);
    const slot = this.#hedges.handleEnd(owner, status);
    if (slot >= 0) this.#handlePartOver(path, slot, this.#hedges.result);
  }

  #handlePartOver(path: number, slot: number, result: number): void {
    const states = this.#states;
    states.outstanding[slot]--;
    if (result === LOST) this.#handleLoss(path, slot);
    else if (result !== 0) this.#retries.handleStatus(slot, result);
    if (states.outstanding[slot] === 0 && states.place[slot] === Place.NOWHERE) this.#settle(slot);
  }

  /** Takes the reads whose second copy was answered first. */
  #takeWon(nowMs: number): void {
    this.#nowMs = nowMs;
    for (let slot = this.#hedges.pollWon(); slot >= 0; slot = this.#hedges.pollWon()) {
      this.#handlePartOver(NO_PATH, slot, this.#hedges.result);
    }
  }

  #hedgeLate(nowMs: number): void {
    this.#nowMs = nowMs;
    this.#hedges.handleDue(this, nowMs);
  }

  #count(path: number, op: number, bytes: number): void {
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

  /** What an answer other than success says of its path. */
  #noteStatus(path: number, owner: number, status: number): void {
    this.#countDigestErrors(path, this.#connections[path]!);
    this.#counters.addPath(path, PathCounter.ERRORS, 1);
    const slot = this.#servedBy(owner);
    if (slot >= 0) this.#states.lastPath[slot] = path;
    if (slot >= 0) this.#retries.handleDelay(slot, status, this.#limits[path]?.retryDelaysMs ?? []);
    if (statusDisposition(status) !== "failover") return;
    this.#counters.addPath(path, PathCounter.FAILOVERS, 1);
    this.#anaChanged |= 1 << path;
    if (slot >= 0) this.#states.refusedPaths[slot] |= 1 << path;
  }

  /** The request that a command may still serve; -1 if another command has served it. */
  #servedBy(owner: number): number {
    return owner < this.#depth ? owner : this.#hedges.slotOf(owner);
  }

  /** No command of the request is in flight: it is answered, or goes round again. */
  #settle(slot: number): void {
    const states = this.#states;
    this.#endTurn(slot);
    // A request that failed is held, too: what is written after its answer must not be overwritten by a part of it.
    if (states.holdUntilMs[slot] !== 0 && states.holdUntilMs[slot] > this.#nowMs && !this.#table.isGivenUp) {
      return this.#park(slot, Place.HELD, states.holdUntilMs[slot]);
    }
    states.holdPaths[slot] = 0;
    const verdict = this.#retries.judge(slot, this.#choice);
    if (verdict !== SEND_AGAIN) return this.#complete(slot, verdict);
    const { delayMs } = this.#retries;
    states.restart(slot);
    if (delayMs > 0) this.#park(slot, Place.DELAYED, this.#nowMs + delayMs);
    else this.#makeReady(slot);
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
    const next = this.#retries.endTurn(slot);
    if (next >= 0) this.#unpark(next);
  }

  #complete(slot: number, errno: number): void {
    assert(this.#states.outstanding[slot] === 0, "A request is answered when none of its commands is in flight");
    this.#endTurn(slot);
    this.#inside--;
    if (slot >= this.#firstGuest) return this.#handover!.answer(slot, errno, 0);
    if (errno !== 0) this.#noteFailed(slot, errno);
    this.#requests.status[slot] = errno;
    this.#completions.push(slot);
  }

  #noteFailed(slot: number, errno: number): void {
    const { op, lbaLow, lbaHigh, blocks } = this.#requests;
    const status = this.#states.lastStatus[slot];
    noteFailed(this.#counters, {
      ...{ op: op[slot], lba: lbaHigh[slot] * 2 ** 32 + lbaLow[slot], blocks: blocks[slot], errno, status },
      path: status === 0 ? -1 : this.#states.lastPath[slot],
      pathlessMs: Number.isNaN(this.#noPathSinceMs) ? -1 : this.#nowMs - this.#noPathSinceMs,
    });
  }

  // ── time ──────────────────────────────────────────────────────────────────────────────────────────────────────────

  /** Notices deadlines that have passed: commands without an answer, holds, delays, and no path for too long. */
  handleTime(nowMs: number): void {
    this.#hedges.handleSetting(this.#table.hedge, nowMs);
    this.#handover?.handleTime();
    if (!this.isBusy) return;
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
    for (let path = 0; path < this.#choice.paths; path++) {
      const connection = this.#connections[path];
      if (connection === null || connection.state !== "ready") continue;
      const commands = connection.commands;
      for (let command = 0; command < commands.depth; command++) {
        const isWaiting = commands.phase[command] !== CommandPhase.FREE;
        if (!isWaiting || nowMs - commands.submittedAtMs[command] < timeoutMs) continue;
        const slot = this.#servedBy(commands.owner[command]);
        if (slot >= 0) this.#states.isTimedOut[slot] = 1;
        connection.handleTransportError(`a command was not answered within ${timeoutMs / 1000} s`);
      }
    }
  }

  #wakeParked(nowMs: number): void {
    const isOver = this.#table.isGivenUp;
    for (let slot = 0; slot < this.#requests.depth; slot++) {
      if (this.#states.isParked(slot) && (isOver || nowMs >= this.#states.wakeAtMs[slot])) this.#unpark(slot);
    }
  }
}

function changesData(op: number): boolean {
  return op === BlockOp.WRITE || op === BlockOp.WRITE_ZEROES || op === BlockOp.DISCARD;
}
