/**
 * NVM Express in its own words: commands, queue entries, SGL descriptors, properties, features, log pages and events
 * (NVM Express Base Specification; section numbers are those of revision 2.0). Offsets are in bytes unless they say bits;
 * every number is little-endian.
 */

/** Admin command opcodes (section 5). */
export const AdminOpcode = {
  GET_LOG_PAGE: 0x02,
  IDENTIFY: 0x06,
  ABORT: 0x08,
  SET_FEATURES: 0x09,
  GET_FEATURES: 0x0a,
  ASYNC_EVENT_REQUEST: 0x0c,
  KEEP_ALIVE: 0x18,
} as const;

/** Opcode of all Fabrics commands (section 6); which one it is tells {@linkcode FabricsType}. */
export const FABRICS_OPCODE = 0x7f;

/** FCTYPE, the type of a Fabrics command, byte 4 of the SQE (section 6). */
export const FabricsType = {
  PROPERTY_SET: 0x00,
  CONNECT: 0x01,
  PROPERTY_GET: 0x04,
  AUTHENTICATION_SEND: 0x05,
  AUTHENTICATION_RECEIVE: 0x06,
  DISCONNECT: 0x08,
} as const;

/** I/O command opcodes of the NVM Command Set (NVM Command Set Specification 1.0, section 3). */
export const NvmOpcode = {
  FLUSH: 0x00,
  WRITE: 0x01,
  READ: 0x02,
  WRITE_UNCORRECTABLE: 0x04,
  COMPARE: 0x05,
  WRITE_ZEROES: 0x08,
  DATASET_MANAGEMENT: 0x09,
  VERIFY: 0x0c,
  RESERVATION_REGISTER: 0x0d,
  RESERVATION_REPORT: 0x0e,
  RESERVATION_ACQUIRE: 0x11,
  RESERVATION_RELEASE: 0x15,
  COPY: 0x19,
} as const;

/** Size of a submission queue entry, bytes. */
export const SQE_BYTES = 64;
/** Size of a completion queue entry, bytes. */
export const CQE_BYTES = 16;

/** Submission queue entry (section 3.3.3.1). */
export const SqeAt = {
  /** Opcode, u8. */
  OPC: 0,
  /** FUSE in bits 1:0, PSDT in bits 7:6, u8. */
  FLAGS: 1,
  /** Command identifier, u16. */
  CID: 2,
  /** Namespace identifier, u32; FCTYPE (u8) in a Fabrics command. */
  NSID: 4,
  CDW2: 8,
  CDW3: 12,
  MPTR: 16,
  /** Data pointer: one SGL descriptor, {@linkcode SglAt} from here. */
  SGL1: 24,
  CDW10: 40,
  CDW11: 44,
  CDW12: 48,
  CDW13: 52,
  CDW14: 56,
  CDW15: 60,
} as const;

/** PSDT of the flags byte: this command uses an SGL and a contiguous metadata buffer. All NVMe/TCP commands do. */
export const SQE_FLAGS_PSDT_SGL = 0x40;
/** FUSE and PSDT of the flags byte. */
export const SQE_FLAGS_FUSE_MASK = 0x03;
export const SQE_FLAGS_PSDT_MASK = 0xc0;

/** FCTYPE of a Fabrics command, u8. */
export const SQE_FCTYPE_AT = 4;

/** Completion queue entry (section 3.3.3.2). */
export const CqeAt = {
  /** Command specific, u32. */
  DW0: 0,
  /** Command specific, u32. */
  DW1: 4,
  /** Submission queue head pointer, u16. */
  SQHD: 8,
  /** Submission queue identifier, u16; reserved over fabrics. */
  SQID: 10,
  /** Command identifier, u16. */
  CID: 12,
  /** Status in bits 15:1, u16; bit 0 is the phase tag and means nothing over fabrics. */
  STATUS: 14,
} as const;

/** SQHD that says: the controller does not use submission queue flow control on this queue (section 6.3). */
export const SQHD_FLOW_CONTROL_DISABLED = 0xffff;

/** SGL descriptor (section 4.1.2), offsets from the descriptor's first byte. */
export const SglAt = {
  /** Address, u64; an offset into the capsule for in-capsule data. */
  ADDRESS: 0,
  /** Bytes, u32. */
  LENGTH: 8,
  /** Type in bits 7:4, subtype in bits 3:0, u8: {@linkcode SglIdentifier}. */
  IDENTIFIER: 15,
} as const;

/** The SGL identifiers that NVMe/TCP uses: descriptor type in the high nibble, subtype in the low one (section 4.1.2). */
export const SglIdentifier = {
  /** SGL Data Block with an address: here only for commands without data, where all of the descriptor is zero. */
  DATA_BLOCK_ADDRESS: 0x00,
  /** SGL Data Block with an offset: the data is in the capsule. */
  DATA_BLOCK_OFFSET: 0x01,
  /** Transport SGL Data Block: the data moves in H2CData and C2HData PDUs. */
  TRANSPORT_DATA_BLOCK: 0x5a,
} as const;

/** CDW12 of Read, Write and Write Zeroes (NVM Command Set 1.0, section 3.2). CDW10 and 11 are the start LBA. */
export const RwCdw12 = {
  /** Number of logical blocks, 0's based, bits 15:0. */
  NLB_MASK: 0xffff,
  /** Directive type, Write only. */
  DTYPE_MASK: 0x0f << 20,
  /** Deallocate, Write Zeroes only. */
  DEAC: 1 << 25,
  /** Protection information action and checks. */
  PRINFO_MASK: 0x0f << 26,
  /** Force unit access. */
  FUA: 1 << 30,
  /** Limited retry. */
  LR: 0x80000000,
} as const;

