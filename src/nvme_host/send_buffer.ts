import { assert } from "../base/assert.ts";
import { clearWords } from "../base/bytes.ts";

/** What is collected for one send, or is being sent: headers in `[start, start + used)`, and what else to gather. */
class Half {
  readonly start: number;
  used = 0;
  segments = 0;
  /** First segment that is not sent completely. */
  first = 0;
  bytes = 0;
  readonly segmentOffset: Uint32Array;
  readonly segmentBytes: Uint32Array;
  /** Commands whose data this half refers to; one entry a reference. */
  readonly references: Uint16Array;
  referenceCount = 0;

  constructor(start: number, segmentsMax: number) {
    this.start = start;
    this.segmentOffset = new Uint32Array(segmentsMax);
    this.segmentBytes = new Uint32Array(segmentsMax);
    this.references = new Uint16Array(segmentsMax);
  }

  clear(): void {
    this.used =
      this.segments =
      this.first =
      this.bytes =
      this.referenceCount =
        0;
  }
}

/**
 * What goes out on one connection. Two halves: while the kernel reads one, PDUs collect in the other, so that all that
 * became ready in a turn leaves in one gathering send. Headers are written into the half; data is referred to where it
 * lies and not copied.
 *
 *     filling:  [capsule][capsule][H2CData header]        segments: capsules+header | data | …
 *     sending:  …………………………………………… the kernel owns this half until everything in it is sent
 */
export class SendBuffer {
  readonly #words: Uint32Array;
  readonly #halfBytes: number;
  readonly #segmentsMax: number;
  #filling: Half;
  #sending: Half;
  /** Counts the halves that were taken, as 32 bits: what was written in another epoch is on the wire. */
  epoch = 0;

  /** Bytes of arena that a buffer of two halves takes. */
  static arenaBytes(halfBytes: number): number {
    return 2 * halfBytes;
  }

  constructor(memory: Uint8Array, options: { offset: number; halfBytes: number; segmentsMax: number }) {
    assert(options.offset % 8 === 0 && options.halfBytes % 8 === 0, "Send halves are aligned to 8 bytes");
    this.#words = new Uint32Array(memory.buffer, memory.byteOffset, memory.byteLength >> 2);
    this.#halfBytes = options.halfBytes;
    this.#segmentsMax = options.segmentsMax;
    this.#filling = new Half(options.offset, options.segmentsMax);
    this.#sending = new Half(options.offset + options.halfBytes, options.segmentsMax);
  }

  /** True while the kernel may read the half that was taken. */
  get isSending(): boolean {
    return this.#sending.bytes > 0;
  }

  /** Room for headers of so many bytes in all, which are so many pieces with the data. */
  hasRoom(headerBytes: number, segments: number): boolean {
    const { used, segments: have } = this.#filling;
    return used + headerBytes <= this.#halfBytes && have + segments <= this.#segmentsMax;
  }

  /** Room for a header of `bytes` bytes, whole dwords of zero; the offset in the arena where it is to be written. */
  header(bytes: number): number {
    const half = this.#filling;
    const offset = half.start + half.used;
    assert(half.used + bytes <= this.#halfBytes, "The send half holds every header that can be pending");
    clearWords(this.#words, offset >> 2, bytes >> 2);
    half.used += bytes;
    half.bytes += bytes;
    const last = half.segments - 1;
    if (last >= 0 && half.segmentOffset[last] + half.segmentBytes[last] === offset) {
      half.segmentBytes[last] += bytes;
    } else {
      this.#append(half, offset, bytes);
    }
    return offset;
  }

  /** Data of `command`, sent from where it lies. It must stay as it is until {@linkcode takeReference} gives it back. */
  data(offset: number, bytes: number, command: number): void {
    const half = this.#filling;
    half.bytes += bytes;
    half.references[half.referenceCount++] = command;
    this.#append(half, offset, bytes);
  }

  #append(half: Half, offset: number, bytes: number): void {
    assert(half.segments < this.#segmentsMax, "A send gathers no more pieces than the kernel takes");
    half.segmentOffset[half.segments] = offset;
    half.segmentBytes[half.segments] = bytes;
    half.segments++;
  }

  /** Hands what was collected to the sender; false if there is nothing or the last one is not sent yet. */
  take(): boolean {
    if (this.isSending || this.#filling.bytes === 0) return false;
    const taken = this.#filling;
    this.#filling = this.#sending;
    this.#sending = taken;
    this.#filling.clear();
    this.epoch = (this.epoch + 1) | 0;
    return true;
  }

  /** The segments that are still to be sent, oldest first. */
  get segments(): number {
    return this.#sending.segments - this.#sending.first;
  }

  segmentOffset(index: number): number {
    return this.#sending.segmentOffset[this.#sending.first + index];
  }

  segmentBytes(index: number): number {
    return this.#sending.segmentBytes[this.#sending.first + index];
  }

  /** `bytes` more of the half are sent; true if that was the rest of it. */
  handleSent(bytes: number): boolean {
    const half = this.#sending;
    assert(bytes > 0 && bytes <= half.bytes, "No more is sent than was taken");
    half.bytes -= bytes;
    while (bytes > 0) {
      const size = half.segmentBytes[half.first];
      if (bytes < size) {
        half.segmentOffset[half.first] += bytes;
        half.segmentBytes[half.first] -= bytes;
        return false;
      }
      bytes -= size;
      half.first++;
    }
    return half.bytes === 0;
  }

  /** After the half was sent: a command whose data it referred to, one call a reference; -1 when there is none left. */
  takeReference(): number {
    const half = this.#sending;
    if (half.bytes > 0 || half.referenceCount === 0) return -1;
    return half.references[--half.referenceCount];
  }
}
