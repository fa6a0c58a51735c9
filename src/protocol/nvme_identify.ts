/**
 * Identify data structures in the specification's own words (NVM Express Base Specification 2.0, section 5.17.2; NVM
 * Command Set Specification 1.0, section 4.1.5). Offsets are in bytes; every number is little-endian.
 */

/** Size of every Identify data structure. */
export const IDENTIFY_BYTES = 4096;

/** CNS: which data structure Identify returns, CDW10 bits 7:0 (section 5.17.1). */
export const IdentifyCns = {
  /** Identify Namespace of the NVM command set. */
  NAMESPACE: 0x00,
  CONTROLLER: 0x01,
  /** NSIDs greater than the one in the command that are active on this controller. */
  ACTIVE_NAMESPACE_LIST: 0x02,
  NAMESPACE_DESCRIPTORS: 0x03,
  /** Identify Namespace of one I/O command set; CSI in CDW11 bits 31:24. */
  COMMAND_SET_NAMESPACE: 0x05,
  /** Identify Controller of one I/O command set; CSI in CDW11 bits 31:24. */
  COMMAND_SET_CONTROLLER: 0x06,
  /** As the active list, of the namespaces of one I/O command set; CSI in CDW11 bits 31:24. */
  COMMAND_SET_ACTIVE_LIST: 0x07,
  /** Identify Namespace of no I/O command set in particular. */
  INDEPENDENT_NAMESPACE: 0x08,
  /** Controllers that have the namespace attached, from CNTID in CDW10 bits 31:16 on. */
  NAMESPACE_CONTROLLER_LIST: 0x12,
  /** Controllers of the subsystem, from CNTID in CDW10 bits 31:16 on. */
  CONTROLLER_LIST: 0x13,
  /** Combinations of I/O command sets that a controller can be enabled with. */
  COMMAND_SETS: 0x1c,
} as const;

/** CSI is in CDW11 bits 31:24. */
export const IDENTIFY_CDW11_CSI_SHIFT = 24;

/** Command set identifiers. */
export const CommandSet = {
  NVM: 0x00,
  KEY_VALUE: 0x01,
  ZONED: 0x02,
} as const;

