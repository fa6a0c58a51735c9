import { assert, assertEquals } from "@std/assert";
import {
  AdminOpcode,
  Dsm,
  DsmRangeAt,
  NvmOpcode,
  RwCdw12,
  SglAt,
  SglIdentifier,
  SqeAt,
} from "../../../src/protocol/nvme.ts";
import { IdentifyControllerAt, IdentifyNamespaceAt, Nsfeat } from "../../../src/protocol/nvme_identify.ts";
import { StatusCode } from "../../../src/protocol/nvme_status.ts";

Deno.test("the opcodes of I/O commands (NVM Command Set 1.0, figure of the opcodes)", () => {
  const { FLUSH, WRITE, READ, WRITE_ZEROES, DATASET_MANAGEMENT } = NvmOpcode;
  assertEquals([FLUSH, WRITE, READ, WRITE_ZEROES, DATASET_MANAGEMENT], [0, 1, 2, 8, 9]);
});

Deno.test("bits 1:0 of an opcode tell the direction of data: 1 to the controller, 2 to the host, 0 none", () => {
  const { WRITE, COMPARE, DATASET_MANAGEMENT, READ, FLUSH, WRITE_ZEROES, VERIFY } = NvmOpcode;
  const { IDENTIFY, GET_LOG_PAGE, KEEP_ALIVE, ASYNC_EVENT_REQUEST, ABORT, SET_FEATURES } = AdminOpcode;
  for (const opcode of [WRITE, COMPARE, DATASET_MANAGEMENT, SET_FEATURES]) assertEquals(opcode & 3, 1);
  for (const opcode of [READ, IDENTIFY, GET_LOG_PAGE]) assertEquals(opcode & 3, 2);
  for (const opcode of [FLUSH, WRITE_ZEROES, VERIFY, KEEP_ALIVE, ASYNC_EVENT_REQUEST, ABORT]) {
    assertEquals(opcode & 3, 0);
  }
});

Deno.test("the SGL descriptor ends at CDW10 and its identifier is byte 39 of the SQE", () => {
  assertEquals([SqeAt.SGL1 + 16, SqeAt.SGL1 + SglAt.LENGTH, SqeAt.SGL1 + SglAt.IDENTIFIER], [SqeAt.CDW10, 32, 39]);
  assertEquals([SglIdentifier.DATA_BLOCK_OFFSET, SglIdentifier.TRANSPORT_DATA_BLOCK], [0x01, 0x5a]);
});

Deno.test("CDW12 of a read and the ranges of a deallocation", () => {
  assertEquals([RwCdw12.FUA, RwCdw12.DEAC, Dsm.AD, Dsm.RANGE_BYTES], [0x40000000, 0x02000000, 4, 16]);
  assertEquals([DsmRangeAt.CATTR, DsmRangeAt.LENGTH, DsmRangeAt.SLBA], [0, 4, 8]);
});

Deno.test("Identify offsets rise and stay inside their structure", () => {
  for (const layout of [IdentifyControllerAt, IdentifyNamespaceAt]) {
    const offsets = Object.values(layout);
    assertEquals(offsets, [...offsets].sort((a, b) => a - b));
    assert(offsets.every((offset) => offset < 4096));
  }
  assertEquals(Nsfeat.OPTIMAL_PERFORMANCE, 0x10);
});

Deno.test("only Connect shares status codes with I/O commands", () => {
  const names = new Map<number, string[]>();
  for (const [name, code] of Object.entries(StatusCode)) names.set(code, [...(names.get(code) ?? []), name]);
  for (const shared of names.values()) {
    assert(shared.length === 1 || shared.some((name) => name.startsWith("CONNECT_")), shared.join(", "));
  }
});
