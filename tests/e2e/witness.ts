/** A well-behaved host that reads and writes all the time, and knows what it has to read: what others do must not touch it. */
import { assertEquals } from "@std/assert";
import { Prng } from "../../src/base/prng.ts";
import { AdminOpcode, NvmOpcode } from "../../src/spec/nvme.ts";
import { delay } from "../unit/host/host_fixture.ts";
import { identifySqe, ioSqe, RawHost, sqe } from "./raw_host.ts";
import type { Served } from "./served.ts";

const UNIT_BYTES = 4096;
const UNITS = 64;
const PAUSE_MS = 2;

export class Witness implements AsyncDisposable {
  /** Reads and writes that were right. */
  ios = 0;
  longestMs = 0;
  readonly #admin: RawHost;
  readonly #io: RawHost;
  readonly #blockSize: number;
  readonly #prng: Prng;
  readonly #generations = new Uint32Array(UNITS);
  #isOver = false;
  #working: Promise<void> = Promise.resolve();

  private constructor(admin: RawHost, io: RawHost, { blockSize, seed }: { blockSize: number; seed: number }) {
    this.#admin = admin;
    this.#io = io;
    this.#blockSize = blockSize;
    this.#prng = new Prng(seed);
  }

  /** Connects by the target's first portal and begins. */
  static async start(target: Served, options: { blockSize?: number; seed: number }): Promise<Witness> {
    const portal = target.portals[0]!;
    const admin = await RawHost.controller(portal, target.nqn);
    const io = await RawHost.connect(portal, { nqn: target.nqn, qid: 1, cntlid: admin.cntlid });
    const witness = new Witness(admin, io, { blockSize: 512, ...options });
    witness.#working = witness.#work();
    witness.#working.catch(() => {}); // told by end()
    return witness;
  }

  async #work(): Promise<void> {
    while (!this.#isOver) {
      const started = performance.now();
      await this.#doOne();
      this.longestMs = Math.max(this.longestMs, performance.now() - started);
      this.ios++;
      if (this.ios % 16 === 0) {
        assertEquals((await this.#admin.succeed("Identify", identifySqe())).data.length, 4096);
        await this.#admin.succeed("Keep Alive", sqe(AdminOpcode.KEEP_ALIVE));
      }
      await delay(PAUSE_MS);
    }
  }

  async #doOne(): Promise<void> {
    const unit = this.#prng.below(UNITS);
    const blocks = UNIT_BYTES / this.#blockSize;
    const lba = unit * blocks;
    if (this.#prng.unit() < 0.5 || this.#generations[unit] === 0) {
      this.#generations[unit]!++;
      const entry = ioSqe(NvmOpcode.WRITE, lba, { blocks, bytes: UNIT_BYTES });
      await this.#io.succeed("Write", entry, this.#content(unit));
    } else {
      const { data } = await this.#io.succeed("Read", ioSqe(NvmOpcode.READ, lba, { blocks, bytes: UNIT_BYTES }));
      assertEquals(data, this.#content(unit));
    }
  }

  #content(unit: number): Uint8Array {
    const words = new Uint32Array(UNIT_BYTES / 4);
    const prng = new Prng(unit * 65536 + this.#generations[unit]!);
    for (let i = 0; i < words.length; i++) words[i] = prng.uint32();
    return new Uint8Array(words.buffer);
  }

  /** Ends it; fails if anything was wrong. */
  async end(): Promise<void> {
    this.#isOver = true;
    try {
      await this.#working;
    } finally {
      this.#io[Symbol.dispose]();
      this.#admin[Symbol.dispose]();
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.end();
  }
}
