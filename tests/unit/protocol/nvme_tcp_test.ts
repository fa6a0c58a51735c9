import { assertEquals } from "@std/assert";
import {
  fatalErrorWords,
  pduDataAlignment,
  pduHlen,
  pduName,
  PduType,
  TERM_REQ_PLEN_MAX,
} from "../../../src/protocol/nvme_tcp.ts";

Deno.test("pduName() and pduHlen() of every type (TCP Transport 1.0, section 3.6.2)", () => {
  const expected: [type: number, name: string, hlen: number][] = [
    [0, "ICReq", 128],
    [1, "ICResp", 128],
    [2, "H2CTermReq", 24],
    [3, "C2HTermReq", 24],
    [4, "CapsuleCmd", 72],
    [5, "CapsuleResp", 24],
    [6, "H2CData", 24],
    [7, "C2HData", 24],
    [8, "PDU of the unknown type 0x08", 0],
    [9, "R2T", 24],
    [10, "PDU of the unknown type 0x0a", 0],
    [255, "PDU of the unknown type 0xff", 0],
  ];
  for (const [type, name, hlen] of expected) assertEquals([pduName(type), pduHlen(type)], [name, hlen]);
  for (const [name, type] of Object.entries(PduType)) assertEquals(pduName(type), name);
});

Deno.test("pduDataAlignment() is in dwords, 0's based", () => {
  assertEquals([0, 1, 31].map(pduDataAlignment), [4, 8, 128]);
});

Deno.test("fatalErrorWords() names the error and the field or digest", () => {
  assertEquals(fatalErrorWords(1, 3), "invalid PDU header field (byte 3 of the header)");
  assertEquals(fatalErrorWords(2, 9), "PDU sequence error");
  assertEquals(fatalErrorWords(3, 0xabc), "header digest error (received 0x00000abc)");
  assertEquals(fatalErrorWords(4), "data transfer out of range");
  assertEquals(fatalErrorWords(5), "data transfer or R2T limit exceeded");
  assertEquals(fatalErrorWords(6, 8), "unsupported parameter (byte 8 of the header)");
  assertEquals(fatalErrorWords(0), "unknown fatal error 0x00");
  assertEquals(fatalErrorWords(0xffff), "unknown fatal error 0xffff");
});

Deno.test("a termination request has at most 152 bytes", () => assertEquals(TERM_REQ_PLEN_MAX, 152));
