import { UmpathError, type WireError } from "../../base/errors.ts";
import { VOLUMES_MAX } from "../../base/limits.ts";
import { logger } from "../../base/log.ts";
import { Arena } from "../../io/arena.ts";
import { RingLoop } from "../../io/ring_loop.ts";
import type { Wake } from "../../io/wake.ts";
import type { Plane } from "../../io/worker_inbox.ts";
import { LOOK_MS, StandstillWatch, standstillWords, whereItStands } from "./standstill.ts";
import { VolumeQueue } from "./volume_queue.ts";
import type { FromWorker, ToWorker } from "./worker_messages.ts";

const log = logger("worker");

/** What a worker of the daemon runs: a queue of each volume on one ring. */
export class DataPlane implements Plane<ToWorker> {
  readonly #loop: RingLoop<VolumeQueue>;
  readonly #arena = new Arena();
  readonly #tell: (message: FromWorker) => void;
  #isStopped = false;

  constructor(tell: (message: FromWorker) => void) {
    this.#tell = tell;
    this.#loop = new RingLoop(VOLUMES_MAX, (volume) => tell({ type: "volume-removed", volume }));
  }

  get wake(): Wake {
    return this.#loop.wake;
  }

  get isStopped(): boolean {
    return this.#isStopped;
  }

  /** Carries out what the main thread says. */
  handleMessage(message: ToWorker): void {
    if (message.type === "stop") {
      this.#isStopped = true;
      return;
    }
    if (message.type === "watch-main") return this.#watchMain(message);
    if (message.type === "add-volume") return this.#addVolume(message);
    const queue = this.#loop.at(message.volume);
    if (queue === null) return;
    this.#loop.touch(message.volume);
    switch (message.type) {
      case "add-link":
        return queue.addLink(message);
      case "close-link":
        return queue.closeLink(message.path, message.link);
      case "start-queue":
        return this.#startQueue(message.volume, queue);
      case "abandon-queue":
        return queue.abandonQueue();
      case "start-load":
        return queue.startLoad(message.plan);
      case "release-held":
        return queue.volume.releaseHeld(message.path, performance.now());
      case "resize-volume":
        queue.resize(message.blocks);
        return this.#tell({ type: "volume-resized", volume: message.volume });
      case "remove-volume":
        return queue.remove();
    }
  }

  #addVolume(message: ToWorker & { type: "add-volume" }): void {
    let failure: WireError | null = null;
    try {
      this.#loop.add(message.volume, new VolumeQueue(message, this.#arena, this.#tell));
    } catch (error) {
      failure = UmpathError.from(error).toWire();
    }
    this.#tell({ type: "volume-added", volume: message.volume, failure });
  }

  #watchMain({ beats, tid, stillMsMax }: ToWorker & { type: "watch-main" }): void {
    const watch = new StandstillWatch(new Int32Array(beats), stillMsMax);
    this.#loop.lookEvery(Math.min(LOOK_MS, stillMsMax), (nowMs) => {
      const found = watch.look(nowMs);
      if (found?.kind === "still") log.error(standstillWords(found, whereItStands(tid)));
      else if (found !== null) log.warn(standstillWords(found, ""));
    });
  }

  /** The device goes live only once the kernel has every FETCH; nothing else may happen until then. */
  #startQueue(volume: number, queue: VolumeQueue): void {
    queue.startQueue();
    this.#loop.whenSubmitted(() => this.#tell({ type: "queue-started", volume }));
  }

  run(): void {
    this.#loop.run();
  }

  [Symbol.dispose](): void {
    this.#loop[Symbol.dispose]();
    this.#arena[Symbol.dispose]();
  }
}
