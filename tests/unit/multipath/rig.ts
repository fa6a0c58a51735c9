/** A volume over connections to scripted targets that share one storage, all in memory and on a clock of the test's. */
import { assert } from "@std/assert";
import { PATHS_MAX } from "../../../src/base/limits.ts";
import { RequestTable } from "../../../src/block/request.ts";
import { Counters, PathCounter, QueueCounter } from "../../../src/multipath/counters.ts";
import { GUESTS_MAX, Handover } from "../../../src/multipath/handover.ts";
import { HandoverTable } from "../../../src/multipath/handover_table.ts";
import { HedgedReads } from "../../../src/multipath/hedged_reads.ts";
import { PathTable } from "../../../src/multipath/path_table.ts";
import type { PolicyName } from "../../../src/multipath/policy_names.ts";
import { MultipathQueue, type PathLimits } from "../../../src/multipath/multipath_queue.ts";
import { Connection } from "../../../src/nvme_host/connection.ts";
import { AnaStateCode } from "../../../src/protocol/nvme_log.ts";
import {
  c2hPdu,
  naiveCrc32c,
  ScriptedTarget,
  type TargetCommand,
  type TargetManners,
  type TargetStorage,
  withDigests,
} from "../nvme_host/scripted_target.ts";

export interface RigOptions {
  paths?: number;
  depth?: number;
  requestBytes?: number;
  blockSize?: number;
  readOnly?: boolean;
  /** Commands that one connection takes. */
  connectionDepth?: number;
  inCapsuleBytes?: number;
  limits?: Partial<PathLimits>;
  ioTimeoutMs?: number;
  noPathTimeoutMs?: number;
  writeHoldMs?: number;
  policy?: PolicyName;
  /** As the path table has it. */
  hedge?: number;
  manners?: Partial<TargetManners>;
  storage?: TargetStorage;
  /** It is a queue among others, which {@linkcode makeNeighbours} makes. */
  neighbours?: { queue: number; table: HandoverTable; rigs: Rig[] };
}

/** So many queues of one volume, over one storage. Each has as many paths as are said for it. */
export function makeNeighbours(
  paths: readonly number[],
  options: RigOptions = {},
): { rigs: Rig[]; table: HandoverTable } {
  const rigs: Rig[] = [];
  const table = new HandoverTable(paths.length);
  for (const [queue, count] of paths.entries()) {
    rigs.push(new Rig({ ...options, paths: count, neighbours: { queue, table, rigs } }));
  }
  return { rigs, table };
}

/** Lets all queues take turns until no one has anything to tell another. */
export function pumpAll(rigs: readonly Rig[]): void {
  for (let isMoved = true; isMoved;) {
    isMoved = false;
    for (const rig of rigs) {
      rig.pump();
      for (let queue = rig.volume.pollWake(); queue >= 0; queue = rig.volume.pollWake()) isMoved = true;
    }
  }
}

/** One path: its present connection, and the target at the other end. */
export interface RigPath {
  connection: Connection;
  target: ScriptedTarget;
  /** Where a receive that is in the kernel writes to, if one was put there. */
  armed: { offset: [number, number]; bytes: [number, number] } | null;
}

const RECEIVE_BYTES = 8192;

export class Rig {
  readonly requests: RequestTable;
  readonly memory: Uint8Array<ArrayBuffer>;
  readonly table = new PathTable();
  readonly counters = new Counters();
  readonly volume: MultipathQueue;
  readonly paths: (RigPath | null)[] = new Array(PATHS_MAX).fill(null);
  readonly limits: PathLimits;
  readonly blockSize: number;
  readonly #options: RigOptions;
  readonly #connectionDepth: number;
  readonly #connectionsAt: number;
  nowMs = 1000;