/** The most logical blocks that one Read, Write or Write Zeroes names: NLB is 16 bits, 0's based. */
export const NLB_BLOCKS_MAX = 65536;

/** Dataset Management (NVM Command Set 1.0, section 3.2.3). */
export const Dsm = {
  /** CDW10: number of ranges, 0's based, bits 7:0. */
  NR_MASK: 0xff,
  /** CDW11: attribute deallocate. */
  AD: 1 << 2,
  RANGE_BYTES: 16,
  RANGES_MAX: 256,
} as const;

/** One range of Dataset Management, offsets from its first byte. */
export const DsmRangeAt = {
  /** Context attributes, u32. */
  CATTR: 0,
  /** Length in logical blocks, u32, not 0's based. */
  LENGTH: 4,
  /** Starting LBA, u64. */
  SLBA: 8,
} as const;

/** NSID that means all namespaces. */
export const NSID_ALL = 0xffffffff;
/** Largest NSID that can name one namespace. */
export const NSID_MAX = 0xfffffffe;

/** Feature identifiers of Set Features and Get Features (section 5.27.1). */
export const FeatureId = {
  ARBITRATION: 0x01,
  POWER_MANAGEMENT: 0x02,
  TEMPERATURE_THRESHOLD: 0x04,
  ERROR_RECOVERY: 0x05,
  VOLATILE_WRITE_CACHE: 0x06,
  NUMBER_OF_QUEUES: 0x07,
  WRITE_ATOMICITY_NORMAL: 0x0a,
  ASYNC_EVENT_CONFIGURATION: 0x0b,
  KEEP_ALIVE_TIMER: 0x0f,
  HOST_BEHAVIOR_SUPPORT: 0x16,
  COMMAND_SET_PROFILE: 0x19,
  HOST_IDENTIFIER: 0x81,
} as const;

/** CDW10 of Get Features and Set Features (sections 5.15 and 5.27). */
export const FeatureCdw10 = {
  /** Feature identifier. */
  FID_MASK: 0xff,
  /** Which value Get Features wants, bits 10:8: {@linkcode FeatureSelect}. */
  SEL_SHIFT: 8,
  SEL_MASK: 0x07,
  /** Set Features: keep the value over a reset. */
  SAVE: 0x80000000,
} as const;

/** SEL of Get Features. */
export const FeatureSelect = {
  CURRENT: 0,
  DEFAULT: 1,
  SAVED: 2,
  /** What can be done with the feature, in dword 0: {@linkcode FeatureCapability}. */
  SUPPORTED_CAPABILITIES: 3,
} as const;

/** Dword 0 of Get Features that asks for the supported capabilities (section 5.15.1). */
export const FeatureCapability = {
  SAVEABLE: 1 << 0,
  NAMESPACE_SPECIFIC: 1 << 1,
  CHANGEABLE: 1 << 2,
} as const;

/** CDW11 of the host identifier feature: the extended identifier of 16 bytes (section 5.27.1.25). */
export const HOST_IDENTIFIER_EXHID = 1 << 0;

/** Dword 0 of a completed Abort: the command was not aborted (section 5.1). */
export const ABORT_NOT_ABORTED = 1 << 0;

/** Host Behavior Support data (section 5.27.1). */
export const HostBehaviorAt = {
  /** Advanced command retry enable, u8: 1 lets the controller set CRD. */
  ACRE: 0,
} as const;
/** Size of the Host Behavior Support data, bytes. */
export const HOST_BEHAVIOR_BYTES = 512;

/** Log page identifiers of Get Log Page (section 5.16.1). */
export const LogId = {
  SUPPORTED_LOG_PAGES: 0x00,
  ERROR_INFORMATION: 0x01,
  SMART: 0x02,
  FIRMWARE_SLOT: 0x03,
  CHANGED_NAMESPACE_LIST: 0x04,
  COMMANDS_SUPPORTED: 0x05,
  ASYMMETRIC_NAMESPACE_ACCESS: 0x0c,
  FEATURES_SUPPORTED: 0x12,
  DISCOVERY: 0x70,
  RESERVATION_NOTIFICATION: 0x80,
} as const;

/** Dword 0 of a completed Asynchronous Event Request (section 5.2.1): bits 2:0, 15:8 and 23:16. */
export const AsyncEventDw0 = {
  TYPE_MASK: 0x07,
  INFO_SHIFT: 8,
  LOG_PAGE_SHIFT: 16,
} as const;

/** Asynchronous event types (section 5.2.1). */
export const AsyncEventType = {
  ERROR: 0,
  SMART_HEALTH: 1,
  NOTICE: 2,
  IMMEDIATE: 3,
  IO_COMMAND_SPECIFIC: 6,
  VENDOR: 7,
} as const;

/** Asynchronous event information of the type notice (section 5.2.1). */
export const AsyncNotice = {
  NAMESPACE_ATTRIBUTE_CHANGED: 0x00,
  FIRMWARE_ACTIVATION_STARTING: 0x01,
  TELEMETRY_LOG_CHANGED: 0x02,
  ANA_CHANGE: 0x03,
  DISCOVERY_LOG_CHANGE: 0xf0,
} as const;

/** What OAES offers and Asynchronous Event Configuration asks for, the same bits (section 5.27.1.8). */
export const AsyncEventConfig = {
  NAMESPACE_ATTRIBUTE_NOTICES: 1 << 8,
  FIRMWARE_ACTIVATION_NOTICES: 1 << 9,
  ANA_CHANGE_NOTICES: 1 << 11,
  DISCOVERY_LOG_CHANGE_NOTICES: 0x80000000,
} as const;
