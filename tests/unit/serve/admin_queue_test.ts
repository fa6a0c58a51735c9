import { assertEquals } from "@std/assert";
import { AdminQueue } from "../../../src/serve/admin_queue.ts";
import { TargetSocket } from "../../../src/serve/target_socket.ts";
import { AdminTarget, DNR } from "../nvme_target/admin_fixture.ts";
import { c2hData, r2t, response } from "../nvme_target/naive_host.ts";
import { FakeClock } from "./fake_clock.ts";
import { MainThread } from "./host_end.ts";

const NAMESPACE_ATTRIBUTE_NOTICES = 1 << 8;

/** An admin queue of an enabled controller, and what its owner heard. */
class Rig implements Disposable {
  readonly clock = new FakeClock();
  readonly main = new MainThread(new AdminTarget());
  readonly end = this.main.open();
  readonly host = this.main.target.host();
  readonly queue: AdminQueue;
  readonly ended: string[] = [];
  progress = 0;
  #cid = 0;

  constructor() {
    const owner = { handleCommands: () => false, handleEnd: () => {} };
    const socket = new TargetSocket(this.main.poller.poller, { ...this.main.options(this.end), owner });
    this.queue = new AdminQueue({
      controller: this.host.controller,
      socket,
      onProgress: () => this.progress++,
      onEnd: (reason) => void this.ended.push(reason),
    });
    this.end.begin();
    socket.connection.setQueue({ sqEntries: 32, sqFlowControl: false, sqHead: 0 });
  }

  get cid(): number {
    return ++this.#cid;
  }

  /** Asks for one event, whose answer waits. */
  askForEvent(): number {
    const cid = this.cid;
    assertEquals(this.end.send(this.end.host.command({ cid, opcode: 0x0c })), []);
    return cid;
  }

  [Symbol.dispose](): void {
    this.queue.end("the test is over");
    this.main[Symbol.dispose]();
    this.clock[Symbol.dispose]();
  }
}

Deno.test("AdminQueue answers a command without data, and one with data for the host", () => {
  using rig = new Rig();
  assertEquals(rig.queue.peer, "10.0.0.9:50000");
  const keepAlive = rig.end.command({ cid: rig.cid, opcode: 0x18 });
  assertEquals([keepAlive.status, keepAlive.cid, rig.progress], [0, 1, 1]);
  const cid = rig.cid;
  const identify = { cid, opcode: 0x06, sgl: { length: 4096 }, dwords: { 10: 1 } };
  const pdus = rig.end.send(rig.end.host.command(identify));
  assertEquals(pdus.map((pdu) => c2hData(pdu).cid), pdus.map(() => cid));
  assertEquals(pdus.reduce((sum, { data }) => sum + data.length, 0), 4096);
  assertEquals(c2hData(pdus.at(-1)!).success, true, "the last data says that it is all");
});

Deno.test("AdminQueue cuts what the host has no room for, and refuses a command whose data is too short", () => {
  using rig = new Rig();
  const cid = rig.cid;
  const log = { cid, opcode: 0x02, sgl: { length: 64 }, dwords: { 10: 0x01 | (15 << 16) } };
  const pdus = rig.end.send(rig.end.host.command(log));
  assertEquals([pdus.length, pdus[0]?.data.length, c2hData(pdus[0]!).success], [1, 64, true]);
  const hostIdentifier = { cid: rig.cid, opcode: 0x09, data: new Uint8Array(7), dwords: { 10: 0x81, 11: 1 } };
  assertEquals((rig.end.command(hostIdentifier).status & DNR) !== 0, true);
});

Deno.test("AdminQueue asks for the data of a command, and carries it out when that is there", () => {
  using rig = new Rig();
  const cid = rig.cid;
  // A feature with data: that of a timestamp, 8 bytes, or what says that there is none.
  const needed = rig.host.controller.dataNeeded(
    new Uint32Array([0x09, 0, 0, 0, 0, 0, 0, 0, 16, 0, 0x81, 1, 0, 0, 0, 0]),
  );
  const fields = { cid, opcode: 0x09, sgl: { length: 16 }, dwords: { 10: 0x81, 11: 1 } };
  const [first] = rig.end.send(rig.end.host.command(fields));
  if (needed === 0) {
    assertEquals(response(first!).cid, cid, "it takes no data, and is answered at once");
    return;
  }
  const { tag, bytes } = r2t(first!);
  assertEquals(bytes, 16);
  const [answer] = rig.end.send(rig.end.host.h2cData(cid, { tag, data: new Uint8Array(16).fill(9) }));
  assertEquals(response(answer!).cid, cid);
});

Deno.test("AdminQueue keeps an event request until there is an event, and sends it when it is told to", () => {
  using rig = new Rig();
  const config = { cid: rig.cid, opcode: 0x09, dwords: { 10: 0x0b, 11: NAMESPACE_ATTRIBUTE_NOTICES } };
  assertEquals(rig.end.command(config).status, 0);
  const cid = rig.askForEvent();
  rig.main.target.subsystem.resize(1, 4096);
  assertEquals(rig.end.take(), [], "nobody has asked for events yet");
  rig.queue.sendEvents();
  const [event] = rig.end.take();
  assertEquals([response(event!).cid, response(event!).status], [cid, 0]);
  rig.queue.sendEvents();
  assertEquals(rig.end.take(), []);
});

Deno.test("AdminQueue tells its controller the time, and not while a fault keeps it silent", () => {
  using rig = new Rig();
  const katoMs = 1_000;
  assertEquals(rig.host.setFeature(0x0f, katoMs).status, 0);
  rig.queue.handleTime(rig.main.target.nowMs);
  rig.main.faults.set(["1:stall"], 1);
  rig.queue.handleTime(rig.main.target.nowMs + 10 * katoMs);
  assertEquals(rig.host.controller.isExpired, false, "what the host has sent may wait behind the fault");
  rig.main.faults.set([], 1);
  rig.clock.advance(1);
  rig.queue.handleTime(rig.main.target.nowMs + 20 * katoMs);
  assertEquals(rig.host.controller.isExpired, true);
});

Deno.test("AdminQueue hears why its connection is over, once", () => {
  const cases: [act: (rig: Rig) => void, reason: RegExp][] = [
    [(rig) => rig.end.socket.end(), /^the host closed the connection$/],
    [(rig) => rig.end.socket.arrive(new Uint8Array(8).fill(0xff)), /^the host sent/],
    [(rig) => rig.queue.end("the listener was removed"), /^the listener was removed$/],
    [(rig) => rig.queue.reset("the listener went down"), /^the listener went down$/],
  ];
  for (const [act, reason] of cases) {
    using rig = new Rig();
    act(rig);
    rig.end.take();
    rig.queue.end("later");
    rig.queue.sendEvents();
    rig.queue.handleTime(1);
    assertEquals([rig.ended.length, reason.test(rig.ended[0] ?? "")], [1, true], rig.ended.join());
    assertEquals(rig.end.socket.state === "open", false);
  }
});
