import { assertEquals, assertThrows } from "@std/assert";
import { UmpathError } from "../../../src/base/errors.ts";
import { TARGET_HANDSHAKE_MS } from "../../../src/base/limits.ts";
import { Handshake, type HandshakeEvents } from "../../../src/serve/handshake.ts";
import type { TargetSocket } from "../../../src/serve/target_socket.ts";
import { AdminTarget, CC_ENABLE, DNR } from "../nvme_target/admin_fixture.ts";
import { r2t } from "../nvme_target/naive_host.ts";
import { FakeClock } from "./fake_clock.ts";
import { MainThread } from "./host_end.ts";

/** A handshake with a host, and what its owner heard of it. */
class Rig implements Disposable {
  readonly clock = new FakeClock();
  readonly main: MainThread;
  readonly end;
  readonly heard: string[] = [];
  readonly handshake: Handshake;
  admin: TargetSocket | null = null;

  constructor(target = new AdminTarget()) {
    this.main = new MainThread(target);
    this.end = this.main.open();
    this.handshake = new Handshake(this.main.poller.poller, this.main.options(this.end), {
      connect: (sqe, data) => this.main.connect(sqe, data),
      handleAdmin: ({ controller }, socket) => {
        this.admin = socket;
        socket.owner = { handleCommands: () => false, handleEnd: (reason) => void this.heard.push(`admin: ${reason}`) };
        this.heard.push(`admin of controller ${controller.cntlid}`);
      },
      handleIo: ({ qid }, { fd, peer, queue }) => {
        assertEquals([fd, peer], [this.end.socket.fd, "10.0.0.9:50000"]);
        this.heard.push(`queue ${qid} of ${queue.sqEntries} entries, head ${queue.sqHead}`);
      },
      handleIoLost: ({ qid }) => void this.heard.push(`queue ${qid} lost`),
      handleFailed: (reason, isRefused) => void this.heard.push(`${isRefused ? "refused" : "failed"}: ${reason}`),
    });
  }

  take(): string[] {
    return this.heard.splice(0);
  }

  [Symbol.dispose](): void {
    this.admin?.close();
    this.handshake.close();
    this.main[Symbol.dispose]();
    this.clock[Symbol.dispose]();
  }
}

/** A target that has an enabled controller, whose CNTLID is 1. */
function targetWithController(): AdminTarget {
  const target = new AdminTarget();
  const host = target.host();
  host.setCc(CC_ENABLE);
  return target;
}

Deno.test("Handshake gives an admin queue to its owner once its Connect has succeeded", () => {
  using rig = new Rig();
  rig.end.begin();
  assertEquals(rig.take(), []);
  assertEquals(rig.end.connect({ sqsize: 15 }), { status: 0, dw0: 1, dw1: 0, cid: 7, sqhd: 1 } as unknown);
  assertEquals(rig.take(), ["admin of controller 1"]);
  rig.clock.advance(10 * TARGET_HANDSHAKE_MS);
  assertEquals([rig.take(), rig.end.socket.state], [[], "open"], "nobody is impatient with it any more");
});

Deno.test("Handshake hands the socket of an I/O queue over once the answer to its Connect is sent", () => {
  using rig = new Rig(targetWithController());
  rig.end.begin();
  rig.end.socket.room = 0;
  assertEquals(rig.end.send(rig.end.host.command(rig.end.connectFields({ qid: 2, cntlid: 1, sqsize: 63 }))), []);
  assertEquals(rig.take(), [], "the answer is not sent");
  rig.end.socket.room = Infinity;
  const [answer] = rig.end.take();
  assertEquals([answer?.type, rig.take()], [5, ["queue 2 of 64 entries, head 1"]]);
  assertEquals([rig.end.socket.state, rig.main.poller.watches.size], ["open", 0], "the socket is somebody else's");
});

Deno.test("Handshake frees the I/O queue whose host sends more before its Connect is answered, or leaves", () => {
  for (const leaves of [true, false]) {
    using rig = new Rig(targetWithController());
    rig.end.begin();
    rig.end.socket.room = 0;
    rig.end.send(rig.end.host.command(rig.end.connectFields({ qid: 1, cntlid: 1 })));
    if (leaves) rig.end.socket.end();
    else rig.end.socket.arrive(new Uint8Array([4, 0, 72]));
    rig.end.socket.room = Infinity;
    rig.end.take();
    assertEquals([rig.take(), rig.end.socket.state], [["queue 1 lost"], "closed"]);
  }
});

