/**
 * The discovery log as a host reads it (Base 2.0, section 5.16.1.23): bring-up of a discovery controller, and its log in
 * pieces. The log may change between two pieces; then it is read again from its beginning, a bounded number of times.
 *
 *     Connect → CAP, VS → enable → Identify Controller → ┌ header → entries, chunk after chunk → header ┐ → entries
 *                                                        └───────────── GENCTR has moved ◀──────────────┘
 *
 * Contract: nothing but {@linkcode AdminError} is thrown, whatever the controller answers. What an entry says is not
 * judged here: texts are cleaned, numbers are told, and who uses them checks them.
 */

import { assert } from "../base/assert.ts";
import { LogId } from "../protocol/nvme.ts";
import { NQN_FIELD_BYTES } from "../protocol/nvme_fabrics.ts";
import { ControllerType } from "../protocol/nvme_identify.ts";
import {
  AddressFamily,
  DISCOVERY_ENTRY_BYTES,
  DiscoveryEntryAt,
  DiscoveryFlag,
  DiscoveryLogAt,
  DiscoverySubtype,
  SecurityType,
  TRADDR_BYTES,
  TransportType,
  Treq,
  TRSVCID_BYTES,
} from "../protocol/nvme_log.ts";
import { MPS_SHIFT_BASE } from "../protocol/nvme_property.ts";
import { type AdminQueueOptions, connectAdminQueue, read, readCapabilities } from "./admin_steps.ts";
import { getLogPageCommand, identifyControllerCommand } from "./commands.ts";
import { enable } from "./enable.ts";
import { parseController } from "./identify.ts";
import { AdminError, demand, type Steps } from "./steps.ts";

/** Entries that are read: some thousands of ports are more than any host connects to, and are 4 MiB. */
export const DISCOVERY_ENTRIES_MAX = 4096;
/** Times that the log is read before one that never stays the same is given up. */
export const DISCOVERY_READS_MAX = 8;

/** What an entry is about; "unknown" is a type that the specification did not have. */
export type DiscoverySubtypeName = "nvm" | "referral" | "current-discovery" | "unknown";

/** One entry, as it is told. */
export interface DiscoveryEntry {
  /** "tcp", "rdma", "fc", "intra-host" or "unknown". */
  transport: string;
  /** "ipv4", "ipv6", "ib", "fc", "intra-host" or "unknown". */
  addressFamily: string;
  subtype: DiscoverySubtypeName;
  subsystemNqn: string;
  traddr: string;
  trsvcid: string;
  portId: number;
  /** FFFFh: the controller is chosen at Connect; FFFEh: the same, but it is to be of a kind. */
  cntlid: number;
  /** Entries of the admin queue at most. */
  adminQueueSize: number;
  secureChannel: "not-specified" | "required" | "not-required";
  /** What secures the connection, of a TCP entry: "none", "tls" or "tls-1.3"; "unknown" for what came later. */
  security: string;
  /** Connect may turn submission queue flow control off. */
  flowControlDisable: boolean;
  /** An entry of this service itself: its other portals tell the same log. The flag means nothing in other entries. */
  duplicateInformation: boolean;
  /** A host may stay connected, and be told of changes. */
  persistentConnection: boolean;
}

/** The log at one moment. */
export interface DiscoveryLog {
  /** Changes with the log. */
  generation: bigint;
  entries: DiscoveryEntry[];
}

/**
 * Brings a discovery controller up and reads its log; the IC exchange is done. `chunkBytesMax` is the largest data that
 * one command may bring, at least an entry and the header.
 */
export function* discover(options: AdminQueueOptions & { chunkBytesMax: number }): Steps<DiscoveryLog> {
  assert(options.chunkBytesMax >= DISCOVERY_ENTRY_BYTES, "An entry fits into the data of a command");
  yield* connectAdminQueue(options);
  const capabilities = yield* readCapabilities();
  yield* enable(capabilities);
  const { controllerType, mdts } = yield* read(identifyControllerCommand(), parseController);
  if (controllerType !== ControllerType.NOT_REPORTED && controllerType !== ControllerType.DISCOVERY) {
    throw new AdminError(
      "unsupported",
      "The controller is not a discovery controller: it has no discovery log",
      false,
    );
  }
  const transferBytes = mdts === 0 ? Infinity : 2 ** (mdts + MPS_SHIFT_BASE + capabilities.mpsmin);
  return yield* readDiscoveryLog(Math.min(transferBytes, options.chunkBytesMax));
}

/** Reads the whole log, at most `chunkBytesMax` bytes a command. */
export function* readDiscoveryLog(chunkBytesMax: number): Steps<DiscoveryLog> {
  const chunkEntries = Math.floor(chunkBytesMax / DISCOVERY_ENTRY_BYTES);
  for (let reads = 0; reads < DISCOVERY_READS_MAX; reads++) {
    const header = yield* readHeader();
    const entries: DiscoveryEntry[] = [];
    while (entries.length < header.count) {
      entries.push(...yield* readEntries(entries.length, Math.min(chunkEntries, header.count - entries.length)));
    }
    if (header.count === 0 || (yield* readHeader()).generation === header.generation) {
      return { generation: header.generation, entries };
    }
  }
  throw new AdminError(
    "unreachable",
    `The discovery log has changed ${DISCOVERY_READS_MAX} times while it was read`,
    true,
  );
}

