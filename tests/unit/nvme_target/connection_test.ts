import { assert, assertEquals, assertThrows } from "@std/assert";
import { AssertionFailure } from "../../../src/base/assert.ts";
import { TransferDirection } from "../../../src/nvme_target/command_slots.ts";
import { TARGET_MAXH2CDATA } from "../../../src/nvme_target/pdu_writer.ts";
import { c2hData, r2t, response, type TargetPdu } from "./naive_host.ts";
import { NO_FLOW_CONTROL, pattern, TargetWire } from "./target_wire.ts";

const READ = 0x02;
const WRITE = 0x01;
const FLUSH = 0x00;
const FLOW_CONTROL = { sqEntries: 8, sqFlowControl: true, sqHead: 1 };

/** Bytes as a list of hexadecimal numbers; "×N" repeats the last one N times in all. */
function bytesOf(text: string): Uint8Array<ArrayBuffer> {
  const bytes: number[] = [];
  for (const word of text.trim().split(/\s+/)) {
    if (!word.startsWith("×")) bytes.push(parseInt(word, 16));
    else for (let i = Number(word.slice(1)); i > 1; i--) bytes.push(bytes.at(-1)!);
  }
  return new Uint8Array(bytes);
}

Deno.test("TargetConnection speaks the bytes of the specification: exchange, write by R2T, read, response", () => {
  const wire = new TargetWire({ slotBytes: 512 });
  wire.parses = false;
  const exchange = (bytes: string) => {
    wire.sent = [];
    wire.send(bytesOf(bytes));
    wire.pump();
    return new Uint8Array(wire.sent);
  };
  const answer = () => {
    wire.sent = [];
    wire.pump();
    return new Uint8Array(wire.sent);
  };
  // ICReq: type 0, HLEN 128, PLEN 128, PFV 0, HPDA 0, no digests, one R2T. ICResp: MAXH2CDATA 262144.
  assertEquals(
    exchange("00 00 80 00 80 00 00 00 00 ×120"),
    bytesOf("01 00 80 00 80 00 00 00 00 00 00 00 00 00 04 00 00 ×112"),
  );
  wire.connection.setQueue({ sqEntries: 4, sqFlowControl: true, sqHead: 3 });
  // A write of 4 bytes, CID 0201h, by a transport data block.
  const command = (opcode: string, cid: string) =>
    `04 00 48 00 48 00 00 00 ${opcode} 40 ${cid} 01 00 00 00 00 ×24 04 00 00 00 00 00 00 5a 00 ×24`;
  assertEquals(exchange(command("01", "01 02")), new Uint8Array(0));
  const write = wire.take();
  assertEquals(wire.connection.commands.dataBytes[write], 4);
  wire.connection.fetchData(write);
  assertEquals(answer(), bytesOf("09 00 18 00 18 00 00 00 01 02 01 00 00 00 00 00 04 00 00 00 00 00 00 00"));
  exchange("06 04 18 18 1c 00 00 00 01 02 01 00 00 00 00 00 04 00 00 00 00 00 00 00 ca fe ba be");
  assertEquals(wire.take(), write);
  assertEquals(wire.buffer(write, 4), bytesOf("ca fe ba be"));
  wire.connection.respond(write, 0, 0x11223344, 0x55667788);
  // SQHD: the fourth entry was taken, which is the last.
  assertEquals(answer(), bytesOf("05 00 18 00 18 00 00 00 44 33 22 11 88 77 66 55 00 00 00 00 01 02 00 00"));
  // A read of 4 bytes, CID ffffh: C2HData with LAST_PDU, then the response with SQHD 1.
  exchange(command("02", "ff ff"));
  const read = wire.take();
  wire.fill(read, bytesOf("de ad be ef"));
  wire.connection.respondWithData(read, 4);
  assertEquals(
    answer(),
    bytesOf(`07 04 18 18 1c 00 00 00 ff ff 00 00 00 00 00 00 04 00 00 00 00 00 00 00 de ad be ef
      05 00 18 00 18 00 00 00 00 ×8 01 00 00 00 ff ff 00 00`),
  );
  // An error: LBA Out of Range with Do Not Retry, 4080h, shifted by the phase tag.
  exchange(command("02", "05 00"));
  wire.connection.respond(wire.take(), 0x4080);
  assertEquals(answer(), bytesOf("05 00 18 00 18 00 00 00 00 ×8 02 00 00 00 05 00 00 81"));
  wire.checkArena();
});

