import { assert, assertEquals, assertStringIncludes, assertThrows } from "@std/assert";
import { AssertionFailure } from "../../../src/base/assert.ts";
import { Prng } from "../../../src/base/prng.ts";
import {
  AdminError,
  bringUp,
  type BringUpOptions,
  type CommandAnswer,
  type ConnectedController,
  type StepResult,
} from "../../../src/nvme_host/bring_up.ts";
import type { BringUpErrorKind } from "../../../src/nvme_host/steps.ts";
import {
  activeListData,
  anaLogData,
  answer,
  descriptorsData,
  FakeController,
  get,
  identifyControllerData,
  identifyNamespaceData,
  independentNamespaceData,
  put,
} from "./fake_controller.ts";

const DNR = 0x4000;

const OPTIONS: BringUpOptions = {
  subsystemNqn: "nqn.2014-08.org.example:vol",
  hostNqn: "nqn.2014-08.org.example:host",
  hostId: new Uint8Array(16).fill(0x22),
  nsid: 1,
  keepAliveMs: 5000,
  wantedQueues: 2,
  wantedQueueDepth: 128,
};

function run(fake: FakeController, change: Partial<BringUpOptions> = {}): ConnectedController {
  return fake.run(bringUp({ ...OPTIONS, ...change }));
}

function failure(fake: FakeController, change: Partial<BringUpOptions> = {}): AdminError {
  return assertThrows(() => run(fake, change), AdminError);
}

function expectFailure(error: AdminError, kind: BringUpErrorKind, words: string, retryable: boolean): void {
  assertStringIncludes(error.message, words);
  assertEquals([error.kind, error.retryable], [kind, retryable], error.message);
}

function controllerWith(change: (data: Uint8Array) => void): FakeController {
  const data = identifyControllerData();
  change(data);
  return new FakeController({ "identify 1": answer({ data }) });
}

Deno.test("bringUp() goes in order, and configures events before it reads what they tell changes of", () => {
  const fake = new FakeController();
  run(fake);
  assertEquals(fake.seen, [
    "connect",
    "get 0",
    "get 8",
    "get 14",
    "set 14",
    "get 1c",
    "get 1c",
    "get 1c",
    "identify 1",
    "identify 6",
    "features 7",
    "features b",
    "identify 2",
    "identify 0",
    "identify 3",
    "identify 8",
    "log c",
  ]);
  assertEquals(fake.waitedMs, 5 + 10);
});

Deno.test("bringUp() returns what queues and the volume need", () => {
  const connected = run(new FakeController());
  assertEquals(connected.cntlid, 7);
  assertEquals(connected.controller.model, "Example array");
  assertEquals(connected.name, {
    subsystemNqn: "nqn.2014-08.org.example:vol",
    nsid: 1,
    uuid: "10111213-1415-1617-1819-1a1b1c1d1e1f",
    nguid: "a0a1a2a3a4a5a6a7a8a9aaabacadaeaf",
    eui64: "",
    isTold: true,
  });
  assertEquals([connected.limits.blocks, connected.limits.maxTransferBytes], [262144, 131072]);
  assertEquals([connected.queues, connected.queueDepth, connected.inCapsuleBytes], [2, 127, 8192]);
  assertEquals([connected.keepAliveMs, connected.asyncEvents], [5000, 0x900]);
  assertEquals(connected.anaLog?.groups.get(1)?.state, "optimized");
});

Deno.test("bringUp() connects with a keep alive timeout, and enables with the sizes of NVM queue entries", () => {
  const seen: Record<string, Uint8Array> = {};
  const fake = new FakeController({
    connect: (sqe) => (seen.connect = sqe, answer({ result0: 7 })),
  });
  run(fake);
  assertEquals([get(seen.connect, 42, 2), get(seen.connect, 44, 2), get(seen.connect, 48, 4)], [0, 31, 5000]);
  assertEquals(fake.cc, 0x00460001);
});

Deno.test("bringUp() disables a controller that is enabled", () => {
  const fake = new FakeController();
  fake.cc = 0x00460001;
  fake.csts = 1;
  run(fake);
  assertEquals(fake.seen.filter((key) => key === "set 14").length, 2);
  assertEquals(fake.cc, 0x00460001);
});

Deno.test("bringUp() selects all command sets where NVM alone cannot be", () => {
  const fake = new FakeController({ "get 0": answer({ result0: 127 | (1 << 24), result1: (1 << 6) << 5 | 2 << 16 }) });
  run(fake);
  assertEquals(fake.cc, 0x00460001 | (6 << 4) | (2 << 7), "CC.CSS is 6, CC.MPS is CAP.MPSMIN");
});

