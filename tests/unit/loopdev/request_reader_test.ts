import { assertEquals } from "@std/assert";
import { EINVAL, EIO, ENOENT, ENOSPC, ENOSYS, EOPNOTSUPP, EPERM, EROFS } from "../../../src/base/errno.ts";
import { Prng } from "../../../src/base/prng.ts";
import type { Geometry } from "../../../src/block/device.ts";
import { BlockFlag, BlockOp, RequestTable } from "../../../src/block/request.ts";
import { RequestReader, Verdict } from "../../../src/loopdev/request_reader.ts";
import { makeGeometry } from "../ublk/fake_kernel.ts";
import { fallocateBody, openBody, request, type RequestOptions, transferBody } from "./fuse_request.ts";

const BUFFER = 1 << 20;
const BLOCK = 512;
const FILE = 4096 * BLOCK;
const READ = 15;
const WRITE = 16;
const FALLOCATE = 43;
const PUNCH = 0x3; // PUNCH_HOLE | KEEP_SIZE
const ZERO = 0x10; // ZERO_RANGE

/** Reads one request into slot 1 of two; `bytes` of it, if not all. */
function read(options: RequestOptions, changes: Partial<Geometry> = {}, bytes?: number) {
  const requests = new RequestTable(2, { bufferBytes: BUFFER });
  const words = new Uint32Array(64);
  const raw = request(options);
  new Uint8Array(words.buffer).set(raw.subarray(0, 80), 16);
  const reader = new RequestReader(words, requests, makeGeometry(changes));
  const verdict = reader.read(1, 4, bytes ?? raw.length);
  const lba = requests.lbaHigh[1] * 2 ** 32 + requests.lbaLow[1];
  return { verdict, op: requests.op[1], flags: requests.flags[1], lba, blocks: requests.blocks[1], reader, requests };
}

Deno.test("RequestReader reads READ and WRITE, also far behind 2^32", () => {
  const far = 2 ** 33;
  const rows: [opcode: number, offset: number, size: number, op: number, lba: number, blocks: number][] = [
    [READ, 0, BLOCK, BlockOp.READ, 0, 1],
    [READ, 4096, BUFFER, BlockOp.READ, 8, BUFFER / BLOCK],
    [READ, (far + 5) * BLOCK, 2 * BLOCK, BlockOp.READ, far + 5, 2],
    [READ, (far + 15) * BLOCK, 4 * BLOCK, BlockOp.READ, far + 15, 1], // the file ends there
  ];
  for (const [opcode, offset, size, op, lba, blocks] of rows) {
    const got = read({ opcode, body: transferBody(BigInt(offset), size) }, { blocks: far + 16 });
    assertEquals([got.verdict, got.op, got.lba, got.blocks], [Verdict.DEVICE, op, lba, blocks]);
  }
  const data = new Uint8Array(3 * BLOCK);
  const write = read({ opcode: WRITE, body: transferBody(BigInt(far * BLOCK), data.length, data) }, {
    blocks: far + 16,
  });
  assertEquals([write.verdict, write.op, write.lba, write.blocks], [Verdict.DEVICE, BlockOp.WRITE, far, 3]);
});

Deno.test("RequestReader refuses a READ of what a file had before it became smaller, until it has grown again", () => {
  const words = new Uint32Array(64);
  const requests = new RequestTable(2, { bufferBytes: BUFFER });
  const reader = new RequestReader(words, requests, makeGeometry({ blocks: 16 }));
  const readAt = (block: number, blocks: number) => {
    const raw = request({ opcode: READ, body: transferBody(BigInt(block * BLOCK), blocks * BLOCK) });
    new Uint8Array(words.buffer).set(raw.subarray(0, 80), 16);
    const verdict = reader.read(1, 4, raw.length);
    return [verdict, requests.blocks[1]];
  };
  assertEquals(readAt(14, 4), [Verdict.DEVICE, 2]); // the end of a file is nothing wrong
  reader.resize(8);
  assertEquals(readAt(6, 2), [Verdict.DEVICE, 2]);
  assertEquals(readAt(6, 4)[0], -EIO);
  assertEquals(readAt(12, 2)[0], -EIO);
  reader.resize(16);
  assertEquals(readAt(12, 2), [Verdict.DEVICE, 2]);
});

Deno.test("RequestReader counts in the blocks of the device", () => {
  const got = read({ opcode: READ, body: transferBody(8192n, 12288) }, { blockSize: 4096, blocks: 512 });
  assertEquals([got.verdict, got.lba, got.blocks], [Verdict.DEVICE, 2, 3]);
  const half = read({ opcode: READ, body: transferBody(512n, 4096) }, { blockSize: 4096, blocks: 512 });
  assertEquals(half.verdict, -EINVAL);
});

