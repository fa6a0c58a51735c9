/**
 * Carries out the NVM commands of one I/O connection (NVM Command Set Specification 1.0, section 3). Pure: commands come
 * from the connection, go to block devices as request slots, and are answered when those are done.
 *
 *     pollCommand() ─► check ─► fetch the host's data ─► check ─► device ─► answer
 *                        └──────────────── error ───────────────────────────►─┘
 *
 * A command's slot is its request's slot, with the same data buffer. What is wrong with a command is told before its
 * data is asked for; it is checked again once that is there, for what has changed meanwhile. A command that needs more
 * than one request (a Dataset Management with its ranges, a Flush of all namespaces) makes them one after the other in its
 * slot. Compare reads into the one scratch slot past the commands' slots, one command at a time.
 *
 * Invariant: a slot is in at most one device, and its command is neither answered nor dropped as long as it is.
 */
import { assert } from "../base/assert.ts";
import { Fifo } from "../base/fifo.ts";
import type { BlockDevice } from "../block/device.ts";
import { BlockOp, type RequestTable } from "../block/request.ts";
import { Dsm, DsmRangeAt, NSID_ALL, NvmOpcode } from "../protocol/nvme.ts";
import { StatusCode, StatusField } from "../protocol/nvme_status.ts";
import { IoAnswers } from "./io_answers.ts";
import { type CheckedNamespace, IoChecks, OUT_OF_RANGE, rangeCount, SQE_SHIFT, SqeDword } from "./io_checks.ts";
import type { IoCommands, IoConnection } from "./io_connection.ts";
import { IoCounter, IoCounters } from "./io_counters.ts";
import type { IoFaults } from "./io_faults.ts";
import { errnoStatus } from "./io_status.ts";
import type { TargetTable } from "./target_table.ts";

/** A namespace as one queue sees it. */
export interface IoNamespace extends CheckedNamespace {
  /** This queue's own device: it gives back only what this queue has submitted. */
  readonly device: BlockDevice;
}

export interface IoQueueOptions {
  readonly connection: IoConnection;
  /** `IoQueue.slots()` of the connection's depth; the first ones have the data buffers of the connection's slots. */
  readonly requests: RequestTable;
  /** The arena that the buffers are in. */
  readonly memory: Uint8Array<ArrayBuffer>;
  readonly namespaces: readonly IoNamespace[];
  readonly table: TargetTable;
  /** Index of the listener that the connection came in on: its ANA state is in the table. */
  readonly listener: number;
  /** Most data of one command, in bytes: MDTS. */
  readonly transferBytesMax: number;
  /** Added to; may be shared by all queues of a thread. */
  readonly counters?: IoCounters;
  /**
   * A command is about to be answered with an error; true if that is kept in the log, which its host is told. `errno` is
   * what its device gave, 0 if that was not to blame.
   */
  readonly onRefused?: (slot: number, status: number, errno: number) => boolean;
}

/** Slots past those of the commands: one for what Compare reads. */
const SCRATCH_SLOTS = 1;
/** Dwords of a range of Dataset Management. */
const RANGE_SHIFT = 2;
const RangeDword = {
  LENGTH: DsmRangeAt.LENGTH >> 2,
  SLBA_LOW: DsmRangeAt.SLBA >> 2,
  SLBA_HIGH: (DsmRangeAt.SLBA >> 2) + 1,
} as const;

export class IoQueue {
  readonly counters: IoCounters;

  readonly #connection: IoConnection;
  readonly #commands: IoCommands;
  readonly #answers: IoAnswers;
  readonly #requests: RequestTable;
  readonly #words: Uint32Array;
  readonly #checks: IoChecks;
  /** By the place of the namespace that the checks tell. */
  readonly #devices: readonly BlockDevice[];
  readonly #place: Uint8Array;
  readonly #onRefused: (slot: number, status: number, errno: number) => boolean;
  /** 1 from the arrival of a command until its data is there. */
  readonly #fetching: Uint8Array;
  /** The next range of a Dataset Management. */
  readonly #nextRange: Uint16Array;
  /** The command that the scratch slot is used for, -1 for none, and those that wait for it. */
  readonly #scratch: number;
  #comparing = -1;
  readonly #compares: Fifo;
  /** The commands that are carried out later, for a fault, and when. */
  readonly #late: number[] = [];
  readonly #lateDueMs: Float64Array;
  #inDevices = 0;
  /** Something was submitted to a device that may have been asked already in this turn. */
  #mustPoll = false;
  #nowMs = 0;

