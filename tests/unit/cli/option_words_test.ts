import { assertEquals, assertStringIncludes, assertThrows } from "@std/assert";
import { UmpathError } from "../../../src/base/errors.ts";
import { parseSubsystemNqn } from "../../../src/cli/nqn.ts";
import { oneOf, parseVolumeName, wholeNumber } from "../../../src/cli/option_words.ts";

function usageMessage(body: () => unknown): string {
  const error = assertThrows(body, UmpathError);
  assertEquals(error.code, "usage");
  return error.message;
}

Deno.test("wholeNumber() takes decimal and hexadecimal within the range", () => {
  const parse = wholeNumber("--nsid", { min: 1, max: 0xfffffffe });
  assertEquals([parse("1"), parse("0x10"), parse("4294967294")], [1, 16, 0xfffffffe]);
  for (const bad of ["", "0", "4294967295", "0xffffffff", "-1", "1.5", "1e3", "one", " 1", "99999999999999999999"]) {
    assertEquals(
      usageMessage(() => parse(bad)),
      `Cannot use ${JSON.stringify(bad)} for --nsid: it is not a number from 1 to 4294967294`,
    );
  }
});

Deno.test("oneOf() takes a choice and suggests a near one", () => {
  const parse = oneOf("--device", ["auto", "ublk", "none"]);
  assertEquals(parse("ublk"), "ublk");
  const error = assertThrows(() => parse("ubkl"), UmpathError, 'Cannot use "ubkl" for --device');
  assertEquals(error.hint, "Did you mean ublk?");
});

Deno.test("parseVolumeName() takes safe names only", () => {
  for (const good of ["a", "vol1-n1", "A.b_c-9", "0", "x".repeat(64)]) assertEquals(parseVolumeName(good), good);
  const bad = ["", "-a", ".a", "a b", "a/b", "../a", "ü", "a:b", "x".repeat(65), "ublkb0", "ublkc12", "loop3"];
  for (const word of bad) assertStringIncludes(usageMessage(() => parseVolumeName(word)), "--name");
});

Deno.test("parseSubsystemNqn() refuses malformed names and the discovery subsystem", () => {
  assertEquals(parseSubsystemNqn("nqn.2026-11.io.test:vol"), "nqn.2026-11.io.test:vol");
  assertStringIncludes(usageMessage(() => parseSubsystemNqn("vol")), 'Cannot use NQN "vol": it does not start');
  assertStringIncludes(usageMessage(() => parseSubsystemNqn("nqn.2014-08.org.nvmexpress.discovery")), "no volumes");
});
