/** Digests of the host's connection against a target that makes and checks them bit by bit. */
import { assertEquals, assertMatch, assertThrows } from "@std/assert";
import { AssertionFailure } from "../../../src/base/assert.ts";
import { Connection } from "../../../src/nvme_host/connection.ts";
import { NvmOpcode } from "../../../src/protocol/nvme.ts";
import { StatusCode } from "../../../src/protocol/nvme_status.ts";
import { FatalErrorStatus, ICRespAt, PduAt, PduFlag, PduHlen, TermReqAt } from "../../../src/protocol/nvme_tcp.ts";
import { c2hPdu, naiveCrc32c, r2tPdu, responsePdu, type TargetManners, withDigests } from "./scripted_target.ts";
import { pattern, Wire } from "./wire.ts";

const { READ, WRITE, FLUSH } = NvmOpcode;
const TRANSPORT = StatusCode.TRANSIENT_TRANSPORT_ERROR;
const BOTH = { headerDigest: true, dataDigest: true };
const HEADER = { headerDigest: true, dataDigest: false };
const DATA = { headerDigest: false, dataDigest: true };
const LAST = PduFlag.LAST_PDU;

/** A wire that is open with these digests, whose target answers when the test says so. */
function openWire(digests: Partial<TargetManners>, slotBytes = 4096): Wire {
  return new Wire({ slotBytes, manners: { ...digests, answers: false } }).open();
}

/** Flips a bit of the last byte, which is one of a digest if the PDU ends with one. */
function spoilt(pdu: Uint8Array): Uint8Array {
  pdu[pdu.length - 1] ^= 0x10;
  return pdu;
}

Deno.test("naiveCrc32c() knows the checksum of the digits", () => {
  assertEquals(naiveCrc32c(new TextEncoder().encode("123456789")), 0xe3069283);
});

Deno.test("Connection asks for no checksum without digests", () => {
  const wire = new Wire({ inCapsuleBytes: 4096 }).open();
  wire.submit(WRITE, 0, 4096);
  wire.submit(READ, 1, 4096);
  wire.pump();
  assertEquals(wire.answers().length, 2);
  assertEquals(wire.crcs, 0);
});

Deno.test("Connection sends a write in its capsule and a read as the bytes that the specification wants", () => {
  const wire = new Wire({ inCapsuleBytes: 512, manners: { ...BOTH, cpda: 1, answers: false } }).open();
  wire.fill(0, pattern(512, 1));
  wire.submit(WRITE, 0, 512);
  wire.submit(READ, 1, 512);
  wire.connection.pollSend();
  const { sendBuffer } = wire.connection;
  const sent = Array.from({ length: sendBuffer.segments }, (_, i) => {
    const at = sendBuffer.segmentOffset(i);
    return wire.memory.slice(at, at + sendBuffer.segmentBytes(i));
  });
  // Capsule with padding to 80 bytes, the data from where it lies, its digest with the next capsule behind it.
  assertEquals(sent.map((piece) => piece.length), [80, 512, 4 + 76]);
  const [first, data, rest] = sent as [Uint8Array, Uint8Array, Uint8Array];
  const uint32 = (bytes: Uint8Array, at: number) => new DataView(bytes.buffer, bytes.byteOffset).getUint32(at, true);
  assertEquals([...first.subarray(0, 8)], [4, 3, 72, 80, 0x54, 0x02, 0, 0]);
  assertEquals(uint32(first, 72), naiveCrc32c(first.subarray(0, 72)));
  assertEquals(uint32(first, 76), 0);
  assertEquals(data, pattern(512, 1));
  assertEquals(uint32(rest, 0), naiveCrc32c(data));
  const second = rest.subarray(4);
  assertEquals([...second.subarray(0, 8)], [4, 1, 72, 0, 76, 0, 0, 0]);
  assertEquals(uint32(second, 72), naiveCrc32c(second.subarray(0, 72)));
});

