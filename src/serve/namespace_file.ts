import { native } from "../../ffi/library.ts";
import { cString } from "../../ffi/result.ts";
import { EACCES, EAGAIN, EBUSY, EFBIG, ENOENT, EPERM, EROFS, errnoWords } from "../base/errno.ts";
import { hostError, UmpathError } from "../base/errors.ts";
import { hostHint } from "../base/host_error.ts";
import { count, quote } from "../base/text.ts";
import { formatSize } from "../base/units.ts";
import { blockDeviceUse, fileBehind, loopsOver, loopWords, releaseHint } from "./storage_users.ts";

/** Two limits give the same error: that of the process, and that of the file system. */
const SIZE_HINT =
  "Choose a smaller size, or raise the limit on the size of files: ulimit -f, or LimitFSIZE= of the service";

/** A target that was killed has its files locked for a little longer: it may be started again at once. */
const LOCK_WAIT_MS = 2_000;
/** How often a block device is tried meanwhile, which the kernel does not wait for. */
const BUSY_RETRY_MS = 50;
/** Unit of `st_blocks`, whatever the file system has (stat(3)). */
const STAT_BLOCK_BYTES = 512;

/** What to open. */
export interface NamespaceFileOptions {
  readonly path: string;
  readonly blockSize: number;
  readonly readOnly: boolean;
  /** A file that is missing or empty is made as large; any other has to have that size. Null: it is there. */
  readonly sizeBytes: number | null;
}

/**
 * The file or block device behind a namespace, open and locked, so that no other target serves it. Unless it is read-only,
 * a block device is held exclusively, so that nothing can be mounted from it, and a file is not behind a loop device.
 */
export class NamespaceFile implements Disposable {
  readonly path: string;
  readonly fd: number;
  /** It is read and written past the page cache. */
  readonly isDirect: boolean;
  /** A file can be cut and extended; a block device has the size that it has. */
  readonly isDevice: boolean;
  /** Descriptors that are open for their locks only. */
  readonly #locks: readonly number[];

  private constructor(path: string, opened: Opened & { isDevice: boolean }) {
    this.path = path;
    this.fd = opened.fd;
    this.isDirect = opened.isDirect;
    this.isDevice = opened.isDevice;
    this.#locks = opened.locks;
  }

  /**
   * @throws UmpathError "not-found" if there is no such file, "in-use" if another target has it or this host uses it,
   * "host-lacks" if this user or host cannot open it, "usage" if it is not what it has to be.
   */
  static async open(options: NamespaceFileOptions): Promise<NamespaceFile> {
    const { path, sizeBytes } = options;
    const isNew = sizeBytes !== null && makeEmpty(path);
    try {
      const info = checkKind(options);
      const file = new NamespaceFile(path, {
        ...await openLocked(options, info),
        isDevice: info.isBlockDevice === true,
      });
      try {
        file.#settleSize(options);
      } catch (error) {
        file[Symbol.dispose]();
        throw error;
      }
      return file;
    } catch (error) {
      if (isNew) removeQuietly(path);
      throw error;
    }
  }

