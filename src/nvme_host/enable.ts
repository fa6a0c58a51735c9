/** Enabling a controller by its properties: CAP, CC and CSTS (Base 2.0, sections 3.1.3 and 3.5). */

import {
  CAP_TO_UNIT_MS,
  CapCss,
  CapHigh,
  CapLow,
  Cc,
  CcCss,
  Csts,
  IOCQES_LOG2,
  IOSQES_LOG2,
  PropertyAt,
  VS_2_0,
} from "../protocol/nvme_property.ts";
import { propertyGetCommand, propertySetCommand } from "./commands.ts";
import { AdminError, demand, type Steps, wait } from "./steps.ts";

/** What CAP and VS say. */
export interface Capabilities {
  /** CAP.MQES: entries of a queue, 0's based; 1 or more. */
  mqes: number;
  /** How long a controller may take to become ready or not ready, milliseconds. */
  readyTimeoutMs: number;
  /** CAP.MPSMIN: the smallest memory page has 2^(12 + MPSMIN) bytes. */
  mpsmin: number;
  /** CC.CSS to enable with. */
  commandSetSelected: number;
  /** VS. */
  version: number;
  /** Identify has the structures that are independent of I/O command sets. */
  independentIdentify: boolean;
}

/** Time between two looks at CSTS, milliseconds: the first is short, for most controllers are ready at once. */
const READY_POLL_MS_MIN = 5;
const READY_POLL_MS_MAX = 100;

/** Reads CAP and VS. Throws {@linkcode AdminError} for a controller without the NVM command set or without room. */
export function parseCapabilities(raw: { capLow: number; capHigh: number; vs: number }): Capabilities {
  const mqes = raw.capLow & CapLow.MQES_MASK;
  if (mqes === 0) throw new AdminError("protocol", "The controller has no room for a queue (CAP.MQES is 0)", false);
  // CAP.TO is a worst case that some controllers give as 0, and rounded down: one unit more costs nothing.
  const timeoutUnits = (raw.capLow >>> CapLow.TO_SHIFT) + 1;
  return {
    mqes,
    readyTimeoutMs: timeoutUnits * CAP_TO_UNIT_MS,
    mpsmin: (raw.capHigh >>> CapHigh.MPSMIN_SHIFT) & CapHigh.MPSMIN_MASK,
    commandSetSelected: commandSet((raw.capHigh >>> CapHigh.CSS_SHIFT) & CapHigh.CSS_MASK),
    version: raw.vs >>> 0,
    independentIdentify: raw.vs >>> 0 >= VS_2_0 || (raw.capHigh & CapHigh.CRIMS) !== 0,
  };
}

function commandSet(css: number): number {
  if ((css & CapCss.NVM) !== 0) return CcCss.NVM;
  if ((css & CapCss.IO_COMMAND_SETS) !== 0) return CcCss.ALL_SUPPORTED;
  throw new AdminError("unsupported", "The controller does not have the NVM command set", false);
}

/** Enables the controller, after disabling it if it is enabled, and waits until it is ready. */
export function* enable(capabilities: Capabilities): Steps<void> {
  const { result0: found } = yield* demand(propertyGetCommand("CC", { offset: PropertyAt.CC, bytes: 4 }));
  if ((found & Cc.EN) !== 0) {
    yield* writeConfiguration(found & ~Cc.EN);
    yield* waitReady(capabilities, false);
  }
  yield* writeConfiguration(
    Cc.EN | (capabilities.commandSetSelected << Cc.CSS_SHIFT) | (capabilities.mpsmin << Cc.MPS_SHIFT) |
      (IOSQES_LOG2 << Cc.IOSQES_SHIFT) | (IOCQES_LOG2 << Cc.IOCQES_SHIFT),
  );
  yield* waitReady(capabilities, true);
}

function* writeConfiguration(value: number): Steps<void> {
  yield* demand(propertySetCommand("CC", { offset: PropertyAt.CC, value: value >>> 0 }));
}

/** Polls CSTS.RDY until it is `ready`, at most for the time that CAP.TO gives. */
function* waitReady(capabilities: Capabilities, ready: boolean): Steps<void> {
  let waitedMs = 0;
  let pollMs = READY_POLL_MS_MIN;
  for (;;) {
    const { result0: csts } = yield* demand(propertyGetCommand("CSTS", { offset: PropertyAt.CSTS, bytes: 4 }));
    // A controller that is being disabled may still show the fatal status that it is disabled for.
    if (ready && (csts & Csts.CFS) !== 0) {
      throw new AdminError("unreachable", "The controller reports a fatal status (CSTS.CFS)", true);
    }
    if (((csts & Csts.RDY) !== 0) === ready) return;
    if (waitedMs >= capabilities.readyTimeoutMs) {
      const words = `The controller is not ${ready ? "ready" : "disabled"} after ${waitedMs} ms (CSTS.RDY)`;
      throw new AdminError("unreachable", words, true);
    }
    yield* wait(pollMs, `the controller does not become ${ready ? "ready" : "disabled"} (CSTS.RDY)`);
    waitedMs += pollMs;
    pollMs = Math.min(2 * pollMs, READY_POLL_MS_MAX);
  }
}
