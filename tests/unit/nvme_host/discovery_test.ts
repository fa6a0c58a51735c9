import { assert, assertEquals, assertMatch, assertThrows } from "@std/assert";
import { Prng } from "../../../src/base/prng.ts";
import {
  discover,
  DISCOVERY_ENTRIES_MAX,
  DISCOVERY_READS_MAX,
  type DiscoveryLog,
  parseDiscoveryEntry,
  readDiscoveryLog,
} from "../../../src/nvme_host/discovery.ts";
import { listNamespaces } from "../../../src/nvme_host/list_namespaces.ts";
import { AdminError, type CommandAnswer } from "../../../src/nvme_host/steps.ts";
import { discoveryLogData, entryData } from "./discovery_log_data.ts";
import { activeListData, answer, FakeController, get, identifyControllerData, put } from "./fake_controller.ts";

const OPTIONS = {
  subsystemNqn: "nqn.2014-08.org.nvmexpress.discovery",
  hostNqn: "nqn.2014-08.org.nvmexpress:uuid:0f0e0d0c-0b0a-4908-8706-050403020100",
  hostId: new Uint8Array(16).fill(7),
  keepAliveMs: null,
  chunkBytesMax: 65536,
};
const ENTRY = {};

/** Get Log Page as a controller reads it: NUMD in CDW10 and 11, the offset in CDW12. */
interface Read {
  offset: number;
  bytes: number;
}

function readOf(sqe: Uint8Array): Read {
  return { offset: get(sqe, 48, 4), bytes: (get(sqe, 42, 2) + get(sqe, 44, 2) * 65536 + 1) * 4 };
}

/** A discovery controller whose log is what `logOf` says at each read, the first of which is 0. */
function discoveryController(logOf: (read: number) => Uint8Array): FakeController & { reads: Read[] } {
  const reads: Read[] = [];
  const reply = (sqe: Uint8Array): CommandAnswer => {
    assertEquals([sqe[0], sqe[40]], [0x02, 0x70]);
    const read = readOf(sqe);
    const data = new Uint8Array(read.bytes);
    data.set(logOf(reads.length).subarray(read.offset, read.offset + read.bytes));
    reads.push(read);
    return answer({ data });
  };
  const fake = new FakeController({
    "log 70": reply,
    "identify 1": answer({ data: discoveryIdentity() }),
  });
  return Object.assign(fake, { reads });
}

function discoveryIdentity(mdts = 0, type = 2): Uint8Array {
  const data = identifyControllerData();
  put(data, 77, 1, mdts);
  put(data, 111, 1, type);
  return data;
}

function failure(body: () => unknown): AdminError {
  return assertThrows(body, AdminError);
}

Deno.test("discover() brings a discovery controller up without I/O queues and without keep alive, and reads its log", () => {
  const fake = discoveryController(() => discoveryLogData([{ subtype: 3, eflags: 3 }, ENTRY], { genctr: 9 }));
  let kato = -1;
  fake.replies.connect = (sqe) => {
    kato = get(sqe, 48, 4);
    return answer({ result0: 7 });
  };
  const log = fake.run(discover(OPTIONS));
  assertEquals(log.generation, 9n);
  assertEquals(log.entries.map((entry) => entry.subtype), ["current-discovery", "nvm"]);
  assertEquals(kato, 0);
  const asked = fake.seen.filter((key) => !key.startsWith("get") && !key.startsWith("set"));
  assertEquals(asked, ["connect", "identify 1", "log 70", "log 70", "log 70"]);
});

Deno.test("discover() refuses a controller that is none of discovery", () => {
  const fake = discoveryController(() => discoveryLogData([]));
  fake.replies["identify 1"] = answer({ data: discoveryIdentity(0, 1) });
  assertMatch(failure(() => fake.run(discover(OPTIONS))).message, /not a discovery controller/);
});

