import { assertEquals, assertNotEquals, assertThrows } from "@std/assert";
import { joinBytes } from "../../../src/base/bytes.ts";
import { AssertionFailure } from "../../../src/base/assert.ts";
import { Prng } from "../../../src/base/prng.ts";
import { CommandPhase, DataDirection } from "../../../src/nvme_host/command_table.ts";
import { Connection, CONNECTION_DEPTH_MAX, Submission } from "../../../src/nvme_host/connection.ts";
import { NO_DIGESTS } from "../../../src/nvme_host/transfer.ts";
import { CqeAt, NvmOpcode } from "../../../src/protocol/nvme.ts";
import { PduFlag } from "../../../src/protocol/nvme_tcp.ts";
import { c2hPdu, r2tPdu, responsePdu } from "./scripted_target.ts";
import { oneByOne, pattern, randomSplit, type Split, whole, Wire, type WireOptions } from "./wire.ts";

const { READ, WRITE, FLUSH } = NvmOpcode;

/** A wire whose target keeps what is written, at the offset of the slot in CDW10, and gives it back. */
function storingWire(options: WireOptions = {}) {
  const wire = new Wire(options).open();
  const stored = new Map<number, Uint8Array>();
  wire.target.storage = {
    execute(command, data) {
      if (command.opcode === READ) data.set(stored.get(command.lba) ?? []);
      else if (command.opcode === WRITE) stored.set(command.lba, data.slice());
      return 0;
    },
  };
  return { wire, stored };
}

function split(wire: Wire, by: Split): void {
  wire.sendSplit = wire.receiveSplit = by;
}

/** Writes and reads buffers of all given sizes, all at once, and checks every byte and that there are no others. */
function exchange(wire: Wire, stored: Map<number, Uint8Array>, sizes: readonly number[]): void {
  sizes.forEach((bytes, slot) => {
    wire.fill(slot, pattern(bytes, slot));
    assertNotEquals(wire.submit(WRITE, slot, bytes), -1);
  });
  wire.pump();
  assertEquals(wire.answers().map((a) => [a.owner, a.status]).sort(byOwner), sizes.map((_, slot) => [slot, 0]));
  sizes.forEach((bytes, slot) => assertEquals(stored.get(slot), pattern(bytes, slot)));
  wire.checkArena();
  sizes.forEach((bytes, slot) => {
    wire.fill(slot, new Uint8Array(bytes).fill(0xa5));
    wire.submit(READ, slot, bytes);
  });
  wire.pump();
  assertEquals(wire.answers().map((a) => [a.owner, a.status]).sort(byOwner), sizes.map((_, slot) => [slot, 0]));
  sizes.forEach((bytes, slot) => wire.shadow.set(pattern(bytes, slot), wire.offset(slot)));
  wire.checkArena();
  assertEquals(wire.target.violations, []);
  assertEquals(wire.connection.failure, null);
  assertEquals(wire.connection.inFlight, 0);
  assertEquals(wire.connection.isMidPdu, false);
}

function byOwner(a: number[], b: number[]): number {
  return a[0] - b[0];
}

const SIZES = [4, 512, 4096, 8192, 8196, 32768, 20000, 16384];

const MANNERS: Array<[words: string, options: WireOptions]> = [
  ["plain", {}],
  ["with SUCCESS", { manners: { success: true } }],
  ["in several PDUs", { manners: { c2hDataBytes: 3000, r2tBytes: 5000, maxH2cDataBytes: 4096 } }],
  ["in several PDUs with SUCCESS", { manners: { c2hDataBytes: 9000, success: true, r2tBytes: 9000 } }],
  ["with padding", { manners: { c2hPdo: 128, cpda: 31, c2hDataBytes: 9000, maxH2cDataBytes: 8192 } }],
  ["in capsules with padding", { inCapsuleBytes: 32768, manners: { cpda: 6, c2hPdo: 252 } }],
  ["some in capsules", { inCapsuleBytes: 4096, manners: { cpda: 1, c2hPdo: 28, maxH2cDataBytes: 4100 } }],
  ["with header digests", { manners: { headerDigest: true, c2hDataBytes: 3000, maxH2cDataBytes: 4096 } }],
  ["with data digests", { manners: { dataDigest: true, c2hDataBytes: 3000, r2tBytes: 5000, success: true } }],
  ["with digests", { inCapsuleBytes: 8192, manners: { headerDigest: true, dataDigest: true } }],
  ["with digests and padding", {
    inCapsuleBytes: 4096,
    manners: { headerDigest: true, dataDigest: true, cpda: 31, c2hPdo: 252, maxH2cDataBytes: 4096, c2hDataBytes: 9000 },
  }],
  ["with digests through the smallest buffer", {
    receiveBytes: 256,
    manners: { headerDigest: true, dataDigest: true, c2hDataBytes: 700 },
  }],
  ["through the smallest buffer", { receiveBytes: 256, manners: { c2hDataBytes: 700 } }],
];

