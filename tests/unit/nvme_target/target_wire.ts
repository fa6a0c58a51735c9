/**
 * A target's connection with its arena and a naive host at the other end, bytes moved by hand in any pieces. Everything
 * in the arena but the connection's own part is watched: only the buffers of commands that have data for the target may
 * change, and no further than that data reaches.
 */
import { assert, assertEquals } from "@std/assert";
import type { Prng } from "../../../src/base/prng.ts";
import { SlotPhase, TransferDirection } from "../../../src/nvme_target/command_slots.ts";
import { TargetConnection, type TargetQueue } from "../../../src/nvme_target/connection.ts";
import { naiveCrc32c, NaiveHost, type TargetPdu } from "./naive_host.ts";

/** How many of `most` bytes move in the next step. */
export type Split = (most: number) => number;

export const whole: Split = (most) => most;
export const oneByOne: Split = () => 1;
export function randomSplit(prng: Prng, mostBytes = 4096): Split {
  return (most) => 1 + prng.below(Math.min(most, 1 << prng.below(Math.ceil(Math.log2(mostBytes)) + 1)));
}

export interface TargetWireOptions {
  slots?: number;
  slotBytes?: number;
  inCapsuleBytes?: number;
  receiveBytes?: number;
  digests?: { header: boolean; data: boolean };
}

/** Bytes that nobody may touch between the parts of the arena. */
const GUARD_BYTES = 64;

export const NO_FLOW_CONTROL: TargetQueue = { sqEntries: 128, sqFlowControl: false, sqHead: 1 };

export class TargetWire {
  readonly memory: Uint8Array<ArrayBuffer>;
  readonly connection: TargetConnection;
  readonly host = new NaiveHost();
  readonly slotBytes: number;
  readonly slots: number;
  /** PDUs of the target that no test has taken. */
  readonly pdus: TargetPdu[] = [];
  /** Bytes that the target sent, as they came. */
  sent: number[] = [];
  /** What one send gathered: the number of its segments. */
  gathered: number[] = [];
  /** Without it, what is sent is not taken apart. */
  parses = true;
  sendSplit: Split = whole;
  receiveSplit: Split = whole;
  crcs = 0;
  readonly #own: { start: number; end: number };
  readonly #dataOffset: number;
  readonly #shadow: Uint8Array<ArrayBuffer>;
  /** How far each slot's buffer may have been written since the last check. */
  readonly #allowed: number[];
  #pending: Uint8Array<ArrayBuffer> = new Uint8Array(0);

