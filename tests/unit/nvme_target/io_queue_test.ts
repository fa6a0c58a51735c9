import { assert, assertEquals, assertThrows } from "@std/assert";
import { AssertionFailure } from "../../../src/base/assert.ts";
import { EIO, ENOSPC } from "../../../src/base/errno.ts";
import { MemoryDevice } from "../../../src/block/memory_device.ts";
import { BlockFlag, BlockOp, RequestTable } from "../../../src/block/request.ts";
import { AnaStateCode } from "../../../src/protocol/nvme_log.ts";
import { FABRICS_OPCODE, FabricsType, NvmOpcode, RwCdw12 } from "../../../src/protocol/nvme.ts";
import { StatusCode, StatusField } from "../../../src/protocol/nvme_status.ts";
import type { IoConnection } from "../../../src/nvme_target/io_connection.ts";
import { IoCounter } from "../../../src/nvme_target/io_counters.ts";
import { IoQueue } from "../../../src/nvme_target/io_queue.ts";
import type { TargetConnection } from "../../../src/nvme_target/connection.ts";
import {
  type Command,
  compare,
  flush,
  flushAll,
  makeRig,
  manage,
  ManualDevice,
  read,
  type RigNamespace,
  write,
  writeZeroes,
} from "./io_rig.ts";

const { DNR } = StatusField;
const SMALL: RigNamespace = { nsid: 1, blockSize: 512, blocks: 64 };
const LARGE: RigNamespace = { nsid: 7, blockSize: 4096, blocks: 16 };
/** A namespace of 2^53 blocks. */
const HUGE: RigNamespace = { nsid: 1, blockSize: 512, blocks: 2 ** 53 };

/** A queue over memory, with the content of each namespace. */
function memoryRig(options: { readOnly?: boolean; transferBytesMax?: number } = {}) {
  const storages: Uint8Array[] = [];
  const rig = makeRig({
    namespaces: [SMALL, LARGE].map((one) => ({ ...one, readOnly: options.readOnly ?? false })),
    transferBytesMax: options.transferBytesMax ?? 16384,
    makeDevice: (requests, arena, { blockSize, blocks }) => {
      const storage = pattern(blockSize * blocks, storages.length);
      storages.push(storage);
      return new MemoryDevice(requests, { blockSize, storage, arena });
    },
  });
  return { ...rig, storages };
}

/** A queue over devices that the test answers for. */
function manualRig(namespaces: RigNamespace[] = [SMALL, LARGE]) {
  return makeRig({ namespaces, makeDevice: (requests) => new ManualDevice(requests) });
}

function pattern(bytes: number, seed: number): Uint8Array {
  return Uint8Array.from({ length: bytes }, (_, i) => (i * 7 + (i >> 8) * 3 + seed * 101 + 1) & 0xff);
}

Deno.test("IoQueue's connection may be a TargetConnection", () => {
  const isOne = (connection: TargetConnection): IoConnection => connection;
  assertEquals(typeof isOne, "function");
});

Deno.test("IoQueue reads the blocks of its namespace", () => {
  const { run, storages, connection } = memoryRig();
  assertEquals(run(read(3, 2, 1024)), {
    slot: 0,
    status: 0,
    data: storages[0].slice(3 * 512, 5 * 512),
    isSpoiled: false,
  });
  assertEquals(run(read(15, 1, 4096, { nsid: 7 })).data, storages[1].slice(15 * 4096));
  assertEquals(connection.fetches, []);
});

for (const inCapsule of [true, false]) {
  Deno.test(`IoQueue writes data that came ${inCapsule ? "in the capsule" : "when it was asked for"}`, () => {
    const { run, storages, connection } = memoryRig();
    const before = storages.map((storage) => storage.slice());
    const data = pattern(8192, 9);
    assertEquals(run(write(14, 2, data, { nsid: 7, inCapsule })).status, 0);
    before[1].set(data, 14 * 4096);
    assertEquals(storages, before);
    assertEquals(connection.fetches.length, inCapsule ? 0 : 1);
  });
}

