import { assert } from "../../src/base/assert.ts";
import { BlockFlag, BlockOp } from "../../src/block/request.ts";
import { UblkIoDesc, UblkIoFlag, UblkIoOp, UblkIoResult } from "../../src/protocol/ublk.ts";
import type { UblkTags } from "../../src/ublk/tags.ts";

/** What the driver knows of a tag: it has a fetch to answer, or the server has a request to answer. */
const Tag = { NONE: 0, FETCHED: 1, SERVED: 2, ABORTED: 3 } as const;

const OPS: Readonly<Record<number, number>> = {
  [BlockOp.READ]: UblkIoOp.READ,
  [BlockOp.WRITE]: UblkIoOp.WRITE,
  [BlockOp.FLUSH]: UblkIoOp.FLUSH,
  [BlockOp.DISCARD]: UblkIoOp.DISCARD,
  [BlockOp.WRITE_ZEROES]: UblkIoOp.WRITE_ZEROES,
};

/** A request of the kernel's. */
export interface KernelRequest {
  readonly op: number;
  readonly flags: number;
  readonly lba: number;
  readonly blocks: number;
}

/**
 * The kernel's side of one queue of a ublk device: descriptors, and which tag is whose. It checks that every tag is
 * answered exactly once.
 */
export class UblkDriver {
  readonly descriptors: Int32Array;
  readonly #depth: number;
  readonly #sectorShift: number;
  readonly #state: Uint8Array;
  readonly #free: number[] = [];
  readonly #onDone: (tag: number, result: number) => void;
  queue!: UblkTags;
  served = 0;

  /** `onDone` is called with the result of each request: bytes, 0 or a negative errno. */
  constructor(options: { depth: number; blockSize: number; onDone: (tag: number, result: number) => void }) {
    this.#depth = options.depth;
    this.#sectorShift = Math.log2(options.blockSize) - 9;
    this.descriptors = new Int32Array(options.depth * UblkIoDesc.words);
    this.#state = new Uint8Array(options.depth);
    this.#onDone = options.onDone;
  }

  /** A tag that has no request; -1 if there is none. */
  takeTag(): number {
    return this.#free.pop() ?? -1;
  }

  giveBack(tag: number): void {
    this.#free.push(tag);
  }

  get freeTags(): number {
    return this.#free.length;
  }

  /** Hands a request over: the tag's command completes. */
  start(tag: number, request: KernelRequest, nowMs: number): void {
    assert(this.#state[tag] === Tag.FETCHED, "The kernel has a command for each request that it hands over");
    this.#state[tag] = Tag.SERVED;
    const at = tag * UblkIoDesc.words;
    const fua = (request.flags & BlockFlag.FUA) === 0 ? 0 : UblkIoFlag.FUA;
    const noUnmap = (request.flags & BlockFlag.NO_UNMAP) === 0 ? 0 : UblkIoFlag.NOUNMAP;
    const sector = request.lba * 2 ** this.#sectorShift;
    this.descriptors[at + UblkIoDesc.opFlags] = OPS[request.op] | fua | noUnmap;
    this.descriptors[at + UblkIoDesc.nrSectors] = request.blocks << this.#sectorShift;
    this.descriptors[at + UblkIoDesc.startSectorLow] = sector % 2 ** 32 | 0;
    this.descriptors[at + UblkIoDesc.startSectorHigh] = Math.floor(sector / 2 ** 32) | 0;
    this.queue.handleCommandDone(tag, UblkIoResult.OK, nowMs);
  }

  /** Takes the commands that the queue has for the kernel. */
  takeCommands(): boolean {
    let isAny = false;
    for (let tag = this.queue.pollCommand(); tag >= 0; tag = this.queue.pollCommand()) {
      isAny = true;
      const state = this.#state[tag];
      this.#state[tag] = Tag.FETCHED;
      if (state === Tag.NONE) {
        this.#free.push(tag);
        continue;
      }
      if (state !== Tag.SERVED) throw new Error(`Tag ${tag} is answered that has no request`);
      this.served++;
      this.#onDone(tag, this.queue.commandResult(tag));
    }
    return isAny;
  }

  /** The device is stopped: commands that wait for requests end. */
  abort(nowMs: number): void {
    for (let tag = 0; tag < this.#depth; tag++) {
      if (this.#state[tag] !== Tag.FETCHED) continue;
      this.#state[tag] = Tag.ABORTED;
      this.queue.handleCommandDone(tag, UblkIoResult.ABORT, nowMs);
    }
    this.#free.length = 0;
  }

  /** Tags whose request the server has. */
  get inService(): number {
    return this.#state.reduce((sum, state) => sum + (state === Tag.SERVED ? 1 : 0), 0);
  }

  isServed(tag: number): boolean {
    return this.#state[tag] === Tag.SERVED;
  }
}
