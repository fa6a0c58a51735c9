import { assertEquals } from "@std/assert";
import type { Api, Method } from "../../../src/rpc/host_api.ts";
import { API_FIELDS } from "../../../src/rpc/host_api_fields.ts";

const PATH = { transport: "tcp", traddr: "192.0.2.1", trsvcid: 4420, hostTraddr: null, hostIface: null } as const;
const LINK_LOCAL = { ...PATH, traddr: "fe80::1" } as const;
const ATTACH: Api["attach"]["params"] = {
  nqn: "nqn.2026-11.io.test:vol",
  nsid: 1,
  name: null,
  paths: [PATH],
  device: "auto",
  queues: null,
  depth: null,
  readOnly: false,
  timeouts: {},
  hostNqn: "nqn.2026-11.io.test:host",
  hostId: "0f0e0d0c-0b0a-4908-8706-050403020100",
};
const SET: Api["set"]["params"] = { volume: "v", policy: null, preferredPath: null, weights: [], timeouts: {} };
const TIMES = {
  connectTimeoutMs: 1,
  keepAliveMs: null,
  ioTimeoutMs: null,
  noPathTimeoutMs: 0,
  fastIoFailTimeoutMs: null,
  ctrlLossTimeoutMs: 2 ** 31 - 1,
  reconnectDelayMs: 1,
  reconnectDelayMaxMs: 1,
  writeHoldMs: "auto",
} as const;

/** Parameters of every method that are right. */
const GOOD: { [M in Method]: Api[M]["params"][] } = {
  attach: [
    ATTACH,
    { ...ATTACH, name: "vol-1", policy: "weighted", failback: "manual", slowPath: "demote", hedgeReads: "p99.9" },
    {
      ...ATTACH,
      paths: new Array(16).fill(PATH),
      queues: 64,
      depth: 1024,
      readOnly: true,
      timeouts: TIMES,
      force: true,
    },
    { ...ATTACH, paths: [{ ...LINK_LOCAL, hostIface: "eth0" }], headerDigest: true, dataDigest: false },
  ],
  detach: [{ volumes: ["a", "/dev/loop0"], all: false, force: true }, { volumes: [], all: true, force: false }],
  set: [SET, {
    ...SET,
    policy: "round-robin",
    failback: "now",
    preferredPath: "none",
    weights: [{ path: { id: 0 }, weight: 1 }, { path: PATH, weight: 2 }],
    timeouts: { writeHoldMs: null },
  }],
  "path-add": [{ volume: "v", path: PATH }, { volume: "v", path: PATH, force: true }],
  "path-remove": [{ volume: "v", path: { id: 15 }, force: false }],
  "path-disable": [{ volume: "v", path: PATH, force: true }],
  "path-enable": [{ volume: "v", path: { id: 0 } }],
  rescan: [{ volumes: ["a"], all: false }, { volumes: [], all: true }],
  list: [{}],
  info: [{}],
};

Deno.test("API_FIELDS takes what commands send", () => {
  for (const [method, each] of Object.entries(GOOD)) {
    for (const params of each) assertEquals(API_FIELDS[method as Method](params), null, method);
  }
});

