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

/** Get Log Page, the other dwords (section 5.16). */
export const GetLogPageCdw11 = {
  /** Number of dwords, upper 16 bits. */
  NUMDU_MASK: 0xffff,
} as const;
export const GetLogPageCdw14 = {
  /** Offset type: CDW12 and 13 are an index of an entry, not bytes. */
  OT: 1 << 23,
  /** Command set identifier, bits 31:24. */
  CSI_SHIFT: 24,
} as const;

/** LID Supported and Effects, one u32 for each log page of Supported Log Pages (section 5.16.1.1). */
export const LID_SUPPORTED = 1 << 0;
/** Size of Supported Log Pages, and of Feature Identifiers Supported and Effects, bytes: 256 of u32. */
export const SUPPORTED_TABLE_BYTES = 1024;

/** One entry of the Error Information log, offsets from its first byte (section 5.16.1.2). */
export const ErrorEntryAt = {
  /** Number of this error since the controller was made, u64; 0 if the entry is not used. */
  COUNT: 0,
  SQID: 8,
  CID: 10,
  /** Status in bits 15:1, u16. */
  STATUS: 12,
  /** Parameter error location, u16: byte of the SQE in bits 7:0, bit in 10:8; FFFFh is none. */
  LOCATION: 14,
  LBA: 16,
  NSID: 24,
  /** Transport type, u8: {@linkcode TransportType}. */
  TRTYPE: 29,
} as const;
export const ERROR_ENTRY_BYTES = 64;
/** Parameter error location: not one field of the command. */
export const ERROR_LOCATION_NONE = 0xffff;

/** SMART / Health Information log (section 5.16.1.3). Counters are u128. */
export const SmartAt = {
  /** Critical warnings, u8. */
  CRITICAL_WARNING: 0,
  /** Composite temperature, u16, Kelvin. */
  TEMPERATURE: 1,
  /** Available spare and its threshold, u8, percent. */
  SPARE: 3,
  SPARE_THRESHOLD: 4,
  PERCENTAGE_USED: 5,
  /** Data read and written in units of 1000 times 512 bytes, rounded up. */
  DATA_UNITS_READ: 32,
  DATA_UNITS_WRITTEN: 48,
  HOST_READS: 64,
  HOST_WRITES: 80,
  BUSY_MINUTES: 96,
  POWER_CYCLES: 112,
  POWER_ON_HOURS: 128,
  UNSAFE_SHUTDOWNS: 144,
  MEDIA_ERRORS: 160,
  /** Entries of the Error Information log since the controller was made. */
  ERROR_ENTRIES: 176,
} as const;
export const SMART_BYTES = 512;
/** The unit of data units, bytes. */
export const SMART_DATA_UNIT_BYTES = 512_000;

/** Firmware Slot Information log (section 5.16.1.4). */
export const FirmwareSlotAt = {
  /** Active firmware info, u8: the slot in bits 2:0. */
  AFI: 0,
  /** Revision in slot 1, 8 ASCII characters. */
  FRS1: 8,
} as const;
export const FIRMWARE_SLOT_BYTES = 512;

/** Changed Namespace List log (section 5.16.1.5): NSIDs in rising order, or FFFFFFFFh first if there are too many. */
export const CHANGED_NAMESPACE_LIST_BYTES = 4096;
export const CHANGED_NAMESPACES_MAX = 1024;

/** Commands Supported and Effects log (section 5.16.1.6). */
export const CommandsSupportedAt = {
  /** Admin commands, 256 of u32 by their opcode: {@linkcode CommandEffect}. */
  ADMIN: 0,
  /** I/O commands, the same. */
  IO: 1024,
} as const;
export const COMMANDS_SUPPORTED_BYTES = 4096;

/** What a command does (section 5.16.1.6). */
export const CommandEffect = {
  SUPPORTED: 1 << 0,
  /** It may change the contents of logical blocks. */
  LOGICAL_BLOCK_CONTENT_CHANGE: 1 << 1,
  /** It may change what a controller can do. */
  CONTROLLER_CAPABILITY_CHANGE: 1 << 4,
} as const;

