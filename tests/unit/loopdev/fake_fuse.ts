/** The FUSE driver's side of one descriptor, for tests: hands requests out and checks what is answered. */
import { assert } from "@std/assert";
import { EAGAIN, ENODEV } from "../../../src/base/errno.ts";
import type { Geometry } from "../../../src/block/device.ts";
import { MemoryDevice } from "../../../src/block/memory_device.ts";
import { RequestTable } from "../../../src/block/request.ts";
import { FuseSlots } from "../../../src/loopdev/slots.ts";
import { makeGeometry } from "../ublk/fake_kernel.ts";

export const BLOCK = 512;
export const BUFFER = 8192;
const BLOCKS = 4096;
/** Of a request, what goes to the header's place; the rest goes to the slot's buffer. */
const HEADER_BYTES = 80;

/** What an answer's header says (`struct fuse_out_header`: len, error, unique). */
export function outHeader(answer: Uint8Array): { len: number; error: number; unique: bigint } {
  const view = new DataView(answer.buffer, answer.byteOffset);
  return { len: view.getUint32(0, true), error: view.getInt32(4, true), unique: view.getBigUint64(8, true) };
}

/** Operations that the driver waits for no answer to: FORGET, NOTIFY_REPLY, BATCH_FORGET. */
const SILENT = [2, 41, 42];

/** Holds requests that nobody has read, and the numbers of those that wait for their answers. */
export class FakeFuse {
  readonly #queue: FuseSlots;
  readonly #arena: Uint8Array;
  readonly #dataOffset: Uint32Array;
  readonly #pending: Uint8Array[] = [];
  readonly #unanswered = new Set<bigint>();
  readonly #reading: number[] = [];
  #isMounted = true;

  constructor(queue: FuseSlots, arena: Uint8Array, dataOffset: Uint32Array) {
    this.#queue = queue;
    this.#arena = arena;
    this.#dataOffset = dataOffset;
  }

  /** Requests that nobody has read. */
  get waiting(): number {
    return this.#pending.length;
  }

  /** A request comes up. */
  give(bytes: Uint8Array): void {
    this.#pending.push(bytes);
    this.#queue.handleReadable();
  }

  /** Reads end with ENODEV from now on. */
  unmount(): void {
    this.#isMounted = false;
    this.#queue.handleReadable();
  }

  /** Reads what the queue wants to read, one request a read. */
  reads(): void {
    for (let slot = this.#queue.pollRead(); slot >= 0; slot = this.#queue.pollRead()) this.#reading.push(slot);
    for (const slot of this.#reading.splice(0)) this.#queue.handleRead(slot, this.read(slot), 0);
    // The poll tells as long as there is something.
    if (this.#pending.length > 0) this.#queue.handleReadable();
  }

  /** The next request goes to a slot; its bytes, or -errno. */
  read(slot: number): number {
    const bytes = this.#pending.shift();
    if (bytes === undefined) return this.#isMounted ? -EAGAIN : -ENODEV;
    this.#arena.set(bytes.subarray(0, HEADER_BYTES), this.#queue.headerOffset(slot));
    this.#arena.set(bytes.subarray(HEADER_BYTES), this.#dataOffset[slot]);
    if (bytes.length >= 40) this.#note(bytes);
    return bytes.length;
  }

  #note(bytes: Uint8Array): void {
    const view = new DataView(bytes.buffer, bytes.byteOffset);
    if (!SILENT.includes(view.getUint32(4, true))) this.#unanswered.add(view.getBigUint64(8, true));
  }

  /** Takes every answer that the queue has. */
  answers(): Uint8Array[] {
    const taken: Uint8Array[] = [];
    for (let slot = this.#queue.pollAnswer(0); slot >= 0; slot = this.#queue.pollAnswer(0)) {
      const answer = this.#answerOf(slot);
      taken.push(answer);
      this.#queue.handleAnswered(slot, this.answered(answer, answer.length));
    }
    return taken;
  }

  #answerOf(slot: number): Uint8Array {
    const header = this.#queue.answerOffset(slot);
    const data = this.#dataOffset[slot];
    const headerBytes = this.#queue.answerHeaderBytes(slot);
    const dataBytes = this.#queue.answerDataBytes(slot);
    const answer = new Uint8Array(headerBytes + dataBytes);
    answer.set(this.#arena.subarray(header, header + headerBytes));
    answer.set(this.#arena.subarray(data, data + dataBytes), headerBytes);
    return answer;
  }

  /** What the driver says to an answer, as fuse_dev_do_write() checks it. */
  answered(answer: Uint8Array, bytes: number): number {
    const { len, error, unique } = outHeader(answer);
    assert(len === bytes, `EINVAL: ${bytes} bytes that say to be ${len}`);
    assert(error <= 0 && error > -512, `EINVAL: error ${error}`);
    assert(error === 0 || len === 16, "EINVAL: an error has no data");
    assert(this.#unanswered.delete(unique), `ENOENT: nobody waits for ${unique}`);
    return bytes;
  }

  /** One turn of the loop: reads, then answers. */
  turn(): Uint8Array[] {
    this.reads();
    return this.answers();
  }

  /** Turns until nothing happens any more. */
  settle(): Uint8Array[] {
    const all: Uint8Array[] = [];
    for (let quiet = 0; quiet < 2;) {
      const waiting = this.waiting;
      const answers = this.turn();
      all.push(...answers);
      quiet = answers.length === 0 && waiting === this.waiting ? quiet + 1 : 0;
    }
    return all;
  }
}

/** A queue over a memory device with its driver. */
export function makeFile(
  { depth = 4, stepped = false, geometry = {} }: { depth?: number; stepped?: boolean; geometry?: Partial<Geometry> } =
    {},
) {
  const requests = new RequestTable(depth, { bufferBytes: BUFFER });
  const arenaOffset = depth * BUFFER;
  const arena = new Uint8Array(arenaOffset + FuseSlots.arenaBytes(depth));
  const storage = new Uint8Array(BLOCKS * BLOCK);
  const device = new MemoryDevice(requests, { blockSize: BLOCK, storage, arena, stepped });
  const file = makeGeometry({ blocks: BLOCKS, ...geometry });
  const queue = new FuseSlots({ memory: arena, arenaOffset, requests, device, geometry: file });
  const fuse = new FakeFuse(queue, arena, requests.dataOffset);
  const view = new DataView(arena.buffer);
  const uniqueOf = (slot: number) => view.getBigUint64(queue.headerOffset(slot) + 8, true);
  return { requests, arena, storage, device, queue, fuse, uniqueOf };
}
