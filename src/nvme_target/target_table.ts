import { NAMESPACES_MAX, TARGET_LISTENERS_MAX } from "../base/limits.ts";

const Field = { BLOCKS_LOW: 0, BLOCKS_HIGH: 1, READ_ONLY: 2, WORDS: 4 } as const;

/**
 * What the main thread tells the workers of a target, in memory that both share: one writer, any number of readers, no
 * message. It is read plainly for every command; a word is never torn, and a size only grows or is changed while the
 * hosts are told (a command that was checked against the old size is answered as if it had come before the change).
 */
export class TargetTable {
  readonly shared: SharedArrayBuffer;
  readonly #words: Int32Array;

  constructor(shared?: SharedArrayBuffer) {
    this.shared = shared ?? new SharedArrayBuffer((TARGET_LISTENERS_MAX + NAMESPACES_MAX * Field.WORDS) * 4);
    this.#words = new Int32Array(this.shared);
  }

  /** The ANA state (`AnaStateCode`) of all namespaces on the controllers of that listener. */
  ana(listener: number): number {
    return this.#words[listener];
  }

  setAna(listener: number, state: number): void {
    Atomics.store(this.#words, listener, state);
  }

  /** Size of the namespace at `index` in logical blocks. */
  blocks(index: number): number {
    const at = TARGET_LISTENERS_MAX + index * Field.WORDS;
    return (this.#words[at + Field.BLOCKS_HIGH] >>> 0) * 2 ** 32 + (this.#words[at + Field.BLOCKS_LOW] >>> 0);
  }

  setBlocks(index: number, blocks: number): void {
    const at = TARGET_LISTENERS_MAX + index * Field.WORDS;
    Atomics.store(this.#words, at + Field.BLOCKS_HIGH, Math.floor(blocks / 2 ** 32) | 0);
    Atomics.store(this.#words, at + Field.BLOCKS_LOW, blocks % 2 ** 32 | 0);
  }

  isReadOnly(index: number): boolean {
    return this.#words[TARGET_LISTENERS_MAX + index * Field.WORDS + Field.READ_ONLY] === 1;
  }

  setReadOnly(index: number, readOnly: boolean): void {
    Atomics.store(this.#words, TARGET_LISTENERS_MAX + index * Field.WORDS + Field.READ_ONLY, readOnly ? 1 : 0);
  }
}
