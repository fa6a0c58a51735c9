import { slotTable } from "../base/state_table.ts";
import { FileOperation } from "./file_operation.ts";

/** Where a slot of a {@linkcode FileDevice} is: which operation on the file it is at. */
export const FileStep = Object.freeze({
  /** No request is in the slot. */
  IDLE: 0,
  /** A sync, so that what is read next is on stable storage. */
  SYNC_BEFORE: 1,
  READ: 2,
  WRITE: 3,
  /** Punches a hole for a DISCARD: a hint, which a file may not be able to follow. */
  DISCARD: 4,
  /** Punches a hole for a WRITE_ZEROES. */
  PUNCH: 5,
  /** Zeroes for a WRITE_ZEROES, whose blocks stay allocated. */
  ZERO_RANGE: 6,
  /** Zeroes written out, piece by piece. */
  FILL: 7,
  /** A sync, for a FLUSH or after zeroes that have to be on stable storage. */
  SYNC: 8,
  /** Answered, and not yet taken. */
  DONE: 9,
});

/** Which steps may follow which. A step that is repeated stays. */
export const FILE_STEPS = slotTable("A file's slot", FileStep, {
  IDLE: ["SYNC_BEFORE", "READ", "WRITE", "DISCARD", "PUNCH", "ZERO_RANGE", "FILL", "SYNC", "DONE"],
  SYNC_BEFORE: ["READ", "DONE"],
  READ: ["DONE"],
  WRITE: ["DONE"],
  DISCARD: ["DONE"],
  PUNCH: ["ZERO_RANGE", "FILL", "SYNC", "DONE"],
  ZERO_RANGE: ["FILL", "SYNC", "DONE"],
  FILL: ["SYNC", "DONE"],
  SYNC: ["DONE"],
  DONE: ["IDLE"],
});

/** The operation that each step is, -1 for none; indexed by step. */
export const STEP_OPERATION: readonly number[] = Object.freeze([
  /* IDLE */ -1,
  /* SYNC_BEFORE */ FileOperation.SYNC,
  /* READ */ FileOperation.READ,
  /* WRITE */ FileOperation.WRITE,
  /* DISCARD */ FileOperation.ALLOCATE,
  /* PUNCH */ FileOperation.ALLOCATE,
  /* ZERO_RANGE */ FileOperation.ALLOCATE,
  /* FILL */ FileOperation.WRITE,
  /* SYNC */ FileOperation.SYNC,
  /* DONE */ -1,
]);
