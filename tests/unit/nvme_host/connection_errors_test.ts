import { assertEquals } from "@std/assert";
import { NvmOpcode } from "../../../src/protocol/nvme.ts";
import {
  C2HDataAt,
  FatalErrorStatus,
  ICRespAt,
  PduAt,
  PduFlag,
  PduType,
  R2TAt,
  TermReqAt,
} from "../../../src/protocol/nvme_tcp.ts";
import { c2hPdu, header, r2tPdu, responsePdu, termReqPdu } from "./scripted_target.ts";
import { oneByOne, whole, Wire } from "./wire.ts";

const { READ, WRITE, FLUSH } = NvmOpcode;
const { INVALID_PDU_HEADER_FIELD: FIELD, PDU_SEQUENCE_ERROR: SEQUENCE, DATA_TRANSFER_OUT_OF_RANGE: RANGE } =
  FatalErrorStatus;
const UNSUPPORTED = FatalErrorStatus.UNSUPPORTED_PARAMETER;
const LIMIT = FatalErrorStatus.LIMIT_EXCEEDED;

/** Something that no controller may send, and what is said about it. */
interface Fault {
  words: string;
  reason: string | RegExp;
  fes: number;
  fei: number;
  send(wire: Wire, cid: { read: number; write: number; flush: number }): Uint8Array[];
}

function withByte(pdu: Uint8Array, at: number, value: number): Uint8Array {
  pdu[at] = value;
  return pdu;
}

function withUint32(pdu: Uint8Array, at: number, value: number): Uint8Array {
  new DataView(pdu.buffer).setUint32(at, value, true);
  return pdu;
}

const DATA = new Uint8Array(512).fill(0xbb);
const part = (bytes: number) => DATA.subarray(0, bytes);