  constructor(options: RigOptions = {}) {
    const depth = options.depth ?? 16;
    const requestBytes = options.requestBytes ?? 8192;
    this.#options = options;
    this.blockSize = options.blockSize ?? 512;
    this.#connectionDepth = options.connectionDepth ?? 8;
    const { neighbours } = options;
    const slots = depth + (neighbours === undefined ? 0 : GUESTS_MAX);
    this.#connectionsAt = slots * requestBytes;
    const hedgesAt = this.#connectionsAt + PATHS_MAX * this.#connectionBytes;
    this.memory = new Uint8Array(hedgesAt + HedgedReads.arenaBytes);
    this.requests = new RequestTable(slots, { bufferBytes: requestBytes });
    this.limits = {
      maxTransferBytes: 4096,
      maxDiscardBlocks: 0xffffffff,
      maxWriteZeroesBlocks: 64,
      retryDelaysMs: [],
      ...options.limits,
    };
    this.table.setTimeouts({
      ioTimeoutMs: options.ioTimeoutMs ?? 30_000,
      noPathTimeoutMs: options.noPathTimeoutMs ?? 5_000,
      writeHoldMs: options.writeHoldMs ?? 2_000,
    });
    this.table.setPolicy(options.policy ?? "round-robin");
    this.table.setHedge(options.hedge ?? 0);
    this.volume = new MultipathQueue({
      requests: this.requests,
      memory: this.memory,
      nsid: 1,
      blockSize: this.blockSize,
      readOnly: options.readOnly ?? false,
      paths: this.table,
      counters: this.counters,
      hedgesAt,
      handover: neighbours === undefined ? null : new Handover({
        ...{ queue: neighbours.queue, table: neighbours.table, requests: this.requests, firstGuest: depth },
        ...{ blockSize: this.blockSize, memory: this.memory },
        memoryOf: (queue) => neighbours.rigs[queue].memory,
      }),
    });
    for (let path = 0; path < (options.paths ?? 2); path++) this.addPath(path);
  }

  get #connectionBytes(): number {
    return Connection.arenaBytes(this.#connectionDepth, RECEIVE_BYTES);
  }