for (const [words, options] of MANNERS) {
  Deno.test(`Connection moves data ${words}, whole and in random pieces`, () => {
    for (let seed = 0; seed < 12; seed++) {
      const { wire, stored } = storingWire({ slotBytes: 32768, ...options });
      if (seed > 0) split(wire, randomSplit(new Prng(seed), 20000));
      exchange(wire, stored, SIZES);
    }
  });

  Deno.test(`Connection moves data ${words}, byte by byte`, () => {
    const { wire, stored } = storingWire({ slotBytes: 32768, ...options });
    split(wire, oneByOne);
    exchange(wire, stored, [4, 516, 9000]);
  });
}

Deno.test("Connection takes the answer of a read that is cut at any byte", () => {
  for (const success of [false, true]) {
    const data = pattern(96, 1);
    const length = 32 + 96 + (success ? 0 : 24);
    for (let cut = 1; cut < length; cut++) {
      const wire = new Wire({ manners: { answers: false, success, c2hPdo: 32 } }).open();
      const cid = wire.cid(wire.submit(READ, 3, 96));
      wire.pump();
      wire.target.sendData(cid, data);
      if (!success) wire.target.respond(cid, 0, 7, 8);
      const stream = wire.target.take(length);
      assertEquals(stream.length, length);
      wire.inject(stream.subarray(0, cut));
      wire.inject(stream.subarray(cut));
      assertEquals(wire.answers(), [{ owner: 3, status: 0, result0: success ? 0 : 7, result1: success ? 0 : 8 }]);
      wire.shadow.set(data, wire.offset(3));
      wire.checkArena();
    }
  }
});

Deno.test("Connection takes ICResp cut at any byte, and what follows it", () => {
  for (let cut = 1; cut < 128; cut++) {
    const wire = new Wire({ manners: { opens: false, maxH2cDataBytes: 8192, cpda: 3 } });
    wire.connection.start();
    assertEquals(wire.connection.state, "opening");
    wire.pump();
    wire.target.sendIcResp();
    const pdu = wire.target.take(128);
    wire.inject(pdu.subarray(0, cut));
    assertEquals(wire.connection.isMidPdu, true);
    assertEquals(wire.connection.state, "opening");
    wire.inject(pdu.subarray(cut));
    assertEquals(wire.connection.state, "ready");
    assertEquals(wire.connection.isMidPdu, false);
    assertEquals(wire.connection.parameters, { maxH2cDataBytes: 8192, dataAlignment: 16, digests: NO_DIGESTS });
  }
});

Deno.test("Connection receives large data straight into its buffer, with the next header behind it", () => {
  const wire = new Wire({ slotBytes: 65536, manners: { answers: false } }).open();
  const cid = wire.cid(wire.submit(READ, 1, 65536));
  wire.pump();
  const data = pattern(65536, 9);
  const pdu = c2hPdu(cid, data);
  wire.inject(pdu.subarray(0, 24));
  wire.connection.prepareReceive();
  assertEquals(wire.connection.receiveBuffer.segments, 2);
  assertEquals([wire.connection.receiveBuffer.offset[0], wire.connection.receiveBuffer.bytes[0]], [
    wire.offset(1),
    65536,
  ]);
  wire.deliver(pdu.subarray(24, 24 + 50000));
  wire.connection.prepareReceive();
  assertEquals(
    [wire.connection.receiveBuffer.offset[0], wire.connection.receiveBuffer.bytes[0]],
    [wire.offset(1) + 50000, 15536],
  );
  wire.inject(pdu.subarray(50024));
  wire.inject(responsePdu(cid));
  assertEquals(wire.answers().length, 1);
  wire.shadow.set(data, wire.offset(1));
  wire.checkArena();
});

