import { assert } from "../base/assert.ts";

/** A body of which so many bytes are missing is received straight to its place. */
const DIRECT_BYTES_MIN = 8 << 10;
/** With large bodies to come, so much is received at once between them: the next header and little of its body. */
const BETWEEN_BODIES_BYTES = 512;
/** So little that was not taken is moved to the front whenever there is an occasion. */
const MOVE_BYTES_MAX = 256;
/** The place of a body that nobody wants. */
export const NOWHERE = -1;

/**
 * What comes in on one connection of the target: a window of the arena that headers are read in, and the body of the
 * PDU that is being received, which goes to its place in the arena: straight from the socket if it is large, else
 * through the window.
 *
 *     start ≤ at ≤ end ≤ limit:   [ taken | at … end | room ]
 *
 * A receive may be under way whenever this class is called, so nothing in the window moves but in `prepare()`.
 */
export class ReceiveWindow {
  /** Where the next bytes go: so many pieces of the arena. 0: there is no room; ask again after the next send. */
  segments = 0;
  readonly offset: [number, number] = [0, 0];
  readonly bytes: [number, number] = [0, 0];

  readonly #memory: Uint8Array<ArrayBuffer>;
  readonly #start: number;
  readonly #limit: number;
  #at: number;
  #end: number;
  #padding = 0;
  #place = NOWHERE;
  #missing = 0;
  /** The first piece is the place of the body. */
  #isDirect = false;

  constructor(memory: Uint8Array<ArrayBuffer>, options: { offset: number; bytes: number }) {
    this.#memory = memory;
    this.#start = this.#at = this.#end = options.offset;
    this.#limit = options.offset + options.bytes;
  }

  /** Where the bytes begin that were not taken. */
  get at(): number {
    return this.#at;
  }

  /** How many bytes in the window were not taken. */
  get available(): number {
    return this.#end - this.#at;
  }

  /** True until all of the body that `begin()` told of is at its place. */
  get isInBody(): boolean {
    return this.#missing > 0 || this.#padding > 0;
  }

  /** Says where the next bytes go. No receive is under way. */
  prepare(expectsLarge: boolean): void {
    this.#makeRoom();
    const isDirect = this.#missing >= DIRECT_BYTES_MIN && this.#padding === 0 && this.#place !== NOWHERE;
    this.#isDirect = isDirect;
    const room = this.#limit - this.#end;
    const piece = isDirect ? 1 : 0;
    if (isDirect) {
      this.offset[0] = this.#place;
      this.bytes[0] = this.#missing;
    }
    const wanted = isDirect ? BETWEEN_BODIES_BYTES : this.#padding + this.#missing + BETWEEN_BODIES_BYTES;
    this.offset[piece] = this.#end;
    this.bytes[piece] = expectsLarge ? Math.min(room, wanted) : room;
    this.segments = room > 0 ? piece + 1 : piece;
  }

  /** There is nowhere for bytes to go any more. */
  close(): void {
    this.segments = 0;
  }

  #makeRoom(): void {
    const left = this.available;
    if (this.#at === this.#start) return;
    if (left > MOVE_BYTES_MAX && this.#end < this.#limit) return;
    if (left > 0) this.#memory.copyWithin(this.#start, this.#at, this.#end);
    this.#at = this.#start;
    this.#end = this.#start + left;
  }

  /** So many bytes were received to where `prepare()` said. */
  handleReceived(bytes: number): void {
    const room = (this.segments > 0 ? this.bytes[0] : 0) + (this.segments > 1 ? this.bytes[1] : 0);
    assert(bytes > 0 && bytes <= room, "No more is received than there was room for");
    const direct = this.#isDirect ? Math.min(bytes, this.bytes[0]) : 0;
    this.#place += direct;
    this.#missing -= direct;
    this.#end += bytes - direct;
    this.segments = 0;
  }

  /** Takes a header, or a digest. */
  take(bytes: number): void {
    assert(bytes <= this.available, "No more is taken than was received");
    this.#at += bytes;
  }

  /** After a header: `padding` bytes that mean nothing, then `bytes` for `place` in the arena, or {@linkcode NOWHERE}. */
  begin(place: number, bytes: number, padding: number): void {
    assert(!this.isInBody, "One body at a time");
    this.#place = place;
    this.#missing = bytes;
    this.#padding = padding;
  }

  /** Moves what the window has of the body. True if all of it is at its place. */
  moveBody(): boolean {
    const padding = Math.min(this.available, this.#padding);
    this.#at += padding;
    this.#padding -= padding;
    const bytes = Math.min(this.available, this.#missing);
    if (bytes > 0) {
      if (this.#place !== NOWHERE) {
        this.#memory.copyWithin(this.#place, this.#at, this.#at + bytes);
        this.#place += bytes;
      }
      this.#at += bytes;
      this.#missing -= bytes;
    }
    return !this.isInBody;
  }
}
