import { assertEquals, assertNotEquals } from "@std/assert";
import {
  AdminTarget,
  CC_DISABLE,
  type ConnectWords,
  connectWords,
  DISCOVERY,
  DNR,
  HOST_ID,
  HOST_NQN,
  IO_LISTENERS,
} from "./admin_fixture.ts";

/** The CNTLIDs that a subsystem gives out: sixteen listeners share the range that the specification leaves. */
const CNTLIDS = 16 * Math.floor(0xffef / 16);
const IN_DATA = 0x10000;

Deno.test("Subsystem.connect() makes a controller of the host that asks", () => {
  const target = new AdminTarget();
  const result = target.connect({ katoMs: 5_000 });
  const controller = result.controller!;
  assertEquals([result.answer.status, result.answer.dw0], [0, controller.cntlid]);
  assertEquals([result.qid, result.sqEntries, result.sqFlowControl], [0, 32, true]);
  assertEquals([controller.hostNqn, controller.hostId, controller.listener], [HOST_NQN, HOST_ID, 0]);
  assertEquals([controller.isDiscovery, controller.katoMs], [false, 5_000]);
  assertEquals([...target.subsystem.controllers], [controller]);
  assertEquals(target.connect({ cattr: 0x04 }).sqFlowControl, false);
});

Deno.test("Subsystem.connect() gives each controller a CNTLID of its own, and other ones at another listener", () => {
  const target = new AdminTarget();
  const first = target.connect().controller!;
  const second = target.connect().controller!;
  const elsewhere = target.connect({}, 1).controller!;
  assertEquals(new Set([first.cntlid, second.cntlid, elsewhere.cntlid]).size, 3);
  target.subsystem.remove(second);
  const third = target.connect().controller!;
  assertNotEquals(third.cntlid, second.cntlid, "a CNTLID is not used again at once");
  assertEquals(target.subsystem.controller(second.cntlid), null);
  assertEquals(target.subsystem.controller(third.cntlid), third);
});

Deno.test("Subsystem.connect() refuses bad fields of an admin Connect by their place", () => {
  const cases: [name: string, words: ConnectWords, status: number, dw0: number][] = [
    ["record format", { recfmt: 1 }, 0x180 | DNR, 0],
    ["a controller ID that is asked for", { cntlid: 1 }, 0x182 | DNR, 16 | IN_DATA],
    ["no queue", { sqsize: 0 }, 0x182 | DNR, 44],
    ["a queue of 33 entries", { sqsize: 32 }, 0x182 | DNR, 44],
    ["another subsystem", { subnqn: "nqn.2014-08.org.example:other" }, 0x182 | DNR, 256 | IN_DATA],
    ["no subsystem", { subnqn: "" }, 0x182 | DNR, 256 | IN_DATA],
    ["a subsystem's NQN without a NUL", { subnqn: "n".repeat(256) }, 0x182 | DNR, 256 | IN_DATA],
    ["a host's NQN of 224 bytes", { hostnqn: "n".repeat(224) }, 0x182 | DNR, 512 | IN_DATA],
  ];
  const target = new AdminTarget();
  for (const [name, words, status, dw0] of cases) {
    const { answer, controller } = target.connect(words);
    assertEquals([answer.status, answer.dw0, controller], [status, dw0, null], name);
  }
  assertEquals([...target.subsystem.controllers], []);
  assertEquals(target.connect({ hostnqn: "n".repeat(223) }).answer.status, 0);
});

Deno.test("Subsystem.connect() lets a host in that has no NQN where all hosts are allowed, and only there", () => {
  const { controller, answer } = new AdminTarget().connect({ hostnqn: "" });
  assertEquals([answer.status, controller?.hostNqn], [0, ""]);
  const choosy = new AdminTarget({ description: { allowedHosts: [HOST_NQN] } });
  const refused = choosy.connect({ hostnqn: "" });
  assertEquals([refused.answer.status, refused.controller], [0x184 | DNR, null]);
  assertEquals(refused.refused?.reason, "it gave no host NQN, and not all hosts are allowed");
});