Deno.test("bringUp() tells why Connect was refused", () => {
  const refused = (status: number, result0 = 0) =>
    failure(new FakeController({ connect: answer({ status, result0 }) }));
  expectFailure(refused(0x184 | DNR), "refused", "this host is not allowed on the subsystem", false);
  expectFailure(refused(0x182 | DNR, 0x10100), "refused", "no such subsystem on this port", false);
  expectFailure(refused(0x182, 48), "refused", "the target refuses the keep alive timeout", true);
  expectFailure(refused(0x01a | DNR), "refused", "the target refuses the keep alive timeout", false);
  expectFailure(
    refused(0x181),
    "unreachable",
    "the controller is busy, or the target has as many controllers as it allows",
    true,
  );
  expectFailure(refused(0x180 | DNR), "refused", "format of Connect", false);
  expectFailure(refused(0x183), "refused", "new discovery", true);
  expectFailure(refused(0x191), "refused", "requires authentication", false);
  expectFailure(refused(0x006), "unreachable", "internal error", true);
});

Deno.test("bringUp() connects with flow control where a target refuses the attribute that switches it off", () => {
  const attributes: number[] = [];
  const connect = (sqe: Uint8Array) => {
    attributes.push(sqe[46]);
    return sqe[46] === 0 ? answer({ result0: 7 }) : answer({ status: 0x182 | DNR, result0: 46 });
  };
  const controller = run(new FakeController({ connect }));
  assertEquals([attributes, controller.cntlid, controller.flowControl], [[4, 0], 7, true]);
  assertEquals(run(new FakeController()).flowControl, false);
  const never = new FakeController({ connect: answer({ status: 0x182, result0: 46 }) });
  expectFailure(failure(never), "refused", "the target refuses the connect attributes", true);
  assertEquals(never.seen, ["connect", "connect"]);
});

Deno.test("bringUp() tells what of a Connect was refused, and nothing where a host can do nothing about it", () => {
  const about = (status: number, result0 = 0) =>
    failure(new FakeController({ connect: answer({ status, result0 }) })).about;
  assertEquals([about(0x184 | DNR), about(0x182, 0x10100), about(0x182, 0x10000)], ["names", "names", "names"]);
  assertEquals([about(0x01a), about(0x182, 48)], ["keep-alive", "keep-alive"]);
  assertEquals(about(0x191), "authentication");
  assertEquals([about(0x180), about(0x002), about(0x182, 44), about(0x182, 0x10010)], [null, null, null, null]);
  const late = failure(new FakeController({ "features 7": answer({ status: 0x002 | DNR }) }));
  assertEquals([late.kind, late.about], ["refused", null]);
});

Deno.test("bringUp() says that authentication is required", () => {
  for (const authreq of [1 << 17, 1 << 18]) {
    const fake = new FakeController({ connect: answer({ result0: 7 | authreq }) });
    expectFailure(failure(fake), "refused", "requires authentication", false);
  }
  const late = new FakeController({ "get 0": answer({ status: 0x191 }) });
  expectFailure(failure(late), "refused", "Read of property CAP failed: authentication required", false);
});

Deno.test("bringUp() refuses a reserved controller ID", () => {
  expectFailure(failure(new FakeController({ connect: answer({ result0: 0xffff }) })), "protocol", "reserved", true);
});

Deno.test("bringUp() refuses capabilities that it cannot work with", () => {
  const none = new FakeController({ "get 0": answer({ result0: 0, result1: 1 << 5 }) });
  expectFailure(failure(none), "protocol", "CAP.MQES is 0", false);
  const admin = new FakeController({ "get 0": answer({ result0: 127, result1: (1 << 7) << 5 }) });
  expectFailure(failure(admin), "unsupported", "does not have the NVM command set", false);
});

Deno.test("bringUp() gives up on a controller that does not become ready, after CAP.TO", () => {
  const fake = new FakeController();
  fake.readyAfterPolls = Infinity;
  expectFailure(failure(fake), "unreachable", "The controller is not ready after", true);
  assert(fake.waitedMs >= 1000 && fake.waitedMs <= 1100, `${fake.waitedMs} ms`);
});

Deno.test("bringUp() gives up on a controller that does not become disabled", () => {
  const fake = new FakeController();
  fake.cc = 1;
  fake.csts = 1;
  fake.readyAfterPolls = Infinity;
  expectFailure(failure(fake), "unreachable", "The controller is not disabled after", true);
});

