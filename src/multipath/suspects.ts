/**
 * Requests that were in flight each time that their connection ended. One of them may be why: a command that a controller
 * cannot stand ends every connection that it is sent on. Which one shows when they are sent one at a time: the others are
 * answered, and it is alone with the connections that it ends, a bounded number of times.
 *
 * Pure, and of one queue: each queue finds its own.
 */
import { LOSSES_MAX } from "../base/limits.ts";
import { Fifo } from "../base/fifo.ts";
import { assert } from "../base/assert.ts";

/** Losses from which on a request is sent alone; fewer are what any request has when a path or two go. */
const LOSSES_SUSPECT = 3;

export class Suspects {
  /** Times that a request was lost with its connection, by slot. */
  readonly #losses: Uint8Array;
  /** The suspect that has its turn; -1 for none. */
  #current = -1;
  readonly #waiting: Fifo;

  constructor(depth: number) {
    this.#losses = new Uint8Array(depth);
    this.#waiting = new Fifo(depth);
  }

  /** A new request has the slot. */
  reset(slot: number): void {
    this.#losses[slot] = 0;
  }

  /** Times that the request was lost, for another queue that goes on with it. */
  losses(slot: number): number {
    return this.#losses[slot];
  }

  /** Goes on with a request that was lost so many times elsewhere. */
  resume(slot: number, losses: number): void {
    this.#losses[slot] = losses;
  }

  /** The request was lost with a connection; false if that was once too often. */
  handleLost(slot: number): boolean {
    return ++this.#losses[slot] <= LOSSES_MAX;
  }

  /** Times that the request was lost as a suspect: it waits before it is sent again. 0 for others. */
  lossesAlone(slot: number): number {
    return Math.max(0, this.#losses[slot] - LOSSES_SUSPECT);
  }

  /** True if the request may be sent now; if not, it comes up by {@linkcode endTurn} of another one. */
  takeTurn(slot: number): boolean {
    if (this.#losses[slot] < LOSSES_SUSPECT || this.#current === slot) return true;
    if (this.#current < 0) this.#current = slot;
    else this.#waiting.push(slot);
    return this.#current === slot;
  }

  /** Nothing of the request is in flight, or will be soon. The slot whose turn it is now; -1 for none. */
  endTurn(slot: number): number {
    if (slot !== this.#current) return -1;
    this.#current = -1;
    return this.#waiting.shift();
  }
}

assert(LOSSES_SUSPECT < LOSSES_MAX && LOSSES_MAX < 255, "A request is suspected before it is given up");