Deno.test("Connection takes a read with digests cut at any byte", () => {
  for (const digests of [HEADER, DATA, BOTH]) {
    for (const success of [false, true]) {
      for (const c2hPdo of [24, 28, 40]) {
        const stream = (cid: number) => {
          const one = c2hPdu(cid, pattern(100, 1), { flags: 0, pdo: c2hPdo });
          const flags = LAST | (success ? PduFlag.SUCCESS : 0);
          const two = c2hPdu(cid, pattern(60, 2), { offset: 100, flags, pdo: c2hPdo });
          const pdus = [one, two, ...success ? [] : [responsePdu(cid)]].map((pdu) => withDigests(pdu, digests));
          return new Uint8Array(pdus.flatMap((pdu) => [...pdu]));
        };
        for (let cut = 1; cut < stream(0).length; cut++) {
          const wire = openWire(digests);
          const bytes = stream(wire.cid(wire.submit(READ, 3, 160)));
          wire.pump();
          wire.inject(bytes.subarray(0, cut));
          wire.inject(bytes.subarray(cut));
          assertEquals(wire.answers().map(({ owner, status }) => [owner, status]), [[3, 0]]);
          wire.shadow.set(pattern(100, 1), wire.offset(3));
          wire.shadow.set(pattern(60, 2), wire.offset(3) + 100);
          wire.checkArena();
          assertEquals([wire.connection.isMidPdu, wire.connection.takeDigestErrors()], [false, 0]);
        }
      }
    }
  }
});

Deno.test("Connection receives large data with a digest straight into its buffer", () => {
  const wire = openWire(BOTH, 65536);
  const cid = wire.cid(wire.submit(READ, 1, 65536));
  wire.pump();
  const pdu = withDigests(c2hPdu(cid, pattern(65536, 5)), BOTH);
  wire.inject(pdu.subarray(0, 28 + 100));
  wire.connection.prepareReceive();
  assertEquals([wire.connection.receiveBuffer.offset[0], wire.connection.receiveBuffer.bytes[0]], [
    wire.offset(1) + 100,
    65436,
  ]);
  // All of the data and half of its digest.
  wire.target.send(pdu.subarray(128, pdu.length - 2));
  while (wire.receivePiece());
  assertEquals(wire.connection.isMidPdu, true);
  wire.inject(pdu.subarray(pdu.length - 2));
  assertEquals(wire.connection.isMidPdu, false);
  wire.inject(withDigests(responsePdu(cid), BOTH));
  assertEquals(wire.answers().map(({ status }) => status), [0]);
  assertEquals(wire.buffer(1), pattern(65536, 5));
});

// ── wrong digests ─────────────────────────────────────────────────────────────────────────────────────────────────────

const HEADERS: [name: string, opcode: number, pdu: (cid: number) => Uint8Array][] = [
  ["a CapsuleResp", FLUSH, (cid) => responsePdu(cid)],
  ["an R2T", WRITE, (cid) => r2tPdu(cid, 1, 0, 512)],
  ["a C2HData", READ, (cid) => c2hPdu(cid, pattern(512, 1))],
];

for (const [name, opcode, make] of HEADERS) {
  Deno.test(`Connection fails on any bit of ${name} that is not what was digested`, () => {
    for (let bit = 0; bit < 8 * (PduHlen.R2T + 4); bit++) {
      const wire = openWire(BOTH);
      const cid = wire.cid(wire.submit(opcode, 0, opcode === FLUSH ? 0 : 512));
      wire.pump();
      const pdu = withDigests(make(cid), BOTH);
      pdu[bit >> 3] ^= 1 << (bit & 7);
      wire.inject(pdu);
      assertEquals(wire.connection.state, "failed", `bit ${bit}`);
      assertEquals(wire.answers(), []);
      wire.checkArena();
      // Type, flags and length of the header decide where the digest is, and are looked at before it.
      if (bit < 8 * PduAt.PDO) continue;
      const received = new DataView(pdu.buffer).getUint32(24, true);
      assertEquals(wire.connection.failure, {
        reason: `the controller sent ${name} with a header digest error`,
        fes: FatalErrorStatus.HEADER_DIGEST_ERROR,
        fei: received,
      });
      assertEquals(wire.connection.takeDigestErrors(), 1);
      const termination = wire.connection.terminationPdu()!;
      assertEquals(termination[TermReqAt.FES], 3);
      assertEquals(termination.subarray(TermReqAt.DATA), pdu.subarray(0, 24));
    }
  });
}

