/**
 * Streams in two pieces, cut at every byte, and byte by byte: what comes of one, valid or garbled, does not depend on
 * how it was cut.
 */
import { assert, assertEquals, assertRejects } from "@std/assert";
import { joinBytes } from "../../../src/base/bytes.ts";
import type { Prng } from "../../../src/base/prng.ts";
import { LineTooLong, readLines } from "../../../src/rpc/lines.ts";
import { NvmOpcode } from "../../../src/protocol/nvme.ts";
import { c2hPdu, r2tPdu, responsePdu, withDigests } from "../nvme_host/scripted_target.ts";
import { Wire } from "../nvme_host/wire.ts";
import { TargetWire } from "../nvme_target/target_wire.ts";
import { fuzz, splitsOf } from "./harness.ts";
import { mutate, pick } from "./mutator.ts";

const READ = 0x02, WRITE = 0x01, FLUSH = 0x00;
const FIELDS = [4, 8, 10, 12, 16, 20, 22];

/** A stream for one end of a connection, and what it makes of the pieces. */
interface Stream {
  name: string;
  valid: (digests: boolean) => Uint8Array;
  /** Whatever can be seen of the outcome from outside. */
  run: (pieces: Uint8Array[], digests: boolean) => unknown;
  /** It took everything. */
  isFine: (outcome: unknown) => boolean;
}

/** The host has a read, a flush and a write in flight, whose CIDs are the same each time. */
function hostWire(digests: boolean): Wire {
  const manners = { answers: false, headerDigest: digests, dataDigest: digests };
  const wire = new Wire({ depth: 4, slotBytes: 256, receiveBytes: 512, manners });
  wire.connection.adopt({ maxH2cDataBytes: 4096, dataAlignment: 4, digests: wire.digests });
  wire.target.isOpen = true;
  wire.submit(NvmOpcode.READ, 0, 64);
  wire.submit(NvmOpcode.FLUSH, 1, 0);
  wire.submit(NvmOpcode.WRITE, 2, 40);
  wire.pump();
  return wire;
}

const host: Stream = {
  name: "Connection",
  valid(digests) {
    const wire = hostWire(digests);
    const [read, flush, write] = [0, 1, 2].map((owner) => wire.cid(wire.connection.commands.owner.indexOf(owner)));
    return joinBytes([
      c2hPdu(read, new Uint8Array(24).fill(1), { flags: 0, pdo: 28 }),
      r2tPdu(write, 9, 0, 40),
      responsePdu(flush, 0x281),
      c2hPdu(read, new Uint8Array(40).fill(2), { offset: 24, flags: 4 }),
      responsePdu(read, 0, 5, 6),
    ].map((pdu) => withDigests(pdu, wire.target.manners)));
  },
  run(pieces, digests) {
    const wire = hostWire(digests);
    const { connection } = wire;
    for (const piece of pieces) wire.inject(piece);
    const answers = wire.answers();
    if (answers.some(({ owner }) => owner === 0)) wire.accept(0, 64);
    const isMidPdu = connection.state === "ready" && connection.isMidPdu;
    const data = answers.filter(({ status }) => status === 0).map(({ owner }) => wire.buffer(owner).slice());
    wire.checkArena(answers.some(({ owner }) => owner === 0) ? [] : [0]);
    // A short PLEN is told of at once, if the header is not all there; else anything that is wrong with the header is.
    const isTold = connection.failure !== null && connection.failure.fes !== 0;
    return { state: connection.state, isTold, answers, data, isMidPdu };
  },
  isFine: (outcome) => (outcome as { state: string; answers: unknown[] }).answers.length === 2,
};

/** The target has asked for the data of command 9. */
function targetWire(digests: boolean): TargetWire {
  const wire = new TargetWire({ inCapsuleBytes: 128, receiveBytes: 256, slotBytes: 256, slots: 8 });
  wire.open({ dgst: digests ? 3 : 0 });
  wire.inject(wire.host.command({ cid: 9, opcode: WRITE, sgl: { length: 100 } }));
  wire.connection.fetchData(wire.take());
  wire.pump();
  wire.pdus.length = 0;
  return wire;
}

