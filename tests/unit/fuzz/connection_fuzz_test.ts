/**
 * Bytes that no controller should send, at every state of a connection: garbage, valid streams with bytes changed, cut,
 * inserted, doubled or left out, fields with extreme values, and PDUs that are valid but not due.
 */
import { assert } from "@std/assert";
import type { Prng } from "../../../src/base/prng.ts";
import { CommandPhase } from "../../../src/nvme_host/command_table.ts";
import { NO_DIGESTS } from "../../../src/nvme_host/transfer.ts";
import { NvmOpcode } from "../../../src/protocol/nvme.ts";
import { PduFlag, PduType } from "../../../src/protocol/nvme_tcp.ts";
import { c2hPdu, header, r2tPdu, responsePdu, termReqPdu, withDigests } from "../nvme_host/scripted_target.ts";
import { oneByOne, randomSplit, whole, Wire } from "../nvme_host/wire.ts";
import { fuzz } from "./harness.ts";
import { garbage, mutate } from "./mutator.ts";

const SLOTS = 6;
const SLOT_BYTES = 9216;
/** Fields of PDU headers with lengths, places and names. */
const FIELDS = [4, 8, 10, 12, 16, 20, 22];

/** A well-formed PDU that is nearly due: for a command that is often in flight, at or near the place that is due. */
function undue(prng: Prng, wire: Wire): Uint8Array {
  const { cid: cids, phase, transferred, dataBytes } = wire.connection.commands;
  const active = [...cids.keys()].filter((slot) => phase[slot] === CommandPhase.ACTIVE);
  const slot = active.length > 0 ? active[prng.below(active.length)] : prng.below(cids.length);
  const cid = prng.below(8) === 0 ? prng.below(65536) : cids[slot];
  const offset = prng.below(4) > 0 ? transferred[slot] : [0, 512, 4096, 8192, SLOT_BYTES][prng.below(5)];
  const left = Math.max(dataBytes[slot] - transferred[slot], 0);
  const bytes = Math.max(left + [0, 0, -4, -512, 1, 4, 60, 512, -left][prng.below(9)], 0);
  switch (prng.below(6)) {
    case 0:
      return responsePdu(cid, [0, 0, 6, 0x281][prng.below(4)]);
    case 1:
      return r2tPdu(cid, prng.below(65536), offset, bytes);
    case 2:
      return prng.below(8) === 0 ? termReqPdu(prng.below(9), prng.uint32(), 24 + prng.below(200)) : responsePdu(cid, 6);
    case 3:
      return header([0, 1, 2, 4, 6, 8, 10, 200][prng.below(8)], [24, 72, 128][prng.below(3)], 24 + prng.below(200));
    default:
      return c2hPdu(cid, new Uint8Array(bytes).fill(0x5a), {
        offset,
        flags: [0, 0, PduFlag.LAST_PDU, PduFlag.LAST_PDU | PduFlag.SUCCESS, prng.below(16)][prng.below(5)],
        pdo: [24, 24, 24, 28, 128, 252][prng.below(6)],
      });
  }
}

interface Outcome {
  answers: number;
  failed: boolean;
}

