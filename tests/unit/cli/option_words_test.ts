import { assertEquals, assertStringIncludes, assertThrows } from "@std/assert";
import { UmpathError } from "../../../src/base/errors.ts";
import { nqnRemark, parseSubsystemNqn } from "../../../src/cli/nqn.ts";
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

/** Names that targets accept although they do not follow the format. */
const UNUSUAL_NQNS = [
  "nvmet-test",
  "nqn.2022-01.my_company:vol",
  "nqn.2019-09.com.example/vol1",
  "nqn.2014.08.org.nvmexpress:x",
  "5b2b3a10-6f3c-4c7b-9d3e-0a1b2c3d4e5f",
];

Deno.test("nqnRemark() says what is unusual about a name", () => {
  assertEquals(nqnRemark("nqn.2026-11.io.test:vol"), null);
  assertEquals(nqnRemark("nvmet-test"), '"nvmet-test" is not a standard NQN: it does not start with "nqn."');
  for (const nqn of UNUSUAL_NQNS) assertStringIncludes(nqnRemark(nqn) ?? "", "is not a standard NQN");
});

Deno.test("parseSubsystemNqn() takes every name that targets use, and refuses what is none", () => {
  for (const nqn of ["nqn.2026-11.io.test:vol", ...UNUSUAL_NQNS]) assertEquals(parseSubsystemNqn(nqn), nqn);
  for (const word of ["127.0.0.1", "127.0.0.1:4420", "[::1]:4420", "tcp://storage:4420"]) {
    assertStringIncludes(usageMessage(() => parseSubsystemNqn(word)), "it is an address");
  }
  assertStringIncludes(usageMessage(() => parseSubsystemNqn("a\nb")), "it has a control character");
  assertStringIncludes(usageMessage(() => parseSubsystemNqn("x".repeat(224))), "it is longer than 223 bytes");
  assertStringIncludes(usageMessage(() => parseSubsystemNqn("nqn.2014-08.org.nvmexpress.discovery")), "no volumes");
});