  /** Request slots that a queue takes whose connection has `depth` slots. */
  static slots(depth: number): number {
    return depth + SCRATCH_SLOTS;
  }

  constructor(options: IoQueueOptions) {
    const { connection, requests, memory, namespaces } = options;
    const depth = connection.commands.depth;
    assert(requests.depth === IoQueue.slots(depth), "An I/O queue has a request slot for each command and a scratch");
    assert(options.transferBytesMax <= requests.bufferBytes, "A slot's buffer holds the largest transfer");
    assert(requests.bufferBytes >= Dsm.RANGES_MAX * Dsm.RANGE_BYTES, "A slot's buffer holds all ranges of a command");
    for (let slot = 0; slot < depth; slot++) {
      const offset = requests.dataOffset[slot];
      assert(offset === connection.commands.dataOffset[slot], "A command and its request have the same buffer");
      assert((memory.byteOffset + offset) % 8 === 0, "A slot's buffer is aligned");
    }
    this.#connection = connection;
    this.#commands = connection.commands;
    this.#answers = new IoAnswers(connection, depth);
    this.#requests = requests;
    this.#words = new Uint32Array(memory.buffer, memory.byteOffset, memory.byteLength >> 2);
    this.#checks = new IoChecks({ ...options, commands: connection.commands });
    this.#place = this.#checks.place;
    this.counters = options.counters ?? new IoCounters();
    this.#onRefused = options.onRefused ?? (() => false);
    this.#devices = namespaces.map(({ device }) => device);
    this.#fetching = new Uint8Array(depth);
    this.#nextRange = new Uint16Array(depth);
    this.#scratch = depth;
    this.#compares = new Fifo(depth);
    this.#lateDueMs = new Float64Array(depth);
  }

  /** What goes wrong here; null, as at the start, for nothing. */
  set faults(faults: IoFaults | null) {
    this.#answers.faults = faults;
  }

  /** True while nothing is in a device, or will be. Once the connection is over too, a last turn has dropped all commands. */
  get isIdle(): boolean {
    return this.#inDevices === 0 && this.#late.length === 0;
  }

  /** When a turn is due though nothing has come in, ms: an answer or a command was held back. Infinity for never. */
  get nextDueMs(): number {
    return this.#late.reduce((next, slot) => Math.min(next, this.#lateDueMs[slot]), this.#answers.nextDueMs);
  }