Deno.test("Handshake lets a host that is refused try again", () => {
  using rig = new Rig();
  rig.end.begin();
  assertEquals(rig.end.connect({ subnqn: "nqn.other" }).status, 0x182 | DNR);
  assertEquals(rig.end.connect().status, 0);
  assertEquals(rig.take(), ["admin of controller 1"]);
});

Deno.test("Handshake answers what is no Connect, or one without all of its data, with an error", () => {
  using rig = new Rig();
  rig.end.begin();
  assertEquals(rig.end.command({ cid: 1, opcode: 0x06, sgl: { length: 4096 } }).status, 0x00c | DNR, "Identify");
  assertEquals(rig.end.command({ cid: 2, opcode: 0x7f, fctype: 4 }).status, 0x00c | DNR, "Property Get");
  const { data, ...fields } = rig.end.connectFields();
  assertEquals(rig.end.command({ ...fields, data: data!.subarray(0, 1023) }).status, 0x00f | DNR);
  assertEquals(rig.take(), []);
});

Deno.test("Handshake asks for the data of a Connect that does not come in the capsule", () => {
  using rig = new Rig();
  rig.end.begin();
  const { data, ...fields } = rig.end.connectFields();
  const [asked] = rig.end.send(rig.end.host.command({ ...fields, sgl: { length: 1024 } }));
  const { cid, tag, bytes } = r2t(asked!);
  assertEquals([cid, bytes], [7, 1024]);
  const [answer] = rig.end.send(rig.end.host.h2cData(cid, { tag, data: data! }));
  assertEquals([answer?.type, rig.take()], [5, ["admin of controller 1"]]);
});

Deno.test("Handshake ends a host that is too slow, and says at what", () => {
  for (const [begins, said] of [[false, "it sent no ICReq in time"], [true, "it sent no Connect in time"]] as const) {
    using rig = new Rig();
    if (begins) rig.end.begin();
    rig.clock.advance(TARGET_HANDSHAKE_MS - 1);
    assertEquals(rig.take(), []);
    rig.clock.advance(1);
    assertEquals([rig.take(), rig.end.socket.state], [[`refused: ${said}`], "closed"]);
  }
});

Deno.test("Handshake is patient with a host to which a fault keeps it silent", () => {
  using rig = new Rig();
  rig.main.faults.set(["1:stall"], 1);
  rig.end.send(rig.end.host.icReq());
  rig.clock.advance(3 * TARGET_HANDSHAKE_MS);
  assertEquals([rig.take(), rig.end.socket.state], [[], "open"]);
  rig.main.faults.set([], 1);
  rig.clock.advance(1);
  assertEquals(rig.end.take().map(({ type }) => type), [1]);
});

Deno.test("Handshake tells what breaks the protocol from a host that just leaves", () => {
  const cases: [name: string, act: (rig: Rig) => void, heard: RegExp][] = [
    [
      "garbage",
      (rig) => rig.end.socket.arrive(new TextEncoder().encode("GET / HTTP/1.1\r\n\r\n")),
      /^refused: the host sent/,
    ],
    ["another version", (rig) => rig.end.socket.arrive(rig.end.host.icReq({ pfv: 9 })), /^refused: /],
    ["no word", (rig) => rig.end.socket.end(), /^failed: the host closed the connection$/],
    ["a reset", (rig) => rig.end.socket.fail(), /^failed: connection reset by peer$/],
  ];
  for (const [name, act, heard] of cases) {
    using rig = new Rig();
    act(rig);
    rig.end.take();
    const [said, ...more] = rig.take();
    assertEquals([heard.test(said ?? ""), more], [true, []], `${name}: ${said}`);
    assertEquals(rig.end.socket.state, "closed", name);
  }
});

Deno.test("Handshake.close() and reset() end it with a word to its owner, and reset() as a reset to its host", () => {
  for (
    const [verb, said, state] of [
      ["close", "failed: the listener was closed", "closed"],
      ["reset", "failed: the listener went down", "reset"],
    ] as const
  ) {
    using rig = new Rig();
    rig.end.begin();
    rig.handshake[verb]();
    assertEquals([rig.take(), rig.end.socket.state], [[said], state]);
  }
});

Deno.test("new Handshake() gives its memory back if its socket cannot be watched", () => {
  using main = new MainThread();
  const end = main.open();
  main.poller.refusal = new UmpathError("host-lacks", "Cannot watch a socket: out of memory");
  const make = () => new Handshake(main.poller.poller, main.options(end), {} as HandshakeEvents);
  assertThrows(make, UmpathError, "Cannot watch a socket: out of memory");
  assertEquals([main.arena.usedBytes, main.arena.mappings], [0, 1]);
});
