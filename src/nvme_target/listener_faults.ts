import type { FaultScript } from "./fault_script.ts";
import { type FaultRule, hitsListener } from "./fault_rule.ts";
import { nextChangeMs, occurrence } from "./fault_window.ts";

/** Something that the owner of a listener has to do now. */
export type ListenerChange =
  | { readonly type: "down" }
  | { readonly type: "up" }
  /** `state` is a code of `AnaStateCode`; null: the one that the listener had before any fault. */
  | { readonly type: "ana"; readonly state: number | null };

/** One rule for a listener, and the last choice that was made for it. */
interface Choice {
  readonly rule: FaultRule;
  readonly index: number;
  chosen: number;
  isHit: boolean;
}

/**
 * What is to be done wrong on one listener, whatever script is in force: {@linkcode handleTime} at every turn, then
 * {@linkcode pollChange} until it gives null. A listener is closed while any rule says so; of several ANA states the
 * last rule's counts. Without a script, and when one is over, everything goes back to what it was.
 */
export class ListenerFaults {
  readonly #listener: number;
  #script: FaultScript | null = null;
  #choices: Choice[] = [];
  #isDown = false;
  #ana: number | null = null;
  readonly #changes: ListenerChange[] = [];

  constructor(listener: number) {
    this.#listener = listener;
  }

  /** Another script is in force; null for none. What it changes is told by the next {@linkcode handleTime}. */
  setScript(script: FaultScript | null): void {
    this.#script = script;
    this.#choices = (script?.rules ?? []).map((rule, index) => ({ rule, index, chosen: -1, isHit: false }))
      .filter(({ rule }) => (rule.kind === "ana" || rule.kind === "down") && hitsListener(rule, this.#listener));
  }

  handleTime(nowMs: number): void {
    let isDown = false;
    let ana: number | null = null;
    for (const choice of this.#choices) {
      if (!this.#isOn(choice, nowMs)) continue;
      if (choice.rule.kind === "down") isDown = true;
      else ana = choice.rule.value;
    }
    if (ana !== this.#ana) this.#changes.push({ type: "ana", state: ana });
    if (isDown !== this.#isDown) this.#changes.push({ type: isDown ? "down" : "up" });
    this.#isDown = isDown;
    this.#ana = ana;
  }

  #isOn(choice: Choice, nowMs: number): boolean {
    const script = this.#script!;
    const index = occurrence(choice.rule.window, nowMs - script.startMs);
    if (index === -1) return false;
    if (choice.chosen === index) return choice.isHit;
    choice.chosen = index;
    const { chance } = choice.rule;
    choice.isHit = chance === 1 || script.prng(choice.index, this.#listener, index).unit() < chance;
    if (choice.isHit) script.counts.add(choice.index);
    return choice.isHit;
  }

  /** The next thing to do, or null. */
  pollChange(): ListenerChange | null {
    return this.#changes.shift() ?? null;
  }

  /** When something may change next by time alone; Infinity for never. */
  nextChangeMs(nowMs: number): number {
    let next = Infinity;
    for (const { rule } of this.#choices) {
      const { startMs } = this.#script!;
      next = Math.min(next, startMs + nextChangeMs(rule.window, nowMs - startMs));
    }
    return next;
  }
}