function* readHeader(): Steps<{ generation: bigint; count: number }> {
  const data = yield* readLog(0, DiscoveryLogAt.ENTRIES);
  const view = viewOf(data);
  const count = view.getBigUint64(DiscoveryLogAt.NUMREC, true);
  const format = view.getUint16(DiscoveryLogAt.RECFMT, true);
  if (format !== 0) {
    throw new AdminError("unsupported", `The discovery log has entries of the unknown format ${format}`, false);
  }
  if (count > BigInt(DISCOVERY_ENTRIES_MAX)) {
    const words = `The discovery log claims ${count} entries, and ${DISCOVERY_ENTRIES_MAX} are the most that are read`;
    throw new AdminError("unsupported", words, false);
  }
  return { generation: view.getBigUint64(DiscoveryLogAt.GENCTR, true), count: Number(count) };
}

function* readEntries(first: number, count: number): Steps<DiscoveryEntry[]> {
  const data = yield* readLog(DiscoveryLogAt.ENTRIES + first * DISCOVERY_ENTRY_BYTES, count * DISCOVERY_ENTRY_BYTES);
  return Array.from({ length: count }, (_, i) => parseDiscoveryEntry(data.subarray(i * DISCOVERY_ENTRY_BYTES)));
}

function* readLog(offset: number, bytes: number): Steps<Uint8Array> {
  const command = getLogPageCommand("discovery", { logId: LogId.DISCOVERY, nsid: 0, bytes, offset });
  const data = (yield* demand(command)).data ?? new Uint8Array(0);
  if (data.length >= bytes) return data;
  throw new AdminError("protocol", `The discovery log has ${data.length} bytes where ${bytes} were asked for`, true);
}

const TRANSPORTS: Readonly<Record<number, string>> = {
  [TransportType.RDMA]: "rdma",
  [TransportType.FIBRE_CHANNEL]: "fc",
  [TransportType.TCP]: "tcp",
  [TransportType.INTRA_HOST]: "intra-host",
};

const FAMILIES: Readonly<Record<number, string>> = {
  [AddressFamily.IPV4]: "ipv4",
  [AddressFamily.IPV6]: "ipv6",
  [AddressFamily.INFINIBAND]: "ib",
  [AddressFamily.FIBRE_CHANNEL]: "fc",
  [AddressFamily.INTRA_HOST]: "intra-host",
};

const SUBTYPES: Readonly<Record<number, DiscoverySubtypeName>> = {
  [DiscoverySubtype.REFERRAL]: "referral",
  [DiscoverySubtype.NVM]: "nvm",
  [DiscoverySubtype.CURRENT_DISCOVERY]: "current-discovery",
};

const SECURITY: Readonly<Record<number, string>> = {
  [SecurityType.NONE]: "none",
  [SecurityType.TLS]: "tls",
  [SecurityType.TLS_1_3]: "tls-1.3",
};

/** Reads an entry: 1024 bytes of anything. */
export function parseDiscoveryEntry(data: Uint8Array): DiscoveryEntry {
  assert(data.length >= DISCOVERY_ENTRY_BYTES, "An entry is read from all of its bytes");
  const view = viewOf(data);
  const at = DiscoveryEntryAt;
  const treq = data[at.TREQ];
  const flags = view.getUint16(at.EFLAGS, true);
  const transport = TRANSPORTS[data[at.TRTYPE]] ?? "unknown";
  const subtype = SUBTYPES[data[at.SUBTYPE]] ?? "unknown";
  return {
    transport,
    addressFamily: FAMILIES[data[at.ADRFAM]] ?? "unknown",
    subtype,
    subsystemNqn: text(data, at.SUBNQN, NQN_FIELD_BYTES),
    traddr: text(data, at.TRADDR, TRADDR_BYTES),
    trsvcid: text(data, at.TRSVCID, TRSVCID_BYTES),
    portId: view.getUint16(at.PORTID, true),
    cntlid: view.getUint16(at.CNTLID, true),
    adminQueueSize: view.getUint16(at.ASQSZ, true),
    secureChannel: secureChannel(treq & Treq.SECURE_CHANNEL_MASK),
    security: transport === "tcp" ? SECURITY[data[at.TSAS]] ?? "unknown" : "none",
    flowControlDisable: (treq & Treq.SQ_FLOW_CONTROL_DISABLE_SUPPORTED) !== 0,
    duplicateInformation: subtype === "current-discovery" &&
      (flags & DiscoveryFlag.DUPLICATE_RETURNED_INFORMATION) !== 0,
    persistentConnection: (flags & DiscoveryFlag.EXPLICIT_PERSISTENT_CONNECTION) !== 0,
  };
}

function secureChannel(treq: number): DiscoveryEntry["secureChannel"] {
  if (treq === Treq.SECURE_CHANNEL_REQUIRED) return "required";
  return treq === Treq.SECURE_CHANNEL_NOT_REQUIRED ? "not-required" : "not-specified";
}

/** Text that is padded with NULs, spaces or both, as targets do either; what is not printable becomes "?". */
function text(data: Uint8Array, start: number, bytes: number): string {
  const field = data.subarray(start, start + bytes);
  const end = field.indexOf(0);
  return new TextDecoder().decode(end < 0 ? field : field.subarray(0, end)).replace(/\p{C}|\ufffd/gu, "?").trim();
}

function viewOf(data: Uint8Array): DataView {
  return new DataView(data.buffer, data.byteOffset, data.byteLength);
}