/** Identify Controller (section 5.17.2.1). */
export const IdentifyControllerAt = {
  /** Serial number, 20 ASCII characters. */
  SN: 4,
  /** Model number, 40 ASCII characters. */
  MN: 24,
  /** Firmware revision, 8 ASCII characters. */
  FR: 64,
  /** Recommended arbitration burst, u8, log2. */
  RAB: 72,
  /** Controller multi-path I/O and namespace sharing capabilities, u8: {@linkcode Cmic}. */
  CMIC: 76,
  /** Maximum data transfer size, u8: log2 in units of the smallest memory page; 0 is no limit. */
  MDTS: 77,
  /** Controller ID, u16. */
  CNTLID: 78,
  /** Version, u32, as VS. */
  VER: 80,
  /** Optional asynchronous events supported, u32. */
  OAES: 92,
  /** Controller attributes, u32: {@linkcode Ctratt}. */
  CTRATT: 96,
  /** Controller type, u8: {@linkcode ControllerType}. */
  CNTRLTYPE: 111,
  /** Command retry delay times 1 to 3, u16 each, units of 100 ms. */
  CRDT1: 128,
  /** Optional admin commands supported, u16. */
  OACS: 256,
  /** Abort command limit, u8, 0's based. */
  ACL: 258,
  /** Asynchronous event request limit, u8, 0's based. */
  AERL: 259,
  /** Firmware updates, u8: bit 0 slot 1 is read only, bits 3:1 number of slots. */
  FRMW: 260,
  /** Log page attributes, u8: {@linkcode Lpa}. */
  LPA: 261,
  /** Error log page entries, u8, 0's based. */
  ELPE: 262,
  /** Number of power states, u8, 0's based. */
  NPSS: 263,
  /** Keep alive support, u16: granularity of KATO in units of 100 ms; 0 is not supported. */
  KAS: 320,
  /** ANA transition time, u8, seconds. */
  ANATT: 342,
  /** ANA capabilities, u8. */
  ANACAP: 343,
  /** Largest ANA group identifier, u32. */
  ANAGRPMAX: 344,
  /** Number of ANA group identifiers, u32. */
  NANAGRPID: 348,
  /** Command quiesce time, u16, milliseconds (Base 2.1; TP 4129); 0 is not told. */
  CQT: 386,
  /** Sizes of queue entries, u8 each, log2: required in bits 3:0, maximum in bits 7:4. */
  SQES: 512,
  CQES: 513,
  /** Maximum outstanding commands of a queue, u16. */
  MAXCMD: 514,
  /** Number of namespaces: the largest valid NSID, u32. */
  NN: 516,
  /** Optional NVM commands supported, u16: {@linkcode Oncs}. */
  ONCS: 520,
  /** Fused operation support, u16. */
  FUSES: 522,
  /** Format NVM attributes, u8. */
  FNA: 524,
  /** Volatile write cache, u8: bit 0 present. */
  VWC: 525,
  /** Atomic write unit normal, u16, logical blocks, 0's based. */
  AWUN: 526,
  /** Atomic write unit power fail, u16, logical blocks, 0's based. */
  AWUPF: 528,
  /** SGL support, u32: bits 1:0 are 0 if there is none. */
  SGLS: 536,
  /** Maximum number of allowed namespaces, u32; 0 is as many as NN. */
  MNAN: 540,
  /** NVM subsystem NQN, UTF-8, 256 bytes with NULs. */
  SUBNQN: 768,
  /** I/O queue command capsule supported size, u32, units of 16 bytes. */
  IOCCSZ: 1792,
  /** I/O queue response capsule supported size, u32, units of 16 bytes. */
  IORCSZ: 1796,
  /** In-capsule data offset, u16, units of 16 bytes. */
  ICDOFF: 1800,
  /** Fabrics controller attributes, u8: bit 0 is set for the static controller model. */
  FCATT: 1802,
  /** Maximum SGL data block descriptors, u8. */
  MSDBD: 1803,
  /** Optional fabrics commands supported, u16: bit 0 Disconnect. */
  OFCS: 1804,
} as const;

/** Lengths of the text fields of Identify Controller, bytes. */
export const SN_BYTES = 20;
export const MN_BYTES = 40;
export const FR_BYTES = 8;

/** Unit of IOCCSZ, IORCSZ and ICDOFF, bytes. */
export const CAPSULE_UNIT_BYTES = 16;
/** Smallest IOCCSZ: one SQE and no in-capsule data. */
export const IOCCSZ_MIN = 4;
/** Smallest IORCSZ: one CQE. */
export const IORCSZ_MIN = 1;
/** Unit of KAS and of CRDT, milliseconds. */
export const KAS_UNIT_MS = 100;
export const CRDT_UNIT_MS = 100;

/** CMIC. */
export const Cmic = {
  MULTIPLE_PORTS: 1 << 0,
  MULTIPLE_CONTROLLERS: 1 << 1,
  /** The controller reports ANA. */
  ANA_REPORTING: 1 << 3,
} as const;

/** CTRATT. */
export const Ctratt = {
  /** Host identifiers have 128 bits. */
  HOST_IDENTIFIER_128: 1 << 0,
  /** Traffic based keep alive: any command restarts the keep alive timer. */
  TBKAS: 1 << 6,
} as const;

/** CNTRLTYPE. */
export const ControllerType = {
  /** Before revision 1.4. */
  NOT_REPORTED: 0,
  IO: 1,
  DISCOVERY: 2,
  ADMINISTRATIVE: 3,
} as const;

/** LPA. */
export const Lpa = {
  /** The Commands Supported and Effects log is there. */
  COMMANDS_SUPPORTED: 1 << 1,
  /** Get Log Page takes an offset. */
  EXTENDED_DATA: 1 << 2,
} as const;

/** ANACAP. */
export const Anacap = {
  OPTIMIZED: 1 << 0,
  NON_OPTIMIZED: 1 << 1,
  INACCESSIBLE: 1 << 2,
  PERSISTENT_LOSS: 1 << 3,
  CHANGE: 1 << 4,
  /** ANAGRPID of a namespace does not change while it is attached to any controller. */
  GROUP_FIXED: 1 << 6,
} as const;

