/**
 * What a fault is, plain enough to be sent between threads: its kind, whom it hits, when, and how often.
 * `fault_words.ts` reads rules from words, `fault_script.ts` carries them out.
 */

/**
 * Kinds fall into three families. A fault of a *command* is chosen for each command that arrives, one of a *connection*
 * for each connection whenever the fault begins, one of a *listener* once whenever it begins.
 */
export type FaultFamily = "command" | "connection" | "listener";

/** What the word after the kind means; none is allowed where it is null. */
export type FaultArgument = "duration" | "status" | "rate" | "size" | "ana" | null;

/** A kind of fault. */
export interface FaultKindInfo {
  readonly family: FaultFamily;
  readonly argument: FaultArgument;
  /** It is over the moment it begins: what it does to a connection cannot be taken back. */
  readonly isInstant: boolean;
  /** What it does, for people. */
  readonly does: string;
}

export const FAULT_KINDS = Object.freeze(
  {
    delay: {
      family: "command",
      argument: "duration",
      isInstant: false,
      does: "delay each answer by this time; A..B picks a random delay for each",
    },
    late: {
      family: "command",
      argument: "duration",
      isInstant: false,
      does: "execute I/O commands this much later, even if their connection has ended by then",
    },
    status: {
      family: "command",
      argument: "status",
      isInstant: false,
      does: "answer commands with this status without executing them",
    },
    drop: { family: "command", argument: null, isInstant: false, does: "execute commands but never answer them" },
    digest: {
      family: "command",
      argument: null,
      isInstant: false,
      does: "send wrong digests, where digests are in use",
    },
    stall: {
      family: "connection",
      argument: null,
      isInstant: false,
      does: "receive and send nothing; connections continue afterwards",
    },
    "half-open": {
      family: "connection",
      argument: null,
      isInstant: true,
      does: "keep connections open but never answer again",
    },
    reset: { family: "connection", argument: null, isInstant: true, does: "reset connections" },
    "slow-drain": {
      family: "connection",
      argument: "rate",
      isInstant: false,
      does: "limit each connection to this many bytes per second",
    },
    "tiny-window": {
      family: "connection",
      argument: "size",
      isInstant: false,
      does: "limit the data in flight from a host on each connection to about this size",
    },
    ana: { family: "listener", argument: "ana", isInstant: false, does: "set this ANA state on the listener" },
    down: {
      family: "listener",
      argument: null,
      isInstant: false,
      does: "close the listener and reset its connections; it listens again afterwards",
    },
  } as const satisfies Record<string, FaultKindInfo>,
);

export type FaultKind = keyof typeof FAULT_KINDS;

/** Which queues a connection belongs to. */
export type FaultQueue = "admin" | "io";

/** When a fault is on: from `atMs` for `forMs`, and again every `everyMs`, in all `times` times. */
export interface FaultWindow {
  /** After the script's start, ms. */
  readonly atMs: number;
  /** How long, ms; null: until the script is over. 0 for a fault of an instant. */
  readonly forMs: number | null;
  /** From one beginning to the next, ms; null: it begins once. */
  readonly everyMs: number | null;
  /** How often it begins; null: no end. */
  readonly times: number | null;
}

/** One fault of a script. */
export interface FaultRule {
  /** As the user wrote it. */
  readonly words: string;
  readonly kind: FaultKind;
  /** Indexes of the listeners it hits; null: all there are. */
  readonly listeners: readonly number[] | null;
  readonly window: FaultWindow;
  /** From above 0 to 1: how likely each command, connection or listener is hit. */
  readonly chance: number;
  /** Commands that are hit at most, over all connections; null: no end. Faults of commands only. */
  readonly count: number | null;
  /** Names of commands or groups that are hit. Faults of commands only; empty otherwise. */
  readonly ops: readonly string[];
  /** Connections that are hit; null: of both kinds. Faults of connections only. */
  readonly queue: FaultQueue | null;
  /** The argument: shortest delay in ms, status field, bytes a second, bytes, or ANA state; 0 for none. */
  readonly value: number;
  /** The longest delay in ms; as `value` where there is no range. */
  readonly valueMax: number;
}

/** True if the rule hits the listener at that index. */
export function hitsListener(rule: FaultRule, listener: number): boolean {
  return rule.listeners === null || rule.listeners.includes(listener);
}
