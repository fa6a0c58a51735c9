/** Log pages that the target's controllers give (Base 2.0, section 5.16.1). */

import { VERSION } from "../base/version.ts";
import { AdminOpcode, FABRICS_OPCODE, LogId, NSID_ALL, NvmOpcode } from "../protocol/nvme.ts";
import { FR_BYTES } from "../protocol/nvme_identify.ts";
import {
  AnaGroupAt,
  AnaLogAt,
  CHANGED_NAMESPACE_LIST_BYTES,
  CHANGED_NAMESPACES_MAX,
  CommandEffect,
  COMMANDS_SUPPORTED_BYTES,
  CommandsSupportedAt,
  FIRMWARE_SLOT_BYTES,
  FirmwareSlotAt,
  LID_SUPPORTED,
  SMART_BYTES,
  SMART_DATA_UNIT_BYTES,
  SmartAt,
  SUPPORTED_TABLE_BYTES,
} from "../protocol/nvme_log.ts";
import { ByteFields } from "./byte_fields.ts";
import { ANA_GROUP_ID } from "./identify_data.ts";
import type { Inventory } from "./inventory.ts";

/** Logs of an I/O controller. */
export const IO_LOGS: readonly number[] = [
  LogId.SUPPORTED_LOG_PAGES,
  LogId.ERROR_INFORMATION,
  LogId.SMART,
  LogId.FIRMWARE_SLOT,
  LogId.CHANGED_NAMESPACE_LIST,
  LogId.COMMANDS_SUPPORTED,
  LogId.ASYMMETRIC_NAMESPACE_ACCESS,
  LogId.FEATURES_SUPPORTED,
];

/** Logs of a discovery controller. */
export const DISCOVERY_LOGS: readonly number[] = [
  LogId.SUPPORTED_LOG_PAGES,
  LogId.ERROR_INFORMATION,
  LogId.FEATURES_SUPPORTED,
  LogId.DISCOVERY,
];

const SPARE_PERCENT = 100;
const SPARE_THRESHOLD_PERCENT = 10;
const HOUR_MS = 3_600_000;

/** Supported Log Pages. */
export function supportedLogsPage(logs: readonly number[]): Uint8Array<ArrayBuffer> {
  const fields = new ByteFields(SUPPORTED_TABLE_BYTES);
  for (const logId of logs) fields.u32(4 * logId, LID_SUPPORTED);
  return fields.bytes;
}

/**
 * SMART / Health Information of the subsystem. There is no thermometer, no spare that wears out: the temperature is 0,
 * which is "not told".
 */
export function smartPage(inventory: Inventory, { errors, nowMs }: { errors: number; nowMs: number }): Uint8Array<
  ArrayBuffer
> {
  const io = inventory.ioTotals();
  return new ByteFields(SMART_BYTES)
    .u8(SmartAt.SPARE, SPARE_PERCENT)
    .u8(SmartAt.SPARE_THRESHOLD, SPARE_THRESHOLD_PERCENT)
    .u64(SmartAt.DATA_UNITS_READ, Math.ceil(io.readBytes / SMART_DATA_UNIT_BYTES))
    .u64(SmartAt.DATA_UNITS_WRITTEN, Math.ceil(io.writeBytes / SMART_DATA_UNIT_BYTES))
    .u64(SmartAt.HOST_READS, io.reads)
    .u64(SmartAt.HOST_WRITES, io.writes)
    .u64(SmartAt.POWER_CYCLES, 1)
    .u64(SmartAt.POWER_ON_HOURS, Math.max(Math.floor((nowMs - inventory.startMs) / HOUR_MS), 0))
    .u64(SmartAt.UNSAFE_SHUTDOWNS, inventory.unsafeShutdowns)
    .u64(SmartAt.MEDIA_ERRORS, io.deviceErrors)
    .u64(SmartAt.ERROR_ENTRIES, errors)
    .bytes;
}

/** Firmware Slot Information: one slot, with this version. */
export function firmwareSlotPage(): Uint8Array<ArrayBuffer> {
  return new ByteFields(FIRMWARE_SLOT_BYTES).u8(FirmwareSlotAt.AFI, 1).text(FirmwareSlotAt.FRS1, FR_BYTES, VERSION)
    .bytes;
}

/** Changed Namespace List. */
export function changedNamespacesPage(changed: ReadonlySet<number>): Uint8Array<ArrayBuffer> {
  const fields = new ByteFields(CHANGED_NAMESPACE_LIST_BYTES);
  if (changed.size > CHANGED_NAMESPACES_MAX) return fields.u32(0, NSID_ALL).bytes;
  [...changed].sort((a, b) => a - b).forEach((nsid, i) => fields.u32(4 * i, nsid));
  return fields.bytes;
}

const ADMIN_COMMANDS: readonly number[] = [
  AdminOpcode.GET_LOG_PAGE,
  AdminOpcode.IDENTIFY,
  AdminOpcode.ABORT,
  AdminOpcode.SET_FEATURES,
  AdminOpcode.GET_FEATURES,
  AdminOpcode.ASYNC_EVENT_REQUEST,
  AdminOpcode.KEEP_ALIVE,
  FABRICS_OPCODE,
];
const READING_COMMANDS: readonly number[] = [NvmOpcode.FLUSH, NvmOpcode.READ, NvmOpcode.COMPARE];
const WRITING_COMMANDS: readonly number[] = [
  NvmOpcode.WRITE,
  NvmOpcode.WRITE_ZEROES,
  NvmOpcode.DATASET_MANAGEMENT,
];

/** Commands Supported and Effects, of the NVM command set. */
export function commandsSupportedPage(): Uint8Array<ArrayBuffer> {
  const fields = new ByteFields(COMMANDS_SUPPORTED_BYTES);
  for (const opcode of ADMIN_COMMANDS) fields.u32(CommandsSupportedAt.ADMIN + 4 * opcode, CommandEffect.SUPPORTED);
  for (const opcode of READING_COMMANDS) fields.u32(CommandsSupportedAt.IO + 4 * opcode, CommandEffect.SUPPORTED);
  for (const opcode of WRITING_COMMANDS) {
    const effects = CommandEffect.SUPPORTED | CommandEffect.LOGICAL_BLOCK_CONTENT_CHANGE;
    fields.u32(CommandsSupportedAt.IO + 4 * opcode, effects);
  }
  return fields.bytes;
}

/** Asymmetric Namespace Access of the controllers of a listener: one group, with all namespaces unless not wanted. */
export function anaPage(
  inventory: Inventory,
  { listener, groupsOnly }: { listener: number; groupsOnly: boolean },
): Uint8Array<ArrayBuffer> {
  const nsids = groupsOnly ? [] : inventory.nsids;
  const changes = inventory.anaChangeCount(listener);
  const group = AnaLogAt.DESCRIPTORS;
  const fields = new ByteFields(group + AnaGroupAt.NSIDS + 4 * nsids.length)
    .u64(AnaLogAt.CHGCNT, changes)
    .u16(AnaLogAt.NAGD, 1)
    .u32(group + AnaGroupAt.AGID, ANA_GROUP_ID)
    .u32(group + AnaGroupAt.NNV, nsids.length)
    .u64(group + AnaGroupAt.CHGCNT, changes)
    .u8(group + AnaGroupAt.STATE, inventory.ana(listener));
  nsids.forEach((nsid, i) => fields.u32(group + AnaGroupAt.NSIDS + 4 * i, nsid));
  return fields.bytes;
}
