import { assert, assertEquals, assertThrows } from "@std/assert";
import { AssertionFailure } from "../../../src/base/assert.ts";
import { EAGAIN, ECONNABORTED, EINTR, EINVAL, EIO, ENODEV, ENOENT, ENOLINK, ENOSYS } from "../../../src/base/errno.ts";
import { Prng } from "../../../src/base/prng.ts";
import { BlockOp } from "../../../src/block/request.ts";
import { BLOCK, BUFFER, makeFile, outHeader } from "./fake_fuse.ts";
import { fallocateBody, openBody, request, transferBody } from "./fuse_request.ts";

const READ = 15;
const WRITE = 16;
const FSYNC = 20;
const FALLOCATE = 43;
const PUNCH = 0x3;

const readOf = (offset: number, size: number) => ({ opcode: READ, body: transferBody(BigInt(offset), size) });
const writeOf = (offset: number, data: Uint8Array) => ({
  opcode: WRITE,
  body: transferBody(BigInt(offset), data.length, data),
});

Deno.test("FuseSlots answers READ with the data of the device, after the header", () => {
  const { fuse, storage } = makeFile();
  storage.fill(0x5a, BLOCK, 3 * BLOCK);
  fuse.give(request({ ...readOf(BLOCK, 2 * BLOCK), unique: 0x1_0000_0009n }));
  const [answer] = fuse.turn();
  assertEquals(outHeader(answer), { len: 16 + 2 * BLOCK, error: 0, unique: 0x1_0000_0009n });
  assertEquals(answer.subarray(16), new Uint8Array(2 * BLOCK).fill(0x5a));
});

Deno.test("FuseSlots answers WRITE with the bytes that were written, and they are", () => {
  const { fuse, storage, queue } = makeFile();
  fuse.give(request(writeOf(4 * BLOCK, new Uint8Array(BUFFER).fill(7))));
  const [answer] = fuse.turn();
  assertEquals(outHeader(answer), { len: 24, error: 0, unique: 7n });
  assertEquals(new Uint32Array(answer.slice(16).buffer), new Uint32Array([BUFFER, 0]));
  assertEquals(storage.subarray(4 * BLOCK, 4 * BLOCK + BUFFER), new Uint8Array(BUFFER).fill(7));
  assertEquals([storage[4 * BLOCK - 1], storage[4 * BLOCK + BUFFER]], [0, 0]);
  assertEquals([...queue.served], [0, 1, 0, 0, 0]);
});

Deno.test("FuseSlots answers a READ at the end of the file with what there is", () => {
  const { fuse, storage } = makeFile();
  for (const [offset, bytes] of [[storage.length - BLOCK, BLOCK], [storage.length, 0], [2 ** 52, 0]]) {
    fuse.give(request(readOf(offset, 2 * BLOCK)));
    assertEquals(outHeader(fuse.turn()[0]), { len: 16 + bytes, error: 0, unique: 7n });
  }
});

Deno.test("FuseSlots tells once that the file was closed, which is how a loop device is unbound", () => {
  const { fuse, queue } = makeFile();
  assertEquals(queue.takeFileClosed(), false);
  for (let i = 0; i < 2; i++) {
    fuse.give(request({ opcode: 18, body: new Uint8Array(24) }));
    assertEquals(outHeader(fuse.turn()[0]).error, 0);
  }
  assertEquals([queue.takeFileClosed(), queue.takeFileClosed()], [true, false]);
});

Deno.test("FuseSlots flushes the device for FSYNC", () => {
  const { fuse, queue } = makeFile();
  fuse.give(request({ opcode: FSYNC, body: new Uint8Array(16) }));
  assertEquals(outHeader(fuse.turn()[0]), { len: 16, error: 0, unique: 7n });
  assertEquals([...queue.served], [0, 0, 1, 0, 0]);
});

