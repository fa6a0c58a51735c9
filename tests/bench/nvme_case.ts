/**
 * The data path at full speed: the product's own machines (MultipathQueue, Connection, SocketLink, Ring) against a target, in a
 * loop like that of a worker, without a kernel device. Every request that is answered is sent again.
 */
import { SPIN_US, TICK_MS } from "../../src/base/limits.ts";
import { Prng } from "../../src/base/prng.ts";
import { BlockOp, RequestTable } from "../../src/block/request.ts";
import { Memory } from "../../src/io/memory.ts";
import { Poller } from "../../src/io/poller.ts";
import { Ring } from "../../src/io/ring.ts";
import { SocketLink } from "../../src/io/socket_link.ts";
import { AdaptiveSpin } from "../../src/io/spin.ts";
import { TokenKind, tokenKind } from "../../src/io/token.ts";
import { Counters } from "../../src/multipath/counters.ts";
import { PathTable } from "../../src/multipath/path_table.ts";
import type { PolicyName } from "../../src/multipath/policy_names.ts";
import { MultipathQueue } from "../../src/multipath/multipath_queue.ts";
import { Connection, CONNECTION_DEPTH_MAX, type TransferParameters } from "../../src/nvme_host/connection.ts";
import { AnaStateCode } from "../../src/protocol/nvme_log.ts";
import { cpuTimeOfUs, cpuTimeUs } from "./cpu_time.ts";
import { Latencies } from "./latencies.ts";
import type { Sample } from "./measure.ts";
import { NullTarget } from "./null_target.ts";

const BLOCK_BYTES = 4096;

/** One load. */
export interface NvmeLoad {
  paths: number;
  op: "read" | "write";
  depth: number;
  bytes: number;
  /** How a path is picked; in turn unless told. */
  policy?: PolicyName;
  /** Requests follow each other on the device; otherwise they are all over it. */
  isSequential?: boolean;
}

/** A connected I/O queue pair. */
export interface NvmeQueue {
  fd: number;
  transfer: TransferParameters;
  /** Commands in flight, at most. */
  depth: number;
  inCapsuleBytes: number;
}

/** What is loaded: I/O queue pairs, one for each path, that lead to so many blocks of 4096 bytes. */
export interface NvmeSubject {
  queues: NvmeQueue[];
  blocks: number;
}

/** How long one repetition runs. */
export interface Duration {
  seconds: number;
  warmUpSeconds: number;
}

/** The addresses that so many paths lead to. */
export function pathAddresses(paths: number): string[] {
  return Array.from({ length: paths }, (_, path) => `127.0.0.${path + 1}`);
}

/** Runs a load on the null target; `sleeps` while it is idle, as one of the kernel does, or looks all the time. */
export async function runNullTargetLoad(
  load: NvmeLoad,
  { sleeps, ...duration }: Duration & { sleeps: boolean },
): Promise<Sample> {
  await using target = await NullTarget.start({ addresses: pathAddresses(load.paths), sleeps });
  const subject = await target.connect(new Poller(), load.paths);
  return runNvmeLoad(load, subject, { ...duration, targetCpuUs: () => cpuTimeOfUs([target.pid]) });
}

/**
 * Runs a load for `seconds`, after a warm-up: I/Os a second, and their CPU time in this process and in the target, which
 * the details have apart.
 */
export function runNvmeLoad(
  load: NvmeLoad,
  subject: NvmeSubject,
  { seconds, warmUpSeconds, targetCpuUs }: Duration & { targetCpuUs: () => number },
): Sample {
  const loop = new Loop(load, subject);
  loop.run(warmUpSeconds * 1000);
  const targetStart = targetCpuUs();
  const { done, sample } = loop.run(seconds * 1000);
  const targetUs = (targetCpuUs() - targetStart) / done;
  const details = { ...sample.details, initiatorCpuUs: sample.cpuUs, targetCpuUs: targetUs };
  return { ...sample, cpuUs: sample.cpuUs + targetUs, details };
}

/** A load on its ring; `complete` carries it on by so many I/Os, or a few more. */
export function startNvmeLoad(load: NvmeLoad, subject: NvmeSubject): { complete(ios: number): void; ring: Ring } {
  const loop = new Loop(load, subject);
  return { complete: (ios) => void loop.complete(Infinity, ios), ring: loop.ring };
}

class Loop {
  readonly #load: NvmeLoad;
  readonly ring = new Ring({ submissions: 2048, completions: 16384 });
  readonly #spin = new AdaptiveSpin(Number(Deno.env.get("SPIN_US") ?? SPIN_US));
  readonly #volume: MultipathQueue;
  readonly #requests: RequestTable;
  readonly #links: SocketLink<Connection>[];
  readonly #random = new Prng(1);
  readonly #places: number;
  readonly #submittedAtMs: Float64Array;
  readonly #latencies = new Latencies();
  #next = 0;

