/**
 * A connection with its arena and a scripted target at the other end, bytes moved by hand in any pieces. Everything in
 * the arena but the connection's own part is watched: what a read or the test did not write must stay as it is.
 */
import { assert, assertEquals } from "@std/assert";
import type { Prng } from "../../../src/base/prng.ts";
import { DataDirection } from "../../../src/nvme_host/command_table.ts";
import { Connection, Submission } from "../../../src/nvme_host/connection.ts";
import { NvmOpcode } from "../../../src/protocol/nvme.ts";
import type { Digests } from "../../../src/nvme_host/transfer.ts";
import { naiveCrc32c, ScriptedTarget, type TargetManners } from "./scripted_target.ts";

/** How many of `most` bytes move in the next step. */
export type Split = (most: number) => number;

export const whole: Split = (most) => most;
export const oneByOne: Split = () => 1;
export function randomSplit(prng: Prng, mostBytes = 4096): Split {
  return (most) => 1 + prng.below(Math.min(most, 1 << prng.below(Math.ceil(Math.log2(mostBytes)) + 1)));
}

export interface WireOptions {
  depth?: number;
  slots?: number;
  /** Bytes of each data buffer. */
  slotBytes?: number;
  inCapsuleBytes?: number;
  receiveBytes?: number;
  takesShortReads?: boolean;
  manners?: Partial<TargetManners>;
}

/** Bytes that nobody may touch around every buffer. */
const GUARD_BYTES = 64;

export class Wire {
  readonly memory: Uint8Array<ArrayBuffer>;
  readonly connection: Connection;
  readonly target: ScriptedTarget;
  readonly slotBytes: number;
  /** What the arena must look like. */
  readonly shadow: Uint8Array<ArrayBuffer>;
  readonly #own: { start: number; end: number };
  readonly #slots: number;
  readonly #submission = new Submission();
  sendSplit: Split = whole;
  receiveSplit: Split = whole;
  nowMs = 0;
  /** Checksums that the connection has asked for. */
  crcs = 0;
  /** Called with each piece of data, outside the connection's part of the arena, that is about to be sent. */
  onSend: (offset: number, bytes: number) => void = () => {};

