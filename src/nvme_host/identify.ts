/**
 * Identify data structures as typed records. The data comes from the network: everything is checked, and what does not
 * make sense ends in an {@linkcode IdentifyError}, never in anything else.
 */

import {
  ACTIVE_LIST_NSIDS,
  CAPSULE_UNIT_BYTES,
  Cmic,
  CommandSet,
  CRDT_UNIT_MS,
  Ctratt,
  Dlfeat,
  DPS_TYPE_MASK,
  EUI64_BYTES,
  Flbas,
  FLBAS_EXTENDED_FROM,
  FR_BYTES,
  IDENTIFY_BYTES,
  IdentifyControllerAt,
  IdentifyNamespaceAt,
  IdentifyNvmControllerAt,
  IndependentNamespaceAt,
  IndependentNsfeat,
  KAS_UNIT_MS,
  LBA_FORMAT_BYTES,
  LBA_FORMATS_MAX,
  LbaFormatAt,
  Lpa,
  MN_BYTES,
  NamespaceDescriptorAt,
  NamespaceIdType,
  NGUID_BYTES,
  NMIC_SHARED,
  NSATTR_WRITE_PROTECTED,
  Nsfeat,
  SGLS_SUPPORT_MASK,
  SN_BYTES,
  VWC_PRESENT,
} from "../protocol/nvme_identify.ts";
import { NQN_BYTES_MAX, NQN_FIELD_BYTES } from "../protocol/nvme_fabrics.ts";

/** Thrown for Identify data that cannot be right ("protocol") or that umpath does not serve ("unsupported"). */
export class IdentifyError extends Error {
  override name = "IdentifyError";
  constructor(readonly kind: "protocol" | "unsupported", message: string) {
    super(message);
  }
}

/** What Identify Controller says (Base 2.0, section 5.17.2.1). */
export interface ControllerIdentity {
  serial: string;
  model: string;
  firmware: string;
  /** The subsystem's NQN as the controller tells it; "" if it does not. */
  subsystemNqn: string;
  cntlid: number;
  /** As VS: major in bits 31:16, minor in 15:8. */
  version: number;
  /** `ControllerType`. */
  controllerType: number;
  /** MDTS: log2 in units of the smallest memory page; 0 is no limit. */
  mdts: number;
  /** Bits of `AsyncEventConfig`. */
  oaes: number;
  /** Asynchronous Event Requests that may be outstanding. */
  asyncEventRequestsMax: number;
  /** Granularity of the keep alive timeout, milliseconds; 0 if keep alive is not supported. */
  keepAliveGranularityMs: number;
  trafficBasedKeepAlive: boolean;
  /** CQT: what it takes at most to end all commands once the host is known to be lost, milliseconds; 0 is not told. */
  quiesceMs: number;
  /** Delays that CRD names, milliseconds, by index; the one at index 0 is 0. */
  retryDelaysMs: readonly number[];
  /** Commands that one queue takes, 0 if not told. */
  maxcmd: number;
  /** Largest NSID. */
  nn: number;
  /** Namespaces that there can be, 0 if not told. */
  mnan: number;
  /** Bits of `Oncs`. */
  oncs: number;
  volatileCache: boolean;
  /** Blocks that are written atomically over power fail, 1 or more. */
  atomicPowerFailBlocks: number;
  sgls: number;
  anaReporting: boolean;
  /** Seconds. */
  anaTransitionSeconds: number;
  anaGroupIdMax: number;
  anaGroups: number;
  /** A log page can be read from an offset on (LPA). */
  logOffsets: boolean;
  /** IOCCSZ, bytes: one SQE and in-capsule data. */
  ioCommandCapsuleBytes: number;
  /** IORCSZ, bytes. */
  ioResponseCapsuleBytes: number;
  /** ICDOFF, bytes. */
  inCapsuleDataOffset: number;
}

