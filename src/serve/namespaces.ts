import { assert } from "../base/assert.ts";
import { messageOf, UmpathError } from "../base/errors.ts";
import { errnoWords } from "../base/errno.ts";
import { logger } from "../base/log.ts";
import { quote } from "../base/text.ts";
import { formatSize } from "../base/units.ts";
import { Memory } from "../io/memory.ts";
import type { NamespaceDescription } from "../target/description.ts";
import type { TargetTable } from "../target/target_table.ts";
import type { NamespaceInfo, NamespaceSpec } from "./api.ts";
import { derivedNguid, derivedUuid, uuidBytes, uuidText } from "./identity.ts";
import { NamespaceFile } from "./namespace_file.ts";
import type { ServedNamespace } from "./worker_messages.ts";

const log = logger("serve");

/** A namespace in memory can grow to so many times its first size: address space is set aside for that. */
const RAM_GROWTH = 8;

/** One namespace: its description, and the file or the memory that is behind it. */
export class Namespace implements Disposable {
  readonly description: NamespaceDescription;
  readonly #store: NamespaceFile | Memory;

  private constructor(description: NamespaceDescription, store: NamespaceFile | Memory) {
    this.description = description;
    this.#store = store;
  }

  /** @throws UmpathError as `NamespaceFile.open()` does, or "host-lacks" if there is not so much memory. */
  static async open(spec: NamespaceSpec, { nqn, index }: { nqn: string; index: number }): Promise<Namespace> {
    const uuid = spec.uuid === null ? await derivedUuid(nqn, spec.nsid) : uuidBytes(spec.uuid);
    const nguid = await derivedNguid(uuid);
    const { nsid, blockSize, readOnly, backing } = spec;
    const store = backing.type === "file"
      ? NamespaceFile.open({ ...backing, blockSize, readOnly })
      : openRam(backing.sizeBytes);
    const bytes = backing.type === "ram" ? backing.sizeBytes : (store as NamespaceFile).bytes;
    const blocks = Math.floor(bytes / blockSize);
    const volatileCache = backing.type === "file";
    const identity = { index, nsid, uuid, nguid };
    const namespace = new Namespace({ ...identity, blockSize, blocks, readOnly, volatileCache }, store);
    namespace.#logOpened(bytes);
    return namespace;
  }

  #logOpened(bytes: number): void {
    const { nsid, blockSize } = this.description;
    const store = this.#store;
    const size = `namespace ${nsid} of ${formatSize(bytes)} in blocks of ${blockSize} bytes`;
    if (store instanceof Memory) return log.info(`Serving ${size} in memory: what is written is lost at the end`);
    const how = store.isDirect
      ? "past the page cache"
      : "through the page cache, for it cannot be opened with O_DIRECT";
    log.info(`Serving ${size} in ${quote(store.path)}, ${how}`);
    const tail = bytes % blockSize;
    if (tail > 0) log.warn(`The last ${tail} bytes of ${quote(store.path)} are no whole block and are not served`);
  }

  /** As workers are told of it. */
  get served(): ServedNamespace {
    const { index, nsid, blockSize } = this.description;
    const store = this.#store;
    if (store instanceof NamespaceFile) return { index, nsid, blockSize, store: { type: "file", fd: store.fd } };
    const bytes = store.bytes.length - store.bytes.length % blockSize;
    return { index, nsid, blockSize, store: { type: "ram", address: store.address, bytes } };
  }

  info(table: TargetTable): NamespaceInfo {
    const { index, nsid, blockSize, uuid, nguid } = this.description;
    const store = this.#store;
    const isFile = store instanceof NamespaceFile;
    return {
      nsid,
      uuid: uuidText(uuid),
      nguid: nguid.toHex(),
      blockSize,
      sizeBytes: table.blocks(index) * blockSize,
      readOnly: table.isReadOnly(index),
      file: isFile ? store.path : null,
      direct: isFile && store.isDirect,
    };
  }

  /**
   * Changes the size: `tell` is called with the number of blocks when hosts are to be told, which is before data goes away
   * and after there is room.
   *
   * @throws UmpathError "usage" if the size is none that it can have, "host-lacks" if the host refuses it.
   */
  resize(sizeBytes: number, tell: (blocks: number) => void): void {
    const { nsid, blockSize } = this.description;
    if (sizeBytes < blockSize || sizeBytes % blockSize !== 0) {
      const why = `it is not a whole number of blocks of ${blockSize} bytes`;
      throw new UmpathError("usage", `Cannot make namespace ${nsid} ${sizeBytes} bytes large: ${why}`);
    }
    const blocks = sizeBytes / blockSize;
    if (this.#store instanceof Memory) return this.#resizeRam(this.#store, sizeBytes, () => tell(blocks));
    const isSmaller = sizeBytes < this.#store.bytes;
    if (isSmaller) tell(blocks);
    this.#store.resize(sizeBytes);
    if (!isSmaller) tell(blocks);
  }

  /** What was cut off is gone: it reads as zeroes when the namespace grows again. */
  #resizeRam(memory: Memory, sizeBytes: number, tell: () => void): void {
    const { nsid } = this.description;
    if (sizeBytes > memory.bytes.length) {
      const most = formatSize(memory.bytes.length);
      throw new UmpathError("usage", `Cannot make namespace ${nsid} ${formatSize(sizeBytes)} large: it is in memory`, {
        hint: `It can grow to ${most}, ${RAM_GROWTH} times its first size`,
      });
    }
    tell();
    memory.discard(sizeBytes);
  }

  /** Waits until what was written is on stable storage, as far as there is any. */
  async sync(): Promise<void> {
    if (this.#store instanceof Memory || this.description.readOnly) return;
    const result = await this.#store.sync();
    if (result < 0) log.error(`Cannot write ${quote(this.#store.path)} to stable storage: ${errnoWords(result)}`);
  }

  [Symbol.dispose](): void {
    this.#store[Symbol.dispose]();
  }
}

function openRam(sizeBytes: number): Memory {
  assert(sizeBytes > 0, "A namespace in memory has a size");
  try {
    return Memory.allocate(sizeBytes * RAM_GROWTH);
  } catch (error) {
    throw new UmpathError("host-lacks", `Cannot serve ${formatSize(sizeBytes)} of memory: ${messageOf(error)}`, {
      hint: `Room to grow to ${RAM_GROWTH} times that is set aside; a file takes none`,
    });
  }
}

/** Opens all of them, or none. */
export async function openNamespaces(specs: readonly NamespaceSpec[], nqn: string): Promise<Namespace[]> {
  const opened: Namespace[] = [];
  try {
    for (const [index, spec] of specs.entries()) opened.push(await Namespace.open(spec, { nqn, index }));
    return opened;
  } catch (error) {
    for (const namespace of opened) namespace[Symbol.dispose]();
    throw error;
  }
}