const REFUSED: [name: string, command: Command, status: number][] = [
  ["a namespace that there is not", read(0, 1, 512, { nsid: 2 }), StatusCode.INVALID_NAMESPACE_OR_FORMAT | DNR],
  ["no namespace", read(0, 1, 512, { nsid: 0 }), StatusCode.INVALID_NAMESPACE_OR_FORMAT | DNR],
  [
    "a write to all namespaces",
    write(0, 1, new Uint8Array(512), { nsid: 0xffffffff }),
    StatusCode.INVALID_NAMESPACE_OR_FORMAT | DNR,
  ],
  ["a flush of another namespace", flush(2), StatusCode.INVALID_NAMESPACE_OR_FORMAT | DNR],
  ["a read past the end", read(63, 2, 1024), StatusCode.LBA_OUT_OF_RANGE | DNR],
  ["a read from the end on", read(64, 1, 512), StatusCode.LBA_OUT_OF_RANGE | DNR],
  ["a read of a high block", read(2 ** 32, 1, 512), StatusCode.LBA_OUT_OF_RANGE | DNR],
  [
    "a read of the highest block",
    read(0, 1, 512, { dwords: { 10: 0xffffffff, 11: 0xffffffff } }),
    StatusCode.LBA_OUT_OF_RANGE | DNR,
  ],
  ["a write past the end", write(63, 2, new Uint8Array(1024)), StatusCode.LBA_OUT_OF_RANGE | DNR],
  ["a compare past the end", compare(63, 2, new Uint8Array(1024)), StatusCode.LBA_OUT_OF_RANGE | DNR],
  ["zeroes past the end", writeZeroes(1, 64), StatusCode.LBA_OUT_OF_RANGE | DNR],
  ["a read with less room", read(0, 2, 512), StatusCode.DATA_SGL_LENGTH_INVALID | DNR],
  ["a read with more room", read(0, 1, 1024), StatusCode.DATA_SGL_LENGTH_INVALID | DNR],
  ["a read without room", read(0, 1, 0), StatusCode.DATA_SGL_LENGTH_INVALID | DNR],
  ["a write with less data", write(0, 2, new Uint8Array(512)), StatusCode.DATA_SGL_LENGTH_INVALID | DNR],
  ["a compare without data", compare(0, 2, new Uint8Array(0)), StatusCode.DATA_SGL_LENGTH_INVALID | DNR],
  ["zeroes with data", writeZeroes(0, 1, { dataBytes: 512 }), StatusCode.DATA_SGL_LENGTH_INVALID | DNR],
  ["a flush with data", { ...flush(), dataBytes: 512 }, StatusCode.DATA_SGL_LENGTH_INVALID | DNR],
  ["fewer ranges than told", manage([[0, 1]], { dwords: { 10: 1, 11: 4 } }), StatusCode.DATA_SGL_LENGTH_INVALID | DNR],
  ["more than MDTS", read(0, 17, 17 * 512), StatusCode.INVALID_FIELD | DNR],
  ["a fused command, the first", read(0, 1, 512, { dwords: { 0: 0x4100 | NvmOpcode.READ } }), 0x4002],
  ["a fused command, the second", write(0, 1, new Uint8Array(512), { dwords: { 0: 0x4201 } }), 0x4002],
  ["a command with PRPs", read(0, 1, 512, { dwords: { 0: NvmOpcode.READ } }), 0x4002],
  ["metadata", read(0, 1, 512, { dwords: { 4: 0x1000 } }), 0x4002],
  ["a directive", write(0, 1, new Uint8Array(512), { control: 1 << 20 }), 0x4002],
  [
    "protection information",
    write(0, 1, new Uint8Array(512), { control: 1 << 29 }),
    StatusCode.INVALID_PROTECTION_INFORMATION | DNR,
  ],
  ["a guard check", read(0, 1, 512, { control: 1 << 28 }), StatusCode.INVALID_PROTECTION_INFORMATION | DNR],
  ["Verify", read(0, 1, 0, { opcode: NvmOpcode.VERIFY }), StatusCode.INVALID_OPCODE | DNR],
  ["Copy", write(0, 1, new Uint8Array(512), { opcode: NvmOpcode.COPY }), StatusCode.INVALID_OPCODE | DNR],
  ["Write Uncorrectable", read(0, 1, 0, { opcode: NvmOpcode.WRITE_UNCORRECTABLE }), StatusCode.INVALID_OPCODE | DNR],
  ["a vendor's command", read(0, 1, 512, { opcode: 0xc2 }), StatusCode.INVALID_OPCODE | DNR],
  [
    "a second Connect",
    { opcode: FABRICS_OPCODE, nsid: FabricsType.CONNECT, data: new Uint8Array(1024) },
    StatusCode.COMMAND_SEQUENCE_ERROR | DNR,
  ],
  ["Disconnect", { opcode: FABRICS_OPCODE, nsid: FabricsType.DISCONNECT }, StatusCode.INVALID_OPCODE | DNR],
];

