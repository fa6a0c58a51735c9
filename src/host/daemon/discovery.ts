/**
 * Asking a discovery service, and the services that it refers to, one level deep. Nothing of it needs the daemon: each
 * question is an association of its own that ends with the answer.
 */
import { UmpathError } from "../../base/errors.ts";
import { ADMIN_DATA_BYTES } from "../../base/limits.ts";
import { Poller } from "../../io/poller.ts";
import { discover, type DiscoveryEntry } from "../../nvme_host/discovery.ts";
import { listNamespaces } from "../../nvme_host/list_namespaces.ts";
import { shutdown } from "../../nvme_host/retire.ts";
import { AdminError, type Steps } from "../../nvme_host/steps.ts";
import type { PathSpec } from "../../rpc/host_api.ts";
import { failureOf } from "../driver/controller_session.ts";
import { drive } from "../driver/drive.ts";
import { ConnectionLost, HostConnection } from "../driver/host_connection.ts";
import { DISCOVERY_NQN } from "../../settings/nqn.ts";

export type { DiscoveryEntry } from "../../nvme_host/discovery.ts";

/** Referrals of one log that are followed: each is a connection, all at once. */
export const REFERRALS_MAX = 16;

/** How long a controller may take to say that it is shut down, before it is left to itself. */
const SHUTDOWN_MS = 1_000;

/** Who asks, and how long one controller may take. */
export interface Asker {
  hostNqn: string;
  /** 16 bytes. */
  hostId: Uint8Array;
  connectTimeoutMs: number;
}

/** What one discovery service tells. */
export interface DiscoveryService {
  portal: PathSpec;
  generation: number;
  entries: DiscoveryEntry[];
}

/** What the services tell that could be asked, the first one first; and which referrals led nowhere. */
export interface Discovery {
  services: DiscoveryService[];
  failures: UmpathError[];
}

/**
 * Asks the discovery service at `portal`, and those that it refers to; what those refer to in turn is not followed.
 * `portalOf` makes the portal of a referral, or throws what is wrong with it.
 *
 * @throws UmpathError if the first one cannot be asked.
 */
export async function discoverFrom(
  portal: PathSpec,
  options: { asker: Asker; portalOf: (entry: DiscoveryEntry) => PathSpec },
): Promise<Discovery> {
  await using poller = new Poller();
  const first = await discoverAt(poller, portal, options.asker);
  const { portals, failures } = referrals(first, options.portalOf);
  const answers = await Promise.allSettled(portals.map((referral) => discoverAt(poller, referral, options.asker)));
  const services = [first];
  for (const answer of answers) {
    if (answer.status === "fulfilled") services.push(answer.value);
    else failures.push(UmpathError.from(answer.reason));
  }
  return { services, failures };
}

/** Where the log refers to, each address once. */
function referrals(
  { portal, entries }: DiscoveryService,
  portalOf: (entry: DiscoveryEntry) => PathSpec,
): { portals: PathSpec[]; failures: UmpathError[] } {
  const portals: PathSpec[] = [];
  const failures: UmpathError[] = [];
  for (const entry of entries) {
    if (entry.subtype !== "referral") continue;
    try {
      const referred = portalOf(entry);
      if (![portal, ...portals].some((known) => isSamePortal(known, referred))) portals.push(referred);
    } catch (error) {
      if (!(error instanceof UmpathError)) throw error;
      failures.push(error);
    }
  }
  const rest = portals.splice(REFERRALS_MAX).length;
  if (rest > 0) {
    failures.push(new UmpathError("usage", `Cannot follow more than ${REFERRALS_MAX} referrals: ${rest} are left out`));
  }
  return { portals, failures };
}

function isSamePortal(a: PathSpec, b: PathSpec): boolean {
  return a.traddr === b.traddr && a.trsvcid === b.trsvcid;
}

async function discoverAt(poller: Poller, portal: PathSpec, asker: Asker): Promise<DiscoveryService> {
  // Without a keep alive timeout: with one, this would be a persistent connection (Base 2.0, section 3.1.2.3).
  const admin = { ...asker, subsystemNqn: DISCOVERY_NQN, keepAliveMs: null };
  const steps = discover({ ...admin, chunkBytesMax: ADMIN_DATA_BYTES });
  const { generation, entries } = await askOnce(poller, { ...asker, spec: portal }, steps);
  return { portal, generation: Number(generation), entries };
}

/**
 * The active namespaces of a subsystem, as a controller at `spec` gives them.
 *
 * @throws UmpathError
 */
export async function namespacesAt(
  spec: PathSpec,
  { nqn, asker }: { nqn: string; asker: Asker },
): Promise<number[]> {
  const steps = listNamespaces({ ...asker, subsystemNqn: nqn, keepAliveMs: null });
  await using poller = new Poller();
  return await askOnce(poller, { ...asker, spec }, steps);
}

/** Connects an admin queue, carries out the steps and takes leave, all within `connectTimeoutMs`. */
async function askOnce<T>(poller: Poller, options: Asker & { spec: PathSpec }, steps: Steps<T>): Promise<T> {
  const startMs = performance.now();
  let admin: HostConnection | null = null;
  let timer: ReturnType<typeof setTimeout> | undefined;
  try {
    admin = await HostConnection.open(poller, options.spec, options.connectTimeoutMs);
    const connection = admin;
    const failLate = () => connection.fail(`it does not answer within ${options.connectTimeoutMs / 1000} s`);
    timer = setTimeout(failLate, Math.max(options.connectTimeoutMs - (performance.now() - startMs), 1));
    const result = await drive(admin, steps);
    await takeLeave(admin);
    return result;
  } catch (error) {
    throw failureOf(options, error, { isFinal: false });
  } finally {
    clearTimeout(timer);
    admin?.close();
  }
}

/** A controller that does not answer any more is left to itself: what was asked is answered. */
async function takeLeave(admin: HostConnection): Promise<void> {
  const timer = setTimeout(() => admin.close(), SHUTDOWN_MS);
  try {
    await drive(admin, shutdown(SHUTDOWN_MS));
  } catch (error) {
    if (!(error instanceof ConnectionLost || error instanceof AdminError)) throw error;
  } finally {
    clearTimeout(timer);
  }
}
