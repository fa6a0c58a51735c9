/**
 * Bring-up of a controller over a connected admin queue, in the specification's order (Base 2.0, section 3.5.2): from
 * Connect to everything that I/O queues and the volume need to know. It is a generator: it yields a command or a wait,
 * and is resumed with the answer.
 *
 *     Connect → CAP, VS → disable if enabled → enable → ready → Identify Controller → NVM limits → number of queues
 *     → active namespaces → Identify Namespace → descriptors → independent of the command set → asynchronous events
 *     → ANA log
 *
 * Contract: nothing but {@linkcode BringUpError} is thrown, whatever the controller answers.
 */

import { assert } from "../base/assert.ts";
import { midSentence } from "../base/text.ts";
import { AsyncEventConfig, NSID_MAX, SQE_BYTES } from "../spec/nvme.ts";
import { CNTLID_DYNAMIC, ConnectDw0, QID_ADMIN } from "../spec/nvme_fabrics.ts";
import {
  ACTIVE_LIST_NSIDS,
  CAPSULE_UNIT_BYTES,
  CommandSet,
  ControllerType,
  IdentifyCns,
  IOCCSZ_MIN,
  IORCSZ_MIN,
} from "../spec/nvme_identify.ts";
import { PropertyAt } from "../spec/nvme_property.ts";
import { type AnaLog, anaLogCommand, AnaLogError, parseAnaLog } from "./ana.ts";
import {
  type AdminCommand,
  connectCommand,
  identifyCommand,
  propertyGetCommand,
  setAsyncEventConfigurationCommand,
  setHostBehaviorCommand,
  setNumberOfQueuesCommand,
} from "./commands.ts";
import { type Capabilities, enable, parseCapabilities } from "./enable.ts";
import {
  type ControllerIdentity,
  IdentifyError,
  INDEPENDENT_NAMESPACE_UNTOLD,
  type IndependentNamespace,
  NAMESPACE_DESCRIPTORS_UNTOLD,
  type NamespaceDescriptors,
  type NamespaceIdentity,
  NVM_CONTROLLER_LIMITS_UNTOLD,
  type NvmControllerLimits,
  parseActiveList,
  parseController,
  parseIndependentNamespace,
  parseNamespace,
  parseNamespaceDescriptors,
  parseNvmController,
} from "./identify.ts";
import { type NamespaceLimits, namespaceLimits, type NamespaceName, namespaceName } from "./namespace.ts";
import { connectRefusal, statusDisposition } from "./status.ts";
import { ask, BringUpError, commandFailure, demand, type Steps } from "./steps.ts";

export { BringUpError } from "./steps.ts";
export type { BringUpStep, CommandAnswer, StepResult } from "./steps.ts";

/** Commands that may be outstanding on the admin queue; also its SQSIZE, 0's based. */
export const ADMIN_QUEUE_DEPTH = 31;

/** CNTLIDs from here on are reserved (Base 2.0, section 6.3). */
const CNTLID_RESERVED = 0xfff0;
/** NSIDs that a message lists. */
const NSIDS_TOLD_MAX = 16;

export interface BringUpOptions {
  subsystemNqn: string;
  hostNqn: string;
  /** 16 bytes. */
  hostId: Uint8Array;
  /** The namespace that is wanted, 1 to `NSID_MAX`. */
  nsid: number;
  /** Keep alive timeout to ask for, milliseconds; null: none. */
  keepAliveMs: number | null;
  /** I/O queues to ask for, 1 or more. */
  wantedQueues: number;
  /** Commands to have outstanding on one I/O queue, 1 or more. */
  wantedQueueDepth: number;
}

/** A controller that is ready for I/O queues. */
export interface ConnectedController {
  cntlid: number;
  controller: ControllerIdentity;
  namespace: NamespaceIdentity;
  descriptors: NamespaceDescriptors;
  /** What proves which namespace this is. */
  name: NamespaceName;
  limits: NamespaceLimits;
  /** I/O queues to connect: 1 to `wantedQueues`. */
  queues: number;
  /** Commands that one I/O queue may have outstanding: what `connectIoQueueCommand` takes. */
  queueDepth: number;
  /** In-capsule data of an I/O queue, bytes; 0 is none. */
  inCapsuleBytes: number;
  /** Keep alive timeout in force, milliseconds; null: send no Keep Alive. */
  keepAliveMs: number | null;
  /** Events that will be told, bits of `AsyncEventConfig`; 0: send no Asynchronous Event Request. */
  asyncEvents: number;
  /** Null if the controller does not report ANA. */
  anaLog: AnaLog | null;
}

