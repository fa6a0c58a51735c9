import { assert, assertEquals, assertMatch } from "@std/assert";
import { TARGET_MAXH2CDATA } from "../../../src/nvme_target/pdu_writer.ts";
import { naiveCrc32c, r2t, response } from "./naive_host.ts";
import { pattern, TargetWire } from "./target_wire.ts";

const READ = 0x02;
const WRITE = 0x01;
const FLUSH = 0x00;
/** Fatal error status. */
const FIELD = 1, SEQUENCE = 2, HEADER_DIGEST = 3, RANGE = 4, LIMIT = 5, UNSUPPORTED = 6;
const DNR = 0x4000;

/** The connection failed, said so in words, and tells the host of the header that was wrong. */
function assertFailed(wire: TargetWire, words: RegExp, fes: number, fei: number, header: Uint8Array): void {
  const { connection } = wire;
  assertEquals(connection.state, "failed");
  assertMatch(connection.failure!.reason, words);
  assertEquals([connection.failure!.fes, connection.failure!.fei], [fes, fei], connection.failure!.reason);
  const pdu = connection.terminationPdu()!;
  const view = new DataView(pdu.buffer);
  assertEquals([pdu[0], pdu[1], pdu[2], pdu[3], view.getUint32(4, true)], [3, 0, 24, 0, pdu.length]);
  assertEquals([view.getUint16(8, true), view.getUint32(10, true)], [fes, fei]);
  assertEquals(pdu.subarray(14, 24), new Uint8Array(10));
  assert(pdu.length > 24 && pdu.length <= 152);
  assertEquals(pdu.subarray(24), header.subarray(0, pdu.length - 24));
  assertSilent(wire);
}

/** Nothing goes on after a failure. */
function assertSilent(wire: TargetWire): void {
  const { connection } = wire;
  connection.prepareReceive();
  assertEquals(connection.receiveBuffer.segments, 0);
  connection.handleReceived(1);
  assertEquals([connection.pollSend(), connection.pollCommand()], [false, -1]);
  wire.checkArena();
}

/** `bytes` with the number at `at` changed. */
function changed(bytes: Uint8Array<ArrayBuffer>, at: number, value: number, size = 1): Uint8Array<ArrayBuffer> {
  const copy = bytes.slice();
  const view = new DataView(copy.buffer);
  if (size === 1) view.setUint8(at, value);
  else if (size === 2) view.setUint16(at, value, true);
  else view.setUint32(at, value, true);
  return copy;
}

Deno.test("TargetConnection refuses what does not begin with a proper ICReq", () => {
  const cases: [string, (wire: TargetWire) => Uint8Array<ArrayBuffer>, RegExp, number, number][] = [
    ["version", ({ host }) => host.icReq({ pfv: 1 }), /wants PDU format version 1/, UNSUPPORTED, 8],
    ["alignment", ({ host }) => host.icReq({ hpda: 32 }), /alignment of 33 dwords/, FIELD, 10],
    ["PLEN", ({ host }) => changed(host.icReq(), 4, 132, 4), /ICReq of 132 bytes/, FIELD, 4],
    ["small PLEN", ({ host }) => changed(host.icReq(), 4, 127, 4), /ICReq of 127 bytes/, FIELD, 4],
    ["HLEN", ({ host }) => changed(host.icReq(), 2, 24), /ICReq with a header of 24 bytes/, FIELD, 2],
    ["digest flag", ({ host }) => changed(host.icReq(), 1, 1), /digest, which was not agreed on/, FIELD, 1],
    ["command", ({ host }) => host.command({ cid: 1, opcode: FLUSH }), /began with a CapsuleCmd/, SEQUENCE, 0],
    ["data", ({ host }) => host.h2cData(1, { tag: 1, data: new Uint8Array(4) }), /began with a H2CData/, SEQUENCE, 0],
    ["ICResp", ({ host }) => changed(host.icReq(), 0, 1), /ICResp, which only controllers send/, FIELD, 0],
    ["unknown type", ({ host }) => changed(host.icReq(), 0, 8), /unknown type 0x08/, FIELD, 0],
    ["text", () => new TextEncoder().encode("GET / HTTP/1.1\r\n\r\n"), /unknown type 0x47/, FIELD, 0],
  ];
  for (const [name, bytes, words, fes, fei] of cases) {
    const wire = new TargetWire();
    const pdu = bytes(wire);
    wire.inject(pdu);
    assertEquals(wire.connection.state, "failed", name);
    assertFailed(wire, words, fes, fei, pdu);
  }
});

