/**
 * What becomes of a request that was not simply served: whether it is sent again, when, how often, and with which errno it
 * ends otherwise. What each status asks for is in the table of `nvme/status.ts`: Do Not Retry, path-related, and those that
 * pass by themselves. All is bounded: refusals by `RETRIES_MAX`, with delays that grow or that the controller asks for
 * (CRD), and losses of the connection by `suspects.ts`.
 *
 * Pure: time is the caller's.
 */
import { EIO, ETIMEDOUT } from "../base/errno.ts";
import { CONTROLLER_DELAY_MS_MAX, RETRIES_MAX, RETRY_DELAY_MS, RETRY_DELAY_MS_MAX } from "../base/limits.ts";
import { retryDelayIndex, statusDisposition, statusErrno } from "../nvme_host/status.ts";
import { Again, type RequestStates } from "./request_states.ts";
import { Suspects } from "./suspects.ts";

/** A verdict: the request is sent again, after {@linkcode Retries.delayMs}. All others are the errno that it ends with. */
export const SEND_AGAIN = -1;

export class Retries {
  readonly #states: RequestStates;
  readonly #suspects: Suspects;
  #delayMs = 0;

  constructor(depth: number, states: RequestStates) {
    this.#states = states;
    this.#suspects = new Suspects(depth);
  }

  /** A new request has the slot. */
  reset(slot: number): void {
    this.#suspects.reset(slot);
  }

  /** What another queue has to know that goes on with the request, in a word: losses, retries, and a missed deadline. */
  history(slot: number): number {
    const { retries, isTimedOut } = this.#states;
    return this.#suspects.losses(slot) | (retries[slot] << 8) | (isTimedOut[slot] << 16);
  }

  /** Goes on with a request of such a history. */
  resume(slot: number, history: number): void {
    this.#suspects.resume(slot, history & 0xff);
    this.#states.retries[slot] = (history >>> 8) & 0xff;
    this.#states.isTimedOut[slot] = (history >>> 16) & 1;
  }

  /** True if the request may be sent now; if not, it comes up by {@linkcode endTurn} of another one. */
  takeTurn(slot: number): boolean {
    return this.#suspects.takeTurn(slot);
  }

  /** Nothing of the request is in flight, or will be soon. The slot whose turn it is now; -1 for none. */
  endTurn(slot: number): number {
    return this.#suspects.endTurn(slot);
  }

  /** A part of the request was refused. */
  handleStatus(slot: number, status: number): void {
    const states = this.#states;
    const disposition = statusDisposition(status);
    states.lastStatus[slot] = status;
    if (disposition === "failover") states.again[slot] = Again.ELSEWHERE;
    else if (disposition === "retry") states.again[slot] = Again.LATER;
    else states.error[slot] = statusErrno(status);
  }

  /**
   * A controller refused with `status`. It may ask for a delay: CRD names one of the command retry delay times (CRDT) of its
   * Identify data, `retryDelaysMs`.
   */
  handleDelay(slot: number, status: number, retryDelaysMs: readonly number[]): void {
    const { controllerDelayMs } = this.#states;
    const delayMs = Math.min(retryDelaysMs[retryDelayIndex(status)] ?? 0, CONTROLLER_DELAY_MS_MAX);
    controllerDelayMs[slot] = Math.max(controllerDelayMs[slot], delayMs);
  }

  /** A part of the request was lost with its connection. */
  handleLoss(slot: number): void {
    this.#states.again[slot] = Again.ELSEWHERE;
  }

  /** The errno of a request that no path will serve. */
  lostErrno(slot: number): number {
    return this.#states.isTimedOut[slot] === 1 ? ETIMEDOUT : EIO;
  }

  /**
   * What becomes of a request none of whose commands is in flight: its errno, 0 if it was served, or SEND_AGAIN. `paths`
   * says whether a path is left that has not refused it.
   */
  judge(slot: number, paths: { hasOther(slot: number): boolean }): number {
    const states = this.#states;
    if (states.error[slot] !== 0) return states.error[slot];
    if (states.again[slot] === Again.NO) return 0;
    return states.lastStatus[slot] === 0 ? this.#judgeLost(slot) : this.#judgeRefused(slot, paths);
  }

  #judgeRefused(slot: number, paths: { hasOther(slot: number): boolean }): number {
    const states = this.#states;
    if (++states.retries[slot] > RETRIES_MAX) return statusErrno(states.lastStatus[slot]);
    const isDelayed = states.again[slot] === Again.LATER || !paths.hasOther(slot);
    if (isDelayed) states.refusedPaths[slot] = 0;
    this.#delayMs = isDelayed ? this.#delayAfter(slot, states.retries[slot]) : 0;
    return SEND_AGAIN;
  }

  #judgeLost(slot: number): number {
    if (!this.#suspects.handleLost(slot)) return this.lostErrno(slot);
    const lossesAlone = this.#suspects.lossesAlone(slot);
    if (lossesAlone > 0) this.#states.refusedPaths[slot] = 0;
    this.#delayMs = lossesAlone > 0 ? this.#delayAfter(slot, lossesAlone) : 0;
    return SEND_AGAIN;
  }

  #delayAfter(slot: number, tries: number): number {
    const delayMs = Math.min(RETRY_DELAY_MS * 2 ** (tries - 1), RETRY_DELAY_MS_MAX);
    return Math.max(this.#states.controllerDelayMs[slot], delayMs);
  }

  /** How long a request that is sent again waits before, in milliseconds, by the last verdict. */
  get delayMs(): number {
    return this.#delayMs;
  }
}
