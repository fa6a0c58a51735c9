/**
 * The discovery log of one host at one listener (Base 2.0, section 5.16.1.23): where the subsystem can be reached, and the
 * discovery service that is asked.
 */

import { CNTLID_DYNAMIC, DISCOVERY_NQN, NQN_FIELD_BYTES } from "../protocol/nvme_fabrics.ts";
import {
  AddressFamily,
  ADMIN_SQ_ENTRIES_MIN,
  DISCOVERY_ENTRY_BYTES,
  DiscoveryEntryAt,
  DiscoveryFlag,
  DiscoveryLogAt,
  DiscoverySubtype,
  TRADDR_BYTES,
  TransportType,
  Treq,
  TRSVCID_BYTES,
} from "../protocol/nvme_log.ts";
import { ByteFields } from "./byte_fields.ts";
import type { ListenerDescription } from "./description.ts";
import type { Inventory } from "./inventory.ts";

interface Entry {
  listener: ListenerDescription;
  subtype: number;
  nqn: string;
  flags: number;
}

export interface DiscoveryReader {
  hostNqn: string;
  /** The listener that the discovery controller is at. */
  listener: number;
}

/**
 * The log page. A host that may not connect is told of the discovery service only. That entry says that it tells nothing
 * new, so that no host follows it, and that it can be stayed connected to. No entry says that a secure channel is "not
 * required", as would be true: nvme-cli takes that for an offer of TLS, and connects with nothing else.
 */
export function discoveryPage(inventory: Inventory, reader: DiscoveryReader): Uint8Array<ArrayBuffer> {
  const entries = entriesFor(inventory, reader);
  const fields = new ByteFields(DiscoveryLogAt.ENTRIES + entries.length * DISCOVERY_ENTRY_BYTES)
    .u64(DiscoveryLogAt.GENCTR, inventory.discoveryGeneration)
    .u64(DiscoveryLogAt.NUMREC, entries.length);
  entries.forEach((entry, i) => writeEntry(fields, DiscoveryLogAt.ENTRIES + i * DISCOVERY_ENTRY_BYTES, entry));
  return fields.bytes;
}

function entriesFor(inventory: Inventory, { hostNqn, listener }: DiscoveryReader): Entry[] {
  const current = inventory.listener(listener);
  const flags = DiscoveryFlag.DUPLICATE_RETURNED_INFORMATION | DiscoveryFlag.EXPLICIT_PERSISTENT_CONNECTION;
  const own = current === null ? [] : [
    { listener: current, subtype: DiscoverySubtype.CURRENT_DISCOVERY, nqn: DISCOVERY_NQN, flags },
  ];
  if (!inventory.isHostAllowed(hostNqn)) return own;
  const { nqn } = inventory.description;
  const portals = inventory.listeners.map((listener) => ({ listener, subtype: DiscoverySubtype.NVM, nqn, flags: 0 }));
  return [...own, ...portals];
}

function writeEntry(fields: ByteFields, at: number, { listener, subtype, nqn, flags }: Entry): void {
  const isIpv6 = listener.traddr.includes(":");
  fields.u8(at + DiscoveryEntryAt.TRTYPE, TransportType.TCP)
    .u8(at + DiscoveryEntryAt.ADRFAM, isIpv6 ? AddressFamily.IPV6 : AddressFamily.IPV4)
    .u8(at + DiscoveryEntryAt.SUBTYPE, subtype)
    .u8(at + DiscoveryEntryAt.TREQ, Treq.SECURE_CHANNEL_NOT_SPECIFIED | Treq.SQ_FLOW_CONTROL_DISABLE_SUPPORTED)
    .u16(at + DiscoveryEntryAt.PORTID, listener.index + 1)
    .u16(at + DiscoveryEntryAt.CNTLID, CNTLID_DYNAMIC)
    .u16(at + DiscoveryEntryAt.ASQSZ, ADMIN_SQ_ENTRIES_MIN)
    .u16(at + DiscoveryEntryAt.EFLAGS, flags)
    .text(at + DiscoveryEntryAt.TRSVCID, TRSVCID_BYTES, String(listener.trsvcid))
    .nulText(at + DiscoveryEntryAt.SUBNQN, NQN_FIELD_BYTES, nqn)
    .text(at + DiscoveryEntryAt.TRADDR, TRADDR_BYTES, listener.traddr);
}