Deno.test("TargetConnection agrees on the digests that are asked for and offered", () => {
  for (
    const [offered, asked, agreed] of [[3, 0, 0], [3, 1, 1], [3, 2, 2], [3, 3, 3], [0, 3, 0], [1, 3, 1], [2, 3, 2]]
  ) {
    const wire = new TargetWire({ digests: { header: (offered & 1) !== 0, data: (offered & 2) !== 0 } });
    wire.open({ dgst: asked, hpda: 3, maxr2t: 6 });
    assertEquals([wire.host.headerDigest, wire.host.dataDigest], [(agreed & 1) !== 0, (agreed & 2) !== 0]);
    assertEquals(wire.connection.transfer, {
      headerDigest: (agreed & 1) !== 0,
      dataDigest: (agreed & 2) !== 0,
      hostDataAlignment: 16,
      hostR2tsMax: 7,
    });
  }
});

Deno.test("TargetConnection calculates no digest that was not agreed on", () => {
  const wire = new TargetWire().open();
  wire.inject(wire.host.command({ cid: 1, opcode: WRITE, data: pattern(512, 1) }));
  wire.connection.respond(wire.take(), 0);
  assertEquals(response(wire.next()).status, 0);
  assertEquals(wire.crcs, 0);
});

Deno.test("TargetConnection aligns the data of C2HData as HPDA asks, whatever it asks", () => {
  for (let hpda = 0; hpda < 32; hpda++) {
    for (const dgst of [0, 1, 2, 3]) {
      const wire = new TargetWire().open({ hpda, dgst });
      wire.inject(wire.host.command({ cid: 7, opcode: READ, sgl: { length: 1000 } }));
      const slot = wire.take();
      wire.fill(slot, pattern(1000, hpda));
      wire.connection.respondWithData(slot, 1000);
      const pdu = wire.next();
      const alignment = 4 * (hpda + 1);
      assertEquals(pdu.pdo, Math.ceil((24 + (dgst & 1 ? 4 : 0)) / alignment) * alignment);
      assertEquals([c2hData(pdu).last, c2hData(pdu).success], [true, true]);
      assertEquals(pdu.data, pattern(1000, hpda));
      assert(pdu.headerDigestOk && pdu.dataDigestOk);
      assertEquals(wire.pdus, []);
    }
  }
});

Deno.test("TargetConnection hands up a command as it was sent, and where its data is", () => {
  const wire = new TargetWire().open();
  const dwords = Object.fromEntries(Array.from({ length: 6 }, (_, i) => [10 + i, 0xa0b0c0d0 + i]));
  wire.inject(
    wire.host.command({ cid: 0xbeef, opcode: READ, sgl: { length: 512 }, dwords: { ...dwords, 1: 0xfffffffe } }),
  );
  const slot = wire.take();
  const { sqe, cid, direction, dataBytes, dataOffset, hasData } = wire.connection.commands;
  assertEquals([...sqe.subarray(slot * 16, slot * 16 + 16)], [
    ...[0xbeef4002, 0xfffffffe, 0, 0, 0, 0, 0, 0, 512, 0x5a000000],
    ...[0xa0b0c0d0, 0xa0b0c0d1, 0xa0b0c0d2, 0xa0b0c0d3, 0xa0b0c0d4, 0xa0b0c0d5],
  ]);
  assertEquals([cid[slot], direction[slot], dataBytes[slot], hasData[slot]], [
    ...[0xbeef, TransferDirection.FROM_CONTROLLER, 512, 0],
  ]);
  assertEquals(dataOffset[slot], wire.offset(slot));
  assertEquals(wire.connection.pollCommand(), -1);
  assertEquals(wire.connection.inFlight, 1);
});

Deno.test("TargetConnection takes data in the capsule, of any length and at any place behind the header", () => {
  const wire = new TargetWire({ inCapsuleBytes: 2048 }).open();
  let cid = 0;
  for (const bytes of [1, 3, 4, 511, 512, 1000, 2047, 2048]) {
    for (const pdo of [72, 76, 128, 252]) {
      wire.inject(wire.host.command({ cid: ++cid, opcode: WRITE, data: pattern(bytes, cid), pdo }));
      const slot = wire.take();
      assertEquals([wire.connection.commands.hasData[slot], wire.connection.commands.dataBytes[slot]], [1, bytes]);
      assertEquals(wire.buffer(slot, bytes), pattern(bytes, cid));
      wire.connection.respond(slot, 0, cid);
      assertEquals(response(wire.next()), { cid, status: 0, dw0: cid, dw1: 0, sqhd: 0xffff });
      wire.checkArena();
    }
  }
});