Deno.test("RequestReader refuses a READ or WRITE that does not fit", () => {
  const data = new Uint8Array(BLOCK);
  const rows: [RequestOptions, verdict: number, changes?: Partial<Geometry>][] = [
    [{ opcode: READ, body: transferBody(1n, BLOCK) }, -EINVAL],
    [{ opcode: READ, body: transferBody(0n, BLOCK - 1) }, -EINVAL],
    [{ opcode: READ, body: transferBody(2n ** 63n + 1n, BLOCK) }, -EINVAL],
    [{ opcode: READ, body: transferBody(0n, BUFFER + BLOCK) }, -EINVAL],
    [{ opcode: READ, body: transferBody(0n, 0xffffffff) }, -EINVAL],
    [{ opcode: READ, body: new Uint8Array(39) }, -EINVAL],
    [{ opcode: READ, body: new Uint8Array(0) }, -EINVAL],
    [{ opcode: WRITE, body: new Uint8Array(0) }, -EINVAL],
    [{ opcode: WRITE, body: transferBody(0n, BLOCK) }, -EINVAL], // without its data
    [{ opcode: WRITE, body: transferBody(0n, 2 * BLOCK, data) }, -EINVAL],
    [{ opcode: WRITE, body: transferBody(0n, 0, data) }, -EINVAL],
    [{ opcode: WRITE, body: transferBody(5n, BLOCK, data) }, -EINVAL],
    [{ opcode: WRITE, body: transferBody(BigInt(FILE), BLOCK, data) }, -ENOSPC],
    [{ opcode: WRITE, body: transferBody(2n ** 64n - 512n, BLOCK, data) }, -ENOSPC],
    [{ opcode: WRITE, body: transferBody(0n, BLOCK, data) }, -EROFS, { readOnly: true }],
  ];
  for (const [options, verdict, changes] of rows) {
    assertEquals(
      read(options, changes).verdict,
      verdict,
      JSON.stringify([options.opcode, verdict, options.body?.length]),
    );
  }
});

Deno.test("RequestReader reads nothing behind the end, and all of a read-only file", () => {
  for (const offset of [FILE, FILE + BLOCK, 2 ** 53]) {
    const got = read({ opcode: READ, body: transferBody(BigInt(offset), BLOCK) });
    assertEquals([got.verdict, got.blocks], [Verdict.DONE, 0]);
  }
  assertEquals(read({ opcode: READ, body: transferBody(2n ** 64n - 512n, BLOCK) }).verdict, Verdict.DONE);
  assertEquals(read({ opcode: READ, body: transferBody(0n, BLOCK) }, { readOnly: true }).verdict, Verdict.DEVICE);
});

Deno.test("RequestReader makes holes with WRITE_ZEROES that may deallocate, and zeroes with one that must not", () => {
  for (const [mode, flags] of [[PUNCH, 0], [ZERO, BlockFlag.NO_UNMAP], [ZERO | 1, BlockFlag.NO_UNMAP]]) {
    const got = read({ opcode: FALLOCATE, body: fallocateBody(1024n, 4096n, mode) });
    assertEquals([got.verdict, got.op, got.flags, got.lba, got.blocks], [
      Verdict.DEVICE,
      BlockOp.WRITE_ZEROES,
      flags,
      2,
      8,
    ]);
    assertEquals(got.reader.readNext(1), false);
  }
});

Deno.test("RequestReader splits a long range by the device's limit", () => {
  const { verdict, reader, requests } = read(
    { opcode: FALLOCATE, body: fallocateBody(512n, BigInt(10 * BLOCK), PUNCH) },
    { maxWriteZeroesBytes: 4 * BLOCK + 1 },
  );
  const parts = [[requests.lbaLow[1], requests.blocks[1]]];
  requests.status[1] = 99;
  while (reader.readNext(1)) {
    assertEquals(requests.status[1], 0);
    parts.push([requests.lbaLow[1], requests.blocks[1]]);
  }
  assertEquals([verdict, parts], [Verdict.DEVICE, [[1, 4], [5, 4], [9, 2]]]);
  assertEquals(reader.readNext(0), false);
});

