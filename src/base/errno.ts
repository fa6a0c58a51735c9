/** Linux errno values that umpath gives or understands (asm-generic/errno.h), and their words. */
export const EPERM = 1;
export const ENOENT = 2;
export const EINTR = 4;
export const EIO = 5;
export const ENXIO = 6;
export const EAGAIN = 11;
export const ENOMEM = 12;
export const EACCES = 13;
export const EBUSY = 16;
export const EEXIST = 17;
export const ENODEV = 19;
export const ENOTDIR = 20;
export const EISDIR = 21;
export const EINVAL = 22;
export const ENFILE = 23;
export const EMFILE = 24;
export const ENOTTY = 25;
export const ETXTBSY = 26;
export const EFBIG = 27;
export const ENOSPC = 28;
export const EROFS = 30;
export const EPIPE = 32;
export const ENAMETOOLONG = 36;
export const ENOSYS = 38;
export const ELOOP = 40;
export const ENODATA = 61;
export const ETIME = 62;
export const ENOLINK = 67;
export const EILSEQ = 84;
export const EBADE = 52;
export const EPROTO = 71;
export const EADDRINUSE = 98;
export const EADDRNOTAVAIL = 99;
export const ENETUNREACH = 101;
export const ECONNABORTED = 103;
export const ECONNRESET = 104;
export const ENOBUFS = 105;
export const ENOTCONN = 107;
export const EOPNOTSUPP = 95;
export const ETIMEDOUT = 110;
export const ECONNREFUSED = 111;
export const EHOSTUNREACH = 113;
export const ESTALE = 116;
export const EALREADY = 114;
export const EINPROGRESS = 115;
export const EREMOTEIO = 121;
export const EDQUOT = 122;
export const ECANCELED = 125;

const WORDS: Record<number, string> = {
  [EPERM]: "operation not permitted",
  [ENOENT]: "no such file or directory",
  [EINTR]: "interrupted",
  [EIO]: "input/output error",
  [ENXIO]: "no such device or address",
  [EAGAIN]: "resource temporarily unavailable",
  [ENOMEM]: "out of memory",
  [EACCES]: "permission denied",
  [EBUSY]: "device or resource busy",
  [EEXIST]: "already exists",
  [ENODEV]: "no such device",
  [ENOTDIR]: "not a directory",
  [EISDIR]: "is a directory",
  [EINVAL]: "invalid argument",
  [ENFILE]: "too many open files on this host",
  [EMFILE]: "too many open files",
  [ENOTTY]: "not a device of that kind",
  [ETXTBSY]: "text file busy",
  [EFBIG]: "file too large",
  [ENOSPC]: "no space left on device",
  [EROFS]: "read-only file system",
  [EPIPE]: "broken pipe",
  [ENAMETOOLONG]: "file name too long",
  [ENOSYS]: "not implemented by this kernel",
  [ELOOP]: "too many levels of symbolic links",
  [ENODATA]: "no data available (medium error)",
  [ETIME]: "timer expired",
  [ENOLINK]: "link has been severed",
  [EILSEQ]: "protection information check failed",
  [EBADE]: "invalid exchange (reservation conflict)",
  [EPROTO]: "protocol error",
  [EADDRINUSE]: "address already in use",
  [EADDRNOTAVAIL]: "no such address on this host",
  [ENETUNREACH]: "network is unreachable",
  [ECONNABORTED]: "connection aborted",
  [ECONNRESET]: "connection reset by peer",
  [ENOBUFS]: "no buffer space available",
  [ENOTCONN]: "not connected",
  [EOPNOTSUPP]: "operation not supported",
  [ETIMEDOUT]: "connection timed out",
  [ECONNREFUSED]: "connection refused",
  [EHOSTUNREACH]: "no route to host",
  [ESTALE]: "it is another by now",
  [EALREADY]: "already in progress",
  [EINPROGRESS]: "in progress",
  [EREMOTEIO]: "remote I/O error",
  [EDQUOT]: "disk quota exceeded",
  [ECANCELED]: "cancelled",
};

/** Those that I/O on a device fails with. */
const IO_NAMES: Readonly<Record<number, string>> = {
  ...{ [EIO]: "EIO", [EROFS]: "EROFS", [ENOSPC]: "ENOSPC", [EBADE]: "EBADE", [ENODATA]: "ENODATA" },
  ...{ [ENOLINK]: "ENOLINK", [EILSEQ]: "EILSEQ", [EOPNOTSUPP]: "EOPNOTSUPP", [ETIMEDOUT]: "ETIMEDOUT" },
  [EREMOTEIO]: "EREMOTEIO",
};

/** The name of an errno that I/O fails with: "EIO". */
export function errnoName(errno: number): string {
  return IO_NAMES[Math.abs(errno)] ?? `errno ${Math.abs(errno)}`;
}

/** An errno in words, for people: `errnoWords(111)` is "connection refused". */
export function errnoWords(errno: number): string {
  return WORDS[Math.abs(errno)] ?? `error ${Math.abs(errno)}`;
}