Deno.test("Connection makes room for the rest of the present data while large reads are in flight", () => {
  const wire = new Wire({ slotBytes: 65536, receiveBytes: 16384, manners: { answers: false } }).open();
  const cid = wire.cid(wire.submit(READ, 1, 65536));
  wire.pump();
  const data = pattern(65536, 9);
  wire.inject(c2hPdu(cid, data).subarray(0, 24 + 65536 - 6000));
  wire.connection.prepareReceive();
  assertEquals(wire.receiveRoom >= 6000, true, `there is room for ${wire.receiveRoom} bytes where 6000 are missing`);
  wire.inject(data.subarray(65536 - 6000));
  wire.inject(responsePdu(cid));
  wire.shadow.set(data, wire.offset(1));
  wire.checkArena();
});

Deno.test("Connection gives back a write whose answer came before its send is complete only after that", () => {
  const wire = new Wire({ inCapsuleBytes: 4096, manners: { answers: false } }).open();
  const command = wire.submit(WRITE, 0, 4096);
  const cid = wire.cid(command);
  assertEquals(wire.connection.pollSend(), true);
  const total = 72 + 4096;
  wire.connection.handleSent(100);
  wire.inject(responsePdu(cid, 0x06));
  assertEquals(wire.connection.commands.phase[command], CommandPhase.ANSWERED);
  assertEquals(wire.answers(), []);
  assertEquals(wire.connection.pollSend(), false);
  // Neither a second answer nor an R2T finds it any more.
  assertEquals(wire.connection.handleSent(total - 101), false);
  assertEquals(wire.answers(), []);
  assertEquals(wire.connection.handleSent(1), true);
  assertEquals(wire.answers().map((a) => [a.owner, a.status]), [[0, 0x06]]);
  assertEquals(wire.connection.inFlight, 0);
});

Deno.test("Connection gives an R2T write back after all of its sends, and drops data that is queued no more", () => {
  const wire = new Wire({ slotBytes: 65536, manners: { answers: false, maxH2cDataBytes: 4096 } }).open();
  const first = wire.cid(wire.submit(WRITE, 0, 65536));
  wire.pump();
  wire.target.sendR2t(first, 8192);
  while (wire.receivePiece());
  assertEquals(wire.connection.pollSend(), true);
  wire.connection.handleSent(10);
  wire.inject(responsePdu(first, 0x06));
  assertEquals(wire.answers(), []);
  wire.connection.handleSent(2 * (24 + 4096) - 10);
  assertEquals(wire.answers().map((a) => a.status), [0x06]);

  // The R2T is answered by an error before any of its data is in a send: the slot's next use must not inherit it.
  const second = wire.submit(WRITE, 0, 65536);
  wire.pump();
  wire.connection.prepareReceive();
  wire.deliver(joinBytes([r2tPdu(wire.cid(second), 77, 0, 65536), responsePdu(wire.cid(second), 0x06)]));
  assertEquals(wire.answers().map((a) => a.status), [0x06]);
  assertEquals(wire.connection.pollSend(), false);
  const third = wire.submit(WRITE, 1, 8192);
  assertEquals(third, second);
  wire.target.h2cData = [];
  wire.fill(1, pattern(8192, 5));
  wire.pump();
  wire.target.commands.delete(first);
  assertEquals(wire.target.h2cData, []);
  wire.target.sendR2t(wire.cid(third), 8192);
  wire.pump();
  assertEquals(wire.target.h2cData.map((h) => [h.offset, h.bytes, h.last]), [[0, 4096, false], [4096, 4096, true]]);
  assertEquals(wire.target.commands.get(wire.cid(third))!.data, pattern(8192, 5));
  wire.checkArena();
});

Deno.test("Connection answers an early R2T that comes while the capsule's send is not known to be complete", () => {
  const wire = new Wire({ slotBytes: 8192, manners: { answers: false } }).open();
  const command = wire.submit(WRITE, 0, 8192);
  assertEquals(wire.connection.pollSend(), true);
  wire.inject(r2tPdu(wire.cid(command), 5, 0, 8192));
  assertEquals(wire.connection.failure, null);
  assertEquals(wire.connection.pollSend(), false);
  assertEquals(wire.connection.handleSent(72), true);
  assertEquals(wire.connection.pollSend(), true);
  assertEquals(wire.connection.sendBuffer.segments, 2);
  assertEquals(wire.connection.sendBuffer.segmentBytes(1), 8192);
});

