/**
 * Bytes that no host should send, at every state of the target's connection, to an owner that answers, fetches, drops or
 * keeps its commands in any order. The arena has guards around each part, and everything that the target sends is taken
 * apart by a naive host, which throws if it is no proper PDU.
 */
import { assert, assertEquals } from "@std/assert";
import { joinBytes } from "../../../src/base/bytes.ts";
import type { Prng } from "../../../src/base/prng.ts";
import { SlotPhase, TransferDirection } from "../../../src/nvme_target/command_slots.ts";
import { type CommandFields, r2t } from "../nvme_target/naive_host.ts";
import { oneByOne, pattern, randomSplit, TargetWire, whole } from "../nvme_target/target_wire.ts";
import { fuzz } from "./harness.ts";
import { garbage, mutate, pick } from "./mutator.ts";

const READ = 0x02, WRITE = 0x01, FLUSH = 0x00, COMPARE = 0x05, BOTH_WAYS = 0x03;
const SLOT_BYTES = 4096;
/** Fields of PDU headers, of SGLs too, with lengths, places and names. */
const FIELDS = [4, 8, 10, 12, 16, 20, 32, 40, 44];
const STATUSES = [0, 0, 0x281, 0x4002];

/** Data that the target has asked for. */
interface Due {
  cid: number;
  tag: number;
  offset: number;
  bytes: number;
}

class Session {
  readonly prng: Prng;
  readonly wire: TargetWire;
  readonly owned = new Set<number>();
  readonly due: Due[] = [];
  answered = 0;
  #cid: number;

  constructor(prng: Prng) {
    this.prng = prng;
    this.#cid = prng.below(65536);
    this.wire = new TargetWire({
      slots: 1 + prng.below(8),
      slotBytes: SLOT_BYTES,
      inCapsuleBytes: pick(prng, [0, 512, SLOT_BYTES]),
      receiveBytes: pick(prng, [256, 1024, 20000]),
      digests: { header: prng.below(3) === 0, data: prng.below(3) === 0 },
    });
    this.wire.receiveSplit = pick(prng, [whole, oneByOne, randomSplit(prng), randomSplit(prng)]);
    this.wire.sendSplit = pick(prng, [whole, randomSplit(prng)]);
  }

