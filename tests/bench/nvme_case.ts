/**
 * The data path at full speed: the product's own machines (Volume, Connection, Link, Ring) against the null target, in a
 * loop like that of a worker, without a kernel device. Every request that is answered is sent again.
 */
import { native } from "../../ffi/library.ts";
import { SPIN_US, TICK_MS } from "../../src/base/limits.ts";
import { Prng } from "../../src/base/prng.ts";
import { BlockOp, RequestTable } from "../../src/block/request.ts";
import { Memory } from "../../src/io/memory.ts";
import { Poller } from "../../src/io/poller.ts";
import { Ring } from "../../src/io/ring.ts";
import { SocketLink } from "../../src/io/socket_link.ts";
import { AdaptiveSpin } from "../../src/io/spin.ts";
import { tcpConnect } from "../../src/io/tcp.ts";
import { TokenKind, tokenKind } from "../../src/io/token.ts";
import { Counters } from "../../src/multipath/counters.ts";
import { PathTable } from "../../src/multipath/path_table.ts";
import { Volume } from "../../src/multipath/volume.ts";
import { Connection, CONNECTION_DEPTH_MAX } from "../../src/nvme/connection.ts";
import { AnaStateCode } from "../../src/spec/nvme_log.ts";
import { cpuTimeUs } from "./cpu_time.ts";
import type { Sample } from "./measure.ts";
import { NullTarget } from "./null_target.ts";

const BLOCK_BYTES = 4096;
const BLOCKS = 1 << 20;
const LINK_DEPTH = 127;

/** One load on the null target. */
export interface NvmeLoad {
  paths: number;
  op: "read" | "write";
  depth: number;
  bytes: number;
  /** The target sleeps while it is idle, as one of the kernel does. */
  targetSleeps?: boolean;
}

/** Runs a load for `seconds`, after a warm-up: I/Os a second, and their CPU time in this process. */
export async function runNvmeLoad(
  load: NvmeLoad,
  { seconds, warmUpSeconds }: { seconds: number; warmUpSeconds: number },
): Promise<Sample> {
  const addresses = Array.from({ length: load.paths }, (_, path) => `127.0.0.${path + 1}`);
  await using _target = await NullTarget.start({ addresses, sleeps: load.targetSleeps ?? false });
  const poller = new Poller();
  const fds = [];
  for (const address of addresses) fds.push(await open(poller, address));
  const loop = new Loop(load, fds);
  loop.run(warmUpSeconds * 1000);
  return loop.run(seconds * 1000);
}

async function open(poller: Poller, address: string): Promise<number> {
  const to = { traddr: address, trsvcid: 4420, hostTraddr: null, hostIface: null };
  const fd = await tcpConnect(poller, to, 5000);
  const request = new Uint8Array(128);
  request[2] = request[4] = 128;
  native().um_socket_send(fd, request, request.length);
  const answer = new Uint8Array(128);
  for (let have = 0; have < answer.length;) {
    const bytes = native().um_socket_receive(fd, answer.subarray(have), answer.length - have);
    if (bytes > 0) have += bytes;
    else await new Promise((resolve) => setTimeout(resolve, 5));
  }
  return fd;
}

class Loop {
  readonly #load: NvmeLoad;
  readonly #ring = new Ring({ submissions: 2048, completions: 16384 });
  readonly #spin = new AdaptiveSpin(Number(Deno.env.get("SPIN_US") ?? SPIN_US));
  readonly #volume: Volume;
  readonly #requests: RequestTable;
  readonly #links: SocketLink<Connection>[];
  readonly #random = new Prng(1);

