/**
 * Bring-up of a controller over a connected admin queue, in the specification's order (Base 2.0, section 3.5.2): from
 * Connect to everything that I/O queues and the volume need to know. It is a generator: it yields a command or a wait,
 * and is resumed with the answer.
 *
 *     Connect → CAP, VS → disable if enabled → enable → ready → Identify Controller → NVM limits → number of queues
 *     → asynchronous events → active namespaces → Identify Namespace → descriptors → independent of the command set
 *     → ANA log
 *
 * Events come before what they tell changes of, or a change in between would never be told.
 *
 * Contract: nothing but {@linkcode AdminError} is thrown, whatever the controller answers.
 */

import { assert } from "../base/assert.ts";
import { AsyncEventConfig, NSID_MAX, SQE_BYTES } from "../protocol/nvme.ts";
import {
  CAPSULE_UNIT_BYTES,
  CommandSet,
  ControllerType,
  IdentifyCns,
  IOCCSZ_MIN,
  IORCSZ_MIN,
} from "../protocol/nvme_identify.ts";
import {
  type AdminQueueOptions,
  connectAdminQueue,
  read,
  readCapabilities,
  readIfSupported,
  tolerate,
} from "./admin_steps.ts";
import type { AnaLog } from "./ana.ts";
import { anaLogPlan, readAnaLog } from "./ana_log.ts";
import {
  identifyCommand,
  identifyControllerCommand,
  setAsyncEventConfigurationCommand,
  setHostBehaviorCommand,
  setNumberOfQueuesCommand,
} from "./commands.ts";
import { type Capabilities, enable } from "./enable.ts";
import {
  type ControllerIdentity,
  NVM_CONTROLLER_LIMITS_UNTOLD,
  type NvmControllerLimits,
  parseController,
  parseNvmController,
} from "./identify.ts";
import { type KnownNamespace, type NamespaceController, readNamespace } from "./namespace_steps.ts";
import { AdminError, demand, type Steps } from "./steps.ts";

export { ADMIN_QUEUE_DEPTH } from "./admin_steps.ts";
export { AdminError } from "./steps.ts";
export type { AdminStep, CommandAnswer, StepResult } from "./steps.ts";

export interface BringUpOptions extends AdminQueueOptions {
  /** The namespace that is wanted, 1 to `NSID_MAX`. */
  nsid: number;
  /** I/O queues to ask for, 1 or more. */
  wantedQueues: number;
  /** Commands to have outstanding on one I/O queue, 1 or more. */
  wantedQueueDepth: number;
}

/** A controller that is ready for I/O queues. */
export interface ConnectedController extends NamespaceController, KnownNamespace {
  cntlid: number;
  /** Its queues have flow control: it takes no Connect that switches that off. */
  flowControl: boolean;
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
  const { cntlid, flowControl } = yield* connectAdminQueue(options);
  const capabilities = yield* readCapabilities();
  yield* enable(capabilities);
  const controller = yield* identifyController(cntlid);
  const nvm = yield* identifyNvmController();
  if (controller.retryDelaysMs.some((delayMs) => delayMs !== 0)) yield* tolerate(setHostBehaviorCommand());
  const queues = yield* setNumberOfQueues(options.wantedQueues);
  const known = { capabilities, controller, nvm };
  const asyncEvents = yield* configureAsyncEvents(controller);
  // Namespace and ANA log are read after the events are configured: a change in between is told.
  const { namespace, descriptors, name, limits } = yield* readNamespace(known, options);
  const plan = anaLogPlan(controller, limits.maxTransferBytes);
  const anaLog = plan === null ? null : yield* readAnaLog(plan);
  return {
    cntlid,
    flowControl,
    ...known,
    namespace,
    descriptors,
    name,
    limits,
    queues,
    queueDepth: queueDepth(options.wantedQueueDepth, capabilities, controller),
    inCapsuleBytes: Math.min(controller.ioCommandCapsuleBytes - SQE_BYTES, limits.maxTransferBytes),
    keepAliveMs: controller.keepAliveGranularityMs === 0 ? null : options.keepAliveMs,
    asyncEvents,
    anaLog,
  };
}

function* identifyController(cntlid: number): Steps<ControllerIdentity> {
  const controller = yield* read(identifyControllerCommand(), parseController);
  if (controller.cntlid !== cntlid) {
    throw new AdminError("protocol", `Connect gave controller ID ${cntlid}, Identify ${controller.cntlid}`, true);
  }
  const type = controller.controllerType;
  if (type !== ControllerType.NOT_REPORTED && type !== ControllerType.IO) {
    const words = type === ControllerType.DISCOVERY ? "a discovery" : "an administrative";
    throw new AdminError("unsupported", `The controller is ${words} controller: it has no namespaces`, false);
  }
  checkCapsules(controller);
  return controller;
}

function checkCapsules(controller: ControllerIdentity): void {
  if (controller.sgls === 0) {
    throw new AdminError("protocol", "The controller does not support SGLs, which NVMe over TCP requires", false);
  }
  if (
    controller.ioCommandCapsuleBytes < IOCCSZ_MIN * CAPSULE_UNIT_BYTES ||
    controller.ioResponseCapsuleBytes < IORCSZ_MIN * CAPSULE_UNIT_BYTES
  ) {
    throw new AdminError("protocol", "The controller's I/O capsules do not hold a command and a response", false);
  }
  if (controller.inCapsuleDataOffset !== 0) {
    throw new AdminError("unsupported", "The controller wants in-capsule data at an offset", false);
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

/** Asks for the events that umpath acts on, as far as the controller offers them; those that it will tell. */
function* configureAsyncEvents(controller: ControllerIdentity): Steps<number> {
  const ana = controller.anaReporting ? AsyncEventConfig.ANA_CHANGE_NOTICES : 0;
  const events = controller.oaes & (AsyncEventConfig.NAMESPACE_ATTRIBUTE_NOTICES | ana);
  if (events === 0) return 0;
  return (yield* tolerate(setAsyncEventConfigurationCommand(events))) ? events : 0;
}

/** MQES and MAXCMD bound the depth. A queue of SQSIZE, 0's based, has at most that many commands outstanding. */
function queueDepth(wanted: number, capabilities: Capabilities, controller: ControllerIdentity): number {
  return Math.min(wanted, capabilities.mqes, controller.maxcmd || wanted);
}
