/** Asynchronous events: what dword 0 of a completed Asynchronous Event Request says (Base 2.0, section 5.2.1). */

import { AsyncEventDw0, AsyncEventType, AsyncNotice, LogId, NSID_ALL } from "../protocol/nvme.ts";
import { IDENTIFY_BYTES } from "../protocol/nvme_identify.ts";
import { ERROR_ENTRY_BYTES, SMART_BYTES } from "../protocol/nvme_log.ts";
import { type AdminCommand, getLogPageCommand } from "./commands.ts";

/** What an event asks the host to do. */
export type AsyncEventKind = "ana-change" | "namespace-change" | "discovery-change" | "persistent-error" | "other";

export interface AsyncEvent {
  kind: AsyncEventKind;
  /** `AsyncEventType`. */
  type: number;
  /** Asynchronous event information. */
  info: number;
  /** The log page to read before the same event can come again; 0 if there is none. */
  logPage: number;
  words: string;
}

type Row = readonly [kind: AsyncEventKind, words: string];

const ERROR_PERSISTENT_INTERNAL = 0x03;

const EVENTS: Record<string, Row> = {
  [key(AsyncEventType.ERROR, 0x02)]: ["other", "diagnostic failure"],
  [key(AsyncEventType.ERROR, ERROR_PERSISTENT_INTERNAL)]: ["persistent-error", "persistent internal error"],
  [key(AsyncEventType.ERROR, 0x04)]: ["other", "transient internal error"],
  [key(AsyncEventType.ERROR, 0x05)]: ["other", "firmware image load error"],
  [key(AsyncEventType.SMART_HEALTH, 0x00)]: ["other", "subsystem reliability degraded"],
  [key(AsyncEventType.SMART_HEALTH, 0x01)]: ["other", "temperature threshold"],
  [key(AsyncEventType.SMART_HEALTH, 0x02)]: ["other", "spare capacity below threshold"],
  [key(AsyncEventType.NOTICE, AsyncNotice.NAMESPACE_ATTRIBUTE_CHANGED)]: [
    "namespace-change",
    "namespace attribute changed",
  ],
  [key(AsyncEventType.NOTICE, AsyncNotice.FIRMWARE_ACTIVATION_STARTING)]: ["other", "firmware activation starting"],
  [key(AsyncEventType.NOTICE, AsyncNotice.TELEMETRY_LOG_CHANGED)]: ["other", "telemetry log changed"],
  [key(AsyncEventType.NOTICE, AsyncNotice.ANA_CHANGE)]: ["ana-change", "asymmetric namespace access changed"],
  [key(AsyncEventType.NOTICE, AsyncNotice.DISCOVERY_LOG_CHANGE)]: ["discovery-change", "discovery log changed"],
  [key(AsyncEventType.IMMEDIATE, 0x00)]: ["other", "normal subsystem shutdown"],
  [key(AsyncEventType.IO_COMMAND_SPECIFIC, 0x00)]: ["other", "reservation log page available"],
};

function key(type: number, info: number): string {
  return `${type}:${info}`;
}

/** Decodes dword 0 of a completed Asynchronous Event Request. Any value has a meaning, if only "unknown". */
export function parseAsyncEvent(result0: number): AsyncEvent {
  const type = result0 & AsyncEventDw0.TYPE_MASK;
  const info = (result0 >>> AsyncEventDw0.INFO_SHIFT) & 0xff;
  const logPage = (result0 >>> AsyncEventDw0.LOG_PAGE_SHIFT) & 0xff;
  const known = EVENTS[key(type, info)];
  const words = known?.[1] ?? `unknown event of the type ${type} with the information 0x${info.toString(16)}`;
  return { kind: known?.[0] ?? "other", type, info, logPage, words };
}

/** Log pages whose reading lets events of their type be told again, with the bytes that are read of them. */
const REARMED: Readonly<Record<number, readonly [name: string, bytes: number]>> = {
  [LogId.ERROR_INFORMATION]: ["error information", ERROR_ENTRY_BYTES],
  [LogId.SMART]: ["health", SMART_BYTES],
  [LogId.FIRMWARE_SLOT]: ["firmware slot", SMART_BYTES],
  [LogId.CHANGED_NAMESPACE_LIST]: ["changed namespaces", IDENTIFY_BYTES],
  [LogId.RESERVATION_NOTIFICATION]: ["reservation notification", ERROR_ENTRY_BYTES],
};

/**
 * The command that lets the controller tell the next event of the same type: it keeps it back until the log page of the
 * last one is read (Base 2.0, section 5.2.1). Null for pages that are not known.
 */
export function rearmCommand(logPage: number): AdminCommand | null {
  const known = REARMED[logPage];
  if (known === undefined) return null;
  return getLogPageCommand(known[0], { logId: logPage, nsid: NSID_ALL, bytes: known[1] });
}
