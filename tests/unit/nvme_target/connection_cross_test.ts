/**
 * The host's connection and the target's, talking to each other over pipes that cut the bytes anywhere. They share
 * nothing but the numbers of the specification: what both get wrong in the same way, the naive peers of their own tests
 * find. UMPATH_SEED reproduces a failure.
 */
import { assert, assertEquals } from "@std/assert";
import { native } from "../../../ffi/library.ts";
import { Prng } from "../../../src/base/prng.ts";
import { DataDirection } from "../../../src/nvme_host/command_table.ts";
import { Connection, Submission } from "../../../src/nvme_host/connection.ts";
import { type Digests, NO_DIGESTS } from "../../../src/nvme_host/transfer.ts";
import { StatusCode } from "../../../src/protocol/nvme_status.ts";
import { TargetConnection } from "../../../src/nvme_target/connection.ts";
import { pattern, randomSplit, type Split, whole } from "./target_wire.ts";

const SEED = Number(Deno.env.get("UMPATH_SEED") ?? Date.now() % 2 ** 31);
const READ = 0x02;
const WRITE = 0x01;
const FLUSH = 0x00;

/** What both connections have in common for a pipe. */
interface Machine {
  readonly receiveBuffer: {
    readonly segments: number;
    readonly offset: readonly [number, number];
    readonly bytes: readonly [number, number];
  };
  readonly sendBuffer: {
    readonly segments: number;
    readonly isSending: boolean;
    segmentOffset(index: number): number;
    segmentBytes(index: number): number;
  };
  readonly state: string;
  prepareReceive(): void;
  handleReceived(bytes: number): void;
  pollSend(): boolean;
  handleSent(bytes: number): boolean;
}

/** One direction: bytes that one end has sent and the other has not received. At most `capacity`, like a socket. */
class Pipe {
  #bytes: Uint8Array<ArrayBuffer>;
  #used = 0;

  constructor(capacity: number) {
    this.#bytes = new Uint8Array(capacity);
  }

  /** Takes some of what `from` wants to send; false if nothing moved. */
  fill(from: Machine, memory: Uint8Array, split: Split): boolean {
    const buffer = from.sendBuffer;
    if (from.state === "failed" || (!buffer.isSending && !from.pollSend())) return false;
    const room = this.#bytes.length - this.#used;
    if (room === 0) return false;
    let left = split(room);
    let moved = 0;
    for (let i = 0; i < buffer.segments && left > 0; i++) {
      const bytes = Math.min(left, buffer.segmentBytes(i));
      const offset = buffer.segmentOffset(i);
      this.#bytes.set(memory.subarray(offset, offset + bytes), this.#used);
      this.#used += bytes;
      left -= bytes;
      moved += bytes;
    }
    from.handleSent(moved);
    return true;
  }

