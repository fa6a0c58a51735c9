/** Telling a controller that its host leaves, so that it executes nothing any more (Base 2.0, sections 3.5.3 and 3.6). */

import { Cc, CcShn, Csts, CstsShst, PropertyAt } from "../protocol/nvme_property.ts";
import { propertyGetCommand, propertySetCommand } from "./commands.ts";
import { demand, type Steps, wait } from "./steps.ts";

const POLL_MS = 10;

/**
 * Resets the controller: CC.EN to 0, then until CSTS.RDY is 0. From then on none of its commands is executed. True if
 * it says so within `timeoutMs`.
 */
export function* reset(timeoutMs: number): Steps<boolean> {
  const { result0: cc } = yield* demand(propertyGetCommand("CC", { offset: PropertyAt.CC, bytes: 4 }));
  yield* demand(propertySetCommand("CC", { offset: PropertyAt.CC, value: (cc & ~Cc.EN) >>> 0 }));
  return yield* untilStatus((csts) => (csts & Csts.RDY) === 0, timeoutMs);
}

/** A normal shutdown: CC.SHN, then until CSTS.SHST says that it is complete. True if it says so within `timeoutMs`. */
export function* shutdown(timeoutMs: number): Steps<boolean> {
  const { result0: cc } = yield* demand(propertyGetCommand("CC", { offset: PropertyAt.CC, bytes: 4 }));
  const value = (cc & ~(CcShn.MASK << Cc.SHN_SHIFT)) | (CcShn.NORMAL << Cc.SHN_SHIFT);
  yield* demand(propertySetCommand("CC", { offset: PropertyAt.CC, value: value >>> 0 }));
  return yield* untilStatus((csts) => ((csts >>> Csts.SHST_SHIFT) & Csts.SHST_MASK) === CstsShst.COMPLETE, timeoutMs);
}

function* untilStatus(isDone: (csts: number) => boolean, timeoutMs: number): Steps<boolean> {
  for (let waitedMs = 0; waitedMs <= timeoutMs; waitedMs += POLL_MS) {
    const { result0: csts } = yield* demand(propertyGetCommand("CSTS", { offset: PropertyAt.CSTS, bytes: 4 }));
    if (isDone(csts)) return true;
    yield* wait(POLL_MS);
  }
  return false;
}
