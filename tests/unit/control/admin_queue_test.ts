import { assert, assertEquals, assertThrows } from "@std/assert";
import { AssertionFailure } from "../../../src/base/assert.ts";
import { ADMIN_QUEUE_SLOTS } from "../../../src/base/limits.ts";
import { AdminQueue, type TicketAnswer } from "../../../src/control/admin_queue.ts";
import {
  asyncEventRequestCommand,
  identifyControllerCommand,
  keepAliveCommand,
} from "../../../src/nvme_host/commands.ts";
import { StatusCode, StatusField } from "../../../src/protocol/nvme_status.ts";
import { ICRespAt } from "../../../src/protocol/nvme_tcp.ts";
import { header, naiveCrc32c, ScriptedTarget } from "../nvme_host/scripted_target.ts";

const TRANSPORT_ERROR = StatusCode.TRANSIENT_TRANSPORT_ERROR;

/** A queue and a target that answers when the test says so; bytes move at once. */
class Pair {
  readonly target: ScriptedTarget;
  readonly queue: AdminQueue;
  nowMs = 1_000;
  /** Most bytes that move at a time. */
  pieceBytes = Infinity;
  readonly #memory = new Uint8Array(AdminQueue.bytes);

  constructor(manners: ConstructorParameters<typeof ScriptedTarget>[0] = {}) {
    this.target = new ScriptedTarget({ answers: false, ...manners });
    const crc32c = (offset: number, bytes: number) => naiveCrc32c(this.#memory.subarray(offset, offset + bytes));
    this.queue = new AdminQueue({ memory: this.#memory, crc32c });
  }

  open(): this {
    this.queue.start();
    this.move();
    assert(this.queue.isReady);
    return this;
  }

  /** Moves all that can be moved, and settles; what was answered since the last call. */
  move(): TicketAnswer[] {
    const { queue } = this;
    for (let hasMoved = true; hasMoved;) {
      hasMoved = this.#send() || this.receive();
      queue.settle(this.nowMs);
      queue.invariants();
    }
    return this.answers();
  }

  answers(): TicketAnswer[] {
    const all: TicketAnswer[] = [];
    for (let told = this.queue.pollAnswer(); told !== null; told = this.queue.pollAnswer()) all.push(told);
    this.queue.invariants();
    return all;
  }

  #send(): boolean {
    const { sendBuffer } = this.queue;
    if (this.queue.state === "failed" || !(sendBuffer.isSending || this.queue.pollSend())) return false;
    const offset = sendBuffer.segmentOffset(0);
    const bytes = Math.min(sendBuffer.segmentBytes(0), this.pieceBytes);
    this.target.receive(this.#memory.slice(offset, offset + bytes));
    this.queue.handleSent(bytes);
    return true;
  }

  /** Receives once, without settling. */
  receive(): boolean {
    if (this.queue.state === "failed" || this.target.pending === 0) return false;
    this.queue.prepareReceive();
    const { offset, bytes } = this.queue.receiveBuffer;
    const got = this.target.take(Math.min(bytes[0], this.pieceBytes));
    this.#memory.set(got, offset[0]);
    this.queue.handleReceived(got.length);
    return true;
  }

  request(command = identifyControllerCommand(), timeoutMs: number | null = 500): number {
    return this.queue.request(command, { timeoutMs, nowMs: this.nowMs });
  }

  /** CIDs that the target has, in the order in which they came. */
  get cids(): number[] {
    return [...this.target.commands.keys()];
  }
}

Deno.test("AdminQueue tells each ticket its answer, with the data, whatever the pieces in which bytes move", () => {
  for (const pieceBytes of [1, 7, Infinity]) {
    const pair = new Pair();
    pair.pieceBytes = pieceBytes;
    pair.open();
    const [first, second] = [pair.request(), pair.request(keepAliveCommand())];
    assertEquals(pair.move(), []);
    const [identify, keepAlive] = pair.cids;
    pair.target.respond(keepAlive!, 0, 5, 6);
    assertEquals(pair.move(), [{ ticket: second, answer: { status: 0, result0: 5, result1: 6, data: null } }]);
    const data = Uint8Array.from({ length: 4096 }, (_, i) => i & 0xff);
    pair.target.sendData(identify!, data);
    pair.target.respond(identify!, 0);
    const [told, ...others] = pair.move();
    assertEquals([told!.ticket, told!.answer!.data, others], [first, data, []]);
    assertEquals([pair.target.violations, pair.queue.inFlight], [[], 0]);
  }
});

Deno.test("AdminQueue has so many commands in flight, and sends the next when one is answered", () => {
  const pair = new Pair().open();
  const shared = ADMIN_QUEUE_SLOTS - 2;
  const tickets = Array.from({ length: shared + 2 }, () => pair.request());
  pair.move();
  assertEquals([pair.cids.length, pair.queue.inFlight], [shared, shared]);
  // Neither waits for the others.
  pair.request(keepAliveCommand());
  pair.request(asyncEventRequestCommand(), null);
  pair.move();
  assertEquals(pair.cids.length, ADMIN_QUEUE_SLOTS);
  pair.target.respond(pair.cids[0]!, 0);
  assertEquals(pair.move().map(({ ticket }) => ticket), [tickets[0]]);
  assertEquals(pair.cids.length, ADMIN_QUEUE_SLOTS);
});

Deno.test("AdminQueue sends a command again that the network has changed, three times", () => {
  const pair = new Pair().open();
  const ticket = pair.request(keepAliveCommand());
  pair.move();
  for (let i = 0; i < 3; i++) {
    pair.target.respond(pair.cids[0]!, TRANSPORT_ERROR);
    assertEquals(pair.move(), []);
  }
  pair.target.respond(pair.cids[0]!, TRANSPORT_ERROR);
  assertEquals(pair.move().map(({ ticket, answer }) => [ticket, answer!.status]), [[ticket, TRANSPORT_ERROR]]);
  const forbidden = pair.request(keepAliveCommand());
  pair.move();
  pair.target.respond(pair.cids[0]!, TRANSPORT_ERROR | StatusField.DNR);
  assertEquals(pair.move().map(({ ticket }) => ticket), [forbidden]);
});

Deno.test("AdminQueue is over when a command is not answered in its time, which begins in its slot", () => {
  const pair = new Pair().open();
  assertEquals(pair.queue.nextDueMs, Infinity);
  pair.request(asyncEventRequestCommand(), null);
  assertEquals(pair.queue.nextDueMs, Infinity);
  const tickets = Array.from({ length: ADMIN_QUEUE_SLOTS - 1 }, () => pair.request());
  pair.move();
  assertEquals(pair.queue.nextDueMs, 1_500);
  pair.nowMs = 1_400;
  for (const cid of pair.cids.slice(1)) pair.target.respond(cid, 0);
  assertEquals(pair.move().length, ADMIN_QUEUE_SLOTS - 2);
  // The one that has waited for a slot.
  assertEquals(pair.queue.nextDueMs, 1_900);
  pair.queue.handleTime(1_899);
  assertEquals(pair.queue.loss, null);
  pair.queue.handleTime(1_900);
  assertEquals(pair.queue.loss, {
    kind: "lost",
    reason: "identify controller was not answered within 0.5 s",
    speaksTls: false,
  });
  assertEquals(pair.answers().map(({ ticket, answer }) => [ticket, answer]), [[1, null], [tickets.at(-1), null]]);
  assertEquals([pair.queue.nextDueMs, pair.queue.pollSend()], [Infinity, false]);
});

Deno.test("AdminQueue tells all tickets once that nothing comes of them, however it ends and in whatever state", () => {
  const ends: [how: string, end: (pair: Pair) => void, reason: RegExp][] = [
    ["fail", ({ queue }) => queue.fail("it was called off"), /^it was called off$/],
    ["closed", ({ queue }) => queue.handleClosed(), /^the controller closed the connection$/],
    ["error", ({ queue }) => queue.handleTransportError("connection reset"), /^connection reset$/],
    ["nonsense", ({ target }) => target.send(header(0x08, 24, 24)), /unknown type 0x08/],
  ];
  for (const [how, end, reason] of ends) {
    for (const isReady of [false, true]) {
      const pair = new Pair({ opens: isReady });
      if (isReady) pair.open();
      else pair.queue.start();
      const tickets = isReady ? Array.from({ length: ADMIN_QUEUE_SLOTS + 3 }, () => pair.request()) : [];
      pair.move();
      end(pair);
      const told = pair.move();
      assertEquals(told.map(({ ticket }) => ticket).toSorted((a, b) => a - b), tickets, how);
      assert(told.every(({ answer }) => answer === null), how);
      assertEquals([pair.queue.isOver, reason.test(pair.queue.loss!.reason)], [true, true], pair.queue.loss!.reason);
      pair.queue.fail("later");
      assert(reason.test(pair.queue.loss!.reason), "the first reason stays");
      assertThrows(() => pair.request(), AssertionFailure);
      assertEquals(pair.answers(), []);
    }
  }
});

Deno.test("AdminQueue begins no command that waits once its connection has failed with the answer that makes room", () => {
  const ends: [how: string, end: (pair: Pair) => void][] = [
    ["nonsense", ({ target }) => target.send(header(0x08, 24, 24))],
    ["closed", ({ queue }) => queue.handleClosed()],
    ["error", ({ queue }) => queue.handleTransportError("connection reset")],
  ];
  for (const [how, end] of ends) {
    const pair = new Pair().open();
    const tickets = Array.from({ length: ADMIN_QUEUE_SLOTS }, () => pair.request());
    pair.move();
    pair.target.respond(pair.cids[0]!, 0);
    if (how === "nonsense") end(pair);
    // All of it before the answer is looked at, as a driver receives it that empties its socket.
    while (pair.receive());
    if (how !== "nonsense") end(pair);
    assertEquals([pair.queue.settle(pair.nowMs), pair.queue.isOver], [false, true], how);
    const [first, ...others] = pair.answers();
    assertEquals([first!.ticket, first!.answer!.status], [tickets[0], 0], how);
    assertEquals(others.map(({ ticket }) => ticket).toSorted((a, b) => a - b), tickets.slice(1), how);
    assert(others.every(({ answer }) => answer === null), how);
  }
});

Deno.test("AdminQueue.settle() says whether an answer has brought something to send", () => {
  const pair = new Pair().open();
  for (let i = 0; i < ADMIN_QUEUE_SLOTS - 1; i++) pair.request();
  pair.move();
  const answer = (status: number) => {
    pair.target.respond(pair.cids[0]!, status);
    while (pair.receive());
    const hasMore = pair.queue.settle(pair.nowMs);
    const inFlight = pair.queue.inFlight;
    pair.move();
    return { hasMore, inFlight };
  };
  const shared = ADMIN_QUEUE_SLOTS - 2;
  // The one that waits, one again, and none.
  assertEquals(answer(0), { hasMore: true, inFlight: shared });
  assertEquals(answer(TRANSPORT_ERROR), { hasMore: true, inFlight: shared });
  assertEquals(answer(0), { hasMore: false, inFlight: shared - 1 });
});

Deno.test("AdminQueue knows a peer that is no controller by what it says first, and only then", () => {
  const says: [bytes: Uint8Array, kind: string, reason: RegExp, speaksTls: boolean][] = [
    [
      new TextEncoder().encode("HTTP/1.1 400 Bad Request\r\n"),
      "foreign",
      /not an NVMe\/TCP port.*HTTP\/1\.1 400/,
      false,
    ],
    [Uint8Array.of(0x15, 0x03, 0x03, 0, 2, 2, 10, 0, 0), "foreign", /it speaks TLS/, true],
    [header(0x08, 24, 24), "foreign", /^it is not an NVMe\/TCP port: the controller sent/, false],
  ];
  for (const [bytes, kind, reason, speaksTls] of says) {
    const pair = new Pair({ opens: false });
    pair.queue.start();
    pair.move();
    pair.target.send(bytes);
    pair.move();
    assertEquals([pair.queue.loss!.kind, pair.queue.loss!.speaksTls], [kind, speaksTls]);
    assert(reason.test(pair.queue.loss!.reason), pair.queue.loss!.reason);
  }
  const ready = new Pair().open();
  ready.target.send(new TextEncoder().encode("HTTP/1.1 400 Bad Request\r\n"));
  ready.move();
  assertEquals(ready.queue.loss!.kind, "lost");
  const mismatch = new Pair({ opens: false });
  mismatch.queue.start({ header: true, data: false });
  mismatch.move();
  mismatch.target.sendIcResp({ dgst: 0 });
  mismatch.move();
  assertEquals(mismatch.queue.loss!.kind, "mismatch", `${ICRespAt.DGST}`);
});

Deno.test("AdminQueue is handed over with what was settled, unless something is under way", () => {
  const pair = new Pair({ maxH2cDataBytes: 8192 }).open();
  assertEquals(pair.queue.handOver()!.maxH2cDataBytes, 8192);
  assertEquals([pair.queue.isOver, pair.queue.state], [true, "failed"]);
  const busy = new Pair().open();
  const ticket = busy.request();
  busy.move();
  assertEquals(busy.queue.handOver(), null);
  assertEquals(busy.answers(), [{ ticket, answer: null }]);
  const midPdu = new Pair().open();
  midPdu.target.send(header(0x05, 24, 24).subarray(0, 10));
  midPdu.move();
  assertEquals(midPdu.queue.handOver(), null);
  assertEquals(midPdu.queue.loss!.reason, "the controller sent an unexpected PDU before any I/O");
});