  constructor(options: TargetWireOptions = {}) {
    const slots = this.slots = options.slots ?? 8;
    this.slotBytes = options.slotBytes ?? 4096;
    const receiveBytes = options.receiveBytes ?? 4096;
    const end = GUARD_BYTES + TargetConnection.arenaBytes(slots, receiveBytes);
    this.#own = { start: GUARD_BYTES, end };
    this.#dataOffset = (end + GUARD_BYTES + 7) & ~7;
    this.memory = new Uint8Array((this.#dataOffset + slots * this.slotBytes + GUARD_BYTES + 7) & ~7);
    const words = new Uint32Array(this.memory.buffer);
    for (let i = 0; i < words.length; i++) words[i] = Math.imul(i + 1, 0x9e3779b1);
    this.#shadow = this.memory.slice();
    this.#allowed = new Array(slots).fill(0);
    this.connection = new TargetConnection({
      memory: this.memory,
      arenaOffset: this.#own.start,
      slots,
      dataOffset: this.#dataOffset,
      dataBytes: this.slotBytes,
      inCapsuleBytes: options.inCapsuleBytes ?? 2048,
      receiveBytes,
      crc32c: (offset, bytes) => {
        this.crcs++;
        return naiveCrc32c(this.memory.subarray(offset, offset + bytes));
      },
      ...(options.digests === undefined ? {} : { digests: options.digests }),
    });
  }

  /** The IC exchange, and what a Connect would say. */
  open(fields: { hpda?: number; dgst?: number; maxr2t?: number } = {}, queue: TargetQueue = NO_FLOW_CONTROL): this {
    this.send(this.host.icReq(fields));
    this.pump();
    const pdu = this.pdus.shift();
    assertEquals([pdu?.type, pdu?.plen, this.connection.failure], [1, 128, null]);
    const agreed = pdu!.header.getUint8(11);
    this.host.headerDigest = (agreed & 1) !== 0;
    this.host.dataDigest = (agreed & 2) !== 0;
    this.connection.setQueue(queue);
    return this;
  }

  // ── buffers ───────────────────────────────────────────────────────────────────────────────────────────────────────

  offset(slot: number): number {
    return this.#dataOffset + slot * this.slotBytes;
  }

  buffer(slot: number, bytes = this.slotBytes): Uint8Array<ArrayBuffer> {
    return this.memory.slice(this.offset(slot), this.offset(slot) + bytes);
  }

  /** Fills a buffer, as the owner of its command may. */
  fill(slot: number, data: Uint8Array): void {
    assert(data.length <= this.slotBytes);
    this.memory.set(data, this.offset(slot));
    this.#shadow.set(data, this.offset(slot));
  }

  /** Nothing was written but what may be. */
  checkArena(): void {
    for (let slot = 0; slot < this.slots; slot++) {
      const from = this.offset(slot);
      this.#shadow.set(this.memory.subarray(from, from + this.#allowed[slot]), from);
      this.#allowed[slot] = 0;
    }
    const { start, end } = this.#own;
    for (const [from, to] of [[0, start], [end & ~3, this.memory.length]]) {
      const left = new Uint32Array(this.memory.buffer, from, (to - from) >> 2);
      const right = new Uint32Array(this.#shadow.buffer, from, (to - from) >> 2);
      for (let i = 0; i < left.length; i++) {
        if (left[i] !== right[i]) {
          throw new Error(`Dword at ${from + 4 * i} was written by nobody who may; data is at ${this.#dataOffset}`);
        }
      }
    }
  }

  // ── bytes ─────────────────────────────────────────────────────────────────────────────────────────────────────────

  /** Bytes on the way to the target. */
  get pending(): number {
    return this.#pending.length;
  }

  /** The host sends bytes; they move with `receivePiece()`. */
  send(...parts: Uint8Array[]): void {
    const bytes = parts.reduce((sum, part) => sum + part.length, this.#pending.length);
    const joined = new Uint8Array(bytes);
    let at = 0;
    for (const part of [this.#pending, ...parts]) {
      joined.set(part, at);
      at += part.length;
    }
    this.#pending = joined;
  }

  /** Moves one piece to the target; false if there is nothing, or no room for it. */
  receivePiece(): boolean {
    const { connection } = this;
    if (this.#pending.length === 0 || connection.state === "failed") return false;
    connection.prepareReceive();
    const { segments, offset, bytes } = connection.receiveBuffer;
    if (segments === 0) return false;
    const room = bytes[0] + (segments > 1 ? bytes[1] : 0);
    assert(room > 0 && (segments === 1 || bytes[1] > 0), "Pieces to receive into are not empty");
    const piece = this.#pending.subarray(0, Math.min(room, this.receiveSplit(Math.min(room, this.#pending.length))));
    this.#pending = this.#pending.slice(piece.length);
    const first = Math.min(piece.length, bytes[0]);
    const wasFree = this.#beforeBytes();
    this.memory.set(piece.subarray(0, first), offset[0]);
    if (first < piece.length) this.memory.set(piece.subarray(first), offset[1]);
    connection.handleReceived(piece.length);
    this.#allow(wasFree);
    return true;
  }

  /** Notes what may be written before bytes arrive, for they may free a slot and use it again; says which are free. */
  #beforeBytes(): boolean[] {
    const { phase, dataBytes } = this.connection.commands;
    for (let slot = 0; slot < this.slots; slot++) {
      if (phase[slot] === SlotPhase.FETCHING) this.#allowed[slot] = Math.max(this.#allowed[slot], dataBytes[slot]);
    }
    return [...phase].map((one) => one === SlotPhase.FREE);
  }

  #allow(wasFree: boolean[]): void {
    const { phase, direction, dataBytes } = this.connection.commands;
    for (let slot = 0; slot < this.slots; slot++) {
      const untouched = wasFree[slot] && phase[slot] === SlotPhase.FREE && this.connection.state !== "failed";
      const mayWrite = (direction[slot] & TransferDirection.TO_CONTROLLER) !== 0 && !untouched;
      if (mayWrite) this.#allowed[slot] = Math.max(this.#allowed[slot], dataBytes[slot]);
    }
  }

  /** Moves one piece of what the target wants to send; false if there is nothing. */
  sendPiece(): boolean {
    const { connection } = this;
    const buffer = connection.sendBuffer;
    if (!buffer.isSending) {
      if (!connection.pollSend()) return false;
      this.gathered.push(buffer.segments);
    }
    const pieces = Array.from({ length: buffer.segments }, (_, i) => [buffer.segmentOffset(i), buffer.segmentBytes(i)]);
    assert(pieces.length > 0 && pieces.length <= 1024, "A send gathers 1 to 1024 segments");
    const most = pieces.reduce((sum, [, bytes]) => sum + bytes, 0);
    const bytes = this.sendSplit(most);
    let left = bytes;
    for (const [offset, size] of pieces) {
      this.#checkSource(offset, size);
      const part = this.memory.subarray(offset, offset + Math.min(size, left));
      left -= part.length;
      if (this.parses) this.pdus.push(...this.host.receive(part));
      else for (const byte of part) this.sent.push(byte);
    }
    // A stalled capsule may go on now.
    const wasFree = this.#beforeBytes();
    connection.handleSent(bytes);
    this.#allow(wasFree);
    return true;
  }

  /** What is sent comes from the connection's own part, or from the buffer of a command that is being answered. */
  #checkSource(offset: number, bytes: number): void {
    if (offset >= this.#own.start && offset + bytes <= this.#own.end) return;
    const slot = Math.floor((offset - this.#dataOffset) / this.slotBytes);
    assert(offset >= this.#dataOffset && slot < this.slots, `Byte ${offset} of the arena is nothing to send`);
    const phase = this.connection.commands.phase[slot];
    const isInside = offset + bytes <= this.offset(slot + 1);
    const failed = this.connection.state === "failed";
    assert(isInside && (failed || phase >= SlotPhase.ANSWERING), `${bytes} bytes of slot ${slot} are not to be sent`);
  }

  pump(): void {
    while (this.sendPiece() || this.receivePiece());
  }

  /** The host sends bytes and the target takes them; nothing is sent by the target. */
  inject(...parts: Uint8Array[]): void {
    this.send(...parts);
    while (this.receivePiece());
  }

  /** The next slot that has arrived; there has to be one. */
  take(): number {
    const slot = this.connection.pollCommand();
    assert(slot >= 0, `A command has arrived; failure: ${this.connection.failure?.reason}`);
    return slot;
  }

  /** The next PDU of the target after all bytes have moved. */
  next(): TargetPdu {
    this.pump();
    const pdu = this.pdus.shift();
    if (pdu === undefined) throw new Error(`The target has sent no PDU; failure: ${this.connection.failure?.reason}`);
    return pdu;
  }
}

/** Bytes that tell where they belong. */
export function pattern(bytes: number, seed: number): Uint8Array<ArrayBuffer> {
  const data = new Uint8Array(bytes);
  for (let i = 0; i < bytes; i++) data[i] = (Math.imul(i + 1, 0x9e3779b1) ^ Math.imul(seed + 1, 0x85ebca6b)) >>> 24;
  return data;
}
