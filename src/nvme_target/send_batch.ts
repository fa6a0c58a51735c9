import { assert } from "../base/assert.ts";
import { clearWords } from "../base/bytes.ts";

/**
 * What goes out on one connection of the target in one gathering send: headers, which are written into the batch's own
 * memory, and data, which is sent from where it lies. A batch is composed when the last one is sent; until then answers
 * wait with their commands.
 *
 *     [header] data [digest | header] data [digest | header | header] …     each piece is a segment
 */
export class SendBatch {
  readonly #words: Uint32Array;
  readonly #start: number;
  readonly #headerBytesMax: number;
  readonly #segmentsMax: number;
  readonly #segmentOffset: Uint32Array;
  readonly #segmentBytes: Uint32Array;
  /** Slots to release when the batch is sent. */
  readonly #slots: Uint16Array;
  #slotCount = 0;
  #headerBytes = 0;
  #segmentCount = 0;
  /** The first segment that is not sent completely. */
  #first = 0;
  /** Bytes that are not sent. */
  #left = 0;
  #isSending = false;
  /** Data of this batch in bytes. */
  dataBytes = 0;

  constructor(
    memory: Uint8Array<ArrayBuffer>,
    options: { offset: number; headerBytes: number; segmentsMax: number; slots: number },
  ) {
    assert(options.offset % 4 === 0, "Headers are written as dwords");
    this.#words = new Uint32Array(memory.buffer, memory.byteOffset, memory.byteLength >> 2);
    this.#start = options.offset;
    this.#headerBytesMax = options.headerBytes;
    this.#segmentsMax = options.segmentsMax;
    this.#segmentOffset = new Uint32Array(options.segmentsMax);
    this.#segmentBytes = new Uint32Array(options.segmentsMax);
    this.#slots = new Uint16Array(options.slots);
  }

  /** True from `begin()` until all of it is sent. */
  get isSending(): boolean {
    return this.#isSending;
  }

  /** Slots that will be free when the batch is sent. */
  get slotCount(): number {
    return this.#slotCount;
  }

  /** True if there is room for so many more bytes of headers and so many more segments. */
  hasRoom(headerBytes: number, segments: number): boolean {
    return this.#headerBytes + headerBytes <= this.#headerBytesMax &&
      this.#segmentCount + segments <= this.#segmentsMax;
  }

  /** Room for `bytes` bytes of header or digest, whole dwords of zero: where it is in the arena. */
  header(bytes: number): number {
    const offset = this.#start + this.#headerBytes;
    assert(this.hasRoom(bytes, 0), "A header is written where there is room for it");
    clearWords(this.#words, offset >> 2, bytes >> 2);
    this.#headerBytes += bytes;
    this.#append(offset, bytes);
    return offset;
  }

  /** Data that is sent from where it lies. */
  data(offset: number, bytes: number): void {
    this.dataBytes += bytes;
    this.#append(offset, bytes);
  }

  #append(offset: number, bytes: number): void {
    this.#left += bytes;
    const last = this.#segmentCount - 1;
    if (last >= 0 && this.#segmentOffset[last] + this.#segmentBytes[last] === offset) {
      this.#segmentBytes[last] += bytes;
      return;
    }
    assert(this.#segmentCount < this.#segmentsMax, "A send gathers no more pieces than the kernel takes");
    this.#segmentOffset[this.#segmentCount] = offset;
    this.#segmentBytes[this.#segmentCount] = bytes;
    this.#segmentCount++;
  }

  /** This batch has the end of the slot's answer. */
  finish(slot: number): void {
    this.#slots[this.#slotCount++] = slot;
  }

  /** Composed: it goes to the socket. False if there is nothing in it. */
  begin(): boolean {
    this.#isSending = this.#left > 0;
    return this.#isSending;
  }

  /** The segments that are still to be sent. */
  get segments(): number {
    return this.#segmentCount - this.#first;
  }

  segmentOffset(index: number): number {
    return this.#segmentOffset[this.#first + index];
  }

  segmentBytes(index: number): number {
    return this.#segmentBytes[this.#first + index];
  }

  /** `bytes` more are sent; true if that was the rest. */
  handleSent(bytes: number): boolean {
    assert(this.#isSending && bytes > 0 && bytes <= this.#left, "No more is sent than was offered");
    this.#left -= bytes;
    while (bytes > 0) {
      const size = this.#segmentBytes[this.#first];
      const part = Math.min(bytes, size);
      this.#segmentOffset[this.#first] += part;
      this.#segmentBytes[this.#first] -= part;
      if (part === size) this.#first++;
      bytes -= part;
    }
    if (this.#left > 0) return false;
    this.#isSending = false;
    this.#headerBytes =
      this.#segmentCount =
      this.#first =
      this.dataBytes =
        0;
    return true;
  }

  /** After the batch is sent: a slot whose answer ended in it; -1 if there is none left. */
  takeSlot(): number {
    return this.#slotCount === 0 ? -1 : this.#slots[--this.#slotCount];
  }
}
