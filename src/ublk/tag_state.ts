import { unreachable } from "../base/assert.ts";

/** Where a tag of a ublk queue is. */
export const TagState = Object.freeze({
  /** Nothing was asked of the kernel yet. */
  IDLE: 0,
  /** A FETCH_REQ is to be submitted. */
  FETCH_WANTED: 1,
  /** The kernel holds the FETCH_REQ until there is a request for the tag. */
  FETCHING: 2,
  /** The device has the request. */
  OWNED: 3,
  /** The request is answered, a COMMIT_AND_FETCH_REQ is to be submitted. */
  ANSWERED: 4,
  /** The kernel holds the COMMIT_AND_FETCH_REQ until there is a next request for the tag. */
  COMMITTING: 5,
  /** The tag gets no more requests. */
  OVER: 6,
});

const { FETCH_WANTED, FETCHING, OWNED, ANSWERED, COMMITTING, OVER } = TagState;

const NAMES = Object.freeze(Object.keys(TagState));

/** States that may follow a state, as a bit mask; indexed by state. */
const NEXT: readonly number[] = Object.freeze([
  /* IDLE */ mask(FETCH_WANTED, OVER),
  /* FETCH_WANTED */ mask(FETCHING, OVER),
  /* FETCHING */ mask(OWNED, OVER),
  /* OWNED */ mask(ANSWERED),
  /* ANSWERED */ mask(COMMITTING, OVER),
  /* COMMITTING */ mask(OWNED, OVER),
  /* OVER */ mask(),
]);

function mask(...states: number[]): number {
  return states.reduce((bits, state) => bits | (1 << state), 0);
}

/** The states of a queue's tags, a byte each. */
export class TagStates {
  readonly #states: Uint8Array;

  constructor(depth: number) {
    this.#states = new Uint8Array(depth);
  }

  get(tag: number): number {
    return this.#states[tag];
  }

  /** Moves a tag to the next state; a step that the table does not have is a bug of ours. */
  transition(tag: number, to: number): void {
    const from = this.#states[tag];
    if (((NEXT[from] >>> to) & 1) === 0) {
      unreachable(`Tag ${tag} must not go from ${NAMES[from]} to ${NAMES[to]}`);
    }
    this.#states[tag] = to;
  }
}
