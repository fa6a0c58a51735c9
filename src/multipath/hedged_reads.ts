/**
 * Reads that outlive their budget and are sent a second time, over another path: the first answer wins. The *original*
 * receives into the request's buffer, the *copy* into one of a few buffers of this file's own.
 *
 *     BOTH ── original answers ────────► ABANDONED ── copy ends ──────► (free)
 *      │ └─── copy fails ──────────────► (free; the original is a plain command again)
 *      ├───── original fails ──────────► COPY_ALONE ── copy answers ──► its data is copied: done
 *      │                                            └─ copy fails ────► what the original failed with
 *      └───── copy answers ──► WON ───── original fails ──────────────► copied: done
 *                               ├─────── original answers ────────────► done, by the original
 *                               └─────── original redirected ─► copied: done ─► REDIRECTED ── original ends ─► (free)
 *
 * Invariant: the request's buffer is written by nobody once the request is answered, and the copy's data is put there
 * only when nobody else writes to it. While the original is in flight its data would still come; so it is *redirected*
 * first: the buffer that the copy's data was in takes the rest of it, and belongs to the original, as its CID does,
 * until that is answered or its path is lost and quiet. An original whose data the kernel is receiving straight into
 * the request's buffer cannot be redirected: the answer waits until that receive is over, or the socket is.
 *
 * Invariant: a buffer is free only while neither of the two commands is in flight; the two end once each, and tell once
 * that the part of the request is over. Pure: commands are sent by the volume.
 */
import { assert } from "../base/assert.ts";
import { CommandPhase, DataDirection } from "../nvme_host/command_table.ts";
import type { Connection } from "../nvme_host/connection.ts";
import { type Counters, QueueCounter } from "./counters.ts";
import { LatencyHistogram } from "./latency_histogram.ts";

/** Reads up to this size are sent again; few are larger, and those take long by themselves. */
export const HEDGE_BYTES_MAX = 128 << 10;
/** Pairs at a time in a queue. The memory is backed only once it is used. */
const PAIRS_MAX = 16;
/** At most this share of all reads is sent again, so that storage which is slow as a whole gets hardly more to do. */
const SHARE_MAX = 1 / 20;
/** Reads that may be sent again in a row, after a time in which none was. */
const BURST_MAX = PAIRS_MAX;
/** A budget by percentile is no shorter: the answer of the original is as near as that of a copy. */
const BUDGET_MS_MIN = 1;
/** How often what answers took longer ago loses half of its weight in a percentile. */
const FADE_MS = 10_000;
/** The path table has percentiles in thousandths. */
export const PERCENT_UNITS = 1000;

const State = { FREE: 0, BOTH: 1, ABANDONED: 2, COPY_ALONE: 3, WON: 4, REDIRECTED: 5 } as const;

/** What a command ends with whose path was lost: no status of an answer. */
export const LOST = -1;

/** A read in flight. */
export interface ReadInFlight {
  path: number;
  connection: Connection;
  command: number;
}

/** Who can send copies. */
export interface CopySender {
  /** Sends a read of the request `slot` again, over another path of no worse rank; false if there is none. */
  sendCopy(read: ReadInFlight, slot: number, options: { owner: number; into: number }): boolean;
}

export class HedgedReads {
  readonly #depth: number;
  readonly #memory: Uint8Array;
  readonly #connections: readonly (Connection | null)[];
  readonly #counters: Counters;
  readonly #buffersAt: number;
  readonly #pairs: number;
  readonly #free: number[];
  readonly #state = new Uint8Array(PAIRS_MAX);
  readonly #slot = new Int32Array(PAIRS_MAX);
  readonly #path = new Int32Array(PAIRS_MAX);
  readonly #command = new Int32Array(PAIRS_MAX);
  /** Where the original's data belongs in the request's buffer, and how much there is. */
  readonly #dataOffset = new Uint32Array(PAIRS_MAX);
  readonly #dataBytes = new Uint32Array(PAIRS_MAX);
  /** What the original failed with. */
  readonly #failure = new Int32Array(PAIRS_MAX);
  readonly #latencies = new LatencyHistogram();
  #fadedMs = 0;
  #won = 0;
  #setting = 0;
  #budgetMs = Infinity;
  #dueMs = Infinity;
  /** Reads sent until then have been looked at. */
  #seenUntilMs = -Infinity;
  #tokens = 1;
  #result = 0;

