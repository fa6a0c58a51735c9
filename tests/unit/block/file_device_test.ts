import { assert, assertEquals, assertThrows } from "@std/assert";
import { AssertionFailure } from "../../../src/base/assert.ts";
import { EAGAIN, EINTR, EINVAL, EIO, ENODEV, ENOSPC, ENOSYS, EOPNOTSUPP } from "../../../src/base/errno.ts";
import { Prng } from "../../../src/base/prng.ts";
import { FileDevice } from "../../../src/block/file_device.ts";
import { AllocateMode, FileOperation, WriteFlag } from "../../../src/block/file_operation.ts";
import { SlotStates } from "../../../src/base/state_table.ts";
import { FILE_STEPS, FileStep } from "../../../src/block/file_step.ts";
import { BlockFlag, BlockOp, RequestTable } from "../../../src/block/request.ts";
import { SimulatedFile, type SimulatedFileOptions } from "./simulated_file.ts";

const BLOCK = 512;
const BUFFER = 16 * BLOCK;
const BLOCKS = 128;
const DEPTH = 8;
const ZEROES = 4 * BLOCK;

const { READ, WRITE, SYNC, ALLOCATE } = FileOperation;
const PUNCH = AllocateMode.PUNCH_HOLE | AllocateMode.KEEP_SIZE;
const ZERO_RANGE = AllocateMode.ZERO_RANGE | AllocateMode.KEEP_SIZE;

function makeDevice(options: { writeThrough?: boolean } = {}) {
  const requests = new RequestTable(DEPTH, { bufferBytes: BUFFER });
  const zeroesOffset = DEPTH * BUFFER;
  const memory = new Uint8Array(zeroesOffset + ZEROES);
  const device = new FileDevice(requests, { blockSize: BLOCK, zeroesOffset, zeroesBytes: ZEROES, ...options });
  const submit = (slot: number, op: number, lba: number, blocks: number, flags = 0) => {
    requests.op[slot] = op;
    requests.flags[slot] = flags;
    requests.lbaLow[slot] = lba % 2 ** 32;
    requests.lbaHigh[slot] = lba / 2 ** 32;
    requests.blocks[slot] = blocks;
    requests.status[slot] = -1;
    device.submit(slot, 0);
  };
  /** The next operation, as [slot, operation, file offset, bytes, memory offset, flags]; null if there is none. */
  const next = () => {
    const slot = device.pollOperation();
    if (slot === -1) return null;
    const { operation, fileOffset, bytes, memoryOffset, flags } = {
      operation: device.operation(slot),
      fileOffset: device.fileOffset(slot),
      bytes: device.bytes(slot),
      memoryOffset: device.memoryOffset(slot),
      flags: device.flags(slot),
    };
    if (operation === SYNC) return [slot, operation, bytes, flags];
    if (operation === ALLOCATE) return [slot, operation, fileOffset, bytes, flags];
    return [slot, operation, fileOffset, bytes, memoryOffset, flags];
  };
  /** The next answer, as [slot, errno]; null if there is none. */
  const answer = () => {
    const slot = device.pollCompletion();
    return slot === -1 ? null : [slot, requests.status[slot]];
  };
  return { requests, memory, device, submit, next, answer, zeroesOffset };
}

Deno.test("FileDevice reads and writes at the bytes of its blocks, from the slot's buffer", () => {
  const { device, submit, next, answer } = makeDevice();
  submit(1, BlockOp.READ, 5, 2);
  submit(3, BlockOp.WRITE, 2 ** 40, 16);
  submit(2, BlockOp.WRITE, 7, 1, BlockFlag.FUA);
  assertEquals(next(), [1, READ, 5 * BLOCK, 2 * BLOCK, BUFFER, 0]);
  assertEquals(next(), [3, WRITE, 2 ** 40 * BLOCK, BUFFER, 3 * BUFFER, 0]);
  assertEquals(next(), [2, WRITE, 7 * BLOCK, BLOCK, 2 * BUFFER, WriteFlag.DSYNC]);
  assertEquals([next(), answer()], [null, null]);
  device.handleOperationDone(3, BUFFER);
  device.handleOperationDone(2, BLOCK);
  device.handleOperationDone(1, 2 * BLOCK);
  assertEquals([answer(), answer(), answer(), answer(), next()], [[3, 0], [2, 0], [1, 0], null, null]);
});

