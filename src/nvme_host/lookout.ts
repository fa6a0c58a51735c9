/**
 * When a live controller is asked what has changed: it tells by events, and it is looked at where events do not say so.
 * One event request is with the controller at a time; each kind of look is under way once at a time.
 *
 *     request:  waiting ──time──▶ asking ──event, or an error──▶ waiting          (none: the controller has no events)
 *
 * - An event is followed by a pause that grows while one follows the other, so that a controller which tells events
 *   without end fills neither the log nor a CPU.
 * - A request that ends with an error is made again after a pause that grows. What it would have told is looked for.
 * - A controller without events is looked at every few seconds.
 * - One that serves no I/O over its path is looked at now and then in any case, and the ANA log of one that serves it once
 *   a minute: nothing else would notice that an event was lost.
 * - A look that failed proves nothing: it is repeated after a pause that grows.
 *
 * Pure: time is the caller's.
 */

import { assert } from "../base/assert.ts";
import { MachineState, StateTable } from "../base/state_table.ts";

/** What is looked at: the ANA log, or the namespace itself. */
export type Look = "ana" | "namespace";
export type LookoutOrder = "ask" | Look | "idle";

type RequestState = "none" | "waiting" | "asking";

const REQUEST_STATES = new StateTable<RequestState>("An event request", {
  none: [],
  waiting: ["asking"],
  asking: ["waiting"],
});

/** Before the next event is asked for, after one and after an error. */
const ASK_PAUSE_MS = 10;
const ASK_PAUSE_MS_MAX = 1_000;
const REFUSED_PAUSE_MS_MAX = 5_000;
/** How often a controller is looked at whose events cannot be relied on. */
const LOOK_MS = 5_000;
/** Before a look that failed is repeated. */
const RETRY_MS = 200;
const RETRY_MS_MAX = 10_000;
/** How often a path is looked at that serves no I/O, unless the controller says how long a transition takes at most. */
const UNSERVED_LOOK_MS = 10_000;
/** How often the ANA log of a path is looked at that serves I/O: it may be another path that should. */
const SERVED_LOOK_MS = 60_000;

interface LookState {
  isRunning: boolean;
  /** When it is to be looked because something said so; infinite if nothing did. */
  wantedMs: number;
  lastMs: number;
  failures: number;
}

export interface LookoutOptions {
  hasEvents: boolean;
  /** False: there is no ANA log to look at. */
  reportsAna: boolean;
  /** ANATT, seconds; 0 if it is not told. */
  anaTransitionSeconds: number;
  nowMs: number;
}

/** The plan of one association. */
export class Lookout {
  readonly #options: LookoutOptions;
  readonly #looks: ReadonlyMap<Look, LookState>;
  readonly #request: MachineState<RequestState>;
  #askAtMs: number;
  #askedAtMs = 0;
  #pauseMs = ASK_PAUSE_MS;
  #refusals = 0;
  #isServing = true;

  constructor(options: LookoutOptions) {
    this.#options = options;
    const look = (): LookState => ({ isRunning: false, wantedMs: Infinity, lastMs: options.nowMs, failures: 0 });
    this.#looks = new Map(options.reportsAna ? [["ana", look()], ["namespace", look()]] : [["namespace", look()]]);
    this.#request = new MachineState(REQUEST_STATES, options.hasEvents ? "waiting" : "none");
    this.#askAtMs = options.nowMs;
  }

  /** Requests that ended with an error, one after the other. */
  get refusals(): number {
    return this.#refusals;
  }

  /** What is to be done now; each is told once. */
  poll(nowMs: number): LookoutOrder {
    if (this.#request.name === "waiting" && nowMs >= this.#askAtMs) {
      this.#request.transition("asking");
      this.#askedAtMs = nowMs;
      return "ask";
    }
    for (const [look, state] of this.#looks) {
      if (nowMs < this.#dueMs(look, state)) continue;
      state.isRunning = true;
      state.wantedMs = Infinity;
      return look;
    }
    return "idle";
  }

  /** When `poll` has something to say next, milliseconds; infinite if only an answer changes that. */
  get nextDeadlineMs(): number {
    const askMs = this.#request.name === "waiting" ? this.#askAtMs : Infinity;
    return Math.min(askMs, ...[...this.#looks].map(([look, state]) => this.#dueMs(look, state)));
  }

  #dueMs(look: Look, state: LookState): number {
    return state.isRunning ? Infinity : Math.min(state.wantedMs, state.lastMs + this.#intervalMs(look));
  }

  #intervalMs(look: Look): number {
    if (this.#request.name === "none") return LOOK_MS;
    if (!this.#isServing) return this.#options.anaTransitionSeconds * 1_000 || UNSERVED_LOOK_MS;
    return look === "ana" ? SERVED_LOOK_MS : Infinity;
  }

  /** The request was answered with an event. */
  handleEvent(nowMs: number): void {
    this.#refusals = 0;
    this.#pause(nowMs, ASK_PAUSE_MS_MAX);
  }

  /** The request ended with an error: what it would have told is looked for, though not all the time. */
  handleRefusal(nowMs: number): void {
    this.#refusals++;
    this.#pause(nowMs, REFUSED_PAUSE_MS_MAX);
    for (const state of this.#looks.values()) {
      state.wantedMs = Math.min(state.wantedMs, Math.max(nowMs, state.lastMs + LOOK_MS));
    }
  }

  #pause(nowMs: number, pauseMsMax: number): void {
    this.#request.transition("waiting");
    const isQuiet = nowMs - this.#askedAtMs > ASK_PAUSE_MS_MAX;
    this.#pauseMs = isQuiet ? ASK_PAUSE_MS : Math.min(2 * this.#pauseMs, pauseMsMax);
    this.#askAtMs = nowMs + this.#pauseMs;
  }

  /** Something says that it has changed; during a look at it, another one follows. */
  want(look: Look, nowMs: number): void {
    const state = this.#looks.get(look);
    if (state !== undefined) state.wantedMs = Math.min(state.wantedMs, nowMs);
  }

  /** A look has ended; `isDone`: it has shown what is. */
  handleLooked(look: Look, isDone: boolean, nowMs: number): void {
    const state = this.#looks.get(look)!;
    assert(state.isRunning, `A look at the ${look} ends once it has begun`);
    state.isRunning = false;
    state.lastMs = nowMs;
    state.failures = isDone ? 0 : state.failures + 1;
    if (!isDone) state.wantedMs = nowMs + Math.min(RETRY_MS * 2 ** (state.failures - 1), RETRY_MS_MAX);
  }

  /** The path serves I/O, or does not. */
  setServing(isServing: boolean): void {
    this.#isServing = isServing;
  }
}
