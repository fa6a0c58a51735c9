import { assertEquals, assertThrows } from "@std/assert";
import { AssertionFailure } from "../../../src/base/assert.ts";
import { Prng } from "../../../src/base/prng.ts";
import { SendBuffer } from "../../../src/nvme_host/send_buffer.ts";

const HALF_BYTES = 1024;
const DATA_BYTES = 4096;

function makeBuffer(segmentsMax = 16) {
  const memory = new Uint8Array(DATA_BYTES + SendBuffer.arenaBytes(HALF_BYTES) + 64);
  const buffer = new SendBuffer(memory, { offset: DATA_BYTES, halfBytes: HALF_BYTES, segmentsMax });
  return { memory, buffer };
}

/** All bytes of the half that was taken, as the kernel would read them now. */
function gather(memory: Uint8Array, buffer: SendBuffer): number[] {
  const bytes: number[] = [];
  for (let i = 0; i < buffer.segments; i++) {
    const offset = buffer.segmentOffset(i);
    bytes.push(...memory.subarray(offset, offset + buffer.segmentBytes(i)));
  }
  return bytes;
}

function references(buffer: SendBuffer): number[] {
  const all = [];
  for (let c = buffer.takeReference(); c >= 0; c = buffer.takeReference()) all.push(c);
  return all.sort((a, b) => a - b);
}

Deno.test("SendBuffer has nothing to take at first, and gives nothing back", () => {
  const { buffer } = makeBuffer();
  assertEquals(buffer.take(), false);
  assertEquals(buffer.isSending, false);
  assertEquals(buffer.takeReference(), -1);
  assertEquals(buffer.segments, 0);
  assertThrows(() => buffer.handleSent(1), AssertionFailure);
});

Deno.test("SendBuffer joins headers that follow each other and keeps data apart", () => {
  const { memory, buffer } = makeBuffer();
  memory[buffer.header(72)] = 1;
  memory[buffer.header(24)] = 2;
  buffer.data(100, 50, 3);
  memory[buffer.header(8)] = 4;
  assertEquals(buffer.take(), true);
  assertEquals([0, 1, 2].map((i) => buffer.segmentBytes(i)), [96, 50, 8]);
  assertEquals(buffer.segmentOffset(1), 100);
  assertEquals(buffer.segments, 3);
  const bytes = gather(memory, buffer);
  assertEquals([bytes[0], bytes[72], bytes[146]], [1, 2, 4]);
});

Deno.test("SendBuffer zeroes each header", () => {
  const { memory, buffer } = makeBuffer();
  memory.fill(0xff);
  const at = buffer.header(72);
  assertEquals(memory.subarray(at, at + 72).every((byte) => byte === 0), true);
  assertEquals(memory[at + 72], 0xff);
});

Deno.test("SendBuffer collects in one half while the other is sent, and refers to a command until then", () => {
  const { memory, buffer } = makeBuffer();
  buffer.header(8);
  buffer.data(0, 100, 5);
  buffer.data(100, 100, 5);
  assertEquals(buffer.take(), true);
  memory[buffer.header(16)] = 9;
  buffer.data(300, 10, 6);
  assertEquals(buffer.take(), false);
  assertEquals(buffer.handleSent(207), false);
  assertEquals(references(buffer), []);
  assertEquals(buffer.segments, 1);
  assertEquals([buffer.segmentOffset(0), buffer.segmentBytes(0)], [199, 1]);
  assertThrows(() => buffer.handleSent(2), AssertionFailure);
  assertEquals(buffer.handleSent(1), true);
  assertEquals(references(buffer), [5, 5]);
  assertEquals(buffer.take(), true);
  assertEquals(gather(memory, buffer)[0], 9);
  assertEquals(buffer.handleSent(26), true);
  assertEquals(references(buffer), [6]);
});

Deno.test("SendBuffer hasRoom() is told before headers or pieces overflow, which are asserted on", () => {
  const { buffer } = makeBuffer(4);
  assertEquals(buffer.hasRoom(HALF_BYTES, 2), true);
  assertEquals(buffer.hasRoom(HALF_BYTES + 1, 2), false);
  buffer.header(8);
  buffer.data(0, 1, 0);
  assertEquals(buffer.hasRoom(8, 2), true);
  buffer.header(8);
  assertEquals(buffer.hasRoom(8, 2), false);
  buffer.data(0, 1, 0);
  assertThrows(() => buffer.data(0, 1, 0), AssertionFailure);
  assertThrows(() => makeBuffer().buffer.header(HALF_BYTES + 8), AssertionFailure);
});

Deno.test("SendBuffer epoch is another one after each take, also past 2^31 of them", () => {
  const { buffer } = makeBuffer();
  const kept = new Int32Array(1);
  buffer.epoch = 2 ** 31 - 2;
  for (let i = 0; i < 4; i++) {
    kept[0] = buffer.epoch;
    assertEquals(kept[0], buffer.epoch, "an epoch survives in an Int32Array");
    buffer.header(8);
    buffer.take();
    buffer.handleSent(8);
    assertEquals(kept[0] !== buffer.epoch, true);
  }
});

Deno.test("SendBuffer sends what a list of bytes would, whatever the order and the pieces", () => {
  const seed = 20260711;
  const prng = new Prng(seed);
  const { memory, buffer } = makeBuffer(32);
  for (let i = 0; i < DATA_BYTES; i++) memory[i] = prng.below(256);
  let filling: number[] = [];
  let fillingReferences: number[] = [];
  let sending: number[] = [];
  let sendingReferences: number[] = [];
  for (let step = 0; step < 100_000; step++) {
    const what = prng.below(4);
    if (what === 0) {
      const bytes = 8 * (1 + prng.below(16));
      if (!buffer.hasRoom(bytes, 2)) continue;
      const at = buffer.header(bytes);
      for (let i = 0; i < bytes; i++) filling.push(memory[at + i] = prng.below(256));
    } else if (what === 1) {
      if (!buffer.hasRoom(0, 2)) continue;
      const offset = prng.below(DATA_BYTES - 100);
      const bytes = 1 + prng.below(100);
      const command = prng.below(512);
      buffer.data(offset, bytes, command);
      filling.push(...memory.subarray(offset, offset + bytes));
      fillingReferences.push(command);
    } else if (what === 2) {
      const taken = sending.length === 0 && filling.length > 0;
      assertEquals(buffer.take(), taken, `seed ${seed}, step ${step}`);
      if (taken) {
        [sending, sendingReferences, filling, fillingReferences] = [filling, fillingReferences, [], []];
      }
    } else if (sending.length > 0) {
      const bytes = 1 + prng.below(prng.below(2) === 0 ? sending.length : Math.min(sending.length, 20));
      assertEquals(gather(memory, buffer).slice(0, bytes), sending.slice(0, bytes), `seed ${seed}, step ${step}`);
      sending = sending.slice(bytes);
      assertEquals(buffer.handleSent(bytes), sending.length === 0);
      if (sending.length > 0) assertEquals(buffer.takeReference(), -1);
      else assertEquals(references(buffer), sendingReferences.sort((a, b) => a - b));
    }
    assertEquals(buffer.isSending, sending.length > 0);
  }
  assertEquals(memory.subarray(DATA_BYTES + 2 * HALF_BYTES).every((byte) => byte === 0), true);
});