/** In state "ready", with a read and a write of 4096 bytes and a flush on the wire. */
const READY_FAULTS: Fault[] = [
  {
    words: "an unknown PDU type",
    reason: "the controller sent a PDU of the unknown type 0x08",
    fes: FIELD,
    fei: PduAt.TYPE,
    send: () => [header(0x08, 24, 24)],
  },
  {
    words: "a header digest that was not agreed on",
    reason: "the controller sent a CapsuleResp with a digest, which was not agreed on",
    fes: FIELD,
    fei: PduAt.FLAGS,
    send: (_, { flush }) => [withByte(responsePdu(flush), PduAt.FLAGS, PduFlag.HDGSTF)],
  },
  {
    words: "a data digest that was not agreed on",
    reason: "the controller sent a C2HData with a digest, which was not agreed on",
    fes: FIELD,
    fei: PduAt.FLAGS,
    send: (_, { read }) => [c2hPdu(read, DATA, { flags: PduFlag.DDGSTF })],
  },
  {
    words: "a high unknown PDU type",
    reason: "the controller sent a PDU of the unknown type 0xff",
    fes: FIELD,
    fei: PduAt.TYPE,
    send: () => [new Uint8Array(8).fill(0xff)],
  },
  {
    words: "another header length",
    reason: "the controller sent a C2HData with a header of 32 bytes",
    fes: FIELD,
    fei: PduAt.HLEN,
    send: (_, { read }) => [withByte(c2hPdu(read, DATA), PduAt.HLEN, 32)],
  },
  {
    words: "a PLEN below the header, before the header is complete",
    reason: "the controller sent a CapsuleResp of 23 bytes",
    fes: FIELD,
    fei: PduAt.PLEN,
    send: (_, { read }) => [withByte(responsePdu(read), PduAt.PLEN, 23).subarray(0, 8)],
  },
  {
    words: "a response with data",
    reason: "the controller sent a CapsuleResp of 32 bytes",
    fes: FIELD,
    fei: PduAt.PLEN,
    send: (_, { read }) => [withByte(responsePdu(read), PduAt.PLEN, 32)],
  },
  ...(["ICReq", "H2CTermReq", "CapsuleCmd", "H2CData"] as const).map((name): Fault => ({
    words: `an ${name}`,
    reason: `the controller sent a ${name}, which only hosts send`,
    fes: SEQUENCE,
    fei: PduAt.TYPE,
    send: () => {
      const hlen = { ICReq: 128, H2CTermReq: 24, CapsuleCmd: 72, H2CData: 24 }[name];
      return [header(PduType[name], hlen, hlen)];
    },
  })),
  {
    words: "a second ICResp",
    reason: "the controller sent a second ICResp",
    fes: SEQUENCE,
    fei: 0,
    send: (wire) => (wire.target.sendIcResp(), [wire.target.take(128)]),
  },
  {
    words: "an answer to an unknown command",
    reason: "the controller answered command 43981, which is not in flight",
    fes: FIELD,
    fei: 20,
    send: () => [responsePdu(0xabcd)],
  },
  {
    words: "an answer to a command twice",
    reason: /^the controller answered command \d+, which is not in flight$/,
    fes: FIELD,
    fei: 20,
    send: (_, { flush }) => [responsePdu(flush), responsePdu(flush)],
  },
  {
    words: "success of a read without its data",
    reason: "the controller told success with 4096 bytes not transferred",
    fes: SEQUENCE,
    fei: 0,
    send: (_, { read }) => [responsePdu(read)],
  },
  {
    words: "success of a read with a part of its data",
    reason: "the controller told success with 3584 bytes not transferred",
    fes: SEQUENCE,
    fei: 0,
    send: (_, { read }) => [c2hPdu(read, DATA, { flags: 0 }), responsePdu(read)],
  },
  {
    words: "success of a write without its data",
    reason: "the controller told success with 4096 bytes not transferred",
    fes: SEQUENCE,
    fei: 0,
    send: (_, { write }) => [responsePdu(write)],
  },
  {
    words: "success of a write whose data was asked for and not sent",
    reason: "the controller told success with 4096 bytes not transferred",
    fes: SEQUENCE,
    fei: 0,
    send: (_, { write }) => [r2tPdu(write, 1, 0, 4096), responsePdu(write)],
  },
  {
    words: "success of a write of which a part was asked for and not sent",
    reason: "the controller told success with 4096 bytes not transferred",
    fes: SEQUENCE,
    fei: 0,
    send: (_, { write }) => [r2tPdu(write, 1, 0, 1024), responsePdu(write)],
  },
  {
    words: "data for a write",
    reason: /^the controller sent data for command \d+, which reads nothing$/,
    fes: FIELD,
    fei: C2HDataAt.CCCID,
    send: (_, { write }) => [c2hPdu(write, DATA)],
  },
  {
    words: "data for a command without data",
    reason: /^the controller sent data for command \d+, which reads nothing$/,
    fes: FIELD,
    fei: C2HDataAt.CCCID,
    send: (_, { flush }) => [c2hPdu(flush, DATA)],
  },
  {
    words: "data for an unknown command",
    reason: "the controller sent data for command 65535, which reads nothing",
    fes: FIELD,
    fei: C2HDataAt.CCCID,
    send: () => [c2hPdu(0xffff, DATA)],
  },
  {
    words: "data that begins within its header",
    reason: "the controller sent a C2HData of 532 bytes with 512 bytes of data at 20",
    fes: FIELD,
    fei: PduAt.PLEN,
    send: (_, { read }) => [withUint32(withByte(c2hPdu(read, DATA), PduAt.PDO, 20), PduAt.PLEN, 532)],
  },
  {
    words: "data at no multiple of four bytes",
    reason: "the controller sent a C2HData of 538 bytes with 512 bytes of data at 26",
    fes: FIELD,
    fei: PduAt.PLEN,
    send: (_, { read }) => [c2hPdu(read, DATA, { pdo: 26 })],
  },
  {
    words: "a PDU longer than its data",
    reason: "the controller sent a C2HData of 540 bytes with 512 bytes of data at 24",
    fes: FIELD,
    fei: PduAt.PLEN,
    send: (_, { read }) => [withUint32(c2hPdu(read, DATA), PduAt.PLEN, 540)],
  },
  {
    words: "a PLEN that wraps around 32 bits",
    reason: "the controller sent a C2HData of 100 bytes with 4294967144 bytes of data at 252",
    fes: FIELD,
    fei: PduAt.PLEN,
    send: (_, { read }) => [
      withUint32(withUint32(c2hPdu(read, DATA, { pdo: 252 }), PduAt.PLEN, 100), C2HDataAt.DATAL, 4294967144),
    ],
  },
  {
    words: "more data than asked for",
    reason: "the controller sent 4608 bytes from 0 on where 4096 bytes from 0 on were due",
    fes: RANGE,
    fei: 0,
    send: (_, { read }) => [c2hPdu(read, new Uint8Array(4608))],
  },
  {
    words: "4 GiB of data",
    reason: "the controller sent 4294967200 bytes from 0 on where 4096 bytes from 0 on were due",
    fes: RANGE,
    fei: 0,
    send: (_, { read }) => [
      withUint32(withUint32(c2hPdu(read, DATA), C2HDataAt.DATAL, 4294967200), PduAt.PLEN, 4294967224),
    ],
  },
  {
    words: "data out of order",
    reason: "the controller sent 512 bytes from 512 on where 4096 bytes from 0 on were due",
    fes: RANGE,
    fei: 0,
    send: (_, { read }) => [c2hPdu(read, DATA, { offset: 512, flags: 0 })],
  },
  {
    words: "the same data twice",
    reason: "the controller sent 512 bytes from 0 on where 3584 bytes from 512 on were due",
    fes: RANGE,
    fei: 0,
    send: (_, { read }) => [c2hPdu(read, DATA, { flags: 0 }), c2hPdu(read, DATA, { flags: 0 })],
  },
  {
    words: "data at an offset that is negative as a signed number",
    reason: "the controller sent 512 bytes from 4294966784 on where 4096 bytes from 0 on were due",
    fes: RANGE,
    fei: 0,
    send: (_, { read }) => [c2hPdu(read, DATA, { offset: 0xfffffe00, flags: 0 })],
  },
  {
    words: "no data in a C2HData",
    reason: "the controller sent 0 bytes from 0 on where 4096 bytes from 0 on were due",
    fes: RANGE,
    fei: 0,
    send: (_, { read }) => [c2hPdu(read, part(0), { flags: 0 })],
  },
  {
    words: "LAST_PDU too early",
    reason: "the controller sent its last data with 3584 bytes missing",
    fes: FIELD,
    fei: PduAt.FLAGS,
    send: (_, { read }) => [c2hPdu(read, DATA, { flags: PduFlag.LAST_PDU })],
  },
  {
    words: "LAST_PDU and SUCCESS too early",
    reason: "the controller sent its last data with 3584 bytes missing",
    fes: FIELD,
    fei: PduAt.FLAGS,
    send: (_, { read }) => [c2hPdu(read, DATA, { flags: PduFlag.LAST_PDU | PduFlag.SUCCESS })],
  },
  {
    words: "SUCCESS without LAST_PDU",
    reason: "the controller sent SUCCESS with data that is not the last",
    fes: FIELD,
    fei: PduAt.FLAGS,
    send: (_, { read }) => [c2hPdu(read, DATA, { flags: PduFlag.SUCCESS })],
  },
  {
    words: "data after SUCCESS",
    reason: /^the controller sent data for command \d+, which reads nothing$/,
    fes: FIELD,
    fei: C2HDataAt.CCCID,
    send: (_, { read }) => [
      c2hPdu(read, new Uint8Array(4096), { flags: PduFlag.LAST_PDU | PduFlag.SUCCESS }),
      c2hPdu(read, DATA),
    ],
  },
  {
    words: "an R2T for a read",
    reason: /^the controller asked for data of command \d+, which writes nothing$/,
    fes: FIELD,
    fei: R2TAt.CCCID,
    send: (_, { read }) => [r2tPdu(read, 1, 0, 512)],
  },
  {
    words: "an R2T for an unknown command",
    reason: "the controller asked for data of command 51966, which writes nothing",
    fes: FIELD,
    fei: R2TAt.CCCID,
    send: () => [r2tPdu(0xcafe, 1, 0, 512)],
  },
  {
    words: "an R2T with data",
    reason: "the controller sent an R2T of 28 bytes",
    fes: FIELD,
    fei: PduAt.PLEN,
    send: (_, { write }) => [withByte(r2tPdu(write, 1, 0, 512), PduAt.PLEN, 28)],
  },
  {
    words: "an R2T for nothing",
    reason: "the controller asked for 0 bytes from 0 on where 4096 from 0 on are left",
    fes: RANGE,
    fei: R2TAt.R2TO,
    send: (_, { write }) => [r2tPdu(write, 1, 0, 0)],
  },
  {
    words: "an R2T for too much",
    reason: "the controller asked for 4097 bytes from 0 on where 4096 from 0 on are left",
    fes: RANGE,
    fei: R2TAt.R2TO,
    send: (_, { write }) => [r2tPdu(write, 1, 0, 4097)],
  },
  {
    words: "an R2T for 4 GiB",
    reason: "the controller asked for 4294967295 bytes from 0 on where 4096 from 0 on are left",
    fes: RANGE,
    fei: R2TAt.R2TO,
    send: (_, { write }) => [r2tPdu(write, 1, 0, 0xffffffff)],
  },
  {
    words: "an R2T out of order",
    reason: "the controller asked for 512 bytes from 1024 on where 4096 from 0 on are left",
    fes: RANGE,
    fei: R2TAt.R2TO,
    send: (_, { write }) => [r2tPdu(write, 1, 1024, 512)],
  },
  {
    words: "an R2T whose end wraps around 32 bits",
    reason: "the controller asked for 1024 bytes from 4294966784 on where 4096 from 0 on are left",
    fes: RANGE,
    fei: R2TAt.R2TO,
    send: (_, { write }) => [r2tPdu(write, 1, 0xfffffe00, 1024)],
  },
  {
    words: "two R2Ts at once",
    reason: "the controller sent an R2T before the last one was answered",
    fes: LIMIT,
    fei: 0,
    send: (_, { write }) => [r2tPdu(write, 1, 0, 512), r2tPdu(write, 2, 512, 512)],
  },
];

