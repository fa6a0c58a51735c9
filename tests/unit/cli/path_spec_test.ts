import { assertEquals, assertStringIncludes, assertThrows } from "@std/assert";
import { UmpathError } from "../../../src/base/errors.ts";
import { parsePathSpec } from "../../../src/cli/path_spec.ts";
import { pathWords } from "../../../src/rpc/path_words.ts";

Deno.test("parsePathSpec() reads every form, and pathWords() writes it back", () => {
  const good: [word: string, traddr: string, port: number, hostTraddr: string | null, hostIface: string | null][] = [
    ["127.0.0.1", "127.0.0.1", 4420, null, null],
    ["10.0.0.2:4421", "10.0.0.2", 4421, null, null],
    ["10.0.0.2:65535", "10.0.0.2", 65535, null, null],
    ["localhost:4421", "127.0.0.1", 4421, null, null],
    ["::1", "::1", 4420, null, null],
    ["[::1]", "::1", 4420, null, null],
    ["[::1]:1", "::1", 1, null, null],
    ["2001:DB8:0:0::1", "2001:db8::1", 4420, null, null],
    ["::ffff:10.0.0.1", "::ffff:a00:1", 4420, null, null],
    ["tcp://10.0.0.2", "10.0.0.2", 4420, null, null],
    ["tcp://10.0.0.2/", "10.0.0.2", 4420, null, null],
    ["tcp://10.0.0.2:5?host-traddr=10.0.0.1", "10.0.0.2", 5, "10.0.0.1", null],
    ["tcp://10.0.0.2?host-iface=eth0", "10.0.0.2", 4420, null, "eth0"],
    [
      "tcp://[2001:db8::1]:4420?host-traddr=[2001:db8::2]&host-iface=bond0.100",
      "2001:db8::1",
      4420,
      "2001:db8::2",
      "bond0.100",
    ],
    ["tcp://fe80::1?host-iface=eth0", "fe80::1", 4420, null, "eth0"],
    ["tcp://10.0.0.2?host-iface=fifteen-letters", "10.0.0.2", 4420, null, "fifteen-letters"],
  ];
  for (const [word, traddr, trsvcid, hostTraddr, hostIface] of good) {
    const spec = parsePathSpec(word);
    assertEquals(spec, { transport: "tcp", traddr, trsvcid, hostTraddr, hostIface }, word);
    assertEquals(parsePathSpec(pathWords(spec)), spec);
  }
});

Deno.test("parsePathSpec() names the bad path and what is wrong with it", () => {
  const bad: [word: string, why: string][] = [
    ["", "empty"],
    [":4420", "address is missing"],
    ["[]:4420", "not an IPv6 address"],
    ["[127.0.0.1]:4420", "not an IPv6 address"],
    ["[::1", "not an IPv6 address"],
    ["[::1]4420", "not an IPv6 address"],
    ["127.0.0.1:", "port"],
    ["127.0.0.1:0", "port"],
    ["127.0.0.1:65536", "port"],
    ["127.0.0.1:http", "port"],
    ["127.0.0.1:-1", "port"],
    ["127.0.0.1:4420:1", "not an IPv6 address"],
    ["127.0.0", "not an IPv4 address"],
    ["127.0.0.256", "not an IPv4 address"],
    ["127.0.0.01", "not an IPv4 address"],
    ["1.2.3.4.5", "not an IPv4 address"],
    ["0.0.0.0", "not the address of one host"],
    ["224.0.0.1", "not the address of one host"],
    ["255.255.255.255", "not the address of one host"],
    ["::", "not the address of one host"],
    ["ff02::1", "not the address of one host"],
    ["1::2::3", "not an IPv6 address"],
    ["12345::1", "not an IPv6 address"],
    ["fe80::1", "link-local address needs an interface"],
    ["fe80::1%eth0", "zone"],
    ["storage", "is a name"],
    ["storage.example.com:4420", "is a name"],
    ["10.0.0.2 ", "not an IPv4 or IPv6 address"],
    ["10.0.0.2/24", "not an IPv4 or IPv6 address"],
    ["rdma://10.0.0.2", 'transport "rdma"'],
    ["tcp:10.0.0.2", "port"],
    ["tcp://", "address is missing"],
    ["10.0.0.2?host-iface=eth0", "tcp:// form"],
    ["tcp://10.0.0.2?iface=eth0", '"iface"'],
    ["tcp://10.0.0.2?host-iface", "host-iface is empty"],
    ["tcp://10.0.0.2?host-iface=", "host-iface is empty"],
    ["tcp://10.0.0.2?host-iface=sixteen-letters-", "longer than 15 bytes"],
    ["tcp://10.0.0.2?host-iface=eth0/1", "name of an interface"],
    ["tcp://10.0.0.2?host-iface=..", "name of an interface"],
    ["tcp://10.0.0.2?host-iface=a\u0000b", "name of an interface"],
    ["tcp://10.0.0.2?host-iface=a&host-iface=b", "stands twice"],
    ["tcp://10.0.0.2?host-traddr=eth0", "is a name"],
    ["tcp://10.0.0.2?host-traddr=::1", "not of one address family"],
    ["tcp://user@10.0.0.2", "not an IPv4 or IPv6 address"],
  ];
  for (const [word, why] of bad) {
    const error = assertThrows(() => parsePathSpec(word), UmpathError, undefined, word);
    assertEquals(error.code, "usage");
    assertStringIncludes(error.message, `Cannot use path ${JSON.stringify(word)}`);
    assertStringIncludes(error.message, why);
    assertEquals(typeof error.hint, "string");
  }
});