Deno.test("Subsystem.connect() says of everyone whom it refuses who that is, and why", () => {
  const target = new AdminTarget({ description: { allowedHosts: [HOST_NQN] } });
  const { cntlid } = target.host().controller;
  const cases: [words: ConnectWords, reason: string][] = [
    [{ recfmt: 7 }, "its Connect has the unknown format 7"],
    [{ subnqn: "nqn.other" }, "it asks for another subsystem"],
    [{ subnqn: "" }, "its subsystem NQN is empty"],
    [{ subnqn: "n".repeat(224) }, "its subsystem NQN is 224 bytes long"],
    [{ hostnqn: "n".repeat(256) }, "its host NQN does not end within its field"],
    [{ hostnqn: "nqn.other" }, "it is not allowed"],
    [{ sqsize: 0 }, "its queue has one entry only"],
    [{ sqsize: 32 }, "its queue has 33 entries, more than 32"],
    [{ cntlid: 4 }, "it asks for controller 4, and controllers are made as they are asked for"],
    [{ qid: 1, cntlid: cntlid + 1 }, `this listener has no controller ${cntlid + 1}`],
    [{ qid: 1, cntlid, hostnqn: "nqn.other" }, `controller ${cntlid} is another host's`],
    [{ qid: 1, cntlid, hostId: new Uint8Array(16) }, `controller ${cntlid} belongs to another host ID`],
    [{ qid: 1, cntlid, sqsize: 128 }, "its queue has 129 entries, more than 128"],
    [{ qid: 5, cntlid }, `controller ${cntlid} has granted no I/O queue 5`],
  ];
  for (const [words, reason] of cases) assertEquals(target.connect(words).refused?.reason, reason, reason);
  const { hostNqn, subsystemNqn } = target.connect({ subnqn: "nqn.other", hostnqn: "n".repeat(230) }).refused!;
  assertEquals([hostNqn, subsystemNqn], [null, "nqn.other"], "what cannot be read is not told");
  assertEquals(target.connect().refused, null);
});

Deno.test("Subsystem.connect() counts CNTLIDs from where it is told to, and none is out of range", () => {
  for (const cntlidBase of [0, 1, 40_000, CNTLIDS - 1]) {
    const target = new AdminTarget({ cntlidBase });
    const cntlids = [0, 1].flatMap((listener) => [0, 0, 0].map(() => target.connect({}, listener).controller!.cntlid));
    assertEquals(cntlids[0], 1 + cntlidBase);
    assertEquals(new Set(cntlids).size, 6);
    for (const cntlid of cntlids) {
      assertEquals(cntlid >= 1 && cntlid <= 0xffef, true, `${cntlid} of base ${cntlidBase}`);
    }
  }
});

Deno.test("Subsystem.connect() refuses data of another length, an NQN that is not UTF-8, and another SGL use", () => {
  const { subsystem } = new AdminTarget();
  const { entry, data } = connectWords();
  const status = (bytes: Uint8Array, sqe = entry) => subsystem.connect(0, sqe, bytes, 0).answer.status;
  assertEquals(status(new Uint8Array(0)), 0x00f | DNR);
  assertEquals(status(data.subarray(0, 1023)), 0x00f | DNR);
  const notUtf8 = data.slice();
  notUtf8[512 + 3] = 0xff;
  assertEquals(status(notUtf8), 0x182 | DNR);
  const prp = entry.slice();
  prp[0] = 0x007f;
  assertEquals(status(data, prp), 0x002 | DNR);
  const fused = entry.slice();
  fused[0] = 0x417f;
  assertEquals(status(data, fused), 0x002 | DNR);
});

Deno.test("Subsystem.connect() lets only hosts in that are allowed, but any ask for the discovery log", () => {
  const target = new AdminTarget({ description: { allowedHosts: ["nqn.2014-08.org.example:friend"] } });
  assertEquals(target.connect().answer.status, 0x184 | DNR);
  assertEquals(target.connect({ hostnqn: "nqn.2014-08.org.example:friend" }).answer.status, 0);
  assertEquals(target.connect({ subnqn: DISCOVERY }).controller?.isDiscovery, true);
});

