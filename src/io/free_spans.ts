import { assert } from "../base/assert.ts";

/** A piece of an area, in bytes from its beginning. */
interface Span {
  offset: number;
  bytes: number;
}

/**
 * What is free of an area: spans in order, none empty, none next to another.
 *
 *     area: [ used | free | used | used | free … ]        spans: two
 *
 * A piece is taken from the first span that is long enough, so that an area which is rarely full stays dense.
 */
export class FreeSpans {
  readonly #areaBytes: number;
  readonly #spans: Span[];

  constructor(areaBytes: number) {
    assert(areaBytes > 0, "An area has bytes");
    this.#areaBytes = areaBytes;
    this.#spans = [{ offset: 0, bytes: areaBytes }];
  }

  /** All of it is free. */
  get isWhole(): boolean {
    return this.#spans.length === 1 && this.#spans[0]!.bytes === this.#areaBytes;
  }

  /** How many pieces the free bytes lie in. */
  get count(): number {
    return this.#spans.length;
  }

  get freeBytes(): number {
    return this.#spans.reduce((sum, { bytes }) => sum + bytes, 0);
  }

  /** Takes `bytes` bytes in one piece: where it begins, or -1 if no free piece is so long. */
  take(bytes: number): number {
    assert(bytes > 0, "A piece has bytes");
    const index = this.#spans.findIndex((span) => span.bytes >= bytes);
    if (index < 0) return -1;
    const span = this.#spans[index]!;
    const { offset } = span;
    span.offset += bytes;
    span.bytes -= bytes;
    if (span.bytes === 0) this.#spans.splice(index, 1);
    return offset;
  }

  /** Gives a piece back that was taken. It becomes one with what is free before and behind it. */
  give(offset: number, bytes: number): void {
    const spans = this.#spans;
    const end = offset + bytes;
    let next = spans.findIndex((span) => span.offset >= offset);
    if (next < 0) next = spans.length;
    const before = spans[next - 1];
    const behind = spans[next];
    assert(bytes > 0 && offset >= 0 && end <= this.#areaBytes, "A piece that is given back lies in the area");
    assert(before === undefined || endOf(before) <= offset, "A piece is given back once");
    assert(behind === undefined || end <= behind.offset, "A piece that is given back was taken whole");
    const joinsBefore = before !== undefined && endOf(before) === offset;
    const joinsBehind = behind !== undefined && behind.offset === end;
    if (joinsBefore) before.bytes += bytes;
    else spans.splice(next, 0, { offset, bytes });
    if (!joinsBehind) return;
    const joined = joinsBefore ? before : spans[next]!;
    joined.bytes += behind.bytes;
    spans.splice(spans.indexOf(behind), 1);
  }

  /** Asserts that the spans are in order, apart, and in the area. */
  invariants(): void {
    let end = -1;
    for (const span of this.#spans) {
      assert(span.bytes > 0, "No free piece is empty");
      assert(span.offset > end, "Free pieces are in order, and between two of them something is used");
      end = endOf(span);
    }
    assert(end <= this.#areaBytes, "What is free lies in the area");
  }
}

function endOf({ offset, bytes }: Span): number {
  return offset + bytes;
}
