import { UmpathError } from "../base/errors.ts";
import { errnoWords } from "../base/errno.ts";
import { logger } from "../base/log.ts";
import { quote } from "../base/text.ts";
import { formatSize } from "../base/units.ts";
import type { NamespaceDescription } from "../nvme_target/description.ts";
import type { TargetTable } from "../nvme_target/target_table.ts";
import type { NamespaceInfo, NamespaceSpec } from "../rpc/target_api.ts";
import { derivedNguid, uuidBytes, uuidText } from "./identity.ts";
import { NamespaceFile } from "./namespace_file.ts";
import { RamStore } from "./ram_store.ts";
import { StorageErrors, type StorageFailure } from "./storage_errors.ts";
import { memoryIdentity, type StorageIdentity, storageIdentity } from "./storage_identity.ts";
import type { ServedNamespace } from "./worker_messages.ts";

const log = logger("serve");

type Store = NamespaceFile | RamStore;

/** One namespace: its description, and the file or the memory that is behind it. */
export class Namespace implements Disposable {
  readonly description: NamespaceDescription;
  readonly #store: Store;
  /** What people should know of its identity; null for nothing. */
  readonly #warning: string | null;
  /** Null for memory. */
  readonly #errors: StorageErrors | null;

  private constructor(description: NamespaceDescription, store: Store, warning: string | null) {
    this.description = description;
    this.#store = store;
    this.#warning = warning;
    const { nsid } = description;
    this.#errors = store instanceof NamespaceFile ? new StorageErrors({ nsid, path: store.path }) : null;
  }

  /**
   * @throws UmpathError as `NamespaceFile.open()` and `storageIdentity()` do, or "host-lacks" if there is not so much memory.
   */
  static async open(spec: NamespaceSpec, index: number): Promise<Namespace> {
    const { nsid, blockSize, readOnly, backing } = spec;
    const store = backing.type === "file"
      ? await NamespaceFile.open({ ...backing, blockSize, readOnly })
      : RamStore.allocate(backing.sizeBytes);
    try {
      const { uuid, warning } = await identityOf(spec, store);
      const nguid = await derivedNguid(uuid);
      const blocks = Math.floor(store.bytes / blockSize);
      const volatileCache = backing.type === "file";
      const description = { index, nsid, uuid, nguid, blockSize, blocks, readOnly, volatileCache };
      return new Namespace(description, store, warning);
    } catch (error) {
      store[Symbol.dispose]();
      throw error;
    }
  }

  /** Says what is served, and what people should know of it. */
  logOpened(): void {
    const { nsid, blockSize, readOnly } = this.description;
    const store = this.#store;
    const size = `namespace ${nsid} of ${
      formatSize(this.description.blocks * blockSize)
    } in blocks of ${blockSize} bytes`;
    if (store instanceof RamStore) return log.info(`Serving ${size} in memory: what is written is lost at the end`);
    const how = store.isDirect ? "past the page cache" : "through the page cache, which it cannot be opened without";
    log.info(`Serving ${size} in ${quote(store.path)}, ${how}`);
    const warnings = [this.#warning, tailWarning(store, blockSize), readOnly ? null : spaceWarning(store)];
    for (const warning of warnings) if (warning !== null) log.warn(warning);
  }

  /** As workers are told of it. */
  get served(): ServedNamespace {
    const { index, nsid, blockSize } = this.description;
    const store = this.#store;
    if (store instanceof NamespaceFile) return { index, nsid, blockSize, store: { type: "file", fd: store.fd } };
    const bytes = store.bytesMax - store.bytesMax % blockSize;
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
      storage: !isFile ? "memory" : store.isDevice ? "block-device" : "file",
      direct: isFile && store.isDirect,
    };
  }

  /**
   * Changes the size: `tell` is called with the number of blocks when hosts are to be told, which is before data goes away
   * and after there is room. A namespace gets smaller only with `mayShrink`.
   *
   * @throws UmpathError "usage" if the size is none that it can have, "host-lacks" if the host refuses it.
   */
  resize({ sizeBytes, mayShrink, fromBytes }: Resize, tell: (blocks: number) => void): void {
    const { nsid, blockSize } = this.description;
    if (sizeBytes < blockSize || sizeBytes % blockSize !== 0) {
      const why = sizeBytes < blockSize
        ? `a namespace has at least one block, of ${formatSize(blockSize)}`
        : `${sizeBytes} bytes are no whole number of blocks of ${blockSize}`;
      throw new UmpathError("usage", `Cannot make namespace ${nsid} ${formatSize(sizeBytes)} large: ${why}`);
    }
    const isSmaller = sizeBytes < fromBytes;
    if (isSmaller && !mayShrink) throw this.#needsConsent({ sizeBytes, fromBytes });
    const blocks = sizeBytes / blockSize;
    if (isSmaller) tell(blocks);
    this.#store.resize(sizeBytes);
    if (!isSmaller) tell(blocks);
  }