Deno.test("Connection ends a read whose data is not what was digested with a transport error, and nothing else", () => {
  for (const success of [false, true]) {
    const wire = openWire(BOTH);
    const read = wire.cid(wire.submit(READ, 0, 512));
    const other = wire.cid(wire.submit(READ, 1, 512));
    wire.pump();
    const flags = LAST | (success ? PduFlag.SUCCESS : 0);
    const bad = spoilt(withDigests(c2hPdu(read, pattern(512, 1), { flags }), BOTH));
    // The digest is waited for before anything is said of the command.
    wire.inject(bad.subarray(0, bad.length - 1));
    assertEquals(wire.answers(), []);
    wire.inject(bad.subarray(bad.length - 1));
    if (!success) {
      assertEquals(wire.answers(), []);
      wire.inject(withDigests(responsePdu(read), BOTH));
    }
    assertEquals(wire.answers().map(({ owner, status }) => [owner, status]), [[0, TRANSPORT]]);
    wire.inject(withDigests(c2hPdu(other, pattern(512, 2), { flags: LAST | PduFlag.SUCCESS }), BOTH));
    assertEquals(wire.answers().map(({ owner, status }) => [owner, status]), [[1, 0]]);
    assertEquals([wire.connection.failure, wire.connection.takeDigestErrors()], [null, 1]);
    assertEquals(wire.connection.takeDigestErrors(), 0);
    // The slot is as good as new.
    const again = wire.cid(wire.submit(READ, 0, 512));
    wire.pump();
    wire.inject(withDigests(c2hPdu(again, pattern(512, 3), { flags: LAST | PduFlag.SUCCESS }), BOTH));
    assertEquals(wire.answers().map(({ owner, status }) => [owner, status]), [[0, 0]]);
    for (const slot of [0, 1]) wire.accept(slot, 512);
    wire.checkArena();
  }
});

Deno.test("Connection ends a read with a transport error if any one of its PDUs is wrong", () => {
  for (const wrong of [0, 1, 2]) {
    const wire = openWire(DATA);
    const cid = wire.cid(wire.submit(READ, 0, 300));
    wire.pump();
    for (let i = 0; i < 3; i++) {
      const flags = i === 2 ? LAST : 0;
      const pdu = withDigests(c2hPdu(cid, pattern(100, i), { offset: 100 * i, flags }), DATA);
      wire.inject(i === wrong ? spoilt(pdu) : pdu);
      assertEquals(wire.answers(), []);
    }
    wire.inject(responsePdu(cid));
    assertEquals(wire.answers().map(({ status }) => status), [TRANSPORT]);
  }
});

Deno.test("Connection leaves the status of a read that the controller failed itself", () => {
  const wire = openWire(DATA);
  const cid = wire.cid(wire.submit(READ, 0, 512));
  wire.pump();
  wire.inject(spoilt(withDigests(c2hPdu(cid, pattern(100, 1), { flags: 0 }), DATA)));
  wire.inject(responsePdu(cid, 0x281));
  assertEquals(wire.answers().map(({ status }) => status), [0x281]);
});

// ── what was agreed on ────────────────────────────────────────────────────────────────────────────────────────────────