Deno.test("TargetConnection refuses PDUs that the protocol does not allow", () => {
  const command = (wire: TargetWire) => wire.host.command({ cid: 1, opcode: FLUSH });
  const write = (wire: TargetWire) => wire.host.command({ cid: 1, opcode: WRITE, data: pattern(64, 1) });
  const cases: [string, (wire: TargetWire) => Uint8Array<ArrayBuffer>, RegExp, number, number][] = [
    ["second ICReq", ({ host }) => host.icReq(), /second ICReq/, SEQUENCE, 0],
    ["ICResp", (wire) => changed(command(wire), 0, 1), /ICResp, which only controllers send/, FIELD, 0],
    ["C2HTermReq", (wire) => changed(command(wire), 0, 3), /C2HTermReq, which only controllers/, FIELD, 0],
    ["CapsuleResp", (wire) => changed(command(wire), 0, 5), /CapsuleResp, which only controllers/, FIELD, 0],
    ["C2HData", (wire) => changed(command(wire), 0, 7), /C2HData, which only controllers/, FIELD, 0],
    ["R2T", (wire) => changed(command(wire), 0, 9), /R2T, which only controllers/, FIELD, 0],
    ["type 8", (wire) => changed(command(wire), 0, 8), /unknown type 0x08/, FIELD, 0],
    ["type ff", (wire) => changed(command(wire), 0, 255), /unknown type 0xff/, FIELD, 0],
    ["HLEN", (wire) => changed(command(wire), 2, 64), /CapsuleCmd with a header of 64 bytes/, FIELD, 2],
    ["PLEN below HLEN", (wire) => changed(command(wire), 4, 71, 4), /CapsuleCmd of 71 bytes/, FIELD, 4],
    ["PLEN 0", (wire) => changed(command(wire), 4, 0, 4), /CapsuleCmd of 0 bytes/, FIELD, 4],
    ["header digest", (wire) => changed(command(wire), 1, 1), /digest, which was not agreed on/, FIELD, 1],
    ["data digest", (wire) => changed(write(wire), 1, 2), /digest, which was not agreed on/, FIELD, 1],
    ["PDO in the header", (wire) => changed(write(wire), 3, 68), /with its data at 68/, FIELD, 3],
    ["PDO 0", (wire) => changed(write(wire), 3, 0), /with its data at 0/, FIELD, 3],
    ["PDO not aligned", (wire) => changed(write(wire), 3, 74), /with its data at 74/, FIELD, 3],
    ["PDO at the end", (wire) => changed(write(wire), 3, 136), /CapsuleCmd of 136 bytes/, FIELD, 4],
    ["PDO past the end", (wire) => changed(write(wire), 3, 252), /CapsuleCmd of 136 bytes/, FIELD, 4],
    ["SGL shorter", (wire) => changed(write(wire), 40, 60, 4), /64 bytes in a capsule whose SGL names 60/, FIELD, 4],
    ["SGL longer", (wire) => changed(write(wire), 40, 68, 4), /64 bytes in a capsule whose SGL names 68/, FIELD, 4],
    ["SGL without data", (wire) => changed(command(wire), 47, 1).fill(4, 40, 41), /0 bytes in a capsule/, FIELD, 4],
    [
      ...["SGL of nothing", (wire: TargetWire) => changed(changed(write(wire), 47, 0), 40, 0, 4)] as const,
      ...[/64 bytes in a capsule whose SGL does not name them/, FIELD, 4] as const,
    ],
    ["SGL elsewhere", (wire) => changed(write(wire), 47, 0x5a), /whose SGL does not name them/, FIELD, 4],
    ["huge PLEN", (wire) => changed(command(wire), 4, 0xffffffff, 4), /CapsuleCmd with its data at 0/, FIELD, 3],
  ];
  for (const [name, bytes, words, fes, fei] of cases) {
    const wire = new TargetWire().open();
    const pdu = bytes(wire);
    wire.inject(pdu);
    assertEquals(wire.connection.state, "failed", name);
    assertFailed(wire, words, fes, fei, pdu);
  }
});