for (const [name, command, status] of REFUSED) {
  Deno.test(`IoQueue refuses ${name}, without asking for data`, () => {
    const { run, connection, storages, queue } = memoryRig({ transferBytesMax: 8192 });
    const before = storages.map((storage) => storage.slice());
    assertEquals(run(command), { slot: 0, status, data: null, isSpoiled: false });
    assertEquals([connection.fetches, storages, queue.isIdle], [[], before, true]);
    assertEquals([queue.counters.get(IoCounter.ERRORS), queue.counters.get(IoCounter.DEVICE_ERRORS)], [1, 0]);
  });
}

Deno.test("IoQueue compares addresses of 64 bits exactly", () => {
  const { connection, queue, devices: [device] } = manualRig([HUGE]);
  const ends: [low: number, high: number, blocks: number, isInside: boolean][] = [
    [0xffffffff, 0x1fffff, 1, true],
    [0xffffffff, 0x1fffff, 2, false],
    [0xfffffffe, 0x1fffff, 2, true],
    [0xfffffff0, 0x1fffff, 16, true],
    [0xfffffff0, 0x1fffff, 17, false],
    [0, 0x200000, 1, false],
    [1, 0x200000, 1, false],
    [0, 0x80000000, 1, false],
    [0xffffffff, 0xffffffff, 1, false],
    [0x80000000, 0, 1, true],
  ];
  for (const [low, high, blocks, isInside] of ends) {
    connection.answers.length = 0;
    connection.send(read(0, blocks, blocks * 512, { dwords: { 10: low, 11: high } }));
    queue.turn(0);
    if (isInside) {
      assertEquals(device.oldest, { op: BlockOp.READ, flags: 0, lba: high * 2 ** 32 + low, blocks });
      device.answer();
      queue.turn(0);
    }
    assertEquals(connection.answers.map(({ status }) => status), [isInside ? 0 : StatusCode.LBA_OUT_OF_RANGE | DNR]);
  }
});

Deno.test("IoQueue takes as many blocks as a command can name where no data moves", () => {
  const { connection, queue, devices: [device] } = manualRig([{ ...SMALL, blocks: 65536 }]);
  connection.send(writeZeroes(0, 65536));
  queue.turn(0);
  assertEquals(device.oldest.blocks, 65536);
});

const ANA: [name: keyof typeof AnaStateCode, status: number][] = [
  ["OPTIMIZED", 0],
  ["NON_OPTIMIZED", 0],
  ["INACCESSIBLE", StatusCode.ANA_INACCESSIBLE],
  ["PERSISTENT_LOSS", StatusCode.ANA_PERSISTENT_LOSS],
  ["CHANGE", StatusCode.ANA_TRANSITION],
];