for (const fault of READY_FAULTS) {
  for (const [how, split] of [["", whole], [", byte by byte", oneByOne]] as const) {
    Deno.test(`Connection fails on ${fault.words}${how}`, () => {
      const wire = new Wire({ manners: { answers: false } }).open();
      const [read, write, flush] = [
        wire.submit(READ, 1, 4096),
        wire.submit(WRITE, 2, 4096),
        wire.submit(FLUSH, 3, 0),
      ].map((command) => wire.cid(command));
      wire.pump();
      wire.receiveSplit = split;
      const pdus = fault.send(wire, { read, write, flush });
      // All at once, so that nothing is sent in between.
      for (const pdu of pdus) wire.target.send(pdu);
      while (wire.receivePiece());
      checkFailure(wire, fault, pdus[pdus.length - 1]);
      wire.checkArena([1]);
    });
  }
}

function checkFailure(wire: Wire, fault: Omit<Fault, "send" | "words">, offending: Uint8Array): void {
  const { connection } = wire;
  assertEquals(connection.state, "failed");
  const { reason, fes, fei } = connection.failure!;
  if (typeof fault.reason === "string") assertEquals(reason, fault.reason);
  else assertEquals(fault.reason.test(reason), true, reason);
  assertEquals({ fes, fei }, { fes: fault.fes, fei: fault.fei });
  assertEquals(connection.pollSend(), false);

  const pdu = connection.terminationPdu()!;
  const view = new DataView(pdu.buffer);
  assertEquals([pdu[PduAt.TYPE], pdu[PduAt.FLAGS], pdu[PduAt.HLEN], pdu[PduAt.PDO]], [PduType.H2CTermReq, 0, 24, 0]);
  assertEquals(view.getUint32(PduAt.PLEN, true), pdu.length);
  assertEquals(pdu.length <= 152, true);
  assertEquals(view.getUint16(TermReqAt.FES, true), fes);
  assertEquals(view.getUint32(TermReqAt.FEI, true), fei);
  const told = pdu.subarray(TermReqAt.DATA);
  assertEquals(told.length >= 8, true);
  assertEquals(told, offending.slice(0, told.length));
  wire.target.receive(pdu);
  assertEquals(wire.target.termReq, pdu);
}