  /** Makes an empty file as large as it has to be, and looks at what is not empty. */
  #settleSize({ path, sizeBytes, blockSize }: NamespaceFileOptions): void {
    const { bytes } = this;
    if (bytes === 0 && sizeBytes !== null && !this.isDevice) return this.resize(sizeBytes);
    if (sizeBytes !== null && bytes !== sizeBytes) throw otherSize(path, bytes, sizeBytes);
    if (bytes < blockSize) throw tooSmall(path, { bytes, blockSize, isDevice: this.isDevice });
  }

  /** How large it is now. */
  get bytes(): number {
    return Number(native().um_file_bytes(this.fd));
  }

  /** Bytes that can still be written to its file system; Infinity for a block device. */
  get freeBytes(): number {
    if (this.isDevice) return Infinity;
    const bytes = Number(native().um_file_free_bytes(this.fd));
    return bytes < 0 ? Infinity : bytes;
  }

  /** Bytes of it that have no room on its file system yet. */
  get holeBytes(): number {
    if (this.isDevice) return 0;
    const { size, blocks } = Deno.statSync(this.path);
    return Math.max(size - (blocks ?? 0) * STAT_BLOCK_BYTES, 0);
  }

  /**
   * Cuts or extends a file. A block device stays as large as it is: it may be served smaller, not larger.
   *
   * @throws UmpathError "usage" if it is a block device that is smaller, "host-lacks" if the file system refuses.
   */
  resize(bytes: number): void {
    const size = formatSize(bytes);
    if (this.isDevice) {
      if (bytes <= this.bytes) return;
      const why = `the block device ${quote(this.path)} has ${formatSize(this.bytes)}`;
      throw new UmpathError("usage", `Cannot make the namespace ${size} large: ${why}`);
    }
    const result = native().um_file_truncate(this.fd, BigInt(bytes));
    if (result < 0) {
      const message = `Cannot make ${quote(this.path)} ${size} large: ${errnoWords(result)}`;
      throw new UmpathError("host-lacks", message, { hint: -result === EFBIG ? SIZE_HINT : hostHint(-result) });
    }
  }

  /** Waits until all that was written is on stable storage: 0 or -errno. */
  sync(): Promise<number> {
    return native().um_file_sync(this.fd);
  }

  [Symbol.dispose](): void {
    native().um_close(this.fd);
    for (const fd of this.#locks) native().um_close(fd);
  }
}

/** True if it was made; false if it is there already. */
function makeEmpty(path: string): boolean {
  try {
    Deno.openSync(path, { createNew: true, write: true, mode: 0o600 }).close();
    return true;
  } catch (error) {
    if (error instanceof Deno.errors.AlreadyExists) return false;
    throw cannotMake(path, error);
  }
}

function removeQuietly(path: string): void {
  try {
    Deno.removeSync(path);
  } catch {
    // What made us give up is what people have to hear.
  }
}

function checkKind({ path, sizeBytes }: NamespaceFileOptions): Deno.FileInfo {
  let info: Deno.FileInfo;
  try {
    info = Deno.statSync(path);
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) throw missing(path, sizeBytes);
    throw hostError(`Cannot open ${quote(path)}`, error);
  }
  if (info.isFile || info.isBlockDevice) return info;
  const kind = info.isDirectory ? "it is a folder" : "it is neither a file nor a block device";
  throw new UmpathError("usage", `Cannot serve ${quote(path)}: ${kind}`);
}

interface Opened {
  readonly fd: number;
  readonly isDirect: boolean;
  readonly locks: readonly number[];
}

/** Opens it so that no other target, and nothing else of this host, writes to it. */
async function openLocked(options: NamespaceFileOptions, info: Deno.FileInfo): Promise<Opened> {
  const { path, readOnly } = options;
  const isDevice = info.isBlockDevice === true;
  if (!isDevice && !readOnly) {
    const loops = loopsOver({ ...info, path });
    if (loops.length > 0) {
      throw new UmpathError("in-use", `Cannot serve ${quote(path)}: it ${loopWords(loops)}`, {
        hint: `Serve ${loops[0]} instead, detach it with losetup -d, or give --read-only`,
      });
    }
  }
  const { fd, isDirect } = await openFile(options, { isHeld: isDevice && !readOnly });
  const locks: number[] = [];
  try {
    lock(fd, options);
    // The file behind a loop device is locked too, so that no target serves it by its own name.
    const behind = isDevice && info.rdev !== null ? fileBehind(info.rdev) : null;
    const behindFd = behind === null ? -1 : native().um_file_open(cString(behind), 0, 0, 0);
    if (behindFd >= 0) {
      locks.push(behindFd);
      lock(behindFd, options);
    }
    return { fd, isDirect, locks };
  } catch (error) {
    for (const open of [fd, ...locks]) native().um_close(open);
    throw error;
  }
}

/**
 * Past the page cache, where a trial shows that blocks of that size can be read so; else through it. A block device may
 * be held: nothing else has it then.
 */
