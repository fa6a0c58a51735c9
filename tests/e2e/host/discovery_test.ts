import { assertEquals, assertMatch } from "@std/assert";
import type { UmpathError } from "../../../src/base/errors.ts";
import { pathOf } from "../../../src/cli/discovered_paths.ts";
import {
  type Asker,
  discoverFrom,
  type Discovery,
  namespacesAt,
  REFERRALS_MAX,
} from "../../../src/host/daemon/discovery.ts";
import { DISCOVERY_NQN } from "../../../src/settings/nqn.ts";
import { discoveryLogData, type EntryData } from "../../unit/nvme_host/discovery_log_data.ts";
import { type FakePortal, FakeTarget, NQN } from "./fake_target.ts";
import { eventually, failureOf, sessionOptions } from "./host_fixture.ts";

const ASKER: Asker = {
  hostNqn: "nqn.2014-08.org.nvmexpress:uuid:0f0e0d0c-0b0a-4908-8706-050403020100",
  hostId: new Uint8Array(16).fill(7),
  connectTimeoutMs: 2_000,
};
const ANY = { hostTraddr: null, hostIface: null };

function ask(portal: FakePortal, asker = ASKER): Promise<Discovery> {
  return discoverFrom(portal.spec, { asker, portalOf: (entry) => pathOf(entry, ANY) });
}

/** Makes a portal a discovery service. */
function serveLog(portal: FakePortal, entries: EntryData[]): void {
  portal.nqn = DISCOVERY_NQN;
  portal.discoveryLog = discoveryLogData(entries);
}

function portalIds({ services }: Discovery): number[][] {
  return services.map(({ entries }) => entries.map((entry) => entry.portId));
}

/** Registers a test that has a target; afterwards nothing may be connected to it. */
function testDiscovery(name: string, portals: number, body: (target: FakeTarget) => Promise<void>): void {
  Deno.test(name, async () => {
    await using target = FakeTarget.start({ portals });
    await body(target);
    await eventually("no connection is left", () => target.connections === 0);
  });
}

testDiscovery(
  "discoverFrom() follows referrals one level, each once, whatever flags they have",
  4,
  async (target) => {
    const [first, second, third, fourth] = target.portals;
    const to = (portal: FakePortal, more: EntryData = {}) => ({ subtype: 1, traddr: portal.address, ...more });
    const referrals = [to(second), to(first), to(second), to(third, { eflags: 1 })];
    serveLog(first, [{ portid: 1 }, ...referrals.map((entry) => ({ ...entry, portid: 9 }))]);
    serveLog(second, [{ portid: 2 }, to(fourth, { portid: 3 })]);
    serveLog(third, [{ portid: 4 }]);
    const discovery = await ask(first);
    assertEquals(portalIds(discovery), [[1, 9, 9, 9, 9], [2, 3], [4]]);
    assertEquals(discovery.services[1].portal, second.spec);
    assertEquals(discovery.failures, []);
    assertEquals(target.portals.map((portal) => portal.count("connect")), [1, 1, 1, 0]);
  },
);

testDiscovery(
  "discoverFrom() goes on without the referrals that lead nowhere, and says why they do",
  3,
  async (target) => {
    const [first, second, third] = target.portals;
    await second.stop();
    third.fault = { at: "icresp", how: "garbage" };
    const entries = [{ traddr: second.address }, { traddr: "not.an.address" }, { traddr: third.address }];
    serveLog(first, entries.map((entry) => ({ ...entry, subtype: 1 })));
    const { services, failures } = await ask(first);
    assertEquals(services.length, 1);
    assertEquals(failures.map((failure: UmpathError) => failure.code), ["refused", "unreachable", "unreachable"]);
    assertMatch(failures[1].message, /connection refused$/);
    assertMatch(failures[2].message, /not an NVMe\/TCP port/);
  },
);

testDiscovery("discoverFrom() follows a bounded number of referrals", 1, async (target) => {
  const [first] = target.portals;
  const network = first.address.split(".").slice(0, 3).join(".");
  serveLog(first, Array.from({ length: 20 }, (_, i) => ({ subtype: 1, traddr: `${network}.${100 + i}` })));
  const { failures } = await ask(first);
  const refused = failures.filter((failure) => /connection refused$/.test(failure.message));
  assertEquals(refused.length, REFERRALS_MAX);
  assertMatch(failures[0].message, /more than 16 referrals: 4 are left out$/);
});

testDiscovery("discoverFrom() fails in bounded time and in words if the service cannot be asked", 1, async (target) => {
  const [portal] = target.portals;
  const cases: [fault: () => void, code: string, words: RegExp][] = [
    [() => {}, "refused", /the target has no such subsystem on this port$/],
    [() => serveLog(portal, []), "refused", /this host is not allowed/],
    [() => portal.fault = { at: "identify controller", how: "stall" }, "unreachable", /does not answer within 0\.3 s$/],
    [() => portal.fault = { at: "connect", how: "close" }, "unreachable", /closed the connection$/],
  ];
  for (const [fault, code, words] of cases) {
    Object.assign(portal, { nqn: NQN, refusesHosts: code === "refused", fault: null });
    if (portal.discoveryLog !== null) portal.nqn = DISCOVERY_NQN;
    fault();
    const failure = await failureOf(ask(portal, { ...ASKER, connectTimeoutMs: 300 }));
    assertEquals(failure.code, code);
    assertMatch(failure.message, words);
    assertMatch(failure.message, new RegExp(`^Cannot connect to "${portal.words}": `));
  }
});

testDiscovery("namespacesAt() tells the active namespaces, and takes leave of the controller", 1, async (target) => {
  const [portal] = target.portals;
  portal.nsid = 5;
  assertEquals(await namespacesAt(portal.spec, { nqn: NQN, asker: ASKER }), [5]);
  assertEquals(portal.count("write CC"), 2);
  assertEquals(portal.ioQueues, 0);
  const { nqn } = sessionOptions(portal, { nqn: "nqn.2026-11.io.test:none" });
  assertEquals((await failureOf(namespacesAt(portal.spec, { nqn, asker: ASKER }))).code, "refused");
});
