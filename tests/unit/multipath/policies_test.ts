import { assertEquals } from "@std/assert";
import { makePolicies, POLICIES } from "../../../src/multipath/policies.ts";
import { POLICY_NAMES } from "../../../src/multipath/policy_names.ts";

Deno.test("POLICIES knows each policy by its name, and makes one for each queue", () => {
  assertEquals(Object.keys(POLICIES).sort(), [...POLICY_NAMES].sort());
  for (const [name, make] of Object.entries(POLICIES)) {
    assertEquals(make().name, name);
    assertEquals(make() === make(), false);
  }
});

Deno.test("makePolicies() has each at its number", () => {
  assertEquals(makePolicies().map(({ name }) => name), [...POLICY_NAMES]);
});
