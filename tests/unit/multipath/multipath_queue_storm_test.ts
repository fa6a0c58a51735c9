/**
 * A volume in bad weather: paths fail and come back, controllers that were lost go on executing for a while, answers are
 * late, refused or never come, time jumps, somebody plays with the policies, reads are sent twice. Whatever happens, each
 * request is answered once, no buffer is touched by anybody but its owner, and each block holds what was written last. UMPATH_SEED reproduces a run, UMPATH_REQUESTS makes
 * it longer.
 */
import { assert, assertEquals } from "@std/assert";
import { Prng } from "../../../src/base/prng.ts";
import { BlockOp } from "../../../src/block/request.ts";
import { POLICY_NAMES } from "../../../src/multipath/policy_names.ts";
import { QueueCounter } from "../../../src/multipath/counters.ts";
import { NvmOpcode } from "../../../src/protocol/nvme.ts";
import { AnaStateCode } from "../../../src/protocol/nvme_log.ts";
import { StatusCode, StatusField } from "../../../src/protocol/nvme_status.ts";
import type { ScriptedTarget, TargetCommand } from "../nvme_host/scripted_target.ts";
import { Rig } from "./rig.ts";

const SEED = Number(Deno.env.get("UMPATH_SEED") ?? Date.now() % 2 ** 31);
const REQUESTS = Number(Deno.env.get("UMPATH_REQUESTS") ?? 100_000);
const PATHS = 3;
const DEPTH = 24;
/** Of the large ones so many fit into a command that the kernel receives them straight into their buffers. */
const BLOCK_BYTES = [512, 4096] as const;
const REQUEST_BLOCKS_MAX = 6;
const BLOCKS = 192;
/** The blocks lie around the carry from the low to the high half of an LBA. */
const FIRST_LBA = 2 ** 32 - BLOCKS / 2;
const WRITE_HOLD_MS = 1000;

/** Each opcode that changes data, and what its blocks hold afterwards. */
type Versions = Uint32Array;

/** The namespace: of each block the one number that fills it. */
class Namespace {
  readonly versions: Versions = new Uint32Array(BLOCKS);
  readonly #blockWords: number;

  constructor(blockBytes: number) {
    this.#blockWords = blockBytes / 4;
  }