Deno.test("Connection opens only with exactly the digests that it asked for", () => {
  const names = ["", "header digest", "data digest", "header and the data digest"];
  for (let asked = 0; asked < 4; asked++) {
    for (let granted = 0; granted < 8; granted++) {
      const wire = new Wire({
        manners: { headerDigest: (asked & 1) !== 0, dataDigest: (asked & 2) !== 0, opens: false },
      });
      wire.connection.start(wire.digests);
      wire.pump();
      wire.target.sendIcResp({ dgst: granted });
      wire.pump();
      assertEquals(wire.target.violations, []);
      if (asked === granted) {
        assertEquals(wire.connection.parameters.digests, wire.digests);
        continue;
      }
      const isMore = (granted & ~asked) !== 0;
      const reason = isMore
        ? "switched digests on that were not asked for"
        : `does not grant the ${names[asked & ~granted]} that was asked for`;
      assertEquals(wire.connection.failure, {
        reason: `the controller ${reason}`,
        fes: FatalErrorStatus.UNSUPPORTED_PARAMETER,
        fei: ICRespAt.DGST,
      });
    }
  }
});

Deno.test("Connection fails on a PDU without the digest that was agreed on", () => {
  for (const [, opcode, make] of HEADERS) {
    for (const has of [DATA, HEADER]) {
      if (has === HEADER && opcode !== READ) continue;
      const wire = openWire(BOTH);
      const cid = wire.cid(wire.submit(opcode, 0, opcode === FLUSH ? 0 : 512));
      wire.pump();
      wire.inject(withDigests(make(cid), has));
      const missing = has === DATA ? "header" : "data";
      assertMatch(wire.connection.failure!.reason, new RegExp(`without the ${missing} digest that was agreed on$`));
      assertEquals([wire.connection.failure!.fes, wire.connection.failure!.fei], [1, PduAt.FLAGS]);
    }
  }
});

Deno.test("Connection fails on a data digest where there is no data", () => {
  const wire = openWire(BOTH);
  const cid = wire.cid(wire.submit(FLUSH, 0, 0));
  wire.pump();
  const pdu = responsePdu(cid);
  pdu[PduAt.FLAGS] = PduFlag.DDGSTF;
  wire.inject(withDigests(pdu, BOTH));
  assertMatch(wire.connection.failure!.reason, /sent a CapsuleResp with a digest, which was not agreed on/);
});

Deno.test("Connection fails on data that begins in the header digest, and on lengths without digests", () => {
  const edits: [(view: DataView) => void, RegExp][] = [
    [(view) => view.setUint8(PduAt.PDO, 24), /544 bytes with 512 bytes of data at 24/],
    [(view) => view.setUint32(PduAt.PLEN, 540, true), /540 bytes with 512 bytes of data at 28/],
    [(view) => view.setUint32(PduAt.PLEN, 536, true), /536 bytes with 512 bytes of data at 28/],
  ];
  for (const [edit, words] of edits) {
    const wire = openWire(BOTH);
    const cid = wire.cid(wire.submit(READ, 0, 512));
    wire.pump();
    const pdu = withDigests(c2hPdu(cid, pattern(512, 1)), BOTH);
    const view = new DataView(pdu.buffer);
    edit(view);
    view.setUint32(24, naiveCrc32c(pdu.subarray(0, 24)), true);
    wire.inject(pdu);
    assertMatch(wire.connection.failure!.reason, words);
  }
});

Deno.test("Connection takes a termination request without a digest, which it never has", () => {
  const wire = openWire(BOTH);
  wire.inject(new Uint8Array([3, 0, 24, 0, 24, 0, 0, 0, 3, 0, 0x78, 0x56, 0x34, 0x12, ...new Array(10).fill(0)]));
  const reason = "the controller ended the connection: header digest error (received 0x12345678)";
  assertEquals(wire.connection.failure, { reason, fes: 0, fei: 0 });
});

Deno.test("Connection wants the function that makes digests", () => {
  const memory = new Uint8Array(Connection.arenaBytes(4));
  const connection = new Connection({ memory, arenaOffset: 0, depth: 4, inCapsuleBytes: 0 });
  const digests = { header: false, data: true };
  assertThrows(() => connection.adopt({ maxH2cDataBytes: 4096, dataAlignment: 4, digests }), AssertionFailure);
  assertThrows(() => connection.start(digests), AssertionFailure);
});