Deno.test("Connection tells the header of the offending PDU in its termination request, and no byte more", () => {
  const wire = new Wire({ manners: { answers: false } }).open();
  const cid = wire.cid(wire.submit(READ, 1, 4096));
  wire.pump();
  const pdu = c2hPdu(cid, DATA, { offset: 4 });
  wire.inject(pdu);
  assertEquals(wire.connection.terminationPdu()!.subarray(24), pdu.slice(0, 24));
});

/** In state "opening", right after ICReq. */
const OPENING_FAULTS: Fault[] = [
  {
    words: "an answer to no command",
    reason: "the controller answered ICReq with a CapsuleResp",
    fes: SEQUENCE,
    fei: PduAt.TYPE,
    send: () => [responsePdu(0)],
  },
  {
    words: "data",
    reason: "the controller answered ICReq with a C2HData",
    fes: SEQUENCE,
    fei: PduAt.TYPE,
    send: () => [c2hPdu(0, DATA)],
  },
  {
    words: "text",
    reason: "the controller sent a PDU of the unknown type 0x53",
    fes: FIELD,
    fei: PduAt.TYPE,
    send: () => [new TextEncoder().encode("SSH-2.0-OpenSSH_9.2p1\r\n")],
  },
  {
    words: "zeroes",
    reason: "the controller sent a ICReq with a header of 0 bytes",
    fes: FIELD,
    fei: PduAt.HLEN,
    send: () => [new Uint8Array(128)],
  },
  {
    words: "an ICResp that is too long",
    reason: "the controller sent an ICResp of 132 bytes",
    fes: FIELD,
    fei: PduAt.PLEN,
    send: (wire) => [withByte(icResp(wire), PduAt.PLEN, 132)],
  },
  {
    words: "another format version",
    reason: "the controller wants PDU format version 1",
    fes: UNSUPPORTED,
    fei: ICRespAt.PFV,
    send: (wire) => [icResp(wire, { pfv: 1 })],
  },
  {
    words: "an alignment that is too large",
    reason: "the controller wants a data alignment of 33 dwords",
    fes: FIELD,
    fei: ICRespAt.CPDA,
    send: (wire) => [icResp(wire, { cpda: 32 })],
  },
  {
    words: "digests that were not asked for",
    reason: "the controller switched digests on that were not asked for",
    fes: UNSUPPORTED,
    fei: ICRespAt.DGST,
    send: (wire) => [icResp(wire, { dgst: 2 })],
  },
  ...[0, 4095, 4094, 4098].map((maxH2cData): Fault => ({
    words: `MAXH2CDATA ${maxH2cData}`,
    reason: `the controller gives MAXH2CDATA ${maxH2cData}`,
    fes: FIELD,
    fei: ICRespAt.MAXH2CDATA,
    send: (wire) => [icResp(wire, { maxH2cData })],
  })),
];

