import { assert, assertEquals, assertThrows } from "@std/assert";
import { Prng } from "../../../src/base/prng.ts";
import {
  IdentifyError,
  parseActiveList,
  parseController,
  parseIndependentNamespace,
  parseNamespace,
  parseNamespaceDescriptors,
  parseNvmController,
} from "../../../src/nvme_host/identify.ts";
import {
  activeListData,
  descriptorsData,
  identifyControllerData,
  identifyNamespaceData,
  independentNamespaceData,
  put,
} from "./fake_controller.ts";

function namespaceWith(change: (data: Uint8Array) => void): Uint8Array {
  const data = identifyNamespaceData();
  change(data);
  return data;
}

function namespaceError(change: (data: Uint8Array) => void): IdentifyError {
  return assertThrows(() => parseNamespace(namespaceWith(change), 1), IdentifyError);
}

Deno.test("parseController() reads every field", () => {
  const data = identifyControllerData();
  put(data, 128, 2, 1);
  put(data, 130, 2, 50);
  put(data, 132, 2, 65535);
  put(data, 386, 2, 700);
  assertEquals(parseController(data), {
    serial: "SN0001",
    model: "Example array",
    firmware: "1.2.3",
    subsystemNqn: "nqn.2014-08.org.example:vol",
    cntlid: 7,
    version: 0x20000,
    controllerType: 1,
    mdts: 5,
    oaes: 0xb00,
    asyncEventRequestsMax: 4,
    keepAliveGranularityMs: 1000,
    trafficBasedKeepAlive: true,
    quiesceMs: 700,
    retryDelaysMs: [0, 100, 5000, 6553500],
    maxcmd: 128,
    nn: 1024,
    mnan: 16,
    oncs: 0xc,
    volatileCache: true,
    atomicPowerFailBlocks: 1,
    sgls: 1,
    anaReporting: true,
    anaTransitionSeconds: 10,
    anaGroupIdMax: 32,
    anaGroups: 4,
    logOffsets: false,
    ioCommandCapsuleBytes: 8256,
    ioResponseCapsuleBytes: 16,
    inCapsuleDataOffset: 0,
  });
});

Deno.test("parseController() makes text fields printable", () => {
  const data = identifyControllerData();
  data.set([0x20, 0x41, 0x1b, 0xff, 0x42, 0x20, 0x00, 0x43], 4);
  assertEquals(parseController(data).serial, "A??B");
  data.fill(0, 4, 24);
  assertEquals(parseController(data).serial, "");
});

Deno.test("parseController() takes no NQN without an end, too long, or with control characters", () => {
  const data = identifyControllerData();
  data.fill(0x61, 768, 1024);
  assertEquals(parseController(data).subsystemNqn, "");
  data.fill(0, 768 + 224, 1024);
  assertEquals(parseController(data).subsystemNqn, "");
  data.fill(0, 768, 1024);
  data.set([0x61, 0x1b, 0x62], 768);
  assertEquals(parseController(data).subsystemNqn, "a?b");
});

Deno.test("parseNvmController() reads the limits", () => {
  const data = new Uint8Array(4096);
  data.set([9, 5, 9, 64], 0);
  put(data, 4, 4, 0xfffffff0);
  put(data, 8, 8, 1000);
  const limits = { isTold: true, wzsl: 5, dmrl: 64, dmrsl: 0xfffffff0, dmsl: 1000 };
  assertEquals(parseNvmController(data), limits);
});

Deno.test("parseNamespace() reads every field", () => {
  assertEquals(parseNamespace(identifyNamespaceData(), 1), {
    nsid: 1,
    blockSize: 4096,
    blocks: 262144,
    shared: true,
    writeProtected: false,
    anaGroupId: 1,
    nguid: "a0a1a2a3a4a5a6a7a8a9aaabacadaeaf",
    eui64: "",
    atomicPowerFailBlocks: 0,
    atomicBoundaryAligned: true,
    optimalBoundaryBlocks: 32,
    preferredWriteBlocks: 4,
    preferredDeallocateBlocks: 8,
    optimalWriteBlocks: 16,
    deallocatedReadZeroes: true,
  });
});

Deno.test("parseNamespace() does not believe preferences and atomics that NSFEAT does not announce", () => {
  const parsed = parseNamespace(namespaceWith((data) => (put(data, 24, 1, 0), put(data, 36, 2, 7))), 1);
  assertEquals([parsed.preferredWriteBlocks, parsed.optimalWriteBlocks, parsed.atomicPowerFailBlocks], [0, 0, 0]);
  const told = parseNamespace(namespaceWith((data) => (put(data, 24, 1, 2), put(data, 36, 2, 7))), 1);
  assertEquals(told.atomicPowerFailBlocks, 8);
});

Deno.test("parseNamespace() is exact up to 2^53 blocks and refuses more", () => {
  assertEquals(parseNamespace(namespaceWith((data) => put(data, 0, 8, 2n ** 53n - 1n)), 1).blocks, 2 ** 53 - 1);
  assertEquals(parseNamespace(namespaceWith((data) => put(data, 0, 8, 2n ** 53n)), 1).blocks, 2 ** 53);
  assertEquals(namespaceError((data) => put(data, 0, 8, 2n ** 53n + 1n)).kind, "unsupported");
});

Deno.test("parseNamespace() takes the upper index bits only where there are more than 16 formats", () => {
  assertEquals(parseNamespace(namespaceWith((data) => put(data, 26, 1, 0x61)), 1).blockSize, 4096);
  const extended = namespaceWith((data) => {
    put(data, 25, 1, 40);
    put(data, 26, 1, 0x42); // index 2 + 32
    put(data, 128 + 34 * 4 + 2, 1, 9);
  });
  assertEquals(parseNamespace(extended, 1).blockSize, 512);
});

