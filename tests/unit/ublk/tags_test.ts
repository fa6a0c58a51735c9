import { assert, assertEquals, assertThrows } from "@std/assert";
import { AssertionFailure } from "../../../src/base/assert.ts";
import { EBUSY, EINVAL, ENOLINK, EOPNOTSUPP, EPROTO } from "../../../src/base/errno.ts";
import { Prng } from "../../../src/base/prng.ts";
import { MemoryDevice } from "../../../src/block/memory_device.ts";
import { NullDevice } from "../../../src/block/null_device.ts";
import { BlockOp, RequestTable } from "../../../src/block/request.ts";
import { UblkIoOp, UblkIoResult } from "../../../src/protocol/ublk.ts";
import { UblkTags } from "../../../src/ublk/tags.ts";
import { FakeKernelQueue, type KernelRequest, makeGeometry } from "./fake_kernel.ts";

const BUFFER = 4096;
const READ_8: KernelRequest = { opFlags: UblkIoOp.READ, sectors: 8, sector: 0n };

function makeQueue(depth: number, options: { stepped?: boolean; ioctlEncode?: boolean } = {}) {
  const requests = new RequestTable(depth, { bufferBytes: BUFFER });
  const storage = new Uint8Array(4096 * 512);
  const arena = new Uint8Array(depth * BUFFER);
  const device = new MemoryDevice(requests, { blockSize: 512, storage, arena, stepped: options.stepped ?? false });
  const kernel = new FakeKernelQueue(depth);
  const queue = new UblkTags({
    queueId: 0,
    depth,
    descriptors: kernel.descriptors,
    requests,
    device,
    geometry: makeGeometry(),
    ioctlEncode: options.ioctlEncode ?? true,
  });
  return { requests, storage, arena, device, kernel, queue };
}

Deno.test("UblkTags fetches every tag once, and only after start()", () => {
  const { queue, kernel } = makeQueue(4);
  assertEquals(queue.pollCommand(), -1);
  queue.start();
  assertEquals(queue.fetched, 0);
  assertEquals(kernel.takeCommands(queue), []);
  assertEquals([queue.fetched, queue.inFlight, kernel.idleTags], [4, 0, [0, 1, 2, 3]]);
  assertEquals(queue.pollCommand(), -1);
  assertThrows(() => queue.start(), AssertionFailure, "Tag 0 must not go from FETCHING to FETCH_WANTED");
});

Deno.test("UblkTags gives commands as signed 32-bit numbers, encoded or legacy", () => {
  for (const [ioctlEncode, fetch, commit] of [[true, 0xc0107520 | 0, 0xc0107521 | 0], [false, 0x20, 0x21]] as const) {
    const { queue, kernel } = makeQueue(1, { ioctlEncode });
    queue.start();
    assertEquals([queue.pollCommand(), queue.commandOp(0), queue.commandResult(0)], [0, fetch, 0]);
    kernel.descriptors.set([UblkIoOp.READ, 2]);
    queue.handleCommandDone(0, UblkIoResult.OK, 0);
    assertEquals([queue.pollCommand(), queue.commandOp(0), queue.commandResult(0)], [0, commit, 1024]);
  }
});

Deno.test("UblkTags commits bytes for READ and WRITE, 0 for the others, -errno for failures", () => {
  const rows: [KernelRequest, errno: number, result: number][] = [
    [READ_8, 0, 4096],
    [{ opFlags: UblkIoOp.WRITE, sectors: 1, sector: 9n }, 0, 512],
    [{ opFlags: UblkIoOp.FLUSH, sectors: 0, sector: 2n ** 64n - 1n }, 0, 0],
    [{ opFlags: UblkIoOp.DISCARD, sectors: 4096, sector: 0n }, 0, 0],
    [{ opFlags: UblkIoOp.WRITE_ZEROES, sectors: 64, sector: 8n }, 0, 0],
    [READ_8, ENOLINK, -ENOLINK],
    [{ opFlags: UblkIoOp.FLUSH, sectors: 0, sector: 0n }, ENOLINK, -ENOLINK],
  ];
  const { queue, kernel, device } = makeQueue(1, { stepped: true });
  queue.start();
  kernel.takeCommands(queue);
  for (const [request, errno, result] of rows) {
    kernel.give(queue, 0, request);
    assertEquals([queue.inFlight, kernel.takeCommands(queue)], [1, []]);
    device.step(0, errno);
    assertEquals(kernel.takeCommands(queue), [[0, result]]);
    assertEquals(queue.inFlight, 0);
  }
  assertEquals([...queue.served], [2, 1, 2, 1, 1]);
  assertEquals([queue.failed, queue.refused], [2, 0]);
});

