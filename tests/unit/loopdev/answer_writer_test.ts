import { assertEquals } from "@std/assert";
import type { Geometry } from "../../../src/block/device.ts";
import { AnswerWriter } from "../../../src/loopdev/answer_writer.ts";
import { makeGeometry } from "../ublk/fake_kernel.ts";

/** Where answers begin in the memory of these tests, in 32-bit words; all around is 0xff. */
const AT = 8;

function write(answer: (writer: AnswerWriter) => number, changes: Partial<Geometry> = {}): DataView {
  const words = new Uint32Array(64).fill(0xffffffff);
  const bytes = answer(new AnswerWriter(words, makeGeometry(changes)));
  assertEquals(words.subarray(0, AT).every((word) => word === 0xffffffff), true, "nothing is written before it");
  assertEquals(words.subarray(AT + bytes / 4).every((word) => word === 0xffffffff), true, "nor behind it");
  return new DataView(words.buffer, AT * 4, bytes);
}

Deno.test("AnswerWriter header() is a fuse_out_header", () => {
  const words = new Uint32Array(16).fill(0xffffffff);
  words.set([0x89abcdef, 0x01234567], 12);
  const writer = new AnswerWriter(words, makeGeometry());
  const view = new DataView(words.buffer);
  for (const [error, written] of [[0, 0], [-5, -5], [-511, -511], [-512, -5], [-4095, -5]]) {
    assertEquals(writer.header(0, 12, error, 24), 40);
    // len, error, unique
    assertEquals([view.getUint32(0, true), view.getInt32(4, true)], [40, written]);
    assertEquals(view.getBigUint64(8, true), 0x0123456789abcdefn);
  }
});

Deno.test("AnswerWriter attributes() is a fuse_attr_out of a regular file that its owner alone may use", () => {
  const view = write((writer) => writer.attributes(AT), { blocks: 2 ** 33 + 3, physicalBlockSize: 16384 });
  assertEquals(view.byteLength, 104);
  // attr_valid, attr_valid_nsec, dummy
  assertEquals([view.getBigUint64(0, true), view.getUint32(8, true), view.getUint32(12, true)], [2n ** 31n, 0, 0]);
  // struct fuse_attr at 16: ino, size, blocks, atime, mtime, ctime, 3 × nsec, mode, nlink, uid, gid, rdev, blksize, flags
  assertEquals([16, 24, 32].map((at) => view.getBigUint64(at, true)), [1n, (2n ** 33n + 3n) * 512n, 2n ** 33n + 3n]);
  assertEquals([40, 48, 56].map((at) => view.getBigUint64(at, true)), [0n, 0n, 0n]);
  assertEquals([64, 68, 72].map((at) => view.getUint32(at, true)), [0, 0, 0]);
  assertEquals([76, 80, 84, 88, 92, 96, 100].map((at) => view.getUint32(at, true)), [0o100600, 1, 0, 0, 0, 16384, 0]);
});

Deno.test("AnswerWriter attributes() has no right to write of a read-only file, and blocks of 512 bytes always", () => {
  const geometry = { blockSize: 4096, blocks: 100, physicalBlockSize: 512, readOnly: true };
  const view = write((writer) => writer.attributes(AT), geometry);
  assertEquals([view.getBigUint64(24, true), view.getBigUint64(32, true)], [409600n, 800n]);
  assertEquals([view.getUint32(76, true), view.getUint32(96, true)], [0o100400, 4096]);
});

Deno.test("AnswerWriter opened() is a fuse_open_out: direct I/O, in parallel, without FLUSH", () => {
  const view = write((writer) => writer.opened(AT));
  assertEquals([view.byteLength, view.getBigUint64(0, true)], [16, 0n]); // fh
  assertEquals([view.getUint32(8, true), view.getUint32(12, true)], [1 | 1 << 5 | 1 << 6, 0]); // open_flags, backing_id
});

Deno.test("AnswerWriter statfs() is a fuse_kstatfs in units of what can be discarded", () => {
  const view = write((writer) => writer.statfs(AT), { blocks: 4097, discardGranularity: 4096 });
  assertEquals(view.byteLength, 80);
  // blocks, bfree, bavail, files, ffree
  assertEquals([0, 8, 16, 24, 32].map((at) => view.getBigUint64(at, true)), [512n, 0n, 0n, 0n, 0n]);
  // bsize, namelen, frsize, padding
  assertEquals([40, 44, 48, 52].map((at) => view.getUint32(at, true)), [4096, 255, 4096, 0]);
  const coarse = write((writer) => writer.statfs(AT), { blockSize: 4096, blocks: 10, discardGranularity: 0 });
  assertEquals([coarse.getBigUint64(0, true), coarse.getUint32(40, true)], [10n, 4096]);
});

Deno.test("AnswerWriter written() is a fuse_write_out", () => {
  const view = write((writer) => writer.written(AT, 1 << 20));
  assertEquals([view.byteLength, view.getUint32(0, true), view.getUint32(4, true)], [8, 1 << 20, 0]);
});
