/**
 * The states of machines, and which may follow which. A machine changes its state through its table only: a step that
 * the table does not have is a bug of ours, and ends where it is made.
 */
import { assert, unreachable } from "./assert.ts";

/** A state is a bit of a number. */
const STATES_MAX = 31;

/** States by name, and those that may follow each; what machines of a kind share. */
export class StateTable<S extends string> {
  /** What is in such a state, as errors begin: "A ublk device". */
  readonly what: string;
  /** In the order of the table; the place of a state is its code. */
  readonly states: readonly S[];
  /** For each code, the codes that may follow, as a bit mask. */
  readonly #following: readonly number[];

  constructor(what: string, next: Readonly<Record<S, readonly S[]>>) {
    const states = Object.keys(next) as S[];
    assert(states.length > 0 && states.length <= STATES_MAX, `${what} has 1 to ${STATES_MAX} states`);
    this.what = what;
    this.states = Object.freeze(states);
    this.#following = Object.freeze(states.map((state) => {
      return next[state].reduce((mask, to) => mask | (1 << this.code(to)), 0);
    }));
    Object.freeze(this);
  }

  /** The place of a state in the table. */
  code(state: S): number {
    const code = this.states.indexOf(state);
    assert(code >= 0, `${this.what} has a state "${state}"`);
    return code;
  }

  /** True if the state with code `to` may follow the one with code `from`. */
  allows(from: number, to: number): boolean {
    return ((this.#following[from]! >>> to) & 1) === 1;
  }

  /** States that can be reached from `initial`, itself included. */
  reachableFrom(initial: S): S[] {
    const reached = new Set([this.code(initial)]);
    for (const from of reached) {
      this.states.forEach((_, to) => this.allows(from, to) && reached.add(to));
    }
    return this.states.filter((_, code) => reached.has(code));
  }
}

/** The state of one machine. */
export class MachineState<S extends string> {
  readonly #table: StateTable<S>;
  #code: number;

  constructor(table: StateTable<S>, initial: S) {
    this.#table = table;
    this.#code = table.code(initial);
  }

  get name(): S {
    return this.#table.states[this.#code]!;
  }

  transition(to: S): void {
    const code = this.#table.code(to);
    assert(this.#table.allows(this.#code, code), `${this.#table.what} must not go from ${this.name} to ${to}`);
    this.#code = code;
  }
}

/** The states of many slots, a byte each: for the hot path, where a state is known by its code. */
export class SlotStates {
  readonly #table: StateTable<string>;
  readonly #codes: Uint8Array;

  /** All slots begin in the first state of the table, whose order is that of `codes`. */
  constructor(table: StateTable<string>, count: number) {
    this.#table = table;
    this.#codes = new Uint8Array(count);
  }

  get(slot: number): number {
    return this.#codes[slot]!;
  }

  transition(slot: number, to: number): void {
    const from = this.#codes[slot]!;
    if (!this.#table.allows(from, to)) {
      const { what, states } = this.#table;
      unreachable(`${what} ${slot} must not go from ${states[from]} to ${states[to]}`);
    }
    this.#codes[slot] = to;
  }
}

/** A table of states that have codes of their own: `codes` has the same names in the same order, from 0 on. */
export function slotTable<C extends Readonly<Record<string, number>>>(
  what: string,
  codes: C,
  next: Readonly<Record<Extract<keyof C, string>, readonly Extract<keyof C, string>[]>>,
): StateTable<string> {
  const table = new StateTable<string>(what, next);
  assert(Object.keys(codes).length === table.states.length, `${what} has a row for each code`);
  for (const [state, code] of Object.entries(codes)) assert(table.code(state) === code, `${what}: ${state} is ${code}`);
  return table;
}
