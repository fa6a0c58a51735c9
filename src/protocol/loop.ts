/** The user API of the kernel's loop driver, restated in the words of its header (`linux/loop.h`). */

/** `LO_FLAGS_*` */
export const LoopFlag = Object.freeze({
  READ_ONLY: 1,
  /** The device goes when its last user closes it. */
  AUTOCLEAR: 4,
  /** Partitions are looked for. */
  PARTSCAN: 8,
  DIRECT_IO: 16,
});