/** One connection, from nothing to a failure or its end. Of each slot in use it knows what a read may fill. */
function runCase(prng: Prng): Outcome {
  const receiveBytes = [256, 1024, 20000][prng.below(3)];
  const wire = new Wire({
    depth: SLOTS,
    slotBytes: SLOT_BYTES,
    receiveBytes,
    inCapsuleBytes: [0, 512, 8192][prng.below(3)],
    manners: {
      cpda: prng.below(4) === 0 ? prng.below(32) : 0,
      success: prng.below(2) === 0,
      c2hDataBytes: [512, 4000, 1 << 30][prng.below(3)],
      c2hPdo: [24, 28, 252][prng.below(3)],
      r2tBytes: [512, 5000, 1 << 30][prng.below(3)],
      maxH2cDataBytes: [4096, 8192][prng.below(2)],
      headerDigest: prng.below(4) === 0,
      dataDigest: prng.below(3) === 0,
    },
  });
  wire.receiveSplit = [whole, oneByOne, randomSplit(prng), randomSplit(prng)][prng.below(4)];
  wire.sendSplit = [whole, randomSplit(prng)][prng.below(2)];
  // The target goes on after a mutation as if nothing had happened: what it says of the host then means nothing.
  const turns = 1 + prng.below(12);
  const firstBadTurn = prng.below(turns + 1);
  const state = { owned: new Map<number, number>(), freed: 0 };
  wire.onSend = (offset, bytes) => {
    const isOwned = (slot: number) => wire.offset(slot) <= offset && offset + bytes <= wire.offset(slot) + SLOT_BYTES;
    assert([...state.owned.keys()].some(isOwned), `${bytes} bytes at ${offset} are sent, which belong to no command`);
  };
  wire.connection.start(wire.digests);
  for (let turn = 0; turn < turns && wire.connection.state !== "failed"; turn++) {
    if (wire.connection.state === "ready") submitSome(prng, wire, state.owned);
    for (let i = prng.below(6); i > 0; i--) wire.sendPiece();
    if (turn >= firstBadTurn && prng.below(2) === 0) disturb(prng, wire);
    for (let i = prng.below(30); i > 0 && wire.receivePiece(); i--) takeAnswers(wire, state);
    takeAnswers(wire, state);
  }
  while (wire.receivePiece());
  finish(wire, state);
  return { answers: state.freed, failed: wire.connection.state === "failed" };
}

function submitSome(prng: Prng, wire: Wire, owned: Map<number, number>): void {
  for (let slot = 0; slot < SLOTS; slot++) {
    if (owned.has(slot) || prng.below(2) === 0) continue;
    const bytes = 4 * (1 + prng.below(prng.below(2) === 0 ? 128 : SLOT_BYTES / 4));
    const what = prng.below(5);
    const opcode = what < 2 ? NvmOpcode.READ : what < 4 ? NvmOpcode.WRITE : NvmOpcode.FLUSH;
    const command = wire.submit(opcode, slot, what < 4 ? bytes : 0);
    assert(command >= 0, "there is a slot for each owner");
    owned.set(slot, opcode === NvmOpcode.READ ? bytes : 0);
  }
}

function disturb(prng: Prng, wire: Wire): void {
  if (prng.below(3) === 0) {
    const pdu = undue(prng, wire);
    return prng.below(8) === 0 || isEnd(pdu) ? wire.target.send(pdu) : wire.target.sendPdu(pdu);
  }
  const most = prng.below(2) === 0 ? 64 : 16384;
  const taken = wire.target.take(most).slice();
  if (taken.length === 0) return wire.target.send(garbage(prng, 256));
  // At a PDU that begins here: the target sends them one after the other.
  wire.target.send(mutate(prng, taken, { fields: FIELDS }));
}

/** PDUs that have no digests, and those that are too short for their header. */
function isEnd(pdu: Uint8Array): boolean {
  return pdu[0] === PduType.C2HTermReq || pdu[0] === PduType.ICResp || pdu.length < pdu[2];
}

/** Each answer is for a command in flight, and a buffer that is given back is written no more. */
function takeAnswers(wire: Wire, state: { owned: Map<number, number>; freed: number }): void {
  for (const { owner, status } of wire.answers()) {
    assert(state.owned.has(owner), `command of slot ${owner} was answered twice`);
    assert(status >= 0 && status < 32768, `status ${status}`);
    wire.accept(owner, state.owned.get(owner));
    state.owned.delete(owner);
    state.freed++;
  }
}

function finish(wire: Wire, state: { owned: Map<number, number>; freed: number }): void {
  const { connection } = wire;
  if (connection.state === "failed") {
    const { reason, fes } = connection.failure!;
    assert(/^(the controller )\S/.test(reason), `reason "${reason}"`);
    const pdu = connection.terminationPdu();
    assert((fes === 0) === (pdu === null));
    assert(pdu === null || (pdu.length >= 24 && pdu.length <= 152));
    assert(connection.pollSend() === false);
    connection.handleQuiet();
  }
  takeAnswers(wire, state);
  assert(connection.inFlight === state.owned.size, `${connection.inFlight} in flight, ${state.owned.size} known`);
  for (const [slot, bytes] of state.owned) wire.accept(slot, bytes);
  wire.checkArena();
}

