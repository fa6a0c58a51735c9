/**
 * When to send Keep Alive, and when to give up on its answer. The controller gives up on us after KATO without one
 * (Base 2.0, section 3.9); we send at half of it, and give up on the controller on our own account: a dead peer may
 * leave the TCP connection open for minutes.
 *
 *     idle ──time──▶ due ──sent──▶ awaiting ──answer──▶ idle
 *                                     └──time──▶ dead
 *
 * Feed what has arrived before time is told: after a pause of this process an answer may be there already.
 */

import { assert } from "../base/assert.ts";
import { MachineState, StateTable } from "../base/state_table.ts";

export type KeepAliveState = "idle" | "due" | "awaiting" | "dead";

/** Which states may follow which. */
export const KEEP_ALIVE_STATES = new StateTable<KeepAliveState>("Keep alive", {
  idle: ["due"],
  due: ["awaiting"],
  awaiting: ["idle", "dead"],
  dead: [],
});

export interface KeepAliveOptions {
  /** KATO as the controller was told it, milliseconds. */
  keepAliveMs: number;
  /** How long an answer may take, milliseconds; half of KATO unless told. */
  answerTimeoutMs?: number;
  /** When the controller's own timer was last restarted: the answer of Connect. */
  nowMs: number;
}

/**
 * How long a controller may go on executing commands after its host has lost it, milliseconds.
 *
 * One that tells its command quiesce time (CQT) is waited for as TP 4129 (in Base 2.1) has it: 2 KATO, or 3 KATO where any
 * command restarts its timer (TBKAS), until it surely knows that the host is gone, and CQT until it has ended everything.
 * For one that does not tell, the text has no bound: it is taken to end everything the moment its timer expires. That
 * is one KATO after the last Keep Alive, or two after the last command where it only looks once a KATO whether any came.
 */
export function lateExecutionMsOf(controller: {
  keepAliveMs: number | null;
  trafficBasedKeepAlive: boolean;
  quiesceMs: number;
}): number {
  const timers = 1 + (controller.quiesceMs > 0 ? 1 : 0) + (controller.trafficBasedKeepAlive ? 1 : 0);
  return timers * (controller.keepAliveMs ?? 0) + controller.quiesceMs;
}

/** The keep alive of one controller. */
export class KeepAlive {
  readonly #intervalMs: number;
  readonly #answerTimeoutMs: number;
  readonly #state = new MachineState(KEEP_ALIVE_STATES, "idle");
  #deadlineMs: number;

  constructor(options: KeepAliveOptions) {
    assert(options.keepAliveMs > 0, "Without a keep alive timeout there is no keep alive");
    this.#intervalMs = options.keepAliveMs / 2;
    this.#answerTimeoutMs = options.answerTimeoutMs ?? this.#intervalMs;
    this.#deadlineMs = options.nowMs + this.#intervalMs;
  }

  get state(): KeepAliveState {
    return this.#state.name;
  }

  /** When `poll` has something to say next, milliseconds; infinite once dead. */
  get nextDeadlineMs(): number {
    return this.#state.name === "dead" ? Infinity : this.#deadlineMs;
  }

  /** Tells the time. */
  handleTime(nowMs: number): void {
    if (nowMs < this.#deadlineMs) return;
    if (this.#state.name === "idle") this.#state.transition("due");
    else if (this.#state.name === "awaiting") this.#state.transition("dead");
  }

  /** Tells that the controller has answered a Keep Alive, well or not: it lives. A late answer changes nothing. */
  handleAnswer(nowMs: number): void {
    if (this.#state.name !== "awaiting") return;
    this.#state.transition("idle");
    this.#deadlineMs = Math.max(nowMs, this.#deadlineMs - this.#answerTimeoutMs + this.#intervalMs);
  }

  /** What to do: send a Keep Alive (told once for each), take the controller for dead, or nothing. */
  poll(nowMs: number): "send" | "dead" | "idle" {
    this.handleTime(nowMs);
    if (this.#state.name === "dead") return "dead";
    if (this.#state.name !== "due") return "idle";
    this.#state.transition("awaiting");
    this.#deadlineMs = nowMs + this.#answerTimeoutMs;
    return "send";
  }
}