Deno.test("FileDevice goes on at the last whole block of what came back short", () => {
  const { device, submit, next, answer } = makeDevice();
  for (const [slot, op, operation] of [[0, BlockOp.READ, READ], [2, BlockOp.WRITE, WRITE]]) {
    submit(slot, op, 10, 4);
    assertEquals(next(), [slot, operation, 10 * BLOCK, 4 * BLOCK, slot * BUFFER, 0]);
    device.handleOperationDone(slot, BLOCK);
    assertEquals(next(), [slot, operation, 11 * BLOCK, 3 * BLOCK, slot * BUFFER + BLOCK, 0]);
    device.handleOperationDone(slot, 2 * BLOCK - 1);
    assertEquals(next(), [slot, operation, 12 * BLOCK, 2 * BLOCK, slot * BUFFER + 2 * BLOCK, 0]);
    device.handleOperationDone(slot, BLOCK - 1);
    assertEquals(next(), [slot, operation, 12 * BLOCK, 2 * BLOCK, slot * BUFFER + 2 * BLOCK, 0]);
    device.handleOperationDone(slot, 2 * BLOCK);
    assertEquals([answer(), next()], [[slot, 0], null]);
  }
});

Deno.test("FileDevice tells an error, not zeroes, where the file has ended before its time", () => {
  const { device, submit, next, answer } = makeDevice();
  submit(0, BlockOp.READ, 0, 4);
  next();
  device.handleOperationDone(0, 2 * BLOCK);
  next();
  device.handleOperationDone(0, 0);
  assertEquals([answer(), next()], [[0, EIO], null]);
  submit(0, BlockOp.READ, 0, 4);
  for (let i = 0; next() !== null; i++) {
    assert(i < 1000, "A part of a block is not read for ever");
    device.handleOperationDone(0, 100);
  }
  assertEquals(answer(), [0, EIO]);
});

Deno.test("FileDevice repeats what was interrupted, and gives up in the end", () => {
  const { device, submit, next, answer } = makeDevice();
  const ops: [op: number, result: number][] = [
    [BlockOp.READ, BLOCK],
    [BlockOp.WRITE, BLOCK],
    [BlockOp.FLUSH, 0],
    [BlockOp.DISCARD, 0],
    [BlockOp.WRITE_ZEROES, 0],
  ];
  for (const [op, result] of ops) {
    submit(4, op, 3, op === BlockOp.FLUSH ? 0 : 1);
    const first = next();
    for (const errno of [EINTR, EAGAIN, EINTR]) {
      device.handleOperationDone(4, -errno);
      assertEquals([answer(), next()], [null, first]);
    }
    device.handleOperationDone(4, result);
    assertEquals(answer(), [4, 0]);
    submit(4, op, 3, op === BlockOp.FLUSH ? 0 : 1);
    for (let i = 0; next() !== null; i++) {
      assert(i < 1000, "Nothing is repeated for ever");
      device.handleOperationDone(4, -EAGAIN);
    }
    assertEquals(answer(), [4, EAGAIN]);
  }
  submit(4, BlockOp.WRITE, 3, 1);
  for (let i = 0; next() !== null; i++) {
    assert(i < 1000, "A write that writes nothing is not repeated for ever");
    device.handleOperationDone(4, 0);
  }
  assertEquals(answer(), [4, EIO]);
});

Deno.test("FileDevice forgets repeats once something moves", () => {
  const { device, submit, next, answer } = makeDevice();
  submit(0, BlockOp.READ, 0, 16);
  for (let block = 0; block < 16; block++) {
    for (let i = 0; i < 60; i++) {
      next();
      device.handleOperationDone(0, -EINTR);
    }
    next();
    device.handleOperationDone(0, BLOCK);
  }
  assertEquals(answer(), [0, 0]);
});

