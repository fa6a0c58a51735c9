/** JSON lines over a stream: what both ends of the control socket speak. */
import { joinBytes } from "../base/bytes.ts";

/** A line ended the stream because it is longer than the reader takes. */
export class LineTooLong extends Error {
  override name = "LineTooLong";

  constructor(readonly bytesMax: number) {
    super(`a line is longer than ${bytesMax} bytes`);
  }
}

/** Lines of `source` without their end; a last line without an end is dropped: it was cut. */
export async function* readLines(source: { read(into: Uint8Array): Promise<number | null> }, bytesMax: number) {
  const chunk = new Uint8Array(16 * 1024);
  let pending: Uint8Array[] = [];
  let pendingBytes = 0;
  for (let length; (length = await source.read(chunk)) !== null;) {
    let start = 0;
    for (let end; (end = chunk.subarray(0, length).indexOf(10, start)) !== -1; start = end + 1) {
      if (pendingBytes + end - start > bytesMax) throw new LineTooLong(bytesMax);
      yield joinBytes([...pending, chunk.subarray(start, end)]);
      pending = [];
      pendingBytes = 0;
    }
    if (start === length) continue;
    pending.push(chunk.slice(start, length));
    pendingBytes += length - start;
    if (pendingBytes > bytesMax) throw new LineTooLong(bytesMax);
  }
}

/** `value` as one line. */
export function encodeLine(value: unknown): Uint8Array {
  return new TextEncoder().encode(`${JSON.stringify(value)}\n`);
}

/** Writes every byte. */
export async function writeAll(
  target: { write(bytes: Uint8Array): Promise<number> },
  bytes: Uint8Array,
): Promise<void> {
  for (let done = 0; done < bytes.length;) done += await target.write(bytes.subarray(done));
}

/** The value of a line; throws what JSON and UTF-8 throw. */
export function parseLine(line: Uint8Array): unknown {
  return JSON.parse(new TextDecoder("utf-8", { fatal: true }).decode(line));
}