Deno.test("parseNamespace() counts formats with unique attributes", () => {
  const data = namespaceWith((data) => {
    put(data, 26, 1, 2);
    put(data, 82, 1, 1);
    put(data, 136 + 2, 1, 9);
  });
  assertEquals(parseNamespace(data, 1).blockSize, 512);
});

Deno.test("parseNamespace() refuses in words what umpath does not serve", () => {
  const metadata = namespaceError((data) => put(data, 132, 2, 8));
  assertEquals([metadata.kind, metadata.message], [
    "unsupported",
    "Namespace 1 has 8 bytes of metadata for each block",
  ]);
  const protection = namespaceError((data) => put(data, 29, 1, 1));
  assertEquals(
    [protection.kind, protection.message],
    ["unsupported", "Namespace 1 has protection information of type 1"],
  );
  assertEquals(namespaceError((data) => put(data, 134, 1, 11)).kind, "unsupported");
  assertEquals(namespaceError((data) => put(data, 134, 1, 255)).kind, "unsupported");
});

Deno.test("parseNamespace() refuses data that contradicts itself", () => {
  const inactive = namespaceError((data) => data.fill(0));
  assertEquals([inactive.kind, inactive.message], ["protocol", "Namespace 1 has no blocks: it is not active"]);
  assertEquals(namespaceError((data) => put(data, 26, 1, 2)).kind, "protocol");
  assertEquals(namespaceError((data) => put(data, 25, 1, 255)).kind, "protocol");
});

Deno.test("parseNamespaceDescriptors() reads NGUID, UUID and command set", () => {
  assertEquals(parseNamespaceDescriptors(descriptorsData()), {
    nguid: "a0a1a2a3a4a5a6a7a8a9aaabacadaeaf",
    eui64: "",
    uuid: "10111213-1415-1617-1819-1a1b1c1d1e1f",
    commandSet: 0,
    isTold: true,
  });
});

Deno.test("parseNamespaceDescriptors() skips unknown types and stops at the end of the data", () => {
  const data = new Uint8Array(4096);
  data.set([99, 3, 0, 0, 1, 2, 3, 1, 8, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8]);
  assertEquals(parseNamespaceDescriptors(data).eui64, "0102030405060708");
  const full = new Uint8Array(4096);
  for (let at = 0; at < 4096; at += 16) full.set([99, 12], at);
  assertEquals(parseNamespaceDescriptors(full).uuid, "");
});

Deno.test("parseNamespaceDescriptors() refuses a wrong length and one past the end", () => {
  for (const [type, length] of [[1, 7], [2, 8], [3, 15], [4, 2]]) {
    const data = new Uint8Array(4096);
    data.set([type, length]);
    assertEquals(assertThrows(() => parseNamespaceDescriptors(data), IdentifyError).kind, "protocol");
  }
  const data = new Uint8Array(4096);
  for (let at = 0; at < 4096; at += 256) data.set([99, 252], at);
  data.set([99, 255], 3840);
  assertThrows(() => parseNamespaceDescriptors(data), IdentifyError);
});

Deno.test("parseActiveList() reads up to 1024 and ends at 0", () => {
  assertEquals(parseActiveList(activeListData([])), []);
  assertEquals(parseActiveList(activeListData([1, 7, 0xfffffffe])), [1, 7, 0xfffffffe]);
  assertEquals(parseActiveList(activeListData(Array.from({ length: 1024 }, (_, i) => i + 1))).length, 1024);
});

Deno.test("parseIndependentNamespace() reads VWCNP and nothing else", () => {
  assertEquals(parseIndependentNamespace(independentNamespaceData(1 << 5)), { cacheless: true });
  assertEquals(parseIndependentNamespace(independentNamespaceData(0xff & ~(1 << 5))), { cacheless: false });
});

Deno.test("parseActiveList() refuses a list that does not rise", () => {
  assertThrows(() => parseActiveList(activeListData([2, 1])), IdentifyError);
  assertThrows(() => parseActiveList(activeListData([2, 2])), IdentifyError);
});

const PARSERS: readonly ((data: Uint8Array) => unknown)[] = [
  parseController,
  parseNvmController,
  (data) => parseNamespace(data, 1),
  parseNamespaceDescriptors,
  parseIndependentNamespace,
  parseActiveList,
];

Deno.test("every Identify parser refuses short data", () => {
  for (const parse of PARSERS) {
    for (const bytes of [0, 1, 127, 4095]) {
      assertEquals(assertThrows(() => parse(new Uint8Array(bytes)), IdentifyError).kind, "protocol");
    }
  }
});

Deno.test("every Identify parser survives garbage: seeds 1 to 400", () => {
  for (let seed = 1; seed <= 400; seed++) {
    const prng = new Prng(seed);
    const valid = [identifyControllerData(), identifyNamespaceData(), descriptorsData(), activeListData([1, 2])];
    // Half of the seeds are noise, half are valid data with a few bytes changed, at an odd offset of a larger buffer.
    const data = new Uint8Array(4096 + 3).subarray(3);
    if (seed % 2 === 0) data.set(valid[prng.below(valid.length)]);
    const changes = seed % 2 === 0 ? 1 + prng.below(8) : 4096;
    for (let i = 0; i < changes; i++) data[prng.below(4096)] = prng.below(256);
    for (const parse of PARSERS) {
      try {
        parse(data);
      } catch (error) {
        assert(error instanceof IdentifyError, `seed ${seed}: ${error}`);
      }
    }
  }
});
