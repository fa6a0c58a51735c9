/** Asymmetric Namespace Access: which of its groups of namespaces a controller can reach, and how well. */

import { NSID_MAX } from "../protocol/nvme.ts";
import { ANA_STATE_MASK, AnaGroupAt, AnaLogAt, AnaStateCode } from "../protocol/nvme_log.ts";

/** ANA states (Base 2.0, section 8.1.3). I/O is served in the first two only. */
export type AnaState = "optimized" | "non-optimized" | "inaccessible" | "persistent-loss" | "change";

/** Thrown for an ANA log that cannot be right. */
export class AnaLogError extends Error {
  override name = "AnaLogError";
}

export interface AnaGroup {
  groupId: number;
  state: AnaState;
  /** Namespaces of the group; empty if only groups were asked for. */
  nsids: readonly number[];
}

/** The ANA log of one controller. */
export interface AnaLog {
  /** Changes whenever any group does; an older log is told from a newer one by it. */
  changeCount: bigint;
  groups: ReadonlyMap<number, AnaGroup>;
}

const STATES: Record<number, AnaState> = {
  [AnaStateCode.OPTIMIZED]: "optimized",
  [AnaStateCode.NON_OPTIMIZED]: "non-optimized",
  [AnaStateCode.INACCESSIBLE]: "inaccessible",
  [AnaStateCode.PERSISTENT_LOSS]: "persistent-loss",
  [AnaStateCode.CHANGE]: "change",
};

/** Bytes that an ANA log has by its own counts; if it ends before, at least as many as say how it goes on. */
export function anaLogBytes(data: Uint8Array): number {
  if (data.length < AnaLogAt.DESCRIPTORS) return AnaLogAt.DESCRIPTORS;
  const view = new DataView(data.buffer, data.byteOffset, data.byteLength);
  let at: number = AnaLogAt.DESCRIPTORS;
  for (let left = view.getUint16(AnaLogAt.NAGD, true); left > 0; left--) {
    if (at + AnaGroupAt.NSIDS > data.length) return at + left * AnaGroupAt.NSIDS;
    at += AnaGroupAt.NSIDS + 4 * view.getUint32(at + AnaGroupAt.NNV, true);
  }
  return at;
}

/**
 * Reads an ANA log. Throws {@linkcode AnaLogError} if it is cut off, names a group or namespace that cannot be, or has
 * a state that the specification does not name.
 */
export function parseAnaLog(data: Uint8Array): AnaLog {
  if (data.length < AnaLogAt.DESCRIPTORS) throw new AnaLogError(`ANA log has ${data.length} bytes only`);
  const view = new DataView(data.buffer, data.byteOffset, data.byteLength);
  const count = view.getUint16(AnaLogAt.NAGD, true);
  const groups = new Map<number, AnaGroup>();
  let at: number = AnaLogAt.DESCRIPTORS;
  for (let index = 0; index < count; index++) {
    const group = parseGroup(view, at);
    if (groups.has(group.groupId)) throw new AnaLogError(`ANA log names the group ${group.groupId} twice`);
    groups.set(group.groupId, group);
    at += AnaGroupAt.NSIDS + 4 * group.nsids.length;
  }
  return { changeCount: view.getBigUint64(AnaLogAt.CHGCNT, true), groups };
}

function parseGroup(view: DataView, at: number): AnaGroup {
  if (at + AnaGroupAt.NSIDS > view.byteLength) throw new AnaLogError("ANA log ends within a group");
  const groupId = view.getUint32(at + AnaGroupAt.AGID, true);
  if (groupId === 0) throw new AnaLogError("ANA log names the group 0");
  const code = view.getUint8(at + AnaGroupAt.STATE) & ANA_STATE_MASK;
  const state = STATES[code];
  if (state === undefined) throw new AnaLogError(`ANA log gives group ${groupId} the unknown state ${code}`);
  const count = view.getUint32(at + AnaGroupAt.NNV, true);
  const first = at + AnaGroupAt.NSIDS;
  if (first + 4 * count > view.byteLength) throw new AnaLogError(`ANA log ends within the group ${groupId}`);
  return { groupId, state, nsids: parseNsids(view, first, count) };
}

function parseNsids(view: DataView, first: number, count: number): number[] {
  const nsids: number[] = [];
  for (let index = 0; index < count; index++) {
    const nsid = view.getUint32(first + 4 * index, true);
    if (nsid === 0 || nsid > NSID_MAX) throw new AnaLogError(`ANA log names the namespace ${nsid}`);
    nsids.push(nsid);
  }
  return nsids;
}

/**
 * The ANA state of a namespace. A group that lists the namespace is believed over the group identifier that Identify
 * told earlier, for it may have moved since; a group that is not in the log is inaccessible until a log has it.
 */
export function anaStateOf(log: AnaLog, namespace: { nsid: number; anaGroupId: number }): AnaState {
  for (const group of log.groups.values()) {
    if (group.nsids.includes(namespace.nsid)) return group.state;
  }
  return log.groups.get(namespace.anaGroupId)?.state ?? "inaccessible";
}

/** True if I/O is served in this state. */
export function anaServesIo(state: AnaState): boolean {
  return state === "optimized" || state === "non-optimized";
}