function icResp(wire: Wire, fields: { pfv?: number; cpda?: number; dgst?: number; maxH2cData?: number } = {}) {
  wire.target.sendIcResp(fields);
  return wire.target.take(128);
}

for (const fault of OPENING_FAULTS) {
  Deno.test(`Connection fails on ${fault.words} in answer to ICReq`, () => {
    for (const split of [whole, oneByOne]) {
      const wire = new Wire({ manners: { opens: false } });
      wire.connection.start();
      wire.pump();
      wire.receiveSplit = split;
      const pdu = fault.send(wire, { read: 0, write: 0, flush: 0 })[0];
      wire.inject(pdu);
      checkFailure(wire, fault, pdu);
      wire.checkArena();
    }
  });
}

Deno.test("Connection takes the largest MAXH2CDATA and sends all at once", () => {
  const wire = new Wire({ slotBytes: 65536, manners: { maxH2cDataBytes: 0xfffffffc } }).open();
  wire.submit(WRITE, 0, 65536);
  wire.pump();
  assertEquals(wire.target.h2cData.length, 1);
  assertEquals(wire.answers().length, 1);
  assertEquals(wire.target.violations, []);
});

Deno.test("Connection fails on bytes before it has asked for anything", () => {
  const wire = new Wire();
  wire.inject(responsePdu(0));
  assertEquals(wire.connection.state, "failed");
});