Deno.test("bringUp() ends at a fatal status", () => {
  const fake = new FakeController({ "get 1c": answer({ result0: 2 }) });
  expectFailure(failure(fake), "unreachable", "CSTS.CFS", true);
});

Deno.test("bringUp() names the command that failed", () => {
  const cases: [key: string, words: string][] = [
    ["get 0", "Read of property CAP failed"],
    ["get 8", "Read of property VS failed"],
    ["get 14", "Read of property CC failed"],
    ["set 14", "Write of property CC failed"],
    ["get 1c", "Read of property CSTS failed"],
    ["identify 1", "Identify controller failed"],
    ["features 7", "Set features number of queues failed"],
    ["identify 2", "Identify active namespaces failed"],
    ["identify 0", "Identify namespace failed"],
    ["log c", "Read of the ANA log failed"],
  ];
  for (const [key, words] of cases) {
    const lasting = new FakeController({ [key]: answer({ status: 0x002 | DNR }) });
    expectFailure(failure(lasting), "refused", `${words}: invalid field in command`, false);
    const passing = new FakeController({ [key]: answer({ status: 0x006 }) });
    expectFailure(failure(passing), "unreachable", `${words}: internal error`, true);
  }
});

Deno.test("bringUp() tries again what could not be read once, though the controller says not to", () => {
  for (const key of ["identify 1", "identify 6", "identify 2", "identify 0", "identify 3", "identify 8", "log c"]) {
    const once = (bad: CommandAnswer) => {
      const plain = new FakeController();
      const fake = new FakeController({
        [key]: () => {
          delete fake.replies[key];
          return bad;
        },
      });
      return [run(fake), run(plain)];
    };
    const [failed, plain] = once(answer({ status: 0x006 | DNR }));
    assertEquals(failed, plain, key);
    assertEquals(once(answer({ data: new Uint8Array(15) }))[0], plain, key);
    const lasting = new FakeController({ [key]: answer({ status: 0x006 | DNR }) });
    expectFailure(failure(lasting), "unreachable", "internal error", true);
  }
});

Deno.test("bringUp() does without what a controller need not have", () => {
  const unsupported = answer({ status: 0x002 | DNR });
  const connected = run(
    new FakeController({
      "identify 6": unsupported,
      "identify 3": unsupported,
      "identify 8": unsupported,
      "features b": unsupported,
    }),
  );
  assertEquals([connected.asyncEvents, connected.name.uuid, connected.limits.volatileCache], [0, "", true]);
  assertEquals(connected.name.nguid, "a0a1a2a3a4a5a6a7a8a9aaabacadaeaf", "from Identify Namespace");
  const passing = answer({ status: 0x006 });
  for (const key of ["identify 6", "identify 3", "identify 8", "features b"]) {
    expectFailure(failure(new FakeController({ [key]: passing })), "unreachable", "internal error", true);
  }
});

Deno.test("bringUp() learns of a namespace without a cache behind a controller with one", () => {
  const cacheless = answer({ data: independentNamespaceData(0xff) });
  const cached = answer({ data: independentNamespaceData(0xff & ~(1 << 5)) });
  const cacheOf = (reply: CommandAnswer) => run(new FakeController({ "identify 8": reply })).limits.volatileCache;
  assertEquals([cacheOf(cacheless), cacheOf(cached)], [false, true]);
  const other = controllerWith((data) => put(data, 525, 1, 0));
  assertEquals(run(other).limits.volatileCache, false, "the controller has none");
});

Deno.test("bringUp() asks no older controller for what is independent of command sets, unless CAP announces it", () => {
  const cacheless = answer({ data: independentNamespaceData(1 << 5) });
  const seen: number[] = [];
  const connect = (vs: number, capHigh: number) => {
    const fake = new FakeController({
      "get 0": answer({ result0: 127 | (1 << 24), result1: capHigh }),
      "get 8": answer({ result0: vs }),
      "identify 8": (sqe) => (seen.push(get(sqe, 4, 4)), cacheless),
    });
    return run(fake).limits.volatileCache;
  };
  assertEquals(connect(0x00010400, 1 << 5), true);
  assertEquals(connect(0x0001ffff, 1 << 5 | 1 << 27), true, "CRWMS is not CRIMS");
  assertEquals(seen, []);
  assertEquals(connect(0x00010400, 1 << 5 | 1 << 28), false);
  assertEquals(connect(0x00020000, 1 << 5), false);
  assertEquals(connect(0x00020100, 1 << 5), false);
  assertEquals(connect(0xffffffff | 0, 1 << 5), false);
  assertEquals(seen, [1, 1, 1, 1], "the namespace that is asked about");
});

