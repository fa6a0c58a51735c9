import { BEAT_MS } from "../worker/standstill.ts";

/** Counts the beats of the main thread in memory that other threads see. */
export class Heartbeat implements Disposable {
  readonly shared = new SharedArrayBuffer(4);
  readonly #timer: ReturnType<typeof setInterval>;

  constructor() {
    const beats = new Int32Array(this.shared);
    this.#timer = setInterval(() => Atomics.add(beats, 0, 1), BEAT_MS);
    Deno.unrefTimer(this.#timer);
  }

  [Symbol.dispose](): void {
    clearInterval(this.#timer);
  }
}
