/** Streams between the test machine and the host: end markers and bounded tails. */

/**
 * Hands a port's bytes on as they come, up to the end marker (NUL and token) that the machine's first process writes.
 * Only a possible beginning of the marker is held back.
 */
export async function relayUntilMarker(
  source: ReadableStream<Uint8Array>,
  token: string,
  write: (bytes: Uint8Array) => Promise<void> | void,
): Promise<boolean> {
  const marker = new TextEncoder().encode(`\0${token}`);
  let held: Uint8Array = new Uint8Array(0);
  for await (const chunk of source) {
    const bytes = concat(held, chunk);
    const end = indexOf(bytes, marker);
    if (end >= 0) {
      if (end > 0) await write(bytes.subarray(0, end));
      return true;
    }
    const keep = partialMarkerLength(bytes, marker);
    held = bytes.slice(bytes.length - keep);
    if (bytes.length > keep) await write(bytes.subarray(0, bytes.length - keep));
  }
  if (held.length > 0) await write(held);
  return false;
}

/** The last bytes of a stream, as text. */
export class Tail {
  #text = "";
  readonly #limit: number;

  constructor(limit: number) {
    this.#limit = limit;
  }

  /** Adds text, forgetting the oldest beyond the limit. */
  add(text: string): void {
    this.#text = (this.#text + text).slice(-this.#limit);
  }

  /** Reads a stream to its end. */
  async follow(source: ReadableStream<Uint8Array>): Promise<void> {
    for await (const text of source.pipeThrough(new TextDecoderStream() as TransformStream<Uint8Array, string>)) {
      this.add(text);
    }
  }

  /** The lines that came after the last one that is `mark`; null if there is none. */
  since(mark: string): string | null {
    const lines = this.#text.split("\n").map((line) => line.trimEnd());
    const at = lines.lastIndexOf(mark);
    return at === -1 ? null : lines.slice(at + 1).join("\n").trimEnd();
  }

  /** What was kept; `lines` limits it to the last so many lines. */
  text(lines = Infinity): string {
    const all = this.#text.trimEnd().split("\n");
    return all.slice(Math.max(0, all.length - lines)).join("\n");
  }
}

function concat(a: Uint8Array, b: Uint8Array): Uint8Array {
  if (a.length === 0) return b;
  const joined = new Uint8Array(a.length + b.length);
  joined.set(a);
  joined.set(b, a.length);
  return joined;
}

function indexOf(bytes: Uint8Array, marker: Uint8Array): number {
  for (let at = bytes.indexOf(0); at >= 0; at = bytes.indexOf(0, at + 1)) {
    if (startsWith(bytes, marker, at)) return at + marker.length <= bytes.length ? at : -1;
  }
  return -1;
}

function partialMarkerLength(bytes: Uint8Array, marker: Uint8Array): number {
  const first = Math.max(0, bytes.length - marker.length + 1);
  for (let at = bytes.indexOf(0, first); at >= 0; at = bytes.indexOf(0, at + 1)) {
    if (startsWith(bytes, marker, at)) return bytes.length - at;
  }
  return 0;
}

function startsWith(bytes: Uint8Array, marker: Uint8Array, at: number): boolean {
  const length = Math.min(marker.length, bytes.length - at);
  for (let i = 0; i < length; i++) {
    if (bytes[at + i] !== marker[i]) return false;
  }
  return true;
}
