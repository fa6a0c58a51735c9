/** Identify data structures that the target's controllers give (Base 2.0, section 5.17.2; NVM Command Set 1.0, 4.1.5). */

import { assert } from "../base/assert.ts";
import { TARGET_WRITE_ZEROES_BYTES } from "../base/limits.ts";
import { VERSION } from "../base/version.ts";
import { AsyncEventConfig, CQE_BYTES, SQE_BYTES } from "../protocol/nvme.ts";
import { DISCOVERY_NQN, NQN_FIELD_BYTES } from "../protocol/nvme_fabrics.ts";
import {
  ACTIVE_LIST_NSIDS,
  Anacap,
  CAPSULE_UNIT_BYTES,
  Cmic,
  CommandSet,
  CONTROLLER_LIST_CNTLIDS,
  ControllerType,
  Ctratt,
  Dlfeat,
  FR_BYTES,
  IDENTIFY_BYTES,
  IdentifyControllerAt,
  IdentifyNamespaceAt,
  IdentifyNvmControllerAt,
  IndependentNamespaceAt,
  IndependentNsfeat,
  KAS_UNIT_MS,
  LbaFormatAt,
  Lpa,
  MN_BYTES,
  NamespaceDescriptorAt,
  NamespaceIdType,
  NMIC_SHARED,
  NSATTR_WRITE_PROTECTED,
  Nsfeat,
  NSTAT_READY,
  Oncs,
  Sgls,
  SN_BYTES,
  VWC_FLUSH_ALL_UNSUPPORTED,
  VWC_PRESENT,
} from "../protocol/nvme_identify.ts";
import { IOCQES_LOG2, IOSQES_LOG2, MPS_SHIFT_BASE, Vs } from "../protocol/nvme_property.ts";
import { ASYNC_EVENT_REQUESTS_MAX } from "./async_events.ts";
import { ByteFields } from "./byte_fields.ts";
import type { NamespaceDescription, SubsystemDescription } from "./description.ts";
import { ERROR_LOG_ENTRIES } from "./error_log.ts";
import type { Inventory } from "./inventory.ts";
import { KEEP_ALIVE_GRANULARITY_MS } from "./keep_alive_timer.ts";

/** What VS and VER say: revision 2.0. */
export const NVME_VERSION = 2 << Vs.MAJOR_SHIFT;

/** The one ANA group that all namespaces are in. */
export const ANA_GROUP_ID = 1;

/** Commands to abort at once, 0's based: each is answered at once, so any number would do. */
const ABORT_COMMANDS_LIMIT = 3;
/** An ANA state CHANGE lasts at most so long, seconds. */
const ANA_TRANSITION_SECONDS = 10;
/** One slot, read only. */
const FIRMWARE_SLOTS = (1 << 1) | 1;
/** The page cache and O_DIRECT work in such units, bytes. */
const PREFERRED_WRITE_BYTES = 4096;
/** Writes of so many bytes at a time are as fast as they get. */
const OPTIMAL_WRITE_BYTES = 128 << 10;

/** The events that controllers offer. */
export const IO_EVENTS_OFFERED = AsyncEventConfig.NAMESPACE_ATTRIBUTE_NOTICES | AsyncEventConfig.ANA_CHANGE_NOTICES;
export const DISCOVERY_EVENTS_OFFERED = AsyncEventConfig.DISCOVERY_LOG_CHANGE_NOTICES;

/** WZSL: deallocation, which has limits of the same kind, has none. */
const WRITE_ZEROES_SIZE_LIMIT = Math.log2(TARGET_WRITE_ZEROES_BYTES) - MPS_SHIFT_BASE;

/** MDTS: what `transferBytesMax` can say is a power of two of pages, and 0 would mean no limit. */
export function mdts(transferBytesMax: number): number {
  const log2 = Math.log2(transferBytesMax) - MPS_SHIFT_BASE;
  assert(Number.isInteger(log2) && log2 >= 1, "A transfer is a power of two of at least 8192 bytes");
  return log2;
}