/** Reads Identify Controller. Throws {@linkcode IdentifyError} if the data is short or not printable at all. */
export function parseController(data: Uint8Array): ControllerIdentity {
  const view = checkedView(data, "Identify Controller");
  const at = IdentifyControllerAt;
  const crdt = [0, 1, 2].map((index) => view.getUint16(at.CRDT1 + 2 * index, true) * CRDT_UNIT_MS);
  return {
    serial: text(data, at.SN, SN_BYTES),
    model: text(data, at.MN, MN_BYTES),
    firmware: text(data, at.FR, FR_BYTES),
    subsystemNqn: nqnText(data),
    cntlid: view.getUint16(at.CNTLID, true),
    version: view.getUint32(at.VER, true),
    controllerType: view.getUint8(at.CNTRLTYPE),
    mdts: view.getUint8(at.MDTS),
    oaes: view.getUint32(at.OAES, true),
    asyncEventRequestsMax: view.getUint8(at.AERL) + 1,
    keepAliveGranularityMs: view.getUint16(at.KAS, true) * KAS_UNIT_MS,
    trafficBasedKeepAlive: (view.getUint32(at.CTRATT, true) & Ctratt.TBKAS) !== 0,
    quiesceMs: view.getUint16(at.CQT, true),
    retryDelaysMs: [0, ...crdt],
    maxcmd: view.getUint16(at.MAXCMD, true),
    nn: view.getUint32(at.NN, true),
    mnan: view.getUint32(at.MNAN, true),
    oncs: view.getUint16(at.ONCS, true),
    volatileCache: (view.getUint8(at.VWC) & VWC_PRESENT) !== 0,
    atomicPowerFailBlocks: view.getUint16(at.AWUPF, true) + 1,
    sgls: view.getUint32(at.SGLS, true) & SGLS_SUPPORT_MASK,
    anaReporting: (view.getUint8(at.CMIC) & Cmic.ANA_REPORTING) !== 0,
    anaTransitionSeconds: view.getUint8(at.ANATT),
    anaGroupIdMax: view.getUint32(at.ANAGRPMAX, true),
    anaGroups: view.getUint32(at.NANAGRPID, true),
    logOffsets: (view.getUint8(at.LPA) & Lpa.EXTENDED_DATA) !== 0,
    ioCommandCapsuleBytes: view.getUint32(at.IOCCSZ, true) * CAPSULE_UNIT_BYTES,
    ioResponseCapsuleBytes: view.getUint32(at.IORCSZ, true) * CAPSULE_UNIT_BYTES,
    inCapsuleDataOffset: view.getUint16(at.ICDOFF, true) * CAPSULE_UNIT_BYTES,
  };
}

/** Limits of the NVM command set that a controller tells with CNS 06h (NVM Command Set 1.0, section 4.1.5.4). */
export interface NvmControllerLimits {
  /** The controller has CNS 06h: a limit of 0 is none, not an unknown one. */
  isTold: boolean;
  /** WZSL: log2 in units of the smallest memory page; 0 is no limit. */
  wzsl: number;
  /** Ranges in one Dataset Management; 0 is not told. */
  dmrl: number;
  /** Blocks in one range; 0 is not told. */
  dmrsl: number;
  /** Blocks in one Dataset Management, as a number (not exact above 2^53); 0 is not told. */
  dmsl: number;
}

/** What is known of a controller that does not have CNS 06h. */
export const NVM_CONTROLLER_LIMITS_UNTOLD: NvmControllerLimits = { isTold: false, wzsl: 0, dmrl: 0, dmrsl: 0, dmsl: 0 };

/** Reads Identify Controller of the NVM command set. Throws {@linkcode IdentifyError} if the data is short. */
export function parseNvmController(data: Uint8Array): NvmControllerLimits {
  const view = checkedView(data, "Identify NVM Controller");
  return {
    isTold: true,
    wzsl: view.getUint8(IdentifyNvmControllerAt.WZSL),
    dmrl: view.getUint8(IdentifyNvmControllerAt.DMRL),
    dmrsl: view.getUint32(IdentifyNvmControllerAt.DMRSL, true),
    dmsl: Number(view.getBigUint64(IdentifyNvmControllerAt.DMSL, true)),
  };
}

/** What Identify Namespace says (NVM Command Set 1.0, section 4.1.5.1). Identifiers are hexadecimal, "" if not told. */
export interface NamespaceIdentity {
  nsid: number;
  /** 512 or 4096. */
  blockSize: number;
  /** Size in blocks: 1 to 2^53. */
  blocks: number;
  /** NMIC: more than one controller can have this namespace attached. */
  shared: boolean;
  writeProtected: boolean;
  anaGroupId: number;
  nguid: string;
  eui64: string;
  /** Blocks that this namespace writes atomically over power fail; 0: the controller's number holds. */
  atomicPowerFailBlocks: number;
  /** The atomic boundary starts at block 0. */
  atomicBoundaryAligned: boolean;
  /** NOIOB, blocks; 0 is not told. */
  optimalBoundaryBlocks: number;
  /** NPWG, NPDG and NOWS, blocks; 0 is not told. */
  preferredWriteBlocks: number;
  preferredDeallocateBlocks: number;
  optimalWriteBlocks: number;
  /** Deallocated blocks read as zeroes. */
  deallocatedReadZeroes: boolean;
}

/**
 * Reads Identify Namespace of the namespace `nsid`. Throws {@linkcode IdentifyError}: "protocol" for data that
 * contradicts itself, "unsupported" for formats with metadata or protection information and odd block sizes.
 */
