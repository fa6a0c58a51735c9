import { assertEquals } from "@std/assert";
import { answerInit, type InitOptions } from "../../../src/loopdev/init.ts";
import { initRequest } from "./fuse_request.ts";

const OPTIONS: InitOptions = { requestBytes: 1 << 20, maxBackground: 256, pageBytes: 4096 };
const ASYNC_READ = 1 << 0;
const BIG_WRITES = 1 << 5;
const ASYNC_DIO = 1 << 15;
const MAX_PAGES = 1 << 22;

function answer(request: Uint8Array, options: Partial<InitOptions> = {}): DataView {
  const result = answerInit(request, { ...OPTIONS, ...options });
  if (result.answer === null) throw new Error(result.failure);
  return new DataView(result.answer.buffer);
}

Deno.test("answerInit() is a fuse_init_out that asks for large requests, many of them", () => {
  const view = answer(initRequest({ unique: 0x1122334455667788n }));
  assertEquals([view.byteLength, view.getUint32(0, true), view.getInt32(4, true)], [80, 80, 0]);
  assertEquals(view.getBigUint64(8, true), 0x1122334455667788n);
  // major, minor, max_readahead, flags
  const flags = ASYNC_READ | BIG_WRITES | ASYNC_DIO | MAX_PAGES;
  assertEquals([16, 20, 24, 28].map((at) => view.getUint32(at, true)), [7, 38, 131072, flags]);
  // max_background, congestion_threshold (both 16 bits), max_write, time_gran
  assertEquals([32, 34].map((at) => view.getUint16(at, true)), [256, 192]);
  assertEquals([36, 40].map((at) => view.getUint32(at, true)), [1 << 20, 1]);
  // max_pages, map_alignment (both 16 bits), flags2 and what came later
  assertEquals([44, 46].map((at) => view.getUint16(at, true)), [256, 0]);
  for (let at = 48; at < 80; at += 4) assertEquals(view.getUint32(at, true), 0);
});

Deno.test("answerInit() speaks the older of both minor versions", () => {
  for (const [minor, spoken] of [[28, 28], [37, 37], [38, 38], [39, 38], [1000, 38]]) {
    assertEquals(answer(initRequest({ minor })).getUint32(20, true), spoken);
  }
});

Deno.test("answerInit() takes no flag that the kernel has not offered", () => {
  assertEquals(answer(initRequest({ flags: ASYNC_DIO | MAX_PAGES })).getUint32(28, true), ASYNC_DIO | MAX_PAGES);
});

Deno.test("answerInit() counts pages of the host's size, and keeps to 16 bits", () => {
  const view = answer(initRequest(), { pageBytes: 65536, maxBackground: 1 << 20 });
  assertEquals([view.getUint16(44, true), view.getUint16(32, true), view.getUint16(34, true)], [16, 65535, 49152]);
});

Deno.test("answerInit() takes an INIT of any length that has the flags, and none that has not", () => {
  const short = initRequest().slice(0, 56);
  assertEquals(answer(short).byteLength, 80);
  for (const bytes of [0, 39, 40, 55]) {
    assertEquals(answerInit(initRequest().slice(0, bytes), OPTIONS).failure, `it begins with ${bytes} bytes`);
  }
});

Deno.test("answerInit() says why there is no answer", () => {
  const rows: [Uint8Array, string][] = [
    [initRequest({ opcode: 3 }), "it begins with operation 3"],
    [initRequest({ major: 6 }), "it speaks version 6.41"],
    [initRequest({ major: 8, minor: 0 }), "it speaks version 8.0"],
    [initRequest({ minor: 27 }), "it speaks version 7.27"],
    [initRequest({ flags: ASYNC_DIO }), "it lacks large requests or asynchronous direct I/O"],
    [initRequest({ flags: MAX_PAGES }), "it lacks large requests or asynchronous direct I/O"],
  ];
  for (const [request, failure] of rows) assertEquals(answerInit(request, OPTIONS), { answer: null, failure });
});
