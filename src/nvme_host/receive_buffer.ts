import { assert } from "../base/assert.ts";

/** Data still missing of which it pays to receive it straight to where it belongs, in bytes. */
const DIRECT_RECEIVE_BYTES_MIN = 8 << 10;
/** With large data expected, this much is received beyond the present data: the next header and little more. */
const HEADER_TAIL_BYTES = 512;

/**
 * What comes in on one connection. Headers collect in a buffer; the data that follows a header goes to its place in the
 * arena, straight from the socket where that pays and through the buffer where it came along with headers.
 *
 *     [ taken | start … end | free ]     start ≤ end ≤ the buffer's size
 *
 * Between two headers: first `padding` bytes that mean nothing, then the data that the header announced.
 */
export class ReceiveBuffer {
  /** Where the next bytes belong: so many pieces of the arena, set by `prepare()`. */
  segments = 0;
  readonly offset: [number, number] = [0, 0];
  readonly bytes: [number, number] = [0, 0];

  readonly #memory: Uint8Array;
  readonly #bufferStart: number;
  readonly #bufferEnd: number;
  #start: number;
  #end: number;
  #paddingMissing = 0;
  #dataMissing = 0;
  #dataOffset = 0;
  #directBytes = 0;

  constructor(memory: Uint8Array, options: { offset: number; bytes: number }) {
    this.#memory = memory;
    this.#bufferStart = this.#start = this.#end = options.offset;
    this.#bufferEnd = options.offset + options.bytes;
  }

  /** Where the bytes that were not taken begin in the arena. */
  get at(): number {
    return this.#start;
  }

  /** Bytes in the buffer that were not taken. */
  get available(): number {
    return this.#end - this.#start;
  }

  /** True between a header and the end of its data. */
  get isInData(): boolean {
    return this.#dataMissing > 0;
  }

  /** Says where the next bytes go; with large data expected, so that little of it comes into the buffer. */
  prepare(expectsLarge: boolean): void {
    const isDirect = this.#dataMissing >= DIRECT_RECEIVE_BYTES_MIN && this.#paddingMissing === 0;
    this.#directBytes = isDirect ? this.#dataMissing : 0;
    const piece = isDirect ? 1 : 0;
    this.offset[0] = this.#dataOffset;
    this.bytes[0] = this.#directBytes;
    const free = this.#bufferEnd - this.#end;
    const present = this.#paddingMissing + this.#dataMissing - this.#directBytes;
    this.offset[piece] = this.#end;
    this.bytes[piece] = expectsLarge ? Math.min(free, present + HEADER_TAIL_BYTES) : free;
    this.segments = piece + 1;
  }

  /** So many bytes were received to where `prepare()` said. True if that was the rest of the data. */
  handleReceived(bytes: number): boolean {
    const room = this.bytes[0] + (this.segments > 1 ? this.bytes[1] : 0);
    assert(bytes > 0 && bytes <= room, "No more is received than there was room for");
    const direct = Math.min(bytes, this.#directBytes);
    this.#directBytes = 0;
    this.#end += bytes - direct;
    return direct > 0 && this.#arrived(direct);
  }

  #arrived(bytes: number): boolean {
    this.#dataOffset += bytes;
    this.#dataMissing -= bytes;
    return this.#dataMissing === 0;
  }

  /** Takes a header. */
  take(bytes: number): void {
    assert(bytes <= this.available, "No more is taken than was received");
    this.#start += bytes;
  }

  /** After a header: `padding` bytes of nothing, then `bytes` of data that belong to `offset` in the arena. */
  beginData(offset: number, bytes: number, padding: number): void {
    assert(this.#dataMissing === 0 && bytes > 0, "One piece of data at a time");
    this.#dataOffset = offset;
    this.#dataMissing = bytes;
    this.#paddingMissing = padding;
  }

  /** The rest of the present data goes `by` bytes further; false while a receive writes it to where it goes now. */
  redirect(by: number): boolean {
    if (this.#directBytes > 0) return false;
    this.#dataOffset += by;
    return true;
  }

  /** Moves what the buffer has of the data to its place. True if that was the rest of it. */
  moveData(): boolean {
    const padding = Math.min(this.available, this.#paddingMissing);
    this.#start += padding;
    this.#paddingMissing -= padding;
    const bytes = Math.min(this.available, this.#dataMissing);
    if (bytes === 0) return false;
    this.#memory.copyWithin(this.#dataOffset, this.#start, this.#start + bytes);
    this.#start += bytes;
    return this.#arrived(bytes);
  }

  /** What is left is less than one header: it moves to the front. */
  compact(): void {
    const left = this.available;
    if (left > 0 && this.#start > this.#bufferStart) {
      this.#memory.copyWithin(this.#bufferStart, this.#start, this.#end);
    }
    this.#start = this.#bufferStart;
    this.#end = this.#bufferStart + left;
  }
}