Deno.test("API_FIELDS names the field that is wrong", () => {
  const bad: [Method, params: unknown, at: string][] = [
    ["attach", {}, "nqn"],
    ["attach", { ...ATTACH, nqn: "" }, "nqn"],
    ["attach", { ...ATTACH, nqn: "v".repeat(224) }, "nqn"],
    ["attach", { ...ATTACH, nqn: "vol\n" }, "nqn"],
    ["attach", { ...ATTACH, nqn: "nqn.2014-08.org.nvmexpress.discovery" }, "nqn"],
    ...["1", 0, -1, 1.5, 2 ** 32, 2 ** 40, null, NaN].map((nsid) => ["attach", { ...ATTACH, nsid }, "nsid"] as never),
    ...["../../etc/x", "a/b", "..", "", "x".repeat(65), "loop0", 5].map((name) =>
      ["attach", { ...ATTACH, name }, "name"] as never
    ),
    ["attach", { ...ATTACH, paths: [] }, "paths"],
    ["attach", { ...ATTACH, paths: new Array(17).fill(PATH) }, "paths"],
    ["attach", { ...ATTACH, paths: [PATH, { traddr: 5 }] }, "paths[1].transport"],
    ["attach", { ...ATTACH, paths: [{ ...PATH, traddr: 5 }] }, "paths[0].traddr"],
    ["attach", { ...ATTACH, paths: [{ ...PATH, traddr: "0.0.0.0" }] }, "paths[0].traddr"],
    ["attach", { ...ATTACH, paths: [{ ...PATH, traddr: "2001:DB8::1" }] }, "paths[0].traddr"],
    ["attach", { ...ATTACH, paths: [{ ...PATH, trsvcid: 65536 }] }, "paths[0].trsvcid"],
    ["attach", { ...ATTACH, paths: [{ ...PATH, hostTraddr: "::1" }] }, "paths[0].hostTraddr"],
    ["attach", { ...ATTACH, paths: [{ ...PATH, hostIface: "a/b" }] }, "paths[0].hostIface"],
    ["attach", { ...ATTACH, paths: [LINK_LOCAL] }, "paths[0].hostIface"],
    ["attach", { ...ATTACH, device: "bogus" }, "device"],
    ["attach", { ...ATTACH, policy: "bogus" }, "policy"],
    ["attach", { ...ATTACH, failback: "now" }, "failback"],
    ["attach", { ...ATTACH, slowPath: 1 }, "slowPath"],
    ["attach", { ...ATTACH, hedgeReads: "p1" }, "hedgeReads"],
    ...[0, -1, 65, 1_000_000, "2"].map((queues) => ["attach", { ...ATTACH, queues }, "queues"] as never),
    ...[0, -5, 1025, 10 ** 9, "x"].map((depth) => ["attach", { ...ATTACH, depth }, "depth"] as never),
    ["attach", { ...ATTACH, readOnly: 1 }, "readOnly"],
    ["attach", { ...ATTACH, hostNqn: `nqn.2026-11.io.test:${"h".repeat(5000)}` }, "hostNqn"],
    ["attach", { ...ATTACH, hostId: "zzz" }, "hostId"],
    ["attach", { ...ATTACH, timeouts: null }, "timeouts"],
    ["attach", { ...ATTACH, timeouts: { connectTimeoutMs: "x" } }, "timeouts.connectTimeoutMs"],
    ["attach", { ...ATTACH, more: 1 }, "more"],
    ["attach", JSON.parse(`{"__proto__":1}`), '"__proto__"'],
    ...[-5, "abc", 2.5, 1e300, 2 ** 31].map((ioTimeoutMs) =>
      ["set", { ...SET, timeouts: { ioTimeoutMs } }, "timeouts.ioTimeoutMs"] as never
    ),
    ["set", { ...SET, timeouts: { reconnectDelayMs: 0 } }, "timeouts.reconnectDelayMs"],
    ["set", { ...SET, timeouts: { reconnectDelayMs: null } }, "timeouts.reconnectDelayMs"],
    ["set", { ...SET, timeouts: { keepAliveMs: "auto" } }, "timeouts.keepAliveMs"],
    ...[0, -1e9, "many", 1.5].map((weight) =>
      ["set", { ...SET, weights: [{ path: { id: 0 }, weight }] }, "weights[0].weight"] as never
    ),
    ["set", { ...SET, preferredPath: "first" }, "preferredPath"],
    ["set", { ...SET, preferredPath: { id: -1 } }, "preferredPath.id"],
    ["set", { ...SET, volume: {} }, "volume"],
    ["set", { ...SET, volume: "" }, "volume"],
    ["path-enable", { volume: {}, path: { id: 0 } }, "volume"],
    ["path-enable", { volume: "v", path: { id: 16 } }, "path.id"],
    ["path-remove", { volume: "v", path: { id: 0 } }, "force"],
    ["list", { all: true }, "all"],
  ];
  for (const [method, params, at] of bad) {
    assertEquals(API_FIELDS[method](params)?.at, at, `${method} ${JSON.stringify(params)}`);
  }
});