  #needsConsent({ sizeBytes, fromBytes }: { sizeBytes: number; fromBytes: number }): UmpathError {
    const isDevice = this.#store instanceof NamespaceFile && this.#store.isDevice;
    const cut = formatSize(fromBytes - sizeBytes);
    const why = isDevice ? `hosts would no longer reach its last ${cut}` : `its last ${cut} would be lost`;
    const change = `from ${formatSize(fromBytes)} to ${formatSize(sizeBytes)}`;
    return new UmpathError("usage", `Cannot shrink namespace ${this.description.nsid} ${change}: ${why}`, {
      hint: "Give --shrink to do it all the same",
    });
  }

  /** A command of a host failed in what is behind the namespace. */
  handleFailure(failure: StorageFailure, nowMs: number): void {
    this.#errors?.handleFailure(failure, nowMs);
  }

  /** Looks whether its storage still has all of its `sizeBytes`, and says if it has not. */
  checkSize(sizeBytes: number): void {
    this.#errors?.handleSize({ bytes: this.#store.bytes, expectedBytes: sizeBytes });
  }

  /** Waits until what was written is on stable storage, as far as there is any. */
  async sync(): Promise<void> {
    if (this.#store instanceof RamStore || this.description.readOnly) return;
    const result = await this.#store.sync();
    if (result < 0) log.error(`Cannot write ${quote(this.#store.path)} to stable storage: ${errnoWords(result)}`);
  }

  [Symbol.dispose](): void {
    this.#store[Symbol.dispose]();
  }
}

/** Another size for a namespace, in bytes. */
export interface Resize {
  readonly sizeBytes: number;
  readonly mayShrink: boolean;
  /** What hosts see now. */
  readonly fromBytes: number;
}

async function identityOf({ uuid }: NamespaceSpec, store: Store): Promise<StorageIdentity> {
  if (uuid !== null) return { uuid: uuidBytes(uuid), warning: null };
  return store instanceof RamStore ? memoryIdentity() : await storageIdentity(store);
}

/** What is said of the bytes behind the last whole block; null if there are none. */
export function tailWarning({ path, bytes }: { path: string; bytes: number }, blockSize: number): string | null {
  const tail = bytes % blockSize;
  if (tail === 0) return null;
  const small = bytes % 512;
  const help = blockSize === 512
    ? ""
    : small === 0
    ? "; --block-size 512 serves them too"
    : `; --block-size 512 leaves out ${small} only`;
  return `The last ${tail} bytes of ${quote(path)} are not served, as they are no whole block of ${blockSize}${help}`;
}

/** What is said of a file that has not all of its room yet; null if it has, or can get it. */
export function spaceWarning(store: { path: string; holeBytes: number; freeBytes: number }): string | null {
  const { path, holeBytes, freeBytes } = store;
  if (holeBytes <= freeBytes) return null;
  return `Writes to ${quote(path)} can fail for want of space: ${
    formatSize(holeBytes)
  } of it has no room on its file ` +
    `system yet, which has ${formatSize(freeBytes)} left`;
}

/** Opens all of them, or none. */
export async function openNamespaces(specs: readonly NamespaceSpec[]): Promise<Namespace[]> {
  await using opened = new AsyncDisposableStack();
  const namespaces: Namespace[] = [];
  for (const [index, spec] of specs.entries()) namespaces.push(opened.use(await Namespace.open(spec, index)));
  checkUuids(namespaces);
  opened.move();
  return namespaces;
}

/** Hosts take two namespaces of one UUID for one. */
function checkUuids(namespaces: readonly Namespace[]): void {
  const byUuid = new Map<string, number>();
  for (const { description: { uuid, nsid } } of namespaces) {
    const text = uuidText(uuid);
    const other = byUuid.get(text);
    if (other !== undefined) {
      const why = `they are one storage, or were given one UUID: ${text}`;
      throw new UmpathError("usage", `Cannot serve namespaces ${other} and ${nsid} together: ${why}`, {
        hint: "Give one of them another with uuid=UUID, and serve no storage twice",
      });
    }
    byUuid.set(text, nsid);
  }
}