/** Feature Identifiers Supported and Effects log, one u32 for each feature (section 5.16.1.18). */
export const FeatureEffect = {
  SUPPORTED: 1 << 0,
  /** What it concerns: one namespace, or the controller. */
  SCOPE_NAMESPACE: 1 << 20,
  SCOPE_CONTROLLER: 1 << 21,
} as const;

/** Discovery log (section 5.16.1.23). */
export const DiscoveryLogAt = {
  /** Generation counter, u64: changes with the log. */
  GENCTR: 0,
  /** Number of entries, u64. */
  NUMREC: 8,
  /** Record format, u16: 0. */
  RECFMT: 16,
  /** The first entry. */
  ENTRIES: 1024,
} as const;

/** Discovery log entry, offsets from its first byte (section 5.16.1.23). */
export const DiscoveryEntryAt = {
  /** Transport type, u8: {@linkcode TransportType}. */
  TRTYPE: 0,
  /** Address family, u8: {@linkcode AddressFamily}. */
  ADRFAM: 1,
  /** Subsystem type, u8: {@linkcode DiscoverySubtype}. */
  SUBTYPE: 2,
  /** Transport requirements, u8: {@linkcode Treq}. */
  TREQ: 3,
  /** Port ID, u16. */
  PORTID: 4,
  /** Controller ID, u16: FFFFh for the dynamic controller model. */
  CNTLID: 6,
  /** Admin max SQ size, u16, entries. */
  ASQSZ: 8,
  /** Entry flags, u16: {@linkcode DiscoveryFlag}. */
  EFLAGS: 10,
  /** Transport service identifier, 32 ASCII characters, padded with spaces. */
  TRSVCID: 32,
  /** Subsystem NQN, 256 bytes with NULs. */
  SUBNQN: 256,
  /** Transport address, 256 ASCII characters, padded with spaces. */
  TRADDR: 512,
  /** Transport specific address subtype, 256 bytes. TCP: the security type in the first one, 0 is none. */
  TSAS: 768,
} as const;
export const DISCOVERY_ENTRY_BYTES = 1024;
export const TRSVCID_BYTES = 32;
export const TRADDR_BYTES = 256;

/** TRTYPE. */
export const TransportType = {
  RDMA: 1,
  FIBRE_CHANNEL: 2,
  TCP: 3,
  INTRA_HOST: 254,
} as const;

/** ADRFAM. */
export const AddressFamily = {
  IPV4: 1,
  IPV6: 2,
  INFINIBAND: 3,
  FIBRE_CHANNEL: 4,
  INTRA_HOST: 254,
} as const;

/** SUBTYPE. */
export const DiscoverySubtype = {
  /** A discovery service that knows of others. */
  REFERRAL: 1,
  NVM: 2,
  /** The discovery service that is read from. */
  CURRENT_DISCOVERY: 3,
} as const;

/** TREQ. */
export const Treq = {
  /** A secure channel, bits 1:0. */
  SECURE_CHANNEL_MASK: 3,
  SECURE_CHANNEL_NOT_SPECIFIED: 0,
  SECURE_CHANNEL_REQUIRED: 1,
  SECURE_CHANNEL_NOT_REQUIRED: 2,
  /** Connect may turn SQ flow control off. */
  SQ_FLOW_CONTROL_DISABLE_SUPPORTED: 1 << 2,
} as const;

/** TSAS of TCP: security type (TCP Transport Specification, section 3.1.1). */
export const SecurityType = {
  NONE: 0,
  /** TLS 1.2 or earlier. */
  TLS: 1,
  TLS_1_3: 2,
} as const;

/** EFLAGS. */
export const DiscoveryFlag = {
  /** What this discovery service tells is what the one that is read from tells. */
  DUPLICATE_RETURNED_INFORMATION: 1 << 0,
  /** Explicit persistent connections are supported: with keep alive, for events. */
  EXPLICIT_PERSISTENT_CONNECTION: 1 << 1,
} as const;

/** ASQSZ is at least this, entries. */
export const ADMIN_SQ_ENTRIES_MIN = 32;
