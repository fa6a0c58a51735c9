import { LAYOUT } from "../../ffi/layout.ts";
import { native } from "../../ffi/library.ts";
import { check } from "../../ffi/result.ts";
import { EAGAIN, EBUSY, EINTR } from "../base/errno.ts";
import { assert } from "../base/assert.ts";
import { Memory, TWO_32 } from "./memory.ts";
import { TokenKind } from "./token.ts";

/** Opcodes of io_uring (linux/io_uring.h). */
const Op = {
  NOP: 0,
  READV: 1,
  WRITEV: 2,
  FSYNC: 3,
  POLL_ADD: 6,
  POLL_REMOVE: 7,
  SENDMSG: 9,
  RECVMSG: 10,
  FALLOCATE: 17,
  READ: 22,
  WRITE: 23,
  SEND: 26,
  RECV: 27,
  URING_CMD: LAYOUT.opUringCmd,
} as const;

/** IORING_POLL_ADD_MULTI: a poll that stays until it is cancelled or its completion lacks {@linkcode CQE_MORE}. */
const POLL_MULTISHOT = 1 << 0;
/** IORING_CQE_F_MORE: the same submission will complete again. */
const CQE_MORE = 1 << 1;
/** How long a ring may be full because the kernel takes nothing: it stands for memory that does not come free. */
const FULL_MS_MAX = 5_000;
const FULL_POLL_MS = 1;

/** As `um_ring_turn()`. */
export type Enter = (
  state: Uint8Array<ArrayBuffer>,
  submit: number,
  quiet: number,
  spinUs: number,
  timeoutMs: number,
) => number;

/** An offset that stands for the file's own position: what has none ignores it. */
const NO_OFFSET = -1;

/** Flags of io_uring_setup(). */
const Setup = { SUBMIT_ALL: 1 << 7, SINGLE_ISSUER: 1 << 12, DEFER_TASKRUN: 1 << 13 } as const;

/** Bits of the result of `um_ring_turn()`: a spin found a completion, or found none. */
const SPIN_HIT = 1 << 30;
const SPIN_MISS = 1 << 29;
/** For `um_ring_turn()`: kinds whose completions end no turn if they went well, and if they found nothing. */
const QUIET = (1 << TokenKind.SEND) | (1 << TokenKind.FUSE_WRITE) | (1 << (TokenKind.FUSE_READ + 16));

/** Words of `struct um_ring`: positions in the queues that C is told before a turn, and the one that it tells after it. */
const PREPARED = LAYOUT.ringPrepared >> 2;
const TAKEN = PREPARED + 1;
const READY = PREPARED + 2;

/** Shifts from bytes to words of 32 bits, and from an entry's index to its first word. */
const SQE_WORDS_SHIFT = 4;
const CQE_WORDS_SHIFT = 2;

/**
 * An io_uring whose queues are read and written here as typed arrays; the kernel is entered once a turn.
 *
 * It belongs to the thread that made it (SINGLE_ISSUER, DEFER_TASKRUN): completions appear only inside {@linkcode turn}.
 *
 *     prep…() prep…() → turn() → while (next()) { high, low, result } → …
 */
export class Ring implements Disposable {
  /** Of the completion that `next()` took: the halves of its token, and its result (≥ 0 or -errno). */
  tokenLow = 0;
  tokenHigh = 0;
  result = 0;
  /** Its submission will not complete again. False only for a poll that goes on. */
  isMultishotOver = true;
  /** How many turns there were, and in how many of them a spin was rewarded, or was not. */
  turns = 0;
  spinHits = 0;
  spinMisses = 0;

  readonly #state: Uint8Array<ArrayBuffer>;
  readonly #words: Int32Array;
  readonly #ring: Int32Array;
  readonly #sqes: Int32Array;
  readonly #entries: number;
  readonly #sqMask: number;
  readonly #cqMask: number;
  readonly #cqes: number;
  #tail = 0;
  #head = 0;
  #seen = 0;
  #pending = 0;
  /** Pending submissions whose completions may end no turn. */
  #quiet = 0;
  /** Why the kernel took nothing the last time that it took nothing. */
  #laterErrno = EAGAIN;
  readonly #enter: Enter;

