import { native } from "../../ffi/library.ts";
import { cString } from "../../ffi/result.ts";
import { EACCES, EAGAIN, ENOENT, EPERM, EROFS, errnoWords } from "../base/errno.ts";
import { messageOf, UmpathError } from "../base/errors.ts";
import { quote } from "../base/text.ts";
import { formatSize } from "../base/units.ts";

/** A target that was killed has its files locked for a little longer: it may be started again at once. */
const LOCK_WAIT_MS = 2_000;

/** What to open. */
export interface NamespaceFileOptions {
  readonly path: string;
  readonly blockSize: number;
  readonly readOnly: boolean;
  /** The file is made with that size if it is missing, and has to have that size if it is not; null: it is there. */
  readonly sizeBytes: number | null;
}

/** The file or block device behind a namespace, open and locked: no other target serves it. */
export class NamespaceFile implements Disposable {
  readonly path: string;
  readonly fd: number;
  /** It is read and written past the page cache. */
  readonly isDirect: boolean;
  /** A file can be cut and extended; a block device has the size that it has. */
  readonly isDevice: boolean;

  private constructor(path: string, opened: { fd: number; isDirect: boolean; isDevice: boolean }) {
    this.path = path;
    this.fd = opened.fd;
    this.isDirect = opened.isDirect;
    this.isDevice = opened.isDevice;
  }

  /**
   * @throws UmpathError "not-found" if there is no such file, "in-use" if another target has it, "host-lacks" if this user
   * or host cannot open it, "usage" if it is not what it has to be.
   */
  static open(options: NamespaceFileOptions): NamespaceFile {
    const { path, readOnly, sizeBytes } = options;
    const isNew = sizeBytes !== null && makeSparse(path, sizeBytes);
    try {
      const isDevice = checkKind(path);
      const { fd, isDirect } = openLocked(options);
      const file = new NamespaceFile(path, { fd, isDirect, isDevice });
      try {
        if (sizeBytes !== null && file.bytes !== sizeBytes) throw otherSize(path, file.bytes, sizeBytes);
        if (file.bytes < options.blockSize) throw unusable(path, `it is smaller than one block`, readOnly);
      } catch (error) {
        file[Symbol.dispose]();
        throw error;
      }
      return file;
    } catch (error) {
      if (isNew) Deno.removeSync(path);
      throw error;
    }
  }

  /** How large it is now. */
  get bytes(): number {
    return Number(native().um_file_bytes(this.fd));
  }

  /**
   * Cuts or extends it.
   *
   * @throws UmpathError "usage" if it is a block device that is smaller, "host-lacks" if the file system refuses.
   */
  resize(bytes: number): void {
    if (this.isDevice) {
      if (bytes <= this.bytes) return;
      throw new UmpathError("usage", `Cannot make the namespace so large: ${quote(this.path)} has ${this.bytes} bytes`);
    }
    const result = native().um_file_truncate(this.fd, BigInt(bytes));
    if (result < 0) {
      const message = `Cannot make ${quote(this.path)} ${formatSize(bytes)} large: ${errnoWords(result)}`;
      throw new UmpathError("host-lacks", message);
    }
  }

  /** Waits until all that was written is on stable storage: 0 or -errno. */
  sync(): Promise<number> {
    return native().um_file_sync(this.fd);
  }

  [Symbol.dispose](): void {
    native().um_close(this.fd);
  }
}

/** True if it was made; false if it is there already. */
function makeSparse(path: string, bytes: number): boolean {
  try {
    using file = Deno.openSync(path, { createNew: true, write: true, mode: 0o600 });
    file.truncateSync(bytes);
    return true;
  } catch (error) {
    if (error instanceof Deno.errors.AlreadyExists) return false;
    throw new UmpathError("host-lacks", `Cannot make ${quote(path)}: ${messageOf(error)}`);
  }
}

/** True for a block device, false for a regular file. */
function checkKind(path: string): boolean {
  let info: Deno.FileInfo;
  try {
    info = Deno.statSync(path);
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) throw missing(path);
    throw new UmpathError("host-lacks", `Cannot open ${quote(path)}: ${messageOf(error)}`);
  }
  if (info.isFile || info.isBlockDevice) return info.isBlockDevice === true;
  const kind = info.isDirectory ? "it is a folder" : "it is neither a file nor a block device";
  throw new UmpathError("usage", `Cannot serve ${quote(path)}: ${kind}`);
}

/** Past the page cache, where a trial shows that blocks of that size can be read so; else through it. */
function openLocked({ path, blockSize, readOnly }: NamespaceFileOptions): { fd: number; isDirect: boolean } {
  const name = cString(path);
  const direct = native().um_file_open(name, readOnly ? 0 : 1, 1);
  const isDirect = direct >= 0 && native().um_file_trial(direct, blockSize) >= 0;
  if (direct >= 0 && !isDirect) native().um_close(direct);
  const fd = isDirect ? direct : native().um_file_open(name, readOnly ? 0 : 1, 0);
  if (fd < 0) throw cannotOpen(path, -fd);
  const lock = native().um_file_lock(fd, readOnly ? 0 : 1, LOCK_WAIT_MS);
  if (lock < 0) {
    native().um_close(fd);
    throw cannotLock(path, -lock);
  }
  return { fd, isDirect };
}

function missing(path: string): UmpathError {
  return new UmpathError("not-found", `Cannot serve ${quote(path)}: there is no such file`, {
    hint: "Give --size SIZE to have it made",
  });
}

function cannotOpen(path: string, errno: number): UmpathError {
  if (errno === ENOENT) return missing(path);
  const hint = errno === EACCES || errno === EPERM
    ? "Run umpath as a user who may write it, or give --read-only"
    : errno === EROFS
    ? "Give --read-only"
    : undefined;
  return new UmpathError("host-lacks", `Cannot open ${quote(path)}: ${errnoWords(errno)}`, { hint });
}

function cannotLock(path: string, errno: number): UmpathError {
  if (errno === EAGAIN) {
    return new UmpathError("in-use", `Cannot serve ${quote(path)}: somebody else serves it or has it locked`, {
      hint: "umpath target list names the targets of this host; --read-only on both shares a file",
    });
  }
  return new UmpathError("host-lacks", `Cannot lock ${quote(path)}: ${errnoWords(errno)}`);
}

function otherSize(path: string, found: number, wanted: number): UmpathError {
  return new UmpathError("usage", `Cannot serve ${quote(path)}: it has ${found} bytes, not the ${wanted} of --size`, {
    hint: "Leave --size out to serve it as it is",
  });
}

function unusable(path: string, why: string, readOnly: boolean): UmpathError {
  const hint = readOnly ? undefined : "Remove it and give --size SIZE to have it made anew";
  return new UmpathError("usage", `Cannot serve ${quote(path)}: ${why}`, { hint });
}
