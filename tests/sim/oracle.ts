import { Violation } from "./violation.ts";

/** Who uses a block: so many readers, or one writer. */
const WRITER = -1;

/**
 * What each block may hold: the version that was acknowledged last, or, after writes that were not acknowledged, one of
 * several. A version fills its block completely and belongs to one write of one block, so that data that is torn, old or
 * of another block is told from what is right. Once a version is read, no other one may be.
 */
export class Oracle {
  readonly blocks: number;
  readonly #blockWords: number;
  /** The version where there is only one. 0: zeroes. */
  readonly #known: Uint32Array;
  readonly #possible = new Map<number, Set<number>>();
  readonly #users: Int32Array;
  #lastVersion = 0;

  constructor(options: { blocks: number; blockSize: number }) {
    this.blocks = options.blocks;
    this.#blockWords = options.blockSize / 4;
    this.#known = new Uint32Array(options.blocks);
    this.#users = new Int32Array(options.blocks);
  }

  /** Takes blocks for a reader or a writer; false if somebody else's use forbids it. */
  take(first: number, blocks: number, isWriter: boolean): boolean {
    for (let block = first; block < first + blocks; block++) {
      if (this.#users[block] === WRITER || (isWriter && this.#users[block] > 0)) return false;
    }
    for (let block = first; block < first + blocks; block++) {
      if (isWriter) this.#users[block] = WRITER;
      else this.#users[block]++;
    }
    return true;
  }

  #giveBack(first: number, blocks: number): void {
    for (let block = first; block < first + blocks; block++) {
      this.#users[block] = this.#users[block] === WRITER ? 0 : this.#users[block] - 1;
    }
  }

  /** Fills a buffer with new versions; the first of them, the others follow. */
  compose(words: Uint32Array, at: number, blocks: number): number {
    const first = this.#lastVersion + 1;
    this.#lastVersion += blocks;
    for (let i = 0; i < blocks; i++) {
      words.fill(first + i, at + i * this.#blockWords, at + (i + 1) * this.#blockWords);
    }
    return first;
  }

  /** A write is over. `version` is that of its first block, 0 if it made zeroes. */
  handleWritten(first: number, blocks: number, version: number, isAcknowledged: boolean): void {
    for (let i = 0; i < blocks; i++) {
      const block = first + i;
      const written = version === 0 ? 0 : version + i;
      if (isAcknowledged) {
        this.#known[block] = written;
        this.#possible.delete(block);
        continue;
      }
      const possible = this.#possible.get(block) ?? new Set([this.#known[block]]);
      this.#possible.set(block, possible.add(written));
    }
    this.#giveBack(first, blocks);
  }

  /** A read is over; `words` from `at` on is what it gave, if it succeeded. */
  handleRead(first: number, blocks: number, words: Uint32Array | null, at: number): void {
    this.#giveBack(first, blocks);
    if (words === null) return;
    for (let i = 0; i < blocks; i++) this.#check(first + i, words, at + i * this.#blockWords);
  }

  #check(block: number, words: Uint32Array, at: number): void {
    const version = words[at];
    const end = at + this.#blockWords;
    for (let word = at + 1; word < end; word++) {
      if (words[word] !== version) {
        throw new Violation(
          "torn",
          `Block ${block} is torn: versions ${version} and ${words[word]} at word ${word - at}`,
        );
      }
    }
    const possible = this.#possible.get(block);
    if (possible === undefined ? version === this.#known[block] : possible.has(version)) {
      if (possible === undefined) return;
      this.#known[block] = version;
      this.#possible.delete(block);
      return;
    }
    const right = possible === undefined ? [this.#known[block]] : [...possible];
    throw new Violation("data", `Block ${block} holds version ${version} instead of ${right.join(" or ")}`);
  }
}