  /**
   * `enter` takes the place of the kernel's, for tests.
   *
   * @throws SystemError if the kernel has no io_uring or does not allow it.
   */
  constructor(options: { submissions: number; completions: number; enter?: (real: Enter) => Enter }) {
    const real: Enter = native().um_ring_turn;
    this.#enter = options.enter === undefined ? real : options.enter(real);
    this.#state = new Uint8Array(LAYOUT.ringBytes);
    this.#words = new Int32Array(this.#state.buffer);
    const flags = Setup.SUBMIT_ALL | Setup.SINGLE_ISSUER | Setup.DEFER_TASKRUN;
    check(
      native().um_ring_setup(options.submissions, options.completions, flags, this.#state),
      "Cannot set up an io_uring",
    );
    const view = new DataView(this.#state.buffer);
    const long = (offset: number) => Number(view.getBigUint64(offset, true));
    const word = (index: number) => view.getUint32(LAYOUT.ringSqEntries + index * 4, true);
    this.#ring = new Int32Array(Memory.at(long(LAYOUT.ringAddr), long(LAYOUT.ringAddr + 8)).bytes.buffer);
    this.#sqes = new Int32Array(Memory.at(long(LAYOUT.ringAddr + 16), long(LAYOUT.ringAddr + 24)).bytes.buffer);
    this.#entries = word(0);
    this.#sqMask = word(0) - 1;
    this.#cqMask = word(1) - 1;
    this.#cqes = word(9) >> 2;
    const array = word(5) >> 2;
    for (let i = 0; i < this.#entries; i++) this.#ring[array + i] = i;
  }

  /** Submissions that the kernel has not been told of. */
  get pending(): number {
    return this.#pending;
  }

  /**
   * Submits what is prepared and waits for a completion, at most `timeoutMs` (0: does not wait; negative: as long as it
   * takes), looking for it for `spinUs` microseconds before it sleeps. Sends and FUSE answers that complete at once do
   * not end the wait, nor do reads that find no FUSE request: there is nothing to do then that could not be done with
   * the next completion.
   */
  turn(spinUs: number, timeoutMs: number): void {
    const words = this.#words;
    words[PREPARED] = this.#tail;
    words[TAKEN] = this.#head;
    const quiet = this.#quiet > 0 ? QUIET : 0;
    const result = this.#enter(this.#state, this.#pending, quiet, spinUs, timeoutMs);
    this.turns++;
    this.#quiet = 0;
    this.#seen = words[READY];
    if (result < 0) return this.#turnFailed(-result);
    if (result & SPIN_HIT) this.spinHits++;
    if (result & SPIN_MISS) this.spinMisses++;
    this.#pending -= result & ~(SPIN_HIT | SPIN_MISS);
  }

  /** EINTR, EAGAIN and EBUSY leave what was not submitted in the queue for the next turn. */
  #turnFailed(errno: number): void {
    if (errno !== EINTR && errno !== EAGAIN && errno !== EBUSY) check(-errno, "Cannot enter the io_uring");
    this.#laterErrno = errno;
  }

  /** Takes the next completion of this turn into `tokenHigh`, `tokenLow` and `result`; false if there is none. */
  next(): boolean {
    if (this.#head === this.#seen) return false;
    const at = this.#cqes + ((this.#head & this.#cqMask) << CQE_WORDS_SHIFT);
    const ring = this.#ring;
    this.tokenLow = ring[at];
    this.tokenHigh = ring[at + 1];
    this.result = ring[at + 2];
    this.isMultishotOver = (ring[at + 3] & CQE_MORE) === 0;
    this.#head = (this.#head + 1) | 0;
    return true;
  }

  prepNop(high: number, low: number): void {
    const at = this.#sqe(Op.NOP, -1, high, low);
    void at;
  }

  /** From a descriptor without a position, as that of an eventfd. */
  prepRead(fd: number, address: number, length: number, high: number, low: number): void {
    this.prepReadAt(fd, address, length, NO_OFFSET, 0, high, low);
  }

  /** `offset` in bytes, exact as a number; `flags` are RWF_… of preadv2(2). */
  prepReadAt(
    fd: number,
    address: number,
    length: number,
    offset: number,
    flags: number,
    high: number,
    low: number,
  ): void {
    this.#fileData(this.#sqe(Op.READ, fd, high, low), address, length, offset, flags);
  }

  /** As {@linkcode prepReadAt}; `flags` are RWF_… of pwritev2(2), such as RWF_DSYNC. */
  prepWriteAt(
    fd: number,
    address: number,
    length: number,
    offset: number,
    flags: number,
    high: number,
    low: number,
  ): void {
    this.#fileData(this.#sqe(Op.WRITE, fd, high, low), address, length, offset, flags);
  }

  /** Into `count` struct iovec at `iovecs`, from a descriptor without a position; they stay until the completion. */
  prepReadVector(fd: number, iovecs: number, count: number, high: number, low: number): void {
    this.#fileData(this.#sqe(Op.READV, fd, high, low), iovecs, count, NO_OFFSET, 0);
    this.#quiet++;
  }

  prepWriteVector(fd: number, iovecs: number, count: number, high: number, low: number): void {
    this.#fileData(this.#sqe(Op.WRITEV, fd, high, low), iovecs, count, NO_OFFSET, 0);
    this.#quiet++;
  }

  /** fsync(2). */
  prepSync(fd: number, high: number, low: number): void {
    this.#sqe(Op.FSYNC, fd, high, low);
  }

  /** fallocate(2): `mode` is FALLOC_FL_…. */
  prepAllocate(fd: number, mode: number, offset: number, length: number, high: number, low: number): void {
    const at = this.#sqe(Op.FALLOCATE, fd, high, low);
    // The length is where other operations have their address, the mode where they have their length.
    this.#fileData(at, length, mode, offset, 0);
  }

  /** Completes whenever `fd` has one of `events` (poll(2)), until `isMultishotOver` of a completion. */
  prepPoll(fd: number, events: number, high: number, low: number): void {
    const at = this.#sqe(Op.POLL_ADD, fd, high, low);
    this.#sqes[at + 6] = POLL_MULTISHOT;
    this.#sqes[at + 7] = events;
  }

  /** Ends the poll that was prepared with this token; both complete, under the same token. */
  prepPollRemove(high: number, low: number): void {
    const at = this.#sqe(Op.POLL_REMOVE, -1, high, low);
    this.#sqes[at + 4] = low;
    this.#sqes[at + 5] = high;
  }

  prepReceive(fd: number, address: number, length: number, flags: number, high: number, low: number): void {
    this.#data(this.#sqe(Op.RECV, fd, high, low), address, length, flags);
  }

  prepSend(fd: number, address: number, length: number, flags: number, high: number, low: number): void {
    this.#data(this.#sqe(Op.SEND, fd, high, low), address, length, flags);
    this.#quiet++;
  }

  /** `address` is that of a struct msghdr which stays as it is until the completion. */
  prepReceiveMessage(fd: number, address: number, flags: number, high: number, low: number): void {
    this.#data(this.#sqe(Op.RECVMSG, fd, high, low), address, 1, flags);
  }

  prepSendMessage(fd: number, address: number, flags: number, high: number, low: number): void {
    this.#data(this.#sqe(Op.SENDMSG, fd, high, low), address, 1, flags);
    this.#quiet++;
  }

  /** A ublk I/O command: `struct ublksrv_io_cmd` {q_id, tag, result, addr} in the entry's last 16 bytes. */
  prepUblk(
    fd: number,
    op: number,
    queueId: number,
    tag: number,
    result: number,
    address: number,
    high: number,
  ): void {
    const at = this.#sqe(Op.URING_CMD, fd, high, tag);
    const sqes = this.#sqes;
    sqes[at + 2] = op;
    sqes[at + 12] = queueId | (tag << 16);
    sqes[at + 13] = result;
    sqes[at + 14] = address | 0;
    sqes[at + 15] = address / TWO_32 | 0;
  }

  #sqe(op: number, fd: number, high: number, low: number): number {
    if (this.#pending === this.#entries) this.#makeRoom();
    const at = (this.#tail & this.#sqMask) << SQE_WORDS_SHIFT;
    const sqes = this.#sqes;
    for (let i = 2; i < 16; i++) sqes[at + i] = 0;
    sqes[at] = op;
    sqes[at + 1] = fd;
    sqes[at + 8] = low;
    sqes[at + 9] = high;
    this.#tail = (this.#tail + 1) | 0;
    this.#pending++;
    return at;
  }

  /** The kernel may say "later": it has no memory just now, or too many completions that nobody has taken. */
  #makeRoom(): void {
    const deadlineMs = performance.now() + FULL_MS_MAX;
    this.turn(0, 0);
    while (this.#pending === this.#entries && performance.now() < deadlineMs) this.turn(0, FULL_POLL_MS);
    if (this.#pending === this.#entries) check(-this.#laterErrno, "Cannot submit to the io_uring, which is full");
    assert(this.#pending < this.#entries, "A turn that succeeds submits");
  }

  #fileData(at: number, address: number, length: number, offset: number, flags: number): void {
    this.#sqes[at + 2] = offset | 0;
    this.#sqes[at + 3] = offset < 0 ? -1 : offset / TWO_32 | 0;
    this.#data(at, address, length, flags);
  }

  #data(at: number, address: number, length: number, flags: number): void {
    const sqes = this.#sqes;
    sqes[at + 4] = address | 0;
    sqes[at + 5] = address / TWO_32 | 0;
    sqes[at + 6] = length;
    sqes[at + 7] = flags;
  }

  [Symbol.dispose](): void {
    native().um_ring_close(this.#state);
  }
}
