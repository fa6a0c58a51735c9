/** A seeded generator of pseudo-random numbers (xorshift128): what the pure machines and the tests draw from. */
export class Prng {
  #x: number;
  #y = 362436069;
  #z = 521288629;
  #w = 88675123;

  constructor(seed: number) {
    this.#x = (seed ^ 0x9e3779b9) | 0 || 1;
    for (let i = 0; i < 16; i++) this.uint32();
  }

  /** The next 32 bits, 0 to 2^32 - 1. */
  uint32(): number {
    const t = this.#x ^ (this.#x << 11);
    this.#x = this.#y;
    this.#y = this.#z;
    this.#z = this.#w;
    this.#w = this.#w ^ (this.#w >>> 19) ^ t ^ (t >>> 8);
    return this.#w >>> 0;
  }

  /** A whole number from 0 to `bound` - 1. */
  below(bound: number): number {
    return Math.floor(this.unit() * bound);
  }

  /** A number from 0 (included) to 1 (excluded). */
  unit(): number {
    return this.uint32() / 4294967296;
  }
}

/** A seed from which nothing of its neighbours' draws can be told: the first draws of seeds in a row are much alike. */
export function mixSeed(seed: number): number {
  let x = Math.imul(seed ^ (seed >>> 16), 0x85ebca6b);
  x = Math.imul(x ^ (x >>> 13), 0xc2b2ae35);
  return (x ^ (x >>> 16)) >>> 0;
}