  constructor(load: NvmeLoad, { queues, blocks }: NvmeSubject) {
    this.#load = load;
    this.#places = Math.floor(blocks * BLOCK_BYTES / load.bytes);
    this.#submittedAtMs = new Float64Array(load.depth);
    const linksAt = load.depth * load.bytes;
    const stride = Math.ceil((Connection.arenaBytes(CONNECTION_DEPTH_MAX) + SocketLink.arenaBytes) / 4096) * 4096;
    const memory = Memory.allocate(linksAt + queues.length * stride, { lock: true });
    this.#requests = new RequestTable(load.depth, { bufferBytes: load.bytes });
    const table = new PathTable();
    table.setTimeouts({ ioTimeoutMs: 30_000, noPathTimeoutMs: 30_000, writeHoldMs: 5000 });
    table.setPolicy(load.policy ?? "round-robin");
    this.#volume = new MultipathQueue({
      requests: this.#requests,
      memory: memory.bytes,
      nsid: 1,
      blockSize: BLOCK_BYTES,
      readOnly: false,
      paths: table,
      counters: new Counters(),
    });
    this.#links = queues.map((queue, path) => this.#addLink(memory, linksAt + path * stride, queue, path));
    queues.forEach((_, path) => {
      table.setUsable(path, true);
      table.setAna(path, AnaStateCode.OPTIMIZED);
    });
    for (let slot = 0; slot < load.depth; slot++) this.#submit(slot, performance.now());
  }

  #addLink(memory: Memory, arenaOffset: number, queue: NvmeQueue, path: number): SocketLink<Connection> {
    const { fd, depth, inCapsuleBytes, transfer } = queue;
    const connection = new Connection({ memory: memory.bytes, arenaOffset, depth, inCapsuleBytes });
    connection.adopt(transfer);
    const limits = { maxTransferBytes: 1 << 20, maxDiscardBlocks: 0, maxWriteZeroesBlocks: 0, retryDelaysMs: [] };
    this.#volume.addConnection(path, connection, limits);
    const after = arenaOffset + Math.ceil(Connection.arenaBytes(CONNECTION_DEPTH_MAX) / 16) * 16;
    return new SocketLink({ id: path, fd, connection, memory, arenaOffset: after, owner: 0, index: path });
  }

  #submit(slot: number, nowMs: number): void {
    const requests = this.#requests;
    const blocks = this.#load.bytes / BLOCK_BYTES;
    requests.op[slot] = this.#load.op === "read" ? BlockOp.READ : BlockOp.WRITE;
    requests.lbaLow[slot] = this.#place() * blocks;
    requests.blocks[slot] = blocks;
    this.#submittedAtMs[slot] = nowMs;
    this.#volume.submit(slot, nowMs);
  }

  #place(): number {
    if (!this.#load.isSequential) return this.#random.below(this.#places);
    this.#next = (this.#next + 1) % this.#places;
    return this.#next;
  }

  /** Turns for so long; the requests done, and what is measured. */
  run(milliseconds: number): { done: number; sample: Sample } {
    const ring = this.ring;
    const startMs = performance.now();
    const cpuStart = cpuTimeUs();
    const turns = ring.turns;
    const hits = ring.spinHits;
    const misses = ring.spinMisses;
    this.#latencies.clear();
    const done = this.complete(startMs + milliseconds, Infinity);
    const sample = {
      value: done / ((performance.now() - startMs) / 1000),
      cpuUs: (cpuTimeUs() - cpuStart) / done,
      details: {
        ...this.#latencies.details,
        rssMiB: Deno.memoryUsage().rss / 2 ** 20,
        iosPerTurn: done / (ring.turns - turns),
        spinHitsPerTurn: (ring.spinHits - hits) / (ring.turns - turns),
        spinMissesPerTurn: (ring.spinMisses - misses) / (ring.turns - turns),
      },
    };
    return { done, sample };
  }

  /** Turns until a time, or until so many requests are done; their number. */
  complete(endMs: number, ios: number): number {
    const ring = this.ring;
    let nowMs = performance.now();
    let tickMs = nowMs;
    let done = 0;
    while (nowMs < endMs && done < ios) {
      done += this.#turn(nowMs);
      const spinUs = this.#spin.budgetUs(true);
      const hits = ring.spinHits;
      const misses = ring.spinMisses;
      ring.turn(spinUs, TICK_MS);
      if (ring.spinHits !== hits) this.#spin.handleResult(true);
      else if (ring.spinMisses !== misses) this.#spin.handleResult(false);
      nowMs = performance.now();
      this.#reap();
      if (nowMs - tickMs < TICK_MS) continue;
      tickMs = nowMs;
      this.#volume.handleTime(nowMs);
    }
    return done;
  }

  #turn(nowMs: number): number {
    const volume = this.#volume;
    let done = 0;
    volume.handleAnswers(nowMs);
    for (let slot = volume.pollCompletion(); slot >= 0; slot = volume.pollCompletion()) {
      if (this.#requests.status[slot] !== 0) throw new Error(`Request failed: errno ${this.#requests.status[slot]}`);
      this.#latencies.add(nowMs - this.#submittedAtMs[slot]);
      this.#submit(slot, nowMs);
      done++;
    }
    for (const link of this.#links) {
      if (link.connection.failure !== null) throw new Error(link.connection.failure.reason);
      link.arm(this.ring);
    }
    return done;
  }

  #reap(): void {
    const ring = this.ring;
    while (ring.next()) {
      const link = this.#links[ring.tokenLow]!;
      if (tokenKind(ring.tokenHigh) === TokenKind.RECEIVE) link.handleReceived(ring.result);
      else link.handleSent(ring, ring.result);
    }
  }
}