export function parseNamespace(data: Uint8Array, nsid: number): NamespaceIdentity {
  const view = checkedView(data, `Identify Namespace ${nsid}`);
  const at = IdentifyNamespaceAt;
  const blocks = view.getBigUint64(at.NSZE, true);
  if (blocks === 0n) throw new IdentifyError("protocol", `Namespace ${nsid} has no blocks: it is not active`);
  if (blocks > BigInt(2 ** 53)) throw new IdentifyError("unsupported", `Namespace ${nsid} has more than 2^53 blocks`);
  const blockSize = parseFormat(view, nsid);
  const features = view.getUint8(at.NSFEAT);
  const nawupf = view.getUint16(at.NAWUPF, true);
  const ownAtomics = (features & Nsfeat.NAMESPACE_ATOMICS) !== 0 && nawupf !== 0;
  const told = (features & Nsfeat.OPTIMAL_PERFORMANCE) !== 0;
  const nows = view.getUint16(at.NOWS, true);
  return {
    nsid,
    blockSize,
    blocks: Number(blocks),
    shared: (view.getUint8(at.NMIC) & NMIC_SHARED) !== 0,
    writeProtected: (view.getUint8(at.NSATTR) & NSATTR_WRITE_PROTECTED) !== 0,
    anaGroupId: view.getUint32(at.ANAGRPID, true),
    nguid: identifierText(data.subarray(at.NGUID, at.NGUID + NGUID_BYTES)),
    eui64: identifierText(data.subarray(at.EUI64, at.EUI64 + EUI64_BYTES)),
    atomicPowerFailBlocks: ownAtomics ? nawupf + 1 : 0,
    atomicBoundaryAligned: view.getUint16(at.NABO, true) === 0,
    optimalBoundaryBlocks: view.getUint16(at.NOIOB, true),
    preferredWriteBlocks: told ? view.getUint16(at.NPWG, true) + 1 : 0,
    preferredDeallocateBlocks: told ? view.getUint16(at.NPDG, true) + 1 : 0,
    optimalWriteBlocks: told && nows !== 0 ? nows + 1 : 0,
    deallocatedReadZeroes: (view.getUint8(at.DLFEAT) & Dlfeat.READ_MASK) === Dlfeat.READ_ZEROES,
  };
}

/** The block size of the format in use, bytes. */
function parseFormat(view: DataView, nsid: number): number {
  const formats = view.getUint8(IdentifyNamespaceAt.NLBAF) + 1 + view.getUint8(IdentifyNamespaceAt.NULBAF);
  if (formats > LBA_FORMATS_MAX) throw new IdentifyError("protocol", `Namespace ${nsid} claims ${formats} formats`);
  const flbas = view.getUint8(IdentifyNamespaceAt.FLBAS);
  const high = formats > FLBAS_EXTENDED_FROM ? (flbas >> Flbas.INDEX_HIGH_SHIFT) & Flbas.INDEX_HIGH_MASK : 0;
  const index = (high << 4) | (flbas & Flbas.INDEX_LOW_MASK);
  if (index >= formats) {
    throw new IdentifyError("protocol", `Namespace ${nsid} uses format ${index} of ${formats}`);
  }
  const format = IdentifyNamespaceAt.LBAF + index * LBA_FORMAT_BYTES;
  const metadataBytes = view.getUint16(format + LbaFormatAt.MS, true);
  const protection = view.getUint8(IdentifyNamespaceAt.DPS) & DPS_TYPE_MASK;
  if (protection !== 0) {
    throw new IdentifyError("unsupported", `Namespace ${nsid} has protection information of type ${protection}`);
  }
  if (metadataBytes !== 0) {
    throw new IdentifyError("unsupported", `Namespace ${nsid} has ${metadataBytes} bytes of metadata for each block`);
  }
  const lbads = view.getUint8(format + LbaFormatAt.LBADS);
  if (lbads !== 9 && lbads !== 12) {
    throw new IdentifyError("unsupported", `Namespace ${nsid} has blocks of 2^${lbads} bytes, not 512 or 4096`);
  }
  return 2 ** lbads;
}

/** What a namespace tells independently of its I/O command set, CNS 08h (Base 2.1, section 5.1.13.2.8). */
export interface IndependentNamespace {
  /** It has no volatile write cache, though the controller has one. */
  cacheless: boolean;
}

/** What is known of a namespace behind a controller that does not have CNS 08h. */
export const INDEPENDENT_NAMESPACE_UNTOLD: IndependentNamespace = { cacheless: false };

/** Reads the independent Identify Namespace. Throws {@linkcode IdentifyError} if the data is short. */
export function parseIndependentNamespace(data: Uint8Array): IndependentNamespace {
  const features = checkedView(data, "Independent Identify Namespace").getUint8(IndependentNamespaceAt.NSFEAT);
  return { cacheless: (features & IndependentNsfeat.VOLATILE_CACHE_NOT_PRESENT) !== 0 };
}

