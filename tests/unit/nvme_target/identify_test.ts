import { assertEquals } from "@std/assert";
import { VERSION } from "../../../src/base/version.ts";
import {
  AdminTarget,
  DNR,
  get,
  HOST_NQN,
  layout,
  MORE,
  namespaceOf,
  NQN,
  type TargetOptions,
} from "./admin_fixture.ts";

function twoNamespaces(): TargetOptions {
  return {
    description: {
      namespaces: [
        namespaceOf({ index: 0, nsid: 1, volatileCache: true }),
        namespaceOf({ index: 1, nsid: 5, blockSize: 4096, blocks: 2 ** 33 + 1, readOnly: true }),
      ],
    },
  };
}

Deno.test("Identify Controller of an I/O controller is this, byte for byte", () => {
  const host = new AdminTarget(twoNamespaces()).host();
  const expected = layout(4096, [
    [4, 20, "SN42"],
    [24, 40, "Test target"],
    [64, 8, VERSION],
    [76, 1, 0x0b], // CMIC
    [77, 1, 8], // MDTS: 1 MiB
    [78, 2, host.controller.cntlid],
    [80, 4, 0x00020000], // VER
    [92, 4, 0x00000900], // OAES: namespace attribute, ANA change
    [96, 4, 0x00000001], // CTRATT: host identifiers of 128 bits
    [111, 1, 1], // CNTRLTYPE
    [258, 1, 3], // ACL
    [259, 1, 3], // AERL
    [260, 1, 0x03], // FRMW
    [261, 1, 0x06], // LPA
    [262, 1, 63], // ELPE
    [320, 2, 1], // KAS: 100 ms
    [342, 1, 10], // ANATT
    [343, 1, 0x5f], // ANACAP
    [344, 4, 1], // ANAGRPMAX
    [348, 4, 1], // NANAGRPID
    [512, 1, 0x66],
    [513, 1, 0x44],
    [514, 2, 128], // MAXCMD
    [516, 4, 5], // NN
    [520, 2, 0x001d], // ONCS: compare, DSM, write zeroes, select
    [525, 1, 0x05], // VWC: there is one; no flush of all namespaces
    [536, 4, 0x00300001], // SGLS
    [540, 4, 2], // MNAN
    [1792, 4, (64 + 8192) / 16],
    [1796, 4, 1],
    [1803, 1, 1], // MSDBD
  ]);
  expected.set(new TextEncoder().encode(NQN), 768);
  assertEquals(host.identified(0x01), expected);
});

Deno.test("Identify Controller tells no volatile cache where no namespace has one", () => {
  assertEquals(new AdminTarget().host().identified(0x01)[525], 0x04);
});

Deno.test("Identify Controller of a discovery controller is this, byte for byte", () => {
  const host = new AdminTarget().discoveryHost();
  const expected = layout(4096, [
    [4, 20, "SN42"],
    [24, 40, "Test target"],
    [64, 8, VERSION],
    [77, 1, 8],
    [78, 2, host.controller.cntlid],
    [80, 4, 0x00020000],
    [92, 4, 0x80000000], // OAES: discovery log change
    [96, 4, 0x00000001],
    [111, 1, 2], // CNTRLTYPE
    [259, 1, 3],
    [261, 1, 0x04], // LPA: extended data
    [262, 1, 63],
    [320, 2, 1],
    [514, 2, 128],
    [536, 4, 0x00300001],
    [1803, 1, 1],
  ]);
  expected.set(new TextEncoder().encode("nqn.2014-08.org.nvmexpress.discovery"), 768);
  assertEquals(host.identified(0x01), expected);
  assertEquals(host.identify(0x02).status, 0x002 | DNR | MORE, "it has no namespaces");
});

Deno.test("Identify Namespace is this, byte for byte, in both block sizes", () => {
  const target = new AdminTarget(twoNamespaces());
  const host = target.host();
  const first = layout(4096, [
    [0, 8, 2048],
    [8, 8, 2048],
    [16, 8, 2048],
    [24, 1, 0x10], // NSFEAT: OPTPERF
    [30, 1, 1], // NMIC: shared
    [33, 1, 0x09], // DLFEAT
    [48, 8, 2048 * 512], // NVMCAP
    [64, 2, 7], // NPWG, NPWA, NPDG, NPDA: 4 KiB
    [66, 2, 7],
    [68, 2, 7],
    [70, 2, 7],
    [72, 2, 255], // NOWS: 128 KiB
    [92, 4, 1], // ANAGRPID
    [128 + 2, 1, 9],
  ]);
  first.set(namespaceOf().nguid, 104);
  assertEquals(host.identified(0x00, { nsid: 1 }), first);

  const second = layout(4096, [
    [0, 8, 2 ** 33 + 1],
    [8, 8, 2 ** 33 + 1],
    [16, 8, 2 ** 33 + 1],
    [24, 1, 0x10],
    [30, 1, 1],
    [33, 1, 0x09],
    [48, 8, (2 ** 33 + 1) * 4096],
    [72, 2, 31],
    [92, 4, 1],
    [99, 1, 1], // NSATTR: write protected
    [128 + 2, 1, 12],
  ]);
  second.set(namespaceOf({ index: 1 }).nguid, 104);
  assertEquals(host.identified(0x00, { nsid: 5 }), second);

  target.subsystem.resize(1, 4096);
  target.subsystem.setReadOnly(5, false);
  assertEquals(get(host.identified(0x00, { nsid: 1 }), 0, 8), 4096);
  assertEquals(host.identified(0x00, { nsid: 5 })[99], 0);
});

