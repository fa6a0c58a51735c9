import { unreachable } from "../base/assert.ts";
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

const { IDLE, SYNC_BEFORE, READ, WRITE, DISCARD, PUNCH, ZERO_RANGE, FILL, SYNC, DONE } = FileStep;

const NAMES = Object.freeze(Object.keys(FileStep));

/** Steps that may follow a step, as a bit mask; indexed by step. A step that is repeated stays. */
const NEXT: readonly number[] = Object.freeze([
  /* IDLE */ mask(SYNC_BEFORE, READ, WRITE, DISCARD, PUNCH, ZERO_RANGE, FILL, SYNC, DONE),
  /* SYNC_BEFORE */ mask(READ, DONE),
  /* READ */ mask(DONE),
  /* WRITE */ mask(DONE),
  /* DISCARD */ mask(DONE),
  /* PUNCH */ mask(ZERO_RANGE, FILL, SYNC, DONE),
  /* ZERO_RANGE */ mask(FILL, SYNC, DONE),
  /* FILL */ mask(SYNC, DONE),
  /* SYNC */ mask(DONE),
  /* DONE */ mask(IDLE),
]);

function mask(...steps: number[]): number {
  return steps.reduce((bits, step) => bits | (1 << step), 0);
}

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

/** The steps of a device's slots, a byte each. */
export class FileSteps {
  readonly #steps: Uint8Array;

  constructor(depth: number) {
    this.#steps = new Uint8Array(depth);
  }

  get(slot: number): number {
    return this.#steps[slot];
  }

  /** Moves a slot to its next step; one that the table does not have is a bug of ours. */
  transition(slot: number, to: number): void {
    const from = this.#steps[slot];
    if (((NEXT[from] >>> to) & 1) === 0) {
      unreachable(`Slot ${slot} of a file must not go from ${NAMES[from]} to ${NAMES[to]}`);
    }
    this.#steps[slot] = to;
  }
}
