import { slotTable } from "../base/state_table.ts";

/** Where a slot of a FUSE queue is. */
export const SlotState = Object.freeze({
  /** Nobody uses it. */
  FREE: 0,
  /** A read of the next request into it is in the kernel. */
  READING: 1,
  /** The device has its request. */
  OWNED: 2,
  /** Its request is answered, the answer is to be written. */
  ANSWERED: 3,
  /** The answer is in the kernel. */
  ANSWERING: 4,
});

/** Which states may follow which. */
export const SLOT_STATES = slotTable("Slot", SlotState, {
  FREE: ["READING"],
  READING: ["FREE", "OWNED", "ANSWERED"],
  OWNED: ["ANSWERED"],
  ANSWERED: ["ANSWERING"],
  ANSWERING: ["FREE", "ANSWERED"],
});
