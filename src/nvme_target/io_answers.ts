import { StatusCode } from "../protocol/nvme_status.ts";
import type { IoConnection } from "./io_connection.ts";
import { type IoFaults, IoVerdict } from "./io_faults.ts";

/**
 * The answers of an I/O queue: given to the connection at once, or as the faults say that were asked when the command
 * arrived. An answer that is held back keeps its slot, and its data in the slot's buffer.
 */
export class IoAnswers {
  /** What goes wrong; null for nothing. */
  faults: IoFaults | null = null;

  readonly #connection: IoConnection;
  /** What was decided for the command in the slot. */
  readonly #isDropped: Uint8Array;
  readonly #isSpoiled: Uint8Array;
  readonly #delayMs: Float64Array;
  /** How much later the command in the slot is carried out. */
  readonly lateMs: Float64Array;
  /** The slots whose answers are held back, and those answers. */
  readonly #held: Int32Array;
  readonly #dueMs: Float64Array;
  readonly #status: Uint16Array;
  readonly #bytes: Uint32Array;
  #heldCount = 0;

  constructor(connection: IoConnection, slots: number) {
    this.#connection = connection;
    this.#isDropped = new Uint8Array(slots);
    this.#isSpoiled = new Uint8Array(slots);
    this.#delayMs = new Float64Array(slots);
    this.lateMs = new Float64Array(slots);
    this.#held = new Int32Array(slots);
    this.#dueMs = new Float64Array(slots);
    this.#status = new Uint16Array(slots);
    this.#bytes = new Uint32Array(slots);
  }

  /** When the next answer is due that is held back, ms; Infinity if there is none. */
  get nextDueMs(): number {
    let next = Infinity;
    for (let i = 0; i < this.#heldCount; i++) next = Math.min(next, this.#dueMs[this.#held[i]]);
    return next;
  }

  /** Decides what goes wrong with a command that has arrived. Gives the status to answer it with, 0 to carry it out. */
  judge(slot: number, opcode: number, nowMs: number): number {
    const faults = this.faults;
    if (faults === null) {
      this.#isDropped[slot] =
        this.#isSpoiled[slot] =
        this.#delayMs[slot] =
        this.lateMs[slot] =
          0;
      return StatusCode.SUCCESS;
    }
    const verdict = faults.verdict(opcode, nowMs);
    this.#isDropped[slot] = verdict === IoVerdict.DROP ? 1 : 0;
    this.#delayMs[slot] = faults.answerDelayMs(opcode, nowMs);
    this.lateMs[slot] = faults.lateMs(opcode, nowMs);
    this.#isSpoiled[slot] = faults.spoilsDigest(opcode, nowMs) ? 1 : 0;
    return Math.max(verdict, StatusCode.SUCCESS);
  }

  /** Answers with `bytes` of data if there are any, which means success, else with `status`. */
  give(slot: number, status: number, bytes: number, nowMs: number): void {
    if (this.#delayMs[slot] === 0) return this.#giveNow(slot, status, bytes);
    this.#dueMs[slot] = nowMs + this.#delayMs[slot];
    this.#status[slot] = status;
    this.#bytes[slot] = bytes;
    this.#held[this.#heldCount++] = slot;
  }

  /** Gives the answers whose time has come, all of them if the connection is over. */
  handleTime(nowMs: number): void {
    const isOver = this.#connection.state !== "ready";
    let kept = 0;
    for (let i = 0; i < this.#heldCount; i++) {
      const slot = this.#held[i];
      if (this.#dueMs[slot] > nowMs && !isOver) this.#held[kept++] = slot;
      else this.#giveNow(slot, this.#status[slot], this.#bytes[slot]);
    }
    this.#heldCount = kept;
  }

  #giveNow(slot: number, status: number, bytes: number): void {
    const connection = this.#connection;
    if (this.#isDropped[slot] === 1 || connection.state !== "ready") return connection.drop(slot);
    if (this.#isSpoiled[slot] === 1) connection.spoilNextDigest();
    if (bytes > 0) connection.respondWithData(slot, bytes);
    else connection.respond(slot, status);
  }
}