Deno.test("TargetConnection knows the direction of Fabrics commands from FCTYPE", () => {
  const wire = new TargetWire({ inCapsuleBytes: 8192, slotBytes: 8192, receiveBytes: 16384 }).open();
  const { direction, hasData, dataBytes } = wire.connection.commands;
  wire.inject(wire.host.command({ cid: 1, opcode: 0x7f, fctype: 1, data: pattern(1024, 1) }));
  const connect = wire.take();
  assertEquals([direction[connect], hasData[connect], dataBytes[connect]], [TransferDirection.TO_CONTROLLER, 1, 1024]);
  wire.inject(wire.host.command({ cid: 2, opcode: 0x7f, fctype: 4, sgl: { length: 0 } }));
  const get = wire.take();
  assertEquals([direction[get], hasData[get], dataBytes[get]], [TransferDirection.NONE, 0, 0]);
});

Deno.test("TargetConnection asks for data by one R2T, and takes it in any number of PDUs", () => {
  const bytes = 3 * TARGET_MAXH2CDATA + 12;
  for (const piece of [TARGET_MAXH2CDATA, TARGET_MAXH2CDATA - 4, 100_000]) {
    const wire = new TargetWire({ slotBytes: bytes, slots: 2, inCapsuleBytes: 0 }).open();
    const data = pattern(bytes, piece);
    wire.inject(wire.host.command({ cid: 9, opcode: WRITE, sgl: { length: bytes } }));
    const slot = wire.take();
    wire.connection.fetchData(slot);
    const asked = r2t(wire.next());
    assertEquals([asked.cid, asked.offset, asked.bytes, wire.pdus.length], [9, 0, bytes, 0]);
    for (let offset = 0; offset < bytes; offset += piece) {
      assertEquals(wire.connection.pollCommand(), -1);
      const part = data.subarray(offset, offset + piece);
      const last = offset + part.length === bytes;
      wire.inject(
        wire.host.h2cData(9, { tag: asked.tag, offset, data: part, last, pdo: 24 + (offset % 64) * 4 % 232 }),
      );
    }
    assertEquals(wire.take(), slot);
    assertEquals(wire.connection.commands.hasData[slot], 1);
    assertEquals(wire.buffer(slot), data);
    wire.connection.respond(slot, 0);
    assertEquals(response(wire.next()).cid, 9);
    assertEquals(wire.connection.inFlight, 0);
    wire.checkArena();
  }
});

Deno.test("TargetConnection takes data of several commands in turns", () => {
  const wire = new TargetWire({ inCapsuleBytes: 0 }).open();
  const tags = new Map<number, number>();
  for (const cid of [5, 6, 7]) {
    wire.inject(wire.host.command({ cid, opcode: WRITE, sgl: { length: 4096 } }));
    wire.connection.fetchData(wire.take());
  }
  wire.pump();
  for (const pdu of wire.pdus.splice(0)) tags.set(r2t(pdu).cid, r2t(pdu).tag);
  assertEquals(tags.size, 3);
  assertEquals(new Set(tags.values()).size, 3);
  for (let offset = 0; offset < 4096; offset += 1024) {
    for (const cid of [6, 7, 5]) {
      const data = pattern(4096, cid).subarray(offset, offset + 1024);
      wire.inject(wire.host.h2cData(cid, { tag: tags.get(cid)!, offset, data, last: offset === 3072 }));
    }
  }
  for (const cid of [6, 7, 5]) {
    const slot = wire.take();
    assertEquals(wire.connection.commands.cid[slot], cid);
    assertEquals(wire.buffer(slot), pattern(4096, cid));
  }
  wire.checkArena();
});

