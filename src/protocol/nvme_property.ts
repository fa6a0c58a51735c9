/**
 * Controller properties, read and written over fabrics by Property Get and Property Set (NVM Express Base Specification
 * 2.0, section 3.1.3). CAP is 64 bits: here as its low and its high dword.
 */

/** Offsets of the properties that a fabrics controller has, for the OFST field of Property Get and Set. */
export const PropertyAt = {
  /** Controller capabilities, 8 bytes. */
  CAP: 0x00,
  /** Version, 4 bytes. */
  VS: 0x08,
  /** Controller configuration, 4 bytes. */
  CC: 0x14,
  /** Controller status, 4 bytes. */
  CSTS: 0x1c,
  /** NVM subsystem reset, 4 bytes. */
  NSSR: 0x20,
  /** Controller ready timeouts, 4 bytes: those of bits 15:0 are with media. */
  CRTO: 0x68,
} as const;

/** CAP, low dword (section 3.1.3.1). */
export const CapLow = {
  /** Maximum queue entries supported, 0's based, bits 15:0. */
  MQES_MASK: 0xffff,
  /** Queues are physically contiguous: always set over fabrics. */
  CQR: 1 << 16,
  /** Worst-case time until ready, bits 31:24, in units of {@linkcode CAP_TO_UNIT_MS}. */
  TO_SHIFT: 24,
} as const;

/** CAP, high dword (section 3.1.3.1): its bit 0 is bit 32 of CAP. */
export const CapHigh = {
  /** Command sets supported, 8 bits: {@linkcode CapCss}. */
  /** CRMS: the controller tells its ready timeouts in CRTO. */
  CRWMS: 1 << 27,
  CSS_SHIFT: 5,
  CSS_MASK: 0xff,
  /** Smallest memory page size, 2^(12 + MPSMIN) bytes, 4 bits. */
  MPSMIN_SHIFT: 16,
  MPSMIN_MASK: 0x0f,
  /** CRMS.CRIMS: ready independent of media is supported, bit 60 of CAP. */
  CRIMS: 1 << 28,
} as const;

/** CAP.CSS. */
export const CapCss = {
  /** The NVM command set. */
  NVM: 1 << 0,
  /** One or more I/O command sets, named by Identify I/O Command Set. */
  IO_COMMAND_SETS: 1 << 6,
  /** No I/O command set. */
  ADMIN_ONLY: 1 << 7,
} as const;

/** The unit of CAP.TO, milliseconds. */
export const CAP_TO_UNIT_MS = 500;

/** log2 of the page size that MPS and MPSMIN count from: 4 KiB. */
export const MPS_SHIFT_BASE = 12;

/** VS (section 3.1.3.2). */
export const Vs = {
  MAJOR_SHIFT: 16,
  MINOR_SHIFT: 8,
} as const;
/** VS of revision 2.0. */
export const VS_2_0 = 2 << Vs.MAJOR_SHIFT;

/** CC (section 3.1.3.5). */
export const Cc = {
  EN: 1 << 0,
  /** I/O command set selected, bits 6:4: {@linkcode CcCss}. */
  CSS_SHIFT: 4,
  CSS_MASK: 0x07,
  /** Memory page size, 2^(12 + MPS) bytes, bits 10:7. */
  MPS_SHIFT: 7,
  MPS_MASK: 0x0f,
  /** Arbitration mechanism selected, bits 13:11: 0 is round robin. */
  AMS_SHIFT: 11,
  AMS_MASK: 0x07,
  /** Shutdown notification, bits 15:14: {@linkcode CcShn}. */
  SHN_SHIFT: 14,
  /** I/O submission queue entry size, log2, bits 19:16. */
  IOSQES_SHIFT: 16,
  IOSQES_MASK: 0x0f,
  /** I/O completion queue entry size, log2, bits 23:20. */
  IOCQES_SHIFT: 20,
  IOCQES_MASK: 0x0f,
} as const;

/** CC.CSS. */
export const CcCss = {
  NVM: 0,
  ALL_SUPPORTED: 6,
  ADMIN_ONLY: 7,
} as const;

/** CC.SHN. */
export const CcShn = {
  NONE: 0,
  NORMAL: 1,
  ABRUPT: 2,
  MASK: 3,
} as const;

/** log2 of the sizes of an SQE and a CQE, for CC.IOSQES and CC.IOCQES. */
export const IOSQES_LOG2 = 6;
export const IOCQES_LOG2 = 4;

/** CSTS (section 3.1.3.6). */
export const Csts = {
  RDY: 1 << 0,
  /** Controller fatal status. */
  CFS: 1 << 1,
  /** Shutdown status, bits 3:2: 2 is complete. */
  SHST_SHIFT: 2,
  SHST_MASK: 0x03,
} as const;

/** CSTS.SHST. */
export const CstsShst = {
  NORMAL_OPERATION: 0,
  OCCURRING: 1,
  COMPLETE: 2,
} as const;
