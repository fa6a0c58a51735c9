import { native } from "../../ffi/library.ts";
import { check } from "../../ffi/result.ts";
import { assert } from "../base/assert.ts";
import { errnoWords } from "../base/errno.ts";
import { ARENA_MAPPING_BYTES, ARENA_MAPPINGS_LIMITED, ARENA_MAPPINGS_MAX, REGION_BYTES_MAX } from "../base/limits.ts";
import { logger } from "../base/log.ts";
import { FreeSpans } from "./free_spans.ts";
import { addressSpaceMax, cannotMap, type MemoryArea } from "./memory.ts";

const log = logger("memory");

/** Address space that was reserved in one piece, and what of it is free. */
interface Mapping {
  readonly pointer: Deno.PointerObject;
  readonly address: number;
  readonly buffer: ArrayBuffer;
  readonly free: FreeSpans;
}

/** Where a region is, for other threads of the process: numbers that shared memory can hold. */
export interface RegionPlace {
  readonly mappingAddress: number;
  readonly mappingBytes: number;
  readonly offset: number;
  readonly bytes: number;
}

/**
 * A thread's memory for what the kernel reads and writes: few large mappings, which *regions* are cut from.
 *
 *     mapping, 4 GiB of address space: [ region | region | reserved … | region | reserved … ]
 *
 * V8 counts each `ArrayBuffer` over mapped memory as memory of its own, and collects garbage when there is more of it
 * than before. So a mapping has one such buffer for its whole life, and regions are views of it, which are not counted.
 *
 * What no region covers has no pages and may not be touched. A region is zeroed, backed as it is touched, and never
 * moves; one that is given back leaves nothing behind, neither pages nor locks on them.
 *
 * Invariant: the regions and the free spans of a mapping cover it exactly once.
 */
export class Arena implements Disposable {
  readonly #pageBytes = native().um_page_bytes();
  readonly #mappings: Mapping[] = [];
  readonly #regions = new Set<Region>();
  readonly #mappingBytes: number;
  /** Buffers over mappings of other threads' arenas, by address. */
  readonly #others = new Map<number, ArrayBuffer>();

  /** Address space is reserved `mappingBytes` at a time, or less where the host has no more. */
  constructor(options: { mappingBytes?: number } = {}) {
    this.#mappingBytes = options.mappingBytes ?? this.#mappingBytesHere();
  }

  #mappingBytesHere(): number {
    const max = addressSpaceMax() ?? Infinity;
    return Math.min(ARENA_MAPPING_BYTES, this.#wholePages(max / ARENA_MAPPINGS_LIMITED));
  }