Deno.test("TargetConnection ends a read with SUCCESS only without flow control and without results", () => {
  for (
    const [sqFlowControl, dw0, dw1, success] of [
      [false, 0, 0, true],
      [true, 0, 0, false],
      [false, 1, 0, false],
      [false, 0, 0x80000000, false],
    ] as const
  ) {
    const wire = new TargetWire().open({}, { ...FLOW_CONTROL, sqFlowControl });
    wire.inject(wire.host.command({ cid: 3, opcode: READ, sgl: { length: 100 } }));
    const slot = wire.take();
    wire.fill(slot, pattern(100, 1));
    wire.connection.respondWithData(slot, 100, dw0, dw1);
    const pdu = wire.next();
    assertEquals(c2hData(pdu), { cid: 3, offset: 0, last: true, success });
    if (!success) {
      const sqhd = sqFlowControl ? 2 : 0xffff;
      assertEquals(response(wire.next()), { cid: 3, status: 0, dw0, dw1, sqhd });
    }
    assertEquals([wire.pdus.length, wire.connection.inFlight], [0, 0]);
  }
});

Deno.test("TargetConnection answers a read of nothing with a response", () => {
  const wire = new TargetWire().open();
  wire.inject(wire.host.command({ cid: 3, opcode: READ, sgl: { length: 0 } }));
  wire.connection.respondWithData(wire.take(), 0);
  assertEquals(response(wire.next()).status, 0);
});

Deno.test("TargetConnection tells where the head of the submission queue is", () => {
  const wire = new TargetWire().open({}, { sqEntries: 5, sqFlowControl: true, sqHead: 1 });
  const heads: number[] = [];
  for (let cid = 0; cid < 12; cid++) {
    wire.inject(wire.host.command({ cid, opcode: FLUSH }));
    wire.connection.respond(wire.take(), 0);
    heads.push(response(wire.next()).sqhd);
  }
  assertEquals(heads, [2, 3, 4, 0, 1, 2, 3, 4, 0, 1, 2, 3]);
  assertEquals(wire.connection.queue, { sqEntries: 5, sqFlowControl: true, sqHead: 3 });
});

Deno.test("TargetConnection sends all answers of a turn in one gathering send", () => {
  const wire = new TargetWire({ slots: 64, slotBytes: 4096, receiveBytes: 16384 }).open();
  for (let cid = 0; cid < 64; cid++) wire.send(wire.host.command({ cid, opcode: READ, sgl: { length: 4096 } }));
  while (wire.receivePiece());
  for (let cid = 0; cid < 64; cid++) {
    const slot = wire.take();
    wire.fill(slot, pattern(4096, cid));
    wire.connection.respondWithData(slot, 4096);
  }
  wire.gathered = [];
  wire.pump();
  assertEquals(wire.gathered, [128]);
  assertEquals(wire.pdus.map((pdu) => c2hData(pdu).cid), Array.from({ length: 64 }, (_, cid) => cid));
  wire.pdus.forEach((pdu, cid) => assertEquals(pdu.data, pattern(4096, cid)));
});

Deno.test("TargetConnection gathers no more than the kernel takes, and bounds what one send carries", () => {
  for (const [slots, bytes] of [[1024, 512], [1024, 4096], [16, 300_000]]) {
    const wire = new TargetWire({ slots, slotBytes: bytes, receiveBytes: 131072 }).open({ dgst: 0, hpda: 31 });
    wire.host.receive = () => [];
    for (let cid = 0; cid < slots; cid++) wire.inject(wire.host.command({ cid, opcode: READ, sgl: { length: bytes } }));
    for (let i = 0; i < slots; i++) wire.connection.respondWithData(wire.take(), bytes);
    wire.gathered = [];
    let total = 0;
    wire.sendSplit = (most) => {
      assert(most <= (1 << 20) + 262144 + 65536, `${most} bytes in one send`);
      total += most;
      return most;
    };
    wire.pump();
    assert(total > slots * bytes && wire.gathered.length > 1);
    assertEquals([wire.connection.inFlight, wire.connection.hasMoreToSend], [0, false]);
  }
});