Deno.test("FuseSlots answers FSYNC with ENOSYS, which ends them, when the device has no cache", () => {
  const { fuse, queue } = makeFile({ geometry: { volatileCache: false } });
  fuse.give(request({ opcode: FSYNC, body: new Uint8Array(16) }));
  assertEquals([outHeader(fuse.turn()[0]).error, queue.refused], [-ENOSYS, 1]);
});

Deno.test("FuseSlots zeroes a long range in as many parts as the device needs", () => {
  const { fuse, storage, queue, device } = makeFile({ stepped: true, geometry: { maxWriteZeroesBytes: 8 * BLOCK } });
  storage.fill(1);
  fuse.give(request({ opcode: FALLOCATE, body: fallocateBody(BigInt(BLOCK), BigInt(20 * BLOCK), PUNCH) }));
  let parts = 0;
  let answers = fuse.turn();
  for (; answers.length === 0; parts++) {
    assertEquals([device.held, queue.inFlight], [1, 1]);
    device.step();
    answers = fuse.turn();
  }
  assertEquals([parts, outHeader(answers[0]).error], [3, 0]);
  assertEquals([storage[BLOCK - 1], storage[21 * BLOCK]], [1, 1]);
  assertEquals(storage.subarray(BLOCK, 21 * BLOCK).some((byte) => byte !== 0), false);
});

Deno.test("FuseSlots ends a range in parts with the first that fails", () => {
  const { fuse, queue, device } = makeFile({ stepped: true, geometry: { maxWriteZeroesBytes: 8 * BLOCK } });
  fuse.give(request({ opcode: FALLOCATE, body: fallocateBody(0n, BigInt(24 * BLOCK), PUNCH) }));
  assertEquals(fuse.turn(), []);
  device.step();
  assertEquals(fuse.turn(), []);
  device.step(0, ENOLINK);
  assertEquals([outHeader(fuse.turn()[0]).error, device.held, queue.failed], [-ENOLINK, 0, 1]);
  // The slot's next request is not taken for what was left.
  fuse.give(request({ opcode: FSYNC, body: new Uint8Array(16) }));
  assertEquals(fuse.turn(), []);
  device.step();
  assertEquals([outHeader(fuse.turn()[0]).error, device.held], [0, 0]);
});

Deno.test("FuseSlots answers errors of the device, none of them further than the driver takes", () => {
  const { fuse, device, queue } = makeFile({ stepped: true });
  for (const [errno, error] of [[ENOLINK, -ENOLINK], [511, -511], [512, -EIO], [4095, -EIO]]) {
    fuse.give(request(readOf(0, BLOCK)));
    fuse.turn();
    device.step(0, errno);
    assertEquals(outHeader(fuse.turn()[0]), { len: 16, error, unique: 7n });
  }
  assertEquals([queue.failed, queue.refused, queue.failure], [4, 0, 0]);
});

Deno.test("FuseSlots answers what needs no device by itself", () => {
  const { fuse, queue, device } = makeFile({ stepped: true });
  const rows: [opcode: number, body: Uint8Array, bytes: number][] = [
    [3, new Uint8Array(16), 16 + 104], // GETATTR
    [14, openBody(2), 16 + 16], // OPEN
    [17, new Uint8Array(0), 16 + 80], // STATFS
    [18, new Uint8Array(24), 16], // RELEASE
    [25, new Uint8Array(24), 16], // FLUSH
    [38, new Uint8Array(0), 16], // DESTROY
    [WRITE, transferBody(0n, 0), 16 + 8],
  ];
  for (const [opcode, body, len] of rows) {
    fuse.give(request({ opcode, body }));
    assertEquals(outHeader(fuse.turn()[0]), { len, error: 0, unique: 7n }, `operation ${opcode}`);
  }
  assertEquals([device.held, queue.inFlight, queue.refused], [0, 0, 0]);
});

