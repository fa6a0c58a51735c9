import { unreachable } from "../base/assert.ts";

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

const { FREE, READING, OWNED, ANSWERED, ANSWERING } = SlotState;

const NAMES = Object.freeze(Object.keys(SlotState));

/** States that may follow a state, as a bit mask; indexed by state. */
const NEXT: readonly number[] = Object.freeze([
  /* FREE */ mask(READING),
  /* READING */ mask(FREE, OWNED, ANSWERED),
  /* OWNED */ mask(ANSWERED),
  /* ANSWERED */ mask(ANSWERING),
  /* ANSWERING */ mask(FREE, ANSWERED),
]);

function mask(...states: number[]): number {
  return states.reduce((bits, state) => bits | (1 << state), 0);
}

/** The states of a queue's slots, a byte each. */
export class SlotStates {
  readonly #states: Uint8Array;

  constructor(depth: number) {
    this.#states = new Uint8Array(depth);
  }

  get(slot: number): number {
    return this.#states[slot];
  }

  /** Moves a slot to the next state; a step that the table does not have is a bug of ours. */
  transition(slot: number, to: number): void {
    const from = this.#states[slot];
    if (((NEXT[from] >>> to) & 1) === 0) {
      unreachable(`Slot ${slot} must not go from ${NAMES[from]} to ${NAMES[to]}`);
    }
    this.#states[slot] = to;
  }
}