for (const [name, status] of ANA) {
  Deno.test(`IoQueue answers every command by the ANA state ${name} of its listener`, () => {
    const { run, table, connection, storages } = memoryRig();
    const before = storages[0].slice();
    table.setAna(1, AnaStateCode.CHANGE);
    table.setAna(2, AnaStateCode[name]);
    const data = storages[0].slice(0, 512);
    const all = [read(0, 1, 512), write(0, 1, data), compare(0, 1, data), flush(), flushAll(), manage([[0, 0]])];
    for (const command of all) assertEquals(run(command).status, status, `opcode ${command.opcode}`);
    if (status === 0) return;
    assertEquals(run(writeZeroes(0, 1)).status, status);
    assertEquals([connection.fetches, storages[0]], [[], before]);
  });
}

Deno.test("IoQueue looks at the ANA state, the size and the protection again when the data is there", () => {
  const changes: [change: (table: ReturnType<typeof memoryRig>["table"]) => void, status: number][] = [
    [(table) => table.setAna(2, AnaStateCode.INACCESSIBLE), StatusCode.ANA_INACCESSIBLE],
    [(table) => table.setBlocks(3, 1), StatusCode.LBA_OUT_OF_RANGE | DNR],
    [(table) => table.setReadOnly(3, true), StatusCode.NAMESPACE_WRITE_PROTECTED | DNR],
  ];
  for (const [change, status] of changes) {
    const { queue, connection, table, storages } = memoryRig();
    const before = storages[0].slice();
    connection.holdsData = true;
    const slot = connection.send(write(1, 1, new Uint8Array(512)));
    queue.turn(0);
    assertEquals([connection.fetches, connection.answers, queue.isIdle], [[slot], [], true]);
    change(table);
    connection.deliver(slot);
    queue.turn(0);
    assertEquals([connection.answers[0].status, storages[0]], [status, before]);
  }
});

Deno.test("IoQueue takes what lies in a namespace that has grown", () => {
  const { run, table } = memoryRig();
  table.setBlocks(3, 32);
  assertEquals(run(read(32, 1, 512)).status, StatusCode.LBA_OUT_OF_RANGE | DNR);
  table.setBlocks(3, 64);
  assertEquals(run(read(32, 1, 512)).status, 0);
});

Deno.test("IoQueue changes nothing of a namespace that is protected, and reads it", () => {
  const { run, storages, connection } = memoryRig({ readOnly: true });
  const before = storages[0].slice(), data = before.slice(0, 512);
  const refusal = StatusCode.NAMESPACE_WRITE_PROTECTED | DNR;
  for (const command of [write(0, 1, new Uint8Array(512)), writeZeroes(0, 1), manage([[0, 1]])]) {
    assertEquals(run(command).status, refusal);
  }
  assertEquals([connection.fetches, storages[0]], [[], before]);
  assertEquals(run(read(0, 1, 512)).data, data);
  assertEquals(run(compare(0, 1, data)).status, 0);
  assertEquals(run(flush()).status, 0);
  assertEquals(run(manage([[0, 1]], { dwords: { 11: 1 } })).status, 0);
});

Deno.test("IoQueue tells the device of FUA and of deallocation", () => {
  const { connection, queue, devices: [device] } = manualRig();
  const { FUA, DEAC } = RwCdw12;
  const data = new Uint8Array(512);
  const cases: [Command, op: number, flags: number][] = [
    [read(5, 1, 512), BlockOp.READ, 0],
    [read(5, 1, 512, { control: FUA }), BlockOp.READ, BlockFlag.FUA],
    [write(5, 1, data), BlockOp.WRITE, 0],
    [write(5, 1, data, { control: FUA }), BlockOp.WRITE, BlockFlag.FUA],
    [compare(5, 1, data, { control: FUA }), BlockOp.READ, BlockFlag.FUA],
    [writeZeroes(5, 1), BlockOp.WRITE_ZEROES, BlockFlag.NO_UNMAP],
    [writeZeroes(5, 1, { control: FUA }), BlockOp.WRITE_ZEROES, BlockFlag.NO_UNMAP | BlockFlag.FUA],
    [writeZeroes(5, 1, { control: DEAC }), BlockOp.WRITE_ZEROES, 0],
    [writeZeroes(5, 1, { control: DEAC | FUA }), BlockOp.WRITE_ZEROES, BlockFlag.FUA],
    [manage([[5, 1]]), BlockOp.DISCARD, 0],
    [write(5, 1, data), BlockOp.WRITE, 0],
    [{ ...writeZeroes(5, 1), control: 0x80000000 }, BlockOp.WRITE_ZEROES, BlockFlag.NO_UNMAP],
  ];
  for (const [command, op, flags] of cases) {
    connection.send(command);
    queue.turn(0);
    assertEquals(device.oldest, { op, flags, lba: 5, blocks: 1 });
    device.answer();
    queue.turn(0);
  }
  connection.send(flush());
  queue.turn(0);
  assertEquals(device.oldest, { op: BlockOp.FLUSH, flags: 0, lba: 0, blocks: 0 });
});

