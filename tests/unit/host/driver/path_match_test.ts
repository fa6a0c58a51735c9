import { assertEquals, assertMatch, assertThrows } from "@std/assert";
import { UmpathError } from "../../../../src/base/errors.ts";
import type { PathName, PathSpec } from "../../../../src/rpc/host_api.ts";
import { findNamedPath } from "../../../../src/host/driver/path_match.ts";

function spec(traddr: string, more: Partial<PathSpec> = {}): PathSpec {
  return { transport: "tcp", traddr, trsvcid: 4420, hostTraddr: null, hostIface: null, ...more };
}

const PATHS = [
  { index: 0, spec: spec("192.0.2.1") },
  { index: 2, spec: spec("192.0.2.2", { hostIface: "eth1" }) },
  { index: 3, spec: spec("192.0.2.3", { hostIface: "eth1" }) },
  { index: 5, spec: spec("192.0.2.3", { hostIface: "eth2" }) },
  { index: 6, spec: spec("192.0.2.3", { trsvcid: 4421 }) },
];

Deno.test("findNamedPath() takes a number, a specification, and a portal that only one path leads to", () => {
  const cases: [name: PathName, index: number][] = [
    [{ id: 0 }, 0],
    [{ id: 5 }, 5],
    [spec("192.0.2.1"), 0],
    [spec("192.0.2.2"), 2],
    [spec("192.0.2.2", { hostIface: "eth1" }), 2],
    [spec("192.0.2.3", { hostIface: "eth2" }), 5],
    [spec("192.0.2.3", { trsvcid: 4421 }), 6],
  ];
  for (const [name, index] of cases) assertEquals(findNamedPath(PATHS, name, "vol").index, index);
});

Deno.test("findNamedPath() says that there is no such path, or more than one", () => {
  for (const name of [{ id: 1 }, spec("192.0.2.9"), spec("192.0.2.2", { hostIface: "eth9" })]) {
    assertEquals(assertThrows(() => findNamedPath(PATHS, name, "vol"), UmpathError).code, "not-found");
  }
  const failure = assertThrows(() => findNamedPath(PATHS, spec("192.0.2.3"), "vol"), UmpathError);
  assertEquals(failure.code, "usage");
  assertMatch(failure.hint!, /3 is tcp:.*eth1 and 5 is tcp:.*eth2$/);
});