Deno.test("FileDevice passes errors on, after whatever was done", () => {
  const { device, submit, next, answer } = makeDevice();
  for (const op of [BlockOp.READ, BlockOp.WRITE, BlockOp.FLUSH, BlockOp.DISCARD, BlockOp.WRITE_ZEROES]) {
    submit(1, op, 0, op === BlockOp.FLUSH ? 0 : 2, BlockFlag.FUA);
    next();
    device.handleOperationDone(1, -ENOSPC);
    assertEquals([answer(), next()], [[1, ENOSPC], null]);
  }
  submit(1, BlockOp.WRITE, 0, 2);
  next();
  device.handleOperationDone(1, BLOCK);
  next();
  device.handleOperationDone(1, -EIO);
  assertEquals(answer(), [1, EIO]);
  submit(1, BlockOp.READ, 0, 2);
  next();
  device.handleOperationDone(1, 2 * BLOCK + 1);
  assertEquals([answer(), next()], [[1, EIO], null]);
});

Deno.test("FileDevice answers a range with EINVAL that no file can have", () => {
  const { submit, next, answer } = makeDevice();
  submit(0, BlockOp.READ, 2 ** 44, 1);
  submit(1, BlockOp.DISCARD, 2 ** 63, 1);
  assertEquals([next(), answer(), answer()], [null, [0, EINVAL], [1, EINVAL]]);
  submit(0, BlockOp.READ, 2 ** 44 - 1 - 1, 1);
  assertEquals(next(), [0, READ, 2 ** 53 - 2 * BLOCK, BLOCK, 0, 0]);
});

Deno.test("FileDevice syncs for a FLUSH, and before a read with FUA", () => {
  const { device, submit, next, answer } = makeDevice();
  submit(0, BlockOp.FLUSH, 0, 0);
  assertEquals(next(), [0, SYNC, 0, 0]);
  device.handleOperationDone(0, 0);
  assertEquals(answer(), [0, 0]);
  submit(0, BlockOp.READ, 1, 1, BlockFlag.FUA);
  assertEquals(next(), [0, SYNC, 0, 0]);
  device.handleOperationDone(0, 0);
  assertEquals([answer(), next()], [null, [0, READ, BLOCK, BLOCK, 0, 0]]);
  device.handleOperationDone(0, BLOCK);
  assertEquals(answer(), [0, 0]);
});

Deno.test("FileDevice punches a hole for a DISCARD, and does nothing once it knows that it cannot", () => {
  for (const errno of [EOPNOTSUPP, ENOSYS, ENODEV]) {
    const { device, submit, next, answer } = makeDevice();
    submit(0, BlockOp.DISCARD, 8, 2 ** 32 - 1);
    submit(1, BlockOp.DISCARD, 0, 1);
    assertEquals(next(), [0, ALLOCATE, 8 * BLOCK, (2 ** 32 - 1) * BLOCK, PUNCH]);
    assertEquals(next(), [1, ALLOCATE, 0, BLOCK, PUNCH]);
    device.handleOperationDone(0, 0);
    assertEquals(answer(), [0, 0]);
    device.handleOperationDone(1, -errno);
    assertEquals(answer(), [1, 0]);
    submit(0, BlockOp.DISCARD, 0, 1);
    assertEquals([next(), answer()], [null, [0, 0]]);
  }
});

Deno.test("FileDevice has nothing done for a range without blocks", () => {
  const { submit, next, answer } = makeDevice();
  submit(0, BlockOp.DISCARD, 8, 0);
  submit(1, BlockOp.WRITE_ZEROES, 8, 0, BlockFlag.FUA);
  assertEquals([next(), answer(), answer()], [null, [0, 0], [1, 0]]);
});

