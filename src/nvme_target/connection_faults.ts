import { FAULT_KINDS, type FaultKind, type FaultRule, hitsListener } from "./fault_rule.ts";
import { OpSet } from "./fault_ops.ts";
import type { FaultScript, FaultSubject } from "./fault_script.ts";
import { beginMs, beginnings, nextChangeMs, occurrence } from "./fault_window.ts";
import { type IoFaults, IoVerdict } from "./io_faults.ts";
import type { Prng } from "../base/prng.ts";

/** Beginnings that are looked back at when nobody has asked for long: what came before has lost its meaning. */
const LOOK_BACK_MAX = 64;

/** A rule for the commands of this connection. */
interface CommandRule {
  readonly rule: FaultRule;
  /** Its place in the script. */
  readonly index: number;
  readonly ops: OpSet;
  readonly prng: Prng;
}

/** A rule for this connection as such. */
interface StateRule {
  readonly rule: FaultRule;
  readonly index: number;
  /** The last beginning that a choice was made for, and the choice. */
  chosen: number;
  isHit: boolean;
}

/**
 * What is to be done wrong on one connection. Its owner asks for each command that arrives {@linkcode verdict},
 * {@linkcode answerDelayMs} and {@linkcode spoilsDigest}, once each; and the other questions at every turn, at least when
 * {@linkcode nextChangeMs} says so. Where several rules agree, the first verdict counts, delays add up, and the smallest
 * rate and window is the one in force.
 */
export class ConnectionFaults implements IoFaults {
  readonly #script: FaultScript;
  readonly #subject: FaultSubject;
  readonly #verdicts: readonly CommandRule[];
  readonly #delays: readonly CommandRule[];
  readonly #lates: readonly CommandRule[];
  readonly #digests: readonly CommandRule[];
  readonly #stalls: readonly StateRule[];
  readonly #halfOpens: readonly StateRule[];
  readonly #resets: readonly StateRule[];
  readonly #rates: readonly StateRule[];
  readonly #windows: readonly StateRule[];
  /** All rules of the connection as such. */
  readonly #states: readonly StateRule[];
  #isHalfOpen = false;
  #isReset = false;

  constructor(script: FaultScript, subject: FaultSubject) {
    this.#script = script;
    this.#subject = subject;
    this.#verdicts = this.#commandRules("status", "drop");
    this.#delays = this.#commandRules("delay");
    this.#lates = this.#commandRules("late");
    this.#digests = this.#commandRules("digest");
    this.#stalls = this.#stateRules("stall");
    this.#halfOpens = this.#stateRules("half-open");
    this.#resets = this.#stateRules("reset");
    this.#rates = this.#stateRules("slow-drain");
    this.#windows = this.#stateRules("tiny-window");
    this.#states = [...this.#stalls, ...this.#halfOpens, ...this.#resets, ...this.#rates, ...this.#windows];
  }