/** Identify Controller of an I/O controller. */
export function ioControllerData(inventory: Inventory, cntlid: number): Uint8Array<ArrayBuffer> {
  const at = IdentifyControllerAt;
  const { description, nsids } = inventory;
  const { limits } = description;
  const anacap = Anacap.OPTIMIZED | Anacap.NON_OPTIMIZED | Anacap.INACCESSIBLE | Anacap.PERSISTENT_LOSS |
    Anacap.CHANGE | Anacap.GROUP_FIXED;
  const oncs = Oncs.COMPARE | Oncs.DATASET_MANAGEMENT | Oncs.WRITE_ZEROES | Oncs.FEATURE_SELECT;
  return controllerFields(description, cntlid)
    .u8(at.CMIC, Cmic.MULTIPLE_PORTS | Cmic.MULTIPLE_CONTROLLERS | Cmic.ANA_REPORTING)
    .u32(at.OAES, IO_EVENTS_OFFERED)
    .u8(at.CNTRLTYPE, ControllerType.IO)
    .u8(at.ACL, ABORT_COMMANDS_LIMIT)
    .u8(at.FRMW, FIRMWARE_SLOTS)
    .u8(at.LPA, Lpa.COMMANDS_SUPPORTED | Lpa.EXTENDED_DATA)
    .u8(at.ANATT, ANA_TRANSITION_SECONDS)
    .u8(at.ANACAP, anacap)
    .u32(at.ANAGRPMAX, ANA_GROUP_ID)
    .u32(at.NANAGRPID, 1)
    .u8(at.SQES, (IOSQES_LOG2 << 4) | IOSQES_LOG2)
    .u8(at.CQES, (IOCQES_LOG2 << 4) | IOCQES_LOG2)
    .u32(at.NN, Math.max(nsids.at(-1) ?? 1, 1))
    .u32(at.MNAN, Math.max(nsids.length, 1))
    .u16(at.ONCS, oncs)
    .u8(at.VWC, VWC_FLUSH_ALL_UNSUPPORTED | (inventory.hasVolatileCache ? VWC_PRESENT : 0))
    .nulText(at.SUBNQN, NQN_FIELD_BYTES, description.nqn)
    .u32(at.IOCCSZ, (SQE_BYTES + limits.inCapsuleBytes) / CAPSULE_UNIT_BYTES)
    .u32(at.IORCSZ, CQE_BYTES / CAPSULE_UNIT_BYTES)
    .bytes;
}

/** Identify Controller of a discovery controller. */
export function discoveryControllerData(description: SubsystemDescription, cntlid: number): Uint8Array<ArrayBuffer> {
  const at = IdentifyControllerAt;
  return controllerFields(description, cntlid)
    .u32(at.OAES, DISCOVERY_EVENTS_OFFERED)
    .u8(at.CNTRLTYPE, ControllerType.DISCOVERY)
    .u8(at.LPA, Lpa.EXTENDED_DATA)
    .nulText(at.SUBNQN, NQN_FIELD_BYTES, DISCOVERY_NQN)
    .bytes;
}

/** Identify Controller of the NVM command set. */
export function nvmControllerData(): Uint8Array<ArrayBuffer> {
  return new ByteFields(IDENTIFY_BYTES).u8(IdentifyNvmControllerAt.WZSL, WRITE_ZEROES_SIZE_LIMIT).bytes;
}

/** What both kinds tell. */
function controllerFields({ serial, model, limits }: SubsystemDescription, cntlid: number): ByteFields {
  const at = IdentifyControllerAt;
  return new ByteFields(IDENTIFY_BYTES)
    .text(at.SN, SN_BYTES, serial)
    .text(at.MN, MN_BYTES, model)
    .text(at.FR, FR_BYTES, VERSION)
    .u8(at.MDTS, mdts(limits.transferBytesMax))
    .u16(at.CNTLID, cntlid)
    .u32(at.VER, NVME_VERSION)
    .u16(at.MAXCMD, limits.queueEntriesMax)
    .u32(at.CTRATT, Ctratt.HOST_IDENTIFIER_128)
    .u8(at.AERL, ASYNC_EVENT_REQUESTS_MAX - 1)
    .u8(at.ELPE, ERROR_LOG_ENTRIES - 1)
    .u16(at.KAS, KEEP_ALIVE_GRANULARITY_MS / KAS_UNIT_MS)
    .u32(at.SGLS, Sgls.SUPPORTED | Sgls.OFFSET | Sgls.TRANSPORT)
    .u8(at.MSDBD, 1);
}

/** Identify Namespace of the NVM command set. */
export function namespaceData(inventory: Inventory, namespace: NamespaceDescription): Uint8Array<ArrayBuffer> {
  const at = IdentifyNamespaceAt;
  const blocks = inventory.blocks(namespace);
  return formatFields(namespace.blockSize)
    .u64(at.NSZE, blocks)
    .u64(at.NCAP, blocks)
    .u64(at.NUSE, blocks)
    .u64(at.NVMCAP, blocks * namespace.blockSize)
    .u32(at.ANAGRPID, ANA_GROUP_ID)
    .u8(at.NSATTR, inventory.isReadOnly(namespace) ? NSATTR_WRITE_PROTECTED : 0)
    .raw(at.NGUID, namespace.nguid)
    .bytes;
}