const seen = { failed: 0, answers: 0 };

fuzz("Connection survives streams that no controller should send", 6000, (prng) => {
  const outcome = runCase(prng);
  if (outcome.failed) seen.failed++;
  seen.answers += outcome.answers;
}, (cases) => {
  // The cases are worth something only if many connections fail, and many commands are answered.
  if (cases < 1000) return;
  const { failed, answers } = seen;
  assert(failed > cases / 4 && failed < cases && answers > cases, `${failed} failed, ${answers} answers`);
});

Deno.test("Connection fails, or waits for more, on every single byte value at each place of a header", () => {
  for (const base of [responsePdu, (cid: number) => c2hPdu(cid, new Uint8Array(512)), r2tOf]) {
    for (let at = 0; at < 24; at++) {
      for (let value = 0; value < 256; value++) {
        const wire = new Wire({ depth: 2, slotBytes: 512, receiveBytes: 1024, manners: { answers: false } });
        wire.connection.adopt({ maxH2cDataBytes: 4096, dataAlignment: 4, digests: NO_DIGESTS });
        wire.target.isOpen = true;
        const opcode = base === r2tOf ? NvmOpcode.WRITE : base === responsePdu ? NvmOpcode.FLUSH : NvmOpcode.READ;
        const cid = wire.cid(wire.submit(opcode, 0, opcode === NvmOpcode.FLUSH ? 0 : 512));
        wire.pump();
        const pdu = base(cid);
        pdu[at] = value;
        wire.inject(pdu);
        if (wire.connection.state === "failed") assert(wire.connection.failure!.reason.length > 10);
        wire.checkArena([0]);
      }
    }
  }
});

Deno.test("Connection with digests fails, or waits for more, on every other byte value at each place of a PDU", () => {
  const manners = { answers: false, headerDigest: true, dataDigest: true };
  for (const base of [responsePdu, (cid: number) => c2hPdu(cid, new Uint8Array(8)), r2tOf]) {
    for (let at = 0; at < 28; at++) {
      for (let value = 1; value < 256; value++) {
        const wire = new Wire({ depth: 2, slotBytes: 512, receiveBytes: 1024, manners });
        wire.connection.adopt({ maxH2cDataBytes: 4096, dataAlignment: 4, digests: wire.digests });
        wire.target.isOpen = true;
        const opcode = base === r2tOf ? NvmOpcode.WRITE : base === responsePdu ? NvmOpcode.FLUSH : NvmOpcode.READ;
        const cid = wire.cid(wire.submit(opcode, 0, opcode === NvmOpcode.FLUSH ? 0 : base === r2tOf ? 512 : 8));
        wire.pump();
        const pdu = withDigests(base(cid), manners);
        pdu[at] ^= value;
        wire.inject(pdu);
        assert(wire.connection.state === "failed" || wire.connection.isMidPdu, `byte ${at} of ${base.name}: ${value}`);
        assert(wire.answers().length === 0);
        wire.checkArena();
      }
    }
  }
});

function r2tOf(cid: number): Uint8Array {
  return r2tPdu(cid, 1, 0, 512);
}

Deno.test("Connection fails on nothing but a complete first header", () => {
  for (const type of Object.values(PduType)) {
    const wire = new Wire();
    wire.connection.start();
    wire.pump();
    wire.target.take(1024);
    assert(wire.connection.state === "ready");
    const hlen = { 0: 128, 1: 128, 4: 72 }[type as number] ?? 24;
    const pdu = header(type, hlen, hlen);
    wire.inject(pdu.subarray(0, hlen - 1));
    assert(wire.connection.state === "ready" && wire.connection.isMidPdu);
    wire.inject(pdu.subarray(hlen - 1));
    assert((wire.connection.state as string) === "failed");
  }
});
