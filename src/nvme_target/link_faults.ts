import type { ConnectionFaults } from "./connection_faults.ts";
import { DrainBudget } from "./drain_budget.ts";

/**
 * What is wrong with the way of a connection's bytes, for whoever moves them: {@linkcode handleTime} at every turn, and
 * again when {@linkcode nextDueMs} is over, then the rest. Without faults nobody has one of these.
 */
export class LinkFaults {
  #faults: ConnectionFaults | null = null;
  readonly #budget = new DrainBudget();
  #isStalled = false;
  #isHalfOpen = false;
  #isReset = false;
  #rate = Infinity;
  #window = Infinity;
  #toldWindow = Infinity;
  #nextChangeMs = Infinity;
  #nowMs = 0;

  /** What is wrong from now on; null for nothing. A connection that is half-open stays so. */
  setFaults(faults: ConnectionFaults | null): void {
    this.#faults = faults;
  }

  handleTime(nowMs: number): void {
    const faults = this.#faults;
    this.#nowMs = nowMs;
    this.#nextChangeMs = faults?.nextChangeMs(nowMs) ?? Infinity;
    this.#isReset ||= faults?.shouldReset(nowMs) ?? false;
    this.#isHalfOpen ||= faults?.isHalfOpen(nowMs) ?? false;
    this.#isStalled = faults?.isStalled(nowMs) ?? false;
    this.#window = faults?.receiveWindowBytes(nowMs) ?? Infinity;
    const rate = faults?.bytesPerSecond(nowMs) ?? Infinity;
    if (rate > this.#rate) this.#budget.forgive();
    this.#rate = rate;
  }

  /** Nothing is wrong, and nothing will be until {@linkcode setFaults}: whoever has this one needs it no more. */
  get isOver(): boolean {
    return this.#faults === null && !this.#isHalfOpen && !this.#isReset && this.#toldWindow === Infinity;
  }

  /** The connection is to be reset; it stays so. */
  get isReset(): boolean {
    return this.#isReset;
  }

  /** What comes in is thrown away, and nothing is sent any more. */
  get isHalfOpen(): boolean {
    return this.#isHalfOpen;
  }

  /** The peer hears nothing now: a timer that waits for it has to stand still. */
  get isSilent(): boolean {
    return this.#isHalfOpen || this.#isStalled;
  }

  get mayReceive(): boolean {
    return !this.#isStalled && this.#budget.mayMove(this.#nowMs);
  }

  get maySend(): boolean {
    return !this.isSilent && this.#budget.mayMove(this.#nowMs);
  }

  /** So many bytes were received or sent. */
  handleMoved(bytes: number): void {
    if (this.#rate !== Infinity) this.#budget.handleMoved(bytes, this.#rate, this.#nowMs);
  }

  /** How large the receive window is to be from now on, in bytes, told once; null for no change. */
  pollWindow(): number | null {
    if (this.#window === this.#toldWindow) return null;
    this.#toldWindow = this.#window;
    return this.#window;
  }

  /** When {@linkcode handleTime} is due though nothing has happened; Infinity for never. */
  get nextDueMs(): number {
    return this.#budget.mayMove(this.#nowMs) ? this.#nextChangeMs : Math.min(this.#nextChangeMs, this.#budget.freeMs);
  }
}