Deno.test("UblkTags answers what does not fit the device without the device", () => {
  const { queue, kernel, device } = makeQueue(2, { stepped: true });
  queue.start();
  kernel.takeCommands(queue);
  kernel.give(queue, 0, { opFlags: UblkIoOp.REPORT_ZONES, sectors: 8, sector: 0n });
  kernel.give(queue, 1, { opFlags: UblkIoOp.WRITE, sectors: 9, sector: 0n });
  assertEquals([device.held, queue.inFlight], [0, 2]);
  assertEquals(kernel.takeCommands(queue), [[0, -EOPNOTSUPP], [1, -EINVAL]]);
  assertEquals([queue.refused, queue.failed, queue.inFlight], [2, 0, 0]);
  assertEquals([...queue.served], [0, 0, 0, 0, 0]);
});

Deno.test("UblkTags commits in the same turn what the device answers within submit()", () => {
  const requests = new RequestTable(2, { bufferBytes: BUFFER });
  const kernel = new FakeKernelQueue(2);
  const device = new NullDevice(requests);
  const geometry = makeGeometry();
  const queue = new UblkTags({ queueId: 3, depth: 2, descriptors: kernel.descriptors, requests, device, geometry });
  queue.start();
  kernel.takeCommands(queue);
  kernel.give(queue, 1, READ_8);
  assertEquals(kernel.takeCommands(queue), [[1, 4096]]);
  assertEquals(queue.queueId, 3);
});

Deno.test("UblkTags refuses to be driven wrongly", () => {
  const { queue, kernel, requests, device } = makeQueue(2, { stepped: true });
  const done = (tag: number, result: number) => () => queue.handleCommandDone(tag, result, 0);
  assertThrows(done(0, 0), AssertionFailure, "Tag 0 must not go from IDLE to OWNED");
  queue.start();
  assertThrows(done(0, 0), AssertionFailure, "Tag 0 must not go from FETCH_WANTED to OWNED");
  kernel.takeCommands(queue);
  assertThrows(done(2, 0), AssertionFailure, "for a tag of the queue");
  assertThrows(done(-1, 0), AssertionFailure, "for a tag of the queue");
  kernel.give(queue, 0, READ_8);
  assertThrows(done(0, 0), AssertionFailure, "Tag 0 must not go from OWNED to OWNED");
  assertThrows(done(0, UblkIoResult.ABORT), AssertionFailure, "Tag 0 must not go from OWNED to OVER");
  device.step();
  requests.status[0] = -5;
  assertThrows(() => queue.pollCommand(), AssertionFailure, "0 or a positive errno");
});

Deno.test("UblkTags refuses a second answer of the device", () => {
  const requests = new RequestTable(1, { bufferBytes: BUFFER });
  const kernel = new FakeKernelQueue(1);
  const device = { submit: () => {}, pollCompletion: () => 0 };
  const geometry = makeGeometry();
  const queue = new UblkTags({ queueId: 0, depth: 1, descriptors: kernel.descriptors, requests, device, geometry });
  queue.start();
  assertEquals(queue.pollCommand(), 0);
  assertThrows(() => queue.pollCommand(), AssertionFailure, "Tag 0 must not go from FETCHING to ANSWERED");
});

Deno.test("UblkTags is drained when the kernel has aborted every tag, served ones too", () => {
  const { queue, kernel, device } = makeQueue(3, { stepped: true });
  queue.start();
  kernel.takeCommands(queue);
  kernel.give(queue, 1, READ_8);
  kernel.abort(queue);
  assertEquals([queue.aborted, queue.isDrained, queue.inFlight], [2, false, 1]);
  device.step();
  assertEquals(kernel.takeCommands(queue), [[1, 4096]]);
  kernel.abort(queue);
  assertEquals([queue.aborted, queue.isDrained, queue.failure], [3, true, 0]);
  assertEquals(queue.pollCommand(), -1);
});

Deno.test("UblkTags keeps the first failure of a command and ends its tag", () => {
  for (const [result, failure] of [[-EBUSY, -EBUSY], [-EINVAL, -EINVAL], [1, -EPROTO]] as const) {
    const { queue, kernel } = makeQueue(2);
    queue.start();
    kernel.takeCommands(queue);
    queue.handleCommandDone(0, result, 0);
    queue.handleCommandDone(1, -EOPNOTSUPP, 0);
    assertEquals([queue.failure, queue.aborted, queue.isDrained], [failure, 0, true]);
  }
});

Deno.test("UblkTags close() ends a queue that was not started", () => {
  const { queue } = makeQueue(4);
  queue.close();
  assertEquals([queue.isDrained, queue.pollCommand()], [true, -1]);
});