Deno.test("FuseSlots answers nothing to FORGET, BATCH_FORGET and NOTIFY_REPLY, and goes on", () => {
  const { fuse, queue } = makeFile();
  for (const opcode of [2, 42, 41]) fuse.give(request({ opcode, body: new Uint8Array(8) }));
  fuse.give(request(readOf(0, BLOCK)));
  assertEquals(fuse.settle().length, 1);
  assertEquals([queue.inFlight, queue.refused, queue.failure], [0, 0, 0]);
});

Deno.test("FuseSlots answers INTERRUPT and every operation that it does not know with ENOSYS", () => {
  const { fuse, queue } = makeFile();
  const known = [1, 2, 3, 4, 14, 15, 16, 17, 18, 20, 25, 38, 41, 42, 43];
  let refused = 0;
  for (let opcode = 0; opcode < 64; opcode++) {
    if (known.includes(opcode)) continue;
    fuse.give(request({ opcode, body: new Uint8Array(64) }));
    assertEquals(outHeader(fuse.turn()[0]).error, -ENOSYS, `operation ${opcode}`);
    refused++;
  }
  assertEquals(queue.refused, refused);
});

Deno.test("FuseSlots drops what is no request, and is not shaken", () => {
  const { fuse, queue } = makeFile();
  for (const bytes of [0, 1, 39]) fuse.give(new Uint8Array(bytes));
  assertEquals([fuse.settle(), queue.inFlight, queue.isClosed, fuse.waiting], [[], 0, false, 0]);
  fuse.give(request({ ...readOf(0, BLOCK), len: 41 }));
  assertEquals(outHeader(fuse.turn()[0]).error, -EINVAL);
});

Deno.test("FuseSlots serves as many requests at once as it has slots, in any order", () => {
  const { fuse, queue, device } = makeFile({ stepped: true, depth: 4 });
  for (let i = 0; i < 9; i++) fuse.give(request({ ...readOf(i * BLOCK, BLOCK), unique: BigInt(100 + i) }));
  fuse.settle();
  assertEquals([queue.inFlight, queue.isFull, device.held, fuse.waiting], [4, true, 4, 5]);
  const uniques: bigint[] = [];
  while (uniques.length < 9) {
    device.step(device.held - 1);
    for (const answer of fuse.settle()) uniques.push(outHeader(answer).unique);
    assert(queue.inFlight <= 4);
  }
  assertEquals(uniques.toSorted(), Array.from({ length: 9 }, (_, i) => BigInt(100 + i)));
  assertEquals(uniques[0], 103n);
  assertEquals([queue.inFlight, queue.isFull], [0, false]);
});

Deno.test("FuseSlots reads nothing before the driver says that there is something, and after it ran dry", () => {
  const { queue } = makeFile();
  assertEquals(queue.pollRead(), -1);
  queue.handleReadable();
  const slot = queue.pollRead();
  assert(slot >= 0);
  assertEquals(queue.pollRead(), -1);
  queue.handleRead(slot, -EAGAIN, 0);
  assertEquals(queue.pollRead(), -1);
  queue.handleReadable();
  assert(queue.pollRead() >= 0);
});

Deno.test("FuseSlots goes on after a read that was interrupted, or whose request was given up", () => {
  for (const errno of [EINTR, ENOENT]) {
    const { queue } = makeFile();
    queue.handleReadable();
    queue.handleRead(queue.pollRead(), -errno, 0);
    assertEquals([queue.isClosed, queue.failure], [false, 0]);
    assert(queue.pollRead() >= 0, "there may be more");
  }
});

Deno.test("FuseSlots ends with ENODEV or ECONNABORTED as it should, with any other errno as a failure", () => {
  for (const [errno, failure] of [[ENODEV, 0], [ECONNABORTED, 0], [EIO, -EIO], [EINVAL, -EINVAL]]) {
    const { queue } = makeFile();
    queue.handleReadable();
    const slot = queue.pollRead();
    assertEquals(queue.isDrained, false);
    queue.handleRead(slot, -errno, 0);
    assertEquals([queue.isClosed, queue.isDrained, queue.failure], [true, true, failure]);
    queue.handleReadable();
    assertEquals(queue.pollRead(), -1);
  }
});