Deno.test("IoQueue flushes one namespace, or each of them before it answers", () => {
  const { connection, queue, devices: [small, large] } = manualRig();
  connection.send(flush(7));
  queue.turn(0);
  assertEquals([small.submitted.length, large.submitted.length], [0, 1]);
  large.answer();
  queue.turn(0);
  assertEquals(connection.answers.map(({ status }) => status), [0]);
  connection.send(flushAll());
  queue.turn(0);
  assertEquals([small.submitted.length, large.submitted.length], [1, 0]);
  small.answer();
  queue.turn(0);
  assertEquals([small.submitted.length, large.submitted.length, connection.answers.length], [0, 1, 1]);
  large.answer(EIO);
  queue.turn(0);
  assertEquals(connection.answers[1].status, StatusCode.WRITE_FAULT);
  connection.send(flushAll());
  queue.turn(0);
  small.answer(ENOSPC);
  queue.turn(0);
  assertEquals([large.submitted.length, connection.answers[2].status], [0, StatusCode.CAPACITY_EXCEEDED | DNR]);
});

Deno.test("IoQueue without a namespace flushes all there is", () => {
  const { run } = manualRig([]);
  assertEquals(run(flushAll()).status, 0);
  assertEquals(run(flush()).status, StatusCode.INVALID_NAMESPACE_OR_FORMAT | DNR);
});

Deno.test("IoQueue deallocates up to 256 ranges, one after the other, and none of no length", () => {
  const { connection, queue, devices: [device] } = manualRig([HUGE]);
  const ranges = Array.from({ length: 256 }, (_, i): [number, number] => [i * 2 ** 44 + i, i % 3 === 0 ? 0 : i]);
  connection.send(manage(ranges));
  queue.turn(0);
  const seen: [number, number][] = [];
  while (device.submitted.length > 0) {
    assertEquals([device.submitted.length, connection.answers.length], [1, 0]);
    seen.push([device.oldest.lba, device.oldest.blocks]);
    device.answer();
    queue.turn(0);
  }
  assertEquals(seen, ranges.filter(([, blocks]) => blocks > 0));
  assertEquals(connection.answers.map(({ status }) => status), [0]);
});

Deno.test("IoQueue deallocates nothing if any range is past the end", () => {
  const { run, storages } = memoryRig();
  const before = storages[0].slice();
  for (const bad of [[63, 2], [64, 1], [65, 0], [2 ** 33, 1], [0, 0xffffffff]] as [number, number][]) {
    assertEquals(run(manage([[0, 4], bad])).status, StatusCode.LBA_OUT_OF_RANGE | DNR);
  }
  assertEquals(storages[0], before);
  assertEquals(run(manage([[0, 4], [64, 0], [63, 1]])).status, 0);
  before.fill(0, 0, 4 * 512).fill(0, 63 * 512);
  assertEquals(storages[0], before);
});

Deno.test("IoQueue takes a page with fewer ranges than it has room for, and no attribute but deallocate", () => {
  const { run, storages } = memoryRig();
  const before = storages[0].slice();
  const page = new Uint8Array(4096).fill(0xff);
  page.set(manage([[2, 1]]).data!);
  assertEquals(run(manage([[2, 1]], { data: page, dwords: { 10: 0, 11: 3 } })).status, 0);
  assertEquals(storages[0], before);
  assertEquals(run(manage([[2, 1]], { data: page })).status, 0);
  assertEquals(storages[0], before.fill(0, 2 * 512, 3 * 512));
});