  constructor(load: NvmeLoad, fds: number[]) {
    this.#load = load;
    const linksAt = load.depth * load.bytes;
    const stride = Math.ceil((Connection.arenaBytes(CONNECTION_DEPTH_MAX) + SocketLink.arenaBytes) / 4096) * 4096;
    const memory = Memory.allocate(linksAt + fds.length * stride, { lock: true });
    this.#requests = new RequestTable(load.depth, { bufferBytes: load.bytes });
    const table = new PathTable();
    table.setTimeouts({ ioTimeoutMs: 30_000, noPathTimeoutMs: 30_000, writeHoldMs: 5000 });
    this.#volume = new Volume({
      requests: this.#requests,
      memory: memory.bytes,
      nsid: 1,
      blockSize: BLOCK_BYTES,
      readOnly: false,
      policy: "round-robin",
      paths: table,
      counters: new Counters(),
    });
    this.#links = fds.map((fd, path) => this.#addLink(memory, linksAt + path * stride, fd, path));
    fds.forEach((_, path) => {
      table.setUsable(path, true);
      table.setAna(path, AnaStateCode.OPTIMIZED);
    });
    for (let slot = 0; slot < load.depth; slot++) this.#submit(slot, performance.now());
  }

  #addLink(memory: Memory, arenaOffset: number, fd: number, path: number): SocketLink<Connection> {
    const connection = new Connection({ memory: memory.bytes, arenaOffset, depth: LINK_DEPTH, inCapsuleBytes: 8192 });
    connection.adopt({ maxH2cDataBytes: 4 << 20, dataAlignment: 4 });
    const limits = { maxTransferBytes: 1 << 20, maxDiscardBlocks: 0, maxWriteZeroesBlocks: 0 };
    this.#volume.addConnection(path, connection, limits);
    const after = arenaOffset + Math.ceil(Connection.arenaBytes(CONNECTION_DEPTH_MAX) / 16) * 16;
    return new SocketLink({ id: path, fd, connection, memory, arenaOffset: after, owner: 0, index: path });
  }

  #submit(slot: number, nowMs: number): void {
    const requests = this.#requests;
    const blocks = this.#load.bytes / BLOCK_BYTES;
    requests.op[slot] = this.#load.op === "read" ? BlockOp.READ : BlockOp.WRITE;
    requests.lbaLow[slot] = this.#random.below(BLOCKS / blocks) * blocks;
    requests.blocks[slot] = blocks;
    this.#volume.submit(slot, nowMs);
  }

  /** Turns for so long. */
  run(milliseconds: number): Sample {
    const ring = this.#ring;
    const start = performance.now();
    const cpuStart = cpuTimeUs();
    const turns = ring.turns;
    const hits = ring.spinHits;
    const misses = ring.spinMisses;
    let done = 0;
    let nowMs = start;
    let tickMs = start;
    while (nowMs - start < milliseconds) {
      done += this.#turn(nowMs);
      const spinUs = this.#spin.budgetUs(true);
      const hitsBefore = ring.spinHits;
      const missesBefore = ring.spinMisses;
      ring.turn(spinUs, TICK_MS);
      if (ring.spinHits !== hitsBefore) this.#spin.handleResult(true);
      else if (ring.spinMisses !== missesBefore) this.#spin.handleResult(false);
      nowMs = performance.now();
      this.#reap();
      if (nowMs - tickMs < TICK_MS) continue;
      tickMs = nowMs;
      this.#volume.handleTime(nowMs);
    }
    return {
      value: done / ((nowMs - start) / 1000),
      cpuUs: (cpuTimeUs() - cpuStart) / done,
      details: {
        iosPerTurn: done / (ring.turns - turns),
        spinHitsPerTurn: (ring.spinHits - hits) / (ring.turns - turns),
        spinMissesPerTurn: (ring.spinMisses - misses) / (ring.turns - turns),
      },
    };
  }

  #turn(nowMs: number): number {
    const volume = this.#volume;
    let done = 0;
    volume.handleAnswers(nowMs);
    for (let slot = volume.pollCompletion(); slot >= 0; slot = volume.pollCompletion()) {
      if (this.#requests.status[slot] !== 0) throw new Error(`Request failed: errno ${this.#requests.status[slot]}`);
      this.#submit(slot, nowMs);
      done++;
    }
    for (const link of this.#links) {
      if (link.connection.failure !== null) throw new Error(link.connection.failure.reason);
      link.arm(this.#ring);
    }
    return done;
  }

  #reap(): void {
    const ring = this.#ring;
    while (ring.next()) {
      const link = this.#links[ring.tokenLow]!;
      if (tokenKind(ring.tokenHigh) === TokenKind.RECEIVE) link.handleReceived(ring.result);
      else link.handleSent(ring, ring.result);
    }
  }
}