/** Brings a controller up; the IC exchange is done. Waits are answered with null, commands with their completion. */
export function* bringUp(options: BringUpOptions): Steps<ConnectedController> {
  assert(options.nsid >= 1 && options.nsid <= NSID_MAX, "The namespace is checked where it is read from the user");
  const cntlid = yield* connect(options);
  const capabilities = yield* readCapabilities();
  yield* enable(capabilities);
  const controller = yield* identifyController(cntlid);
  const nvm = yield* identifyNvmController();
  if (controller.retryDelaysMs.some((delayMs) => delayMs !== 0)) yield* tolerate(setHostBehaviorCommand());
  const queues = yield* setNumberOfQueues(options.wantedQueues);
  yield* findNamespace(options.nsid);
  const namespace = yield* identifyNamespace(options.nsid);
  const descriptors = yield* identifyDescriptors(options.nsid);
  const independent = yield* identifyIndependent(capabilities, options.nsid);
  const limits = namespaceLimits({ controller, nvm, namespace, independent, mpsmin: capabilities.mpsmin });
  const asyncEvents = yield* configureAsyncEvents(controller);
  const anaLog = yield* readAnaLog(controller, limits.maxTransferBytes);
  return {
    cntlid,
    controller,
    namespace,
    descriptors,
    name: namespaceName(controller.subsystemNqn || options.subsystemNqn, namespace, descriptors),
    limits,
    queues,
    queueDepth: queueDepth(options.wantedQueueDepth, capabilities, controller),
    inCapsuleBytes: Math.min(controller.ioCommandCapsuleBytes - SQE_BYTES, limits.maxTransferBytes),
    keepAliveMs: controller.keepAliveGranularityMs === 0 ? null : options.keepAliveMs,
    asyncEvents,
    anaLog,
  };
}

/** Connects the admin queue; the CNTLID that the controller gave. */
function* connect(options: BringUpOptions): Steps<number> {
  const command = connectCommand({
    qid: QID_ADMIN,
    sqsize: ADMIN_QUEUE_DEPTH,
    keepAliveMs: options.keepAliveMs ?? 0,
    hostId: options.hostId,
    cntlid: CNTLID_DYNAMIC,
    subsystemNqn: options.subsystemNqn,
    hostNqn: options.hostNqn,
  });
  const answer = yield* ask(command);
  if (answer.status !== 0) {
    const refusal = connectRefusal(answer.status, answer.result0);
    throw new BringUpError(refusal.kind, refusal.words, refusal.retryable, answer.status);
  }
  const cntlid = answer.result0 & ConnectDw0.CNTLID_MASK;
  const authentication = ConnectDw0.AUTHENTICATION_REQUIRED | ConnectDw0.SECURE_CHANNEL_REQUIRED;
  if ((answer.result0 & authentication) !== 0) {
    throw new BringUpError("refused", "The target requires authentication, which is not configured", false);
  }
  if (cntlid >= CNTLID_RESERVED) {
    throw new BringUpError("protocol", `Connect gave the reserved controller ID ${cntlid}`, true);
  }
  return cntlid;
}

function* readCapabilities(): Steps<Capabilities> {
  const cap = yield* demand(propertyGetCommand("CAP", { offset: PropertyAt.CAP, bytes: 8 }));
  const vs = yield* demand(propertyGetCommand("VS", { offset: PropertyAt.VS, bytes: 4 }));
  return parseCapabilities({ capLow: cap.result0, capHigh: cap.result1, vs: vs.result0 });
}

function* identifyController(cntlid: number): Steps<ControllerIdentity> {
  const command = identifyCommand("controller", { cns: IdentifyCns.CONTROLLER, nsid: 0 });
  const controller = yield* read(command, parseController);
  if (controller.cntlid !== cntlid) {
    throw new BringUpError("protocol", `Connect gave controller ID ${cntlid}, Identify ${controller.cntlid}`, true);
  }
  const type = controller.controllerType;
  if (type !== ControllerType.NOT_REPORTED && type !== ControllerType.IO) {
    const words = type === ControllerType.DISCOVERY ? "a discovery" : "an administrative";
    throw new BringUpError("unsupported", `The controller is ${words} controller: it has no namespaces`, false);
  }
  checkCapsules(controller);
  return controller;
}

function checkCapsules(controller: ControllerIdentity): void {
  if (controller.sgls === 0) {
    throw new BringUpError("protocol", "The controller does not support SGLs, which NVMe over TCP requires", false);
  }
  if (
    controller.ioCommandCapsuleBytes < IOCCSZ_MIN * CAPSULE_UNIT_BYTES ||
    controller.ioResponseCapsuleBytes < IORCSZ_MIN * CAPSULE_UNIT_BYTES
  ) {
    throw new BringUpError("protocol", "The controller's I/O capsules do not hold a command and a response", false);
  }
  if (controller.inCapsuleDataOffset !== 0) {
    throw new BringUpError("unsupported", "The controller wants in-capsule data at an offset", false);
  }
}

