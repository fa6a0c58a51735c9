/**
 * Get Log Page and the log pages that umpath reads, in the specification's own words (NVM Express Base Specification 2.0,
 * section 5.16). Offsets are in bytes; every number is little-endian.
 */

/** Fields of Get Log Page's CDW10 (section 5.16). CDW11 bits 15:0 are the upper half of NUMD; CDW12 and 13 the offset. */
export const GetLogPageCdw10 = {
  /** Log specific field, 7 bits. */
  LSP_SHIFT: 8,
  LSP_MASK: 0x7f,
  /** Retain asynchronous event: reading does not clear it. */
  RAE: 1 << 15,
  /** Number of dwords, lower 16 bits, 0's based. */
  NUMDL_SHIFT: 16,
} as const;

/** Asymmetric Namespace Access log (section 5.16.1.13). */
export const AnaLogAt = {
  /** Change count, u64. */
  CHGCNT: 0,
  /** Number of group descriptors, u16. */
  NAGD: 8,
  /** The first group descriptor. */
  DESCRIPTORS: 16,
} as const;

/** ANA group descriptor, offsets from its first byte (section 5.16.1.13). */
export const AnaGroupAt = {
  /** Group identifier, u32, not 0. */
  AGID: 0,
  /** Number of NSIDs that follow, u32. */
  NNV: 4,
  /** Change count, u64. */
  CHGCNT: 8,
  /** ANA state, u8, bits 3:0: {@linkcode AnaStateCode}. */
  STATE: 16,
  /** NSIDs, u32 each. */
  NSIDS: 32,
} as const;

export const ANA_STATE_MASK = 0x0f;

/** ANA states (section 8.1.3). */
export const AnaStateCode = {
  OPTIMIZED: 0x01,
  NON_OPTIMIZED: 0x02,
  INACCESSIBLE: 0x03,
  PERSISTENT_LOSS: 0x04,
  CHANGE: 0x0f,
} as const;

/** LSP of the ANA log: return groups only, no NSIDs. */
export const ANA_LSP_RGO = 1 << 0;
