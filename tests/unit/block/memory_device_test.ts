import { assertEquals, assertThrows } from "@std/assert";
import { AssertionFailure } from "../../../src/base/assert.ts";
import { EINVAL, EIO } from "../../../src/base/errno.ts";
import { MemoryDevice } from "../../../src/block/memory_device.ts";
import { BlockFlag, BlockOp, RequestTable } from "../../../src/block/request.ts";

const BLOCK = 512;

function makeDevice(options: { stepped?: boolean } = {}) {
  const requests = new RequestTable(4, { bufferBytes: 2 * BLOCK });
  const storage = new Uint8Array(8 * BLOCK);
  const arena = new Uint8Array(4 * 2 * BLOCK);
  const device = new MemoryDevice(requests, { blockSize: BLOCK, storage, arena, ...options });
  const submit = (slot: number, op: number, lba: number, blocks: number) => {
    requests.op[slot] = op;
    requests.lbaLow[slot] = lba;
    requests.lbaHigh[slot] = lba / 2 ** 32;
    requests.blocks[slot] = blocks;
    device.submit(slot, 0);
  };
  return { requests, storage, arena, device, submit };
}

Deno.test("MemoryDevice writes, reads, zeroes and discards the blocks of a request and no others", () => {
  const { requests, storage, arena, device, submit } = makeDevice();
  storage.fill(9);
  arena.fill(7, 2 * BLOCK, 4 * BLOCK);
  submit(1, BlockOp.WRITE, 2, 2);
  assertEquals(device.pollCompletion(), 1);
  assertEquals([storage[2 * BLOCK - 1], storage[2 * BLOCK], storage[4 * BLOCK - 1], storage[4 * BLOCK]], [9, 7, 7, 9]);
  submit(0, BlockOp.READ, 3, 2);
  assertEquals([arena[0], arena[BLOCK - 1], arena[BLOCK], arena[2 * BLOCK - 1]], [7, 7, 9, 9]);
  submit(2, BlockOp.WRITE_ZEROES, 2, 1);
  submit(3, BlockOp.DISCARD, 7, 1);
  assertEquals([1, 2, 3, 4, 7].map((lba) => storage[lba * BLOCK]), [9, 0, 7, 9, 0]);
  assertEquals([...requests.status], [0, 0, 0, 0]);
});

Deno.test("MemoryDevice answers FLUSH with success and a range outside itself with EINVAL", () => {
  const { requests, submit } = makeDevice();
  submit(0, BlockOp.FLUSH, 0, 0);
  submit(1, BlockOp.READ, 7, 2);
  submit(2, BlockOp.READ, 2 ** 32, 1);
  assertEquals([...requests.status], [0, EINVAL, EINVAL, 0]);
});

Deno.test("MemoryDevice stepped carries requests out in the order of the steps", () => {
  const { requests, storage, arena, device, submit } = makeDevice({ stepped: true });
  arena.fill(1, 0, BLOCK);
  arena.fill(2, 2 * BLOCK, 3 * BLOCK);
  submit(0, BlockOp.WRITE, 0, 1);
  submit(1, BlockOp.WRITE, 0, 1);
  assertEquals([device.held, device.pollCompletion(), storage[0]], [2, -1, 0]);
  assertEquals([device.step(1), storage[0]], [1, 2]);
  assertEquals([device.step(), storage[0]], [0, 1]);
  assertEquals([device.pollCompletion(), device.pollCompletion(), device.pollCompletion()], [1, 0, -1]);
  submit(2, BlockOp.WRITE, 0, 1);
  device.step(0, EIO);
  assertEquals([requests.status[2], storage[0]], [EIO, 1]);
  assertThrows(() => device.step(), AssertionFailure);
});

Deno.test("MemoryDevice gives whole pages back for what may be unmapped, and clears the rest itself", () => {
  const PAGES = 64 << 10;
  const storage = new Uint8Array(4 * PAGES);
  const requests = new RequestTable(1, { bufferBytes: BLOCK });
  const calls: number[][] = [];
  let canUnmap = true;
  const unmap = (offset: number, bytes: number) => {
    calls.push([offset, bytes]);
    if (canUnmap) storage.fill(0, offset, offset + bytes);
    return canUnmap;
  };
  const device = new MemoryDevice(requests, { blockSize: BLOCK, storage, arena: new Uint8Array(BLOCK), unmap });
  const zero = (op: number, flags: number, start: number, end: number) => {
    storage.fill(9);
    calls.length = 0;
    requests.op[0] = op;
    requests.flags[0] = flags;
    requests.lbaLow[0] = start / BLOCK;
    requests.blocks[0] = (end - start) / BLOCK;
    device.submit(0, 0);
    assertEquals([device.pollCompletion(), requests.status[0]], [0, 0]);
    assertEquals(storage.findIndex((byte) => byte === 0), start);
    assertEquals(storage.findLastIndex((byte) => byte === 0), end - 1);
    assertEquals(storage.subarray(start, end).every((byte) => byte === 0), true);
  };
  zero(BlockOp.DISCARD, 0, PAGES - BLOCK, 3 * PAGES + BLOCK);
  assertEquals(calls, [[PAGES, 2 * PAGES]]);
  zero(BlockOp.WRITE_ZEROES, 0, 0, 4 * PAGES);
  assertEquals(calls, [[0, 4 * PAGES]]);
  zero(BlockOp.WRITE_ZEROES, BlockFlag.NO_UNMAP, 0, 4 * PAGES);
  zero(BlockOp.DISCARD, 0, BLOCK, 2 * PAGES - BLOCK);
  assertEquals(calls, []);
  canUnmap = false;
  zero(BlockOp.DISCARD, 0, BLOCK, 3 * PAGES);
  assertEquals(calls, [[PAGES, 2 * PAGES]]);
});