Deno.test("Connection fails on an answer to a command that it has not sent yet", () => {
  const early: Array<[opcode: number, pdu: (cid: number) => Uint8Array]> = [
    [READ, (cid) => responsePdu(cid, 0x06)],
    [READ, (cid) => c2hPdu(cid, DATA)],
    [WRITE, (cid) => r2tPdu(cid, 1, 0, 512)],
  ];
  for (const [opcode, pdu] of early) {
    const wire = new Wire({ manners: { answers: false } }).open();
    const command = wire.submit(opcode, 0, 512);
    wire.inject(pdu(wire.cid(command)));
    assertEquals(wire.connection.state, "failed");
    assertEquals(wire.answers(), []);
    wire.checkArena();
  }
});

Deno.test("Connection fails on an R2T for data that was in the capsule", () => {
  const wire = new Wire({ inCapsuleBytes: 4096, manners: { answers: false } }).open();
  const cid = wire.cid(wire.submit(WRITE, 0, 4096));
  wire.pump();
  wire.inject(r2tPdu(cid, 1, 0, 4096));
  assertEquals(
    wire.connection.failure?.reason,
    "the controller asked for 4096 bytes from 0 on where 0 from 4096 on are left",
  );
});

for (const [fes, fei, words] of TERM_REQ_WORDS()) {
  Deno.test(`Connection tells "${words}" from a C2HTermReq and does not answer it`, () => {
    for (const plen of [24, 48, 152]) {
      const wire = new Wire({ manners: { answers: false } }).open();
      wire.submit(READ, 0, 512);
      wire.pump();
      wire.inject(termReqPdu(fes, fei, plen));
      assertEquals(wire.connection.failure?.reason, `the controller ended the connection: ${words}`);
      assertEquals(wire.connection.terminationPdu(), null);
      wire.checkArena();
    }
  });
}

function TERM_REQ_WORDS(): Array<[number, number, string]> {
  return [
    [1, 0x0a, "invalid PDU header field (byte 10 of the header)"],
    [2, 0, "PDU sequence error"],
    [3, 0xdeadbeef, "header digest error (received 0xdeadbeef)"],
    [4, 0, "data transfer out of range"],
    [5, 0, "data transfer or R2T limit exceeded"],
    [6, 8, "unsupported parameter (byte 8 of the header)"],
    [7, 0, "unknown fatal error 0x07"],
  ];
}

Deno.test("Connection tells a C2HTermReq in answer to ICReq, and one that is broken", () => {
  const opening = new Wire({ manners: { opens: false } });
  opening.connection.start();
  opening.pump();
  opening.inject(termReqPdu(6, 8));
  assertEquals(
    opening.connection.failure?.reason,
    "the controller ended the connection: unsupported parameter (byte 8 of the header)",
  );
  const broken = new Wire().open();
  broken.inject(termReqPdu(1, 0, 153));
  assertEquals(
    broken.connection.failure?.reason,
    "the controller ended the connection with a broken C2HTermReq of 153 bytes",
  );
  assertEquals(broken.connection.terminationPdu(), null);
});

Deno.test("Connection keeps the first reason, and what was answered before it", () => {
  const wire = new Wire({ manners: { answers: false } }).open();
  const [one, two] = [wire.cid(wire.submit(FLUSH, 0, 0)), wire.cid(wire.submit(FLUSH, 1, 0))];
  wire.pump();
  wire.inject(responsePdu(two));
  wire.target.send(responsePdu(two));
  wire.target.send(responsePdu(one));
  while (wire.receivePiece());
  wire.connection.handleTransportError("cannot receive: connection reset by peer");
  assertEquals(wire.connection.failure?.reason, `the controller answered command ${two}, which is not in flight`);
  assertEquals(wire.answers().map((a) => a.owner), [1]);
  assertEquals(wire.connection.inFlight, 1);
});

Deno.test("Connection says who closed it", () => {
  const wire = new Wire().open();
  wire.connection.handleClosed();
  assertEquals(wire.connection.failure, { reason: "the controller closed the connection", fes: 0, fei: 0 });
});
