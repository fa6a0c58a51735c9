/** The kernel's side of one ublk hardware queue, for tests: hands requests out and checks what is committed. */
import { assert, assertEquals } from "@std/assert";
import type { Geometry } from "../../../src/block/device.ts";
import { UblkIoCommand, UblkIoDesc, UblkIoResult } from "../../../src/protocol/ublk.ts";
import type { UblkTags } from "../../../src/ublk/tags.ts";

/** A device of 512-byte blocks that can do everything; change what the test is about. */
export function makeGeometry(changes: Partial<Geometry> = {}): Geometry {
  return {
    blockSize: 512,
    blocks: 4096,
    physicalBlockSize: 4096,
    minIoBytes: 0,
    optimalIoBytes: 0,
    volatileCache: true,
    readOnly: false,
    maxDiscardBytes: 1 << 20,
    discardGranularity: 4096,
    maxWriteZeroesBytes: 1 << 20,
    ...changes,
  };
}

/** A request as the block layer has it. */
export interface KernelRequest {
  opFlags: number;
  sectors: number;
  sector: bigint;
}

const FETCH = UblkIoCommand.FETCH_REQ | 0;
const COMMIT = UblkIoCommand.COMMIT_AND_FETCH_REQ | 0;

/** Keeps which tags have a command in the kernel and which a request in the server; refuses what the driver would. */
export class FakeKernelQueue {
  readonly descriptors: Int32Array;
  readonly #active: boolean[];
  readonly #owned: boolean[];
  readonly #fetched: boolean[];

  constructor(depth: number) {
    this.descriptors = new Int32Array(depth * UblkIoDesc.words);
    this.#active = new Array(depth).fill(false);
    this.#owned = new Array(depth).fill(false);
    this.#fetched = new Array(depth).fill(false);
  }

  /** Tags that wait for a request. */
  get idleTags(): number[] {
    return [...this.#active.keys()].filter((tag) => this.#active[tag]);
  }

  /** Takes every command that the queue has; gives the committed tags with their results. */
  takeCommands(queue: UblkTags): [tag: number, result: number][] {
    const committed: [number, number][] = [];
    for (let tag = queue.pollCommand(); tag >= 0; tag = queue.pollCommand()) {
      assert(!this.#active[tag], `tag ${tag}: the driver would say EBUSY`);
      if (queue.commandOp(tag) === COMMIT) {
        assert(this.#owned[tag], `tag ${tag}: a commit without a request`);
        this.#owned[tag] = false;
        committed.push([tag, queue.commandResult(tag)]);
      } else {
        assertEquals(queue.commandOp(tag), FETCH);
        assert(!this.#fetched[tag], `tag ${tag}: fetched twice`);
        this.#fetched[tag] = true;
      }
      this.#active[tag] = true;
    }
    return committed;
  }

  /** Hands a request over on a tag that waits. */
  give(queue: UblkTags, tag: number, request: KernelRequest): void {
    assert(this.#active[tag], `tag ${tag} has no command in the kernel`);
    this.#active[tag] = false;
    this.#owned[tag] = true;
    const word = tag * UblkIoDesc.words;
    this.descriptors[word + UblkIoDesc.opFlags] = request.opFlags | 0;
    this.descriptors[word + UblkIoDesc.nrSectors] = request.sectors | 0;
    this.descriptors[word + UblkIoDesc.startSectorLow] = Number(BigInt.asIntN(32, request.sector));
    this.descriptors[word + UblkIoDesc.startSectorHigh] = Number(BigInt.asIntN(32, request.sector >> 32n));
    queue.handleCommandDone(tag, UblkIoResult.OK, 0);
  }

  /** Ends every command that waits, as STOP_DEV does. */
  abort(queue: UblkTags): void {
    for (const tag of this.idleTags) {
      this.#active[tag] = false;
      queue.handleCommandDone(tag, UblkIoResult.ABORT, 0);
    }
  }
}