Deno.test("Connection answers R2Ts of other commands while one asks for much", () => {
  const bytes = 3 << 20;
  const wire = new Wire({ slots: 2, slotBytes: bytes, manners: { answers: false, maxH2cDataBytes: 65536 } }).open();
  const big = wire.cid(wire.submit(WRITE, 0, bytes));
  const small = wire.cid(wire.submit(WRITE, 1, 4096));
  wire.pump();
  wire.target.sendR2t(big, bytes);
  wire.target.sendR2t(small, 4096);
  while (wire.receivePiece());
  let sends = 0;
  while (wire.sendPiece()) sends++;
  assertEquals(sends > 2 && sends < 6, true, `${sends} sends`);
  assertEquals(wire.target.commands.get(small)!.received, 4096);
  assertEquals(wire.target.commands.get(big)!.received, bytes);
  assertEquals(wire.target.violations, []);
});

Deno.test("Connection answers R2Ts even if each send is full of data in capsules", () => {
  const inCapsuleBytes = 65536;
  const wire = new Wire({
    depth: 40,
    slotBytes: 2 * inCapsuleBytes,
    inCapsuleBytes,
    manners: { answers: false, maxH2cDataBytes: 32768 },
  }).open();
  const starving = wire.cid(wire.submit(WRITE, 39, 2 * inCapsuleBytes));
  wire.pump();
  wire.target.sendR2t(starving, 2 * inCapsuleBytes);
  while (wire.receivePiece());
  // Whatever the controller answers is followed by as many new writes, more than one send's worth of data.
  for (let turn = 0; turn < 10; turn++) {
    for (let slot = 0; slot < 20; slot++) wire.submit(WRITE, slot, inCapsuleBytes);
    assertEquals(wire.sendPiece(), true);
    for (const cid of [...wire.target.commands.keys()]) if (cid !== starving) wire.target.respond(cid, 0);
    while (wire.receivePiece());
    assertEquals(wire.answers().length, 20);
  }
  assertEquals(wire.target.commands.get(starving)!.received, 2 * inCapsuleBytes);
  assertEquals(wire.target.violations, []);
});

Deno.test("Connection.submit() says -1 when every slot is in use, and takes commands again after release()", () => {
  const wire = new Wire({ depth: 3, slots: 4, manners: { answers: false } }).open();
  const commands = [0, 1, 2].map((slot) => wire.submit(FLUSH, slot, 0));
  assertEquals([...commands].sort(), [0, 1, 2]);
  assertEquals(wire.submit(FLUSH, 3, 0), -1);
  assertEquals(wire.connection.inFlight, 3);
  const cid = wire.cid(commands[1]);
  wire.pump();
  wire.inject(responsePdu(cid));
  const done = wire.connection.pollCompletion();
  assertEquals(done, commands[1]);
  assertEquals(wire.submit(FLUSH, 3, 0), -1);
  wire.connection.release(done);
  assertEquals(wire.submit(FLUSH, 3, 0), commands[1]);
  assertNotEquals(wire.cid(commands[1]), cid);
});

Deno.test("Connection gives each use of a slot another CID, and fails on the answer to an earlier one", () => {
  const wire = new Wire({ depth: 2, manners: { answers: false } }).open();
  const first = wire.submit(FLUSH, 0, 0);
  const stale = wire.cid(first);
  wire.pump();
  wire.inject(responsePdu(stale));
  assertEquals(wire.answers().length, 1);
  assertEquals(wire.submit(FLUSH, 1, 0), first);
  wire.pump();
  wire.inject(responsePdu(stale));
  assertEquals(wire.connection.failure?.reason, `the controller answered command ${stale}, which is not in flight`);
  assertEquals(wire.connection.failure?.fei, 8 + CqeAt.CID);
  assertEquals(wire.answers(), []);
  assertEquals(wire.connection.inFlight, 1);
});