Deno.test("Identify Namespace of an NSID that is not active is zeroes, and of one that cannot be is refused", () => {
  const host = new AdminTarget(twoNamespaces()).host();
  const structures: [cns: number, cdw11: number][] = [[0x00, 0], [0x05, 0], [0x08, 0]];
  for (const [cns, cdw11] of structures) {
    assertEquals(host.identified(cns, { nsid: 3, cdw11 }), new Uint8Array(4096), `CNS ${cns}`);
    for (const nsid of [0, 6, 0xfffffffe]) {
      assertEquals(host.identify(cns, { nsid, cdw11 }).status, 0x00b | DNR | MORE, `CNS ${cns}, NSID ${nsid}`);
    }
  }
  assertEquals(host.identify(0x08, { nsid: 0xffffffff }).status, 0x00b | DNR | MORE);
});

Deno.test("Identify Namespace of all namespaces tells what they have in common", () => {
  const mixed = new AdminTarget(twoNamespaces()).host();
  assertEquals(mixed.identified(0x00, { nsid: 0xffffffff }), new Uint8Array(4096));
  const alike = new AdminTarget().host().identified(0x00, { nsid: 0xffffffff });
  assertEquals([get(alike, 0, 8), alike[24], alike[25], alike[33], alike[130]], [0, 0x10, 0, 0x09, 9]);
});

Deno.test("Identify tells the namespace of no command set in particular: sharing, group, cache, ready", () => {
  const host = new AdminTarget(twoNamespaces()).host();
  assertEquals(host.identified(0x08, { nsid: 1 }), layout(4096, [[1, 1, 1], [4, 4, 1], [14, 1, 1]]));
  const second = layout(4096, [[0, 1, 0x20], [1, 1, 1], [4, 4, 1], [8, 1, 1], [14, 1, 1]]);
  assertEquals(host.identified(0x08, { nsid: 5 }), second);
});

Deno.test("Identify gives namespace descriptors: NGUID, UUID, command set", () => {
  const host = new AdminTarget(twoNamespaces()).host();
  const expected = layout(4096, [[0, 2, 0x1002], [20, 2, 0x1003], [40, 2, 0x0104]]);
  expected.set(namespaceOf().nguid, 4);
  expected.set(namespaceOf().uuid, 24);
  assertEquals(host.identified(0x03, { nsid: 1 }), expected);
  assertEquals(host.identify(0x03, { nsid: 2 }).status, 0x00b | DNR | MORE);

  const plain = new AdminTarget({ description: { namespaces: [namespaceOf({ nguid: new Uint8Array(16) })] } }).host();
  const data = plain.identified(0x03, { nsid: 1 });
  assertEquals([...data.subarray(0, 4)], [3, 16, 0, 0]);
  assertEquals([...data.subarray(20, 25)], [4, 1, 0, 0, 0]);
});

Deno.test("Identify lists active namespaces above an NSID, for the NVM command set too", () => {
  const host = new AdminTarget(twoNamespaces()).host();
  assertEquals(host.identified(0x02), layout(4096, [[0, 4, 1], [4, 4, 5]]));
  assertEquals(host.identified(0x02, { nsid: 1 }), layout(4096, [[0, 4, 5]]));
  assertEquals(host.identified(0x02, { nsid: 5 }), new Uint8Array(4096));
  assertEquals(host.identify(0x02, { nsid: 0xffffffff }).status, 0x00b | DNR | MORE);
  assertEquals(host.identify(0x02, { nsid: 0xfffffffe }).status, 0x00b | DNR | MORE);
  assertEquals(host.identified(0x07), layout(4096, [[0, 4, 1], [4, 4, 5]]));
});

Deno.test("Identify tells how much one Write Zeroes may zero, and no other command set", () => {
  const host = new AdminTarget().host();
  assertEquals(host.identified(0x05, { nsid: 1 }), new Uint8Array(4096));
  assertEquals(host.identified(0x06), layout(4096, [[1, 1, 13]])); // 32 MiB
  for (const cns of [0x05, 0x06, 0x07]) {
    assertEquals(host.identify(cns, { nsid: 1, cdw11: 2 << 24 }).status, 0x002 | DNR | MORE);
  }
  assertEquals(host.identified(0x1c, { cdw10: (0xffff << 16 | 0x1c) >>> 0 }), layout(4096, [[0, 8, 1]]));
});

Deno.test("Identify lists the I/O controllers from one on", () => {
  const target = new AdminTarget();
  const [first, second] = [target.host(), target.host()];
  target.discoveryHost();
  const [a, b] = [first.controller.cntlid, second.controller.cntlid];
  assertEquals(first.identified(0x13), layout(4096, [[0, 2, 2], [2, 2, a], [4, 2, b]]));
  assertEquals(first.identified(0x12, { nsid: 1 }), layout(4096, [[0, 2, 2], [2, 2, a], [4, 2, b]]));
  assertEquals(first.identified(0x13, { cdw10: (b << 16) | 0x13 }), layout(4096, [[0, 2, 1], [2, 2, b]]));
  assertEquals(first.identify(0x12, { nsid: 9 }).status, 0x00b | DNR | MORE);
});

Deno.test("Identify refuses other structures and another length", () => {
  const host = new AdminTarget().host({ hostnqn: HOST_NQN });
  for (const cns of [0x04, 0x10, 0x11, 0x14, 0xff]) {
    assertEquals(host.identify(cns, { nsid: 1 }).status, 0x002 | DNR | MORE, `CNS ${cns}`);
  }
  for (const sglBytes of [0, 4095, 8192]) {
    assertEquals(host.identify(0x01, { sglBytes }).status, 0x00f | DNR | MORE);
  }
});
