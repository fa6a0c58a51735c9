import type { ConnectionFaults } from "../nvme_target/connection_faults.ts";
import { IoVerdict } from "../nvme_target/io_faults.ts";
import { LinkFaults } from "../nvme_target/link_faults.ts";

/** Longest time that a timer takes, ms. */
const TIMER_MS_MAX = 2 ** 31 - 1;

/** What was decided for a command that is not answered yet. */
interface Sentence {
  isDropped: boolean;
  isSpoiled: boolean;
  delayMs: number;
}

/** What faults need of a connection to carry a decision out. */
interface AnsweringConnection {
  readonly state: string;
  drop(slot: number): void;
  spoilNextDigest(): void;
}

/** Faults of a connection on the main thread: of its bytes, and of its commands as they come and are answered. */
export class SocketFaults implements Disposable {
  /** What is wrong with the way of its bytes. */
  readonly link = new LinkFaults();
  readonly #wake: () => void;
  readonly #sentences = new Map<number, Sentence>();
  readonly #held = new Set<ReturnType<typeof setTimeout>>();
  #faults: ConnectionFaults | null = null;
  #timer: ReturnType<typeof setTimeout> | undefined;
  /** Other faults are in force, and nothing was moved since. */
  #isChanged = false;

  /** `wake` is called when something may be moved that could not be before. */
  constructor(wake: () => void) {
    this.#wake = wake;
  }

  /** What goes wrong from now on; null for nothing more. Answers that are held back stay so. */
  set(faults: ConnectionFaults | null): void {
    this.#faults = faults;
    this.link.setFaults(faults);
    this.#isChanged = true;
    this.schedule(performance.now());
  }

  /** Answers are held back. */
  get isHolding(): boolean {
    return this.#held.size > 0;
  }

  /** Looks at the time before bytes are moved, and sees to it that the next change is not missed. */
  handleTime(nowMs: number): void {
    this.link.handleTime(nowMs);
    this.#isChanged = false;
    this.schedule(nowMs);
  }

  /** To be called when bytes were moved. */
  schedule(nowMs: number): void {
    clearTimeout(this.#timer);
    const dueMs = this.#isChanged ? 0 : this.link.nextDueMs - nowMs;
    if (dueMs !== Infinity) this.#timer = setTimeout(this.#wake, Math.min(Math.max(Math.ceil(dueMs), 0), TIMER_MS_MAX));
  }

  /** Decides what goes wrong with a command that has arrived. The status to answer it with, 0 to carry it out. */
  judge(slot: number, { opcode, fabricsType }: { opcode: number; fabricsType: number }): number {
    const faults = this.#faults;
    if (faults === null || this.#sentences.has(slot)) return 0;
    const nowMs = performance.now();
    const verdict = faults.verdict(opcode, nowMs, fabricsType);
    this.#sentences.set(slot, {
      isDropped: verdict === IoVerdict.DROP,
      delayMs: faults.answerDelayMs(opcode, nowMs, fabricsType),
      isSpoiled: faults.spoilsDigest(opcode, nowMs, fabricsType),
    });
    return Math.max(verdict, 0);
  }

  /** Calls `give`, which answers the command, when and as it was decided. */
  answer(slot: number, connection: AnsweringConnection, give: () => void): void {
    const sentence = this.#sentences.get(slot);
    this.#sentences.delete(slot);
    if (sentence === undefined) return give();
    const { delayMs, isDropped, isSpoiled } = sentence;
    const carryOut = () => {
      if (isDropped) return connection.drop(slot);
      if (isSpoiled) connection.spoilNextDigest();
      give();
    };
    if (delayMs === 0) return carryOut();
    const timer = setTimeout(() => {
      this.#held.delete(timer);
      if (connection.state === "failed") return;
      carryOut();
      this.#wake();
    }, delayMs);
    this.#held.add(timer);
  }

  [Symbol.dispose](): void {
    clearTimeout(this.#timer);
    for (const timer of this.#held) clearTimeout(timer);
  }
}
