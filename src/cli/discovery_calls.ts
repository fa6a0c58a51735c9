/** How commands ask discovery services: by themselves, without the daemon. */
import type { UmpathError } from "../base/errors.ts";
import type { PathSpec } from "../rpc/host_api.ts";
import { TIMEOUT_DEFAULTS } from "../settings/timeouts.ts";
import type { Asker, Discovery, DiscoveryEntry } from "../host/daemon/discovery.ts";
import {
  HOST_IDENTITY_FILES,
  type HostIdentity,
  hostIdentity,
  type HostIdentityOptions,
} from "../host/daemon/host_identity.ts";
import { NVME_TCP_DISCOVERY_PORT } from "../protocol/nvme_tcp.ts";
import { uuidBytes } from "../settings/nqn.ts";
import { ensureRunDir, runDir } from "../rpc/run_dir.ts";
import { type HostEnd, pathOf } from "./discovered_paths.ts";
import type { Output } from "./output.ts";
import { parsePathSpec } from "./path_spec.ts";

/** The portal of a discovery service that `word` names. */
export function parseDiscoveryPortal(word: string): PathSpec {
  return parsePathSpec(word, { what: "portal", portDefault: NVME_TCP_DISCOVERY_PORT });
}

/** Who this host is, for a command that makes no run folder unless it has to keep that there. */
export function identityOf(named: Pick<HostIdentityOptions, "hostNqn" | "hostId">, output: Output): HostIdentity {
  const isNamed = named.hostNqn !== undefined && named.hostId !== undefined;
  const dir = isNamed || HOST_IDENTITY_FILES.every(isFile) ? runDir() : ensureRunDir();
  return hostIdentity({ ...named, runDirPath: dir.path, onWarning: (message) => output.warn(message) });
}

function isFile(path: string): boolean {
  try {
    return Deno.statSync(path).isFile;
  } catch {
    return false;
  }
}

/** That host as the one who asks. */
export function askerOf(identity: HostIdentity, connectTimeoutMs = TIMEOUT_DEFAULTS.connectTimeoutMs): Asker {
  return { hostNqn: identity.hostNqn, hostId: uuidBytes(identity.hostId), connectTimeoutMs };
}

/** Asks the service at `portal` and those that it refers to, out of this host the same way as to the portal. */
export async function discoverFrom(portal: PathSpec, asker: Asker): Promise<Discovery> {
  const { discoverFrom } = await import("../host/daemon/discovery.ts");
  return await discoverFrom(portal, { asker, portalOf: (entry) => referralOf(entry, portal) });
}

function referralOf(entry: DiscoveryEntry, { hostTraddr, hostIface }: HostEnd): PathSpec {
  const isSameFamily = hostTraddr !== null && hostTraddr.includes(":") === entry.traddr.includes(":");
  return pathOf(entry, { hostTraddr: isSameFamily ? hostTraddr : null, hostIface });
}

/** Says which referrals led nowhere. */
export function warnOfReferrals(failures: readonly UmpathError[], output: Output): void {
  for (const failure of failures) output.warn(`A referral cannot be followed: ${failure.message}`);
}

/** The active namespaces of a subsystem, from the first of its paths whose controller answers. */
export async function namespacesOf(nqn: string, paths: readonly PathSpec[], asker: Asker): Promise<number[]> {
  const { namespacesAt } = await import("../host/daemon/discovery.ts");
  let failure: unknown = new Error("A subsystem has a path");
  for (const path of paths) {
    try {
      return await namespacesAt(path, { nqn, asker });
    } catch (error) {
      failure = error;
    }
  }
  throw failure;
}