Deno.test("TargetConnection refuses data that is not what it asked for", () => {
  const data = pattern(1000, 1);
  type Make = (wire: TargetWire, tag: number) => Uint8Array<ArrayBuffer>;
  const cases: [string, Make, RegExp, number, number][] = [
    ["other CID", ({ host }, tag) => host.h2cData(6, { tag, data }), /data of command 6, which was not/, FIELD, 8],
    ["other tag", ({ host }, tag) => host.h2cData(5, { tag: tag + 1, data }), /tag 2 instead of 1/, FIELD, 10],
    ["no data", ({ host }, tag) => host.h2cData(5, { tag, data: new Uint8Array(0), pdo: 24 }), /data at 0/, FIELD, 3],
    ["DATAL 0", ({ host }, tag) => host.h2cData(5, { tag, data, datal: 0 }), /H2CData without data/, FIELD, 16],
    ["DATAL", ({ host }, tag) => host.h2cData(5, { tag, data, datal: 999 }), /999 bytes of data at 24/, FIELD, 4],
    ["DATAL huge", ({ host }, tag) => host.h2cData(5, { tag, data, datal: 2 ** 32 - 1 }), /4294967295/, FIELD, 4],
    ["PDO", ({ host }, tag) => changed(host.h2cData(5, { tag, data }), 3, 20), /with its data at 20/, FIELD, 3],
    ["HLEN", ({ host }, tag) => changed(host.h2cData(5, { tag, data }), 2, 28), /header of 28 bytes/, FIELD, 2],
    ["PLEN", ({ host }, tag) => changed(host.h2cData(5, { tag, data }), 4, 23, 4), /H2CData of 23 bytes/, FIELD, 4],
    ["too long", ({ host }, tag) => host.h2cData(5, { tag, data: pattern(1004, 1) }), /1004 bytes from 0 on/, RANGE, 0],
    [
      "not from 0",
      ({ host }, tag) => host.h2cData(5, { tag, data, offset: 4 }),
      /from 4 on where 1000 from 0/,
      RANGE,
      0,
    ],
    [
      ...["negative", ({ host }: TargetWire, tag: number) => host.h2cData(5, { tag, data, offset: -4 })] as const,
      ...[/from 4294967292 on/, RANGE, 0] as const,
    ],
    ["no LAST", ({ host }, tag) => host.h2cData(5, { tag, data, last: false }), /did not say that its data/, FIELD, 1],
    [
      ...["early LAST", ({ host }: TargetWire, tag: number) => host.h2cData(5, { tag, data: pattern(40, 1) })] as const,
      ...[/its last data with 960 bytes missing/, FIELD, 1] as const,
    ],
  ];
  for (const [name, bytes, words, fes, fei] of cases) {
    const wire = new TargetWire().open();
    wire.inject(wire.host.command({ cid: 5, opcode: WRITE, sgl: { length: 1000 } }));
    wire.connection.fetchData(wire.take());
    const pdu = bytes(wire, r2t(wire.next()).tag);
    wire.inject(pdu);
    assertEquals(wire.connection.state, "failed", name);
    assertFailed(wire, words, fes, fei, pdu);
    assertEquals(wire.connection.inFlight, 0);
  }
});