Deno.test("Subsystem.connect() is busy once there are 256 controllers, and at a listener that is gone", () => {
  const target = new AdminTarget();
  for (let i = 0; i < 256; i++) assertEquals(target.connect().answer.status, 0);
  assertEquals(target.connect().answer.status, 0x181, "it may pass: no DNR");
  target.subsystem.remove([...target.subsystem.controllers][7]);
  assertEquals(target.connect({}, 5).answer.status, 0x181);
  target.subsystem.removeListener(1);
  assertEquals(target.connect({}, 1).answer.status, 0x181);
  assertEquals(target.connect().answer.status, 0);
});

Deno.test("Subsystem.connect() joins I/O queues to their controller", () => {
  const target = new AdminTarget();
  const host = target.host();
  const result = host.connectIo(2, { cattr: 4, sqsize: 63 });
  assertEquals(result.controller, host.controller);
  assertEquals([result.qid, result.sqEntries, result.sqFlowControl], [2, 64, false]);
  assertEquals(result.answer.dw0, host.controller.cntlid);
  assertEquals(host.connectIo(1).answer.status, 0);
  assertEquals(host.controller.ioQueues, [1, 2]);
});

Deno.test("Subsystem.connect() refuses I/O queues of another host, listener, controller or size", () => {
  const target = new AdminTarget();
  const host = target.host();
  const { cntlid } = host.controller;
  const discovery = target.discoveryHost();
  const cases: [name: string, words: ConnectWords, listener: number, status: number, dw0: number][] = [
    ["an unknown controller", { cntlid: cntlid + 1_000 }, 0, 0x182, 16 | IN_DATA],
    ["any controller", { cntlid: 0xffff }, 0, 0x182, 16 | IN_DATA],
    ["a discovery controller", { cntlid: discovery.controller.cntlid }, 0, 0x182, 16 | IN_DATA],
    ["another listener", { cntlid }, 1, 0x182, 16 | IN_DATA],
    ["the discovery subsystem", { cntlid, subnqn: DISCOVERY }, 0, 0x182 | DNR, 42],
    ["another subsystem", { cntlid, subnqn: "nqn.other" }, 0, 0x182 | DNR, 256 | IN_DATA],
    ["another host NQN", { cntlid, hostnqn: "nqn.other" }, 0, 0x182 | DNR, 512 | IN_DATA],
    ["another host ID", { cntlid, hostId: new Uint8Array(16) }, 0, 0x182 | DNR, 0 | IN_DATA],
    ["129 entries", { cntlid, sqsize: 128 }, 0, 0x182 | DNR, 44],
    ["the fifth queue of four", { cntlid, qid: 5 }, 0, 0x182 | DNR, 42],
  ];
  for (const [name, words, listener, status, dw0] of cases) {
    const { answer, controller } = target.connect({ qid: 1, ...words }, listener);
    assertEquals([answer.status, answer.dw0, controller], [status, dw0, null], name);
  }
  assertEquals(host.controller.ioQueues, []);
});

Deno.test("Subsystem.connect() takes an I/O queue once, of an enabled controller, within the granted number", () => {
  const target = new AdminTarget();
  const host = target.disabledHost();
  assertEquals(host.connectIo(1).answer.status, 0x00c, "not enabled yet");
  host.setCc(0x00460001);
  host.setFeature(0x07, 0x00010001);
  assertEquals(host.connectIo(3).answer.status, 0x182 | DNR, "two were granted");
  assertEquals(host.connectIo(2).answer.status, 0);
  assertEquals(host.connectIo(2).answer.status, 0x00c);
  host.controller.freeQueue(2);
  assertEquals(host.connectIo(2).answer.status, 0);
  host.setCc(CC_DISABLE);
  assertEquals(host.connectIo(1).answer.status, 0x00c, "it is being disabled");
});

Deno.test("Subsystem counts controllers that go without a shutdown", () => {
  const target = new AdminTarget({ listeners: IO_LISTENERS });
  const watcher = target.host();
  const unsafe = () => watcher.logged(2, 512)[144];
  const gone = [target.host(), target.host(), target.disabledHost(), target.discoveryHost()];
  gone[0].setCc(0x00464001);
  for (const { controller } of gone) target.subsystem.remove(controller);
  assertEquals(unsafe(), 1);
  target.subsystem.remove(gone[1].controller);
  assertEquals(unsafe(), 1, "one goes once");
});