  /** Bytes of arena for the buffers. */
  static readonly arenaBytes = PAIRS_MAX * HEDGE_BYTES_MAX;

  /** `buffersAt` is where they are in the arena; without it there are none, and no read is sent again. */
  constructor(options: {
    depth: number;
    memory: Uint8Array;
    connections: readonly (Connection | null)[];
    counters: Counters;
    buffersAt: number | null;
  }) {
    this.#depth = options.depth;
    this.#memory = options.memory;
    this.#connections = options.connections;
    this.#counters = options.counters;
    this.#buffersAt = options.buffersAt ?? 0;
    this.#pairs = options.buffersAt === null ? 0 : PAIRS_MAX;
    this.#free = Array.from({ length: this.#pairs }, (_, i) => this.#pairs - 1 - i);
  }

  /** True while reads are to be told: those that are sent, and what those that are answered took. */
  get isOn(): boolean {
    return this.#setting !== 0;
  }

  /** When the next read may have outlived its budget; Infinity if none is in flight. */
  get dueMs(): number {
    return this.#dueMs;
  }

  /** Pairs of which a command is in flight. */
  get inUse(): number {
    return this.#pairs - this.#free.length;
  }

  /** The budget as the path table has it: 0 for off, a time in milliseconds, or a percentile below zero. */
  handleSetting(setting: number, nowMs: number): void {
    if (setting !== this.#setting) {
      this.#setting = setting;
      this.#latencies.clear();
      this.#dueMs = setting === 0 ? Infinity : nowMs;
    }
    this.#reckon(nowMs);
  }

