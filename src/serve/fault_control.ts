import { logger } from "../base/log.ts";
import { count } from "../base/text.ts";
import type { ConnectionFaults } from "../nvme_target/connection_faults.ts";
import type { ListenerDescription } from "../nvme_target/description.ts";
import type { FaultSubject } from "../nvme_target/fault_script.ts";
import type { FaultScript } from "../nvme_target/fault_script.ts";
import { parseFaults } from "../nvme_target/fault_words.ts";
import { type ListenerChange, ListenerFaults } from "../nvme_target/listener_faults.ts";
import type { FaultsInfo } from "../rpc/target_api.ts";
import { type FaultPlan, faultPlan, faultScript } from "./fault_plan.ts";

const log = logger("fault");
/** Longest time that a timer takes, ms. */
const TIMER_MS_MAX = 2 ** 31 - 1;

/** What faults do to a target as a whole. */
export interface FaultedTarget {
  /** The listeners there are now, those that are down included. */
  listeners(): readonly ListenerDescription[];
  /** The code of a listener's ANA state. */
  ana(listener: number): number;
  setAna(listener: number, state: number): void;
  /** Closes a listener and resets its connections; hosts are not told. */
  takeDown(listener: number): void;
  /** Listens again. Called only after `takeDown()`. */
  bringUp(listener: number): void;
  /** Tells the workers what goes wrong from now on; null for nothing. */
  tellWorkers(plan: FaultPlan | null): void;
}

/** A connection of the main thread. */
export interface FaultedSocket {
  readonly subject: FaultSubject;
  setFaults(faults: ConnectionFaults | null): void;
}

/** Puts scripts of faults in force on a target: on its main thread here, and in its workers by a message. */
export class FaultControl implements Disposable {
  readonly #target: FaultedTarget;
  readonly #sockets = new Set<FaultedSocket>();
  readonly #listeners = new Map<number, ListenerFaults>();
  /** The ANA states of listeners before a fault changed them. */
  readonly #anaBefore = new Map<number, number>();
  readonly #streams = new Map<number, number>();
  #plan: FaultPlan | null = null;
  #script: FaultScript | null = null;
  #timer: ReturnType<typeof setTimeout> | undefined;

  constructor(target: FaultedTarget) {
    this.#target = target;
  }

  /** What is in force; null for nothing. */
  get plan(): FaultPlan | null {
    return this.#plan;
  }

  get info(): FaultsInfo {
    const faults = this.#script?.rules.map(({ words }, rule) => ({ words, hits: this.#script!.counts.hits(rule) }));
    return { seed: this.#script?.seed ?? 0, faults: faults ?? [] };
  }

  /**
   * Lets these faults begin now, in the place of those before; none ends them all.
   *
   * @throws UmpathError "usage" if one of them cannot be understood: then nothing is changed.
   */
  set(words: readonly string[], seed: number): void {
    const rules = parseFaults(words, this.#target.listeners());
    this.#plan = rules.length === 0 ? null : faultPlan(rules, seed);
    this.#script = this.#plan === null ? null : faultScript(this.#plan);
    log.info(rules.length === 0 ? "No faults" : `${count(rules.length, "fault")}, seed ${seed}: ${words.join(" ")}`);
    this.#target.tellWorkers(this.#plan);
    for (const socket of this.#sockets) socket.setFaults(this.#faultsOf(socket));
    for (const faults of this.#listeners.values()) faults.setScript(this.#script);
    this.#handleTime();
  }

  #faultsOf({ subject }: FaultedSocket): ConnectionFaults | null {
    return this.#script?.connection(subject) ?? null;
  }

  #listenerFaults(listener: number): ListenerFaults {
    const known = this.#listeners.get(listener);
    if (known !== undefined) return known;
    const made = new ListenerFaults(listener);
    made.setScript(this.#script);
    this.#listeners.set(listener, made);
    return made;
  }

  /** Whom faults of a new connection on that listener are for: connections of a listener are numbered. */
  subject(listener: number): FaultSubject {
    const stream = this.#streams.get(listener) ?? 0;
    this.#streams.set(listener, stream + 1);
    return { listener, queue: null, stream, sinceMs: performance.now() };
  }

  /** A connection is on the main thread. To be called again when its subject has become another. */
  add(socket: FaultedSocket): void {
    this.#sockets.add(socket);
    if (this.#script !== null) socket.setFaults(this.#faultsOf(socket));
  }

  /** A connection is no longer on the main thread. */
  delete(socket: FaultedSocket): void {
    this.#sockets.delete(socket);
  }

  /** There is a listener that was not there before. */
  handleListenerAdded(): void {
    if (this.#script !== null) this.#handleTime();
  }

  /** A listener is there no more. */
  forget(listener: number): void {
    this.#listeners.delete(listener);
    this.#anaBefore.delete(listener);
  }

  #handleTime(): void {
    clearTimeout(this.#timer);
    const nowMs = performance.now();
    let dueMs = Infinity;
    for (const { index: listener } of this.#target.listeners()) {
      const faults = this.#listenerFaults(listener);
      faults.handleTime(nowMs);
      for (let change = faults.pollChange(); change !== null; change = faults.pollChange()) {
        this.#carryOut(listener, change);
      }
      dueMs = Math.min(dueMs, faults.nextChangeMs(nowMs));
    }
    if (dueMs === Infinity) return;
    const waitMs = Math.min(Math.max(Math.ceil(dueMs - nowMs), 0), TIMER_MS_MAX);
    this.#timer = setTimeout(() => this.#handleTime(), waitMs);
  }

  #carryOut(listener: number, change: ListenerChange): void {
    switch (change.type) {
      case "down":
        return this.#target.takeDown(listener);
      case "up":
        return this.#target.bringUp(listener);
      case "ana":
        return this.#changeAna(listener, change.state);
    }
  }

  #changeAna(listener: number, state: number | null): void {
    const before = this.#anaBefore.get(listener) ?? this.#target.ana(listener);
    if (state === null) this.#anaBefore.delete(listener);
    else this.#anaBefore.set(listener, before);
    this.#target.setAna(listener, state ?? before);
  }

  [Symbol.dispose](): void {
    clearTimeout(this.#timer);
  }
}