Deno.test("FuseSlots handleOver() ends it, and keeps the first errno", () => {
  const { queue } = makeFile();
  queue.handleOver(0);
  assertEquals([queue.isDrained, queue.failure], [true, 0]);
  queue.handleOver(-EIO);
  queue.handleOver(-EINVAL);
  assertEquals(queue.failure, -EIO);
});

Deno.test("FuseSlots is drained when reads, requests and answers are over", () => {
  const { fuse, queue, device } = makeFile({ stepped: true, depth: 4 });
  fuse.give(request(readOf(0, BLOCK)));
  fuse.settle();
  queue.handleReadable();
  const reading = queue.pollRead();
  queue.close();
  assertEquals([queue.isClosed, queue.isDrained, queue.pollRead()], [true, false, -1]);
  queue.handleRead(reading, -EAGAIN, 0);
  assertEquals(queue.isDrained, false);
  device.step();
  const answering = queue.pollAnswer(0);
  assertEquals(queue.isDrained, false);
  queue.handleAnswered(answering, -ENOENT);
  assertEquals([queue.isDrained, queue.dropped, queue.failure], [true, 1, 0]);
});

Deno.test("FuseSlots answers a request that was read while it closed", () => {
  const { fuse, queue } = makeFile();
  fuse.give(request(readOf(0, BLOCK)));
  queue.handleReadable();
  const slot = queue.pollRead();
  queue.close();
  queue.handleRead(slot, fuse.read(slot), 0);
  assertEquals(outHeader(fuse.answers()[0]).error, 0);
  assertEquals(queue.isDrained, true);
});

Deno.test("FuseSlots writes an answer again that the driver could not take just now", () => {
  const { fuse, queue } = makeFile();
  fuse.give(request(readOf(0, BLOCK)));
  fuse.reads();
  const slot = queue.pollAnswer(0);
  for (const errno of [EAGAIN, EINTR]) {
    queue.handleAnswered(slot, -errno);
    assertEquals([queue.inFlight, queue.pollAnswer(0), queue.pollAnswer(0)], [1, slot, -1]);
  }
  queue.handleAnswered(slot, 16 + BLOCK);
  assertEquals([queue.inFlight, queue.failure], [0, 0]);
});

Deno.test("FuseSlots notes an answer that was refused or taken in part", () => {
  for (const [result, failure, dropped] of [[-EINVAL, -EINVAL, 0], [16, -EIO, 0], [-ENODEV, 0, 1]]) {
    const { fuse, queue } = makeFile();
    fuse.give(request(readOf(0, BLOCK)));
    fuse.reads();
    queue.handleAnswered(queue.pollAnswer(0), result);
    assertEquals([queue.failure, queue.dropped, queue.inFlight], [failure, dropped, 0]);
  }
});

Deno.test("FuseSlots refuses to be driven wrongly", () => {
  const { fuse, queue, requests, device } = makeFile({ stepped: true });
  assertThrows(() => queue.handleRead(0, 40, 0), AssertionFailure, "must not go from FREE");
  assertThrows(() => queue.handleAnswered(0, -EAGAIN), AssertionFailure, "must not go from FREE to ANSWERED");
  fuse.give(request(readOf(0, BLOCK)));
  fuse.reads();
  const slot = device.step();
  requests.status[slot] = -5;
  assertThrows(() => queue.pollAnswer(0), AssertionFailure, "0 or a positive errno");
});

/** Random requests, good and bad, answered in random order; a shadow of the file says what each must bring. */
class Storm {
  readonly #random: Prng;
  readonly #world = makeFile({ stepped: true, depth: 32, geometry: { maxWriteZeroesBytes: 16 * BLOCK } });
  /** One byte of each block. */
  readonly #shadow: Uint8Array;
  /** What each request in flight must be answered with, by its number; undefined: what the device will say. */
  readonly #expected = new Map<bigint, number | undefined>();
  #given = 0;
  #answered = 0;
  #silent = 0;