/** What the namespace descriptors say (Base 2.0, section 5.17.2.3). Identifiers are hexadecimal, "" if not told. */
export interface NamespaceDescriptors {
  /** False if the controller does not have them: what is "" is not known then. */
  isTold: boolean;
  nguid: string;
  eui64: string;
  /** With its dashes. */
  uuid: string;
  /** `CommandSet`; NVM if not told. */
  commandSet: number;
}

/** What is known of a namespace without descriptors. */
export const NAMESPACE_DESCRIPTORS_UNTOLD: NamespaceDescriptors = {
  isTold: false,
  nguid: "",
  eui64: "",
  uuid: "",
  commandSet: CommandSet.NVM,
};

const DESCRIPTOR_BYTES: Record<number, number> = {
  [NamespaceIdType.EUI64]: 8,
  [NamespaceIdType.NGUID]: 16,
  [NamespaceIdType.UUID]: 16,
  [NamespaceIdType.CSI]: 1,
};

/** Reads the namespace descriptors. Types that are not known are skipped; a wrong length is an {@linkcode IdentifyError}. */
export function parseNamespaceDescriptors(data: Uint8Array): NamespaceDescriptors {
  checkedView(data, "Namespace Identification Descriptors");
  const found = { ...NAMESPACE_DESCRIPTORS_UNTOLD, isTold: true };
  let at = 0;
  while (at + NamespaceDescriptorAt.NID <= IDENTIFY_BYTES) {
    const type = data[at + NamespaceDescriptorAt.NIDT];
    const length = data[at + NamespaceDescriptorAt.NIDL];
    if (length === 0) break;
    const end = at + NamespaceDescriptorAt.NID + length;
    const wanted = DESCRIPTOR_BYTES[type];
    if (end > IDENTIFY_BYTES || (wanted !== undefined && length !== wanted)) {
      throw new IdentifyError("protocol", `Namespace descriptor of type ${type} has ${length} bytes`);
    }
    takeDescriptor(found, type, data.subarray(at + NamespaceDescriptorAt.NID, end));
    at = end;
  }
  return found;
}

function takeDescriptor(found: NamespaceDescriptors, type: number, id: Uint8Array): void {
  if (type === NamespaceIdType.EUI64) found.eui64 = identifierText(id);
  if (type === NamespaceIdType.NGUID) found.nguid = identifierText(id);
  if (type === NamespaceIdType.UUID) found.uuid = uuidText(identifierText(id));
  if (type === NamespaceIdType.CSI) found.commandSet = id[0];
}

/** Reads an Active Namespace ID list: NSIDs in rising order (Base 2.0, section 5.17.2.2). */
export function parseActiveList(data: Uint8Array): number[] {
  const view = checkedView(data, "Active Namespace ID list");
  const nsids: number[] = [];
  for (let index = 0; index < ACTIVE_LIST_NSIDS; index++) {
    const nsid = view.getUint32(index * 4, true);
    if (nsid === 0) break;
    if (nsids.length > 0 && nsid <= nsids[nsids.length - 1]) {
      throw new IdentifyError("protocol", "The Active Namespace ID list is not in rising order");
    }
    nsids.push(nsid);
  }
  return nsids;
}

function checkedView(data: Uint8Array, what: string): DataView {
  if (data.length < IDENTIFY_BYTES) {
    throw new IdentifyError("protocol", `${what} has ${data.length} bytes instead of ${IDENTIFY_BYTES}`);
  }
  return new DataView(data.buffer, data.byteOffset, data.byteLength);
}

/** ASCII text up to the first NUL, trimmed; what is not printable becomes "?". */
function text(data: Uint8Array, start: number, bytes: number): string {
  let words = "";
  for (const byte of data.subarray(start, start + bytes)) {
    if (byte === 0) break;
    words += byte >= 0x20 && byte < 0x7f ? String.fromCharCode(byte) : "?";
  }
  return words.trim();
}

/** SUBNQN; "" if it is not a text that could be one. */
function nqnText(data: Uint8Array): string {
  const field = data.subarray(IdentifyControllerAt.SUBNQN, IdentifyControllerAt.SUBNQN + NQN_FIELD_BYTES);
  const end = field.indexOf(0);
  if (end < 0 || end > NQN_BYTES_MAX) return "";
  return new TextDecoder().decode(field.subarray(0, end)).replace(/\p{C}/gu, "?").trim();
}

/** Bytes in hexadecimal, "" if they are all zero: that is how the specification says "none". */
function identifierText(id: Uint8Array): string {
  if (id.every((byte) => byte === 0)) return "";
  return Array.from(id, (byte) => byte.toString(16).padStart(2, "0")).join("");
}

function uuidText(hex: string): string {
  if (hex === "") return "";
  return [hex.slice(0, 8), hex.slice(8, 12), hex.slice(12, 16), hex.slice(16, 20), hex.slice(20)].join("-");
}
