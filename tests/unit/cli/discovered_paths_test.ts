import { assertEquals, assertMatch, assertThrows } from "@std/assert";
import { UmpathError } from "../../../src/base/errors.ts";
import { serviceLines } from "../../../src/cli/discover.ts";
import { pathOf, pathsTo, subsystemsOf } from "../../../src/cli/discovered_paths.ts";
import { parseDiscoveryPortal } from "../../../src/cli/discovery_calls.ts";
import { pathWords } from "../../../src/rpc/path_words.ts";
import { parseDiscoveryEntry } from "../../../src/nvme_host/discovery.ts";
import { type EntryData, entryData } from "../nvme_host/discovery_log_data.ts";

const NQN = "nqn.2026-11.io.test:vol";
const OTHER = "nqn.2026-11.io.test:other";
const ANY = { hostTraddr: null, hostIface: null };

function entries(...all: EntryData[]) {
  return all.map((entry) => parseDiscoveryEntry(entryData(entry)));
}

function words(all: EntryData[], hostEnds = [ANY as { hostTraddr: string | null; hostIface: string | null }]) {
  const { paths, leftOut } = pathsTo(NQN, entries(...all), hostEnds);
  return { paths: paths.map(pathWords), leftOut };
}

Deno.test("pathsTo() gives every portal of the subsystem once, from every host end of its family", () => {
  const portals = [
    { traddr: "192.0.2.1" },
    { traddr: "2001:DB8::1", adrfam: 2, trsvcid: "4421" },
    { traddr: "192.0.2.1" },
    { traddr: "192.0.2.2", subnqn: OTHER },
    { traddr: "192.0.2.3", subtype: 1 },
  ];
  assertEquals(words(portals), { paths: ["192.0.2.1:4420", "[2001:db8::1]:4421"], leftOut: [] });
  const ends = [
    { hostTraddr: "192.0.2.9", hostIface: null },
    { hostTraddr: "2001:db8::9", hostIface: null },
    { hostTraddr: null, hostIface: "eth1" },
  ];
  assertEquals(words(portals, ends).paths, [
    "tcp://192.0.2.1:4420?host-traddr=192.0.2.9",
    "tcp://192.0.2.1:4420?host-iface=eth1",
    "tcp://[2001:db8::1]:4421?host-traddr=2001:db8::9",
    "tcp://[2001:db8::1]:4421?host-iface=eth1",
  ]);
});

Deno.test("pathsTo() leaves out what cannot be used, and says why once", () => {
  const cases: [EntryData, RegExp][] = [
    [{ trtype: 1 }, /of 192\.0\.2\.1:4420: its transport is rdma, not tcp$/],
    [{ treq: 1 }, /it requires TLS/],
    [{ sectype: 2, treq: 1 }, /it requires TLS/],
    [{ traddr: "storage.example" }, /"storage\.example" is not an IPv4 or IPv6 address$/],
    [{ traddr: "192.0.2.1?host-iface=x" }, /is not an IPv4 or IPv6 address$/],
    [{ traddr: "0.0.0.0" }, /"0\.0\.0\.0" is not the address of one host$/],
    [{ traddr: "" }, /"" is not an IPv4 or IPv6 address$/],
    [{ trsvcid: "" }, /"" is not a port$/],
    [{ trsvcid: "none" }, /"none" is not a port$/],
    [{ trsvcid: "0" }, /port "0" is not a number from 1 to 65535$/],
    [{ traddr: "fe80::1%eth9", adrfam: 2 }, /a link-local address needs an interface$/],
  ];
  for (const [entry, why] of cases) {
    const { paths, leftOut } = words([entry, entry]);
    assertEquals([paths.length, leftOut.length], [0, 1], JSON.stringify(entry));
    assertMatch(leftOut[0], why);
  }
});

Deno.test("pathsTo() takes an entry that offers TLS and does not require it", () => {
  for (const entry of [{ sectype: 2 }, { sectype: 2, treq: 2 }, { sectype: 1, treq: 0 }, { treq: 2 }]) {
    assertEquals(words([entry]), { paths: ["192.0.2.1:4420"], leftOut: [] }, JSON.stringify(entry));
  }
});

Deno.test("pathsTo() says whether an entry was left out because it requires TLS", () => {
  assertEquals(pathsTo(NQN, entries({ treq: 1 }), [ANY]).needsTls, true);
  assertEquals(pathsTo(NQN, entries({ traddr: "" }, { treq: 1, subnqn: OTHER }), [ANY]).needsTls, false);
});

Deno.test("pathOf() takes an address without the zone that the target sees, through the interface of this host", () => {
  const [entry] = entries({ traddr: "fe80::1%eth9", adrfam: 2 });
  assertEquals(
    pathWords(pathOf(entry, { hostTraddr: null, hostIface: "eth1" })),
    "tcp://[fe80::1]:4420?host-iface=eth1",
  );
  assertThrows(() => pathOf(entry, ANY), UmpathError);
});

Deno.test("subsystemsOf() names each subsystem once, and says which it leaves out", () => {
  const all = entries({ subnqn: OTHER }, {}, { subnqn: OTHER }, { subnqn: "nvmet-test" }, { subnqn: "x".repeat(224) }, {
    subtype: 3,
    subnqn: "nqn.x",
  });
  const leftOut: string[] = [];
  assertEquals(subsystemsOf(all, (message) => leftOut.push(message)), [OTHER, NQN, "nvmet-test"]);
  assertEquals(leftOut.length, 1);
  assertMatch(leftOut[0]!, /left out: its NQN .* is longer than 223 bytes$/);
});

Deno.test("parseDiscoveryPortal() has a port of its own", () => {
  const cases = [["192.0.2.1", "192.0.2.1:8009"], ["192.0.2.1:4420", "192.0.2.1:4420"], ["[::1]", "[::1]:8009"]];
  for (const [word, portal] of cases) assertEquals(pathWords(parseDiscoveryPortal(word)), portal);
  assertEquals(
    pathWords(parseDiscoveryPortal("tcp://192.0.2.1?host-iface=eth0")),
    "tcp://192.0.2.1:8009?host-iface=eth0",
  );
});

Deno.test("serviceLines() gives a service a line, and each entry one", () => {
  const lines = serviceLines({
    portal: parseDiscoveryPortal("192.0.2.1"),
    generation: 7,
    entries: entries({ subtype: 3, subnqn: "nqn.2014-08.org.nvmexpress.discovery", trsvcid: "8009", eflags: 3 }, {
      traddr: "2001:db8::1",
      adrfam: 2,
      portid: 12,
      sectype: 2,
      treq: 1,
    }),
  });
  assertEquals(lines, [
    "192.0.2.1:8009: 2 entries, generation 7",
    "  current-discovery  tcp  192.0.2.1:8009      port 1   no TLS   nqn.2014-08.org.nvmexpress.discovery  " +
    "same log at its other portals, persistent connections allowed",
    "  nvm                tcp  [2001:db8::1]:4420  port 12  tls-1.3  nqn.2026-11.io.test:vol               " +
    "TLS required",
  ]);
});
