/** The demo's application, as the main thread sees it: verified reads and writes that another thread does. */
import { errnoWords } from "../base/errno.ts";
import { formatDuration } from "../base/units.ts";
import { LOAD_WINDOWS, type LoadControl, type LoadCounts, type LoadFailure, LoadOrder } from "../block/load_control.ts";
import { Untrue } from "./claims.ts";
import type { Stage } from "./stage.ts";

/** Requests in flight, and bytes of each. */
export const LOAD_DEPTH = 16;
export const LOAD_UNIT_BYTES = 4096;

const PASS_MS_MAX = 60_000;
const POLL_MS = 10;
/** Requests in flight wait for a path, at most; then they fail. */
const STOP_MS_MAX = 30_000;

/** The thread that does the work. */
export interface LoadThread {
  /** Makes it look at the orders. */
  wake(): void;
  /** Why the thread has failed, or null. */
  readonly failure: string | null;
}

/** Verified load with 4 KiB requests on the first `units` units of something. */
export class Load {
  readonly units: number;
  readonly #control: LoadControl;
  readonly #thread: LoadThread;

  constructor(control: LoadControl, thread: LoadThread, units: number) {
    this.#control = control;
    this.#thread = thread;
    this.units = units;
  }

  /** Writes every unit. */
  async fill(stage: Stage): Promise<void> {
    this.#order(LoadOrder.FILL);
    await this.#finish(stage, PASS_MS_MAX);
  }

  /** Reads every unit and compares it with what was written last. */
  async verify(stage: Stage): Promise<void> {
    this.#order(LoadOrder.VERIFY);
    await this.#finish(stage, PASS_MS_MAX);
  }

  /** Begins to read and write at random. */
  start(): void {
    this.#order(LoadOrder.MIX);
  }

  /** Ends that. */
  async stop(stage: Stage): Promise<void> {
    this.#order(LoadOrder.STOP);
    await this.#finish(stage, STOP_MS_MAX);
  }

  /** Issues nothing more; true if nothing is in flight after at most `timeoutMs`. For the way back: throws nothing. */
  async quiesce(timeoutMs: number): Promise<boolean> {
    this.#order(LoadOrder.STOP);
    for (const deadlineMs = performance.now() + timeoutMs; performance.now() < deadlineMs;) {
      if (this.#control.isDone || this.#thread.failure !== null) return true;
      await new Promise((resolve) => setTimeout(resolve, POLL_MS));
    }
    return false;
  }

  #order(order: number): void {
    this.#control.give(order);
    this.#thread.wake();
  }

  /** @throws Untrue if a request failed, or data was wrong; Interrupted. */
  async #finish(stage: Stage, timeoutMs: number): Promise<void> {
    stage.signal.throwIfAborted();
    for (const deadlineMs = performance.now() + timeoutMs; !this.#control.isDone;) {
      this.check();
      if (performance.now() > deadlineMs) throw new Untrue(`The load has not ended after ${formatDuration(timeoutMs)}`);
      await stage.pause(POLL_MS);
    }
    this.check();
  }

  /** @throws Untrue if a request has failed, or data was wrong. */
  check(): void {
    if (this.#thread.failure !== null) throw new Untrue(`The load's thread failed: ${this.#thread.failure}`);
    const { failure } = this.#control;
    if (failure !== null) throw new Untrue(failureWords(failure));
  }

  /** Counts from now on in another window. */
  enterWindow(window: number): void {
    this.#control.window = window;
  }

  counts(window: number): LoadCounts {
    return this.#control.counts(window);
  }

  /** Of all windows together. */
  get total(): LoadCounts {
    const windows = Array.from({ length: LOAD_WINDOWS }, (_, window) => this.counts(window));
    const sum = (of: (counts: LoadCounts) => number) => windows.reduce((total, counts) => total + of(counts), 0);
    const max = (of: (counts: LoadCounts) => number) => Math.max(...windows.map(of));
    return {
      reads: sum((counts) => counts.reads),
      writes: sum((counts) => counts.writes),
      bytes: sum((counts) => counts.bytes),
      longestReadMs: max((counts) => counts.longestReadMs),
      longestWriteMs: max((counts) => counts.longestWriteMs),
      longestPauseMs: max((counts) => counts.longestPauseMs),
    };
  }
}

/** What went wrong, in words. */
export function failureWords({ kind, isWrite, unit, errno, offset }: LoadFailure): string {
  const place = `the ${LOAD_UNIT_BYTES} bytes at ${unit * LOAD_UNIT_BYTES}`;
  if (kind === "error") return `A ${isWrite ? "write" : "read"} of ${place} failed: ${errnoWords(errno)}`;
  return `Data is wrong: byte ${offset} and on of ${place} are not what was written there last`;
}