Deno.test("TargetConnection sends a small answer before the rest of large data that was asked for earlier", () => {
  const large = 4 << 20;
  const wire = new TargetWire({ slots: 2, slotBytes: large }).open();
  wire.inject(wire.host.command({ cid: 1, opcode: READ, sgl: { length: large } }));
  const slot = wire.take();
  wire.fill(slot, pattern(large, 3));
  wire.connection.respondWithData(slot, large);
  wire.inject(wire.host.command({ cid: 2, opcode: FLUSH }));
  wire.connection.respond(wire.take(), 0);
  wire.pump();
  const order = wire.pdus.map((pdu) => pdu.type);
  assert(order.indexOf(5) > 0 && order.indexOf(5) < 3, order.join());
  const read = wire.pdus.filter((pdu) => pdu.type === 7);
  let offset = 0;
  for (const pdu of read) {
    assertEquals(c2hData(pdu), {
      ...{ cid: 1, offset, last: offset + pdu.data.length === large, success: offset + pdu.data.length === large },
    });
    assertEquals(pdu.data, wire.buffer(slot).subarray(offset, offset + pdu.data.length));
    offset += pdu.data.length;
  }
  assertEquals(offset, large);
});

Deno.test("TargetConnection keeps a slot until its answer is sent, though its CID may come again before", () => {
  const wire = new TargetWire({ slots: 2 }).open();
  wire.inject(wire.host.command({ cid: 8, opcode: READ, sgl: { length: 4096 } }));
  const first = wire.take();
  wire.fill(first, pattern(4096, 1));
  wire.connection.respondWithData(first, 4096);
  wire.sendSplit = (most) => most - 1;
  wire.sendPiece();
  assert(wire.connection.sendBuffer.isSending);
  // The host has nearly all of it; the same CID now is a new command, in another slot.
  wire.inject(wire.host.command({ cid: 8, opcode: READ, sgl: { length: 4096 } }));
  const second = wire.take();
  assert(second !== first && wire.connection.inFlight === 2);
  wire.sendSplit = (most) => most;
  wire.sendPiece();
  assertEquals(wire.connection.inFlight, 1);
  // The end of the first answer does not make the CID free.
  wire.inject(wire.host.command({ cid: 8, opcode: FLUSH }));
  assertEquals(wire.connection.pollCommand(), -1);
  assertEquals(response(wire.pdus.length > 1 ? wire.pdus[1] : (wire.next(), wire.next())).status, 3);
  assertEquals(wire.connection.failure, null);
});

Deno.test("TargetConnection lets a command wait for the slot of an answer that is being sent", () => {
  const wire = new TargetWire({ slots: 2, receiveBytes: 256 }).open();
  for (const cid of [1, 2]) wire.inject(wire.host.command({ cid, opcode: READ, sgl: { length: 4096 } }));
  const slots = [wire.take(), wire.take()];
  for (const slot of slots) wire.fill(slot, pattern(4096, slot));
  for (const slot of slots) wire.connection.respondWithData(slot, 4096);
  wire.sendSplit = (most) => most - 1;
  wire.sendPiece();
  // Both answers are under way: both slots are in use, and the host may send two commands and more bytes than fit.
  wire.inject(
    wire.host.command({ cid: 3, opcode: FLUSH }),
    wire.host.command({ cid: 4, opcode: WRITE, data: pattern(512, 4) }),
  );
  assertEquals([wire.connection.failure, wire.connection.pollCommand()], [null, -1]);
  assert(wire.pending > 0, "The window is full");
  wire.connection.prepareReceive();
  assertEquals(wire.connection.receiveBuffer.segments, 0);
  wire.sendSplit = (most) => most;
  wire.pump();
  const flush = wire.take();
  const write = wire.take();
  assertEquals(wire.buffer(write, 512), pattern(512, 4));
  wire.connection.respond(flush, 0);
  wire.connection.respond(write, 0);
  wire.pump();
  assertEquals(wire.pdus.map((pdu) => pdu.type === 7 ? c2hData(pdu).cid : response(pdu).cid), [1, 2, 3, 4]);
  assertEquals(wire.connection.inFlight, 0);
});

Deno.test("TargetConnection moves nothing in the window while a receive is under way", () => {
  const wire = new TargetWire({ slots: 1, receiveBytes: 512 }).open();
  const { connection } = wire;
  wire.inject(wire.host.command({ cid: 1, opcode: FLUSH }));
  connection.respond(wire.take(), 0);
  assert(connection.pollSend());
  const second = wire.host.command({ cid: 2, opcode: FLUSH });
  const third = wire.host.command({ cid: 3, opcode: FLUSH });
  wire.inject(second);
  // The second command waits for the slot. A receive is given to the kernel, then the send ends, then bytes come.
  connection.prepareReceive();
  const at = connection.receiveBuffer.offset[0];
  assertEquals(connection.pollCommand(), -1);
  const bytes = connection.sendBuffer.segmentBytes(0);
  assert(connection.handleSent(bytes));
  connection.respond(wire.take(), 0);
  wire.memory.set(third, at);
  assert(connection.pollSend());
  connection.handleReceived(third.length);
  assert(connection.handleSent(bytes));
  const slot = wire.take();
  assertEquals(connection.commands.cid[slot], 3);
});

