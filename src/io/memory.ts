import { native } from "../../ffi/library.ts";
import { check } from "../../ffi/result.ts";
import { ENOMEM, errnoWords } from "../base/errno.ts";
import { UmpathError } from "../base/errors.ts";
import { formatSize } from "../base/units.ts";

/** 2^32: 64-bit addresses travel as two 32-bit halves, so that no BigInt is made on the hot path. */
export const TWO_32 = 4294967296;

/** RLIMIT_AS of getrlimit(2). */
const ADDRESS_SPACE = 9;

/** Memory outside the JavaScript heap that the kernel reads and writes, at an address that never changes. */
export interface MemoryArea {
  readonly bytes: Uint8Array<ArrayBuffer>;
  /** The address of the first byte; exact, for user space ends at 2^47. */
  readonly address: number;
}

/** A mapping of its own. What there are many of lies in an {@linkcode Arena} instead, whose top says why. */
export class Memory implements MemoryArea, Disposable {
  readonly length: number;
  readonly address: number;
  readonly #pointer: Deno.PointerObject;
  #isOurs: boolean;
  #bytes: Uint8Array<ArrayBuffer> | null = null;

  private constructor(pointer: Deno.PointerObject, length: number, { isOurs }: { isOurs: boolean }) {
    this.#pointer = pointer;
    this.#isOurs = isOurs;
    this.length = length;
    this.address = Number(Deno.UnsafePointer.value(pointer));
  }

  /** All of it. V8 counts it as memory of its own from the first use on. */
  get bytes(): Uint8Array<ArrayBuffer> {
    return this.#bytes ??= new Uint8Array(Deno.UnsafePointerView.getArrayBuffer(this.#pointer, this.length));
  }

  /**
   * Zeroed memory of `length` bytes that is backed as it is touched. With `lock` it is never paged out.
   *
   * @throws UmpathError "host-lacks" if the host has not that much address space.
   */
  static allocate(length: number, options: { lock?: boolean } = {}): Memory {
    const pointer = native().um_map(BigInt(length), options.lock ? 1 : 0);
    if (pointer === null) throw cannotMap(length);
    return new Memory(pointer, length, { isOurs: true });
  }

  /** A mapping of `length` bytes of a file from `offset` on, read-only. */
  static mapFile(fd: number, length: number, offset: number): Memory {
    const pointer = native().um_map_file(fd, BigInt(length), BigInt(offset), 0);
    if (pointer === null) throw new Error(`Cannot map ${length} bytes of file ${fd} at ${offset}`);
    return new Memory(pointer, length, { isOurs: true });
  }

  /** Memory that somebody else has mapped and will unmap. */
  static at(address: number, length: number): Memory {
    const pointer = Deno.UnsafePointer.create(BigInt(address));
    if (pointer === null) throw new Error("Cannot use memory at address 0");
    return new Memory(pointer, length, { isOurs: false });
  }

  /** Makes what `allocate()` gave zeroes from `offset` on, and gives its pages back. */
  discard(offset: number): void {
    if (!this.#isOurs || offset >= this.length) return;
    const bytes = this.length - offset;
    check(native().um_discard(this.#pointer, BigInt(offset), BigInt(bytes)), "Cannot give memory back");
  }

  /** Unmaps it. Nothing may touch `bytes` afterwards, nor any view of it. */
  [Symbol.dispose](): void {
    if (!this.#isOurs) return;
    check(native().um_unmap(this.#pointer, BigInt(this.length)), "Cannot unmap memory");
    this.#isOurs = false;
  }
}

/** That `bytes` bytes of memory could not be had, with the limit that is to blame if there is one. */
export function cannotMap(bytes: number, errno = ENOMEM): UmpathError {
  const what = `Cannot map ${formatSize(bytes)} of memory: ${errnoWords(errno)}`;
  const limit = addressSpaceMax();
  if (errno === ENOMEM && limit !== null) {
    return new UmpathError("host-lacks", `${what}: this process may map ${formatSize(limit)} (ulimit -v, LimitAS=)`, {
      hint: "Raise the limit: ulimit -v unlimited, or LimitAS=infinity for a service",
    });
  }
  return new UmpathError("host-lacks", what);
}

/** Bytes of address space that this process may have; null for no limit. */
export function addressSpaceMax(): number | null {
  const limits = new BigUint64Array(2);
  check(native().um_limit(ADDRESS_SPACE, new Uint8Array(limits.buffer)), "Cannot read the limit on address space");
  return limits[0] === BigInt.asUintN(64, -1n) ? null : Number(limits[0]);
}
