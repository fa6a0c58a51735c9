/**
 * Fabrics commands in the specification's own words (NVM Express Base Specification 2.0, section 6). Offsets are in bytes;
 * those of a command count from the first byte of its SQE; every number is little-endian.
 */

/** Connect command (section 6.3). */
export const ConnectAt = {
  /** Record format, u16: 0. */
  RECFMT: 40,
  /** Queue identifier, u16: 0 is the admin queue. */
  QID: 42,
  /** Submission queue size, u16, 0's based. */
  SQSIZE: 44,
  /** Connect attributes, u8: {@linkcode ConnectAttribute}. */
  CATTR: 46,
  /** Keep alive timeout, u32, milliseconds; admin queue only. */
  KATO: 48,
} as const;

/** CATTR of Connect. */
export const ConnectAttribute = {
  /** Do not use submission queue flow control. */
  DISABLE_SQ_FLOW_CONTROL: 1 << 2,
} as const;

/** Data of Connect (section 6.3), sent in the capsule. */
export const ConnectDataAt = {
  /** Host identifier, 16 bytes. */
  HOSTID: 0,
  /** Controller ID, u16. */
  CNTLID: 16,
  /** NVM subsystem NQN, UTF-8, padded with NULs. */
  SUBNQN: 256,
  /** Host NQN, UTF-8, padded with NULs. */
  HOSTNQN: 512,
} as const;

/** Size of Connect's data, bytes. */
export const CONNECT_DATA_BYTES = 1024;
export const HOSTID_BYTES = 16;
/** Room for an NQN in Connect's data and in Identify, bytes, with at least one NUL. */
export const NQN_FIELD_BYTES = 256;
/** Longest NQN, bytes (section 4.5). */
export const NQN_BYTES_MAX = 223;
/** CNTLID of an admin queue's Connect: the controller picks. */
export const CNTLID_DYNAMIC = 0xffff;
/** Admin queue: its QID. */
export const QID_ADMIN = 0;

/** Dword 0 of a Connect that succeeded (section 6.3). */
export const ConnectDw0 = {
  CNTLID_MASK: 0xffff,
  /** AUTHREQ.ATR: authenticate on the admin queue before anything else. */
  AUTHENTICATION_REQUIRED: 1 << 17,
  /** AUTHREQ.ASCR: authenticate and use a secure channel. */
  SECURE_CHANNEL_REQUIRED: 1 << 18,
} as const;

/** Dword 0 of a Connect that failed with Connect Invalid Parameters (section 6.3). */
export const ConnectInvalidDw0 = {
  /** IPO: offset of the bad parameter, bytes. */
  IPO_MASK: 0xffff,
  /** IATTR: set if IPO counts in the data, clear if in the SQE. */
  IATTR_DATA: 1 << 16,
} as const;

/** Property Get and Property Set (sections 6.5 and 6.6). */
export const PropertyCommandAt = {
  /** ATTRIB, u8: {@linkcode PropertySize} in bits 2:0. */
  ATTRIB: 40,
  /** OFST, u32: which property. */
  OFST: 44,
  /** VALUE of Property Set, u64. */
  VALUE: 48,
} as const;

/** Size of a property in ATTRIB. */
export const PropertySize = {
  BYTES_4: 0,
  BYTES_8: 1,
} as const;

/** ATTRIB bits that tell the size. */
export const PROPERTY_SIZE_MASK = 0x07;

/** NQN of the discovery service of every host (section 4.5). */
export const DISCOVERY_NQN = "nqn.2014-08.org.nvmexpress.discovery";