Deno.test("Connection adopt() goes on with what another instance settled", () => {
  const wire = new Wire({ slotBytes: 32768, manners: { cpda: 15, maxH2cDataBytes: 4096 } });
  wire.connection.adopt({ maxH2cDataBytes: 4096, dataAlignment: 64, digests: NO_DIGESTS });
  assertEquals(wire.connection.state, "ready");
  wire.target.isOpen = true;
  const stored = new Map<number, Uint8Array>();
  wire.target.storage = { execute: (command, data) => (stored.set(command.lba, data.slice()), 0) };
  wire.fill(2, pattern(32768, 2));
  wire.submit(WRITE, 2, 32768);
  wire.pump();
  assertEquals(wire.answers().map((a) => a.status), [0]);
  assertEquals(stored.get(2), pattern(32768, 2));
  assertEquals(wire.target.violations, []);
  assertEquals(wire.target.h2cData.length, 8);
  assertThrows(
    () => wire.connection.adopt({ maxH2cDataBytes: 4096, dataAlignment: 4, digests: NO_DIGESTS }),
    AssertionFailure,
  );
  assertThrows(() => wire.connection.start(), AssertionFailure);
});

Deno.test("Connection takes data that ends without LAST_PDU, and a read that fails after some of its data", () => {
  const wire = new Wire({ manners: { answers: false } }).open();
  const one = wire.cid(wire.submit(READ, 0, 512));
  const two = wire.cid(wire.submit(READ, 1, 512));
  wire.pump();
  wire.inject(c2hPdu(one, pattern(512, 0), { flags: 0 }));
  wire.inject(c2hPdu(two, pattern(100, 1), { flags: 0 }));
  wire.inject(responsePdu(two, 0x281));
  wire.inject(responsePdu(one, 0));
  assertEquals(wire.answers().map((a) => [a.owner, a.status]), [[1, 0x281], [0, 0]]);
  wire.shadow.set(pattern(512, 0), wire.offset(0));
  wire.shadow.set(pattern(100, 1), wire.offset(1));
  wire.checkArena();
});

Deno.test("Connection keeps all 15 bits of a status, and both result words", () => {
  const wire = new Wire({ manners: { answers: false } }).open();
  const cid = wire.cid(wire.submit(FLUSH, 0, 0));
  wire.pump();
  wire.inject(responsePdu(cid, 0x7fff, 0xffffffff, 0x80000001));
  assertEquals(wire.answers(), [{ owner: 0, status: 0x7fff, result0: 0xffffffff, result1: 0x80000001 }]);
});

Deno.test("Connection sends a full queue of the deepest depth in one gathering send", () => {
  const depth = CONNECTION_DEPTH_MAX;
  const wire = new Wire({ depth, slotBytes: 64, inCapsuleBytes: 64, manners: { cpda: 31 } }).open();
  for (let slot = 0; slot < depth; slot++) {
    wire.fill(slot, pattern(64, slot));
    wire.submit(WRITE, slot, 64);
  }
  const seen = new Map<number, Uint8Array>();
  wire.target.storage = { execute: (command, data) => (seen.set(command.lba, data.slice()), 0) };
  assertEquals(wire.connection.pollSend(), true);
  assertEquals(wire.connection.sendBuffer.segments <= 1024, true);
  wire.pump();
  assertEquals(wire.answers().length, depth);
  assertEquals(seen.size, depth);
  seen.forEach((data, slot) => assertEquals(data, pattern(64, slot)));
  assertEquals(wire.target.violations, []);
});

Deno.test("Connection handleQuiet() ends what was answered while its send was not complete", () => {
  const wire = new Wire({ inCapsuleBytes: 4096, manners: { answers: false } }).open();
  const answered = wire.submit(WRITE, 0, 4096);
  wire.submit(WRITE, 1, 4096);
  wire.connection.pollSend();
  wire.connection.handleSent(100);
  wire.inject(responsePdu(wire.cid(answered), 0));
  wire.connection.handleTransportError("cannot send: broken pipe");
  wire.connection.handleClosed();
  assertEquals(wire.connection.failure, { reason: "cannot send: broken pipe", fes: 0, fei: 0 });
  assertEquals(wire.connection.terminationPdu(), null);
  assertEquals(wire.connection.pollSend(), false);
  assertEquals(wire.answers(), []);
  wire.connection.handleQuiet();
  assertEquals(wire.answers().map((a) => [a.owner, a.status]), [[0, 0]]);
  assertEquals(wire.connection.inFlight, 1);
});

