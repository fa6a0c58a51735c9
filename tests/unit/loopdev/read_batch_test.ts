import { assertEquals } from "@std/assert";
import { ReadBatch } from "../../../src/loopdev/read_batch.ts";

/** Puts reads into the kernel until the batch has enough. */
function take(batch: ReadBatch): number {
  let reads = 0;
  while (batch.pollRead()) reads++;
  return reads;
}

Deno.test("ReadBatch reads nothing until there is something", () => {
  const batch = new ReadBatch();
  assertEquals([take(batch), batch.inKernel], [0, 0]);
  batch.handleReadable();
  assertEquals([take(batch), batch.inKernel], [1, 1]);
});

Deno.test("ReadBatch doubles while every read brings a request, up to 32", () => {
  const batch = new ReadBatch();
  batch.handleReadable();
  const sizes: number[] = [];
  for (let i = 0; i < 8; i++) {
    const reads = take(batch);
    sizes.push(reads);
    for (let hit = 0; hit < reads; hit++) batch.handleHit();
  }
  assertEquals(sizes, [1, 2, 4, 8, 16, 32, 32, 32]);
});

Deno.test("ReadBatch follows what was found, and stops until there is something again", () => {
  const batch = new ReadBatch();
  batch.handleReadable();
  for (let round = 0; round < 5; round++) for (let reads = take(batch); reads > 0; reads--) batch.handleHit();
  assertEquals(take(batch), 32);
  for (let i = 0; i < 3; i++) batch.handleHit();
  for (let i = 0; i < 29; i++) batch.handleMiss();
  assertEquals([take(batch), batch.inKernel], [0, 0]);
  batch.handleReadable();
  assertEquals(take(batch), 4);
});

Deno.test("ReadBatch hears what comes up after a read has missed it", () => {
  const batch = new ReadBatch();
  batch.handleReadable();
  take(batch);
  batch.handleMiss();
  batch.handleReadable();
  assertEquals(take(batch), 1);
});