const target: Stream = {
  name: "TargetConnection",
  valid(digests) {
    const { host } = targetWire(digests);
    return joinBytes([
      host.command({ cid: 1, opcode: WRITE, data: new Uint8Array(36).fill(3), pdo: 80 }),
      host.h2cData(9, { tag: 1, data: new Uint8Array(60).fill(4), last: false, pdo: 32 }),
      host.command({ cid: 2, opcode: READ, sgl: { length: 50 } }),
      host.h2cData(9, { tag: 1, data: new Uint8Array(40).fill(5), offset: 60 }),
      host.command({ cid: 3, opcode: FLUSH }),
    ]);
  },
  run(pieces, digests) {
    const wire = targetWire(digests);
    const { connection } = wire;
    for (const piece of pieces) wire.inject(piece);
    const isMidPdu = connection.state === "ready" && connection.isMidPdu;
    const arrived = [];
    for (let slot = connection.pollCommand(); slot >= 0; slot = connection.pollCommand()) {
      const { sqe, dataBytes, hasData } = connection.commands;
      const data = hasData[slot] === 1 ? wire.buffer(slot, dataBytes[slot]) : null;
      arrived.push({ sqe: sqe.slice(slot * 16, slot * 16 + 16), bytes: dataBytes[slot], data });
      connection.respond(slot, 0);
    }
    wire.pump();
    wire.checkArena();
    const answers = wire.pdus.map(({ type, header }) => [type, new Uint8Array(header.buffer)]);
    return { state: connection.state, failure: connection.failure, isMidPdu, arrived, answers };
  },
  isFine: (outcome) => (outcome as { arrived: unknown[] }).arrived.length === 4,
};

for (const { name, valid, run, isFine } of [host, target]) {
  for (const digests of [false, true]) {
    const how = digests ? " with digests" : "";

    Deno.test(`${name}${how} takes a stream that is cut at any byte`, () => {
      const stream = valid(digests);
      const outcome = run([stream], digests);
      assert(isFine(outcome), Deno.inspect(outcome));
      for (const pieces of splitsOf(stream)) assertEquals(run(pieces, digests), outcome);
    });

    fuzz(`${name}${how} makes the same of a garbled stream wherever it is cut`, 250, (prng) => {
      const stream = garbled(prng, valid(digests));
      const outcome = run([stream], digests);
      const splits = prng.below(12) === 0 ? splitsOf(stream) : someSplits(prng, stream);
      for (const pieces of splits) assertEquals(run(pieces, digests), outcome);
    });
  }
}

/** Something is wrong from one of its PDUs on: what is before that is taken. */
function garbled(prng: Prng, stream: Uint8Array): Uint8Array {
  const at = pick(prng, pdusOf(stream));
  return joinBytes([stream.subarray(0, at), mutate(prng, stream.subarray(at), { fields: FIELDS })]);
}

/** Where each PDU begins. */
function pdusOf(stream: Uint8Array): number[] {
  const view = new DataView(stream.buffer, stream.byteOffset);
  const starts = [];
  for (let at = 0; at < stream.length; at += view.getUint32(at + 4, true)) starts.push(at);
  return starts;
}

/** A few cuts of a long stream, and single bytes. */
function* someSplits(prng: Prng, stream: Uint8Array): Generator<Uint8Array[]> {
  const splits = [...splitsOf(stream)];
  for (let i = 0; i < 8; i++) yield pick(prng, splits);
  yield splits.at(-1)!;
}

// ── lines of the control socket ─────────────────────────────────────────────────────────────────────────────────────

async function linesOf(pieces: Uint8Array[], bytesMax: number): Promise<string[]> {
  const left = pieces.filter((piece) => piece.length > 0);
  const source = {
    read(into: Uint8Array) {
      const piece = left.shift();
      if (piece === undefined) return Promise.resolve(null);
      into.set(piece);
      return Promise.resolve(piece.length);
    },
  };
  const lines = [];
  for await (const line of readLines(source, bytesMax)) lines.push(line.join(" "));
  return lines;
}

const LINES = new TextEncoder().encode('{"id":1,"method":"list"}\n\n{"id":2,"name":"käse"}\nno end');

/** The same, as simple as it can be written; null if a line is too long. */
function naiveLines(bytes: Uint8Array, bytesMax: number): string[] | null {
  const lines: number[][] = [[]];
  for (const byte of bytes) {
    if (byte === 10) lines.push([]);
    else if (lines.at(-1)!.push(byte) > bytesMax) return null;
  }
  return lines.slice(0, -1).map((line) => line.join(" "));
}

Deno.test("readLines() takes lines up to its bound and no longer, wherever they are cut", async () => {
  for (let bytesMax = 1; bytesMax < 30; bytesMax++) await checkLines(LINES, bytesMax);
});

fuzz("readLines() gives the same garbled lines wherever they are cut", 60, async (prng) => {
  const bytes = mutate(prng, LINES);
  if (bytes.length < 400) await checkLines(bytes, pick(prng, [1, 15, 20, 23, 24, 1000]));
});

async function checkLines(bytes: Uint8Array, bytesMax: number): Promise<void> {
  const expected = naiveLines(bytes, bytesMax);
  for (const pieces of splitsOf(bytes)) {
    if (expected === null) await assertRejects(() => linesOf(pieces, bytesMax), LineTooLong);
    else assertEquals(await linesOf(pieces, bytesMax), expected);
  }
}