Deno.test("TargetConnection drops a command without an answer", () => {
  const wire = new TargetWire({ slots: 1 }).open();
  wire.inject(wire.host.command({ cid: 1, opcode: READ, sgl: { length: 4096 } }));
  wire.connection.drop(wire.take());
  assertEquals(wire.connection.inFlight, 0);
  // While its data is being fetched: once that is in.
  wire.inject(wire.host.command({ cid: 1, opcode: WRITE, sgl: { length: 100 } }));
  const slot = wire.take();
  wire.connection.fetchData(slot);
  wire.connection.drop(slot);
  const { tag } = r2t(wire.next());
  assertEquals(wire.connection.inFlight, 1);
  wire.inject(wire.host.h2cData(1, { tag, data: pattern(100, 1) }));
  assertEquals([wire.connection.inFlight, wire.connection.pollCommand()], [0, -1]);
  wire.inject(wire.host.command({ cid: 1, opcode: FLUSH }));
  wire.connection.respond(wire.take(), 0);
  assertEquals(response(wire.next()).cid, 1);
});

Deno.test("TargetConnection goes on where another has settled things", () => {
  const first = new TargetWire().open({ dgst: 3, hpda: 7 }, { sqEntries: 32, sqFlowControl: true, sqHead: 1 });
  const second = new TargetWire();
  second.connection.adopt(first.connection.transfer, first.connection.queue);
  Object.assign(second.host, { headerDigest: true, dataDigest: true });
  second.inject(second.host.command({ cid: 4, opcode: READ, sgl: { length: 64 } }));
  const slot = second.take();
  second.fill(slot, pattern(64, 1));
  second.connection.respondWithData(slot, 64);
  const data = second.next();
  assertEquals([data.pdo, data.headerDigestOk, data.dataDigestOk, c2hData(data).success], [32, true, true, false]);
  assertEquals(response(second.next()).sqhd, 2);
  assertThrows(() => second.connection.adopt(first.connection.transfer, NO_FLOW_CONTROL), AssertionFailure);
});

Deno.test("TargetConnection asserts that owners keep to their commands", () => {
  const wire = new TargetWire().open();
  const { connection } = wire;
  wire.inject(wire.host.command({ cid: 1, opcode: READ, sgl: { length: 512 } }));
  const slot = wire.take();
  assertThrows(() => connection.respondWithData(slot, 513), AssertionFailure);
  assertThrows(() => connection.fetchData(slot), AssertionFailure);
  assertThrows(() => connection.respond(slot, 0x8000), AssertionFailure);
  assertThrows(() => connection.respond(slot + 1, 0), AssertionFailure);
  connection.respond(slot, 0);
  assertThrows(() => connection.respond(slot, 0), AssertionFailure);
  assertThrows(() => connection.setQueue({ sqEntries: 4, sqFlowControl: true, sqHead: 4 }), AssertionFailure);
  assertThrows(() => new TargetWire().connection.transfer, AssertionFailure);
});

Deno.test("TargetConnection takes and answers a session at every split of its bytes", () => {
  for (const dgst of [0, 3]) {
    const script = record(dgst);
    for (let cut = 1; cut < script.length; cut++) {
      const wire = new TargetWire({ inCapsuleBytes: 200, receiveBytes: 256, slotBytes: 256 });
      Object.assign(wire.host, { headerDigest: dgst === 3, dataDigest: dgst === 3 });
      const answers: TargetPdu[] = [];
      for (const part of [script.subarray(0, cut), script.subarray(cut)]) {
        wire.send(part);
        serve(wire);
        answers.push(...wire.pdus.splice(0));
      }
      assertEquals(wire.connection.failure, null, `cut at ${cut}`);
      assertEquals(summary(answers), SESSION, `cut at ${cut}`);
      assertEquals(wire.connection.isMidPdu, false);
      wire.checkArena();
    }
  }
});

