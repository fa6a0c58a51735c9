import type { Prng } from "../../src/base/prng.ts";
import { BlockFlag, BlockOp } from "../../src/block/request.ts";
import { type Clock, Task } from "./clock.ts";
import { checkRefusals } from "./checks.ts";
import type { HostQueue } from "./host_queue.ts";
import type { Oracle } from "./oracle.ts";
import type { Scenario } from "./scenario.ts";
import { Violation } from "./violation.ts";

/** What fills the buffers of tags that have no request, a word in each of so many. */
const SEAL = 0x5ea15ea1;
const SEAL_STRIDE_WORDS = 128;
/** Requests at once, between two of which nothing else happens. */
const BATCH_MAX = 8;

/** What is in flight in the tags of one queue. */
interface InFlight {
  readonly first: Uint32Array;
  readonly blocks: Uint32Array;
  readonly op: Uint8Array;
  readonly version: Uint32Array;
  readonly issuedMs: Float64Array;
  readonly words: Uint32Array;
}

/** A request that failed. */
export interface FailedRequest {
  /** Its first block, and the one after its last. */
  readonly first: number;
  readonly end: number;
  readonly errno: number;
  readonly issuedMs: number;
  /** Answers with an error that its commands got. */
  readonly refusals: number;
}

/** What a workload tells. */
export interface WorkloadEvents {
  /** Blocks that the kernel device has. */
  blocks(): number;
  /** Before each request. */
  handleIssue(issued: number): void;
  /** A request failed; throws if it may not. */
  handleError(failed: FailedRequest): void;
  /** Of every request, if that is wanted. */
  readonly trace: ((words: () => string) => void) | null;
}

/**
 * The application above the kernel device: bursts of reads, writes, flushes, discards and zeroes, and pauses between
 * them. It touches no block twice at a time where one of the two would write.
 */
export class Workload {
  readonly #scenario: Scenario;
  readonly #clock: Clock;
  readonly #prng: Prng;
  readonly #oracle: Oracle;
  readonly #queues: readonly HostQueue[];
  readonly #inFlight: readonly InFlight[];
  readonly #events: WorkloadEvents;
  readonly #pump: Task;
  readonly #gapMs: number;
  readonly #lullMs: number;
  readonly #writesIn100: number;
  #burst = 0;
  issued = 0;
  done = 0;
  failed = 0;
  /** The longest that a request took. */
  longestMs = 0;