  /** Gives some to `to`; false if nothing moved. */
  drain(to: Machine, memory: Uint8Array, split: Split): boolean {
    if (this.#used === 0 || to.state === "failed") return false;
    to.prepareReceive();
    const { segments, offset, bytes } = to.receiveBuffer;
    if (segments === 0) return false;
    const room = bytes[0] + (segments > 1 ? bytes[1] : 0);
    const moved = Math.min(split(Math.min(room, this.#used)), room, this.#used);
    const first = Math.min(moved, bytes[0]);
    memory.set(this.#bytes.subarray(0, first), offset[0]);
    if (moved > first) memory.set(this.#bytes.subarray(first, moved), offset[1]);
    this.#bytes.copyWithin(0, moved, this.#used);
    this.#used -= moved;
    to.handleReceived(moved);
    return true;
  }
}

interface RigOptions {
  /** Commands in flight of the host, and of the target. */
  depth: number;
  slots: number;
  dataBytes: number;
  inCapsuleBytes: number;
  receiveBytes: number;
  pipeBytes: number;
  sqFlowControl: boolean;
  digests: Digests;
}

/** Host, pipes and target, and what each command is about. */
class Rig {
  readonly host: Connection;
  readonly target: TargetConnection;
  readonly hostMemory: Uint8Array<ArrayBuffer>;
  readonly targetMemory: Uint8Array<ArrayBuffer>;
  readonly options: RigOptions;
  readonly toTarget: Pipe;
  readonly toHost: Pipe;
  split: Split = whole;
  readonly #prng: Prng;
  readonly #submission = new Submission();
  /** By host slot of data: what is in flight there. */
  readonly #commands: ({ opcode: number; bytes: number; seed: number; status: number } | null)[];
  /** Commands that the target has and has not answered. */
  readonly #owned: number[] = [];
  #seed = 0;
  answered = 0;
  inCapsule = 0;
  byR2t = 0;
  readBytes = 0;
  crcs = 0;

  constructor(prng: Prng, options: RigOptions) {
    this.options = options;
    this.#prng = prng;
    const { depth, slots, dataBytes, receiveBytes, inCapsuleBytes } = options;
    const hostOwn = Connection.arenaBytes(depth, receiveBytes);
    const targetOwn = (TargetConnection.arenaBytes(slots, receiveBytes) + 7) & ~7;
    this.hostMemory = new Uint8Array((hostOwn + depth * dataBytes + 7) & ~7);
    this.targetMemory = new Uint8Array((targetOwn + slots * dataBytes + 7) & ~7);
    const { hostMemory, targetMemory } = this;
    this.host = new Connection({
      memory: hostMemory,
      ...{ arenaOffset: 0, depth, inCapsuleBytes, receiveBytes },
      crc32c: (offset, bytes) => this.#count(native().um_crc32c_part(hostMemory, offset, bytes)),
    });
    this.target = new TargetConnection({
      memory: this.targetMemory,
      ...{ arenaOffset: 0, slots, dataOffset: targetOwn, dataBytes, inCapsuleBytes, receiveBytes },
      crc32c: (offset, bytes) => this.#count(native().um_crc32c_part(targetMemory, offset, bytes)),
    });
    this.#commands = new Array(depth).fill(null);
    this.toTarget = new Pipe(options.pipeBytes);
    this.toHost = new Pipe(options.pipeBytes);
  }

  #hostOffset(place: number): number {
    return Connection.arenaBytes(this.options.depth, this.options.receiveBytes) + place * this.options.dataBytes;
  }

  #count(crc: number): number {
    this.crcs++;
    return crc;
  }

  open(): void {
    this.host.start(this.options.digests);
    while (this.move());
    assertEquals([this.host.state, this.target.state], ["ready", "ready"]);
    const { slots, sqFlowControl } = this.options;
    this.target.setQueue({ sqEntries: slots, sqFlowControl, sqHead: 1 % slots });
  }

  /** Moves something somewhere; false if there is nothing to move. */
  move(): boolean {
    const moves = [
      () => this.toTarget.fill(this.host, this.hostMemory, this.split),
      () => this.toTarget.drain(this.target, this.targetMemory, this.split),
      () => this.toHost.fill(this.target, this.targetMemory, this.split),
      () => this.toHost.drain(this.host, this.hostMemory, this.split),
    ];
    const first = this.#prng.below(moves.length);
    for (let i = 0; i < moves.length; i++) if (moves[(first + i) % moves.length]()) return true;
    return false;
  }

  /** The host submits a command, if it has a place for it. */
  submit(): void {
    const prng = this.#prng;
    const place = this.#commands.indexOf(null);
    if (place < 0) return;
    const opcode = [READ, READ, WRITE, WRITE, WRITE, FLUSH][prng.below(6)];
    const bytes = opcode === FLUSH
      ? 0
      : 1 + prng.below(prng.below(3) === 0 ? this.options.dataBytes : Math.min(4096, this.options.dataBytes));
    const seed = ++this.#seed;
    const status = prng.below(10) === 0 ? 0x4281 : 0;
    const submission = this.#submission;
    submission.sqe.fill(0);
    submission.sqe[0] = opcode;
    submission.sqe[1] = 1;
    submission.sqe[10] = seed;
    submission.sqe[11] = status;
    submission.direction = bytes === 0
      ? DataDirection.NONE
      : opcode === READ
      ? DataDirection.FROM_CONTROLLER
      : DataDirection.TO_CONTROLLER;
    submission.dataOffset = this.#hostOffset(place);
    submission.dataBytes = bytes;
    submission.owner = place;
    if (opcode === WRITE) this.hostMemory.set(pattern(bytes, seed), submission.dataOffset);
    else this.hostMemory.fill(0, submission.dataOffset, submission.dataOffset + bytes);
    assert(this.host.submit(submission, 0) >= 0);
    this.#commands[place] = { opcode, bytes, seed, status };
  }

  /** The target takes what has come, and answers some of it, in any order. */
  serve(answersMax: number): void {
    const { target } = this;
    const { commands } = target;
    for (let slot = target.pollCommand(); slot >= 0; slot = target.pollCommand()) {
      const opcode = commands.sqe[slot * 16] & 0xff;
      if (opcode === WRITE && commands.hasData[slot] === 0) {
        this.byR2t++;
        target.fetchData(slot);
        continue;
      }
      if (opcode === WRITE && commands.dataBytes[slot] <= this.options.inCapsuleBytes) this.inCapsule++;
      this.#owned.push(slot);
    }
    for (let i = 0; i < answersMax && this.#owned.length > 0; i++) {
      const [slot] = this.#owned.splice(this.#prng.below(this.#owned.length), 1);
      this.#answer(slot);
    }
  }

  #answer(slot: number): void {
    const { sqe, dataBytes, dataOffset } = this.target.commands;
    const opcode = sqe[slot * 16] & 0xff;
    const seed = sqe[slot * 16 + 10];
    const status = sqe[slot * 16 + 11];
    const at = dataOffset[slot];
    const bytes = dataBytes[slot];
    if (opcode === WRITE) assertEquals(this.targetMemory.slice(at, at + bytes), pattern(bytes, seed));
    if (opcode !== READ || status !== 0) return this.target.respond(slot, status, seed, ~seed >>> 0);
    this.targetMemory.set(pattern(bytes, seed), at);
    this.target.respondWithData(slot, bytes, seed % 3 === 0 ? seed : 0);
  }

  /** The host takes its answers and checks them. */
  collect(): void {
    const { host } = this;
    for (let slot = host.pollCompletion(); slot >= 0; slot = host.pollCompletion()) {
      const place = host.commands.owner[slot];
      const command = this.#commands[place];
      if (command === null) throw new Error("A command was answered twice");
      const { opcode, bytes, seed, status } = command;
      assertEquals(host.commands.status[slot], status);
      if (opcode === READ && status === 0) {
        const at = this.#hostOffset(place);
        assertEquals(this.hostMemory.slice(at, at + bytes), pattern(bytes, seed));
        assertEquals(host.commands.result0[slot], seed % 3 === 0 ? seed : 0);
        this.readBytes += bytes;
      } else assertEquals([host.commands.result0[slot], host.commands.result1[slot]], [seed, ~seed >>> 0]);
      host.release(slot);
      this.#commands[place] = null;
      this.answered++;
    }
  }

  /** One read from begin to end; its status. */
  readOnce(seed: number): number {
    const { host, target } = this;
    const bytes = 1 + this.#prng.below(this.options.dataBytes);
    const submission = this.#submission;
    submission.sqe.fill(0);
    submission.sqe[0] = READ;
    submission.sqe[10] = seed;
    submission.direction = DataDirection.FROM_CONTROLLER;
    submission.dataOffset = this.#hostOffset(0);
    submission.dataBytes = bytes;
    host.submit(submission, 0);
    while (this.move());
    this.#answer(target.pollCommand());
    while (this.move());
    const slot = host.pollCompletion();
    const status = host.commands.status[slot];
    host.release(slot);
    if (status === 0) {
      assertEquals(this.hostMemory.slice(submission.dataOffset).subarray(0, bytes), pattern(bytes, seed));
    }
    return status;
  }

  check(): void {
    assertEquals([this.host.failure, this.target.failure], [null, null]);
  }
}

function run(seed: number, commands: number, options: RigOptions, split: (prng: Prng) => Split): Rig {
  const prng = new Prng(seed);
  const rig = new Rig(prng, options);
  rig.split = split(prng);
  rig.open();
  let submitted = 0;
  for (let idle = 0; rig.answered < commands;) {
    if (submitted < commands && prng.below(3) > 0) {
      const before = rig.host.inFlight;
      rig.submit();
      submitted += rig.host.inFlight - before;
    }
    let moved = 0;
    for (let i = prng.below(20); i > 0 && rig.move(); i--) moved++;
    const answered = rig.answered;
    rig.serve(prng.below(2) === 0 ? 1 : prng.below(options.slots + 1));
    rig.collect();
    rig.check();
    idle = moved > 0 || rig.answered > answered ? 0 : idle + 1;
    assert(idle < 1000, `Nothing moves with ${rig.answered} of ${commands} commands answered`);
  }
  while (rig.move());
  assertEquals([rig.host.inFlight, rig.target.inFlight], [0, 0]);
  assertEquals([rig.host.isMidPdu, rig.target.isMidPdu], [false, false]);
  return rig;
}

const COMMON: RigOptions = {
  ...{ depth: 15, slots: 16, dataBytes: 65536, inCapsuleBytes: 2048, receiveBytes: 8192, pipeBytes: 100_000 },
  sqFlowControl: false,
  digests: NO_DIGESTS,
};
const BOTH: Digests = { header: true, data: true };

const CASES: [string, number, Partial<RigOptions>, (prng: Prng) => Split][] = [
  ["whole pieces", 2000, {}, () => whole],
  ["random pieces", 1500, {}, (prng) => randomSplit(prng, 65536)],
  ["small pieces", 300, { dataBytes: 8192 }, (prng) => randomSplit(prng, 64)],
  ["single bytes", 40, { dataBytes: 2048 }, () => () => 1],
  ["flow control", 1000, { sqFlowControl: true }, (prng) => randomSplit(prng, 16384)],
  ["nothing in the capsule", 1000, { inCapsuleBytes: 0 }, (prng) => randomSplit(prng, 16384)],
  ["all in the capsule", 1000, { inCapsuleBytes: 65536 }, (prng) => randomSplit(prng, 16384)],
  ["as many commands as slots", 1500, { depth: 16 }, (prng) => randomSplit(prng, 65536)],
  ["two slots and a small window", 1000, { depth: 2, slots: 2, receiveBytes: 256 }, (prng) => randomSplit(prng, 4096)],
  ["one slot", 500, { depth: 1, slots: 1 }, (prng) => randomSplit(prng, 16384)],
  ["a narrow pipe", 300, { pipeBytes: 1000 }, () => whole],
  ["many commands", 3000, { depth: 255, slots: 256, dataBytes: 4096 }, (prng) => randomSplit(prng, 65536)],
  ["header digests", 1000, { digests: { header: true, data: false } }, (prng) => randomSplit(prng, 65536)],
  ["data digests", 1000, { digests: { header: false, data: true } }, (prng) => randomSplit(prng, 16384)],
  ["digests", 1500, { digests: BOTH }, (prng) => randomSplit(prng, 65536)],
  ["digests in single bytes", 40, { digests: BOTH, dataBytes: 2048 }, () => () => 1],
  ["digests and flow control", 500, { digests: BOTH, sqFlowControl: true }, (prng) => randomSplit(prng, 64)],
  [
    "digests and many commands",
    3000,
    { digests: BOTH, depth: 255, slots: 256, dataBytes: 4096, inCapsuleBytes: 4096 },
    (prng) => randomSplit(prng, 65536),
  ],
  [
    "digests of large data",
    60,
    { digests: BOTH, depth: 4, slots: 4, dataBytes: 2 << 20, pipeBytes: 1 << 20 },
    () => whole,
  ],
  ["large data", 60, { depth: 4, slots: 4, dataBytes: 2 << 20, pipeBytes: 1 << 20 }, () => whole],
];

for (const [name, commands, options, split] of CASES) {
  Deno.test(`Connection and TargetConnection understand each other: ${name}`, () => {
    const all = { ...COMMON, ...options };
    try {
      const rig = run(SEED, commands, all, split);
      assert(rig.readBytes > 0);
      assertEquals(rig.crcs > 0, all.digests.header || all.digests.data);
      assert(all.inCapsuleBytes === 0 || rig.inCapsule > 0 || commands < 100);
      assert(all.inCapsuleBytes >= all.dataBytes || rig.byR2t > 0);
    } catch (error) {
      throw new Error(`Failed with UMPATH_SEED=${SEED}`, { cause: error });
    }
  });
}

Deno.test("Connection and TargetConnection agree on whose fault it was", () => {
  const rig = new Rig(new Prng(1), COMMON);
  rig.open();
  rig.target.handleClosed();
  assertEquals(rig.target.terminationPdu(), null);
  const other = new Rig(new Prng(1), COMMON);
  other.host.adopt({ maxH2cDataBytes: 4096, dataAlignment: 4, digests: NO_DIGESTS });
  other.submit();
  while (other.move());
  const pdu = other.target.terminationPdu()!;
  other.host.prepareReceive();
  other.hostMemory.set(pdu, other.host.receiveBuffer.offset[0]);
  other.host.handleReceived(pdu.length);
  assertEquals(other.host.failure!.reason, "the controller ended the connection: PDU sequence error");
  const back = new Rig(new Prng(1), COMMON);
  back.open();
  back.host.prepareReceive();
  back.hostMemory.fill(0xff, back.host.receiveBuffer.offset[0], back.host.receiveBuffer.offset[0] + 8);
  back.host.handleReceived(8);
  const request = back.host.terminationPdu()!;
  back.target.prepareReceive();
  back.targetMemory.set(request, back.target.receiveBuffer.offset[0]);
  back.target.handleReceived(request.length);
  const words = "the host ended the connection: invalid PDU header field (byte 0 of the header)";
  assertEquals(back.target.failure, { reason: words, fes: 0, fei: 0 });
});

Deno.test("Connection and TargetConnection take a wrong data digest for the matter of one command", () => {
  const rig = new Rig(new Prng(1), { ...COMMON, digests: BOTH });
  rig.open();
  const statuses: number[] = [];
  for (let i = 0; i < 200; i++) {
    if (i % 10 === 0) rig.target.spoilNextDigest();
    statuses.push(rig.readOnce(i));
  }
  assertEquals(statuses.filter((status) => status === StatusCode.TRANSIENT_TRANSPORT_ERROR).length, 20);
  assertEquals(statuses.filter((status) => status === 0).length, 180);
  assertEquals(rig.host.takeDigestErrors(), 20);
  rig.check();
});