/** ONCS. */
export const Oncs = {
  COMPARE: 1 << 0,
  WRITE_UNCORRECTABLE: 1 << 1,
  DATASET_MANAGEMENT: 1 << 2,
  WRITE_ZEROES: 1 << 3,
  /** Set Features takes Save, Get Features takes Select. */
  FEATURE_SELECT: 1 << 4,
  RESERVATIONS: 1 << 5,
  VERIFY: 1 << 7,
  COPY: 1 << 8,
} as const;

/** VWC. */
export const VWC_PRESENT = 1 << 0;
/** VWC bits 2:1: Flush of all namespaces (NSID FFFFFFFFh) is not supported. */
export const VWC_FLUSH_ALL_UNSUPPORTED = 2 << 1;
/** SGLS bits 1:0: whether SGLs are supported. */
export const SGLS_SUPPORT_MASK = 0x03;
/** SGLS. */
export const Sgls = {
  /** SGLs are supported without alignment. */
  SUPPORTED: 1 << 0,
  /** The address of a data block descriptor can be an offset into the capsule. */
  OFFSET: 1 << 20,
  /** The Transport SGL Data Block descriptor is supported. */
  TRANSPORT: 1 << 21,
} as const;

/** Identify Controller of the NVM command set, CNS 06h, CSI 00h (NVM Command Set 1.0, section 4.1.5.4). */
export const IdentifyNvmControllerAt = {
  /** Verify size limit, u8. */
  VSL: 0,
  /** Write zeroes size limit, u8: log2 in units of the smallest memory page; 0 is not told. */
  WZSL: 1,
  /** Write uncorrectable size limit, u8. */
  WUSL: 2,
  /** Dataset management ranges limit, u8; 0 is no limit. */
  DMRL: 3,
  /** Dataset management range size limit, u32, logical blocks; 0 is no limit. */
  DMRSL: 4,
  /** Dataset management size limit, u64, logical blocks of all ranges together; 0 is no limit. */
  DMSL: 8,
} as const;

/** Identify Namespace of the NVM command set (NVM Command Set 1.0, section 4.1.5.1). */
export const IdentifyNamespaceAt = {
  /** Namespace size, u64, logical blocks; 0 if the NSID is not active. */
  NSZE: 0,
  /** Namespace capacity, u64, logical blocks. */
  NCAP: 8,
  /** Namespace utilization, u64, logical blocks. */
  NUSE: 16,
  /** Namespace features, u8: {@linkcode Nsfeat}. */
  NSFEAT: 24,
  /** Number of LBA formats, u8, 0's based. */
  NLBAF: 25,
  /** Formatted LBA size, u8: format index in bits 3:0 and 6:5, metadata at the end of the block in bit 4. */
  FLBAS: 26,
  /** End-to-end data protection type settings, u8: type in bits 2:0, 0 is off. */
  DPS: 29,
  /** Namespace multi-path and sharing capabilities, u8: bit 0 shared. */
  NMIC: 30,
  /** Deallocate logical block features, u8: {@linkcode Dlfeat}. */
  DLFEAT: 33,
  /** Namespace atomic write unit power fail, u16, logical blocks, 0's based. */
  NAWUPF: 36,
  /** Namespace atomic boundary offset, u16. */
  NABO: 42,
  /** Namespace optimal I/O boundary, u16, logical blocks; 0 is none. */
  NOIOB: 46,
  /** NVM capacity, 16 bytes, bytes. */
  NVMCAP: 48,
  /** Preferred write granularity, alignment, deallocate granularity, alignment; u16, 0's based, logical blocks. */
  NPWG: 64,
  NPWA: 66,
  NPDG: 68,
  NPDA: 70,
  /** Namespace optimal write size, u16, 0's based, logical blocks. */
  NOWS: 72,
  /** Number of unique attribute LBA formats, u8: they follow the NLBAF formats. */
  NULBAF: 82,
  /** ANA group identifier, u32. */
  ANAGRPID: 92,
  /** Namespace attributes, u8: bit 0 write protected. */
  NSATTR: 99,
  /** Namespace globally unique identifier, 16 bytes, most significant first. */
  NGUID: 104,
  /** IEEE extended unique identifier, 8 bytes, most significant first. */
  EUI64: 120,
  /** LBA formats, {@linkcode LbaFormatAt} each. */
  LBAF: 128,
} as const;

