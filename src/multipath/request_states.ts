import { PATHS_MAX } from "../base/limits.ts";
import type { RequestTable } from "../block/request.ts";

/** Where a request waits. */
export const Place = { NOWHERE: 0, READY: 1, HELD: 2, DELAYED: 3 } as const;

/** Whether a request must be sent again once none of its commands is in flight: on another path, or after a delay. */
export const Again = { NO: 0, ELSEWHERE: 1, LATER: 2 } as const;

/** Among the lost paths of a request: a controller that only time ends, for its path has a later one by now. */
const HELD_BY_TIME = 1 << PATHS_MAX;

/** How far each request of a volume's queue is: one array a field, indexed by slot. */
export class RequestStates {
  /** One of {@linkcode Place}. */
  readonly place: Uint8Array;
  /** Blocks that commands were issued for, and the number of those commands. */
  readonly issued: Uint32Array;
  readonly parts: Uint16Array;
  /** Commands in flight. */
  readonly outstanding: Uint16Array;
  /** The errno that the request ends with; 0 while it may end well. */
  readonly error: Int32Array;
  /** One of {@linkcode Again}. */
  readonly again: Uint8Array;
  /** Times that it was sent again because it was refused, and the status of the last refusal. */
  readonly retries: Uint8Array;
  readonly lastStatus: Uint16Array;
  /** The path that refused it last; only with `lastStatus`. */
  readonly lastPath: Uint8Array;
  /** The longest delay that a controller asked for with it. */
  readonly controllerDelayMs: Float64Array;
  /** 1 once a command of the request was not answered in time. */
  readonly isTimedOut: Uint8Array;
  /** The paths that could not serve the request, a bit each: others are used before them. */
  readonly refusedPaths: Uint16Array;
  readonly wakeAtMs: Float64Array;
  readonly holdUntilMs: Float64Array;
  /** The lost paths, a bit each, whose controllers may still execute a part of the request; or HELD_BY_TIME. */
  readonly holdPaths: Uint32Array;
  #held = 0;
  #delayed = 0;

  constructor({ depth }: Pick<RequestTable, "depth">) {
    this.place = new Uint8Array(depth);
    this.issued = new Uint32Array(depth);
    this.parts = new Uint16Array(depth);
    this.outstanding = new Uint16Array(depth);
    this.error = new Int32Array(depth);
    this.again = new Uint8Array(depth);
    this.retries = new Uint8Array(depth);
    this.lastStatus = new Uint16Array(depth);
    this.lastPath = new Uint8Array(depth);
    this.controllerDelayMs = new Float64Array(depth);
    this.isTimedOut = new Uint8Array(depth);
    this.refusedPaths = new Uint16Array(depth);
    this.wakeAtMs = new Float64Array(depth);
    this.holdUntilMs = new Float64Array(depth);
    this.holdPaths = new Uint32Array(depth);
  }

  /** Begins with a new request. */
  reset(slot: number): void {
    this.issued[slot] = 0;
    this.parts[slot] = 0;
    this.error[slot] = 0;
    this.again[slot] = Again.NO;
    this.retries[slot] = 0;
    this.lastStatus[slot] = 0;
    this.controllerDelayMs[slot] = 0;
    this.isTimedOut[slot] = 0;
    this.refusedPaths[slot] = 0;
    this.holdUntilMs[slot] = 0;
    this.holdPaths[slot] = 0;
  }

  /** Begins anew with a request of which nothing is in flight. */
  restart(slot: number): void {
    this.again[slot] = Again.NO;
    this.issued[slot] = 0;
    this.parts[slot] = 0;
    this.lastStatus[slot] = 0;
    this.controllerDelayMs[slot] = 0;
  }

  /** What is held for an earlier controller of the path is not released by the end of a later one. */
  holdUntilTimeOnly(path: number): void {
    const bit = 1 << path;
    const { holdPaths } = this;
    for (let slot = 0; slot < holdPaths.length; slot++) {
      if ((holdPaths[slot] & bit) !== 0) holdPaths[slot] = (holdPaths[slot] & ~bit) | HELD_BY_TIME;
    }
  }

  /** Requests that wait until nothing can overtake them any more. */
  get held(): number {
    return this.#held;
  }

  /** Requests that wait before they are sent again. */
  get delayed(): number {
    return this.#delayed;
  }

  /** Lets a request wait until a time, HELD or DELAYED. */
  park(slot: number, place: number, untilMs: number): void {
    this.place[slot] = place;
    this.wakeAtMs[slot] = untilMs;
    if (place === Place.HELD) this.#held++;
    else this.#delayed++;
  }

  /** Ends the wait; whoever calls it says where the request goes. */
  unpark(slot: number): void {
    if (this.place[slot] === Place.HELD) this.#held--;
    else this.#delayed--;
    this.place[slot] = Place.NOWHERE;
  }

  isParked(slot: number): boolean {
    return this.place[slot] === Place.HELD || this.place[slot] === Place.DELAYED;
  }
}
