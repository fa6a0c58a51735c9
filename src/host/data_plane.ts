/**
 * The loop of a worker: reap completions → feed the pure machines → put what they want into the ring → one submit and
 * wait. All that became ready in a turn goes to the kernel in one call.
 */
import { SPIN_US, TICK_MS, VOLUMES_MAX } from "../base/limits.ts";
import { Fifo } from "../base/fifo.ts";
import { Ring } from "../io/ring.ts";
import { AdaptiveSpin } from "../io/spin.ts";
import { tokenHigh, TokenKind, tokenKind, tokenOwner } from "../io/token.ts";
import { Wake } from "../io/wake.ts";
import { Memory } from "../io/memory.ts";
import { VolumeQueue } from "./volume_queue.ts";
import type { FromWorker, ToWorker } from "./worker_messages.ts";

const RING_SUBMISSIONS = 2048;
const RING_COMPLETIONS = 16384;

export class DataPlane implements Disposable {
  readonly wake = new Wake();
  readonly #ring = new Ring({ submissions: RING_SUBMISSIONS, completions: RING_COMPLETIONS });
  readonly #wakeMemory = Memory.allocate(4096);
  readonly #spin = new AdaptiveSpin(SPIN_US);
  readonly #volumes: (VolumeQueue | null)[] = new Array(VOLUMES_MAX).fill(null);
  readonly #touched = new Fifo(VOLUMES_MAX);
  readonly #isTouched = new Uint8Array(VOLUMES_MAX);
  readonly #tell: (message: FromWorker) => void;
  /** No volume has this index or a higher one. */
  #end = 0;
  #starting: number[] = [];
  #lastTickMs = 0;
  #isWoken = false;
  #isStopped = false;

  constructor(tell: (message: FromWorker) => void) {
    this.#tell = tell;
    this.#listen();
  }

  get isStopped(): boolean {
    return this.#isStopped;
  }

  #listen(): void {
    this.#ring.prepRead(this.wake.fd, this.#wakeMemory.address, 8, tokenHigh(TokenKind.WAKE, 0), 0);
  }

  /** Carries out what the main thread says. */
  handleMessage(message: ToWorker): void {
    if (message.type === "stop") {
      this.#isStopped = true;
      return;
    }
    if (message.type === "add-volume") return this.#addVolume(message);
    const queue = this.#volumes[message.volume];
    if (queue === null) return;
    this.#touch(message.volume);
    switch (message.type) {
      case "add-link":
        return queue.addLink(message);
      case "close-link":
        return queue.closeLink(message.path, message.link);
      case "start-queue":
        queue.startQueue();
        this.#starting.push(message.volume);
        return;
      case "abandon-queue":
        return queue.abandonQueue();
      case "release-held":
        return queue.volume.releaseHeld(message.path, performance.now());
      case "remove-volume":
        return queue.remove();
    }
  }

  #addVolume(message: ToWorker & { type: "add-volume" }): void {
    let failure: string | null = null;
    try {
      this.#volumes[message.volume] = new VolumeQueue(message, this.#tell);
      this.#end = Math.max(this.#end, message.volume + 1);
    } catch (error) {
      failure = error instanceof Error ? error.message : String(error);
    }
    this.#tell({ type: "volume-added", volume: message.volume, failure });
  }

  /** Runs until the main thread has something to say. */
  run(): void {
    this.#isWoken = false;
    this.#touchAll();
    let nowMs = performance.now();
    while (!this.#isWoken) {
      this.#turnTouched(nowMs);
      const busy = this.#isBusy();
      const spinUs = this.#spin.budgetUs(busy);
      const hits = this.#ring.spinHits;
      const misses = this.#ring.spinMisses;
      this.#ring.turn(spinUs, this.#waitMs(busy));
      if (this.#ring.spinHits !== hits) this.#spin.handleResult(true);
      else if (this.#ring.spinMisses !== misses) this.#spin.handleResult(false);
      if (this.#starting.length > 0 && this.#ring.pending === 0) this.#tellStarted();
      nowMs = performance.now();
      this.#reap(nowMs);
      if (nowMs - this.#lastTickMs >= TICK_MS) this.#tick(nowMs);
    }
  }

  /**
   * How long a turn may wait. Not at all while a queue starts: the device goes live only once it is told that the
   * kernel has every FETCH, and nothing else may happen until then.
   */
  #waitMs(isBusy: boolean): number {
    if (this.#starting.length > 0) return 0;
    return isBusy ? TICK_MS : -1;
  }

  /** The kernel has the FETCH of every tag of these queues: nothing that was prepared is left. */
  #tellStarted(): void {
    for (const volume of this.#starting) this.#tell({ type: "queue-started", volume });
    this.#starting = [];
  }

  #reap(nowMs: number): void {
    const ring = this.#ring;
    while (ring.next()) {
      const kind = tokenKind(ring.tokenHigh);
      const owner = tokenOwner(ring.tokenHigh);
      if (kind === TokenKind.WAKE) {
        this.#isWoken = true;
        this.#listen();
        continue;
      }
      const queue = this.#volumes[owner]!;
      this.#touch(owner);
      if (kind === TokenKind.UBLK) queue.handleUblk(ring.tokenLow, ring.result, nowMs);
      else if (kind === TokenKind.RECEIVE) queue.handleReceived(ring.tokenLow, ring.result);
      else if (kind === TokenKind.SEND || kind === TokenKind.SEND_MORE) {
        queue.handleSent(ring, ring.tokenLow, ring.result);
      }
    }
  }

  #turnTouched(nowMs: number): void {
    for (let index = this.#touched.shift(); index >= 0; index = this.#touched.shift()) {
      this.#isTouched[index] = 0;
      const queue = this.#volumes[index];
      if (queue === null) continue;
      queue.turn(this.#ring, nowMs);
      if (queue.isOver) this.#forget(index, queue);
    }
  }

  #forget(index: number, queue: VolumeQueue): void {
    this.#volumes[index] = null;
    while (this.#end > 0 && this.#volumes[this.#end - 1] === null) this.#end--;
    queue[Symbol.dispose]();
    this.#tell({ type: "volume-removed", volume: index });
  }

  #touch(index: number): void {
    if (this.#isTouched[index] === 1) return;
    this.#isTouched[index] = 1;
    this.#touched.push(index);
  }

  #touchAll(): void {
    for (let index = 0; index < this.#end; index++) {
      if (this.#volumes[index] !== null) this.#touch(index);
    }
  }

  #tick(nowMs: number): void {
    this.#lastTickMs = nowMs;
    for (let index = 0; index < this.#end; index++) {
      const queue = this.#volumes[index];
      if (queue === null || !queue.isBusy) continue;
      queue.handleTime(nowMs);
      this.#touch(index);
    }
  }

  #isBusy(): boolean {
    for (let index = 0; index < this.#end; index++) {
      if (this.#volumes[index]?.isBusy) return true;
    }
    return false;
  }

  [Symbol.dispose](): void {
    this.#ring[Symbol.dispose]();
    this.wake[Symbol.dispose]();
    this.#wakeMemory[Symbol.dispose]();
  }
}
