/**
 * The interface between the kernel's FUSE driver and the server of a file system, restated: every number and layout
 * that crosses it, in the words of its header (`linux/fuse.h`). Fields are in the byte order of the host, which is
 * little-endian everywhere that umpath runs. Only what a file system of one regular file needs is here.
 */

/** Major version of the interface; a kernel of another one is refused. */
export const FUSE_VERSION = 7;
/** The minor version that umpath speaks; the kernel leaves out what came later. */
export const FUSE_MINOR = 38;
/** MAX_PAGES came with it (Linux 4.20), and with it requests of more than 128 KiB. */
export const FUSE_MINOR_MIN = 28;

/** Node ID of the root: here, of the one file. */
export const FUSE_ROOT_ID = 1;

/** Operations (`enum fuse_opcode`). */
export const FuseOp = Object.freeze({
  LOOKUP: 1,
  FORGET: 2,
  GETATTR: 3,
  SETATTR: 4,
  OPEN: 14,
  READ: 15,
  WRITE: 16,
  STATFS: 17,
  RELEASE: 18,
  FSYNC: 20,
  GETXATTR: 22,
  FLUSH: 25,
  INIT: 26,
  INTERRUPT: 36,
  DESTROY: 38,
  NOTIFY_REPLY: 41,
  BATCH_FORGET: 42,
  FALLOCATE: 43,
});

/** Flags of INIT. */
export const FuseInit = Object.freeze({
  /** Several reads of a file may be in flight. */
  ASYNC_READ: 1 << 0,
  /** Writes of more than a page. */
  BIG_WRITES: 1 << 5,
  /** Direct I/O does not wait for one request before it sends the next. */
  ASYNC_DIO: 1 << 15,
  /** `max_pages` counts. */
  MAX_PAGES: 1 << 22,
});

/** Flags of an open file (`FOPEN_*`). */
export const FuseOpen = Object.freeze({
  /** Nothing of the file is cached by the kernel. */
  DIRECT_IO: 1 << 0,
  /** FLUSH is not sent. */
  NOFLUSH: 1 << 5,
  /** Direct writes need not wait for each other. */
  PARALLEL_DIRECT_WRITES: 1 << 6,
});

/** Modes of fallocate(2) that the driver passes on (`linux/falloc.h`). */
export const FallocMode = Object.freeze({ KEEP_SIZE: 0x01, PUNCH_HOLE: 0x02, ZERO_RANGE: 0x10 });

/** Sizes in bytes, which the C library compares with its own when it is opened. */
export const FUSE_LAYOUT = Object.freeze({
  inHeaderBytes: 40,
  outHeaderBytes: 16,
  initInBytes: 64,
  initOutBytes: 64,
  attrOutBytes: 104,
  openOutBytes: 16,
  readInBytes: 40,
  writeInBytes: 40,
  writeOutBytes: 8,
  fallocateInBytes: 32,
  statfsOutBytes: 80,
});

/** Bytes of a WRITE before its data: `fuse_in_header` and `fuse_write_in`. */
export const FUSE_WRITE_HEADER_BYTES = FUSE_LAYOUT.inHeaderBytes + FUSE_LAYOUT.writeInBytes;

/** Offsets in `struct fuse_in_header`, counted in 32-bit words. */
export const FuseInHeader = Object.freeze({
  words: 10,
  len: 0,
  opcode: 1,
  uniqueLow: 2,
  uniqueHigh: 3,
  nodeIdLow: 4,
  nodeIdHigh: 5,
});

/** Offsets in `struct fuse_out_header`, counted in 32-bit words. */
export const FuseOutHeader = Object.freeze({ words: 4, len: 0, error: 1, uniqueLow: 2, uniqueHigh: 3 });

/** Offsets in `struct fuse_read_in` and `fuse_write_in` behind the header, counted in 32-bit words. */
export const FuseReadIn = Object.freeze({ offsetLow: 2, offsetHigh: 3, size: 4 });

/** Offsets in `struct fuse_fallocate_in` behind the header, counted in 32-bit words. */
export const FuseFallocateIn = Object.freeze({ offsetLow: 2, offsetHigh: 3, lengthLow: 4, lengthHigh: 5, mode: 6 });

/** Offsets in `struct fuse_init_in` behind the header, counted in 32-bit words. */
export const FuseInitIn = Object.freeze({ major: 0, minor: 1, maxReadahead: 2, flags: 3 });

/** Offsets in `struct fuse_init_out`, in bytes. */
export const FuseInitOut = Object.freeze({
  major: 0,
  minor: 4,
  maxReadahead: 8,
  flags: 12,
  maxBackground: 16,
  congestionThreshold: 18,
  maxWrite: 20,
  timeGran: 24,
  maxPages: 28,
});

/** Offsets in `struct fuse_attr_out`, counted in 32-bit words. */
export const FuseAttrOut = Object.freeze({
  attrValidLow: 0,
  inoLow: 4,
  sizeLow: 6,
  sizeHigh: 7,
  blocksLow: 8,
  blocksHigh: 9,
  mode: 19,
  nlink: 20,
  blksize: 24,
});

/** Offsets in `struct fuse_open_out`, counted in 32-bit words. */
export const FuseOpenOut = Object.freeze({ openFlags: 2 });

/** Offsets in `struct fuse_statfs_out`, counted in 32-bit words. */
export const FuseStatfsOut = Object.freeze({ blocksLow: 0, blocksHigh: 1, bsize: 10, namelen: 11, frsize: 12 });

/** The mode of a regular file that only its owner may read and write. */
export const REGULAR_FILE_MODE = 0o100600;
