import { assert, assertEquals, assertStringIncludes, assertThrows } from "@std/assert";
import { Prng } from "../../../src/base/prng.ts";
import {
  anaLogBytes,
  AnaLogError,
  anaServesIo,
  type AnaState,
  anaStateOf,
  parseAnaLog,
} from "../../../src/nvme_host/ana.ts";
import { anaLogPlan, readAnaLog } from "../../../src/nvme_host/ana_log.ts";
import { type ControllerIdentity, parseController } from "../../../src/nvme_host/identify.ts";
import { AdminError } from "../../../src/nvme_host/steps.ts";
import { anaLogData, answer, FakeController, get, identifyControllerData, put } from "./fake_controller.ts";

const GROUPS = [{ id: 1, state: 1, nsids: [1, 2] }, { id: 7, state: 3, nsids: [] }, { id: 9, state: 15, nsids: [5] }];

Deno.test("parseAnaLog() reads groups, states and namespaces", () => {
  const log = parseAnaLog(anaLogData(GROUPS));
  assertEquals(log.changeCount, 42n);
  assertEquals([...log.groups.values()], [
    { groupId: 1, state: "optimized", nsids: [1, 2] },
    { groupId: 7, state: "inaccessible", nsids: [] },
    { groupId: 9, state: "change", nsids: [5] },
  ]);
});

Deno.test("parseAnaLog() knows all five states, in the low four bits", () => {
  const states: [code: number, state: AnaState][] = [
    [0xf1, "optimized"],
    [2, "non-optimized"],
    [3, "inaccessible"],
    [4, "persistent-loss"],
    [15, "change"],
  ];
  for (const [code, state] of states) {
    const log = parseAnaLog(anaLogData([{ id: 1, state: code, nsids: [] }]));
    assertEquals(log.groups.get(1)?.state, state);
  }
});

Deno.test("parseAnaLog() takes a log without groups and one with room after it", () => {
  assertEquals(parseAnaLog(anaLogData([])).groups.size, 0);
  const roomy = new Uint8Array(4096);
  roomy.set(anaLogData(GROUPS));
  assertEquals(parseAnaLog(roomy).groups.size, 3);
});

Deno.test("parseAnaLog() refuses a log that is cut off anywhere", () => {
  const data = anaLogData(GROUPS);
  for (let bytes = 0; bytes < data.length; bytes++) {
    assertThrows(() => parseAnaLog(data.subarray(0, bytes)), AnaLogError);
  }
});

Deno.test("parseAnaLog() refuses what cannot be", () => {
  const refused = (groups: typeof GROUPS) => assertThrows(() => parseAnaLog(anaLogData(groups)), AnaLogError).message;
  assertStringIncludes(refused([{ id: 0, state: 1, nsids: [] }]), "the group 0");
  assertStringIncludes(refused([{ id: 1, state: 5, nsids: [] }]), "the unknown state 5");
  assertStringIncludes(refused([{ id: 1, state: 1, nsids: [0] }]), "the namespace 0");
  assertStringIncludes(refused([{ id: 1, state: 1, nsids: [0xffffffff] }]), "the namespace 4294967295");
  assertStringIncludes(refused([GROUPS[0], GROUPS[0]]), "twice");
  const huge = anaLogData([GROUPS[0]]);
  put(huge, 16 + 4, 4, 0xffffffff);
  assertThrows(() => parseAnaLog(huge), AnaLogError);
});

Deno.test("parseAnaLog() survives garbage: seeds 1 to 500", () => {
  for (let seed = 1; seed <= 500; seed++) {
    const prng = new Prng(seed);
    const data = seed % 2 ? new Uint8Array(prng.below(300)) : anaLogData(GROUPS);
    const changes = seed % 2 ? data.length : 1 + prng.below(4);
    for (let i = 0; i < changes && data.length > 0; i++) data[prng.below(data.length)] = prng.below(256);
    try {
      parseAnaLog(data);
    } catch (error) {
      assert(error instanceof AnaLogError, `seed ${seed}: ${error}`);
    }
  }
});

Deno.test("anaStateOf() believes the log over an older group identifier", () => {
  const log = parseAnaLog(anaLogData(GROUPS));
  assertEquals(anaStateOf(log, { nsid: 2, anaGroupId: 7 }), "optimized");
  assertEquals(anaStateOf(log, { nsid: 3, anaGroupId: 9 }), "change");
});

Deno.test("anaStateOf() takes an unknown group for inaccessible", () => {
  assertEquals(anaStateOf(parseAnaLog(anaLogData(GROUPS)), { nsid: 3, anaGroupId: 4 }), "inaccessible");
});

Deno.test("anaServesIo() is true for two states", () => {
  const states: AnaState[] = ["optimized", "non-optimized", "inaccessible", "persistent-loss", "change"];
  assertEquals(states.filter(anaServesIo), ["optimized", "non-optimized"]);
});

function plan(change: Partial<ControllerIdentity>, transferBytesMax = 131072) {
  return anaLogPlan({ ...parseController(identifyControllerData()), ...change }, transferBytesMax);
}