Deno.test("TargetConnection takes a session byte by byte, and sends one so", () => {
  for (const dgst of [0, 1, 2, 3]) {
    const wire = new TargetWire({ inCapsuleBytes: 200, receiveBytes: 256, slotBytes: 256 });
    Object.assign(wire.host, { headerDigest: (dgst & 1) !== 0, dataDigest: (dgst & 2) !== 0 });
    wire.receiveSplit = () => 1;
    wire.sendSplit = () => 1;
    wire.send(record(dgst));
    serve(wire);
    assertEquals(summary(wire.pdus), SESSION);
    wire.checkArena();
  }
});

const SESSION = ["ICResp", "R2T 2 100", "write 1 ok", "write 2 ok", "read 3 ok", "flush 4 ok"];

/** All that a host sends in a session; the tag of the only R2T is 1, which the target begins with. */
function record(dgst: number): Uint8Array<ArrayBuffer> {
  const { host } = new TargetWire();
  const icReq = host.icReq({ dgst });
  Object.assign(host, { headerDigest: (dgst & 1) !== 0, dataDigest: (dgst & 2) !== 0 });
  const parts = [
    icReq,
    host.command({ cid: 2, opcode: WRITE, sgl: { length: 100 } }),
    host.command({ cid: 1, opcode: WRITE, data: pattern(77, 1), pdo: 80 }),
    host.h2cData(2, { tag: 1, data: pattern(100, 2).subarray(0, 60), last: false, pdo: 32 }),
    host.h2cData(2, { tag: 1, data: pattern(100, 2).subarray(60), offset: 60 }),
    host.command({ cid: 3, opcode: READ, sgl: { length: 50 } }),
    host.command({ cid: 4, opcode: FLUSH }),
  ];
  return new Uint8Array(parts.flatMap((part) => [...part]));
}

/** Moves bytes and answers commands; a host's H2CData waits until the R2T is on its way. */
function serve(wire: TargetWire): void {
  const { connection } = wire;
  const { commands } = connection;
  const limit = 128 + 72 + (wire.host.headerDigest ? 4 : 0);
  let moved = true;
  while (moved) {
    moved = wire.sendPiece();
    for (let slot = connection.pollCommand(); slot >= 0; slot = connection.pollCommand(), moved = true) {
      const opcode = commands.sqe[slot * 16] & 0xff;
      const bytes = commands.dataBytes[slot];
      const isRight = () => wire.buffer(slot, bytes).every((byte, i) => byte === pattern(bytes, commands.cid[slot])[i]);
      if (opcode === WRITE && commands.hasData[slot] === 0) connection.fetchData(slot);
      else if (opcode === WRITE) connection.respond(slot, isRight() ? 0 : 6);
      else if (opcode === READ) {
        wire.fill(slot, pattern(bytes, commands.cid[slot]));
        connection.respondWithData(slot, bytes);
      } else connection.respond(slot, 0);
    }
    if (moved) continue;
    // Not past the first command before its R2T is written.
    const split = wire.receiveSplit;
    const taken = fed.get(wire) ?? 0;
    if (taken < limit) wire.receiveSplit = (most) => Math.min(split(most), limit - taken);
    const before = wire.pending;
    moved = wire.receivePiece();
    wire.receiveSplit = split;
    fed.set(wire, taken + before - wire.pending);
  }
}

/** Bytes that each wire's target has received. */
const fed = new WeakMap<TargetWire, number>();

function summary(pdus: TargetPdu[]): string[] {
  const words = pdus.map((pdu) => {
    assert(pdu.headerDigestOk && pdu.dataDigestOk);
    if (pdu.type === 1) return "ICResp";
    if (pdu.type === 9) return `R2T ${r2t(pdu).cid} ${r2t(pdu).bytes}`;
    if (pdu.type === 7) {
      assertEquals(pdu.data, pattern(50, 3));
      return `read ${c2hData(pdu).cid} data`;
    }
    const { cid, status } = response(pdu);
    return `${["", "write", "write", "read", "flush"][cid]} ${cid} ${status === 0 ? "ok" : status}`;
  });
  const rest = words.slice(2).filter((word) => word !== "read 3 data").sort((a, b) =>
    a.split(" ")[1] < b.split(" ")[1] ? -1 : 1
  );
  return [...words.slice(0, 2), ...rest];
}
