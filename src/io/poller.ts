import { LAYOUT } from "../../ffi/layout.ts";
import { native } from "../../ffi/library.ts";
import { EINTR, errnoWords } from "../base/errno.ts";
import { logger } from "../base/log.ts";
import { heldBackWords, RateLimit } from "../base/rate_limit.ts";
import { Wake } from "./wake.ts";

const POLLIN = 0x001;
const POLLOUT = 0x004;

/** The kernel could not poll just now: interrupted, or out of memory. */
const RETRY_MS = 10;
/** A failure that lasts is said that often. */
const FAILURE_WORDS = { burst: 1, perMs: 60_000 } as const;

const log = logger("poller");

/** What is watched about one descriptor. `onReady` is called while it is readable or writable as wanted, or in error. */
export interface Watch {
  readonly fd: number;
  wantsRead: boolean;
  wantsWrite: boolean;
  onReady(): void;
}

/**
 * Waits for descriptors on behalf of the main thread: one poll(2) on a thread of the runtime's pool, for as long as
 * anything is watched. It serves the control plane, where a few tens of microseconds are nothing.
 */
export class Poller implements AsyncDisposable {
  readonly #words = new RateLimit(FAILURE_WORDS);
  readonly #watches = new Set<Watch>();
  readonly #wake = new Wake();
  #isRunning = false;
  #isOver = false;
  #running: Promise<void> = Promise.resolve();

  add(watch: Watch): void {
    if (this.#isOver) return;
    this.#watches.add(watch);
    this.changed();
  }

  /** The watch is not called any more; its descriptor may be closed. */
  async remove(watch: Watch): Promise<void> {
    this.#watches.delete(watch);
    this.changed();
    await this.#round;
  }

  /** To be called when a watch wants something else than before. */
  changed(): void {
    if (this.#isRunning) Wake.signal(this.#wake.fd);
    else if (this.#watches.size > 0) this.#running = this.#run();
  }

  /** Settles when the poll that is under way has returned: after that it uses no descriptor that was removed before. */
  #round: Promise<unknown> = Promise.resolve();

  async #run(): Promise<void> {
    this.#isRunning = true;
    while (this.#watches.size > 0) {
      const watches = [...this.#watches];
      const set = this.#pollSet(watches);
      const round = native().um_poll(set, watches.length + 1, -1);
      this.#round = round;
      const result = await round;
      if (result < 0) await this.#handleFailure(-result);
      else this.#dispatch(watches, new DataView(set.buffer));
    }
    this.#isRunning = false;
  }

  async #handleFailure(errno: number): Promise<void> {
    const heldBack = errno === EINTR ? null : this.#words.admit(performance.now());
    if (heldBack !== null) log.error(`Cannot wait for sockets: ${errnoWords(errno)}${heldBackWords(heldBack)}`);
    await new Promise((resolve) => setTimeout(resolve, RETRY_MS));
  }

  #pollSet(watches: Watch[]): Uint8Array<ArrayBuffer> {
    const set = new Uint8Array((watches.length + 1) * LAYOUT.pollfdBytes);
    const view = new DataView(set.buffer);
    view.setInt32(0, this.#wake.fd, true);
    view.setInt16(4, POLLIN, true);
    watches.forEach((watch, i) => {
      const at = (i + 1) * LAYOUT.pollfdBytes;
      const events = (watch.wantsRead ? POLLIN : 0) | (watch.wantsWrite ? POLLOUT : 0);
      view.setInt32(at, events === 0 ? -1 : watch.fd, true);
      view.setInt16(at + 4, events, true);
    });
    return set;
  }

  #dispatch(watches: Watch[], view: DataView): void {
    if (view.getInt16(6, true) !== 0) this.#wake.drain();
    watches.forEach((watch, i) => {
      const isReady = view.getInt16((i + 1) * LAYOUT.pollfdBytes + 6, true) !== 0;
      if (isReady && this.#watches.has(watch)) watch.onReady();
    });
  }

  /** Nothing is watched any more, nor will be. */
  async [Symbol.asyncDispose](): Promise<void> {
    this.#isOver = true;
    this.#watches.clear();
    if (this.#isRunning) Wake.signal(this.#wake.fd);
    await this.#running;
    this.#wake[Symbol.dispose]();
  }
}
