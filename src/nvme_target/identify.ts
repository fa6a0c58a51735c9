/** Answers Identify (Base 2.0, section 5.17). */

import { NSID_ALL, NSID_MAX } from "../protocol/nvme.ts";
import { CommandSet, IDENTIFY_BYTES, IDENTIFY_CDW11_CSI_SHIFT, IdentifyCns } from "../protocol/nvme_identify.ts";
import { StatusCode } from "../protocol/nvme_status.ts";
import { type AdminAnswer, refusal, successWithData } from "./admin_answer.ts";
import type { AdminCommand } from "./admin_command.ts";
import type { NamespaceDescription } from "./description.ts";
import {
  activeListData,
  commandSetsData,
  commonNamespaceData,
  controllerListData,
  discoveryControllerData,
  independentNamespaceData,
  ioControllerData,
  namespaceData,
  namespaceDescriptorsData,
  nvmControllerData,
} from "./identify_data.ts";
import type { Inventory } from "./inventory.ts";

/** CDW10: the structure in bits 7:0, a controller in bits 31:16. */
const CNS_MASK = 0xff;
const CNTID_SHIFT = 16;

/** Whom Identify is asked of. */
export interface IdentifyContext {
  inventory: Inventory;
  cntlid: number;
  isDiscovery: boolean;
  /** CNTLIDs of the I/O controllers that there are. */
  ioCntlids: () => number[];
}

type Data = Uint8Array<ArrayBuffer>;

/** A structure, or the status code that refuses it. */
type Found = Data | number;

/** Answers the command; its data has the size of every Identify structure. */
export function identify(command: AdminCommand, context: IdentifyContext): AdminAnswer {
  if (command.sglBytes !== IDENTIFY_BYTES) return refusal(StatusCode.DATA_SGL_LENGTH_INVALID);
  const found = context.isDiscovery ? discoveryStructure(command, context) : ioStructure(command, context);
  return typeof found === "number" ? refusal(found) : successWithData(found);
}

function discoveryStructure(command: AdminCommand, { inventory, cntlid }: IdentifyContext): Found {
  if ((command.cdw10 & CNS_MASK) !== IdentifyCns.CONTROLLER) return StatusCode.INVALID_FIELD;
  return discoveryControllerData(inventory.description, cntlid);
}

function ioStructure(command: AdminCommand, context: IdentifyContext): Found {
  const { inventory } = context;
  switch (command.cdw10 & CNS_MASK) {
    case IdentifyCns.NAMESPACE:
      if (command.nsid === NSID_ALL) return commonNamespaceData(inventory);
      return ofNamespace(command, context, (namespace) => namespaceData(inventory, namespace));
    case IdentifyCns.CONTROLLER:
      return ioControllerData(inventory, context.cntlid);
    case IdentifyCns.ACTIVE_NAMESPACE_LIST:
      return activeList(command, inventory);
    case IdentifyCns.NAMESPACE_DESCRIPTORS:
      return ofActiveNamespace(command, inventory, namespaceDescriptorsData);
    case IdentifyCns.INDEPENDENT_NAMESPACE:
      return ofNamespace(command, context, (namespace) => independentNamespaceData(inventory, namespace));
    case IdentifyCns.NAMESPACE_CONTROLLER_LIST:
      return ofActiveNamespace(command, inventory, () => controllerList(command, context));
    case IdentifyCns.CONTROLLER_LIST:
      return controllerList(command, context);
    case IdentifyCns.COMMAND_SETS:
      return commandSetsData();
    default:
      return commandSetStructure(command, context);
  }
}

/** Structures of one I/O command set, which can only be NVM; it has nothing to tell in most of them. */
function commandSetStructure(command: AdminCommand, context: IdentifyContext): Found {
  if (command.cdw11 >>> IDENTIFY_CDW11_CSI_SHIFT !== CommandSet.NVM) return StatusCode.INVALID_FIELD;
  switch (command.cdw10 & CNS_MASK) {
    case IdentifyCns.COMMAND_SET_NAMESPACE:
      if (command.nsid === NSID_ALL) return empty();
      return ofNamespace(command, context, empty);
    case IdentifyCns.COMMAND_SET_CONTROLLER:
      return nvmControllerData();
    case IdentifyCns.COMMAND_SET_ACTIVE_LIST:
      return activeList(command, context.inventory);
    default:
      return StatusCode.INVALID_FIELD;
  }
}

/** Of a namespace that is not active, all zeroes; of an NSID that cannot be, a refusal. */
function ofNamespace(
  { nsid }: AdminCommand,
  { inventory }: IdentifyContext,
  build: (namespace: NamespaceDescription) => Data,
): Found {
  const namespace = inventory.namespace(nsid);
  if (namespace !== null) return build(namespace);
  return nsid === 0 || nsid > (inventory.nsids.at(-1) ?? 0) ? StatusCode.INVALID_NAMESPACE_OR_FORMAT : empty();
}

function ofActiveNamespace(
  { nsid }: AdminCommand,
  inventory: Inventory,
  build: (namespace: NamespaceDescription) => Data,
): Found {
  const namespace = inventory.namespace(nsid);
  return namespace === null ? StatusCode.INVALID_NAMESPACE_OR_FORMAT : build(namespace);
}

function activeList({ nsid }: AdminCommand, inventory: Inventory): Found {
  return nsid >= NSID_MAX ? StatusCode.INVALID_NAMESPACE_OR_FORMAT : activeListData(inventory.nsids, nsid);
}

function controllerList(command: AdminCommand, context: IdentifyContext): Data {
  return controllerListData(context.ioCntlids(), command.cdw10 >>> CNTID_SHIFT);
}

function empty(): Data {
  return new Uint8Array(IDENTIFY_BYTES);
}
