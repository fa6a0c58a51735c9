/**
 * Reading of the ANA log (Base 2.0, section 5.16.1.13): in one piece where it fits into a transfer, else piece after piece.
 * It may change between two pieces; then it is read again from its beginning, a bounded number of times.
 *
 *     ┌ first piece → … as its own counts say … → header ┐ → log
 *     └────────────── CHGCNT has moved ◀─────────────────┘
 */

import { LogId } from "../protocol/nvme.ts";
import { ANA_LSP_RGO, AnaGroupAt, AnaLogAt } from "../protocol/nvme_log.ts";
import { parsed, persist } from "./admin_steps.ts";
import { type AnaLog, anaLogBytes, parseAnaLog } from "./ana.ts";
import { type AdminCommand, getLogPageCommand } from "./commands.ts";
import type { ControllerIdentity } from "./identify.ts";
import { AdminError, demand, type Steps } from "./steps.ts";

/** Largest ANA log that is read with its NSIDs, bytes: 1024 groups and as many namespaces fit many times. */
export const ANA_LOG_BYTES_MAX = 65536;
/** Largest ANA log without NSIDs: some ten thousands of groups. */
const ANA_GROUPS_BYTES_MAX = 1 << 20;
/** Times that the log is read before one that never stays the same is given up. */
const ANA_READS_MAX = 8;

/** How the ANA log of a controller is read. */
export interface AnaLogPlan {
  /** Bytes that are expected at most. */
  bytes: number;
  /** Bytes of one command. */
  pieceBytes: number;
  /** NSIDs are left out: which group a namespace is in is for Identify Namespace to say. */
  groupsOnly: boolean;
}

/**
 * How the log is to be read; null if the controller does not report ANA. The NSIDs are left out where they would make it
 * larger than is read at once or, where a log can be read from its beginning only, than a transfer.
 */
export function anaLogPlan(controller: ControllerIdentity, transferBytesMax: number): AnaLogPlan | null {
  if (!controller.anaReporting) return null;
  const pieceBytes = Math.min(transferBytesMax, ANA_LOG_BYTES_MAX);
  const groupsBytes = AnaLogAt.DESCRIPTORS + controller.anaGroups * AnaGroupAt.NSIDS;
  const bytes = groupsBytes + (controller.mnan || controller.nn) * 4;
  const groupsOnly = bytes > (controller.logOffsets ? ANA_LOG_BYTES_MAX : pieceBytes);
  if (!groupsOnly) return { bytes, pieceBytes, groupsOnly };
  const limit = controller.logOffsets ? ANA_GROUPS_BYTES_MAX : pieceBytes;
  return { bytes: Math.min(groupsBytes, limit), pieceBytes, groupsOnly };
}

/** Reads the whole log. It ends with {@linkcode AdminError} if it fails, makes no sense, or changes all the time. */
export function* readAnaLog(plan: AnaLogPlan): Steps<AnaLog> {
  return yield* persist(() => readOnce(plan));
}

function* readOnce(plan: AnaLogPlan): Steps<AnaLog> {
  for (let reads = 0; reads < ANA_READS_MAX; reads++) {
    const { data, pieces } = yield* readPieces(plan);
    const log = parsed(pieceCommand(plan, 0, AnaLogAt.DESCRIPTORS), data, parseAnaLog);
    if (pieces === 1 || (yield* readChangeCount(plan)) === log.changeCount) return log;
  }
  throw new AdminError("unreachable", `The ANA log has changed ${ANA_READS_MAX} times while it was read`, true);
}

/** A piece that is shorter than was asked for is the last one. */
function* readPieces(plan: AnaLogPlan): Steps<{ data: Uint8Array; pieces: number }> {
  let data = new Uint8Array(0);
  for (let pieces = 1;; pieces++) {
    const wanted = pieces === 1 ? plan.bytes : Math.min(anaLogBytes(data), plan.bytes);
    const bytes = Math.min(plan.pieceBytes, wanted - data.length);
    const piece = (yield* demand(pieceCommand(plan, data.length, bytes))).data ?? new Uint8Array(0);
    const joined = new Uint8Array(data.length + Math.min(piece.length, bytes));
    joined.set(data);
    joined.set(piece.subarray(0, bytes), data.length);
    data = joined;
    if (piece.length < bytes || Math.min(anaLogBytes(data), plan.bytes) <= data.length) return { data, pieces };
  }
}

function* readChangeCount(plan: AnaLogPlan): Steps<bigint> {
  const command = pieceCommand(plan, 0, AnaLogAt.DESCRIPTORS);
  const { data } = yield* demand(command);
  return parsed(command, data, parseChangeCount);
}

function parseChangeCount(data: Uint8Array): bigint {
  const header = new Uint8Array(AnaLogAt.DESCRIPTORS);
  header.set(data.subarray(0, AnaLogAt.DESCRIPTORS));
  return new DataView(header.buffer).getBigUint64(AnaLogAt.CHGCNT, true);
}

function pieceCommand({ groupsOnly }: AnaLogPlan, offset: number, bytes: number): AdminCommand {
  const lsp = groupsOnly ? ANA_LSP_RGO : 0;
  return getLogPageCommand("ANA", { logId: LogId.ASYMMETRIC_NAMESPACE_ACCESS, nsid: 0, bytes, offset, lsp });
}