/** One LBA format, offsets from its first byte. */
export const LbaFormatAt = {
  /** Metadata size, u16, bytes for each block. */
  MS: 0,
  /** LBA data size, u8: log2 of bytes; below 9 the format is not available. */
  LBADS: 2,
} as const;
export const LBA_FORMAT_BYTES = 4;
export const LBA_FORMATS_MAX = 64;
/** Formats from this one on need the upper index bits of FLBAS. */
export const FLBAS_EXTENDED_FROM = 16;

/** FLBAS. */
export const Flbas = {
  INDEX_LOW_MASK: 0x0f,
  METADATA_EXTENDED: 1 << 4,
  INDEX_HIGH_SHIFT: 5,
  INDEX_HIGH_MASK: 0x03,
} as const;

/** NSFEAT. */
export const Nsfeat = {
  THIN_PROVISIONING: 1 << 0,
  /** NAWUN, NAWUPF and NACWU are this namespace's. */
  NAMESPACE_ATOMICS: 1 << 1,
  /** OPTPERF: NPWG, NPWA, NPDG, NPDA and NOWS are told. */
  OPTIMAL_PERFORMANCE: 1 << 4,
} as const;

/** I/O command set independent Identify Namespace, CNS 08h (Base 2.1, section 5.1.13.2.8). */
export const IndependentNamespaceAt = {
  /** Common namespace features, u8: {@linkcode IndependentNsfeat}. */
  NSFEAT: 0,
  /** As in Identify Namespace: NMIC u8, ANAGRPID u32, NSATTR u8. */
  NMIC: 1,
  ANAGRPID: 4,
  NSATTR: 8,
  /** Namespace status, u8: bit 0 ready. */
  NSTAT: 14,
} as const;

/** NSFEAT of the independent structure: other bits than {@linkcode Nsfeat}. */
export const IndependentNsfeat = {
  /** VWCNP: this namespace has no volatile write cache, whatever VWC says of the controller. */
  VOLATILE_CACHE_NOT_PRESENT: 1 << 5,
} as const;

/** DLFEAT. */
export const Dlfeat = {
  /** What a deallocated block reads as, bits 2:0: 1 is zeroes. */
  READ_MASK: 0x07,
  READ_ZEROES: 1,
  /** Write Zeroes takes DEAC. */
  WRITE_ZEROES_DEALLOCATE: 1 << 3,
} as const;

export const DPS_TYPE_MASK = 0x07;
export const NMIC_SHARED = 1 << 0;
export const NSTAT_READY = 1 << 0;
export const NSATTR_WRITE_PROTECTED = 1 << 0;

export const NGUID_BYTES = 16;
export const EUI64_BYTES = 8;

/** Namespace identification descriptor, CNS 03h (section 5.17.2.3). A descriptor with NIDL 0 ends the list. */
export const NamespaceDescriptorAt = {
  /** Namespace identifier type, u8: {@linkcode NamespaceIdType}. */
  NIDT: 0,
  /** Namespace identifier length, u8, bytes. */
  NIDL: 1,
  NID: 4,
} as const;

/** NIDT. */
export const NamespaceIdType = {
  EUI64: 1,
  NGUID: 2,
  UUID: 3,
  /** Command set identifier, one byte. */
  CSI: 4,
} as const;

/** Controller identifiers in one Controller List, u16 each, after their number, u16 (section 4.4.1). */
export const CONTROLLER_LIST_CNTLIDS = IDENTIFY_BYTES / 2 - 1;

/** NSIDs in one Active Namespace ID list (section 5.17.2.2); a 0 ends it. */
export const ACTIVE_LIST_NSIDS = IDENTIFY_BYTES / 4;