Deno.test("bringUp() refuses controllers that umpath cannot use", () => {
  const cases: [change: (data: Uint8Array) => void, kind: BringUpErrorKind, words: string][] = [
    [(data) => put(data, 78, 2, 8), "protocol", "Connect gave controller ID 7, Identify 8"],
    [(data) => put(data, 536, 4, 0), "protocol", "does not support SGLs"],
    [(data) => put(data, 1792, 4, 3), "protocol", "capsules do not hold"],
    [(data) => put(data, 1796, 4, 0), "protocol", "capsules do not hold"],
    [(data) => put(data, 1800, 2, 1), "unsupported", "in-capsule data at an offset"],
    [(data) => put(data, 111, 1, 2), "unsupported", "a discovery controller"],
    [(data) => put(data, 111, 1, 3), "unsupported", "an administrative controller"],
  ];
  for (const [change, kind, words] of cases) {
    const error = failure(controllerWith(change));
    expectFailure(error, kind, words, error.retryable);
  }
});

Deno.test("bringUp() takes a controller that does not tell its type, NQN, MAXCMD or keep alive support", () => {
  const connected = run(controllerWith((data) => {
    put(data, 111, 1, 0);
    data.fill(0, 768, 1024);
    put(data, 514, 2, 0);
    put(data, 320, 2, 0);
  }));
  assertEquals(connected.name.subsystemNqn, OPTIONS.subsystemNqn);
  assertEquals([connected.queueDepth, connected.keepAliveMs], [127, null]);
});

Deno.test("bringUp() bounds the queue depth by MQES, MAXCMD and what is wanted", () => {
  const depth = (maxcmd: number, wantedQueueDepth: number) =>
    run(controllerWith((data) => put(data, 514, 2, maxcmd)), { wantedQueueDepth }).queueDepth;
  assertEquals([depth(128, 64), depth(32, 64), depth(1024, 1024), depth(0, 1)], [64, 32, 127, 1]);
});

Deno.test("bringUp() takes MDTS 0 and no in-capsule data", () => {
  const connected = run(controllerWith((data) => (put(data, 77, 1, 0), put(data, 1792, 4, 4))));
  assertEquals([connected.limits.maxTransferBytes, connected.inCapsuleBytes], [65536 * 4096, 0]);
  const huge = run(controllerWith((data) => put(data, 1792, 4, 0xffffffff)));
  assertEquals(huge.inCapsuleBytes, 131072, "never more than a transfer");
});

Deno.test("bringUp() takes as many queues as wanted and granted", () => {
  const queues = (result0: number, wantedQueues: number) =>
    run(new FakeController({ "features 7": answer({ result0 }) }), { wantedQueues }).queues;
  assertEquals([queues(0x0007_0007, 4), queues(0x0000_0007, 4), queues(0x0007_0001, 4)], [4, 1, 2]);
  assertEquals(queues(0xffff_ffff | 0, 65535), 65535);
});

Deno.test("bringUp() says which namespaces there are instead", () => {
  expectFailure(failure(new FakeController(), { nsid: 3 }), "not-found", "no namespace 3 (it has 1, 2, 5)", false);
  const none = new FakeController({ "identify 2": answer({ data: activeListData([]) }) });
  expectFailure(failure(none), "not-found", "it has none for this host", false);
  const many = Array.from({ length: 20 }, (_, i) => 2 * i + 2);
  const full = new FakeController({ "identify 2": answer({ data: activeListData(many) }) });
  expectFailure(failure(full), "not-found", "28, 30, 32 and 4 more", false);
});

Deno.test("bringUp() looks past the first 1024 namespaces", () => {
  const list = (have: number[]) => (sqe: Uint8Array) => {
    const above = get(sqe, 4, 4);
    return answer({ data: activeListData(have.filter((nsid) => nsid > above)) });
  };
  const have = Array.from({ length: 3000 }, (_, i) => i + 1);
  const fake = new FakeController({ "identify 2": list(have) });
  assertEquals(run(fake, { nsid: 2500 }).namespace.nsid, 2500);
  assertEquals(fake.seen.filter((key) => key === "identify 2").length, 2);
  const error = failure(new FakeController({ "identify 2": list(have) }), { nsid: 4000 });
  expectFailure(error, "not-found", "15, 16 and more", false);
});

