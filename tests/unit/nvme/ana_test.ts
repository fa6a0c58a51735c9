import { assert, assertEquals, assertStringIncludes, assertThrows } from "@std/assert";
import { Prng } from "../../../src/base/prng.ts";
import {
  anaLogCommand,
  AnaLogError,
  anaServesIo,
  type AnaState,
  anaStateOf,
  parseAnaLog,
} from "../../../src/nvme/ana.ts";
import { type ControllerIdentity, parseController } from "../../../src/nvme/identify.ts";
import { anaLogData, get, identifyControllerData, put } from "./fake_controller.ts";

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

function logCommand(change: Partial<ControllerIdentity>, bytesMax = 131072) {
  const command = anaLogCommand({ ...parseController(identifyControllerData()), ...change }, bytesMax);
  return command && { bytes: command.dataInBytes, lsp: command.sqe[41] & 0x7f, dwords: get(command.sqe, 42, 4) };
}

Deno.test("anaLogCommand() sizes the log by groups and namespaces", () => {
  const bytes = 16 + 4 * 32 + 16 * 4;
  assertEquals(logCommand({}), { bytes, lsp: 0, dwords: bytes / 4 - 1 });
  assertEquals(logCommand({ mnan: 0, nn: 100 })?.bytes, 16 + 4 * 32 + 100 * 4);
  assertEquals(logCommand({ anaReporting: false }), null);
});

Deno.test("anaLogCommand() leaves the namespaces out of a log that is too large, and bounds it", () => {
  const groups = { bytes: 16 + 4 * 32, lsp: 1 };
  for (const command of [logCommand({ mnan: 0, nn: 0xfffffffe }), logCommand({}, 192)]) {
    assertEquals({ bytes: command!.bytes, lsp: command!.lsp }, groups);
  }
  assertEquals(logCommand({ anaGroups: 0xffffffff }), { bytes: 65536, lsp: 1, dwords: 16383 });
  assertEquals(logCommand({ anaGroups: 0xffffffff }, 8192)?.bytes, 8192);
});