  /** Bytes of all regions, in whole pages. */
  get usedBytes(): number {
    return [...this.#regions].reduce((sum, region) => sum + this.#wholePages(region.bytes.length), 0);
  }

  /** Bytes of address space that it has. */
  get reservedBytes(): number {
    return this.#mappings.reduce((sum, { buffer }) => sum + buffer.byteLength, 0);
  }

  /** How many mappings V8 has been shown. */
  get mappings(): number {
    return this.#mappings.length;
  }

  #wholePages(bytes: number): number {
    return Math.ceil(bytes / this.#pageBytes) * this.#pageBytes;
  }

  /**
   * A region of `bytes` bytes, at the beginning of a page. With `lock` it is never paged out.
   *
   * @throws UmpathError "host-lacks" if this host has not so much memory or address space.
   */
  allocate(bytes: number, { lock = false }: { lock?: boolean } = {}): Region {
    assert(bytes > 0 && bytes <= REGION_BYTES_MAX, "Offsets into a region are 31-bit integers");
    const whole = this.#wholePages(bytes);
    for (const mapping of this.#mappings) {
      const offset = mapping.free.take(whole);
      if (offset >= 0) return this.#commit(mapping, { offset, bytes, lock });
    }
    const mapping = this.#reserve(whole);
    return this.#commit(mapping, { offset: mapping.free.take(whole), bytes, lock });
  }

  /** A region of another thread's arena, which has to be kept there for as long as this is used. */
  viewOf({ mappingAddress, mappingBytes, offset, bytes }: RegionPlace): Uint8Array<ArrayBuffer> {
    let buffer = this.#others.get(mappingAddress);
    if (buffer === undefined) {
      const pointer = Deno.UnsafePointer.create(BigInt(mappingAddress));
      assert(pointer !== null, "A mapping is somewhere");
      buffer = Deno.UnsafePointerView.getArrayBuffer(pointer, mappingBytes);
      this.#others.set(mappingAddress, buffer);
    }
    return new Uint8Array(buffer, offset, bytes);
  }

  #commit(mapping: Mapping, { offset, bytes, lock }: { offset: number; bytes: number; lock: boolean }): Region {
    const whole = this.#wholePages(bytes);
    const result = native().um_commit(mapping.pointer, BigInt(offset), BigInt(whole), lock ? 1 : 0);
    if (result < 0) {
      this.#giveBack(mapping, offset, whole);
      throw cannotMap(bytes, -result);
    }
    const region = new Region(mapping, { offset, bytes, end: (ended) => this.#end(ended, mapping, offset) });
    this.#regions.add(region);
    return region;
  }

  /** A new mapping: as large as one is to be, or what there is, as long as `bytes` bytes fit in. */
  #reserve(bytes: number): Mapping {
    if (this.#mappings.length === ARENA_MAPPINGS_MAX) throw cannotMap(bytes);
    for (let size = Math.max(this.#mappingBytes, bytes); size >= bytes; size = this.#lessThan(size, bytes)) {
      const pointer = native().um_reserve(BigInt(size));
      if (pointer === null) continue;
      const address = Number(Deno.UnsafePointer.value(pointer));
      const buffer = Deno.UnsafePointerView.getArrayBuffer(pointer, size);
      const mapping = { pointer, address, buffer, free: new FreeSpans(size) };
      this.#mappings.push(mapping);
      return mapping;
    }
    throw cannotMap(bytes);
  }

  /** The next smaller size to try: half, but not less than `bytes` before that itself was tried. */
  #lessThan(size: number, bytes: number): number {
    return size === bytes ? 0 : Math.max(this.#wholePages(size / 2), bytes);
  }

  #end(region: Region, mapping: Mapping, offset: number): void {
    this.#regions.delete(region);
    this.#giveBack(mapping, offset, this.#wholePages(region.bytes.length));
    this.invariants();
  }

  /** What the kernel does not take back stays out of use: somebody else may have that part of the address space. */
  #giveBack(mapping: Mapping, offset: number, bytes: number): void {
    const result = native().um_decommit(mapping.pointer, BigInt(offset), BigInt(bytes));
    if (result >= 0) mapping.free.give(offset, bytes);
    else log.error(`Cannot give ${bytes} bytes of memory back: ${errnoWords(result)}`);
  }

  /** Asserts what always holds between calls. */
  invariants(): void {
    for (const { free } of this.#mappings) free.invariants();
    const free = this.#mappings.reduce((sum, mapping) => sum + mapping.free.freeBytes, 0);
    assert(this.usedBytes + free <= this.reservedBytes, "Regions and free spans lie beside each other");
  }

  /** Gives up the address space that no region is in: the kernel or another thread may still use those that are left. */
  [Symbol.dispose](): void {
    for (const { pointer, buffer, free } of this.#mappings.splice(0)) {
      if (free.isWhole) check(native().um_unmap(pointer, BigInt(buffer.byteLength)), "Cannot unmap memory");
    }
  }
}

/** A piece of an arena, until it is disposed of. Nothing may touch `bytes` afterwards, nor any view of it. */
export class Region implements MemoryArea, Disposable {
  readonly bytes: Uint8Array<ArrayBuffer>;
  readonly address: number;
  readonly #mapping: { readonly address: number; readonly buffer: ArrayBuffer };
  #end: ((region: Region) => void) | null;

  /** Only an arena makes regions. */
  constructor(
    mapping: { readonly address: number; readonly buffer: ArrayBuffer },
    { offset, bytes, end }: { offset: number; bytes: number; end: (region: Region) => void },
  ) {
    this.bytes = new Uint8Array(mapping.buffer, offset, bytes);
    this.address = mapping.address + offset;
    this.#mapping = mapping;
    this.#end = end;
  }

  get place(): RegionPlace {
    const { address, buffer } = this.#mapping;
    const { byteOffset, length } = this.bytes;
    return { mappingAddress: address, mappingBytes: buffer.byteLength, offset: byteOffset, bytes: length };
  }

  /** Gives it back. The kernel may not be using it any more. */
  [Symbol.dispose](): void {
    const end = this.#end;
    this.#end = null;
    end?.(this);
  }
}
