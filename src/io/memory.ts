import { native } from "../../ffi/library.ts";
import { check } from "../../ffi/result.ts";

/** 2^32: 64-bit addresses travel as two 32-bit halves, so that no BigInt is made on the hot path. */
export const TWO_32 = 4294967296;

/** Memory outside the JavaScript heap that the kernel reads and writes: mapped once, at an address that never changes. */
export class Memory implements Disposable {
  readonly buffer: ArrayBuffer;
  readonly bytes: Uint8Array<ArrayBuffer>;
  /** The address of the first byte; exact, for user space ends at 2^47. */
  readonly address: number;
  #pointer: Deno.PointerObject | null;

  private constructor(pointer: Deno.PointerObject, length: number) {
    this.#pointer = pointer;
    this.address = Number(Deno.UnsafePointer.value(pointer));
    this.buffer = Deno.UnsafePointerView.getArrayBuffer(pointer, length);
    this.bytes = new Uint8Array(this.buffer);
  }

  /**
   * Zeroed memory of `length` bytes that is backed as it is touched. With `lock` it is never paged out.
   *
   * @throws Error if the host has not that much address space.
   */
  static allocate(length: number, options: { lock?: boolean } = {}): Memory {
    const pointer = native().um_map(BigInt(length), options.lock ? 1 : 0);
    if (pointer === null) throw new Error(`Cannot map ${length} bytes of memory: out of memory`);
    return new Memory(pointer, length);
  }

  /** A mapping of `length` bytes of a file from `offset` on, read-only. */
  static mapFile(fd: number, length: number, offset: number): Memory {
    const pointer = native().um_map_file(fd, BigInt(length), BigInt(offset), 0);
    if (pointer === null) throw new Error(`Cannot map ${length} bytes of file ${fd} at ${offset}`);
    return new Memory(pointer, length);
  }

  /** Memory that somebody else has mapped and will unmap. */
  static at(address: number, length: number): Memory {
    const pointer = Deno.UnsafePointer.create(BigInt(address));
    if (pointer === null) throw new Error("Cannot use memory at address 0");
    const memory = new Memory(pointer, length);
    memory.#pointer = null;
    return memory;
  }

  /** Makes what `allocate()` gave zeroes from `offset` on, and gives its pages back. */
  discard(offset: number): void {
    const pageBytes = native().um_page_bytes();
    const wholePages = Math.min(Math.ceil(offset / pageBytes) * pageBytes, this.bytes.length);
    this.bytes.fill(0, offset, wholePages);
    const bytes = this.bytes.length - wholePages;
    if (this.#pointer === null || bytes === 0) return;
    check(native().um_discard(this.#pointer, BigInt(wholePages), BigInt(bytes)), "Cannot give memory back");
  }

  /** Unmaps it. Nothing may touch `bytes` afterwards, nor any view of it. */
  [Symbol.dispose](): void {
    if (this.#pointer === null) return;
    check(native().um_unmap(this.#pointer, BigInt(this.bytes.length)), "Cannot unmap memory");
    this.#pointer = null;
  }
}