/** Limits that only newer controllers tell. */
function* identifyNvmController(): Steps<NvmControllerLimits> {
  const command = identifyCommand("NVM controller", {
    cns: IdentifyCns.COMMAND_SET_CONTROLLER,
    nsid: 0,
    csi: CommandSet.NVM,
  });
  return (yield* readIfSupported(command, parseNvmController)) ?? NVM_CONTROLLER_LIMITS_UNTOLD;
}

function* setNumberOfQueues(wanted: number): Steps<number> {
  const { result0 } = yield* demand(setNumberOfQueuesCommand(wanted));
  const submission = (result0 & 0xffff) + 1;
  const completion = (result0 >>> 16) + 1;
  return Math.min(wanted, submission, completion);
}

/** Ends bring-up with what there is instead, unless the controller has the namespace. */
function* findNamespace(nsid: number): Steps<void> {
  const nsids = yield* readActiveList(0);
  if (nsids.includes(nsid)) return;
  const more = nsids.length === ACTIVE_LIST_NSIDS && nsids[ACTIVE_LIST_NSIDS - 1] < nsid;
  if (more && (yield* readActiveList(nsid - 1))[0] === nsid) return;
  throw new BringUpError("not-found", `The controller has no namespace ${nsid}: ${nsidsWords(nsids)}`, false);
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
    throw new BringUpError("unsupported", words, false);
  }
  return descriptors;
}

/** What only newer controllers tell; others are not asked, for not all of them refuse what they do not know. */
function* identifyIndependent(capabilities: Capabilities, nsid: number): Steps<IndependentNamespace> {
  if (!capabilities.independentIdentify) return INDEPENDENT_NAMESPACE_UNTOLD;
  const command = identifyCommand("independent namespace", { cns: IdentifyCns.INDEPENDENT_NAMESPACE, nsid });
  return (yield* readIfSupported(command, parseIndependentNamespace)) ?? INDEPENDENT_NAMESPACE_UNTOLD;
}

/** Asks for the events that umpath acts on, as far as the controller offers them; those that it will tell. */
function* configureAsyncEvents(controller: ControllerIdentity): Steps<number> {
  const ana = controller.anaReporting ? AsyncEventConfig.ANA_CHANGE_NOTICES : 0;
  const events = controller.oaes & (AsyncEventConfig.NAMESPACE_ATTRIBUTE_NOTICES | ana);
  if (events === 0) return 0;
  return (yield* tolerate(setAsyncEventConfigurationCommand(events))) ? events : 0;
}

/** Read after the events are configured: a change in between is told. */
function* readAnaLog(controller: ControllerIdentity, transferBytesMax: number): Steps<AnaLog | null> {
  const command = anaLogCommand(controller, transferBytesMax);
  return command === null ? null : yield* read(command, parseAnaLog);
}

/** MQES and MAXCMD bound the depth. A queue of SQSIZE, 0's based, has at most that many commands outstanding. */
function queueDepth(wanted: number, capabilities: Capabilities, controller: ControllerIdentity): number {
  return Math.min(wanted, capabilities.mqes, controller.maxcmd || wanted);
}

/** Sends a command that has to succeed and reads its data. */
function* read<T>(command: AdminCommand, parse: (data: Uint8Array) => T): Steps<T> {
  const answer = yield* demand(command);
  return parsed(command, answer.data, parse);
}

/** Sends a command that a controller need not support; null if it does not. */
function* readIfSupported<T>(command: AdminCommand, parse: (data: Uint8Array) => T): Steps<T | null> {
  const answer = yield* ask(command);
  if (answer.status === 0) return parsed(command, answer.data, parse);
  if (statusDisposition(answer.status) === "fail") return null;
  throw commandFailure(command, answer.status);
}

/** Sends a command that a controller need not support; whether it did. */
function* tolerate(command: AdminCommand): Steps<boolean> {
  const answer = yield* ask(command);
  if (answer.status === 0) return true;
  if (statusDisposition(answer.status) === "fail") return false;
  throw commandFailure(command, answer.status);
}

function parsed<T>(command: AdminCommand, data: Uint8Array | null, parse: (data: Uint8Array) => T): T {
  try {
    return parse(data ?? new Uint8Array(0));
  } catch (cause) {
    if (!(cause instanceof IdentifyError) && !(cause instanceof AnaLogError)) throw cause;
    const kind = cause instanceof IdentifyError ? cause.kind : "protocol";
    throw new BringUpError(
      kind,
      `Cannot use the answer to ${command.name}: ${midSentence(cause.message)}`,
      kind === "protocol",
    );
  }
}
