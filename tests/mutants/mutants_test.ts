/** Each mutant of `rows.ts` is noticed by the tests that are named beside it. Minutes: part of the long rings only. */
import { assertEquals } from "@std/assert";
import { MutantFolder, mutantName } from "../../scripts/mutants.ts";
import { MUTANTS } from "./rows.ts";

const folder = new MutantFolder();
globalThis.addEventListener("unload", () => folder[Symbol.dispose]());

Deno.test("the tests of all mutants pass on the code as it is", async () => {
  assertEquals(await folder.check([...new Set(MUTANTS.flatMap(({ tests }) => tests))]), null);
});

for (const mutant of MUTANTS) {
  Deno.test(`killed: ${mutantName(mutant)}`, async () => {
    assertEquals(await folder.try(mutant), "killed", mutant.tests.join(" "));
  });
}
