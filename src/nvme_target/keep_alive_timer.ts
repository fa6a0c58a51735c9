/**
 * When a controller gives its host up (Base 2.0, section 3.9): KATO after the last Keep Alive, in units of KAS. A host
 * that leaves its controller disabled, and one of a discovery controller without KATO, are given up after a long
 * silence, so that those who vanish do not use up the controllers.
 */

import { assert } from "../base/assert.ts";

/** KAS: the granularity of the keep alive timeout, milliseconds. */
export const KEEP_ALIVE_GRANULARITY_MS = 100;

/** A Keep Alive that has arrived but was not looked at yet is given that much. */
const GRACE_MS = 100;

/** A host that says nothing for so long on a controller without keep alive is gone. */
export const SILENCE_MS_MAX = 120_000;

/** What the timer watches: Keep Alive commands, any command, or nothing. */
export type KeepAliveMode = "keep-alive" | "silence" | "off";

export class KeepAliveTimer {
  #katoMs = 0;
  #mode: KeepAliveMode = "silence";
  #startedMs: number;
  #isExpired = false;

  constructor(katoMs: number, nowMs: number) {
    this.#startedMs = nowMs;
    this.setKato(katoMs, nowMs);
  }

  /** KATO as it holds, milliseconds: rounded up to the granularity; 0 is none. */
  get katoMs(): number {
    return this.#katoMs;
  }

  get isExpired(): boolean {
    return this.#isExpired;
  }

  /** When the host is given up unless it speaks, milliseconds; infinite if it is not watched, or given up already. */
  get deadlineMs(): number {
    if (this.#isExpired || this.#mode === "off") return Infinity;
    return this.#startedMs + (this.#mode === "silence" ? SILENCE_MS_MAX : this.#katoMs) + GRACE_MS;
  }

  /** A new KATO, milliseconds; the timer starts anew. */
  setKato(katoMs: number, nowMs: number): void {
    assert(katoMs >= 0, "A timeout is not negative");
    this.#katoMs = Math.ceil(katoMs / KEEP_ALIVE_GRANULARITY_MS) * KEEP_ALIVE_GRANULARITY_MS;
    this.#startedMs = nowMs;
  }

  /** Watches something else from now on; the timer starts anew if it was something else. */
  watch(mode: KeepAliveMode, nowMs: number): void {
    assert(mode !== "keep-alive" || this.#katoMs > 0, "Without KATO no Keep Alive is waited for");
    if (mode === this.#mode) return;
    this.#mode = mode;
    this.#startedMs = nowMs;
  }

  /** The host has sent a command. */
  handleCommand(isKeepAlive: boolean, nowMs: number): void {
    if (isKeepAlive || this.#mode === "silence") this.#startedMs = nowMs;
  }

  /** Tells the time, after all commands that have arrived. */
  handleTime(nowMs: number): void {
    if (nowMs >= this.deadlineMs) this.#isExpired = true;
  }
}
