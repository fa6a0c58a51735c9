/** Encoding of `struct config` of csrc/entry_stub.c: what the stub has to start, with the embedded files behind it. */

/** A file to embed: it is named in the main module's URL and readable under /proc/self/fd at run time. */
export interface EmbeddedFile {
  name: string;
  bytes: Uint8Array;
}

/** What the entry stub is to do. */
export interface StubConfig {
  /** Address of the runtime's own entry point. */
  start: number;
  /** Address of the slot that points at libc's `environ`. */
  environSlot: number;
  /** Arguments for the runtime, before the main module and the user's own. */
  args: string[];
  /** Environment variables that the runtime gets. */
  sets: Record<string, string>;
  /** Environment variables that the runtime must not see; a last "*" makes it a prefix. */
  unsets: string[];
  /** The files; the first is the main module. */
  files: EmbeddedFile[];
}

/** The stub's own bounds. */
const FILES_MAX = 16, NAME_CHARS_MAX = 255;
const MAGIC = 0x31474643n;
const HEADER_BYTES = 56, FILE_ENTRY_BYTES = 16, FILE_ALIGNMENT = 64;

/** Returns the bytes of the config. They may be mapped anywhere: every offset counts from their start. */
export function encodeStubConfig(config: StubConfig): Uint8Array<ArrayBuffer> {
  checkFiles(config.files);
  const sets = Object.entries(config.sets).map(([name, value]) => `${name}=${value}`);
  const argsAt = HEADER_BYTES;
  const setsAt = argsAt + 4 * config.args.length;
  const unsetsAt = setsAt + 4 * sets.length;
  const filesAt = roundUp(unsetsAt + 4 * config.unsets.length, 8);
  const blob = new GrowingBlob(filesAt + FILE_ENTRY_BYTES * config.files.length);

  [MAGIC, BigInt(config.start), BigInt(config.environSlot)].forEach((value, i) => blob.set64(8 * i, value));
  const tables = [config.args.length, argsAt, config.files.length, filesAt];
  tables.push(sets.length, setsAt, config.unsets.length, unsetsAt);
  tables.forEach((value, i) => blob.set32(24 + 4 * i, value));
  config.args.forEach((text, i) => blob.set32(argsAt + 4 * i, blob.appendString(text)));
  sets.forEach((text, i) => blob.set32(setsAt + 4 * i, blob.appendString(text)));
  config.unsets.forEach((text, i) => blob.set32(unsetsAt + 4 * i, blob.appendString(text)));
  config.files.forEach((file, i) => {
    const at = filesAt + FILE_ENTRY_BYTES * i;
    blob.set32(at, blob.appendString(file.name));
    blob.set32(at + 4, blob.append(file.bytes, FILE_ALIGNMENT));
    blob.set64(at + 8, BigInt(file.bytes.length));
  });
  return blob.bytes();
}

function checkFiles(files: EmbeddedFile[]): void {
  if (files.length < 1 || files.length > FILES_MAX) {
    throw new Error(`Cannot embed ${files.length} files: the entry stub takes 1 to ${FILES_MAX}`);
  }
  for (const file of files) {
    if (/^[\w.-]+$/.test(file.name) && file.name.length <= NAME_CHARS_MAX) continue;
    throw new Error(`Cannot embed "${file.name}": the name may have letters, digits, ".", "_" and "-" only`);
  }
}

/** Rounds `value` up to a multiple of `unit`. */
export function roundUp(value: number, unit: number): number {
  return Math.ceil(value / unit) * unit;
}

/** A head of known size that is filled in while the data it points to is appended. */
class GrowingBlob {
  readonly #head: DataView;
  readonly #tail: Array<[offset: number, bytes: Uint8Array]> = [];
  #length: number;

  constructor(headBytes: number) {
    this.#head = new DataView(new ArrayBuffer(headBytes));
    this.#length = headBytes;
  }

  set32(at: number, value: number): void {
    this.#head.setUint32(at, value, true);
  }

  set64(at: number, value: bigint): void {
    this.#head.setBigUint64(at, value, true);
  }

  /** Appends `bytes` and returns their offset. */
  append(bytes: Uint8Array, alignment = 1): number {
    const offset = roundUp(this.#length, alignment);
    this.#tail.push([offset, bytes]);
    this.#length = offset + bytes.length;
    if (this.#length >= 2 ** 32) throw new Error("Cannot embed more than 4 GiB");
    return offset;
  }

  appendString(text: string): number {
    return this.append(new TextEncoder().encode(`${text}\0`));
  }

  bytes(): Uint8Array<ArrayBuffer> {
    const all = new Uint8Array(this.#length);
    all.set(new Uint8Array(this.#head.buffer));
    for (const [offset, bytes] of this.#tail) all.set(bytes, offset);
    return all;
  }
}