  execute(command: TargetCommand, data: Uint8Array): void {
    const words = new Uint32Array(data.buffer, data.byteOffset, data.byteLength >> 2);
    const blockWords = this.#blockWords;
    switch (command.opcode) {
      case NvmOpcode.READ:
        for (let i = 0; i < command.blocks; i++) {
          words.fill(this.versions[this.#index(command.lba + i)], i * blockWords, (i + 1) * blockWords);
        }
        return;
      case NvmOpcode.WRITE:
        for (let i = 0; i < command.blocks; i++) {
          this.versions[this.#index(command.lba + i)] = uniform(words, i * blockWords, blockWords);
        }
        return;
      case NvmOpcode.WRITE_ZEROES:
        for (let i = 0; i < command.blocks; i++) this.versions[this.#index(command.lba + i)] = 0;
        return;
      case NvmOpcode.DATASET_MANAGEMENT:
        for (let i = 0; i < words[1]; i++) this.versions[this.#index(words[3] * 2 ** 32 + words[2] + i)] = 0;
    }
  }

  #index(lba: number): number {
    const index = lba - FIRST_LBA;
    assert(index >= 0 && index < BLOCKS, `LBA ${lba} is outside of what was asked for`);
    return index;
  }
}

/** The number that fills a block. */
function uniform(words: Uint32Array, at: number, count: number): number {
  const value = words[at];
  for (let i = 1; i < count; i++) assert(words[at + i] === value, "a block is written and read as a whole");
  return value;
}

/** A controller that has lost its host, and goes on until it notices. */
interface Zombie {
  path: number;
  target: ScriptedTarget;
  untilMs: number;
}

type PathPhase = "live" | "failing" | "gone";

const STATUSES = [
  StatusCode.COMMAND_INTERRUPTED,
  StatusCode.NAMESPACE_NOT_READY,
  StatusCode.ANA_INACCESSIBLE,
  StatusCode.ANA_TRANSITION,
  StatusCode.INTERNAL_PATH_ERROR,
  StatusCode.UNRECOVERED_READ_ERROR,
  StatusCode.WRITE_FAULT,
  StatusCode.LBA_OUT_OF_RANGE,
  StatusCode.NAMESPACE_NOT_READY | StatusField.DNR,
];

class Storm {
  readonly #prng: Prng;
  readonly #blockBytes: number;
  readonly #blockWords: number;
  readonly #namespace: Namespace;
  /** Until when nothing moves on a path. */
  readonly #stalledUntilMs = new Float64Array(PATHS);
  readonly #rig: Rig;
  readonly #words: Uint32Array;
  readonly #phase: PathPhase[] = new Array(PATHS).fill("live");
  #zombies: Zombie[] = [];
  /** What each block may hold by what was answered. */
  readonly #allowed: Set<number>[] = Array.from({ length: BLOCKS }, () => new Set([0]));
  /** Of each block: -1 while a request changes it, otherwise how many read it. */
  readonly #users = new Int32Array(BLOCKS);
  readonly #first = new Int32Array(DEPTH);
  readonly #version = new Uint32Array(DEPTH);
  /** What fills the buffer of a slot that nobody but us may touch; 0 while the volume has it. */
  readonly #seal = new Uint32Array(DEPTH);
  readonly #free: number[] = Array.from({ length: DEPTH }, (_, slot) => slot);
  #lastVersion = 0;
  #lastTickMs = 0;
  submitted = 0;
  answered = 0;
  failed = 0;
  losses = 0;
  zombieWrites = 0;
  policyChanges = 0;

  count(counter: number): number {
    return this.#rig.counters.queue(counter);
  }

  constructor(seed: number) {
    this.#prng = new Prng(seed);
    this.#blockBytes = BLOCK_BYTES[seed % 2];
    this.#blockWords = this.#blockBytes / 4;
    this.#namespace = new Namespace(this.#blockBytes);
    this.#rig = new Rig({
      paths: PATHS,
      depth: DEPTH,
      requestBytes: REQUEST_BLOCKS_MAX * this.#blockBytes,
      blockSize: this.#blockBytes,
      connectionDepth: 7,
      inCapsuleBytes: [0, this.#blockBytes][this.#prng.below(2)],
      limits: {
        maxTransferBytes: (this.#blockBytes === 512 ? 2 : 4) * this.#blockBytes,
        maxDiscardBlocks: 4,
        maxWriteZeroesBlocks: 3,
      },
      ioTimeoutMs: 4000,
      noPathTimeoutMs: 3000,
      writeHoldMs: WRITE_HOLD_MS,
      manners: { answers: false, success: this.#prng.below(2) === 0 },
      storage: {
        execute: (command, data) => {
          this.#namespace.execute(command, data);
          return 0;
        },
      },
    });
    this.#words = new Uint32Array(this.#rig.memory.buffer);
    for (let slot = 0; slot < DEPTH; slot++) this.#close(slot);
  }

  #chance(oneIn: number): boolean {
    return this.#prng.below(oneIn) === 0;
  }

  // ── the application ───────────────────────────────────────────────────────────────────────────────────────────────

  #range(slot: number): Uint32Array {
    const at = this.#rig.requests.dataOffset[slot] >> 2;
    return this.#words.subarray(at, at + REQUEST_BLOCKS_MAX * this.#blockWords);
  }

  /** Seals the buffer of a slot that is ours again. */
  #close(slot: number): void {
    this.#seal[slot] = this.#prng.uint32() | 1;
    this.#range(slot).fill(this.#seal[slot]);
  }

  #open(slot: number): void {
    const seal = this.#seal[slot];
    for (const word of this.#range(slot)) {
      assert(word === seal, `the buffer of slot ${slot} was touched after its answer`);
    }
    this.#seal[slot] = 0;
  }

  submitSome(): void {
    for (let i = this.#prng.below(6); i > 0 && this.#free.length > 0; i--) this.#submitOne();
  }

  #submitOne(): void {
    const ops = [BlockOp.READ, BlockOp.READ, BlockOp.WRITE, BlockOp.WRITE, BlockOp.WRITE_ZEROES, BlockOp.DISCARD];
    const op = this.#chance(30) ? BlockOp.FLUSH : ops[this.#prng.below(this.#chance(4) ? 6 : 4)];
    const blocks = op === BlockOp.FLUSH ? 0 : 1 + this.#prng.below(REQUEST_BLOCKS_MAX);
    const first = this.#prng.below(BLOCKS - blocks);
    const used = this.#users.subarray(first, first + blocks);
    if (used.some((users) => users < 0 || (users > 0 && op !== BlockOp.READ))) return;
    for (let i = 0; i < blocks; i++) used[i] = op === BlockOp.READ ? used[i] + 1 : -1;
    const slot = this.#free.splice(this.#prng.below(this.#free.length), 1)[0];
    this.#open(slot);
    this.#first[slot] = first;
    this.#version[slot] = op === BlockOp.WRITE ? ++this.#lastVersion : 0;
    if (op === BlockOp.WRITE) this.#range(slot).fill(this.#version[slot], 0, blocks * this.#blockWords);
    this.submitted++;
    this.#rig.submit(slot, op, FIRST_LBA + first, blocks);
  }

  takeAnswers(): void {
    const { volume, requests } = this.#rig;
    for (let slot = volume.pollCompletion(); slot >= 0; slot = volume.pollCompletion()) {
      assert(this.#seal[slot] === 0, `slot ${slot} is answered twice`);
      this.answered++;
      if (requests.status[slot] !== 0) this.failed++;
      if (requests.op[slot] === BlockOp.READ) this.#checkRead(slot);
      else if (requests.op[slot] !== BlockOp.FLUSH) this.#noteChange(slot);
      this.#close(slot);
      this.#free.push(slot);
    }
  }

  #checkRead(slot: number): void {
    const { requests } = this.#rig;
    const words = this.#range(slot);
    for (let i = 0; i < requests.blocks[slot]; i++) {
      const block = this.#first[slot] + i;
      this.#users[block]--;
      if (requests.status[slot] !== 0) continue;
      const version = uniform(words, i * this.#blockWords, this.#blockWords);
      const allowed = this.#allowed[block];
      assert(allowed.has(version), `block ${block} holds ${version} where ${[...allowed].join(" or ")} was written`);
      // What a failed request has left is known from now on, and does not change by itself.
      if (allowed.size > 1) this.#allowed[block] = new Set([version]);
    }
  }

  #noteChange(slot: number): void {
    const { requests } = this.#rig;
    for (let i = 0; i < requests.blocks[slot]; i++) {
      const block = this.#first[slot] + i;
      this.#users[block] = 0;
      if (requests.status[slot] === 0) this.#allowed[block].clear();
      this.#allowed[block].add(this.#version[slot]);
    }
  }

  // ── the controllers ───────────────────────────────────────────────────────────────────────────────────────────────

  /** Moves some bytes, and lets targets do some of their work. */
  work(calm: boolean): void {
    for (let path = 0; path < PATHS; path++) {
      if (this.#phase[path] !== "live" || (!calm && this.#rig.nowMs < this.#stalledUntilMs[path])) continue;
      const ends = this.#rig.paths[path]!;
      for (let i = 1 + this.#prng.below(3); i > 0; i--) {
        this.#rig.send(ends, this.#chance(4) && !calm ? 1 + this.#prng.below(600) : Infinity);
      }
      for (const command of ends.target.commands.values()) {
        if (calm || !this.#chance(3)) this.#serve(ends.target, command, calm);
      }
      for (let i = 1 + this.#prng.below(4); i > 0; i--) {
        this.#rig.receive(ends, this.#chance(4) && !calm ? 1 + this.#prng.below(100) : Infinity);
      }
    }
    this.#rig.volume.handleAnswers(this.#rig.nowMs);
    this.#rig.paths.forEach((ends) => ends !== null && this.#rig.arm(ends));
  }

  #serve(target: ScriptedTarget, command: TargetCommand, calm: boolean): void {
    // Some commands are never answered.
    if (!calm && command.ttag === -2) return;
    if (!calm && this.#chance(20_000)) {
      command.ttag = -2;
      return;
    }
    if (command.ttag >= 0) return;
    if (!calm && this.#chance(60)) return this.#refuse(target, command);
    const missing = command.data.length - command.received;
    if (missing > 0) target.sendR2t(command.cid, this.#chance(3) ? Math.min(missing, this.#blockBytes) : missing);
    else target.answer(command.cid);
  }

  /** Answers with an error; what the command would have done may be done all the same. */
  #refuse(target: ScriptedTarget, command: TargetCommand): void {
    const isComplete = command.received === command.data.length && command.opcode !== NvmOpcode.READ;
    if (isComplete && this.#chance(2)) this.#namespace.execute(command, command.data);
    target.respond(command.cid, STATUSES[this.#prng.below(STATUSES.length)]);
  }

  // ── the weather ───────────────────────────────────────────────────────────────────────────────────────────────────

  disturb(): void {
    if (this.#chance(5)) this.#changePolicy();
    if (this.#chance(6)) this.#stalledUntilMs[this.#prng.below(PATHS)] = this.#rig.nowMs + this.#prng.below(200);
    const path = this.#prng.below(PATHS);
    const phase = this.#phase[path];
    if (phase === "live" && this.#chance(8)) this.#changeAna(path);
    else if (phase === "live" && this.#chance(4)) this.#fail(path);
    else if (phase === "gone" && this.#chance(3)) this.#comeBack(path);
    this.noticeFailures();
  }

  #changePolicy(): void {
    const { table } = this.#rig;
    table.setPolicy(POLICY_NAMES[this.#prng.below(POLICY_NAMES.length)]);
    table.setPreferred(this.#prng.below(PATHS + 1) - 1);
    table.setWeight(this.#prng.below(PATHS), 1 + this.#prng.below(5));
    table.setSlow(this.#chance(2) ? 0 : this.#prng.below(1 << PATHS));
    table.setHedge([0, 2, 10, 30, -90_000, -99_000][this.#prng.below(6)]);
    this.policyChanges++;
  }

  #changeAna(path: number): void {
    const { OPTIMIZED, NON_OPTIMIZED, INACCESSIBLE } = AnaStateCode;
    this.#rig.table.setAna(path, [OPTIMIZED, OPTIMIZED, NON_OPTIMIZED, INACCESSIBLE][this.#prng.below(4)]);
  }

  #fail(path: number): void {
    const { connection } = this.#rig.paths[path]!;
    if (connection.state !== "failed") connection.handleTransportError("it was struck by lightning");
    this.losses++;
    this.#phase[path] = "failing";
    this.#rig.volume.stopPath(path);
  }

  /** Connections that failed by themselves, and sockets that become quiet. */
  noticeFailures(): void {
    for (let path = 0; path < PATHS; path++) {
      if (this.#phase[path] === "live" && this.#rig.paths[path]!.connection.state === "failed") this.#fail(path);
      else if (this.#phase[path] === "failing" && this.#chance(4)) this.#quiet(path);
      else if (this.#phase[path] === "failing") this.#lastBytes(path);
    }
  }

  /** The kernel may still receive to where it was told to. */
  #lastBytes(path: number): void {
    const { connection: { commands }, armed } = this.#rig.paths[path]!;
    if (armed !== null) {
      for (let i = 0; i < 2; i++) this.#rig.memory.fill(0xee, armed.offset[i], armed.offset[i] + armed.bytes[i]);
    }
    for (let command = 0; command < commands.depth; command++) {
      if (commands.phase[command] !== 1 || commands.direction[command] !== 1 || !this.#chance(4)) continue;
      const at = commands.dataOffset[command] + commands.transferred[command];
      this.#rig.memory.fill(0xee, at, commands.dataOffset[command] + commands.dataBytes[command]);
    }
  }

  #quiet(path: number): void {
    const { connection, target } = this.#rig.paths[path]!;
    // Of what is in the kernel, some arrives.
    const buffer = connection.sendBuffer;
    for (let i = 0; i < buffer.segments && !this.#chance(5); i++) {
      const at = buffer.segmentOffset(i);
      target.receive(this.#rig.memory.slice(at, at + buffer.segmentBytes(i)));
    }
    this.#zombies.push({ path, target, untilMs: this.#rig.nowMs + WRITE_HOLD_MS });
    this.#phase[path] = "gone";
    this.#rig.paths[path] = null;
    this.#rig.table.setUsable(path, false);
    this.#rig.volume.handlePathLost(path, this.#rig.nowMs);
    this.#rig.volume.dispatch(this.#rig.nowMs);
  }

  #comeBack(path: number): void {
    if (this.#chance(2)) {
      // The old controller is reset before: it executes nothing any more.
      this.#zombies = this.#zombies.filter((zombie) => zombie.path !== path);
      this.#rig.volume.releaseHeld(path, this.#rig.nowMs);
    }
    this.#rig.addPath(path);
    this.#phase[path] = "live";
  }

  haunt(): void {
    const { nowMs } = this.#rig;
    if (this.#zombies.length === 0) return;
    this.#zombies = this.#zombies.filter((zombie) => nowMs < zombie.untilMs);
    for (const { target } of this.#zombies) {
      for (const command of target.commands.values()) {
        if (command.received < command.data.length || !this.#chance(40)) continue;
        this.#namespace.execute(
          command,
          command.opcode === NvmOpcode.READ ? new Uint8Array(command.dataBytes) : command.data,
        );
        if (command.opcode === NvmOpcode.WRITE) this.zombieWrites++;
        target.commands.delete(command.cid);
      }
    }
  }

  pass(ms: number): void {
    this.#rig.nowMs += ms;
    this.haunt();
    if (this.#rig.nowMs - this.#lastTickMs < 100) return;
    this.#lastTickMs = this.#rig.nowMs;
    this.#rig.volume.handleTime(this.#rig.nowMs);
    while (this.#rig.volume.takeAnaChanged() >= 0);
  }

  // ── the whole ─────────────────────────────────────────────────────────────────────────────────────────────────────

  run(requests: number): void {
    while (this.submitted < requests) {
      this.submitSome();
      this.work(false);
      if (this.#chance(12)) this.disturb();
      this.noticeFailures();
      this.pass(this.#chance(2000) ? this.#prng.below(6000) : this.#prng.below(6));
      this.takeAnswers();
    }
    this.#calm();
  }

  /** The sky clears: every request is answered, and every block is read once more. */
  #calm(): void {
    for (let turns = 0; this.answered < this.submitted || this.#phase.some((phase) => phase !== "live"); turns++) {
      assert(turns < 20_000, `${this.submitted - this.answered} requests are never answered`);
      for (let path = 0; path < PATHS; path++) {
        if (this.#phase[path] === "gone") this.#comeBack(path);
        this.#rig.table.setAna(path, AnaStateCode.OPTIMIZED);
      }
      this.work(true);
      this.noticeFailures();
      this.pass(5);
      this.takeAnswers();
    }
    for (let first = 0; first < BLOCKS; first += REQUEST_BLOCKS_MAX) {
      const slot = this.#free.pop()!;
      this.#open(slot);
      this.#first[slot] = first;
      for (let i = 0; i < REQUEST_BLOCKS_MAX; i++) this.#users[first + i]++;
      this.submitted++;
      this.#rig.submit(slot, BlockOp.READ, FIRST_LBA + first, REQUEST_BLOCKS_MAX);
      while (this.answered < this.submitted) {
        this.work(true);
        this.takeAnswers();
      }
      assertEquals(this.#rig.requests.status[slot], 0);
    }
    this.#rig.pump();
    this.#rig.checkIdle();
    assertEquals(this.#free.length, DEPTH);
    for (let slot = 0; slot < DEPTH; slot++) this.#open(slot);
    assert(this.#users.every((users) => users === 0));
  }
}

Deno.test(`MultipathQueue answers ${REQUESTS} requests once each and keeps every block, whatever the weather`, () => {
  const runs = 5;
  const sum = { failed: 0, losses: 0, zombieWrites: 0, policyChanges: 0, hedges: 0, hedgesWon: 0 };
  for (let run = 0; run < runs; run++) {
    const seed = (SEED + run) % 2 ** 31;
    const storm = new Storm(seed);
    try {
      storm.run(Math.ceil(REQUESTS / runs));
    } catch (error) {
      throw new Error(`Failed with UMPATH_SEED=${seed}, after ${storm.submitted} requests`, { cause: error });
    }
    assertEquals(storm.answered, storm.submitted);
    sum.failed += storm.failed;
    sum.losses += storm.losses;
    sum.zombieWrites += storm.zombieWrites;
    sum.policyChanges += storm.policyChanges;
    sum.hedges += storm.count(QueueCounter.HEDGES);
    sum.hedgesWon += storm.count(QueueCounter.HEDGES_WON);
  }
  // The storm is worth something only if enough goes wrong, and most goes well.
  if (REQUESTS >= 50_000) {
    assert(sum.failed > REQUESTS / 1000 && sum.failed < REQUESTS / 5, `${sum.failed} requests failed`);
    assert(sum.losses > 100 && sum.zombieWrites > 100, `${sum.losses} losses, ${sum.zombieWrites} late writes`);
    assert(sum.policyChanges > 100, `${sum.policyChanges} changes of the policy`);
    assert(sum.hedges > 500 && sum.hedgesWon > 200, `${sum.hedges} reads were sent twice, ${sum.hedgesWon} won`);
  }
});

console.log(`storm: UMPATH_SEED=${SEED}`);