  constructor(
    scenario: Scenario,
    options: { clock: Clock; prng: Prng; oracle: Oracle; queues: readonly HostQueue[]; events: WorkloadEvents },
  ) {
    const { prng } = options;
    this.#scenario = scenario;
    this.#clock = options.clock;
    this.#prng = prng;
    this.#oracle = options.oracle;
    this.#queues = options.queues;
    this.#events = options.events;
    this.#gapMs = [0.05, 0.3, 1][prng.below(3)];
    this.#lullMs = [20, 200, 600][prng.below(3)];
    this.#writesIn100 = [10, 40, 70][prng.below(3)];
    this.#pump = new Task(options.clock, () => this.#issueSome());
    this.#inFlight = options.queues.map(({ memory }) => ({
      first: new Uint32Array(scenario.depth),
      blocks: new Uint32Array(scenario.depth),
      op: new Uint8Array(scenario.depth),
      version: new Uint32Array(scenario.depth),
      issuedMs: new Float64Array(scenario.depth),
      words: new Uint32Array(memory.buffer),
    }));
    for (const queue of options.queues) for (let tag = 0; tag < scenario.depth; tag++) this.#seal(queue, tag);
  }

  start(): void {
    this.#pump.soon();
  }

  get inFlight(): number {
    return this.issued - this.done;
  }

  /** When the tag's request was issued. */
  issuedMs(queue: HostQueue, tag: number): number {
    return this.#inFlight[queue.index].issuedMs[tag];
  }

  words(queue: HostQueue, tag: number): string {
    const { first, blocks, op, issuedMs } = this.#inFlight[queue.index];
    const name = Object.keys(BlockOp)[op[tag]];
    return `${name} of blocks ${first[tag]} to ${first[tag] + blocks[tag] - 1} in queue ${queue.index}, tag ${tag}, ` +
      `issued at ${issuedMs[tag].toFixed(3)} ms`;
  }

  // ── issue ─────────────────────────────────────────────────────────────────────────────────────────────────────────

  #issueSome(): void {
    const prng = this.#prng;
    const count = 1 + prng.below(BATCH_MAX);
    for (let i = 0; i < count && this.issued < this.#scenario.ios; i++) {
      const queue = this.#queues[prng.below(this.#queues.length)];
      const tag = queue.driver.takeTag();
      if (tag < 0) continue;
      if (!this.#issue(queue, tag)) queue.driver.giveBack(tag);
    }
    if (this.issued >= this.#scenario.ios) return;
    if (this.#burst-- > 0) return this.#pump.in(prng.unit() * 2 * this.#gapMs);
    this.#burst = 10 + prng.below(60);
    this.#pump.in(prng.unit() * 2 * this.#lullMs);
  }

  #issue(queue: HostQueue, tag: number): boolean {
    const op = this.#pickOp();
    const isWriter = op !== BlockOp.READ;
    const size = this.#events.blocks();
    const blocks = op === BlockOp.FLUSH ? 0 : this.#pickBlocks(size);
    const first = this.#prng.below(size - blocks + 1);
    if (!this.#oracle.take(first, blocks, isWriter)) return false;
    this.#unseal(queue, tag);
    const { nowMs } = this.#clock;
    const inFlight = this.#inFlight[queue.index];
    inFlight.first[tag] = first;
    inFlight.blocks[tag] = blocks;
    inFlight.op[tag] = op;
    inFlight.issuedMs[tag] = nowMs;
    const at = queue.requests.dataOffset[tag] >> 2;
    inFlight.version[tag] = op === BlockOp.WRITE ? this.#oracle.compose(inFlight.words, at, blocks) : 0;
    this.issued++;
    queue.refusals[tag] = 0;
    this.#events.handleIssue(this.issued);
    const lba = this.#scenario.firstLba + first;
    this.#events.trace?.(() => `issued: ${this.words(queue, tag)}${versionWords(inFlight.version[tag])}`);
    const flags = op === BlockOp.WRITE && this.#prng.below(4) === 0 ? BlockFlag.FUA : 0;
    queue.startRequest(tag, { op, flags, lba, blocks });
    return true;
  }

  #pickOp(): number {
    const draw = this.#prng.below(100);
    if (draw < this.#writesIn100) return BlockOp.WRITE;
    if (draw < 92) return BlockOp.READ;
    return [BlockOp.FLUSH, BlockOp.DISCARD, BlockOp.WRITE_ZEROES][draw % 3];
  }

  /** Mostly small, now and then as large as a request can be. */
  #pickBlocks(size: number): number {
    const max = this.#scenario.requestBytes / this.#scenario.blockSize;
    const draw = this.#prng.below(100), { largeIn100 } = this.#scenario;
    const most = draw < largeIn100 ? max : draw < largeIn100 + 20 ? Math.min(8, max) : Math.min(2, max);
    return 1 + this.#prng.below(Math.min(most, size));
  }

  // ── answers ───────────────────────────────────────────────────────────────────────────────────────────────────────

  handleDone(queue: HostQueue, tag: number, result: number): void {
    const inFlight = this.#inFlight[queue.index];
    const op = inFlight.op[tag], first = inFlight.first[tag], blocks = inFlight.blocks[tag];
    const issuedMs = inFlight.issuedMs[tag];
    this.done++;
    this.longestMs = Math.max(this.longestMs, this.#clock.nowMs - issuedMs);
    const refusals = queue.refusals[tag];
    checkRefusals(this.#scenario, { refusals, op, blocks }, () => this.words(queue, tag));
    if (result < 0) this.#handleError({ errno: -result, issuedMs, refusals, first, end: first + blocks });
    const expected = op <= BlockOp.WRITE ? blocks * this.#scenario.blockSize : 0;
    if (result >= 0 && result !== expected) {
      throw new Violation("once", `${this.words(queue, tag)} is answered with ${result} instead of ${expected}`);
    }
    this.#events.trace?.(() =>
      `answered with ${result}: ${this.words(queue, tag)}${versionWords(inFlight.version[tag])}`
    );
    const at = queue.requests.dataOffset[tag] >> 2;
    if (op === BlockOp.READ) this.#oracle.handleRead(first, blocks, result < 0 ? null : inFlight.words, at);
    else this.#oracle.handleWritten(first, blocks, inFlight.version[tag], result >= 0);
    this.#seal(queue, tag);
    queue.driver.giveBack(tag);
  }

  #handleError(failed: FailedRequest): void {
    this.failed++;
    this.#events.handleError(failed);
  }

  // ── seals: nobody touches the buffer of a tag that has no request ─────────────────────────────────────────────────

  #seal(queue: HostQueue, tag: number): void {
    const { words } = this.#inFlight[queue.index];
    const start = queue.requests.dataOffset[tag] >> 2, end = start + (queue.requests.bufferBytes >> 2);
    for (let word = start; word < end; word += SEAL_STRIDE_WORDS) words[word] = SEAL;
  }

  #unseal(queue: HostQueue, tag: number): void {
    const { words } = this.#inFlight[queue.index];
    const start = queue.requests.dataOffset[tag] >> 2, end = start + (queue.requests.bufferBytes >> 2);
    for (let word = start; word < end; word += SEAL_STRIDE_WORDS) {
      if (words[word] !== SEAL) {
        throw new Violation("buffer", `The buffer of tag ${tag} of queue ${queue.index} was touched`);
      }
    }
  }
}

function versionWords(version: number): string {
  return version === 0 ? "" : `, versions from ${version} on`;
}