Deno.test("TargetConnection refuses data out of order, and data after the end", () => {
  const begin = () => {
    const wire = new TargetWire().open();
    wire.inject(wire.host.command({ cid: 5, opcode: WRITE, sgl: { length: 1000 } }));
    wire.connection.fetchData(wire.take());
    const { tag } = r2t(wire.next());
    wire.inject(wire.host.h2cData(5, { tag, data: pattern(400, 1), last: false }));
    return { wire, tag };
  };
  for (const offset of [0, 396, 404, 800]) {
    const { wire, tag } = begin();
    const pdu = wire.host.h2cData(5, { tag, offset, data: pattern(200, 1), last: false });
    wire.inject(pdu);
    assertFailed(wire, new RegExp(`200 bytes from ${offset} on where 600 from 400 on were due`), RANGE, 0, pdu);
  }
  const { wire, tag } = begin();
  wire.inject(wire.host.h2cData(5, { tag, offset: 400, data: pattern(600, 1) }));
  const slot = wire.take();
  const late = wire.host.h2cData(5, { tag, offset: 0, data: pattern(600, 1) });
  wire.inject(late);
  assertFailed(wire, /data of command 5, which was not asked for/, FIELD, 8, late);
  wire.connection.respond(slot, 0);
  assertEquals(wire.connection.inFlight, 0);
});

Deno.test("TargetConnection refuses data before its R2T is on the way, though the tag can be guessed", () => {
  const wire = new TargetWire().open();
  wire.inject(wire.host.command({ cid: 5, opcode: WRITE, sgl: { length: 100 } }));
  const early = wire.host.h2cData(5, { tag: 1, data: pattern(100, 1) });
  wire.connection.fetchData(wire.take());
  wire.inject(early);
  assertFailed(wire, /was not asked for/, FIELD, 8, early);
});

Deno.test("TargetConnection refuses more data in one PDU than it said it takes", () => {
  const bytes = TARGET_MAXH2CDATA + 4;
  const wire = new TargetWire({ slots: 1, slotBytes: bytes }).open();
  wire.inject(wire.host.command({ cid: 5, opcode: WRITE, sgl: { length: bytes } }));
  wire.connection.fetchData(wire.take());
  const pdu = wire.host.h2cData(5, { tag: r2t(wire.next()).tag, data: pattern(bytes, 1) });
  wire.inject(pdu.subarray(0, 24));
  assertFailed(wire, /262148 bytes in one H2CData, which takes 262144/, LIMIT, 0, pdu);
});

Deno.test("TargetConnection refuses more commands than its queue holds", () => {
  const wire = new TargetWire({ slots: 3 }).open();
  for (let cid = 0; cid < 3; cid++) wire.inject(wire.host.command({ cid, opcode: FLUSH }));
  const slots = [wire.take(), wire.take()];
  wire.connection.respond(slots[0], 0);
  // The answer is not on its way: the host cannot know of it.
  const pdu = wire.host.command({ cid: 3, opcode: FLUSH });
  wire.inject(pdu);
  assertFailed(wire, /more commands than the 3 that its queue holds/, SEQUENCE, 0, pdu);
  assertEquals(wire.connection.inFlight, 1);
  wire.connection.drop(slots[1]);
  assertEquals(wire.connection.inFlight, 0);
});

Deno.test("TargetConnection refuses too many commands too when only some of them may wait", () => {
  const wire = new TargetWire({ slots: 2 }).open();
  for (const cid of [1, 2]) wire.inject(wire.host.command({ cid, opcode: FLUSH }));
  wire.connection.respond(wire.take(), 0);
  wire.sendSplit = () => 1;
  wire.sendPiece();
  for (const cid of [3, 4]) wire.inject(wire.host.command({ cid, opcode: FLUSH }));
  assertEquals(wire.connection.state, "ready");
  wire.sendSplit = (most) => most;
  wire.sendPiece();
  assertEquals(wire.connection.state, "failed");
  assertMatch(wire.connection.failure!.reason, /more commands than the 2/);
  assertSilent(wire);
});

