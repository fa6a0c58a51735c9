/** Submission queue entries that hosts made by hand send to look around. */
import { AdminOpcode, FeatureId, LogId, NvmOpcode, SglIdentifier, SqeAt } from "../../src/protocol/nvme.ts";
import { IdentifyNamespaceAt } from "../../src/protocol/nvme_identify.ts";
import {
  DISCOVERY_ENTRY_BYTES,
  DiscoveryEntryAt,
  DiscoveryLogAt,
  GetLogPageCdw10,
  TRADDR_BYTES,
  TRSVCID_BYTES,
} from "../../src/protocol/nvme_log.ts";
import type { RawHost } from "./raw_host.ts";
import { sqe, withSgl } from "./raw_pdus.ts";

const IDENTIFY_BYTES = 4096;

/** Identify with that CNS, which gives 4096 bytes. */
export function identifyCnsSqe(cns: number, nsid = 0): Uint8Array<ArrayBuffer> {
  const entry = withSgl(sqe(AdminOpcode.IDENTIFY), IDENTIFY_BYTES, SglIdentifier.TRANSPORT_DATA_BLOCK);
  const view = new DataView(entry.buffer);
  view.setUint32(SqeAt.NSID, nsid, true);
  view.setUint32(SqeAt.CDW10, cns, true);
  return entry;
}

/** Get Log Page from the beginning of the log, which clears its event. */
export function logPageSqe(logId: number, bytes: number): Uint8Array<ArrayBuffer> {
  const entry = withSgl(sqe(AdminOpcode.GET_LOG_PAGE), bytes, SglIdentifier.TRANSPORT_DATA_BLOCK);
  const view = new DataView(entry.buffer);
  view.setUint32(SqeAt.CDW10, logId | (bytes / 4 - 1) << GetLogPageCdw10.NUMDL_SHIFT, true);
  return entry;
}

/** Set Features: the asynchronous events that the host wants. */
export function eventConfigSqe(events: number): Uint8Array<ArrayBuffer> {
  const entry = sqe(AdminOpcode.SET_FEATURES);
  const view = new DataView(entry.buffer);
  view.setUint32(SqeAt.CDW10, FeatureId.ASYNC_EVENT_CONFIGURATION, true);
  view.setUint32(SqeAt.CDW11, events, true);
  return entry;
}

/** Flush of a namespace. */
export function flushSqe(nsid: number): Uint8Array<ArrayBuffer> {
  const entry = sqe(NvmOpcode.FLUSH);
  new DataView(entry.buffer).setUint32(SqeAt.NSID, nsid, true);
  return entry;
}

/** Blocks of a namespace, as Identify tells. */
export async function namespaceBlocks(admin: RawHost, nsid: number): Promise<number> {
  const { data } = await admin.succeed("Identify Namespace", identifyCnsSqe(0, nsid));
  return Number(new DataView(data.buffer).getBigUint64(IdentifyNamespaceAt.NSZE, true));
}

/** What the discovery log says. */
export interface DiscoveryLog {
  generation: number;
  entries: { nqn: string; portal: string; portId: number }[];
}

/** Reads the discovery log with a connection to a discovery controller. */
export async function discoveryLog(host: RawHost, entriesMax = 8): Promise<DiscoveryLog> {
  const bytes = DiscoveryLogAt.ENTRIES + entriesMax * DISCOVERY_ENTRY_BYTES;
  const { data } = await host.succeed("Get Log Page", logPageSqe(LogId.DISCOVERY, bytes));
  const view = new DataView(data.buffer);
  const count = Number(view.getBigUint64(DiscoveryLogAt.NUMREC, true));
  const text = (at: number, length: number) => new TextDecoder().decode(data.subarray(at, at + length));
  const entries = Array.from({ length: count }, (_, i) => {
    const at = DiscoveryLogAt.ENTRIES + i * DISCOVERY_ENTRY_BYTES;
    const traddr = text(at + DiscoveryEntryAt.TRADDR, TRADDR_BYTES).trim();
    const trsvcid = text(at + DiscoveryEntryAt.TRSVCID, TRSVCID_BYTES).trim();
    const nqn = text(at + DiscoveryEntryAt.SUBNQN, TRADDR_BYTES).replace(/\0.*$/s, "");
    return { nqn, portal: `${traddr}:${trsvcid}`, portId: view.getUint16(at + DiscoveryEntryAt.PORTID, true) };
  });
  return { generation: Number(view.getBigUint64(DiscoveryLogAt.GENCTR, true)), entries };
}