Deno.test("IoQueue ends a deallocation at the range that fails", () => {
  const { connection, queue, devices: [device] } = manualRig();
  connection.send(manage([[0, 1], [1, 1], [2, 1]]));
  queue.turn(0);
  device.answer();
  queue.turn(0);
  device.answer(EIO);
  queue.turn(0);
  assertEquals([device.submitted, queue.isIdle], [[], true]);
  assertEquals(connection.answers.map(({ status }) => status), [StatusCode.WRITE_FAULT]);
});

Deno.test("IoQueue compares every byte", () => {
  const { run, storages } = memoryRig();
  const same = storages[1].slice(4096, 3 * 4096);
  const before = storages[1].slice();
  assertEquals(run(compare(1, 2, same, { nsid: 7 })).status, 0);
  for (const byte of [0, 1, 4095, 4096, 8191]) {
    const other = same.slice();
    other[byte] ^= 0x10;
    assertEquals(run(compare(1, 2, other, { nsid: 7 })).status, StatusCode.COMPARE_FAILURE | DNR, `byte ${byte}`);
  }
  assertEquals(run(compare(1, 2, same, { nsid: 7, inCapsule: true })).status, 0);
  assertEquals(storages[1], before);
});

Deno.test("IoQueue compares one command after the other while others go on", () => {
  const { connection, queue, devices: [small, large], memory, requests } = manualRig();
  const data = pattern(512, 3), page = pattern(4096, 4);
  const slots = [
    connection.send(compare(1, 1, data, { inCapsule: true })),
    connection.send(compare(2, 1, page, { inCapsule: true, nsid: 7 })),
    connection.send(compare(3, 1, data, { inCapsule: true })),
    connection.send(read(4, 1, 512)),
  ];
  queue.turn(0);
  assertEquals([small.submitted.length, large.submitted.length], [2, 0]);
  const scratch = requests.dataOffset[requests.depth - 1];
  const step = (device: ManualDevice, content: Uint8Array, errno = 0) => {
    memory.set(content, scratch);
    device.answer(errno);
    queue.turn(0);
  };
  step(small, data);
  assertEquals([small.submitted.length, large.oldest.lba], [1, 2]);
  step(large, page, EIO);
  small.answer();
  queue.turn(0);
  assertEquals(small.oldest.lba, 3);
  step(small, page);
  assertEquals(queue.isIdle, true);
  assertEquals(connection.answers.map(({ slot, status }) => [slot, status]), [
    [slots[0], 0],
    [slots[1], StatusCode.UNRECOVERED_READ_ERROR],
    [slots[3], 0],
    [slots[2], StatusCode.COMPARE_FAILURE | DNR],
  ]);
});

Deno.test("IoQueue answers in one turn all that its devices do at once, whatever the order of the namespaces", () => {
  const { connection, queue, storages } = memoryRig();
  connection.send(compare(0, 1, storages[1].slice(0, 4096), { nsid: 7, inCapsule: true }));
  connection.send(compare(0, 1, storages[0].slice(0, 512), { inCapsule: true }));
  connection.send(compare(1, 1, storages[1].slice(4096, 8192), { nsid: 7 }));
  connection.send(manage([[1, 1], [2, 1]]));
  connection.send(flushAll());
  queue.turn(0);
  assertEquals(connection.answers.map(({ status }) => status), [0, 0, 0, 0, 0]);
  assertEquals(queue.isIdle, true);
});

Deno.test("IoQueue counts what it does", () => {
  const { run, storages, queue } = memoryRig();
  const data = storages[0].slice(0, 1024);
  run(read(0, 3, 1536));
  run(write(0, 2, data));
  run(compare(0, 2, data));
  run(flush());
  run(writeZeroes(0, 8));
  run(read(64, 1, 512));
  run(compare(0, 2, data));
  const { counters } = queue;
  assertEquals([...counters.values], [3, 1, 1536 + 1024 + 1024, 1024, 2, 0, 0, 0]);
});