/** Identify Namespace of NSID FFFFFFFFh: what all namespaces have in common. */
export function commonNamespaceData(inventory: Inventory): Uint8Array<ArrayBuffer> {
  const sizes = new Set(inventory.description.namespaces.map(({ blockSize }) => blockSize));
  // Without one format that all have there is nothing in common.
  const blockSize = sizes.size === 1 ? [...sizes][0] : null;
  return blockSize === null ? new Uint8Array(IDENTIFY_BYTES) : formatFields(blockSize).bytes;
}

/** What the block size decides. */
function formatFields(blockSize: number): ByteFields {
  const at = IdentifyNamespaceAt;
  const preferred = Math.max(PREFERRED_WRITE_BYTES / blockSize, 1) - 1;
  return new ByteFields(IDENTIFY_BYTES)
    .u8(at.NSFEAT, Nsfeat.OPTIMAL_PERFORMANCE)
    .u8(at.NMIC, NMIC_SHARED)
    .u8(at.DLFEAT, Dlfeat.READ_ZEROES | Dlfeat.WRITE_ZEROES_DEALLOCATE)
    .u16(at.NPWG, preferred)
    .u16(at.NPWA, preferred)
    .u16(at.NPDG, preferred)
    .u16(at.NPDA, preferred)
    .u16(at.NOWS, OPTIMAL_WRITE_BYTES / blockSize - 1)
    .u8(at.LBAF + LbaFormatAt.LBADS, Math.log2(blockSize));
}

/** I/O command set independent Identify Namespace. */
export function independentNamespaceData(
  inventory: Inventory,
  namespace: NamespaceDescription,
): Uint8Array<ArrayBuffer> {
  const at = IndependentNamespaceAt;
  return new ByteFields(IDENTIFY_BYTES)
    .u8(at.NSFEAT, namespace.volatileCache ? 0 : IndependentNsfeat.VOLATILE_CACHE_NOT_PRESENT)
    .u8(at.NMIC, NMIC_SHARED)
    .u32(at.ANAGRPID, ANA_GROUP_ID)
    .u8(at.NSATTR, inventory.isReadOnly(namespace) ? NSATTR_WRITE_PROTECTED : 0)
    .u8(at.NSTAT, NSTAT_READY)
    .bytes;
}

/** Namespace identification descriptors: NGUID, UUID, command set. */
export function namespaceDescriptorsData(namespace: NamespaceDescription): Uint8Array<ArrayBuffer> {
  const fields = new ByteFields(IDENTIFY_BYTES);
  const descriptors: [type: number, id: Uint8Array][] = [
    [NamespaceIdType.NGUID, namespace.nguid],
    [NamespaceIdType.UUID, namespace.uuid],
    [NamespaceIdType.CSI, Uint8Array.of(CommandSet.NVM)],
  ];
  let at = 0;
  for (const [type, id] of descriptors) {
    // An identifier of zeroes is none.
    if (type !== NamespaceIdType.CSI && id.every((byte) => byte === 0)) continue;
    fields.u8(at + NamespaceDescriptorAt.NIDT, type).u8(at + NamespaceDescriptorAt.NIDL, id.length)
      .raw(at + NamespaceDescriptorAt.NID, id);
    at += NamespaceDescriptorAt.NID + id.length;
  }
  return fields.bytes;
}

/** Active Namespace ID list: the NSIDs above one. */
export function activeListData(nsids: readonly number[], above: number): Uint8Array<ArrayBuffer> {
  const fields = new ByteFields(IDENTIFY_BYTES);
  nsids.filter((nsid) => nsid > above).slice(0, ACTIVE_LIST_NSIDS).forEach((nsid, i) => fields.u32(4 * i, nsid));
  return fields.bytes;
}

/** Controller List: the CNTLIDs from one on, in rising order. */
export function controllerListData(cntlids: readonly number[], from: number): Uint8Array<ArrayBuffer> {
  const fields = new ByteFields(IDENTIFY_BYTES);
  const listed = cntlids.filter((cntlid) => cntlid >= from).sort((a, b) => a - b).slice(0, CONTROLLER_LIST_CNTLIDS);
  fields.u16(0, listed.length);
  listed.forEach((cntlid, i) => fields.u16(2 + 2 * i, cntlid));
  return fields.bytes;
}

/** I/O command sets that can be enabled together: one combination, NVM alone (section 5.17.2.19). */
export function commandSetsData(): Uint8Array<ArrayBuffer> {
  return new ByteFields(IDENTIFY_BYTES).u64(0, 1 << CommandSet.NVM).bytes;
}