Deno.test("discover() reads no more at once than MDTS and its own buffer take", () => {
  const entries = Array.from({ length: 11 }, (_, i) => ({ portid: i }));
  const cases: [mdts: number, chunkBytesMax: number, chunks: number[]][] = [
    [0, 65536, [11]],
    [1, 65536, [8, 3]],
    [0, 5000, [4, 4, 3]],
    [0, 1024, new Array(11).fill(1)],
  ];
  for (const [mdts, chunkBytesMax, chunks] of cases) {
    const fake = discoveryController(() => discoveryLogData(entries));
    fake.replies["identify 1"] = answer({ data: discoveryIdentity(mdts) });
    const log = fake.run(discover({ ...OPTIONS, chunkBytesMax }));
    assertEquals(log.entries.map((entry) => entry.portId), entries.map((entry) => entry.portid));
    const wanted = chunks.map((count, i) => {
      return { offset: 1024 * (1 + chunks.slice(0, i).reduce((a, b) => a + b, 0)), bytes: 1024 * count };
    });
    assertEquals(fake.reads.slice(1, -1), wanted);
  }
});

Deno.test("readDiscoveryLog() begins anew when the log changes while it is read", () => {
  const before = discoveryLogData([{ portid: 1 }, { portid: 2 }, { portid: 3 }], { genctr: 4 });
  const after = discoveryLogData([{ portid: 8 }, { portid: 9 }], { genctr: 5 });
  for (let change = 1; change <= 4; change++) {
    const fake = discoveryController((read) => read < change ? before : after);
    const log = fake.run(readDiscoveryLog(2048));
    const isTorn = change <= 3;
    assertEquals(log.generation, isTorn ? 5n : 4n, `changed at read ${change}`);
    assertEquals(log.entries.map((entry) => entry.portId), isTorn ? [8, 9] : [1, 2, 3]);
  }
});

Deno.test("readDiscoveryLog() gives up on a log that never stays the same", () => {
  const fake = discoveryController((read) => discoveryLogData([ENTRY], { genctr: read }));
  const error = failure(() => fake.run(readDiscoveryLog(65536)));
  assertEquals([error.kind, error.retryable], ["unreachable", true]);
  assertEquals(fake.reads.length, 3 * DISCOVERY_READS_MAX);
});

Deno.test("readDiscoveryLog() takes an empty log, and refuses lengths and formats that cannot be", () => {
  assertEquals(discoveryController(() => discoveryLogData([])).run(readDiscoveryLog(4096)).entries, []);
  for (const numrec of [DISCOVERY_ENTRIES_MAX + 1, 2n ** 63n, 2n ** 64n - 1n]) {
    const fake = discoveryController(() => discoveryLogData([ENTRY], { numrec }));
    assertMatch(failure(() => fake.run(readDiscoveryLog(4096))).message, new RegExp(`claims ${numrec} entries`));
    assertEquals(fake.reads.length, 1);
  }
  const odd = discoveryController(() => discoveryLogData([ENTRY], { recfmt: 1 }));
  assertMatch(failure(() => odd.run(readDiscoveryLog(4096))).message, /unknown format 1/);
  const short = new FakeController({ "log 70": answer({ data: new Uint8Array(512) }) });
  assertMatch(failure(() => short.run(readDiscoveryLog(4096))).message, /has 512 bytes where 1024/);
  const none = new FakeController({ "log 70": answer({ status: 0x4109 }) });
  assertEquals(failure(() => none.run(readDiscoveryLog(4096))).kind, "refused");
});

Deno.test("parseDiscoveryEntry() trims NULs and spaces alike", () => {
  for (const padding of [0, 0x20]) {
    const entry = parseDiscoveryEntry(entryData({ trsvcid: "8009", traddr: "2001:db8::1", adrfam: 2, padding }));
    assertEquals([entry.traddr, entry.trsvcid, entry.addressFamily], ["2001:db8::1", "8009", "ipv6"]);
    assertEquals(entry.subsystemNqn, "nqn.2026-11.io.test:vol");
  }
  const both = parseDiscoveryEntry(entryData({ traddr: "192.0.2.1   \0\0garbage" }));
  assertEquals(both.traddr, "192.0.2.1");
  const full = parseDiscoveryEntry(entryData({ subnqn: "n".repeat(256), trsvcid: "1".repeat(32) }));
  assertEquals([full.subsystemNqn.length, full.trsvcid.length], [256, 32]);
  assertEquals(parseDiscoveryEntry(entryData({ traddr: "\x1b[31m\u202e", padding: 0 })).traddr, "?[31m?");
});

