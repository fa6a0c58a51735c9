/** A `FileDevice` on a real file, its operations done by a real ring. */
import { assert, assertEquals } from "@std/assert";
import { native } from "../../../ffi/library.ts";
import { check, cString } from "../../../ffi/result.ts";
import { EINVAL, EIO } from "../../../src/base/errno.ts";
import { FileDevice } from "../../../src/block/file_device.ts";
import { FileOperation } from "../../../src/block/file_operation.ts";
import { BlockFlag, BlockOp, RequestTable } from "../../../src/block/request.ts";
import { Memory } from "../../../src/io/memory.ts";
import { Ring } from "../../../src/io/ring.ts";
import { tokenHigh, TokenKind } from "../../../src/io/token.ts";

const BLOCK = 4096;
const BLOCKS = 64;
const DEPTH = 8;
const BUFFER = 16 * BLOCK;
const FILE = tokenHigh(TokenKind.FILE, 1);

/** The device's operations in the ring until it wants nothing more; gives each slot that was answered. */
function run(device: FileDevice, ring: Ring, fd: number, address: number): number[] {
  const answered: number[] = [];
  let inKernel = 0;
  while (true) {
    for (let slot = device.pollOperation(); slot !== -1; slot = device.pollOperation()) {
      prepare(device, ring, fd, address, slot);
      inKernel++;
    }
    if (inKernel === 0) return answered;
    ring.turn(0, 1000);
    while (ring.next()) {
      assertEquals(ring.tokenHigh, FILE);
      inKernel--;
      device.handleOperationDone(ring.tokenLow, ring.result);
    }
    for (let slot = device.pollCompletion(); slot !== -1; slot = device.pollCompletion()) answered.push(slot);
  }
}

function prepare(device: FileDevice, ring: Ring, fd: number, address: number, slot: number): void {
  const at = address + device.memoryOffset(slot);
  const offset = device.fileOffset(slot), bytes = device.bytes(slot), flags = device.flags(slot);
  switch (device.operation(slot)) {
    case FileOperation.READ:
      return ring.prepReadAt(fd, at, bytes, offset, flags, FILE, slot);
    case FileOperation.WRITE:
      return ring.prepWriteAt(fd, at, bytes, offset, flags, FILE, slot);
    case FileOperation.SYNC:
      return ring.prepSync(fd, FILE, slot);
    case FileOperation.ALLOCATE:
      return ring.prepAllocate(fd, flags, offset, bytes, FILE, slot);
  }
}

for (const direct of [false, true]) {
  Deno.test(`FileDevice works on a real file ${direct ? "past" : "through"} the page cache, by a ring`, (test) => {
    const path = Deno.makeTempFileSync({ prefix: "umpath-file-device-" });
    try {
      Deno.truncateSync(path, BLOCKS * BLOCK);
      const fd = native().um_file_open(cString(path), 1, direct ? 1 : 0, 0);
      if (direct && fd === -EINVAL) return console.log(`${test.name}: skipped, no O_DIRECT in ${path}`);
      check(fd, "Cannot open the file");
      try {
        tryFile(path, fd);
      } finally {
        native().um_close(fd);
      }
    } finally {
      Deno.removeSync(path);
    }
  });
}

function tryFile(path: string, fd: number): void {
  using ring = new Ring({ submissions: 16, completions: 64 });
  using arena = Memory.allocate((DEPTH + 1) * BUFFER);
  const requests = new RequestTable(DEPTH, { bufferBytes: BUFFER });
  const zeroesOffset = DEPTH * BUFFER;
  const device = new FileDevice(requests, { blockSize: BLOCK, zeroesOffset, zeroesBytes: 2 * BLOCK });
  const submit = (slot: number, op: number, lba: number, blocks: number, flags = 0) => {
    requests.op[slot] = op;
    requests.flags[slot] = flags;
    requests.lbaLow[slot] = lba;
    requests.lbaHigh[slot] = 0;
    requests.blocks[slot] = blocks;
    requests.status[slot] = -1;
    device.submit(slot, 0);
  };
  const finish = () => run(device, ring, fd, arena.address).sort().map((slot) => [slot, requests.status[slot]]);
  const buffer = (slot: number, blocks: number) => arena.bytes.subarray(slot * BUFFER, slot * BUFFER + blocks * BLOCK);
  const model = new Uint8Array(BLOCKS * BLOCK);
  const place = (lba: number, content: Uint8Array) => model.set(content, lba * BLOCK);

  for (let slot = 0; slot < 4; slot++) {
    for (let i = 0; i < BUFFER; i++) arena.bytes[slot * BUFFER + i] = i * 31 + (i >> 8) + slot * 77 + 1;
    submit(slot, BlockOp.WRITE, slot * 16, 16, slot % 2 === 0 ? BlockFlag.FUA : 0);
    place(slot * 16, buffer(slot, 16));
  }
  assertEquals(finish(), [[0, 0], [1, 0], [2, 0], [3, 0]]);
  submit(5, BlockOp.FLUSH, 0, 0);
  assertEquals(finish(), [[5, 0]]);
  assertEquals(Deno.readFileSync(path), model);

  submit(0, BlockOp.WRITE_ZEROES, 1, 5);
  submit(1, BlockOp.WRITE_ZEROES, 10, 9, BlockFlag.NO_UNMAP | BlockFlag.FUA);
  submit(2, BlockOp.DISCARD, 30, 7);
  assertEquals(finish(), [[0, 0], [1, 0], [2, 0]]);
  model.fill(0, 1 * BLOCK, 6 * BLOCK).fill(0, 10 * BLOCK, 19 * BLOCK);
  const isPunched = Deno.readFileSync(path)[30 * BLOCK] === 0;
  if (isPunched) model.fill(0, 30 * BLOCK, 37 * BLOCK);
  assertEquals(Deno.readFileSync(path), model);
  assertEquals(Deno.statSync(path).size, BLOCKS * BLOCK);

  arena.bytes.fill(9, 0, DEPTH * BUFFER);
  for (let slot = 0; slot < DEPTH; slot++) submit(slot, BlockOp.READ, slot * 8, 8, slot === 3 ? BlockFlag.FUA : 0);
  assertEquals(finish(), Array.from({ length: DEPTH }, (_, slot) => [slot, 0]));
  for (let slot = 0; slot < DEPTH; slot++) {
    assertEquals(buffer(slot, 8), model.subarray(slot * 8 * BLOCK, (slot + 1) * 8 * BLOCK), `slot ${slot}`);
  }
  assert(arena.bytes.subarray(zeroesOffset).every((byte) => byte === 0));

  Deno.truncateSync(path, 10 * BLOCK + 100);
  submit(0, BlockOp.READ, 2, 8);
  submit(1, BlockOp.READ, 8, 4);
  submit(2, BlockOp.READ, 20, 1);
  assertEquals(finish(), [[0, 0], [1, EIO], [2, EIO]]);
}
