/** Paths and portals from what discovery logs say; every word of a log is checked as one of the command line is. */
import { UmpathError } from "../base/errors.ts";
import { quote } from "../base/text.ts";
import type { PathSpec } from "../rpc/host_api.ts";
import { isSamePath } from "../rpc/path_words.ts";
import { nqnFault } from "../settings/nqn.ts";
import type { DiscoveryEntry } from "../host/daemon/discovery.ts";
import { parsePathSpec } from "./path_spec.ts";

/** A way out of this host: an address, an interface, or whatever the kernel picks. */
export type HostEnd = Pick<PathSpec, "hostTraddr" | "hostIface">;

/** The paths to one subsystem. */
export interface DiscoveredPaths {
  paths: PathSpec[];
  /** Why entries were left out, each reason once, in words. */
  leftOut: string[];
  /** True if an entry was left out only because it requires TLS. */
  needsTls: boolean;
}

/** Subsystems that entries tell of, each once, in the order of the entries. `onLeftOut` gets a sentence for each bad name. */
export function subsystemsOf(
  entries: readonly DiscoveryEntry[],
  onLeftOut: (message: string) => void = () => {},
): string[] {
  const nqns = entries.filter((entry) => entry.subtype === "nvm").map((entry) => entry.subsystemNqn);
  return [...new Set(nqns)].filter((nqn) => {
    const fault = nqnFault(nqn);
    if (fault !== null) onLeftOut(`The discovery log has a subsystem that is left out: its NQN ${quote(nqn)} ${fault}`);
    return fault === null;
  });
}

/**
 * Every portal of the subsystem from every host end. A host end of another address family than the portal's is no path
 * and not worth a word; what cannot be used besides is told.
 */
export function pathsTo(
  nqn: string,
  entries: readonly DiscoveryEntry[],
  hostEnds: readonly HostEnd[],
): DiscoveredPaths {
  const found: DiscoveredPaths = { paths: [], leftOut: [], needsTls: false };
  for (const entry of entries) {
    if (entry.subtype !== "nvm" || entry.subsystemNqn !== nqn) continue;
    for (const hostEnd of hostEnds.filter((end) => isOfFamily(end, entry.traddr))) take(found, entry, hostEnd);
    found.needsTls ||= entry.secureChannel === "required";
  }
  return found;
}

function take({ paths, leftOut }: DiscoveredPaths, entry: DiscoveryEntry, hostEnd: HostEnd): void {
  try {
    const path = pathOf(entry, hostEnd);
    if (!paths.some((other) => isSamePath(other, path))) paths.push(path);
  } catch (error) {
    if (!(error instanceof UmpathError)) throw error;
    if (!leftOut.includes(error.message)) leftOut.push(error.message);
  }
}

/**
 * The path, or the portal of a referral, that an entry tells of, from a host end.
 *
 * @throws UmpathError with what is wrong with the entry.
 */
export function pathOf(entry: DiscoveryEntry, hostEnd: HostEnd): PathSpec {
  const fault = faultOf(entry);
  const traddr = entry.traddr.replace(/%.*$/, "");
  if (fault !== null) {
    throw new UmpathError("refused", `Cannot use what the discovery log says of ${entryWords(entry)}: ${fault}`);
  }
  const host = traddr.includes(":") ? `[${traddr}]` : traddr;
  return { ...parsePathSpec(linkLocalWord(`tcp://${host}:${entry.trsvcid}`, hostEnd.hostIface)), ...hostEnd };
}

/** The parser asks for the interface of a link-local address. */
function linkLocalWord(word: string, hostIface: string | null): string {
  return hostIface === null ? word : `${word}?host-iface=${hostIface}`;
}

function faultOf(entry: DiscoveryEntry): string | null {
  if (entry.transport !== "tcp") return `its transport is ${entry.transport}, not tcp`;
  if (entry.secureChannel === "required") return "it requires TLS, which umpath does not support";
  if (!/^[0-9A-Fa-f:.]+(%.*)?$/.test(entry.traddr)) return `${quote(entry.traddr)} is not an IPv4 or IPv6 address`;
  if (!/^\d{1,5}$/.test(entry.trsvcid)) return `${quote(entry.trsvcid)} is not a port`;
  return null;
}

/** An entry's address in words, whatever it is. */
export function entryWords({ traddr, trsvcid }: DiscoveryEntry): string {
  return `${traddr.includes(":") ? `[${traddr}]` : traddr}${trsvcid === "" ? "" : `:${trsvcid}`}`;
}

function isOfFamily({ hostTraddr }: HostEnd, traddr: string): boolean {
  return hostTraddr === null || hostTraddr.includes(":") === traddr.includes(":");
}
