import { SlotStates } from "../base/state_table.ts";
import { ERRNO_MAX } from "../protocol/linux.ts";
import { assert } from "../base/assert.ts";
import { EPROTO } from "../base/errno.ts";
import { Fifo } from "../base/fifo.ts";
import type { BlockDevice, Geometry } from "../block/device.ts";
import { BlockOp, type RequestTable } from "../block/request.ts";
import { legacyOp, UBLK_QUEUE_DEPTH_MAX, UblkIoCommand, UblkIoResult } from "../protocol/ublk.ts";
import { DescriptorReader } from "./descriptor.ts";
import { TAG_STATES, TagState } from "./tag_state.ts";

/** What a {@linkcode UblkTags} is made of. */
export interface UblkQueueOptions {
  /** Number of the hardware queue. */
  queueId: number;
  /** Number of tags. */
  depth: number;
  /** The mapped `ublksrv_io_desc` of the queue, `depth` of them. */
  descriptors: Int32Array;
  /** The slots that the requests go into; the tag is the slot. */
  requests: RequestTable;
  /** Where the requests go. */
  device: BlockDevice;
  /** What the kernel was told of the device. */
  geometry: Geometry;
  /** The driver takes ioctl-encoded commands, as every one from Linux 6.4 on does; true unless told. */
  ioctlEncode?: boolean;
}

/**
 * The tags of one hardware queue of a ublk device. One thread owns the queue, its ring and its tags for good.
 *
 * The owner drives it: `start()`; then, in every turn, `handleCommandDone()` for each completed I/O command, and
 * `pollCommand()` until it gives -1, each tag of which goes into the ring as a command with `commandOp()`,
 * `commandResult()` and the address of the slot's buffer. A tag that was polled must be submitted: poll only as many as
 * the ring has room for.
 *
 *     IDLE → FETCH_WANTED → FETCHING ──→ OWNED → ANSWERED → COMMITTING
 *                              │           ↑                  │   │
 *                              ↓           └──────────────────┘   ↓
 *                             OVER ←──────────────────────────────┘
 *
 * Invariant: a tag has at most one command in the kernel and at most one request in the device, never both; every
 * request that the kernel hands over is answered exactly once.
 */
export class UblkTags {
  readonly queueId: number;
  readonly depth: number;
  /** Requests that went to the device, by {@linkcode BlockOp}. */
  readonly served = new Float64Array(Object.keys(BlockOp).length);

  readonly #requests: RequestTable;
  readonly #device: BlockDevice;
  readonly #reader: DescriptorReader;
  readonly #blockShift: number;
  readonly #states: SlotStates;
  readonly #results: Int32Array;
  readonly #wanted: Fifo;
  readonly #fetchOp: number;
  readonly #commitOp: number;
  #fetched = 0;
  #inFlight = 0;
  #over = 0;
  #aborted = 0;
  #refused = 0;
  #failed = 0;
  #failure = 0;
  #closed = false;

  constructor(options: UblkQueueOptions) {
    const { depth, requests } = options;
    assert(depth > 0 && depth <= UBLK_QUEUE_DEPTH_MAX, "A ublk queue has 1 to 4096 tags");
    assert(requests.depth === depth, "Every tag has a request slot");
    this.queueId = options.queueId;
    this.depth = depth;
    this.#requests = requests;
    this.#device = options.device;
    this.#reader = new DescriptorReader(options.descriptors, requests, options.geometry);
    this.#blockShift = Math.log2(options.geometry.blockSize);
    this.#states = new SlotStates(TAG_STATES, depth);
    this.#results = new Int32Array(depth);
    this.#wanted = new Fifo(depth);
    const encode = options.ioctlEncode === false ? legacyOp : (op: number) => op;
    this.#fetchOp = encode(UblkIoCommand.FETCH_REQ) | 0;
    this.#commitOp = encode(UblkIoCommand.COMMIT_AND_FETCH_REQ) | 0;
  }

  /** Requests that the kernel handed over and that are not yet given back to it. */
  get inFlight(): number {
    return this.#inFlight;
  }

  /** Tags whose FETCH_REQ was polled. START_DEV returns when every tag of every queue was fetched. */
  get fetched(): number {
    return this.#fetched;
  }

  /** Tags that the kernel ended with ABORT. */
  get aborted(): number {
    return this.#aborted;
  }

  /** Every tag is over: no command is in the kernel, no request in the device. */
  get isDrained(): boolean {
    return this.#over === this.depth;
  }

  /** Requests that were answered here because they do not fit the device. */
  get refused(): number {
    return this.#refused;
  }

