import { assertEquals, assertThrows } from "@std/assert";
import { LAYOUT } from "../../../ffi/layout.ts";
import { native } from "../../../ffi/library.ts";
import { check, cString, SystemError } from "../../../ffi/result.ts";
import { Prng } from "../../../src/base/prng.ts";
import { UBLK_LAYOUT } from "../../../src/protocol/ublk.ts";

const crc32c = (data: Uint8Array<ArrayBuffer>, crc = 0) => native().um_crc32c(crc, data, BigInt(data.length));

/** A bit at a time, from the polynomial's definition: slow and plain. */
function naiveCrc32c(data: Uint8Array): number {
  let crc = 0xffffffff;
  for (const byte of data) {
    crc ^= byte;
    for (let bit = 0; bit < 8; bit++) crc = (crc >>> 1) ^ (crc & 1 ? 0x82f63b78 : 0);
  }
  return ~crc >>> 0;
}

Deno.test("um_crc32c() gives the values of RFC 3720, appendix B.4", () => {
  const iota = Uint8Array.from({ length: 32 }, (_, i) => i);
  assertEquals(crc32c(new Uint8Array(32)), 0x8a9136aa);
  assertEquals(crc32c(new Uint8Array(32).fill(0xff)), 0x62a8ab43);
  assertEquals(crc32c(iota), 0x46dd794e);
  assertEquals(crc32c(iota.toReversed()), 0x113fdb5c);
  assertEquals(crc32c(new TextEncoder().encode("123456789")), 0xe3069283);
  assertEquals(crc32c(new Uint8Array(0)), 0);
});

Deno.test("um_crc32c() agrees with the definition for every length and goes on where it stopped", () => {
  const prng = new Prng(1);
  for (let length = 0; length < 200; length++) {
    const data = Uint8Array.from({ length }, () => prng.below(256));
    assertEquals(crc32c(data), naiveCrc32c(data));
    const cut = prng.below(length + 1);
    assertEquals(crc32c(data.slice(cut), crc32c(data.slice(0, cut))), naiveCrc32c(data));
  }
});

Deno.test("um_layout() refuses a caller that expects another number of layouts", () => {
  const count = Object.keys(LAYOUT).length;
  assertEquals(native().um_layout(new Uint8Array(4 * count), count), count);
  assertEquals(native().um_layout(new Uint8Array(4 * count), count - 1), -22);
});

Deno.test("LAYOUT agrees with what the ublk specification file says", () => {
  assertEquals(LAYOUT.ublkCtrlCmdBytes, UBLK_LAYOUT.ctrlCmdBytes);
  assertEquals(LAYOUT.ublkDevInfoBytes, UBLK_LAYOUT.devInfoBytes);
  assertEquals(LAYOUT.ublkIoDescBytes, UBLK_LAYOUT.ioDescBytes);
  assertEquals(LAYOUT.ublkIoCmdBytes, UBLK_LAYOUT.ioCmdBytes);
});

Deno.test("check() passes results on and tells errors with their errno", () => {
  assertEquals(check(7, "Cannot fail"), 7);
  const error = assertThrows(() => check(-2, "Cannot open it"), SystemError, "Cannot open it");
  assertEquals(error.errno, 2);
});

Deno.test("um_open() tells what there is", async () => {
  assertEquals(await native().um_open(cString("/nonexistent/file"), 0), -2);
});

Deno.test("um_tcp_connect() refuses what is no address", () => {
  for (const address of ["", "localhost", "1.2.3", "1.2.3.4.5", "::1%nowhere0", "x".repeat(100)]) {
    assertEquals(native().um_tcp_connect(cString(address), 1, cString(""), cString("")), -22, address);
  }
  assertEquals(native().um_tcp_connect(cString("127.0.0.1"), 65536, cString(""), cString("")), -22);
  const unbound = native().um_tcp_connect(cString("127.0.0.1"), 1, cString("192.0.2.77"), cString(""));
  assertEquals(unbound, -99, "EADDRNOTAVAIL");
});