Deno.test("TargetConnection fails with the words of the host's H2CTermReq, and does not answer it", () => {
  for (
    const [fes, fei, words] of [
      [1, 3, /invalid PDU header field \(byte 3 of the header\)/],
      [2, 0, /PDU sequence error/],
      [3, 0xdeadbeef, /header digest error \(received 0xdeadbeef\)/],
      [4, 0, /data transfer out of range/],
      [5, 0, /R2T limit exceeded/],
      [6, 8, /unsupported parameter/],
      [99, 0, /unknown fatal error 0x63/],
    ] as const
  ) {
    for (const dgst of [0, 3]) {
      const wire = new TargetWire().open({ dgst });
      wire.inject(wire.host.termReq(fes, fei, new Uint8Array(72)));
      assertMatch(wire.connection.failure!.reason, /^the host ended the connection: /);
      assertMatch(wire.connection.failure!.reason, words);
      assertEquals([wire.connection.failure!.fes, wire.connection.terminationPdu()], [0, null]);
      assertSilent(wire);
    }
  }
  const early = new TargetWire();
  early.inject(early.host.termReq(6, 8));
  assertMatch(early.connection.failure!.reason, /unsupported parameter/);
  for (const [at, value] of [[4, 153], [4, 23], [2, 72]]) {
    const wire = new TargetWire().open();
    wire.inject(changed(wire.host.termReq(1), at, value));
    assertMatch(wire.connection.failure!.reason, /H2CTermReq (of|with a header of) \d+ bytes/);
    assertEquals(wire.connection.terminationPdu(), null);
  }
});

Deno.test("TargetConnection fails when the host or the socket goes away", () => {
  const closed = new TargetWire().open();
  closed.connection.handleClosed();
  assertEquals(closed.connection.failure, { reason: "the host closed the connection", fes: 0, fei: 0 });
  assertEquals(closed.connection.terminationPdu(), null);
  closed.connection.handleTransportError("later");
  assertEquals(closed.connection.failure!.reason, "the host closed the connection");
  const broken = new TargetWire();
  broken.connection.handleTransportError("cannot send: broken pipe");
  assertEquals(broken.connection.failure!.reason, "cannot send: broken pipe");
  assertSilent(broken);
});

Deno.test("TargetConnection takes back commands after a failure, whatever their owner does", () => {
  const wire = new TargetWire().open();
  for (let cid = 0; cid < 6; cid++) {
    wire.inject(wire.host.command({ cid, opcode: cid < 4 ? READ : WRITE, sgl: { length: 512 } }));
  }
  const slots = Array.from({ length: 6 }, () => wire.take());
  wire.connection.respondWithData(slots[0], 512);
  wire.sendSplit = () => 10;
  wire.sendPiece();
  wire.connection.fetchData(slots[4]);
  wire.connection.handleClosed();
  assertEquals(wire.connection.inFlight, 4);
  wire.connection.respond(slots[1], 0);
  wire.connection.respondWithData(slots[2], 512);
  wire.connection.drop(slots[3]);
  wire.connection.drop(slots[4]);
  wire.connection.fetchData(slots[5]);
  assertEquals(wire.connection.inFlight, 0);
  // What the kernel has been given may still come back as sent.
  wire.sendSplit = (most) => most;
  wire.sendPiece();
  assertEquals(wire.connection.inFlight, 0);
  assertSilent(wire);
});