  #reckon(nowMs: number): void {
    const setting = this.#setting;
    if (setting === 0) this.#budgetMs = Infinity;
    else if (setting > 0) this.#budgetMs = setting;
    else this.#budgetMs = this.#percentileMs(-setting / PERCENT_UNITS, nowMs);
    this.#counters.setQueue(QueueCounter.HEDGE_MS, this.#budgetMs === Infinity ? 0 : this.#budgetMs);
  }

  #percentileMs(percent: number, nowMs: number): number {
    if (nowMs - this.#fadedMs >= FADE_MS) {
      this.#latencies.fade(percent);
      this.#fadedMs = nowMs;
    }
    return Math.max(this.#latencies.percentileMs(percent), BUDGET_MS_MIN);
  }

  /** A read was sent. */
  handleSubmitted(nowMs: number): void {
    this.#tokens = Math.min(this.#tokens + SHARE_MAX, BURST_MAX);
    if (this.#dueMs === Infinity) this.#dueMs = nowMs + this.#budgetMs;
  }

  /** A read was answered well after so long. */
  handleLatency(tookMs: number): void {
    this.#latencies.add(tookMs);
  }

  // ── late reads ────────────────────────────────────────────────────────────────────────────────────────────────────

  /** Sends the reads again that have outlived their budget. */
  handleDue(sender: CopySender, nowMs: number): void {
    const budgetMs = this.#budgetMs;
    const seenUntilMs = this.#seenUntilMs;
    let oldestMs = Infinity;
    for (let path = 0; path < this.#connections.length; path++) {
      const connection = this.#connections[path];
      if (connection === null || connection.state !== "ready") continue;
      const { depth, phase, direction, owner, submittedAtMs } = connection.commands;
      for (let command = 0; command < depth; command++) {
        const isRead = phase[command] === CommandPhase.ACTIVE && direction[command] === DataDirection.FROM_CONTROLLER;
        const sentMs = submittedAtMs[command];
        if (!isRead || owner[command] >= this.#depth || sentMs <= seenUntilMs) continue;
        if (sentMs + budgetMs > nowMs) oldestMs = Math.min(oldestMs, sentMs);
        else {
          this.#seenUntilMs = Math.max(this.#seenUntilMs, sentMs);
          this.#hedge(sender, { path, connection, command });
        }
      }
    }
    this.#dueMs = oldestMs + budgetMs;
  }

  #hedge(sender: CopySender, read: ReadInFlight): void {
    const { commands } = read.connection;
    const slot = commands.owner[read.command];
    const pair = this.#free.at(-1) ?? -1;
    if (pair < 0 || this.#tokens < 1 || commands.dataBytes[read.command] > HEDGE_BYTES_MAX) {
      return this.#counters.addQueue(QueueCounter.HEDGES_SUPPRESSED, 1);
    }
    const owner = this.#depth + 2 * pair;
    if (!sender.sendCopy(read, slot, { owner: owner + 1, into: this.#bufferAt(pair) })) return;
    commands.owner[read.command] = owner;
    this.#free.pop();
    this.#tokens--;
    this.#state[pair] = State.BOTH;
    this.#slot[pair] = slot;
    this.#path[pair] = read.path;
    this.#command[pair] = read.command;
    this.#dataOffset[pair] = commands.dataOffset[read.command];
    this.#dataBytes[pair] = commands.dataBytes[read.command];
    this.#counters.addQueue(QueueCounter.HEDGES, 1);
  }

  #bufferAt(pair: number): number {
    return this.#buffersAt + pair * HEDGE_BYTES_MAX;
  }

  // ── ends of commands ──────────────────────────────────────────────────────────────────────────────────────────────

  /** The request that a command of a pair may still serve; -1 if it was served by the other. */
  slotOf(owner: number): number {
    const pair = (owner - this.#depth) >> 1;
    const state = this.#state[pair];
    return state === State.ABANDONED || state === State.REDIRECTED ? -1 : this.#slot[pair];
  }

  /** What the part is over with that {@linkcode handleEnd} or {@linkcode pollWon} told of: a status, or LOST. */
  get result(): number {
    return this.#result;
  }

  /** A command of a pair ended, with a status or LOST. The request of which a part is over with that; -1 if none is. */
  handleEnd(owner: number, status: number): number {
    const pair = (owner - this.#depth) >> 1;
    return ((owner - this.#depth) & 1) === 1 ? this.#copyEnded(pair, status) : this.#originalEnded(pair, status);
  }

  #copyEnded(pair: number, status: number): number {
    switch (this.#state[pair]) {
      case State.BOTH:
        if (status !== 0) return this.#leaveToOriginal(pair);
        this.#state[pair] = State.WON;
        this.#won++;
        return -1;
      case State.COPY_ALONE:
        if (status === 0) return this.#useCopy(pair);
        return this.#over(pair, this.#failure[pair]);
      default:
        assert(this.#state[pair] === State.ABANDONED, "A copy ends once");
        return this.#release(pair);
    }
  }

  #leaveToOriginal(pair: number): number {
    this.#connections[this.#path[pair]]!.commands.owner[this.#command[pair]] = this.#slot[pair];
    return this.#release(pair);
  }

  #originalEnded(pair: number, status: number): number {
    switch (this.#state[pair]) {
      case State.BOTH:
        this.#state[pair] = status === 0 ? State.ABANDONED : State.COPY_ALONE;
        this.#failure[pair] = this.#result = status;
        return status === 0 ? this.#slot[pair] : -1;
      case State.WON:
        this.#won--;
        return status === 0 ? this.#over(pair, 0) : this.#useCopy(pair);
      default:
        assert(this.#state[pair] === State.REDIRECTED, "An original ends once");
        return this.#release(pair);
    }
  }

  /** Nothing of the pair is in flight: the copy's data goes to the request. */
  #useCopy(pair: number): number {
    this.#take(pair);
    return this.#over(pair, 0);
  }

  #over(pair: number, result: number): number {
    this.#result = result;
    this.#release(pair);
    return this.#slot[pair];
  }

  #release(pair: number): -1 {
    this.#state[pair] = State.FREE;
    this.#free.push(pair);
    return -1;
  }

  #take(pair: number): void {
    const from = this.#bufferAt(pair);
    this.#memory.copyWithin(this.#dataOffset[pair], from, from + this.#dataBytes[pair]);
    this.#counters.addQueue(QueueCounter.HEDGES_WON, 1);
  }

  /** True while a copy has answered and its request waits for the original to be out of the way. */
  get hasWon(): boolean {
    return this.#won > 0;
  }

  /** A request of which a part is over because its copy has won, and its original is redirected; -1 if there is none. */
  pollWon(): number {
    for (let pair = 0; pair < PAIRS_MAX && this.#won > 0; pair++) {
      if (this.#state[pair] !== State.WON) continue;
      const original = this.#connections[this.#path[pair]]!;
      const into = this.#bufferAt(pair);
      // The copy's data leaves the buffer before the original's comes: nothing is received in between.
      if (!original.redirect(this.#command[pair], into)) continue;
      this.#take(pair);
      this.#state[pair] = State.REDIRECTED;
      this.#won--;
      this.#result = 0;
      return this.#slot[pair];
    }
    return -1;
  }
}
