/** What a {@linkcode FileDevice} asks of the kernel, in the kernel's own numbers. */

/** An operation on a file. */
export const FileOperation = {
  /** preadv2(2). */
  READ: 0,
  /** pwritev2(2); its flags are bits of {@linkcode WriteFlag}. */
  WRITE: 1,
  /** fsync(2). */
  SYNC: 2,
  /** fallocate(2); its flags are bits of {@linkcode AllocateMode}. */
  ALLOCATE: 3,
} as const;

/** RWF_… of linux/fs.h. */
export const WriteFlag = {
  /** RWF_DSYNC: done once the data is on stable storage. */
  DSYNC: 0x02,
} as const;

/** FALLOC_FL_… of linux/falloc.h. */
export const AllocateMode = {
  KEEP_SIZE: 0x01,
  PUNCH_HOLE: 0x02,
  ZERO_RANGE: 0x10,
} as const;