  /** Takes what the connection and the devices have, and answers what is done. `nowMs` is a monotonic time. */
  turn(nowMs: number): void {
    this.#nowMs = nowMs;
    this.#answers.handleTime(nowMs);
    if (this.#late.length > 0) this.#handleLate();
    const connection = this.#connection;
    while (connection.state === "ready") {
      const slot = connection.pollCommand();
      if (slot === -1) break;
      this.#handleCommand(slot);
    }
    if (this.#inDevices > 0) this.#handleDevices();
  }

  #handleDevices(): void {
    do {
      this.#mustPoll = false;
      for (const device of this.#devices) {
        for (let slot = device.pollCompletion(); slot !== -1; slot = device.pollCompletion()) {
          this.#handleRequestDone(slot);
        }
      }
    } while (this.#mustPoll);
  }

  // ── arrival ───────────────────────────────────────────────────────────────────────────────────────────────────────

  #handleCommand(slot: number): void {
    const opcode = this.#commands.sqe[slot << SQE_SHIFT] & 0xff;
    const wasJudged = this.#fetching[slot] === 1;
    this.#fetching[slot] = 0;
    if (!wasJudged || this.#commands.hasData[slot] === 0) {
      const verdict = this.#answers.judge(slot, opcode, this.#nowMs);
      if (verdict !== StatusCode.SUCCESS) return this.#answer(slot, verdict, 0);
    }
    const status = this.#checks.check(slot, opcode);
    if (status !== StatusCode.SUCCESS) return this.#refuse(slot, status);
    if (this.#commands.hasData[slot] === 0 && takesData(opcode)) {
      this.#fetching[slot] = 1;
      return this.#connection.fetchData(slot);
    }
    if (this.#answers.lateMs[slot] === 0) return this.#execute(slot, opcode);
    this.#lateDueMs[slot] = this.#nowMs + this.#answers.lateMs[slot];
    this.#late.push(slot);
  }

  /** Carries out what a fault has held back: whether somebody still waits for the answer does not matter. */
  #handleLate(): void {
    for (const slot of this.#late.filter((slot) => this.#lateDueMs[slot] <= this.#nowMs)) {
      this.#late.splice(this.#late.indexOf(slot), 1);
      this.#execute(slot, this.#commands.sqe[slot << SQE_SHIFT] & 0xff);
    }
  }

  // ── execution ─────────────────────────────────────────────────────────────────────────────────────────────────────

  #execute(slot: number, opcode: number): void {
    switch (opcode) {
      case NvmOpcode.COMPARE:
        return this.#compare(slot);
      case NvmOpcode.DATASET_MANAGEMENT:
        return this.#manageDataset(slot);
      case NvmOpcode.FLUSH:
        if (this.#devices.length === 0) return this.#answer(slot, StatusCode.SUCCESS, 0);
    }
    this.#submit(slot, this.#place[slot]);
  }

  #submit(slot: number, place: number): void {
    this.#inDevices++;
    this.#mustPoll = true;
    this.#devices[place].submit(slot, this.#nowMs);
  }