  /** Requests that the device answered with an errno. */
  get failed(): number {
    return this.#failed;
  }

  /** The first negative errno, other than ABORT, that a command ended with: that tag is over; 0 if there was none. */
  get failure(): number {
    return this.#failure;
  }

  /** Every tag wants its FETCH_REQ. Once, before START_DEV. */
  start(): void {
    for (let tag = 0; tag < this.depth; tag++) {
      this.#states.transition(tag, TagState.FETCH_WANTED);
      this.#wanted.push(tag);
    }
  }

  /** The device has that many blocks from now on: requests beyond are refused. */
  resize(blocks: number): void {
    this.#reader.resize(blocks);
  }

  /**
   * Gives the kernel no more commands: for a device that was never started, or whose STOP_DEV did not return. Tags that
   * wait for a command are over; what is in the kernel or in the device ends when that is done with it, and the answers
   * of such requests are dropped (the kernel fails them when the character device is closed).
   */
  close(): void {
    this.#closed = true;
    this.#wanted.clear();
    for (let tag = 0; tag < this.depth; tag++) {
      const state = this.#states.get(tag);
      if (state === TagState.ANSWERED) this.#inFlight--;
      if (state === TagState.IDLE || state === TagState.FETCH_WANTED || state === TagState.ANSWERED) this.#end(tag);
    }
  }

  /** The next tag that has a command for the kernel, or -1. Takes answers from the device. */
  pollCommand(): number {
    let tag = this.#wanted.shift();
    if (tag < 0) tag = this.#pollDevice();
    if (tag < 0) return -1;
    if (this.#states.get(tag) === TagState.FETCH_WANTED) {
      this.#states.transition(tag, TagState.FETCHING);
      this.#fetched++;
    } else {
      this.#states.transition(tag, TagState.COMMITTING);
      this.#inFlight--;
    }
    return tag;
  }

  /** `cmd_op` of the command of a tag that was just polled, as a signed 32-bit number. */
  commandOp(tag: number): number {
    return this.#states.get(tag) === TagState.COMMITTING ? this.#commitOp : this.#fetchOp;
  }

  /** `result` of the command of a tag that was just polled: bytes, 0, or a negative errno. */
  commandResult(tag: number): number {
    return this.#results[tag];
  }

  /**
   * A command of the queue has completed with `result`: there is a request, or the tag is over. `nowMs` is a monotonic
   * time in milliseconds.
   */
  handleCommandDone(tag: number, result: number, nowMs: number): void {
    assert(tag >= 0 && tag < this.depth, "A completion is for a tag of the queue");
    if (result !== UblkIoResult.OK) return this.#endCommand(tag, result);
    this.#states.transition(tag, TagState.OWNED);
    this.#inFlight++;
    const refusal = this.#reader.read(tag);
    if (refusal !== 0) return this.#refuse(tag, refusal);
    this.served[this.#requests.op[tag]]++;
    this.#device.submit(tag, nowMs);
  }

  #endCommand(tag: number, result: number): void {
    this.#end(tag);
    if (result === UblkIoResult.ABORT) {
      this.#aborted++;
    } else if (this.#failure === 0) {
      // A positive result is NEED_GET_DATA, which was not asked for.
      this.#failure = result < 0 ? result : -EPROTO;
    }
  }

  #end(tag: number): void {
    this.#states.transition(tag, TagState.OVER);
    this.#over++;
  }

  #refuse(tag: number, result: number): void {
    this.#refused++;
    this.#answer(tag, result);
    if (!this.#closed) this.#wanted.push(tag);
  }

  /** A tag that the device has answered, or -1. */
  #pollDevice(): number {
    for (;;) {
      const tag = this.#device.pollCompletion();
      if (tag < 0) return -1;
      const status = this.#requests.status[tag];
      assert(status >= 0 && status <= ERRNO_MAX, "A device answers with 0 or a positive errno");
      if (status !== 0) this.#failed++;
      this.#answer(tag, status === 0 ? this.#bytesDone(tag) : -status);
      if (!this.#closed) return tag;
    }
  }

  #answer(tag: number, result: number): void {
    this.#states.transition(tag, TagState.ANSWERED);
    this.#results[tag] = result;
    if (!this.#closed) return;
    this.#inFlight--;
    this.#end(tag);
  }

  /** READ and WRITE are answered with their bytes, the others with 0: a byte count of 2 GiB would not fit. */
  #bytesDone(tag: number): number {
    return this.#requests.op[tag] <= BlockOp.WRITE ? this.#requests.blocks[tag] << this.#blockShift : 0;
  }
}
