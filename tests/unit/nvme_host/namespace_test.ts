import { assertEquals } from "@std/assert";
import {
  type ControllerIdentity,
  INDEPENDENT_NAMESPACE_UNTOLD,
  type IndependentNamespace,
  type NamespaceIdentity,
  NVM_CONTROLLER_LIMITS_UNTOLD,
  type NvmControllerLimits,
  parseController,
  parseNamespace,
  parseNamespaceDescriptors,
} from "../../../src/nvme_host/identify.ts";
import {
  type ComparableNamespace,
  identityDifference,
  namespaceLimits,
  namespaceName,
} from "../../../src/nvme_host/namespace.ts";
import { descriptorsData, identifyControllerData, identifyNamespaceData } from "./fake_controller.ts";

interface Change {
  controller?: Partial<ControllerIdentity>;
  namespace?: Partial<NamespaceIdentity>;
  independent?: Partial<IndependentNamespace>;
  nvm?: Partial<NvmControllerLimits>;
  mpsmin?: number;
}

function limits(change: Change = {}) {
  return namespaceLimits({
    controller: { ...parseController(identifyControllerData()), ...change.controller },
    namespace: { ...parseNamespace(identifyNamespaceData(), 1), ...change.namespace },
    independent: { ...INDEPENDENT_NAMESPACE_UNTOLD, ...change.independent },
    nvm: { ...NVM_CONTROLLER_LIMITS_UNTOLD, ...change.nvm },
    mpsmin: change.mpsmin ?? 0,
  });
}

Deno.test("namespaceLimits() of a plain namespace", () => {
  assertEquals(limits(), {
    blockSize: 4096,
    blocks: 262144,
    maxTransferBytes: 131072,
    maxWriteZeroesBlocks: 32,
    maxDiscardBlocks: 0xffffffff,
    maxDiscardRanges: 256,
    discardGranularity: 32768,
    physicalBlockSize: 4096,
    minIoBytes: 16384,
    optimalIoBytes: 65536,
    boundaryBytes: 131072,
    readOnly: false,
    volatileCache: true,
  });
});

Deno.test("namespaceLimits() takes MDTS in units of the smallest memory page, and NLB as the bound of all", () => {
  assertEquals(limits({ controller: { mdts: 1 } }).maxTransferBytes, 8192);
  assertEquals(limits({ controller: { mdts: 1 }, mpsmin: 4 }).maxTransferBytes, 131072);
  assertEquals(limits({ controller: { mdts: 0 } }).maxTransferBytes, 65536 * 4096);
  assertEquals(limits({ controller: { mdts: 255 } }).maxTransferBytes, 65536 * 4096);
  assertEquals(limits({ controller: { mdts: 0 }, namespace: { blockSize: 512 } }).maxTransferBytes, 65536 * 512);
});

Deno.test("namespaceLimits() bounds Write Zeroes by WZSL, by a transfer only if limits are not told, and by NLB", () => {
  const { wzsl: none } = NVM_CONTROLLER_LIMITS_UNTOLD;
  assertEquals(limits({ nvm: { isTold: false, wzsl: none } }).maxWriteZeroesBlocks, 32);
  assertEquals(limits({ nvm: { isTold: true, wzsl: none } }).maxWriteZeroesBlocks, 65536);
  assertEquals(limits({ nvm: { wzsl: 8 } }).maxWriteZeroesBlocks, 256);
  assertEquals(limits({ nvm: { wzsl: 255 } }).maxWriteZeroesBlocks, 65536);
  assertEquals(limits({ controller: { mdts: 0 } }).maxWriteZeroesBlocks, 65536);
  assertEquals(limits({ controller: { oncs: 0 } }).maxWriteZeroesBlocks, 0);
  assertEquals(limits({ controller: { oncs: 0 }, nvm: { wzsl: 8 } }).maxWriteZeroesBlocks, 256);
});

Deno.test("namespaceLimits() bounds deallocation by DMRSL, DMSL and DMRL", () => {
  const discard = (change: Change) => {
    const { maxDiscardBlocks, maxDiscardRanges } = limits(change);
    return [maxDiscardBlocks, maxDiscardRanges];
  };
  assertEquals(discard({ nvm: { dmrsl: 1000 } }), [1000, 256]);
  assertEquals(discard({ nvm: { dmrsl: 1000, dmsl: 500, dmrl: 4 } }), [500, 4]);
  assertEquals(discard({ nvm: { dmsl: 2 ** 63 } }), [0xffffffff, 256]);
  assertEquals(discard({ controller: { oncs: 0 } }), [0, 0]);
  assertEquals(discard({ controller: { oncs: 0 }, nvm: { dmrsl: 8, dmsl: 8, dmrl: 1 } }), [8, 1]);
  assertEquals(discard({ controller: { oncs: 0 }, nvm: { dmrsl: 8 } }), [0, 0]);
});

