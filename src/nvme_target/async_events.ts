/**
 * Asynchronous events of one controller (Base 2.0, section 5.2): requests of the host wait here for something to tell.
 *
 *     quiet ──raise──▶ pending ──a request is there──▶ told ──the log is read──▶ quiet
 *
 * Contract: an event that is told comes again only after its log page was read without RAE: the log tells what happened
 * in between. What the host has not asked for by the configuration is not kept.
 */

import { assert } from "../base/assert.ts";
import { AsyncEventConfig, AsyncEventDw0, AsyncEventType, AsyncNotice, LogId } from "../protocol/nvme.ts";
import { StatusCode } from "../protocol/nvme_status.ts";
import { type AdminAnswer, failure, success } from "./admin_answer.ts";

/** Requests that may wait at once; AERL is one less. */
export const ASYNC_EVENT_REQUESTS_MAX = 4;

export type AsyncEventName = "namespace-attribute" | "ana-change" | "discovery-log-change";

interface EventRow {
  /** The bit of the configuration that asks for it. */
  config: number;
  info: number;
  logId: number;
}

const EVENTS: Readonly<Record<AsyncEventName, EventRow>> = Object.freeze({
  "namespace-attribute": {
    config: AsyncEventConfig.NAMESPACE_ATTRIBUTE_NOTICES,
    info: AsyncNotice.NAMESPACE_ATTRIBUTE_CHANGED,
    logId: LogId.CHANGED_NAMESPACE_LIST,
  },
  "ana-change": {
    config: AsyncEventConfig.ANA_CHANGE_NOTICES,
    info: AsyncNotice.ANA_CHANGE,
    logId: LogId.ASYMMETRIC_NAMESPACE_ACCESS,
  },
  "discovery-log-change": {
    config: AsyncEventConfig.DISCOVERY_LOG_CHANGE_NOTICES,
    info: AsyncNotice.DISCOVERY_LOG_CHANGE,
    logId: LogId.DISCOVERY,
  },
});

/** A request that is answered now. */
export interface ParkedAnswer {
  /** As given to `park`. */
  slot: number;
  answer: AdminAnswer;
}

interface Parked {
  slot: number;
  cid: number;
}

export class AsyncEvents {
  /** Bits of `AsyncEventConfig` that the host has asked for. */
  #config = 0;
  readonly #parked: Parked[] = [];
  /** CIDs that were accepted and wait for their slot. */
  readonly #accepted: number[] = [];
  readonly #pending: AsyncEventName[] = [];
  readonly #told = new Set<AsyncEventName>();
  readonly #answers: ParkedAnswer[] = [];

  get config(): number {
    return this.#config;
  }

  /** What the host asks for from now on; what is pending and not asked for any more is forgotten. */
  setConfig(config: number): void {
    this.#config = config >>> 0;
    for (const name of [...this.#pending]) if (!this.#isAskedFor(name)) this.#forget(name);
  }

  /** Takes a request; false if too many wait already. Its slot comes by `park`. */
  accept(cid: number): boolean {
    if (this.#parked.length + this.#accepted.length >= ASYNC_EVENT_REQUESTS_MAX) return false;
    this.#accepted.push(cid);
    return true;
  }

  park(slot: number): void {
    const cid = this.#accepted.shift();
    assert(cid !== undefined, "A slot is parked for an event request that was accepted");
    this.#parked.push({ slot, cid });
  }

  /** Something has happened. */
  raise(name: AsyncEventName): void {
    if (!this.#isAskedFor(name) || this.#told.has(name) || this.#pending.includes(name)) return;
    this.#pending.push(name);
  }

  /** The host has read that log page without RAE: it knows. */
  handleLogRead(logId: number): void {
    for (const [name, row] of Object.entries(EVENTS) as [AsyncEventName, EventRow][]) {
      if (row.logId === logId) this.#forget(name);
    }
  }

  /** Ends the request with that CID, if it waits. */
  abort(cid: number): boolean {
    const index = this.#parked.findIndex((parked) => parked.cid === cid);
    if (index < 0) return false;
    const [{ slot }] = this.#parked.splice(index, 1);
    this.#answers.push({ slot, answer: failure(StatusCode.ABORT_REQUESTED) });
    return true;
  }

  /** The controller is reset: requests end, what was to be told is forgotten, and nothing is asked for. */
  reset(): void {
    for (const { slot } of this.#parked.splice(0)) {
      this.#answers.push({ slot, answer: failure(StatusCode.ABORTED_SQ_DELETION) });
    }
    this.#pending.length = 0;
    this.#told.clear();
    this.#config = 0;
  }

  /** The next request that is answered now, or null. */
  poll(): ParkedAnswer | null {
    const answer = this.#answers.shift();
    if (answer !== undefined) return answer;
    if (this.#pending.length === 0) return null;
    const parked = this.#parked.shift();
    if (parked === undefined) return null;
    const name = this.#pending.shift()!;
    this.#told.add(name);
    const { info, logId } = EVENTS[name];
    const dw0 = AsyncEventType.NOTICE | (info << AsyncEventDw0.INFO_SHIFT) | (logId << AsyncEventDw0.LOG_PAGE_SHIFT);
    return { slot: parked.slot, answer: success(dw0) };
  }

  #isAskedFor(name: AsyncEventName): boolean {
    return (this.#config & EVENTS[name].config) !== 0;
  }

  #forget(name: AsyncEventName): void {
    this.#told.delete(name);
    const index = this.#pending.indexOf(name);
    if (index >= 0) this.#pending.splice(index, 1);
  }
}