  constructor(options: WireOptions = {}) {
    const depth = options.depth ?? 8;
    this.#slots = options.slots ?? depth;
    this.slotBytes = options.slotBytes ?? 4096;
    const receiveBytes = options.receiveBytes ?? 4096;
    const start = roundUp8(GUARD_BYTES + (this.#slots >> 1) * (this.slotBytes + GUARD_BYTES));
    const end = start + Connection.arenaBytes(depth, receiveBytes);
    this.#own = { start, end };
    this.memory = new Uint8Array(roundUp8(end + GUARD_BYTES + this.#slots * (this.slotBytes + GUARD_BYTES)));
    const words = new Uint32Array(this.memory.buffer);
    for (let i = 0; i < words.length; i++) words[i] = Math.imul(i + 1, 0x9e3779b1);
    this.shadow = this.memory.slice();
    this.target = new ScriptedTarget(options.manners);
    this.connection = new Connection({
      memory: this.memory,
      arenaOffset: start,
      depth,
      inCapsuleBytes: options.inCapsuleBytes ?? 0,
      receiveBytes,
      takesShortReads: options.takesShortReads ?? false,
      crc32c: (offset, bytes) => {
        this.crcs++;
        return naiveCrc32c(this.memory.subarray(offset, offset + bytes));
      },
    });
  }

  /** Those that the target expects. */
  get digests(): Digests {
    return { header: this.target.manners.headerDigest, data: this.target.manners.dataDigest };
  }

  /** Where slot's buffer begins; half of the buffers lie before the connection's part of the arena, half behind. */
  offset(slot: number): number {
    const half = this.#slots >> 1;
    const stride = this.slotBytes + GUARD_BYTES;
    return slot < half ? GUARD_BYTES + slot * stride : this.#own.end + GUARD_BYTES + (slot - half) * stride;
  }

  buffer(slot: number, bytes = this.slotBytes): Uint8Array {
    return this.memory.subarray(this.offset(slot), this.offset(slot) + bytes);
  }

  /** Fills a buffer, as its owner may. */
  fill(slot: number, data: Uint8Array): void {
    this.memory.set(data, this.offset(slot));
    this.shadow.set(data, this.offset(slot));
  }

  /** What the arena has now at `slot` is right. */
  accept(slot: number, bytes = this.slotBytes): void {
    this.shadow.set(this.buffer(slot, bytes), this.offset(slot));
  }

  /** Nothing was written but what was accepted, leaving out the buffers of reads in flight. */
  checkArena(readsInFlight: readonly number[] = []): void {
    for (const slot of readsInFlight) this.accept(slot);
    const { start, end } = this.#own;
    if (!isSame(this.memory, this.shadow, 0, start) || !isSame(this.memory, this.shadow, end, this.memory.length)) {
      const at = this.memory.findIndex((byte, i) => (i < start || i >= end) && byte !== this.shadow[i]);
      throw new Error(`Byte ${at} of the arena was written by nobody who may; the connection has ${start} to ${end}`);
    }
  }

  /** Opens the connection. */
  open(): this {
    this.connection.start(this.digests);
    this.pump();
    assertEquals(this.connection.failure, null);
    assertEquals(this.connection.state, "ready");
    return this;
  }

  submit(opcode: number, slot: number, bytes: number, owner = slot): number {
    const submission = this.#submission;
    submission.sqe.fill(0);
    submission.sqe[0] = opcode;
    submission.sqe[1] = 1;
    submission.sqe[10] = slot;
    submission.sqe[12] = Math.max(bytes >> 9, 1) - 1;
    submission.direction = bytes === 0
      ? DataDirection.NONE
      : opcode === NvmOpcode.READ
      ? DataDirection.FROM_CONTROLLER
      : DataDirection.TO_CONTROLLER;
    submission.dataOffset = this.offset(slot);
    submission.dataBytes = bytes;
    submission.owner = owner;
    return this.connection.submit(submission, this.nowMs);
  }

  cid(command: number): number {
    return this.connection.commands.cid[command];
  }

  /** Moves one piece of what the connection wants to send; false if there is nothing. */
  sendPiece(): boolean {
    const { connection, target } = this;
    const buffer = connection.sendBuffer;
    if (!buffer.isSending && !connection.pollSend()) return false;
    const all = Array.from({ length: buffer.segments }, (_, i) => [buffer.segmentOffset(i), buffer.segmentBytes(i)]);
    let left = this.sendSplit(all.reduce((sum, [, bytes]) => sum + bytes, 0));
    assert(all.length > 0 && all.length <= 1024);
    const sent = left;
    for (const [offset, bytes] of all) {
      const isOwn = offset >= this.#own.start && offset + bytes <= this.#own.end;
      if (!isOwn) this.onSend(offset, bytes);
      const part = Math.min(bytes, left);
      // A copy: the kernel reads the memory now, not later.
      if (part > 0) target.receive(this.memory.slice(offset, offset + part));
      left -= part;
    }
    connection.handleSent(sent);
    return true;
  }

  /** Moves one piece to the connection; false if there is nothing or it takes nothing any more. */
  receivePiece(): boolean {
    if (this.target.pending === 0 || this.connection.state === "failed") return false;
    this.connection.prepareReceive();
    this.deliver(this.target.take(this.receiveSplit(Math.min(this.receiveRoom, this.target.pending))));
    return true;
  }

  get receiveRoom(): number {
    const { bytes: receiveBytes, segments: receiveSegments } = this.connection.receiveBuffer;
    return receiveBytes[0] + (receiveSegments > 1 ? receiveBytes[1] : 0);
  }

  /** Puts bytes where `prepareReceive()` said, and tells. */
  deliver(bytes: Uint8Array): void {
    const { connection } = this;
    const first = Math.min(bytes.length, connection.receiveBuffer.bytes[0]);
    this.memory.set(bytes.subarray(0, first), connection.receiveBuffer.offset[0]);
    this.memory.set(bytes.subarray(first), connection.receiveBuffer.offset[1]);
    connection.handleReceived(bytes.length);
  }

  /** Gives the connection raw bytes, in as many pieces as it takes. */
  inject(bytes: Uint8Array): void {
    this.target.send(bytes);
    while (this.receivePiece());
  }

  pump(): void {
    while (this.sendPiece() || this.receivePiece());
  }

  /** Takes and releases all answers: owners and statuses. */
  answers(): { owner: number; status: number; result0: number; result1: number }[] {
    const { commands } = this.connection;
    const answers = [];
    for (let c = this.connection.pollCompletion(); c >= 0; c = this.connection.pollCompletion()) {
      const { owner, status, result0, result1 } = commands;
      answers.push({ owner: owner[c], status: status[c], result0: result0[c], result1: result1[c] });
      this.connection.release(c);
    }
    return answers;
  }
}

function roundUp8(value: number): number {
  return (value + 7) & ~7;
}

function isSame(a: Uint8Array<ArrayBuffer>, b: Uint8Array<ArrayBuffer>, start: number, end: number): boolean {
  const left = new Uint32Array(a.buffer, start, (end - start) >> 2);
  const right = new Uint32Array(b.buffer, start, (end - start) >> 2);
  for (let i = 0; i < left.length; i++) if (left[i] !== right[i]) return false;
  return true;
}

/** Bytes that tell where they belong. */
export function pattern(bytes: number, seed: number): Uint8Array<ArrayBuffer> {
  const data = new Uint8Array(bytes);
  for (let i = 0; i < bytes; i++) data[i] = (Math.imul(i + 1, 0x9e3779b1) ^ Math.imul(seed + 1, 0x85ebca6b)) >>> 24;
  return data;
}
