import { assertEquals, assertMatch } from "@std/assert";
import { EIO, ENOENT, ENOSPC, EPERM } from "../../../src/base/errno.ts";
import { UmpathError } from "../../../src/base/errors.ts";
import { RequestTable } from "../../../src/block/request.ts";
import { LoopDevice } from "../../../src/loopdev/device.ts";
import type { LoopResult, LoopSequence } from "../../../src/loopdev/loop_step.ts";
import { AnswerWriter } from "../../../src/loopdev/answer_writer.ts";
import { RequestReader, Verdict } from "../../../src/loopdev/request_reader.ts";
import { resizeLoopDevice } from "../../../src/loopdev/resize_device.ts";
import { FuseOp } from "../../../src/protocol/fuse.ts";
import { makeGeometry } from "../ublk/fake_kernel.ts";

const GEOMETRY = makeGeometry({ blockSize: 4096, blocks: 512 });
const BYTES = 512 * 4096;
const OPEN_FD = 40;

/** Runs the sequence against a kernel that takes the file's size at the `takenAt`-th attempt; the steps. */
function resize(takenAt: number, script: Record<string, number> = {}) {
  const device = new LoopDevice("/run/x/loop/vol", 30);
  device.number = 3;
  device.sequence = "12";
  const seen: string[] = [];
  const open = new Set<number>();
  let asked = 0;
  const run = (sequence: LoopSequence<void>) => {
    for (let next = sequence.next(); !next.done;) {
      const step = next.value;
      seen.push(step.kind);
      let result = script[step.kind] ?? 0;
      if (step.kind === "open-file" && result === 0) open.add(result = OPEN_FD);
      if (step.kind === "close-file") open.delete(step.fd);
      if (step.kind === "file-size" && result === 0) result = ++asked >= takenAt ? BYTES : 4096;
      if (step.kind === "resize-loop") assertEquals([step.path, step.sequence], ["/dev/loop3", "12"]);
      const done: LoopResult = { result };
      next = sequence.next(done);
    }
  };
  let error: unknown = null;
  try {
    run(resizeLoopDevice(device, GEOMETRY));
  } catch (thrown) {
    error = thrown;
  }
  assertEquals(open.size, 0, "what was opened is closed");
  return { seen, error };
}

Deno.test("resizeLoopDevice() has the kernel ask for the file's size until it takes it, and then the loop device", () => {
  assertEquals(resize(1), { seen: ["open-file", "close-file", "file-size", "resize-loop"], error: null });
  const { seen, error } = resize(100);
  assertEquals([seen.filter((kind) => kind === "open-file").length, seen.at(-1), error], [100, "resize-loop", null]);
});

Deno.test("resizeLoopDevice() gives up in words, in the end and at the first failure", () => {
  const never = resize(Infinity);
  assertMatch((never.error as UmpathError).message, /^Cannot resize \/dev\/loop3: the kernel does not take the size/);
  assertEquals(never.seen.includes("resize-loop"), false);
  for (const [kind, errno] of [["open-file", ENOENT], ["file-size", EIO], ["resize-loop", EPERM]] as const) {
    const { seen, error } = resize(1, { [kind]: -errno });
    assertEquals([seen.at(-1), error instanceof UmpathError], [kind, true]);
  }
});

/** A READ or WRITE of `size` bytes at `offset`, and what the reader makes of it. */
function transfer(reader: RequestReader, words: Uint32Array, io: { op: number; offset: number; size: number }): number {
  const bytes = 80 + (io.op === FuseOp.WRITE ? io.size : 0);
  words.fill(0);
  words.set([bytes, io.op], 0);
  words[4] = 1;
  words.set([io.offset, 0, io.size], 12);
  return reader.read(0, 0, bytes);
}

Deno.test("RequestReader.resize() moves the end; a read past one that has moved fails instead of giving zeroes", () => {
  const words = new Uint32Array(64);
  const requests = new RequestTable(1, { bufferBytes: 65536 });
  const reader = new RequestReader(words, requests, GEOMETRY);
  const read = (block: number, blocks = 1) =>
    transfer(reader, words, { op: FuseOp.READ, offset: block * 4096, size: blocks * 4096 });
  const write = (block: number) => transfer(reader, words, { op: FuseOp.WRITE, offset: block * 4096, size: 4096 });
  assertEquals([read(511), read(512), write(511), write(512)], [
    Verdict.DEVICE,
    Verdict.DONE,
    Verdict.DEVICE,
    -ENOSPC,
  ]);
  reader.resize(1024);
  assertEquals([read(1023), write(1023), write(1024)], [Verdict.DEVICE, Verdict.DEVICE, -ENOSPC]);
  reader.resize(256);
  assertEquals([read(255), read(255, 2), read(256), write(256), read(1024)], [
    Verdict.DEVICE,
    -EIO,
    -EIO,
    -ENOSPC,
    Verdict.DONE,
  ]);
});

Deno.test("AnswerWriter.resize() changes the attributes that the kernel is told", () => {
  const words = new Uint32Array(32);
  const writer = new AnswerWriter(words, GEOMETRY);
  const sizeOf = () => {
    writer.attributes(0);
    return words[6] + words[7] * 2 ** 32;
  };
  assertEquals(sizeOf(), BYTES);
  writer.resize(2 ** 24);
  assertEquals(sizeOf(), 2 ** 36);
});