Deno.test("TargetConnection answers a command with a bad data pointer, and goes on", () => {
  const data = (bytes: number) => ({ data: pattern(bytes, 1) });
  const cases: [string, Parameters<TargetWire["host"]["command"]>[0], number][] = [
    ["PRP", { cid: 1, opcode: READ, flags: 0, sgl: { length: 512 } }, 0x02],
    ["metadata SGL", { cid: 1, opcode: READ, flags: 0x80, sgl: { length: 512 } }, 0x02],
    ["PSDT 11b", { cid: 1, opcode: WRITE, flags: 0xc0, ...data(512) }, 0x02],
    ["longer than a buffer", { cid: 1, opcode: READ, sgl: { length: 4097 } }, 0x02],
    ["much longer", { cid: 1, opcode: WRITE, sgl: { length: 0xffffffff } }, 0x02],
    ["more in the capsule than allowed", { cid: 1, opcode: WRITE, ...data(2052) }, 0x0f],
    ["much more in the capsule", { cid: 1, opcode: WRITE, ...data(100_000) }, 0x0f],
    ["offset", { cid: 1, opcode: WRITE, ...data(512), sgl: { address: 64, length: 448 } }, 0x16],
    ["offset past the capsule", { cid: 1, opcode: WRITE, ...data(512), sgl: { address: 512, length: 512 } }, 0x16],
    ["read with a capsule", { cid: 1, opcode: READ, ...data(512) }, 0x11],
    ["flush with data", { cid: 1, opcode: FLUSH, ...data(512) }, 0x0f],
    ["flush with a length", { cid: 1, opcode: FLUSH, sgl: { length: 512 } }, 0x0f],
    ["keyed", { cid: 1, opcode: READ, sgl: { identifier: 0x40, length: 512 } }, 0x11],
    ["segment", { cid: 1, opcode: READ, sgl: { identifier: 0x20, length: 16 } }, 0x11],
    ["address", { cid: 1, opcode: READ, sgl: { identifier: 0x00, length: 512 } }, 0x11],
    [
      "bit bucket with a capsule",
      { cid: 1, opcode: WRITE, ...data(512), sgl: { identifier: 0x10, length: 512 } },
      0x11,
    ],
    ["subtype", { cid: 1, opcode: READ, sgl: { identifier: 0x5b, length: 512 } }, 0x11],
  ];
  for (const dgst of [0, 3]) {
    for (const [name, fields, status] of cases) {
      const wire = new TargetWire().open({ dgst });
      wire.inject(wire.host.command(fields), wire.host.command({ cid: 2, opcode: FLUSH }));
      assertEquals([wire.connection.failure, wire.connection.inFlight], [null, 2], name);
      const slot = wire.take();
      assertEquals([wire.connection.commands.cid[slot], wire.connection.pollCommand()], [2, -1], name);
      wire.connection.respond(slot, 0);
      assertEquals(response(wire.next()), { cid: 1, status: status | DNR, dw0: 0, dw1: 0, sqhd: 0xffff }, name);
      assertEquals(response(wire.next()).cid, 2);
      assertEquals(wire.connection.inFlight, 0);
      wire.checkArena();
    }
  }
});

Deno.test("TargetConnection takes every way to say that there is no data", () => {
  for (const opcode of [FLUSH, READ, WRITE]) {
    for (const sgl of [{ identifier: 0 }, { identifier: 0x5a }, { identifier: 1 }]) {
      const wire = new TargetWire().open();
      wire.inject(wire.host.command({ cid: 1, opcode, sgl: { ...sgl, length: 0 } }));
      const slot = wire.take();
      assertEquals([wire.connection.commands.dataBytes[slot], wire.connection.commands.hasData[slot]], [0, 0]);
    }
  }
});

Deno.test("TargetConnection answers a CID that is in flight with Command ID Conflict", () => {
  const wire = new TargetWire({ slots: 3 }).open();
  wire.inject(wire.host.command({ cid: 7, opcode: READ, sgl: { length: 512 } }));
  const slot = wire.take();
  wire.inject(wire.host.command({ cid: 7, opcode: WRITE, data: pattern(512, 7) }));
  assertEquals(wire.connection.pollCommand(), -1);
  assertEquals(response(wire.next()), { cid: 7, status: 3, dw0: 0, dw1: 0, sqhd: 0xffff });
  assertEquals(wire.connection.inFlight, 1);
  // The first command is not touched by it, and its CID is in flight still.
  wire.inject(wire.host.command({ cid: 7, opcode: FLUSH }));
  assertEquals(response(wire.next()).status, 3);
  wire.fill(slot, pattern(512, 1));
  wire.connection.respondWithData(slot, 512);
  assertEquals(wire.next().data, pattern(512, 1));
  // Answered: it may come again.
  wire.inject(wire.host.command({ cid: 7, opcode: FLUSH }));
  wire.connection.respond(wire.take(), 0);
  assertEquals(response(wire.next()).status, 0);
  wire.checkArena();
});