  #rulesOf(kinds: readonly FaultKind[]): { rule: FaultRule; index: number }[] {
    return this.#script.rules.map((rule, index) => ({ rule, index }))
      .filter(({ rule }) => kinds.includes(rule.kind) && hitsListener(rule, this.#subject.listener));
  }

  #commandRules(...kinds: FaultKind[]): CommandRule[] {
    const { queue, stream } = this.#subject;
    return this.#rulesOf(kinds).map(({ rule, index }) => {
      return { rule, index, ops: new OpSet(rule.ops, queue), prng: this.#script.prng(index, stream) };
    }).filter(({ ops }) => !ops.isEmpty);
  }

  #stateRules(kind: FaultKind): StateRule[] {
    const { queue } = this.#subject;
    return this.#rulesOf([kind]).filter(({ rule }) => rule.queue === null || rule.queue === queue)
      .map((found) => ({ ...found, chosen: -1, isHit: false }));
  }

  /** No rule can hit this connection. */
  get isEmpty(): boolean {
    return !this.hasCommandRules && this.#states.length === 0;
  }

  /** Whether commands have to be asked about at all. */
  get hasCommandRules(): boolean {
    return this.#verdicts.length + this.#delays.length + this.#lates.length + this.#digests.length > 0;
  }

  // ── commands ────────────────────────────────────────────────────────────────────────────────────────────────────

  /** For a command that has arrived: one of {@linkcode IoVerdict}, or the status to answer. */
  verdict(opcode: number, nowMs: number, fabricsType = 0): number {
    for (const one of this.#verdicts) {
      if (this.#hitsCommand(one, opcode, fabricsType, nowMs)) {
        return one.rule.kind === "drop" ? IoVerdict.DROP : one.rule.value;
      }
    }
    return IoVerdict.NONE;
  }

  /** How long the answer to a command that has arrived is to be held back, ms. */
  answerDelayMs(opcode: number, nowMs: number, fabricsType = 0): number {
    return this.#sumMs(this.#delays, opcode, nowMs, fabricsType);
  }

  /** How much later a command that has arrived is to be carried out, ms. */
  lateMs(opcode: number, nowMs: number): number {
    return this.#sumMs(this.#lates, opcode, nowMs, 0);
  }

  #sumMs(rules: readonly CommandRule[], opcode: number, nowMs: number, fabricsType: number): number {
    let delayMs = 0;
    for (const one of rules) {
      const { value, valueMax } = one.rule;
      if (!this.#hitsCommand(one, opcode, fabricsType, nowMs)) continue;
      delayMs += value === valueMax ? value : value + one.prng.unit() * (valueMax - value);
    }
    return delayMs;
  }

  /** True if the answer to a command that has arrived is to carry a wrong digest. */
  spoilsDigest(opcode: number, nowMs: number, fabricsType = 0): boolean {
    for (const one of this.#digests) {
      if (this.#hitsCommand(one, opcode, fabricsType, nowMs)) return true;
    }
    return false;
  }

  #hitsCommand({ rule, index, ops, prng }: CommandRule, opcode: number, fabricsType: number, nowMs: number): boolean {
    if (!ops.has(opcode, fabricsType)) return false;
    if (occurrence(rule.window, nowMs - this.#script.startMs) === -1) return false;
    if (rule.chance < 1 && prng.unit() >= rule.chance) return false;
    const { counts } = this.#script;
    if (rule.count !== null) return counts.addBelow(index, rule.count);
    counts.add(index);
    return true;
  }

  // ── the connection ──────────────────────────────────────────────────────────────────────────────────────────────

  /** True while nothing may be received or sent. */
  isStalled(nowMs: number): boolean {
    for (const one of this.#stalls) {
      if (this.#isOn(one, nowMs)) return true;
    }
    return false;
  }

  /** Once true, it stays: what comes in is thrown away, and nothing is sent any more. */
  isHalfOpen(nowMs: number): boolean {
    for (const one of this.#halfOpens) {
      if (this.#isHalfOpen) break;
      this.#isHalfOpen = this.#hasBegun(one, nowMs);
    }
    return this.#isHalfOpen;
  }

  /** True once, when the connection is to be reset. */
  shouldReset(nowMs: number): boolean {
    for (const one of this.#resets) {
      if (this.#isReset) break;
      this.#isReset = this.#hasBegun(one, nowMs);
      if (this.#isReset) return true;
    }
    return false;
  }

  /** Bytes that may be moved a second, in and out together; Infinity if there is no limit. */
  bytesPerSecond(nowMs: number): number {
    return this.#smallest(this.#rates, nowMs);
  }

  /** Bytes that the host may have under way to us; Infinity if there is no limit. */
  receiveWindowBytes(nowMs: number): number {
    return this.#smallest(this.#windows, nowMs);
  }

  #smallest(rules: readonly StateRule[], nowMs: number): number {
    let smallest = Infinity;
    for (const one of rules) {
      if (this.#isOn(one, nowMs)) smallest = Math.min(smallest, one.rule.value);
    }
    return smallest;
  }

  #isOn(one: StateRule, nowMs: number): boolean {
    const index = occurrence(one.rule.window, nowMs - this.#script.startMs);
    return index >= 0 && this.#chooses(one, index);
  }

  /** Whether the rule is on, or has begun since the connection came to be and since the last question. */
  #hasBegun(one: StateRule, nowMs: number): boolean {
    const { window } = one.rule;
    const sinceMs = this.#subject.sinceMs - this.#script.startMs;
    const end = beginnings(window, nowMs - this.#script.startMs);
    for (let index = Math.max(one.chosen + 1, end - LOOK_BACK_MAX, 0); index < end; index++) {
      const endMs = beginMs(window, index) + (window.forMs ?? Infinity);
      const isOld = endMs < sinceMs;
      if (!isOld && this.#chooses(one, index)) return true;
    }
    return false;
  }

  /** The choice for one beginning of the rule: made once, and counted. */
  #chooses(one: StateRule, index: number): boolean {
    if (one.chosen === index) return one.isHit;
    const { chance } = one.rule;
    one.chosen = index;
    one.isHit = chance === 1 || this.#script.prng(one.index, this.#subject.stream, index).unit() < chance;
    if (one.isHit) this.#script.counts.add(one.index);
    return one.isHit;
  }

  /** When an answer of this connection's questions changes next by time alone; Infinity for never. */
  nextChangeMs(nowMs: number): number {
    const { startMs } = this.#script;
    let next = Infinity;
    for (const { rule } of this.#states) next = Math.min(next, startMs + nextChangeMs(rule.window, nowMs - startMs));
    return next;
  }

  /** Every kind of fault that can hit this connection. */
  get kinds(): FaultKind[] {
    const rules = [...this.#verdicts, ...this.#delays, ...this.#digests, ...this.#states].map(({ rule }) => rule.kind);
    return (Object.keys(FAULT_KINDS) as FaultKind[]).filter((kind) => rules.includes(kind));
  }
}