Deno.test("RequestReader refuses a FALLOCATE that does not fit", () => {
  const rows: [body: Uint8Array, verdict: number, changes?: Partial<Geometry>][] = [
    [fallocateBody(0n, 512n, 0), -EOPNOTSUPP],
    [fallocateBody(0n, 512n, 0x02), -EOPNOTSUPP], // a hole that changes the size
    [fallocateBody(0n, 512n, 0x08), -EOPNOTSUPP],
    [fallocateBody(0n, 512n, 0x13), -EOPNOTSUPP],
    [fallocateBody(0n, 512n, 0x80000003), -EOPNOTSUPP],
    [fallocateBody(0n, 0n, PUNCH), -EINVAL],
    [fallocateBody(1n, 512n, PUNCH), -EINVAL],
    [fallocateBody(0n, 511n, PUNCH), -EINVAL],
    [fallocateBody(BigInt(FILE), 512n, PUNCH), -ENOSPC],
    [fallocateBody(0n, BigInt(FILE + BLOCK), PUNCH), -ENOSPC],
    [fallocateBody(2n ** 64n - 512n, 512n, PUNCH), -ENOSPC],
    [fallocateBody(0n, 2n ** 64n - 512n, ZERO), -ENOSPC],
    [fallocateBody(0n, 512n, PUNCH).subarray(0, 24), -EINVAL],
    [new Uint8Array(40), -EINVAL],
    [fallocateBody(0n, 512n, PUNCH), -EROFS, { readOnly: true }],
    [fallocateBody(0n, 512n, PUNCH), -ENOSYS, { maxWriteZeroesBytes: 0 }],
  ];
  for (const [i, [body, verdict, changes]] of rows.entries()) {
    assertEquals(read({ opcode: FALLOCATE, body }, changes).verdict, verdict, `row ${i}`);
  }
});

Deno.test("RequestReader opens for writing only what can be written", () => {
  const rows: [flags: number, readOnly: boolean, verdict: number][] = [
    [0, false, Verdict.OPENED],
    [2, false, Verdict.OPENED],
    [0, true, Verdict.OPENED],
    [1, true, -EROFS],
    [2, true, -EROFS],
    [0o40000, true, Verdict.OPENED], // O_DIRECT
  ];
  for (const [flags, readOnly, verdict] of rows) {
    assertEquals(read({ opcode: 14, body: openBody(flags) }, { readOnly }).verdict, verdict);
  }
});

Deno.test("RequestReader knows every operation", () => {
  const rows: [opcode: number, verdict: number][] = [
    [1, -ENOENT], // LOOKUP
    [2, Verdict.NO_ANSWER], // FORGET
    [3, Verdict.ATTRIBUTES], // GETATTR
    [4, -EPERM], // SETATTR
    [17, Verdict.STATFS],
    [18, Verdict.CLOSED], // RELEASE
    [20, Verdict.DEVICE], // FSYNC
    [22, -ENOSYS], // GETXATTR
    [25, Verdict.DONE], // FLUSH
    [26, -ENOSYS], // INIT: it came before
    [36, -ENOSYS], // INTERRUPT
    [38, Verdict.DONE], // DESTROY
    [41, Verdict.NO_ANSWER], // NOTIFY_REPLY
    [42, Verdict.NO_ANSWER], // BATCH_FORGET
    [46, -ENOSYS], // LSEEK
    [4096, -ENOSYS], // CUSE_INIT
    [0xffffffff, -ENOSYS],
  ];
  for (const [opcode, verdict] of rows) assertEquals(read({ opcode }).verdict, verdict, `operation ${opcode}`);
  assertEquals(read({ opcode: 3, nodeId: 2n }).verdict, -ENOENT);
  assertEquals(read({ opcode: 20 }, { volatileCache: false }).verdict, -ENOSYS);
});

Deno.test("RequestReader refuses a request that is shorter or longer than it says", () => {
  const body = transferBody(0n, BLOCK);
  for (const opcode of [2, 3, READ, FALLOCATE, 20]) {
    assertEquals(read({ opcode, body, len: 79 }).verdict, -EINVAL);
    assertEquals(read({ opcode, body }, {}, 48).verdict, -EINVAL);
  }
});

Deno.test("RequestReader never gives the device a range outside the file, whatever it reads", () => {
  const random = new Prng(20261125);
  for (let i = 0; i < 50_000; i++) {
    const body = new Uint8Array(40);
    new Uint32Array(body.buffer).forEach((_, word, words) => {
      words[word] = random.below(3) === 0 ? random.uint32() : random.below(16) * BLOCK;
    });
    const opcode = [READ, WRITE, FALLOCATE, 20, 14, 3][random.below(6)];
    const { verdict, requests, reader, lba, blocks, op } = read({
      opcode,
      body: body.subarray(0, 32 + 8 * random.below(2)),
    });
    if (verdict !== Verdict.DEVICE) continue;
    for (let more = true; more; more = reader.readNext(1)) {
      const end = requests.lbaHigh[1] * 2 ** 32 + requests.lbaLow[1] + requests.blocks[1];
      assertEquals(end <= 4096 && requests.blocks[1] * BLOCK <= 1 << 20, true, `${op} of ${blocks} at ${lba}`);
    }
  }
});