Deno.test("TargetConnection takes any CID, and each of them again", () => {
  const wire = new TargetWire({ slots: 2 }).open();
  for (const cid of [0, 1, 0xffff, 0x8000, 0, 0xffff, 0xffff, 1]) {
    wire.inject(wire.host.command({ cid, opcode: FLUSH }));
    wire.connection.respond(wire.take(), 0);
    assertEquals(response(wire.next()).cid, cid);
  }
});

// ── digests ─────────────────────────────────────────────────────────────────────────────────────────────────────────

Deno.test("TargetConnection fails on a wrong header digest, wherever the header was changed", () => {
  for (const at of [8, 9, 12, 40, 71, 72, 75, 3, 4]) {
    const wire = new TargetWire().open({ dgst: 1 });
    const pdu = wire.host.command({ cid: 1, opcode: READ, sgl: { length: 512 } });
    pdu[at] ^= 0x10;
    wire.inject(pdu);
    const received = new DataView(pdu.buffer).getUint32(72, true);
    assertFailed(wire, /CapsuleCmd with a wrong header digest/, HEADER_DIGEST, received, pdu);
  }
  const wire = new TargetWire().open({ dgst: 1 });
  wire.inject(wire.host.command({ cid: 5, opcode: WRITE, sgl: { length: 100 } }));
  wire.connection.fetchData(wire.take());
  const pdu = wire.host.h2cData(5, { tag: r2t(wire.next()).tag, data: pattern(100, 1) });
  pdu[25] ^= 1;
  wire.inject(pdu);
  const received = new DataView(pdu.buffer).getUint32(24, true);
  assertFailed(wire, /H2CData with a wrong header digest/, HEADER_DIGEST, received, pdu);
});

Deno.test("TargetConnection fails when a digest is missing that was agreed on", () => {
  for (const [dgst, which] of [[1, "header"], [2, "data"]] as const) {
    const wire = new TargetWire().open({ dgst });
    wire.host.headerDigest = wire.host.dataDigest = false;
    const pdu = wire.host.command({ cid: 1, opcode: WRITE, data: pattern(64, 1) });
    wire.inject(pdu);
    assertFailed(wire, new RegExp(`without the ${which} digest that was agreed on`), FIELD, 1, pdu);
  }
  const plen = new TargetWire().open({ dgst: 3 });
  const pdu = plen.host.command({ cid: 1, opcode: FLUSH });
  const short = changed(pdu, 4, 72, 4);
  new DataView(short.buffer).setUint32(72, naiveCrc32c(short.subarray(0, 72)), true);
  plen.inject(short);
  assertFailed(plen, /CapsuleCmd of 72 bytes/, FIELD, 4, short);
});

Deno.test("TargetConnection takes a flag of data digests on a command without data", () => {
  const wire = new TargetWire().open({ dgst: 2 });
  wire.inject(changed(wire.host.command({ cid: 1, opcode: FLUSH }), 1, 2));
  assertEquals([wire.take() >= 0, wire.connection.failure], [true, null]);
});

