import { Fifo } from "../base/fifo.ts";
import type { BlockDevice } from "./device.ts";
import type { RequestTable } from "./request.ts";

/** A block device that does nothing: every request succeeds at once, reads leave the buffer as it was. */
export class NullDevice implements BlockDevice {
  readonly #requests: RequestTable;
  readonly #answered: Fifo;

  constructor(requests: RequestTable) {
    this.#requests = requests;
    this.#answered = new Fifo(requests.depth);
  }

  submit(slot: number, _nowMs: number): void {
    this.#requests.status[slot] = 0;
    this.#answered.push(slot);
  }

  pollCompletion(): number {
    return this.#answered.shift();
  }
}