Deno.test("bringUp() refuses namespaces that umpath does not serve", () => {
  const data = identifyNamespaceData();
  put(data, 132, 2, 8);
  const metadata = failure(new FakeController({ "identify 0": answer({ data }) }));
  expectFailure(metadata, "unsupported", "answer to identify namespace: namespace 1 has 8 bytes of metadata", false);
  const zoned = descriptorsData();
  zoned[44] = 2;
  const other = failure(new FakeController({ "identify 3": answer({ data: zoned }) }));
  expectFailure(other, "unsupported", "I/O command set 2", false);
});

Deno.test("bringUp() refuses answers without data or with too little of it", () => {
  for (const key of ["identify 1", "identify 6", "identify 2", "identify 0", "identify 3", "identify 8", "log c"]) {
    for (const data of [null, new Uint8Array(0), new Uint8Array(15)]) {
      expectFailure(
        failure(new FakeController({ [key]: answer({ data }) })),
        "protocol",
        "Cannot use the answer",
        true,
      );
    }
  }
});

Deno.test("bringUp() reads no ANA log and asks for no ANA events where ANA is not reported", () => {
  const fake = controllerWith((data) => put(data, 76, 1, 3));
  const connected = run(fake);
  assertEquals([connected.anaLog, connected.asyncEvents, fake.seen.includes("log c")], [null, 0x100, false]);
  const silent = controllerWith((data) => put(data, 92, 4, 0));
  assertEquals(run(silent).asyncEvents, 0);
  assert(!silent.seen.includes("features b"));
});

Deno.test("bringUp() lets the controller tell retry delays where it has any", () => {
  const fake = controllerWith((data) => put(data, 128, 2, 5));
  assertEquals(run(fake).controller.retryDelaysMs, [0, 500, 0, 0]);
  assert(fake.seen.includes("features 16"));
});

Deno.test("bringUp() refuses a garbled ANA log", () => {
  const data = anaLogData([{ id: 1, state: 9, nsids: [] }]);
  const error = failure(new FakeController({ "log c": answer({ data }) }));
  expectFailure(error, "protocol", "unknown state 9", true);
});

Deno.test("bringUp() asks for no keep alive where none is wanted", () => {
  let kato = -1;
  const fake = new FakeController({ connect: (sqe) => (kato = get(sqe, 48, 4), answer({ result0: 7 })) });
  assertEquals(run(fake, { keepAliveMs: null }).keepAliveMs, null);
  assertEquals(kato, 0);
});

Deno.test("bringUp() asserts that commands and waits are answered as such", () => {
  const steps = bringUp(OPTIONS);
  steps.next();
  assertThrows(() => steps.next(null), AssertionFailure);
  assertThrows(() => bringUp({ ...OPTIONS, nsid: 0 }).next(), AssertionFailure);
  assertThrows(() => bringUp({ ...OPTIONS, hostId: new Uint8Array(4) }).next(), AssertionFailure);
});

Deno.test("bringUp() survives garbage in every answer: seeds 1 to 500", () => {
  for (let seed = 1; seed <= 500; seed++) {
    const prng = new Prng(seed);
    const steps = bringUp(OPTIONS);
    const fake = new FakeController();
    const garble = (result: StepResult): StepResult => {
      if (result === null || prng.below(8) !== 0) return result;
      const data = result.data?.slice() ?? null;
      for (let i = 0; data !== null && i < 1 + prng.below(40); i++) data[prng.below(data.length)] = prng.below(256);
      const cut = data !== null && prng.below(8) === 0 ? data.subarray(0, prng.below(data.length)) : data;
      const word = () => (prng.below(2) === 0 ? prng.uint32() : prng.uint32() | 0);
      return { status: prng.below(4) === 0 ? prng.below(0x8000) : 0, result0: word(), result1: word(), data: cut };
    };
    try {
      const connected = fake.run(intercept(steps, garble));
      assert(connected.queues >= 1 && connected.queueDepth >= 1 && connected.limits.blocks >= 1);
      assert(connected.inCapsuleBytes >= 0 && connected.limits.maxTransferBytes >= connected.limits.blockSize);
    } catch (error) {
      assert(error instanceof AdminError, `seed ${seed}: ${(error as Error).stack}`);
    }
  }
});

/** The same steps, with every answer passed through `change` on its way. */
function* intercept(
  steps: ReturnType<typeof bringUp>,
  change: (result: StepResult) => StepResult,
): ReturnType<typeof bringUp> {
  let turn = steps.next();
  while (!turn.done) turn = steps.next(change(yield turn.value));
  return turn.value;
}