  #manageDataset(slot: number): void {
    const at = slot << SQE_SHIFT;
    const count = rangeCount(this.#commands.sqe, at);
    for (let range = 0; range < count; range++) {
      const word = this.#rangeAt(slot, range), words = this.#words;
      const low = words[word + RangeDword.SLBA_LOW], high = words[word + RangeDword.SLBA_HIGH];
      if (!this.#checks.isInside(slot, low, high, words[word + RangeDword.LENGTH])) {
        return this.#refuse(slot, OUT_OF_RANGE);
      }
    }
    if ((this.#commands.sqe[at + SqeDword.CDW11] & Dsm.AD) === 0) return this.#answer(slot, StatusCode.SUCCESS, 0);
    this.#nextRange[slot] = 0;
    this.#deallocateNext(slot);
  }

  #rangeAt(slot: number, range: number): number {
    return (this.#requests.dataOffset[slot] >>> 2) + (range << RANGE_SHIFT);
  }

  #deallocateNext(slot: number): void {
    const requests = this.#requests, words = this.#words;
    const count = rangeCount(this.#commands.sqe, slot << SQE_SHIFT);
    while (this.#nextRange[slot] < count) {
      const word = this.#rangeAt(slot, this.#nextRange[slot]++);
      if (words[word + RangeDword.LENGTH] === 0) continue;
      requests.lbaLow[slot] = words[word + RangeDword.SLBA_LOW];
      requests.lbaHigh[slot] = words[word + RangeDword.SLBA_HIGH];
      requests.blocks[slot] = words[word + RangeDword.LENGTH];
      return this.#submit(slot, this.#place[slot]);
    }
    this.#answer(slot, StatusCode.SUCCESS, 0);
  }

  #flushNext(slot: number): void {
    const isAll = this.#commands.sqe[(slot << SQE_SHIFT) + SqeDword.NSID] === NSID_ALL;
    const next = this.#place[slot] + 1;
    if (!isAll || next === this.#devices.length) return this.#answer(slot, StatusCode.SUCCESS, 0);
    this.#place[slot] = next;
    this.#submit(slot, next);
  }

  #compare(slot: number): void {
    if (this.#comparing !== -1) return this.#compares.push(slot);
    const requests = this.#requests, scratch = this.#scratch;
    this.#comparing = slot;
    requests.op[scratch] = BlockOp.READ;
    requests.flags[scratch] = requests.flags[slot];
    requests.lbaLow[scratch] = requests.lbaLow[slot];
    requests.lbaHigh[scratch] = requests.lbaHigh[slot];
    requests.blocks[scratch] = requests.blocks[slot];
    this.#submit(scratch, this.#place[slot]);
  }

  // ── answers ───────────────────────────────────────────────────────────────────────────────────────────────────────

  #handleRequestDone(slot: number): void {
    this.#inDevices--;
    const errno = this.#requests.status[slot];
    if (slot === this.#scratch) return this.#handleCompareRead(errno);
    if (this.#connection.state !== "ready") return this.#connection.drop(slot);
    if (errno !== 0) return this.#fail(slot, errno);
    switch (this.#commands.sqe[slot << SQE_SHIFT] & 0xff) {
      case NvmOpcode.READ:
        return this.#answerRead(slot);
      case NvmOpcode.WRITE:
        this.counters.add(IoCounter.WRITES, 1);
        this.counters.add(IoCounter.WRITE_BYTES, this.#commands.dataBytes[slot]);
        break;
      case NvmOpcode.DATASET_MANAGEMENT:
        return this.#deallocateNext(slot);
      case NvmOpcode.FLUSH:
        return this.#flushNext(slot);
    }
    this.#answer(slot, StatusCode.SUCCESS, 0);
  }

  #answerRead(slot: number): void {
    const bytes = this.#commands.dataBytes[slot];
    this.counters.add(IoCounter.READS, 1);
    this.counters.add(IoCounter.READ_BYTES, bytes);
    this.#answer(slot, StatusCode.SUCCESS, bytes);
  }

  #handleCompareRead(errno: number): void {
    const slot = this.#comparing;
    this.#comparing = -1;
    const isOver = this.#connection.state !== "ready";
    if (isOver) this.#connection.drop(slot);
    else if (errno !== 0) this.#fail(slot, errno);
    else this.#answerCompare(slot);
    for (let next = this.#compares.shift(); next !== -1; next = this.#compares.shift()) {
      if (!isOver) return this.#compare(next);
      this.#connection.drop(next);
    }
  }

  #answerCompare(slot: number): void {
    const bytes = this.#commands.dataBytes[slot], words = this.#words;
    this.counters.add(IoCounter.READS, 1);
    this.counters.add(IoCounter.READ_BYTES, bytes);
    const end = (this.#requests.dataOffset[slot] + bytes) >>> 2;
    let read = this.#requests.dataOffset[this.#scratch] >>> 2;
    for (let word = this.#requests.dataOffset[slot] >>> 2; word < end; word++, read++) {
      if (words[word] !== words[read]) return this.#refuse(slot, StatusCode.COMPARE_FAILURE | StatusField.DNR);
    }
    this.#answer(slot, StatusCode.SUCCESS, 0);
  }

  #fail(slot: number, errno: number): void {
    const op = this.#requests.op[slot];
    this.counters.add(IoCounter.DEVICE_ERRORS, 1);
    this.#refuse(slot, errnoStatus(errno, op === BlockOp.READ), errno);
  }

  #refuse(slot: number, status: number, errno = 0): void {
    this.counters.add(IoCounter.ERRORS, 1);
    this.#answer(slot, this.#onRefused(slot, status, errno) ? status | StatusField.MORE : status, 0);
  }

  #answer(slot: number, status: number, bytes: number): void {
    this.#answers.give(slot, status, bytes, this.#nowMs);
  }
}

/** Commands whose data comes from the host. */
function takesData(opcode: number): boolean {
  return opcode === NvmOpcode.WRITE || opcode === NvmOpcode.COMPARE || opcode === NvmOpcode.DATASET_MANAGEMENT;
}