  constructor(seed: number) {
    this.#random = new Prng(seed);
    this.#shadow = new Uint8Array(this.#world.storage.length / BLOCK);
  }

  run(requests: number): void {
    const { queue, fuse } = this.#world;
    while (this.#given < requests) this.#turn();
    for (let idle = 0; this.#expected.size > 0; idle++) {
      assert(idle < 1000, "requests are left without an answer");
      this.#turn(false);
    }
    assertEquals([this.#given, queue.inFlight, queue.failure], [this.#answered + this.#silent, 0, 0]);
    fuse.unmount();
    fuse.settle();
    assertEquals([queue.isDrained, queue.failure], [true, 0]);
  }

  #turn(mayGive = true): void {
    const { fuse, device } = this.#world;
    if (mayGive) { for (let i = this.#random.below(4); i > 0; i--) this.#give(); }
    for (let i = this.#random.below(4) + 1; i > 0 && device.held > 0; i--) this.#step();
    for (const answer of fuse.turn()) this.#check(answer);
  }

  #give(): void {
    const unique = BigInt(++this.#given) * 2n;
    const bytes = this.#request(unique);
    this.#world.fuse.give(bytes);
  }

  #request(unique: bigint): Uint8Array {
    const blocks = 1 + this.#random.below(BUFFER / BLOCK);
    const at = this.#random.below(this.#shadow.length - 32);
    const offset = BigInt(at * BLOCK);
    const kind = this.#random.below(10);
    const make = (opcode: number, body: Uint8Array, error?: number) => {
      this.#expected.set(unique, error);
      return request({ opcode, unique, body });
    };
    if (kind < 3) return make(READ, transferBody(offset, blocks * BLOCK));
    if (kind < 6) {
      const data = new Uint8Array(blocks * BLOCK).fill(this.#random.below(256));
      return make(WRITE, transferBody(offset, data.length, data));
    }
    if (kind === 6) return make(FALLOCATE, fallocateBody(offset, BigInt(32 * BLOCK), PUNCH));
    if (kind === 7) return make(FSYNC, new Uint8Array(16));
    if (kind === 8) return make(READ, transferBody(offset + 1n, blocks * BLOCK), -EINVAL);
    this.#silent++;
    return request({ opcode: 2, unique, body: new Uint8Array(8) });
  }

  /** The device carries out any of its requests, or fails it; the shadow follows. */
  #step(): void {
    const { device, requests, arena, uniqueOf } = this.#world;
    const errno = this.#random.below(20) === 0 ? ENOLINK : 0;
    const slot = device.step(this.#random.below(device.held), errno);
    if (errno !== 0) {
      this.#expected.set(uniqueOf(slot), -errno);
      return;
    }
    const data = requests.dataOffset[slot];
    for (let i = 0; i < requests.blocks[slot]; i++) {
      const block = requests.lbaLow[slot] + i;
      const op = requests.op[slot];
      if (op === BlockOp.READ) {
        assert(arena[data + i * BLOCK] === this.#shadow[block], `block ${block} is not as written`);
      } else this.#shadow[block] = op === BlockOp.WRITE ? arena[data] : 0;
    }
  }

  #check(answer: Uint8Array): void {
    const { unique, error, len } = outHeader(answer);
    assert(this.#expected.has(unique), `request ${unique} is answered though it is not in flight`);
    assert(
      error === (this.#expected.get(unique) ?? 0) && len === answer.length,
      `request ${unique}: ${error}, ${len} bytes`,
    );
    this.#expected.delete(unique);
    this.#answered++;
  }
}

Deno.test("FuseSlots answers each of 100000 random requests exactly once, whatever the order", () => {
  const seed = Number(Deno.env.get("UMPATH_SEED") ?? 20261125);
  try {
    new Storm(seed).run(100_000);
  } catch (cause) {
    throw new Error(`UMPATH_SEED=${seed} fails`, { cause });
  }
});