  /** A new connection for the path, usable, and optimized unless another state is given. */
  addPath(path: number, limits: PathLimits = this.limits, ana: number = AnaStateCode.OPTIMIZED): RigPath {
    const connection = new Connection({
      memory: this.memory,
      arenaOffset: this.#connectionsAt + path * this.#connectionBytes,
      depth: this.#connectionDepth,
      inCapsuleBytes: this.#options.inCapsuleBytes ?? 0,
      receiveBytes: RECEIVE_BYTES,
      crc32c: (offset, bytes) => naiveCrc32c(this.memory.subarray(offset, offset + bytes)),
    });
    const manners = { blockSize: this.blockSize, ...this.#options.manners };
    const target = new ScriptedTarget(manners, this.#options.storage);
    target.isOpen = true;
    connection.adopt({
      maxH2cDataBytes: target.manners.maxH2cDataBytes,
      dataAlignment: (target.manners.cpda + 1) * 4,
      digests: { header: target.manners.headerDigest, data: target.manners.dataDigest },
    });
    this.volume.addConnection(path, connection, limits);
    this.table.setAna(path, ana);
    this.table.setUsable(path, true);
    return this.paths[path] = { connection, target, armed: null };
  }

  target(path: number): ScriptedTarget {
    return this.paths[path]!.target;
  }

  commands(path: number): TargetCommand[] {
    return [...this.target(path).commands.values()];
  }

  submit(slot: number, op: number, lba: number, blocks: number, flags = 0): void {
    const { requests } = this;
    requests.op[slot] = op;
    requests.flags[slot] = flags;
    requests.lbaLow[slot] = lba % 2 ** 32;
    requests.lbaHigh[slot] = Math.floor(lba / 2 ** 32);
    requests.blocks[slot] = blocks;
    requests.status[slot] = -1;
    this.volume.submit(slot, this.nowMs);
  }

  buffer(slot: number, bytes = this.requests.bufferBytes): Uint8Array {
    return this.memory.subarray(this.requests.dataOffset[slot], this.requests.dataOffset[slot] + bytes);
  }

  /** Moves all bytes of all paths that work, both ways, until nothing moves. */
  pump(): void {
    do {
      this.volume.handleAnswers(this.nowMs);
    } while (this.paths.map((path) => path !== null && this.#move(path)).includes(true));
  }

  #move(path: RigPath): boolean {
    let moved = false;
    while (this.send(path) || this.receive(path)) moved = true;
    return moved;
  }

  send({ connection, target }: RigPath, bytesMax = Infinity): boolean {
    const buffer = connection.sendBuffer;
    if (connection.state === "failed" || (!buffer.isSending && !connection.pollSend())) return false;
    let sent = 0;
    for (let i = 0; i < buffer.segments && sent < bytesMax; i++) {
      const at = buffer.segmentOffset(i);
      const bytes = Math.min(buffer.segmentBytes(i), bytesMax - sent);
      target.receive(this.memory.slice(at, at + bytes));
      sent += bytes;
    }
    connection.handleSent(sent);
    return true;
  }

  /** Puts a receive into the kernel, as happens at the end of each turn: it goes on to write where it was told to. */
  arm(path: RigPath): void {
    if (path.armed !== null || path.connection.state === "failed") return;
    path.connection.prepareReceive();
    const { offset, bytes, segments } = path.connection.receiveBuffer;
    path.armed = { offset: [...offset], bytes: [bytes[0], segments > 1 ? bytes[1] : 0] };
  }

  receive(path: RigPath, bytesMax = Infinity): boolean {
    const { connection, target } = path;
    if (connection.state === "failed" || target.pending === 0) return false;
    this.arm(path);
    const { offset, bytes: room } = path.armed!;
    const bytes = target.take(Math.min(room[0] + room[1], bytesMax));
    const first = bytes.subarray(0, room[0]);
    this.memory.set(first, offset[0]);
    this.memory.set(bytes.subarray(first.length), offset[1]);
    path.armed = null;
    connection.handleReceived(bytes.length);
    return true;
  }

  /** Answers one command of a path. */
  answer(path: number, command: TargetCommand, status = 0): void {
    const target = this.target(path);
    if (status !== 0) target.respond(command.cid, status);
    else target.answer(command.cid);
    this.pump();
  }

  /** Answers a read with success and data whose digest is wrong. */
  spoil(path: number, command: TargetCommand, data: Uint8Array): void {
    const target = this.target(path);
    const pdu = withDigests(c2hPdu(command.cid, data), target.manners);
    pdu[pdu.length - 1] ^= 1;
    target.send(pdu);
    target.respond(command.cid, 0);
    this.pump();
  }

  /** The connection of a path fails; its socket is not quiet yet. */
  failPath(path: number): void {
    this.paths[path]!.connection.handleTransportError("it was pulled out");
    this.volume.stopPath(path);
    this.volume.dispatch(this.nowMs);
  }

  /** The path is lost and its socket quiet. */
  losePath(path: number): void {
    this.failPath(path);
    this.quietPath(path);
  }

  quietPath(path: number): void {
    this.paths[path] = null;
    this.table.setUsable(path, false);
    this.volume.handlePathLost(path, this.nowMs);
    this.volume.dispatch(this.nowMs);
    this.pump();
  }

  /** Time passes, with a look at the deadlines every `stepMs`. */
  advance(ms: number, stepMs = 100): void {
    const end = this.nowMs + ms;
    while (this.nowMs < end) {
      this.nowMs = Math.min(this.nowMs + stepMs, end);
      this.volume.handleTime(this.nowMs);
      this.pump();
    }
  }

  /** Requests that are answered: slots and errnos. */
  answers(): [slot: number, errno: number][] {
    const all: [number, number][] = [];
    for (let slot = this.volume.pollCompletion(); slot >= 0; slot = this.volume.pollCompletion()) {
      all.push([slot, this.requests.status[slot]]);
    }
    return all;
  }

  get held(): number {
    return this.counters.queue(QueueCounter.HELD);
  }

  get waiting(): number {
    return this.counters.queue(QueueCounter.WAITING);
  }

  count(path: number, counter: keyof typeof PathCounter): number {
    return this.counters.path(path, PathCounter[counter]);
  }

  /** Nothing is left inside, anywhere. */
  checkIdle(): void {
    assert(!this.volume.isBusy, "no request is inside");
    assert(this.volume.hedgesInUse === 0, `${this.volume.hedgesInUse} hedges are left`);
    assert(this.held === 0 && this.waiting === 0, `${this.held} held, ${this.waiting} waiting`);
    this.paths.forEach((path, index) => {
      assert(this.count(index, "IN_FLIGHT") === 0, `path ${index} counts ${this.count(index, "IN_FLIGHT")} in flight`);
      const bytes = this.count(index, "BYTES_IN_FLIGHT");
      assert(bytes === 0, `path ${index} counts ${bytes} bytes in flight`);
      if (path === null) return;
      assert(path.connection.inFlight === 0, `path ${index} has ${path.connection.inFlight} commands in flight`);
      assert(path.target.violations.length === 0, path.target.violations.join(", "));
    });
  }
}
