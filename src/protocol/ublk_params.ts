/** `struct ublk_params` of `linux/ublk_cmd.h`: what SET_PARAMS tells the driver about a device. Sectors are 512 bytes. */

/** Bits of `types`: which parts are filled (`UBLK_PARAM_TYPE_*`). DEVT is read-only: setting it is EINVAL. */
export const UblkParamType = Object.freeze({
  BASIC: 1 << 0,
  DISCARD: 1 << 1,
  DEVT: 1 << 2,
  ZONED: 1 << 3,
  DMA_ALIGN: 1 << 4,
  SEGMENT: 1 << 5,
  INTEGRITY: 1 << 6,
});

/** Bits of `basic.attrs` (`UBLK_ATTR_*`). FUA means something only together with VOLATILE_CACHE. */
export const UblkAttr = Object.freeze({
  READ_ONLY: 1 << 0,
  ROTATIONAL: 1 << 1,
  VOLATILE_CACHE: 1 << 2,
  FUA: 1 << 3,
});

/** Byte offsets in `struct ublk_params`; the parts begin at the offsets of `UblkParamsPart`. */
export const UblkParams = Object.freeze({
  len: 0,
  types: 4,
  attrs: 8,
  logicalBsShift: 12,
  physicalBsShift: 13,
  ioOptShift: 14,
  ioMinShift: 15,
  maxSectors: 16,
  chunkSectors: 20,
  devSectors: 24,
  virtBoundaryMask: 32,
  discardAlignment: 40,
  discardGranularity: 44,
  maxDiscardSectors: 48,
  maxWriteZeroesSectors: 52,
  maxDiscardSegments: 56,
});

/** Where each part of `struct ublk_params` begins, in bytes. */
export const UblkParamsPart = Object.freeze({
  BASIC: 8,
  DISCARD: 40,
  DEVT: 60,
  ZONED: 80,
  DMA_ALIGN: 112,
  SEGMENT: 120,
  INTEGRITY: 136,
});

/** Bytes of header, basic and discard part: all that a device without zones, DMA limits and integrity sets. */
export const UBLK_PARAMS_SET_BYTES = 60;
/**
 * Largest discard or write-zeroes in sectors. Its bytes fit 32 bits: a driver before Linux 6.11 cuts a larger one short
 * without a word.
 */
export const UBLK_DISCARD_SECTORS_MAX = 0xffff_ffff >>> 9;
