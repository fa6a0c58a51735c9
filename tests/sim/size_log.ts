/** Changes that are remembered: more than any request sees. */
const CHANGES_MAX = 1_000;

/** How small the namespace was when, or the volume that has not heard of its growth. */
export class SizeLog {
  /** Sizes that are over, and until when they were in force. */
  readonly #past: { readonly blocks: number; readonly untilMs: number }[] = [];
  #blocks: number;

  constructor(blocks: number) {
    this.#blocks = blocks;
  }

  note(blocks: number, nowMs: number): void {
    this.#past.push({ blocks: this.#blocks, untilMs: nowMs });
    if (this.#past.length > CHANGES_MAX) this.#past.shift();
    this.#blocks = blocks;
  }

  /** The smallest size since then. */
  smallestSince(ms: number): number {
    let smallest = this.#blocks;
    for (let i = this.#past.length - 1; i >= 0 && this.#past[i].untilMs >= ms; i--) {
      smallest = Math.min(smallest, this.#past[i].blocks);
    }
    return smallest;
  }
}
