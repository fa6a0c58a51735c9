import type { RegionPlace } from "./arena.ts";

const FIELDS = 4;

/** Places of regions in shared memory: a thread writes its own before another is told to look there. */
export class RegionPlaces {
  readonly #numbers: Float64Array;

  constructor(shared: SharedArrayBuffer) {
    this.#numbers = new Float64Array(shared);
  }

  /** Memory for so many places. */
  static shared(places: number): SharedArrayBuffer {
    return new SharedArrayBuffer(places * FIELDS * Float64Array.BYTES_PER_ELEMENT);
  }

  set(index: number, { mappingAddress, mappingBytes, offset, bytes }: RegionPlace): void {
    this.#numbers.set([mappingAddress, mappingBytes, offset, bytes], index * FIELDS);
  }

  at(index: number): RegionPlace {
    const [mappingAddress, mappingBytes, offset, bytes] = this.#numbers.subarray(index * FIELDS);
    return { mappingAddress: mappingAddress!, mappingBytes: mappingBytes!, offset: offset!, bytes: bytes! };
  }
}