Deno.test("namespaceLimits() takes the physical block from NPWG but not above what is atomic", () => {
  const size = (namespace: Partial<NamespaceIdentity>, awupf = 1) =>
    limits({ namespace, controller: { atomicPowerFailBlocks: awupf } }).physicalBlockSize;
  assertEquals(size({ preferredWriteBlocks: 4 }, 1), 4096);
  assertEquals(size({ preferredWriteBlocks: 4 }, 8), 16384);
  assertEquals(size({ preferredWriteBlocks: 4, atomicPowerFailBlocks: 2 }, 8), 8192);
  assertEquals(size({ preferredWriteBlocks: 4, atomicBoundaryAligned: false }, 8), 4096);
  assertEquals(size({ preferredWriteBlocks: 3 }, 8), 4096, "not a power of two");
  assertEquals(size({ preferredWriteBlocks: 0 }, 65536), 4096);
  assertEquals(size({ blockSize: 512, preferredWriteBlocks: 8 }, 16), 4096);
});

Deno.test("namespaceLimits() knows no preferences where none are told", () => {
  const namespace = {
    preferredWriteBlocks: 0,
    preferredDeallocateBlocks: 0,
    optimalWriteBlocks: 0,
    optimalBoundaryBlocks: 0,
  };
  const { minIoBytes, optimalIoBytes, boundaryBytes, discardGranularity } = limits({ namespace });
  assertEquals([minIoBytes, optimalIoBytes, boundaryBytes, discardGranularity], [4096, 0, 0, 4096]);
  assertEquals(limits({ namespace: { optimalWriteBlocks: 0 } }).optimalIoBytes, 131072, "NOIOB instead");
});

Deno.test("namespaceLimits() passes write protection and the cache on", () => {
  assertEquals(limits({ namespace: { writeProtected: true } }).readOnly, true);
  assertEquals(limits({ controller: { volatileCache: false } }).volatileCache, false);
  assertEquals(limits({ independent: { cacheless: true } }).volatileCache, false);
  assertEquals(limits({ controller: { volatileCache: false }, independent: { cacheless: true } }).volatileCache, false);
});

Deno.test("namespaceName() prefers the descriptors", () => {
  const identity = { ...parseNamespace(identifyNamespaceData(), 1), nguid: "11", eui64: "22" };
  const name = namespaceName("nqn.x", identity, parseNamespaceDescriptors(descriptorsData()));
  assertEquals(name, {
    subsystemNqn: "nqn.x",
    nsid: 1,
    uuid: "10111213-1415-1617-1819-1a1b1c1d1e1f",
    nguid: "a0a1a2a3a4a5a6a7a8a9aaabacadaeaf",
    eui64: "22",
    isTold: true,
  });
});

const KNOWN: ComparableNamespace = {
  subsystemNqn: "nqn.x",
  nsid: 1,
  uuid: "u",
  nguid: "n",
  eui64: "",
  isTold: true,
  blockSize: 4096,
};

Deno.test("identityDifference() is null for the same namespace, whatever its NSID", () => {
  assertEquals(identityDifference(KNOWN, { ...KNOWN }), null);
  assertEquals(identityDifference(KNOWN, { ...KNOWN, nsid: 9 }), null);
});

Deno.test("identityDifference() says what differs", () => {
  const cases: [change: Partial<ComparableNamespace>, words: string][] = [
    [{ subsystemNqn: "nqn.y" }, 'it is in the subsystem "nqn.y", not in "nqn.x"'],
    [{ uuid: "v" }, "its UUID is v, not u"],
    [{ uuid: "" }, "its UUID is missing, not u"],
    [{ nguid: "m" }, "its NGUID is m, not n"],
    [{ eui64: "e" }, "its EUI-64 is e, not missing"],
    [{ blockSize: 512 }, "its blocks have 512 bytes, not 4096"],
  ];
  for (const [change, words] of cases) {
    assertEquals(identityDifference(KNOWN, { ...KNOWN, ...change }), { words, isProved: true });
  }
});

Deno.test("identityDifference() does not take an equal NSID for a proof", () => {
  const bare = { ...KNOWN, uuid: "", nguid: "" };
  assertEquals(identityDifference(bare, { ...bare }), {
    words: "it has no UUID, NGUID or EUI-64 that could prove it",
    isProved: true,
  });
});

Deno.test("identityDifference() takes what the controller did not tell for neither the same nor another", () => {
  const untold = { ...KNOWN, uuid: "", isTold: false };
  assertEquals(identityDifference(KNOWN, untold), null, "the NGUID agrees");
  assertEquals(identityDifference(untold, KNOWN), null);
  const words = "it has no UUID, NGUID or EUI-64 that could prove it";
  assertEquals(identityDifference(KNOWN, { ...untold, nguid: "" }), { words, isProved: false });
  assertEquals(identityDifference(KNOWN, { ...untold, nguid: "f" })?.isProved, true);
  assertEquals(identityDifference(KNOWN, { ...untold, isTold: true })?.words, `its UUID is missing, not ${KNOWN.uuid}`);
});
