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
 * Invariant: a slot is in at most one device, and its command is not answered as long as it is.
 */
import { assert } from "../base/assert.ts";
import { Fifo } from "../base/fifo.ts";
import type { BlockDevice } from "../block/device.ts";
import { BlockFlag, BlockOp, type RequestTable } from "../block/request.ts";
import {
  Dsm,
  FABRICS_OPCODE,
  FabricsType,
  NSID_ALL,
  NvmOpcode,
  RwCdw12,
  SQE_FLAGS_FUSE_MASK,
  SQE_FLAGS_PSDT_MASK,
  SQE_FLAGS_PSDT_SGL,
} from "../spec/nvme.ts";
import { StatusCode, StatusField } from "../spec/nvme_status.ts";
import { IoAnswers } from "./io_answers.ts";
import type { IoCommands, IoConnection } from "./io_connection.ts";
import { IoCounter, IoCounters } from "./io_counters.ts";
import type { IoFaults } from "./io_faults.ts";
import { anaStatus, errnoStatus } from "./io_status.ts";
import type { TargetTable } from "./target_table.ts";

/** A namespace as one queue sees it. */
export interface IoNamespace {
  /** Its place in the {@linkcode TargetTable}. */
  readonly index: number;
  readonly nsid: number;
  /** Logical block size in bytes. */
  readonly blockSize: number;
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
}

/** Slots past those of the commands: one for what Compare reads. */
const SCRATCH_SLOTS = 1;
/** Dwords of a submission queue entry: the shift from a slot to its first one, and which is which. */
const SQE_SHIFT = 4;
const Dword = { OPC: 0, NSID: 1, MPTR_LOW: 4, MPTR_HIGH: 5, CDW10: 10, CDW11: 11, CDW12: 12 } as const;
/** FUSE and PSDT in the first dword, and the only value that is allowed: not fused, an SGL. */
const FLAGS_MASK = (SQE_FLAGS_FUSE_MASK | SQE_FLAGS_PSDT_MASK) << 8;
const FLAGS = SQE_FLAGS_PSDT_SGL << 8;
/** Dwords of a range of Dataset Management. */
const RANGE_SHIFT = 2;
const RangeDword = { LENGTH: 1, SLBA_LOW: 2, SLBA_HIGH: 3 } as const;
/** High halves of LBAs from here on are past every namespace; below, an LBA is exact as a number. */
const LBA_HIGH_END = 2 ** 21;

const { DNR } = StatusField;
const INVALID_FIELD = StatusCode.INVALID_FIELD | DNR;
const LENGTH_INVALID = StatusCode.DATA_SGL_LENGTH_INVALID | DNR;
const OUT_OF_RANGE = StatusCode.LBA_OUT_OF_RANGE | DNR;
const WRITE_PROTECTED = StatusCode.NAMESPACE_WRITE_PROTECTED | DNR;

export class IoQueue {
  readonly counters: IoCounters;