/** How WRITE_ZEROES of ten blocks is done on a file, by what the file can do. */
const WAYS: [name: string, flags: number, canPunch: boolean, canZeroRange: boolean, first: string[], then: string[]][] =
  [
    ["a hole", 0, true, true, ["punch"], ["punch"]],
    ["a hole and a sync", BlockFlag.FUA, true, true, ["punch", "sync"], ["punch", "sync"]],
    ["a zeroed range", BlockFlag.NO_UNMAP, true, true, ["zero"], ["zero"]],
    ["a zeroed range instead of a hole", 0, false, true, ["punch", "zero"], ["zero"]],
    ["zeroes", BlockFlag.NO_UNMAP, true, false, ["zero", "4", "4", "2"], ["4", "4", "2"]],
    ["zeroes instead of a hole", 0, false, false, ["punch", "zero", "4", "4", "2"], ["4", "4", "2"]],
    ["zeroes and one sync", 1, false, false, ["punch", "zero", "4", "4", "2", "sync"], ["4", "4", "2", "sync"]],
  ];

for (const [name, flags, canPunch, canZeroRange, first, then] of WAYS) {
  Deno.test(`FileDevice writes zeroes as ${name}`, () => {
    const { device, submit, next, answer, zeroesOffset } = makeDevice();
    for (const expected of [first, then]) {
      const seen: string[] = [];
      submit(2, BlockOp.WRITE_ZEROES, 20, 10, flags);
      let offset = 20 * BLOCK;
      for (let one = next(); one !== null; one = next()) {
        if (one[1] === SYNC) {
          seen.push("sync");
          device.handleOperationDone(2, 0);
        } else if (one[1] === WRITE) {
          assertEquals([one[2], one[4], one[5]], [offset, zeroesOffset, 0]);
          seen.push(String(one[3] / BLOCK));
          offset += one[3];
          device.handleOperationDone(2, one[3]);
        } else {
          assertEquals(one.slice(1, 4), [ALLOCATE, 20 * BLOCK, 10 * BLOCK]);
          const isPunch = one[4] === PUNCH;
          assert(isPunch || one[4] === ZERO_RANGE);
          seen.push(isPunch ? "punch" : "zero");
          device.handleOperationDone(2, (isPunch ? canPunch : canZeroRange) ? 0 : -EOPNOTSUPP);
        }
      }
      assertEquals([seen, answer()], [expected, [2, 0]]);
    }
  });
}

Deno.test("FileDevice without a volatile cache has everything on stable storage before it answers", () => {
  const { device, submit, next, answer } = makeDevice({ writeThrough: true });
  submit(0, BlockOp.WRITE, 0, 1);
  assertEquals(next(), [0, WRITE, 0, BLOCK, 0, WriteFlag.DSYNC]);
  submit(1, BlockOp.WRITE_ZEROES, 0, 1);
  next();
  device.handleOperationDone(1, 0);
  assertEquals([answer(), next()], [null, [1, SYNC, 0, 0]]);
  submit(2, BlockOp.READ, 0, 1, BlockFlag.FUA);
  assertEquals(next(), [2, READ, 0, BLOCK, 2 * BUFFER, 0]);
});

Deno.test("FileDevice takes back what it has asked for, once", () => {
  const { device, submit, next } = makeDevice();
  submit(0, BlockOp.READ, 0, 1);
  assertThrows(() => device.handleOperationDone(0, BLOCK), AssertionFailure);
  next();
  assertThrows(() => submit(0, BlockOp.READ, 0, 1), AssertionFailure);
  device.handleOperationDone(0, BLOCK);
  assertThrows(() => device.handleOperationDone(0, BLOCK), AssertionFailure);
  assertThrows(() => submit(1, BlockOp.READ, 0, 17), AssertionFailure);
});

Deno.test("FILE_STEPS lets a slot go from step to step as its table says", () => {
  const steps = new SlotStates(FILE_STEPS, 2);
  steps.transition(1, FileStep.PUNCH);
  steps.transition(1, FileStep.FILL);
  steps.transition(1, FileStep.SYNC);
  assertThrows(() => steps.transition(1, FileStep.READ), AssertionFailure, "from SYNC to READ");
  steps.transition(1, FileStep.DONE);
  steps.transition(1, FileStep.IDLE);
  assertEquals([steps.get(0), steps.get(1)], [FileStep.IDLE, FileStep.IDLE]);
});