Deno.test("UblkTags close() drops wanted commands and waits for the kernel and the device", () => {
  const { queue, kernel, device } = makeQueue(4, { stepped: true });
  queue.start();
  assertEquals([queue.pollCommand(), queue.pollCommand(), queue.pollCommand()], [0, 1, 2]);
  kernel.descriptors.set([UblkIoOp.READ, 8]);
  kernel.descriptors.set([UblkIoOp.WRITE_SAME, 8], 6);
  queue.handleCommandDone(0, UblkIoResult.OK, 0); // in the device
  queue.handleCommandDone(1, UblkIoResult.OK, 0); // refused: answered, not committed
  assertEquals(queue.inFlight, 2);
  queue.close();
  assertEquals([queue.inFlight, queue.isDrained, queue.pollCommand()], [1, false, -1]);
  queue.handleCommandDone(2, UblkIoResult.ABORT, 0);
  assertEquals([queue.isDrained, queue.pollCommand()], [false, -1]);
  device.step();
  assertEquals([queue.pollCommand(), queue.inFlight, queue.isDrained], [-1, 0, true]);
});

Deno.test("UblkTags close() ends a request that arrives after it", () => {
  for (const op of [UblkIoOp.READ, UblkIoOp.WRITE_SAME]) {
    const { queue, kernel } = makeQueue(1);
    queue.start();
    kernel.takeCommands(queue);
    queue.close();
    assertEquals(queue.isDrained, false);
    kernel.give(queue, 0, { opFlags: op, sectors: 8, sector: 0n });
    assertEquals([queue.pollCommand(), queue.isDrained, queue.inFlight], [-1, true, 0]);
  }
});

/** Random requests, answered in random order; a shadow copy of the device says what each must do. */
class RandomRun {
  readonly depth = 64;
  readonly #random: Prng;
  readonly #world = makeQueue(64, { stepped: true });
  readonly #shadow = new Uint8Array(4096);
  readonly #expected = new Map<number, number>();
  given = 0;
  answered = 0;

  constructor(seed: number) {
    this.#random = new Prng(seed);
    this.#world.queue.start();
  }

  run(requestsMax: number): void {
    while (this.given < requestsMax) this.#turn();
    while (this.#expected.size > 0) this.#step();
    this.#world.kernel.abort(this.#world.queue);
    assert(this.#world.queue.isDrained);
    assertEquals([this.given, this.answered], [requestsMax, requestsMax]);
  }

  #turn(): void {
    this.#takeAnswers();
    const idle = this.#world.kernel.idleTags;
    if (idle.length > 0 && this.#random.below(2) === 0) this.#give(idle[this.#random.below(idle.length)]);
    else this.#step();
    const { queue } = this.#world;
    assertEquals(queue.inFlight, this.#expected.size);
    assertEquals(queue.isDrained, false);
  }

  #give(tag: number): void {
    const { kernel, queue, arena } = this.#world;
    const op = this.#random.below(7);
    const sectors = 1 + this.#random.below(8);
    const sector = this.#random.below(4096);
    if (op === UblkIoOp.WRITE) arena.fill(this.given & 0xff, tag * BUFFER, tag * BUFFER + sectors * 512);
    this.given++;
    this.#expected.set(tag, resultOf(op, sectors, sector));
    kernel.give(queue, tag, { opFlags: op, sectors, sector: BigInt(sector) });
  }

  /** Carries out any of the held requests, on the device and on the shadow, which keeps one byte of each block. */
  #step(): void {
    const { device, requests, arena } = this.#world;
    if (device.held > 0) {
      const errno = this.#random.below(20) === 0 ? ENOLINK : 0;
      const tag = device.step(this.#random.below(device.held), errno);
      if (errno !== 0) this.#expected.set(tag, -errno);
      else this.#follow(tag, requests.op[tag], requests.lbaLow[tag], requests.blocks[tag], arena);
    }
    this.#takeAnswers();
  }

  #follow(tag: number, op: number, lba: number, blocks: number, arena: Uint8Array): void {
    const at = tag * BUFFER;
    for (let block = 0; block < blocks; block++) {
      if (op === BlockOp.READ) assertEquals(arena[at + block * 512 + 511], this.#shadow[lba + block]);
      else this.#shadow[lba + block] = op === BlockOp.WRITE ? arena[at] : 0;
    }
  }

  #takeAnswers(): void {
    for (const [tag, result] of this.#world.kernel.takeCommands(this.#world.queue)) {
      assertEquals(result, this.#expected.get(tag));
      this.#expected.delete(tag);
      this.answered++;
    }
  }
}

function resultOf(op: number, sectors: number, sector: number): number {
  if (op === UblkIoOp.FLUSH) return 0;
  if (op === UblkIoOp.WRITE_SAME || op > UblkIoOp.WRITE_ZEROES) return -EOPNOTSUPP;
  if (sector + sectors > 4096) return -EINVAL;
  return op <= UblkIoOp.WRITE ? sectors * 512 : 0;
}

Deno.test("UblkTags answers each of 100000 random requests once, whatever the order", () => {
  const seed = Number(Deno.env.get("UMPATH_SEED") ?? 20261122);
  try {
    new RandomRun(seed).run(100_000);
  } catch (cause) {
    throw new Error(`UMPATH_SEED=${seed} fails`, { cause });
  }
});