Deno.test("IoQueue tells of every error, and its host that there is more of it in the log if there is", () => {
  const told: [slot: number, status: number][] = [];
  const { run } = makeRig({
    namespaces: [{ nsid: 1, blockSize: 512, blocks: 8 }],
    makeDevice: (requests) => new ManualDevice(requests),
    onRefused: (slot, status) => told.push([slot, status]) < 3,
  });
  const status = StatusCode.LBA_OUT_OF_RANGE | StatusField.DNR;
  const answers = [1, 2, 3].map(() => run(read(8, 1, 512)));
  assertEquals(told, answers.map(({ slot }) => [slot, status]));
  assertEquals(answers.map((answer) => answer.status), [
    status | StatusField.MORE,
    status | StatusField.MORE,
    status,
  ]);
});

Deno.test("IoQueue tells the host of a device's error by what it did, and counts it", () => {
  const data = new Uint8Array(512);
  const commands = [read(0, 1, 512), write(0, 1, data), compare(0, 1, data), writeZeroes(0, 1), manage([[0, 1]])];
  const { connection, queue, devices: [device] } = manualRig();
  for (const command of commands) {
    connection.send(command);
    queue.turn(0);
    device.answer(EIO);
    queue.turn(0);
  }
  const { UNRECOVERED_READ_ERROR, WRITE_FAULT } = StatusCode;
  assertEquals(connection.answers.map(({ status }) => status), [
    UNRECOVERED_READ_ERROR,
    WRITE_FAULT,
    UNRECOVERED_READ_ERROR,
    WRITE_FAULT,
    WRITE_FAULT,
  ]);
  assertEquals([...queue.counters.values], [0, 0, 0, 0, 5, 5, 0, 0]);
  assertEquals(connection.answers.every((answer) => answer.data === null), true);
});

Deno.test("IoQueue is idle once the devices are, and drops its commands when the connection is over", () => {
  const { connection, queue, devices: [small] } = manualRig();
  const data = new Uint8Array(512);
  connection.send(read(0, 1, 512));
  connection.send(compare(1, 1, data));
  connection.send(compare(2, 1, data));
  connection.send(manage([[3, 1], [4, 1]]));
  queue.turn(0);
  connection.send(read(9, 1, 512));
  connection.state = "failed";
  queue.turn(1);
  assertEquals([connection.answers, queue.isIdle, small.submitted.length], [[], false, 3]);
  for (let i = 0; i < 3; i++) small.answer();
  queue.turn(2);
  assertEquals([small.submitted, queue.isIdle], [[], true]);
  assertEquals(connection.answers.map(({ slot, status }) => [slot, status]).sort(), [
    [0, "dropped"],
    [1, "dropped"],
    [2, "dropped"],
    [3, "dropped"],
  ]);
});