Deno.test("Connection refuses a command that names a direction without data, or data without a direction", () => {
  const wire = new Wire().open();
  const submission = new Submission();
  submission.direction = DataDirection.TO_CONTROLLER;
  assertThrows(() => wire.connection.submit(submission, 0), AssertionFailure);
  submission.direction = DataDirection.NONE;
  submission.dataBytes = 4;
  assertThrows(() => wire.connection.submit(submission, 0), AssertionFailure);
  assertEquals(wire.connection.inFlight, 0);
});

Deno.test("Connection refuses commands before it is ready, and a depth that one send cannot gather", () => {
  const wire = new Wire();
  assertThrows(() => wire.submit(FLUSH, 0, 0), AssertionFailure);
  assertThrows(() => wire.connection.parameters, AssertionFailure);
  const memory = new Uint8Array(8);
  const depth = CONNECTION_DEPTH_MAX + 1;
  assertThrows(() => new Connection({ memory, arenaOffset: 0, depth, inCapsuleBytes: 0 }), AssertionFailure);
});

Deno.test("Connection takes many small answers in one receive", () => {
  const { wire, stored } = storingWire({ depth: 64, slotBytes: 512, receiveBytes: 65536, manners: { success: true } });
  for (let slot = 0; slot < 64; slot++) {
    stored.set(slot, pattern(512, slot));
    wire.submit(READ, slot, 512);
    wire.shadow.set(pattern(512, slot), wire.offset(slot));
  }
  while (wire.sendPiece());
  wire.receiveSplit = whole;
  assertEquals(wire.receivePiece(), true);
  assertEquals(wire.target.pending, 0);
  assertEquals(wire.answers().length, 64);
  wire.checkArena();
});

Deno.test("Connection takes SUCCESS only as a flag of C2HData with data of its own", () => {
  const wire = new Wire({ manners: { answers: false } }).open();
  const cid = wire.cid(wire.submit(READ, 0, 512));
  wire.pump();
  wire.inject(c2hPdu(cid, pattern(256, 0), { flags: 0 }));
  wire.inject(c2hPdu(cid, pattern(256, 0), { offset: 256, flags: PduFlag.LAST_PDU | PduFlag.SUCCESS }));
  assertEquals(wire.answers().map((a) => a.status), [0]);
  wire.inject(responsePdu(cid));
  assertEquals(wire.connection.failure?.reason, `the controller answered command ${cid}, which is not in flight`);
});

Deno.test("Connection takes an answer that is shorter than was asked for where that may be, and tells how long it is", () => {
  for (const takesShortReads of [true, false]) {
    const answers: [string, (wire: Wire, cid: number) => Uint8Array[]][] = [
      ["LAST_PDU", (_, cid) => [c2hPdu(cid, pattern(512, 1), { flags: PduFlag.LAST_PDU }), responsePdu(cid, 0)]],
      ["SUCCESS", (_, cid) => [c2hPdu(cid, pattern(512, 1), { flags: PduFlag.LAST_PDU | PduFlag.SUCCESS })]],
      ["no LAST_PDU", (_, cid) => [c2hPdu(cid, pattern(512, 1), { flags: 0 }), responsePdu(cid, 0)]],
    ];
    for (const [words, answer] of answers) {
      const wire = new Wire({ takesShortReads, manners: { answers: false } }).open();
      const command = wire.submit(READ, 0, 4096);
      wire.pump();
      wire.inject(joinBytes(answer(wire, wire.cid(command))));
      assertEquals(wire.connection.state, takesShortReads ? "ready" : "failed", words);
      if (!takesShortReads) continue;
      assertEquals(wire.connection.pollCompletion(), command);
      const { status, transferred } = wire.connection.commands;
      assertEquals([status[command], transferred[command]], [0, 512], words);
      wire.shadow.set(pattern(512, 1), wire.offset(0));
      wire.checkArena();
    }
  }
});

Deno.test("Connection does not take success for a write whose data it was not asked for, wherever answers may be short", () => {
  const wire = new Wire({ takesShortReads: true, manners: { answers: false } }).open();
  const command = wire.submit(WRITE, 0, 4096);
  wire.pump();
  wire.inject(responsePdu(wire.cid(command), 0));
  assertEquals(wire.connection.failure!.reason, "the controller told success with 4096 bytes not transferred");
});