/** Random requests on disjoint blocks over a file that does everything a file may do. Gives how many were answered. */
function storm(seed: number, options: Partial<SimulatedFileOptions>): number {
  const prng = new Prng(seed);
  const { requests, memory, device, submit, answer } = makeDevice();
  const file = new SimulatedFile({ bytes: BLOCKS * BLOCK, memory, prng, alignment: BLOCK, ...options });
  const model = new Uint8Array(BLOCKS * BLOCK);
  prng.uint32();
  for (let i = 0; i < model.length; i++) file.content[i] = model[i] = prng.below(256);
  const busy: ([lba: number, blocks: number] | null)[] = new Array(DEPTH).fill(null);
  let answered = 0;
  const start = (slot: number) => {
    const op = prng.below(5);
    const lba = prng.below(BLOCKS), blocks = op === BlockOp.FLUSH ? 0 : 1 + prng.below(Math.min(16, BLOCKS - lba));
    if (busy.some((one) => one !== null && lba < one[0] + one[1] && one[0] < lba + blocks)) return;
    busy[slot] = [lba, blocks];
    const data = requests.dataOffset[slot];
    for (let i = 0; i < blocks * BLOCK; i++) memory[data + i] = prng.below(256);
    submit(slot, op, lba, blocks, prng.below(4));
  };
  const check = (slot: number) => {
    const [lba, blocks] = busy[slot]!;
    const from = lba * BLOCK, to = from + blocks * BLOCK, data = requests.dataOffset[slot];
    const buffer = memory.subarray(data, data + to - from);
    busy[slot] = null;
    answered++;
    if (requests.status[slot] !== 0) {
      assert(options.errnos?.includes(requests.status[slot]), `errno ${requests.status[slot]} came from nowhere`);
      model.set(file.content.subarray(from, to), from);
      return;
    }
    const op = requests.op[slot];
    if (op === BlockOp.READ) assertEquals(buffer, model.subarray(from, to));
    if (op === BlockOp.WRITE) model.set(buffer, from);
    if (op === BlockOp.WRITE_ZEROES) model.fill(0, from, to);
    if (op === BlockOp.DISCARD && options.canPunch !== false) model.fill(0, from, to);
    assertEquals(file.content.subarray(from, to), model.subarray(from, to));
  };
  for (let turn = 0; turn < 3000; turn++) {
    const slot = prng.below(DEPTH);
    if (busy[slot] === null) start(slot);
    file.take(device);
    if (file.pending.length > 0 && prng.below(3) > 0) file.step(device);
    for (let one = answer(); one !== null; one = answer()) check(one[0]);
  }
  file.run(device);
  for (let one = answer(); one !== null; one = answer()) check(one[0]);
  assertEquals([busy.every((one) => one === null), file.content], [true, model]);
  assert(memory.subarray(DEPTH * BUFFER).every((byte) => byte === 0), "Nobody writes to the zeroes");
  return answered;
}

const SEED = Number(Deno.env.get("UMPATH_SEED") ?? Date.now() % 2 ** 31);
const FILES: [name: string, options: Partial<SimulatedFileOptions>][] = [
  ["that can do all", {}],
  ["that comes back short and is interrupted", { shortChance: 0.4, interruptChance: 0.2 }],
  ["that cannot punch holes", { canPunch: false, shortChance: 0.2 }],
  ["that cannot zero ranges", { canZeroRange: false, shortChance: 0.2 }],
  ["that can allocate nothing", { canPunch: false, canZeroRange: false, shortChance: 0.4, interruptChance: 0.1 }],
  ["that fails", { errorChance: 0.1, errnos: [EIO, ENOSPC], shortChance: 0.3, interruptChance: 0.1 }],
];

for (const [index, [name, options]] of FILES.entries()) {
  Deno.test(`FileDevice over a file ${name} holds what was written, whatever the order`, () => {
    const seed = SEED + index;
    try {
      assert(storm(seed, options) > 300, "The storm has answers");
    } catch (cause) {
      throw new Error(`Failed with UMPATH_SEED=${SEED} (file ${index})`, { cause });
    }
  });
}