Deno.test("TargetConnection answers a wrong data digest in a capsule with Transient Transport Error", () => {
  for (const dgst of [2, 3]) {
    for (const back of [1, 4, 5, 512 + 4]) {
      const wire = new TargetWire().open({ dgst });
      const pdu = wire.host.command({ cid: 1, opcode: WRITE, data: pattern(512, 1) });
      pdu[pdu.length - back] ^= 0x80;
      wire.inject(pdu, wire.host.command({ cid: 2, opcode: WRITE, data: pattern(512, 2) }));
      const slot = wire.take();
      assertEquals(wire.connection.commands.cid[slot], 2);
      assertEquals(response(wire.next()), { cid: 1, status: 0x22, dw0: 0, dw1: 0, sqhd: 0xffff });
      assertEquals(wire.connection.failure, null);
      wire.checkArena();
    }
  }
});

Deno.test("TargetConnection answers a wrong data digest of H2CData once all data is in", () => {
  for (const bad of [0, 1, 2]) {
    const wire = new TargetWire().open({ dgst: 3 });
    wire.inject(wire.host.command({ cid: 1, opcode: WRITE, sgl: { length: 1200 } }));
    wire.connection.fetchData(wire.take());
    const { tag } = r2t(wire.next());
    for (let i = 0; i < 3; i++) {
      assertEquals(wire.pdus.length, 0);
      const pdu = wire.host.h2cData(1, { tag, offset: i * 400, data: pattern(400, i), last: i === 2 });
      if (i === bad) pdu[pdu.length - 10] ^= 1;
      wire.inject(pdu);
    }
    assertEquals(wire.connection.pollCommand(), -1);
    assertEquals(response(wire.next()).status, 0x22);
    assertEquals([wire.connection.inFlight, wire.connection.failure], [0, null]);
    // The same again, right.
    wire.inject(wire.host.command({ cid: 1, opcode: WRITE, sgl: { length: 400 } }));
    const slot = wire.take();
    wire.connection.fetchData(slot);
    wire.inject(wire.host.h2cData(1, { tag: r2t(wire.next()).tag, data: pattern(400, 9) }));
    assertEquals([wire.take(), wire.buffer(slot, 400)], [slot, pattern(400, 9)]);
    wire.checkArena();
  }
});

Deno.test("TargetConnection spoils the next digest when it is told to, and no other", () => {
  const read = (wire: TargetWire) => {
    wire.inject(wire.host.command({ cid: 1, opcode: READ, sgl: { length: 100 } }));
    const slot = wire.take();
    wire.fill(slot, pattern(100, 1));
    wire.connection.respondWithData(slot, 100);
    const { headerDigestOk, dataDigestOk } = wire.next();
    return [headerDigestOk, dataDigestOk];
  };
  for (const [dgst, header, data] of [[0, true, true], [1, false, true], [2, true, false], [3, true, false]] as const) {
    const wire = new TargetWire().open({ dgst });
    assertEquals(read(wire), [true, true]);
    wire.connection.spoilNextDigest();
    assertEquals(read(wire), [header, data]);
    assertEquals(read(wire), [true, true]);
  }
  const wire = new TargetWire().open({ dgst: 3 });
  wire.connection.spoilNextDigest();
  wire.inject(wire.host.command({ cid: 1, opcode: FLUSH }));
  wire.connection.respond(wire.take(), 0);
  assertEquals(wire.next().headerDigestOk, false);
});

Deno.test("TargetConnection takes no digest on the IC exchange nor on H2CTermReq", () => {
  const wire = new TargetWire().open({ dgst: 3 });
  assertEquals([wire.host.headerDigest, wire.host.dataDigest], [true, true]);
  wire.inject(wire.host.termReq(2));
  assertMatch(wire.connection.failure!.reason, /PDU sequence error/);
});

Deno.test("naiveCrc32c() knows the checksum of the digits, of zeroes and of ones", () => {
  // The check value of CRC-32C, and two examples of RFC 3720, appendix B.4.
  assertEquals(naiveCrc32c(new TextEncoder().encode("123456789")), 0xe3069283);
  assertEquals(naiveCrc32c(new Uint8Array(32)), 0x8a9136aa);
  assertEquals(naiveCrc32c(new Uint8Array(32).fill(0xff)), 0x62a8ab43);
});