Deno.test("IoQueue does what its faults say, once for each command", () => {
  const { connection, queue, storages } = memoryRig();
  const asked: number[] = [];
  const plan: Record<number, { verdict?: number; delayMs?: number; spoils?: boolean }> = {
    [NvmOpcode.READ]: { verdict: StatusCode.INTERNAL_ERROR },
    [NvmOpcode.WRITE]: { verdict: -1 },
    [NvmOpcode.COMPARE]: { spoils: true },
    [NvmOpcode.FLUSH]: { delayMs: 30 },
    [NvmOpcode.WRITE_ZEROES]: { delayMs: 10, spoils: true },
  };
  queue.faults = {
    verdict: (opcode) => (asked.push(opcode), plan[opcode]?.verdict ?? 0),
    lateMs: () => 0,
    answerDelayMs: (opcode) => plan[opcode]?.delayMs ?? 0,
    spoilsDigest: (opcode) => plan[opcode]?.spoils ?? false,
  };
  const expected = storages[0].slice();
  const data = new Uint8Array(512).fill(5);
  connection.send(read(0, 1, 512));
  connection.send(write(1, 1, data));
  connection.send(compare(2, 1, expected.slice(1024, 1536)));
  connection.send(flush());
  connection.send(writeZeroes(3, 1));
  connection.send(manage([[4, 1]]));
  queue.turn(100);
  const told = () => connection.answers.map(({ slot, status, isSpoiled }) => [slot, status, isSpoiled]);
  const now = [[0, StatusCode.INTERNAL_ERROR, false], [1, "dropped", false], [5, 0, false], [2, 0, true]];
  assertEquals(told().sort(), now.sort());
  assertEquals(asked, [2, 1, 5, 0, 8, 9]);
  expected.set(data, 512);
  expected.fill(0, 3 * 512, 5 * 512);
  assertEquals(storages[0], expected);
  assertEquals([queue.isIdle, queue.nextDueMs], [true, 110]);
  queue.turn(109);
  assertEquals(connection.answers.length, 4);
  queue.turn(110);
  assertEquals(told().slice(4), [[4, 0, true]]);
  assertEquals(queue.nextDueMs, 130);
  queue.faults = null;
  assertEquals((connection.send(read(0, 1, 512)), queue.turn(129), told().slice(5)), [[6, 0, false]]);
  connection.state = "failed";
  queue.turn(129);
  assertEquals([told().slice(6), queue.nextDueMs], [[[3, "dropped", false]], Infinity]);
});

Deno.test("IoQueue holds the data of a read back with its answer", () => {
  const { connection, queue, storages } = memoryRig();
  queue.faults = { verdict: () => 0, lateMs: () => 0, answerDelayMs: () => 5, spoilsDigest: () => false };
  connection.send(read(1, 1, 512));
  queue.turn(0);
  assertEquals(connection.answers, []);
  const before = storages[0].slice(512, 1024);
  storages[0].fill(0);
  queue.turn(5);
  assertEquals(connection.answers[0].data, before);
});

Deno.test("IoQueue carries out a late command when its time has come, though its connection is over", () => {
  const { connection, queue, storages } = memoryRig();
  queue.faults = { verdict: () => 0, lateMs: () => 30, answerDelayMs: () => 0, spoilsDigest: () => false };
  const expected = storages[0].slice();
  const data = new Uint8Array(512).fill(5);
  connection.send(write(1, 1, data));
  queue.turn(100);
  connection.send(write(2, 1, data));
  queue.turn(110);
  assertEquals([queue.isIdle, queue.nextDueMs, connection.answers.length], [false, 130, 0]);
  queue.turn(130);
  expected.set(data, 512);
  assertEquals([connection.answers.map(({ status }) => status), queue.nextDueMs], [[0], 140]);
  assertEquals(storages[0], expected);
  connection.state = "failed";
  queue.turn(139);
  assertEquals([storages[0], queue.isIdle], [expected, false]);
  queue.turn(140);
  expected.set(data, 1024);
  assertEquals([storages[0], queue.isIdle, queue.nextDueMs], [expected, true, Infinity]);
  assertEquals(connection.answers.map(({ status }) => status), [0, "dropped"]);
});

Deno.test("IoQueue is made only of buffers that fit", () => {
  const { connection, table, memory } = memoryRig();
  const make = (requests: RequestTable, transferBytesMax = 4096) =>
    new IoQueue({ connection, requests, memory, namespaces: [], table, listener: 0, transferBytesMax });
  make(new RequestTable(9, { bufferBytes: 16384, arenaOffset: 4096 }));
  assertThrows(() => make(new RequestTable(8, { bufferBytes: 16384, arenaOffset: 4096 })), AssertionFailure);
  assertThrows(() => make(new RequestTable(9, { bufferBytes: 16384 })), AssertionFailure);
  assertThrows(() => make(new RequestTable(9, { bufferBytes: 16384, arenaOffset: 4096 }), 32768), AssertionFailure);
  assert(IoQueue.slots(8) === 9);
});
