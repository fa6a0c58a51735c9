/** Identify of one namespace: at bring-up, and again when the controller says that it has changed. */

import { ACTIVE_LIST_NSIDS, CommandSet, IdentifyCns } from "../protocol/nvme_identify.ts";
import { read, readIfSupported } from "./admin_steps.ts";
import { identifyCommand } from "./commands.ts";
import type { Capabilities } from "./enable.ts";
import {
  type ControllerIdentity,
  INDEPENDENT_NAMESPACE_UNTOLD,
  type IndependentNamespace,
  NAMESPACE_DESCRIPTORS_UNTOLD,
  type NamespaceDescriptors,
  type NamespaceIdentity,
  type NvmControllerLimits,
  parseActiveList,
  parseIndependentNamespace,
  parseNamespace,
  parseNamespaceDescriptors,
} from "./identify.ts";
import { type NamespaceLimits, namespaceLimits, type NamespaceName, namespaceName } from "./namespace.ts";
import { AdminError, type Steps } from "./steps.ts";

/** NSIDs that a message lists. */
const NSIDS_TOLD_MAX = 16;
/** Pages of active namespaces that are read: a controller that gives more has more than anybody attaches. */
const ACTIVE_LISTS_MAX = 64;

/** What the reading of a namespace needs to know of its controller. */
export interface NamespaceController {
  capabilities: Capabilities;
  controller: ControllerIdentity;
  nvm: NvmControllerLimits;
}

/** What a controller says of a namespace. */
export interface KnownNamespace {
  namespace: NamespaceIdentity;
  descriptors: NamespaceDescriptors;
  /** What proves which namespace this is. */
  name: NamespaceName;
  limits: NamespaceLimits;
}

/** Learns what there is to know of a namespace. It ends with "not-found" and what there is instead if there is none. */
export function* readNamespace(
  known: NamespaceController,
  wanted: { nsid: number; subsystemNqn: string },
): Steps<KnownNamespace> {
  const { capabilities, controller, nvm } = known;
  const { nsid } = wanted;
  yield* findNamespace(nsid);
  const namespace = yield* identifyNamespace(nsid);
  const descriptors = yield* identifyDescriptors(nsid);
  const independent = yield* identifyIndependent(capabilities, nsid);
  return {
    namespace,
    descriptors,
    name: namespaceName(controller.subsystemNqn || wanted.subsystemNqn, namespace, descriptors),
    limits: namespaceLimits({ controller, nvm, namespace, independent, mpsmin: capabilities.mpsmin }),
  };
}

/** Every active NSID, in rising order. */
export function* readActiveNamespaces(): Steps<number[]> {
  const nsids: number[] = [];
  for (let list = 0; list < ACTIVE_LISTS_MAX; list++) {
    const more = yield* readActiveList(nsids.at(-1) ?? 0);
    // A controller that does not go on where it is asked to would be asked for ever.
    if (more.length > 0 && more[0] <= (nsids.at(-1) ?? 0)) {
      throw new AdminError("protocol", "The Active Namespace ID list begins anew where it has to go on", true);
    }
    nsids.push(...more);
    if (more.length < ACTIVE_LIST_NSIDS) break;
  }
  return nsids;
}

/** Ends bring-up with what there is instead, unless the controller has the namespace. */
function* findNamespace(nsid: number): Steps<void> {
  const nsids = yield* readActiveList(0);
  if (nsids.includes(nsid)) return;
  const more = nsids.length === ACTIVE_LIST_NSIDS && nsids[ACTIVE_LIST_NSIDS - 1] < nsid;
  if (more && (yield* readActiveList(nsid - 1))[0] === nsid) return;
  throw new AdminError("not-found", `The subsystem has no namespace ${nsid} (${nsidsWords(nsids)})`, false);
}

/** Active NSIDs above `above`, at most 1024. */
function* readActiveList(above: number): Steps<number[]> {
  const command = identifyCommand("active namespaces", { cns: IdentifyCns.ACTIVE_NAMESPACE_LIST, nsid: above });
  return yield* read(command, parseActiveList);
}

function nsidsWords(nsids: readonly number[]): string {
  if (nsids.length === 0) return "it has none for this host";
  const told = nsids.slice(0, NSIDS_TOLD_MAX).join(", ");
  const rest = nsids.length - NSIDS_TOLD_MAX;
  return `it has ${told}${
    rest > 0 ? ` and ${rest === ACTIVE_LIST_NSIDS - NSIDS_TOLD_MAX ? "more" : `${rest} more`}` : ""
  }`;
}

function* identifyNamespace(nsid: number): Steps<NamespaceIdentity> {
  const command = identifyCommand("namespace", { cns: IdentifyCns.NAMESPACE, nsid });
  return yield* read(command, (data) => parseNamespace(data, nsid));
}

function* identifyDescriptors(nsid: number): Steps<NamespaceDescriptors> {
  const command = identifyCommand("namespace descriptors", { cns: IdentifyCns.NAMESPACE_DESCRIPTORS, nsid });
  const descriptors = (yield* readIfSupported(command, parseNamespaceDescriptors)) ?? NAMESPACE_DESCRIPTORS_UNTOLD;
  if (descriptors.commandSet !== CommandSet.NVM) {
    const words = `Namespace ${nsid} is of the I/O command set ${descriptors.commandSet}, not of NVM`;
    throw new AdminError("unsupported", words, false);
  }
  return descriptors;
}

/** What only newer controllers tell; others are not asked, for not all of them refuse what they do not know. */
function* identifyIndependent(capabilities: Capabilities, nsid: number): Steps<IndependentNamespace> {
  if (!capabilities.independentIdentify) return INDEPENDENT_NAMESPACE_UNTOLD;
  const command = identifyCommand("independent namespace", { cns: IdentifyCns.INDEPENDENT_NAMESPACE, nsid });
  return (yield* readIfSupported(command, parseIndependentNamespace)) ?? INDEPENDENT_NAMESPACE_UNTOLD;
}