  readonly #connection: IoConnection;
  readonly #commands: IoCommands;
  readonly #answers: IoAnswers;
  readonly #requests: RequestTable;
  readonly #words: Uint32Array;
  readonly #table: TargetTable;
  readonly #listener: number;
  readonly #transferBytesMax: number;
  readonly #devices: readonly BlockDevice[];
  readonly #nsids: Uint32Array;
  readonly #indexes: Uint32Array;
  readonly #blockSizes: Uint32Array;
  /** The place in `#devices` of the namespace that the slot's command is about. */
  readonly #place: Uint8Array;
  /** 1 from the arrival of a command until its data is there. */
  readonly #fetching: Uint8Array;
  /** The next range of a Dataset Management. */
  readonly #nextRange: Uint16Array;
  /** The command that the scratch slot is used for, -1 for none, and those that wait for it. */
  readonly #scratch: number;
  #comparing = -1;
  readonly #compares: Fifo;
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
    this.#table = options.table;
    this.#listener = options.listener;
    this.#transferBytesMax = options.transferBytesMax;
    this.counters = options.counters ?? new IoCounters();
    this.#devices = namespaces.map(({ device }) => device);
    this.#nsids = Uint32Array.from(namespaces, ({ nsid }) => nsid);
    this.#indexes = Uint32Array.from(namespaces, ({ index }) => index);
    this.#blockSizes = Uint32Array.from(namespaces, ({ blockSize }) => blockSize);
    this.#place = new Uint8Array(requests.depth);
    this.#fetching = new Uint8Array(depth);
    this.#nextRange = new Uint16Array(depth);
    this.#scratch = depth;
    this.#compares = new Fifo(depth);
  }

  /** What goes wrong here; null, as at the start, for nothing. */
  set faults(faults: IoFaults | null) {
    this.#answers.faults = faults;
  }

  /** True while nothing is in a device: the arena may go, if the connection is over. */
  get isIdle(): boolean {
    return this.#inDevices === 0;
  }

  /** When a turn is due though nothing has come in, ms: an answer was held back. Infinity for never. */
  get nextDueMs(): number {
    return this.#answers.nextDueMs;
  }

  /** Takes what the connection and the devices have, and answers what is done. `nowMs` is a monotonic time. */
  turn(nowMs: number): void {
    this.#nowMs = nowMs;
    this.#answers.handleTime(nowMs);
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
    const status = this.#check(slot, opcode);
    if (status !== StatusCode.SUCCESS) return this.#refuse(slot, status);
    if (this.#commands.hasData[slot] === 0 && takesData(opcode)) {
      this.#fetching[slot] = 1;
      return this.#connection.fetchData(slot);
    }
    this.#execute(slot, opcode);
  }

  /** What is wrong with a command, as a status; 0 for nothing: then its request is filled in. */
  #check(slot: number, opcode: number): number {
    const at = slot << SQE_SHIFT;
    const sqe = this.#commands.sqe;
    if (opcode === FABRICS_OPCODE) return checkFabrics(sqe[at + Dword.NSID] & 0xff);
    if ((sqe[at + Dword.OPC] & FLAGS_MASK) !== FLAGS) return INVALID_FIELD;
    switch (opcode) {
      case NvmOpcode.READ:
      case NvmOpcode.WRITE:
      case NvmOpcode.COMPARE:
        return this.#checkTransfer(slot, at, opcode);
      case NvmOpcode.FLUSH:
        return this.#checkFlush(slot, at);
      case NvmOpcode.WRITE_ZEROES:
        return this.#checkWriteZeroes(slot, at);
      case NvmOpcode.DATASET_MANAGEMENT:
        return this.#checkDatasetManagement(slot, at);
    }
    return StatusCode.INVALID_OPCODE | DNR;
  }

  #checkTransfer(slot: number, at: number, opcode: number): number {
    const refusal = this.#checkNamespace(slot, at, opcode === NvmOpcode.WRITE) || this.#checkRange(slot, at);
    if (refusal !== StatusCode.SUCCESS) return refusal;
    const bytes = this.#requests.blocks[slot] * this.#blockSizes[this.#place[slot]];
    if (bytes > this.#transferBytesMax) return INVALID_FIELD;
    if (this.#commands.dataBytes[slot] !== bytes) return LENGTH_INVALID;
    if (opcode === NvmOpcode.WRITE && (this.#commands.sqe[at + Dword.CDW12] & RwCdw12.DTYPE_MASK) !== 0) {
      return INVALID_FIELD;
    }
    this.#requests.op[slot] = opcode === NvmOpcode.WRITE ? BlockOp.WRITE : BlockOp.READ;
    return StatusCode.SUCCESS;
  }

  #checkWriteZeroes(slot: number, at: number): number {
    const refusal = this.#checkNamespace(slot, at, true) || this.#checkRange(slot, at);
    if (refusal !== StatusCode.SUCCESS) return refusal;
    if (this.#commands.dataBytes[slot] !== 0) return LENGTH_INVALID;
    const requests = this.#requests;
    requests.op[slot] = BlockOp.WRITE_ZEROES;
    if ((this.#commands.sqe[at + Dword.CDW12] & RwCdw12.DEAC) === 0) requests.flags[slot] |= BlockFlag.NO_UNMAP;
    return StatusCode.SUCCESS;
  }

  #checkFlush(slot: number, at: number): number {
    if (this.#commands.dataBytes[slot] !== 0) return LENGTH_INVALID;
    const requests = this.#requests;
    requests.op[slot] = BlockOp.FLUSH;
    requests.flags[slot] = 0;
    requests.lbaLow[slot] = requests.lbaHigh[slot] = requests.blocks[slot] = 0;
    if (this.#commands.sqe[at + Dword.NSID] !== NSID_ALL) return this.#checkNamespace(slot, at, false);
    this.#place[slot] = 0;
    return anaStatus(this.#table.ana(this.#listener));
  }

  /** Its ranges are checked when they are there. */
  #checkDatasetManagement(slot: number, at: number): number {
    const sqe = this.#commands.sqe;
    const isDeallocation = (sqe[at + Dword.CDW11] & Dsm.AD) !== 0;
    const refusal = this.#checkNamespace(slot, at, isDeallocation);
    if (refusal !== StatusCode.SUCCESS) return refusal;
    const bytes = this.#commands.dataBytes[slot];
    if (bytes > this.#transferBytesMax) return INVALID_FIELD;
    // Hosts may send a page with room for all ranges, whatever the number of ranges is.
    if (bytes < rangeCount(sqe, at) * Dsm.RANGE_BYTES) return LENGTH_INVALID;
    this.#requests.op[slot] = BlockOp.DISCARD;
    this.#requests.flags[slot] = 0;
    return StatusCode.SUCCESS;
  }

  /** Finds the namespace, and whether it may be used so here and now. */
  #checkNamespace(slot: number, at: number, isChange: boolean): number {
    const nsid = this.#commands.sqe[at + Dword.NSID];
    const nsids = this.#nsids;
    let place = 0;
    while (place < nsids.length && nsids[place] !== nsid) place++;
    if (place === nsids.length) return StatusCode.INVALID_NAMESPACE_OR_FORMAT | DNR;
    this.#place[slot] = place;
    const status = anaStatus(this.#table.ana(this.#listener));
    if (status !== StatusCode.SUCCESS) return status;
    return isChange && this.#table.isReadOnly(this.#indexes[place]) ? WRITE_PROTECTED : StatusCode.SUCCESS;
  }

  /** The blocks of a command, and what it says about metadata, of which no namespace has any. */
  #checkRange(slot: number, at: number): number {
    const sqe = this.#commands.sqe;
    const cdw12 = sqe[at + Dword.CDW12];
    if ((cdw12 & RwCdw12.PRINFO_MASK) !== 0) return StatusCode.INVALID_PROTECTION_INFORMATION | DNR;
    if ((sqe[at + Dword.MPTR_LOW] | sqe[at + Dword.MPTR_HIGH]) !== 0) return INVALID_FIELD;
    const requests = this.#requests;
    const low = sqe[at + Dword.CDW10], high = sqe[at + Dword.CDW11];
    const blocks = (cdw12 & RwCdw12.NLB_MASK) + 1;
    if (!this.#isInside(slot, low, high, blocks)) return OUT_OF_RANGE;
    requests.lbaLow[slot] = low;
    requests.lbaHigh[slot] = high;
    requests.blocks[slot] = blocks;
    requests.flags[slot] = (cdw12 & RwCdw12.FUA) !== 0 ? BlockFlag.FUA : 0;
    return StatusCode.SUCCESS;
  }

  #isInside(slot: number, low: number, high: number, blocks: number): boolean {
    if (high >= LBA_HIGH_END) return false;
    return high * 2 ** 32 + low <= this.#table.blocks(this.#indexes[this.#place[slot]]) - blocks;
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
      if (!this.#isInside(slot, low, high, words[word + RangeDword.LENGTH])) return this.#refuse(slot, OUT_OF_RANGE);
    }
    if ((this.#commands.sqe[at + Dword.CDW11] & Dsm.AD) === 0) return this.#answer(slot, StatusCode.SUCCESS, 0);
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
    const isAll = this.#commands.sqe[(slot << SQE_SHIFT) + Dword.NSID] === NSID_ALL;
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
    if (this.#connection.state !== "ready") return;
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
    if (this.#connection.state !== "ready") return;
    if (errno !== 0) this.#fail(slot, errno);
    else this.#answerCompare(slot);
    const next = this.#compares.shift();
    if (next !== -1) this.#compare(next);
  }

  #answerCompare(slot: number): void {
    const bytes = this.#commands.dataBytes[slot], words = this.#words;
    this.counters.add(IoCounter.READS, 1);
    this.counters.add(IoCounter.READ_BYTES, bytes);
    const end = (this.#requests.dataOffset[slot] + bytes) >>> 2;
    let read = this.#requests.dataOffset[this.#scratch] >>> 2;
    for (let word = this.#requests.dataOffset[slot] >>> 2; word < end; word++, read++) {
      if (words[word] !== words[read]) return this.#refuse(slot, StatusCode.COMPARE_FAILURE | DNR);
    }
    this.#answer(slot, StatusCode.SUCCESS, 0);
  }

  #fail(slot: number, errno: number): void {
    const op = this.#requests.op[slot];
    this.counters.add(IoCounter.DEVICE_ERRORS, 1);
    this.#refuse(slot, errnoStatus(errno, op === BlockOp.READ));
  }

  #refuse(slot: number, status: number): void {
    this.counters.add(IoCounter.ERRORS, 1);
    this.#answer(slot, status, 0);
  }

  #answer(slot: number, status: number, bytes: number): void {
    this.#answers.give(slot, status, bytes, this.#nowMs);
  }
}

/** Commands whose data comes from the host. */
function takesData(opcode: number): boolean {
  return opcode === NvmOpcode.WRITE || opcode === NvmOpcode.COMPARE || opcode === NvmOpcode.DATASET_MANAGEMENT;
}

/** A queue is connected once, and knows no other Fabrics command. */
function checkFabrics(type: number): number {
  return (type === FabricsType.CONNECT ? StatusCode.COMMAND_SEQUENCE_ERROR : StatusCode.INVALID_OPCODE) | DNR;
}

/** Ranges of the Dataset Management whose entry begins at `at`. */
function rangeCount(sqe: Uint32Array, at: number): number {
  return (sqe[at + Dword.CDW10] & Dsm.NR_MASK) + 1;
}
