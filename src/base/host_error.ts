/**
 * Errors of system calls that the runtime throws, in words for people: `No space left on device (os error 28): open
 * '/run/x'` and `EROFS: read-only file system, open '/run/x'` name the same kind of thing, a fault of the host.
 */
import {
  EACCES,
  EBUSY,
  EDQUOT,
  EEXIST,
  EFBIG,
  EIO,
  EISDIR,
  ELOOP,
  EMFILE,
  ENAMETOOLONG,
  ENFILE,
  ENODEV,
  ENOENT,
  ENOMEM,
  ENOSPC,
  ENOTDIR,
  ENXIO,
  EPERM,
  EROFS,
  errnoWords,
  ETXTBSY,
} from "./errno.ts";
import { quote } from "./text.ts";

/** What the world around umpath can cause. Any other errno is a fault of the caller. */
const HOST_ERRNOS: Readonly<Record<string, number>> = Object.freeze({
  ...{ EACCES, EBUSY, EDQUOT, EEXIST, EFBIG, EIO, EISDIR, ELOOP, EMFILE, ENAMETOOLONG, ENFILE, ENODEV, ENOENT, ENOMEM },
  ...{ ENOSPC, ENOTDIR, ENXIO, EPERM, EROFS, ETXTBSY },
});

/** Classes of the runtime that may come without a number. */
const CLASS_ERRNOS: readonly [name: string, errno: number][] = [
  ["NotFound", ENOENT],
  ["PermissionDenied", EACCES],
  ["NotCapable", EACCES],
  ["AlreadyExists", EEXIST],
  ["IsADirectory", EISDIR],
  ["NotADirectory", ENOTDIR],
  ["FilesystemLoop", ELOOP],
];

/** What a system call does, by the runtime's name of it. */
const ACTIONS: Readonly<Record<string, string>> = Object.freeze({
  open: "open",
  mkdir: "make folder",
  writefile: "write",
  readfile: "read",
  unlink: "remove",
  remove: "remove",
  stat: "look at",
  lstat: "look at",
  readdir: "list",
  scandir: "list",
  readlink: "read link",
  rename: "rename",
  chmod: "set the rights of",
  realpath: "find",
});

let filesMax: number | null = null;

/** How many descriptors this process may have: the words for those that have run out name the limit. */
export function tellFilesMax(max: number): void {
  filesMax = max;
}

/** The errno of a failure that the host has caused, as a positive number; null for any other. */
export function hostErrno(thrown: unknown): number | null {
  if (!(thrown instanceof Error)) return null;
  const { code, errno } = thrown as { code?: unknown; errno?: unknown };
  const number = typeof errno === "number" ? Math.abs(errno) : Number(/\(os error (\d+)\)/.exec(thrown.message)?.[1]);
  if (Object.values(HOST_ERRNOS).includes(number)) return number;
  if (typeof code === "string" && Object.hasOwn(HOST_ERRNOS, code)) return HOST_ERRNOS[code]!;
  return CLASS_ERRNOS.find(([name]) => thrown.name === name)?.[1] ?? null;
}

/** Why the host refused, in words: the second half of a sentence. */
export function hostReason(errno: number): string {
  const limit = errno === EMFILE && filesMax !== null
    ? `: this process may have ${filesMax} (ulimit -n, LimitNOFILE=)`
    : "";
  return `${errnoWords(errno)}${limit}`;
}

/** What the runtime tried, on what, as it says itself; null if it does not. */
export function hostAction(message: string): string | null {
  const [, call, path] = /[:,] (\w+) '([^']*)'/.exec(message) ?? [];
  const action = call === undefined ? undefined : ACTIONS[call.toLowerCase().replace(/sync$/, "")];
  return action === undefined ? null : `Cannot ${action} ${quote(path!)}`;
}

/** What to do about it, where that is the same wherever it happens. */
export function hostHint(errno: number): string | undefined {
  switch (errno) {
    case ENOSPC:
    case EDQUOT:
      return "Make room there";
    case EROFS:
      return "Mount its file system for writing, or name a folder elsewhere";
    case EMFILE:
      return "Raise the limit: ulimit -n, or LimitNOFILE= of the service";
    case EFBIG:
      return "Raise the limit on the size of files: ulimit -f, or LimitFSIZE= of the service";
    case EACCES:
    case EPERM:
      return "Run umpath as root";
    default:
      return undefined;
  }
}