Deno.test("parseDiscoveryEntry() tells kinds, flags and requirements", () => {
  const of = (entry: Parameters<typeof entryData>[0]) => parseDiscoveryEntry(entryData(entry));
  assertEquals([1, 2, 3, 4].map((subtype) => of({ subtype }).subtype), [
    "referral",
    "nvm",
    "current-discovery",
    "unknown",
  ]);
  assertEquals([1, 2, 3, 254, 9].map((trtype) => of({ trtype }).transport), [
    "rdma",
    "fc",
    "tcp",
    "intra-host",
    "unknown",
  ]);
  assertEquals([0, 1, 2, 3].map((treq) => of({ treq }).secureChannel), [
    "not-specified",
    "required",
    "not-required",
    "not-specified",
  ]);
  assertEquals([0, 1, 2, 7].map((sectype) => of({ sectype }).security), ["none", "tls", "tls-1.3", "unknown"]);
  assertEquals(of({ trtype: 1, sectype: 2 }).security, "none", "another transport's TSAS is something else");
  const flags = [0, 1, 2, 3].map((eflags) => of({ eflags }));
  assertEquals(flags.map((entry) => entry.duplicateInformation), [false, false, false, false], "not of a subsystem");
  const self = [0, 1, 2, 3].map((eflags) => of({ eflags, subtype: 3 }));
  assertEquals(self.map((entry) => entry.duplicateInformation), [false, true, false, true]);
  assertEquals(of({ eflags: 1, subtype: 1 }).duplicateInformation, false, "not of a referral");
  assertEquals(flags.map((entry) => entry.persistentConnection), [false, false, true, true]);
  assertEquals([0, 4].map((treq) => of({ treq }).flowControlDisable), [false, true]);
  const { portId, cntlid, adminQueueSize } = of({ portid: 0x1234, cntlid: 0xfffe, asqsz: 128 });
  assertEquals([portId, cntlid, adminQueueSize], [0x1234, 0xfffe, 128]);
});

Deno.test("readDiscoveryLog() throws nothing but its own error for logs of random bytes", () => {
  let read = 0;
  for (let seed = 1; seed <= 500; seed++) {
    const prng = new Prng(seed);
    const log = Uint8Array.from({ length: 4096 }, () => prng.below(256));
    // Most are to get as far as their entries.
    if (prng.below(4) > 0) put(log, 8, 8, prng.below(4));
    if (prng.below(4) > 0) put(log, 16, 2, 0);
    const fake = discoveryController(() => log);
    try {
      const { entries }: DiscoveryLog = fake.run(readDiscoveryLog(1024 * (1 + prng.below(4))));
      for (const { traddr, trsvcid, subsystemNqn } of entries) {
        assert(!/\p{C}/u.test(traddr + trsvcid + subsystemNqn), `seed ${seed}`);
      }
      read++;
    } catch (error) {
      assert(error instanceof AdminError, `seed ${seed}: ${error}`);
    }
  }
  assert(read > 100, `${read} were read`);
});

Deno.test("listNamespaces() reads list after list of active namespaces, and no controller without end", () => {
  const all = Array.from({ length: 2500 }, (_, i) => 2 * i + 1);
  const listAbove = (sqe: Uint8Array) => answer({ data: activeListData(all.filter((nsid) => nsid > get(sqe, 4, 4))) });
  const fake = new FakeController({ "identify 2": listAbove });
  assertEquals(fake.run(listNamespaces(OPTIONS)), all);
  assertEquals(fake.seen.filter((key) => key === "identify 2").length, 3);
  const stuck = new FakeController({ "identify 2": () => answer({ data: activeListData(all.slice(0, 1024)) }) });
  assertMatch(failure(() => stuck.run(listNamespaces(OPTIONS))).message, /begins anew/);
});
