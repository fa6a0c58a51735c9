/** Writes the fields of a data structure for the host: little-endian numbers, texts and identifiers. */

import { assert } from "../base/assert.ts";

const SPACE = 0x20;

/** A data structure of a fixed size, zero at first. */
export class ByteFields {
  readonly bytes: Uint8Array<ArrayBuffer>;
  readonly #view: DataView<ArrayBuffer>;

  constructor(bytes: number) {
    this.bytes = new Uint8Array(bytes);
    this.#view = new DataView(this.bytes.buffer);
  }

  u8(at: number, value: number): this {
    this.#view.setUint8(at, value);
    return this;
  }

  u16(at: number, value: number): this {
    this.#view.setUint16(at, value, true);
    return this;
  }

  u32(at: number, value: number): this {
    this.#view.setUint32(at, value, true);
    return this;
  }

  /** A number that is not negative; what is not exact above 2^53 is written as it is. */
  u64(at: number, value: number): this {
    this.#view.setBigUint64(at, BigInt(value), true);
    return this;
  }

  /** ASCII, padded with spaces; what is not printable ASCII becomes "?", what is too long is cut. */
  text(at: number, bytes: number, words: string): this {
    for (let i = 0; i < bytes; i++) {
      const code = i < words.length ? words.charCodeAt(i) : SPACE;
      this.bytes[at + i] = code >= SPACE && code < 0x7f ? code : 0x3f;
    }
    return this;
  }

  /** UTF-8 with at least one NUL after it. */
  nulText(at: number, bytes: number, words: string): this {
    const encoded = new TextEncoder().encode(words);
    assert(encoded.length < bytes, "A text is checked against its field where it is read from the user");
    this.bytes.set(encoded, at);
    return this;
  }

  /** Bytes as they are. */
  raw(at: number, bytes: Uint8Array): this {
    this.bytes.set(bytes, at);
    return this;
  }
}