async function openFile(
  { path, blockSize, readOnly }: NamespaceFileOptions,
  { isHeld }: { isHeld: boolean },
): Promise<{ fd: number; isDirect: boolean }> {
  const name = cString(path);
  const open = (isDirect: boolean) => native().um_file_open(name, readOnly ? 0 : 1, isDirect ? 1 : 0, isHeld ? 1 : 0);
  let direct = open(true);
  for (let waitedMs = 0; direct === -EBUSY && waitedMs < LOCK_WAIT_MS; waitedMs += BUSY_RETRY_MS) {
    // A mount or another device does not go by itself; a program that was killed does.
    if (waitedMs === 0 && /^is (mounted on|held by|used as) /.test(await blockDeviceUse(path))) break;
    await new Promise((resolve) => setTimeout(resolve, BUSY_RETRY_MS));
    direct = open(true);
  }
  if (direct === -EBUSY) {
    throw new UmpathError("in-use", `Cannot serve ${quote(path)}: it ${await blockDeviceUse(path)}`, {
      hint: releaseHint(path),
    });
  }
  const isDirect = direct >= 0 && native().um_file_trial(direct, blockSize) >= 0;
  if (direct >= 0 && !isDirect) native().um_close(direct);
  const fd = isDirect ? direct : open(false);
  if (fd < 0) throw cannotOpen(path, -fd);
  return { fd, isDirect };
}

function lock(fd: number, { path, readOnly }: NamespaceFileOptions): void {
  const result = native().um_file_lock(fd, readOnly ? 0 : 1, LOCK_WAIT_MS);
  if (result === 0) return;
  if (result === -EAGAIN) {
    throw new UmpathError(
      "in-use",
      `Cannot serve ${quote(path)}: another target serves it, or a program has it locked`,
      {
        hint: "umpath target list names the targets of this host; with --read-only on both, two targets share a file",
      },
    );
  }
  throw new UmpathError("host-lacks", `Cannot lock ${quote(path)}: ${errnoWords(result)}`);
}

function cannotMake(path: string, error: unknown): UmpathError {
  if (error instanceof Deno.errors.NotFound) {
    return new UmpathError("not-found", `Cannot make ${quote(path)}: there is no such folder`);
  }
  return hostError(`Cannot make ${quote(path)}`, error);
}

function missing(path: string, sizeBytes: number | null): UmpathError {
  const folder = /^(.*)\/[^/]+$/.exec(path)?.[1];
  if (folder !== undefined && folder !== "" && !isThere(folder)) {
    return new UmpathError("not-found", `Cannot serve ${quote(path)}: there is no such folder`);
  }
  return new UmpathError("not-found", `Cannot serve ${quote(path)}: there is no such file`, {
    hint: sizeBytes === null ? "Give --size SIZE to make it" : "Is it a dangling link?",
  });
}

function isThere(path: string): boolean {
  try {
    Deno.statSync(path);
    return true;
  } catch (error) {
    return !(error instanceof Deno.errors.NotFound);
  }
}

function cannotOpen(path: string, errno: number): UmpathError {
  if (errno === ENOENT) return missing(path, null);
  const hint = errno === EACCES || errno === EPERM
    ? "Run umpath as a user who may write it, or give --read-only"
    : errno === EROFS
    ? "Give --read-only"
    : undefined;
  return new UmpathError("host-lacks", `Cannot open ${quote(path)}: ${errnoWords(errno)}`, { hint });
}

function otherSize(path: string, found: number, wanted: number): UmpathError {
  // Sizes that read alike are told in bytes.
  const isNear = Math.abs(found - wanted) < wanted / 10;
  const words = (bytes: number) => isNear ? count(bytes, "byte") : formatSize(bytes);
  const why = `it has ${words(found)}, not the ${words(wanted)} of --size`;
  return new UmpathError("usage", `Cannot serve ${quote(path)}: ${why}`, {
    hint: "Leave --size out to serve it as it is; umpath target resize changes its size",
  });
}

function tooSmall(path: string, found: { bytes: number; blockSize: number; isDevice: boolean }): UmpathError {
  const { bytes, blockSize, isDevice } = found;
  const why = bytes === 0 ? "it is empty" : `it has ${count(bytes, "byte")}, and one block has ${blockSize}`;
  const hint = isDevice
    ? "Is a medium in it, or a file behind it?"
    : bytes === 0
    ? "Give --size SIZE to make it so large"
    : bytes >= 512
    ? "Give --block-size 512"
    : "Name a larger file, or a new one with --size SIZE";
  return new UmpathError("usage", `Cannot serve ${quote(path)}: ${why}`, { hint });
}
