import { assertEquals } from "@std/assert";
import { DataDirection } from "../../../src/nvme_host/command_table.ts";
import { Submission } from "../../../src/nvme_host/connection.ts";
import {
  encodeDeallocate,
  encodeFlush,
  encodeRead,
  encodeWrite,
  encodeWriteZeroes,
  writeDeallocateRange,
} from "../../../src/nvme_host/io_command.ts";

/** The entry as bytes in hex, eight bytes a word: what the specification's figures say, written by hand. */
function hex(submission: Submission): string[] {
  const bytes = new Uint8Array(submission.sqe.buffer);
  return Array.from(
    { length: 8 },
    (_, i) => [...bytes.subarray(i * 8, i * 8 + 8)].map((byte) => byte.toString(16).padStart(2, "0")).join(""),
  );
}

/** A submission with rests of another command in every field. */
function used(): Submission {
  const submission = new Submission();
  submission.sqe.fill(0xffffffff);
  submission.direction = DataDirection.TO_CONTROLLER;
  submission.dataOffset = 4096;
  submission.dataBytes = 512;
  return submission;
}

const NONE = "0000000000000000";
const RANGE = { lbaLow: 0x89abcdef, lbaHigh: 0x01234567, blocks: 65536 };

Deno.test("encodeRead() writes opcode, namespace, the LBA's halves and the 0's based count", () => {
  const submission = used();
  encodeRead(submission, 0xfffffffe, RANGE);
  assertEquals(hex(submission), [
    ...["02000000feffffff", NONE, NONE, NONE, NONE, "efcdab8967452301"],
    ...["ffff000000000000", NONE],
  ]);
  assertEquals([submission.direction, submission.dataOffset, submission.dataBytes], [1, 0, 0]);
});

Deno.test("encodeWrite() writes FUA in bit 30", () => {
  for (const [fua, cdw12] of [[false, "00000000"], [true, "00000040"]] as const) {
    const submission = used();
    encodeWrite(submission, 1, { lbaLow: 1, lbaHigh: 0, blocks: 1 }, fua);
    assertEquals(hex(submission), [
      ...["0100000001000000", NONE, NONE, NONE, NONE, "0100000000000000"],
      ...[cdw12 + "00000000", NONE],
    ]);
    assertEquals(submission.direction, DataDirection.TO_CONTROLLER);
  }
});

Deno.test("encodeFlush() writes opcode and namespace only", () => {
  const submission = used();
  encodeFlush(submission, 7);
  assertEquals(hex(submission), ["0000000007000000", NONE, NONE, NONE, NONE, NONE, NONE, NONE]);
  assertEquals([submission.direction, submission.dataBytes], [DataDirection.NONE, 0]);
});

Deno.test("encodeWriteZeroes() writes DEAC in bit 25 and FUA in bit 30, and has no data", () => {
  const cases = [[false, false, "07000000"], [true, false, "07000002"], [false, true, "07000040"], [
    true,
    true,
    "07000042",
  ]] as const;
  for (const [deallocate, fua, cdw12] of cases) {
    const submission = used();
    encodeWriteZeroes(submission, 1, { lbaLow: 16, lbaHigh: 0, blocks: 8 }, { deallocate, fua });
    assertEquals(hex(submission).slice(5), ["1000000000000000", cdw12 + "00000000", NONE]);
    assertEquals(hex(submission)[0], "0800000001000000");
    assertEquals(submission.direction, DataDirection.NONE);
  }
});

Deno.test("encodeDeallocate() asks for one range with AD, writeDeallocateRange() writes it", () => {
  const submission = used();
  encodeDeallocate(submission, 1);
  assertEquals(hex(submission)[0], "0900000001000000");
  assertEquals(hex(submission).slice(5), ["0000000004000000", NONE, NONE]);
  assertEquals(submission.direction, DataDirection.TO_CONTROLLER);
  const words = new Uint32Array(8).fill(0x55555555);
  writeDeallocateRange(words, 8, { ...RANGE, blocks: 0xffffffff });
  assertEquals([...words], [
    ...[0x55555555, 0x55555555],
    ...[0, 0xffffffff, 0x89abcdef, 0x01234567],
    ...[0x55555555, 0x55555555],
  ]);
});