  /** An exchange that is as it should be, or not; in that case nobody knows what the target's PDUs look like. */
  open(): void {
    const { prng, wire } = this;
    const fields = { hpda: pick(prng, [0, 1, 31]), dgst: prng.below(4) };
    if (prng.below(8) > 0) return void wire.open(fields, this.#queue());
    wire.parses = false;
    wire.inject(mutate(prng, wire.host.icReq(fields), { fields: FIELDS }));
    if (wire.connection.state === "ready") wire.connection.setQueue(this.#queue());
  }

  #queue() {
    return { sqEntries: this.wire.slots, sqFlowControl: this.prng.below(2) === 0, sqHead: 0 };
  }

  /** A command as a host might send it. */
  #command(): Uint8Array {
    const { prng, wire } = this;
    if (prng.below(8) > 0) this.#cid = (this.#cid + 1) & 0xffff;
    const bytes = 4 * (1 + prng.below(pick(prng, [16, 128, SLOT_BYTES / 4])));
    const opcode = pick(prng, [READ, READ, WRITE, WRITE, COMPARE, FLUSH, BOTH_WAYS, 0x7f]);
    const fields: CommandFields = { cid: this.#cid, opcode, fctype: prng.below(8) };
    if (opcode !== FLUSH) {
      const inCapsule = (opcode & 3) === TransferDirection.TO_CONTROLLER && prng.below(2) === 0;
      if (inCapsule) Object.assign(fields, { data: pattern(bytes, this.#cid) });
      else fields.sgl = { length: bytes };
    }
    return wire.host.command(fields);
  }

  /** All or a part of the data that is due for one command. */
  #data(): Uint8Array {
    const { prng, due } = this;
    const index = prng.below(due.length);
    const { cid, tag, offset, bytes } = due[index];
    const part = prng.below(2) === 0 ? bytes : 4 * Math.ceil((1 + prng.below(bytes)) / 4);
    const last = part >= bytes;
    if (last) due.splice(index, 1);
    else due[index] = { cid, tag, offset: offset + part, bytes: bytes - part };
    return this.wire.host.h2cData(cid, { tag, offset, last, data: pattern(Math.min(part, bytes), cid) });
  }

  /** What a host sends next. A good one has no more commands than its queue. */
  send(isBad: boolean): void {
    const { prng, wire } = this;
    const fetching = this.#fetching();
    if (isBad && fetching.length > 0 && prng.below(2) === 0) return wire.send(this.#undueData(pick(prng, fetching)));
    const pdus: Uint8Array[] = [];
    for (let i = prng.below(4); i > 0 && this.due.length > 0; i--) pdus.push(this.#data());
    const room = wire.slots - wire.connection.inFlight;
    for (let i = prng.below(1 + Math.max(0, room)); i > 0; i--) pdus.push(this.#command());
    const bytes = joinBytes(pdus);
    wire.send(isBad ? this.#spoiled(bytes) : bytes);
  }

  #spoiled(bytes: Uint8Array): Uint8Array {
    const { prng, wire } = this;
    switch (prng.below(7)) {
      case 0:
        return joinBytes([bytes, ...Array.from({ length: 1 + prng.below(wire.slots + 1) }, () => this.#command())]);
      case 1:
        return joinBytes([bytes, this.#undueData(prng.below(wire.connection.commands.depth))]);
      case 2:
        return joinBytes([bytes, this.#falseCapsule()]);
      case 3:
        return joinBytes([bytes, pick(prng, [wire.host.icReq(), wire.host.termReq(prng.below(9), prng.uint32())])]);
      default:
        return mutate(prng, bytes.length === 0 ? garbage(prng, 256) : bytes, { fields: FIELDS });
    }
  }

  /** Data in a capsule whose SGL says something else of it. */
  #falseCapsule(): Uint8Array {
    const { prng, wire } = this;
    const bytes = 4 * (1 + prng.below(pick(prng, [16, 128, SLOT_BYTES])));
    const length = pick(prng, [0, bytes, bytes, bytes - 4, bytes + 4, SLOT_BYTES, 2 ** 32 - 4]);
    const sgl = { identifier: pick(prng, [0x00, 0x01, 0x01, 0x5a, 0xff]), address: pick(prng, [0, 0, 0, 4]), length };
    return wire.host.command({
      cid: this.#cid ^ 1,
      opcode: pick(prng, [READ, WRITE, FLUSH]),
      sgl,
      data: pattern(bytes, 1),
    });
  }

  /** Slots whose data was asked for. */
  #fetching(): number[] {
    const { phase, wantsR2t } = this.wire.connection.commands;
    return [...phase.keys()].filter((slot) => phase[slot] === SlotPhase.FETCHING && wantsR2t[slot] === 0);
  }

  /** Data that is nearly due: at or near its place. */
  #undueData(slot: number): Uint8Array {
    const { prng, wire } = this;
    const { cid, tag, fetched, dataBytes } = wire.connection.commands;
    const offset = prng.below(3) > 0 ? fetched[slot] : pick(prng, [0, 4, 512, SLOT_BYTES, 2 ** 32 - 4]);
    const left = Math.max(0, dataBytes[slot] - fetched[slot]);
    const bytes = Math.max(4, left + pick(prng, [0, 0, 4, -4, 512, SLOT_BYTES]));
    return wire.host.h2cData(cid[slot], {
      ...{ tag: tag[slot] + pick(prng, [0, 0, 0, 1]), offset: offset >>> 0, data: pattern(bytes, 1) },
      ...{ last: prng.below(2) === 0, pdo: pick(prng, [24, 28, 28, 32, 128]) },
    });
  }

  /** Bytes move both ways, and the owner does what it likes. */
  move(): void {
    const { prng, wire } = this;
    for (let i = prng.below(30); i > 0; i--) {
      if (prng.below(2) === 0) wire.sendPiece();
      else wire.receivePiece();
      if (prng.below(3) === 0) this.take();
      if (prng.below(3) === 0) this.answerOne();
    }
    this.#readPdus();
    wire.checkArena();
    this.#checkSlots();
  }

  take(): void {
    const { connection } = this.wire;
    const slot = connection.pollCommand();
    if (slot < 0) return;
    assert(!this.owned.has(slot), `slot ${slot} came twice`);
    const { dataBytes, dropped, hasData, direction } = connection.commands;
    assert(dataBytes[slot] <= SLOT_BYTES && dropped[slot] === 0);
    const canFetch = direction[slot] === TransferDirection.TO_CONTROLLER && hasData[slot] === 0 && dataBytes[slot] > 0;
    if (!canFetch || this.prng.below(8) === 0) return void this.owned.add(slot);
    connection.fetchData(slot);
    if (this.prng.below(8) === 0) connection.drop(slot);
  }

  answerOne(): void {
    const { connection } = this.wire;
    const [slot] = this.owned;
    if (slot === undefined) return;
    this.owned.delete(slot);
    this.answered++;
    if (this.prng.below(8) === 0) return connection.drop(slot);
    const reads = connection.commands.direction[slot] === TransferDirection.FROM_CONTROLLER;
    if (!reads || this.prng.below(4) === 0) return connection.respond(slot, pick(this.prng, STATUSES), 1);
    connection.respondWithData(slot, connection.commands.dataBytes[slot], this.prng.below(2));
  }

  #readPdus(): void {
    for (const pdu of this.wire.pdus.splice(0)) {
      assert(pdu.headerDigestOk && pdu.dataDigestOk, "What the target sends has right digests");
      if (pdu.type === 9) this.due.push(r2t(pdu));
    }
  }

  #checkSlots(): void {
    const { commands, inFlight, state } = this.wire.connection;
    const used = commands.phase.filter((phase) => phase !== SlotPhase.FREE).length;
    assertEquals(inFlight, used);
    for (const slot of this.owned) assertEquals(commands.phase[slot], SlotPhase.OWNED);
    if (state === "failed") assertEquals(used, this.owned.size, "After a failure only owners have commands");
  }

  /** Every command is answered, everything is sent: no slot and no CID is left over. */
  finish(): boolean {
    const { connection } = this.wire;
    const failed = connection.state === "failed";
    if (failed) this.#checkFailure();
    for (let quiet = false; !quiet;) {
      const before = this.answered;
      this.take();
      this.answerOne();
      quiet = !this.wire.sendPiece() && !this.wire.receivePiece() && this.answered === before &&
        this.owned.size === 0;
    }
    this.wire.checkArena();
    this.#checkSlots();
    const { phase, depth, fetched, dataBytes } = connection.commands;
    const isFetching = (slot: number) => phase[slot] === SlotPhase.FETCHING && fetched[slot] < dataBytes[slot];
    const waits = phase.filter((one, slot) => one === SlotPhase.ARRIVING || isFetching(slot)).length;
    assertEquals(connection.inFlight, waits, "Only what waits for the host is in flight");
    if (waits > 0 || this.prng.below(8) > 0) return failed;
    for (let cid = 0; cid < 65536; cid++) assert(connection.commands.find(cid) < 0, `CID ${cid} is left over`);
    const slots = new Set(Array.from({ length: depth }, () => connection.commands.take()));
    assert(slots.size === depth && !slots.has(-1), "Every slot can be had again, once");
    return failed;
  }

  #checkFailure(): void {
    const { connection } = this.wire;
    const { reason, fes } = connection.failure!;
    assert(/^the host \S/.test(reason) && !/\n/.test(reason), reason);
    const pdu = connection.terminationPdu();
    assertEquals(pdu === null, fes === 0);
    assert(pdu === null || (pdu.length >= 24 && pdu.length <= 152));
    connection.prepareReceive();
    assertEquals([connection.receiveBuffer.segments, connection.pollCommand(), connection.pollSend()], [0, -1, false]);
  }
}

const seen = { failed: 0, answered: 0 };

fuzz("TargetConnection survives streams that no host should send", 1500, (prng) => {
  const session = new Session(prng);
  session.open();
  const turns = 1 + prng.below(12);
  const firstBadTurn = prng.below(turns + 1);
  for (let turn = 0; turn < turns && session.wire.connection.state !== "failed"; turn++) {
    session.send(turn >= firstBadTurn && prng.below(2) === 0);
    session.move();
  }
  if (session.finish()) seen.failed++;
  seen.answered += session.answered;
}, (cases) => {
  // The cases are worth something only if many connections fail, and many commands are answered.
  if (cases < 1000) return;
  const { failed, answered } = seen;
  assert(failed > cases / 4 && failed < cases && answered > cases, `${failed} failed, ${answered} answered`);
});