Deno.test("anaLogPlan() sizes the log by groups and namespaces", () => {
  const bytes = 16 + 4 * 32 + 16 * 4;
  assertEquals(plan({}), { bytes, pieceBytes: 65536, groupsOnly: false });
  assertEquals(plan({ mnan: 0, nn: 100 })?.bytes, 16 + 4 * 32 + 100 * 4);
  assertEquals(plan({ anaReporting: false }), null);
});

Deno.test("anaLogPlan() leaves the namespaces out of a log that is too large, and bounds it", () => {
  for (const one of [plan({ mnan: 0, nn: 0xfffffffe }), plan({}, 192)]) {
    assertEquals([one!.bytes, one!.groupsOnly], [16 + 4 * 32, true]);
  }
  assertEquals(plan({ anaGroups: 0xffffffff }), { bytes: 65536, pieceBytes: 65536, groupsOnly: true });
  assertEquals(plan({ anaGroups: 0xffffffff }, 8192)?.bytes, 8192);
});

Deno.test("anaLogPlan() lets a log be as large as several transfers where it can be read from an offset on", () => {
  assertEquals(plan({ logOffsets: true }, 192), { bytes: 16 + 4 * 32 + 16 * 4, pieceBytes: 192, groupsOnly: false });
  assertEquals(plan({ logOffsets: true, anaGroups: 0xffffffff }, 8192), {
    ...{ bytes: 1 << 20, pieceBytes: 8192, groupsOnly: true },
  });
});

Deno.test("anaLogBytes() follows the counts of the log, whatever part of it is there", () => {
  const data = anaLogData(GROUPS);
  assertEquals(anaLogBytes(data), data.length);
  assertEquals(anaLogBytes(new Uint8Array(4096)), 16, "no groups");
  for (let bytes = 0; bytes < data.length; bytes++) {
    const known = anaLogBytes(data.subarray(0, bytes));
    assert(known > bytes && known <= data.length, `${bytes}: ${known}`);
  }
});

/** A controller whose log page is `data()` at the time of each command, and what it was asked for. */
function logController(data: () => Uint8Array, { isShort = false } = {}) {
  const asked: [offset: number, bytes: number][] = [];
  const fake = new FakeController({
    "log c": (sqe) => {
      const offset = get(sqe, 48, 4), bytes = 4 * (get(sqe, 42, 2) + 1);
      asked.push([offset, bytes]);
      const piece = data().slice(offset, offset + bytes);
      const whole = new Uint8Array(bytes);
      whole.set(piece);
      return answer({ data: isShort ? piece : whole });
    },
  });
  return { fake, asked };
}

const MANY = Array.from({ length: 40 }, (_, i) => ({ id: i + 1, state: 1, nsids: i === 39 ? [1, 2] : [] }));

Deno.test("readAnaLog() reads a log in pieces, and as much of it as there is", () => {
  const log = anaLogData(MANY);
  for (const isShort of [false, true]) {
    const { fake, asked } = logController(() => log, { isShort });
    const read = fake.run(readAnaLog({ bytes: 8192, pieceBytes: 512, groupsOnly: false }));
    assertEquals([read.groups.size, read.groups.get(40)!.nsids], [40, [1, 2]]);
    assertEquals(asked.slice(0, -1).map(([offset]) => offset), [0, 512, 1024, 1296]);
    assertEquals(asked.at(-1), [0, 16], "whether it has changed");
  }
});

Deno.test("readAnaLog() takes an answer that ends where the log does", () => {
  const { fake, asked } = logController(() => anaLogData(GROUPS), { isShort: true });
  assertEquals(fake.run(readAnaLog({ bytes: 4096, pieceBytes: 8192, groupsOnly: false })).groups.size, 3);
  assertEquals(asked, [[0, 4096]]);
});

Deno.test("readAnaLog() reads again what has changed between two pieces, and gives up in the end", () => {
  let changes = 0;
  const changing = (times: number) => () => {
    const data = anaLogData(MANY);
    put(data, 0, 8, Math.min(changes++, times));
    return data;
  };
  const few = logController(changing(6));
  assertEquals(few.fake.run(readAnaLog({ bytes: 8192, pieceBytes: 512, groupsOnly: false })).changeCount, 6n);
  changes = 0;
  const many = logController(changing(Infinity));
  assertThrows(
    () => many.fake.run(readAnaLog({ bytes: 8192, pieceBytes: 512, groupsOnly: false })),
    AdminError,
    "has changed 8 times while it was read",
  );
});

Deno.test("readAnaLog() tries a log again that makes no sense or could not be read", () => {
  const good = answer({ data: anaLogData(GROUPS) });
  for (const bad of [answer({ status: 0x4006 }), answer({ data: anaLogData([GROUPS[0], GROUPS[0]]) })]) {
    const answers = [bad, bad, good];
    const fake = new FakeController({ "log c": () => answers.shift()! });
    assertEquals(fake.run(readAnaLog({ bytes: 4096, pieceBytes: 8192, groupsOnly: false })).groups.size, 3);
    const lasting = new FakeController({ "log c": bad });
    assertThrows(() => lasting.run(readAnaLog({ bytes: 4096, pieceBytes: 8192, groupsOnly: false })), AdminError);
  }
});
