/** A well-behaved host that reads and writes all the time, and knows what it has to read: what others do must not touch it. */
import { assertEquals, fail } from "@std/assert";
import { Prng } from "../../src/base/prng.ts";
import { AdminOpcode, NvmOpcode } from "../../src/protocol/nvme.ts";
import { delay, eventually } from "./host/host_fixture.ts";
import { RawHost } from "./raw_host.ts";
import { identifySqe, ioSqe, sqe } from "./raw_pdus.ts";
import type { Served } from "./served.ts";

const UNIT_BYTES = 4096;
const UNITS = 64;
const PAUSE_MS = 2;
const BLOCK_SIZE = 512;
const PROGRESS_MS_MAX = 10_000;

export class Witness implements AsyncDisposable {
  /** Reads and writes that were right. */
  ios = 0;
  longestMs = 0;
  readonly #admin: RawHost;
  readonly #io: RawHost;
  readonly #prng: Prng;
  readonly #generations = new Uint32Array(UNITS);
  #isOver = false;
  #working: Promise<void> = Promise.resolve();

  private constructor(admin: RawHost, io: RawHost, seed: number) {
    this.#admin = admin;
    this.#io = io;
    this.#prng = new Prng(seed);
  }

  /** Connects by the target's first portal and begins. Namespace 1 has blocks of 512 bytes. */
  static async start(target: Served, { seed }: { seed: number }): Promise<Witness> {
    const portal = target.portals[0]!;
    const admin = await RawHost.controller(portal, target.nqn);
    const io = await RawHost.connect(portal, { nqn: target.nqn, qid: 1, cntlid: admin.cntlid });
    const witness = new Witness(admin, io, seed);
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
    const blocks = UNIT_BYTES / BLOCK_SIZE;
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

  /** Waits until it has done so many reads and writes; fails if one was wrong, or they take too long. */
  async until(ios: number): Promise<void> {
    const failed = this.#working.then(() => fail("The witness has ended"));
    failed.catch(() => {}); // whoever waits now hears of it, and end() tells it once more
    const done = eventually(`${ios} reads and writes of the witness`, () => this.ios >= ios, PROGRESS_MS_MAX);
    await Promise.race([done, failed]);
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
