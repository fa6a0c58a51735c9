import { assertEquals, assertThrows } from "@std/assert";
import { type Mutant, MutantFolder, mutantName, mutate, type RunTests } from "../../scripts/mutants.ts";
import { MUTANTS } from "../mutants/rows.ts";

const SOURCE = "export const sum = (a: number, b: number) => a + b;\n";
const REPO = new URL("../..", import.meta.url).pathname;

function mutantOf(change: Partial<Mutant> = {}): Mutant {
  return { file: "src/sum.ts", before: "a + b", after: "a - b", tests: ["tests/sum_test.ts"], ...change };
}

/** What became of a mutant of a repository of one file, whose tests pass if `holds` of it. */
async function tried(holds: (text: string) => boolean, change: Partial<Mutant> = {}) {
  const repo = Deno.makeTempDirSync({ prefix: "umpath-mutants-test-" });
  const read = (folder: string) => Deno.readTextFileSync(`${folder}/src/sum.ts`);
  try {
    Deno.mkdirSync(`${repo}/src`);
    Deno.writeTextFileSync(`${repo}/src/sum.ts`, SOURCE);
    const asked: string[] = [];
    const runTests: RunTests = (path, tests) => {
      asked.push(...tests);
      return Promise.resolve({ success: holds(read(path)), output: "the output" });
    };
    using folder = new MutantFolder({ repo, copied: ["src"], runTests });
    const failure = await folder.check(["all"]);
    const outcome = await folder.try(mutantOf(change));
    assertEquals([read(folder.path), read(repo)], [SOURCE, SOURCE], "the change is taken back");
    return { failure, outcome, asked };
  } finally {
    Deno.removeSync(repo, { recursive: true });
  }
}

Deno.test("mutate() changes what stands in the text once, and finds other rows stale", () => {
  assertEquals(mutate("f(a + b);", mutantOf()), "f(a - b);");
  assertEquals(mutate("f(a + b);", mutantOf({ after: "" })), "f();");
  for (const text of ["f(a+b);", "a + b; a + b", ""]) assertEquals(mutate(text, mutantOf()), null, text);
  assertEquals(mutate("a + b", mutantOf({ after: "a + b" })), null);
});

Deno.test("MutantFolder tells mutants that are killed from survivors and stale rows, and takes each back", async () => {
  const holds = (text: string) => text.includes("a + b");
  const asked = ["all", "tests/sum_test.ts"];
  assertEquals(await tried(holds), { failure: null, outcome: "killed", asked });
  assertEquals(await tried(() => true), { failure: null, outcome: "survived", asked });
  assertEquals(await tried(holds, { before: "a * b" }), { failure: null, outcome: "stale row", asked: ["all"] });
  assertEquals((await tried(() => false)).failure, "the output");
});

Deno.test("MutantFolder says what it cannot copy", () => {
  assertThrows(() => new MutantFolder({ repo: "/nowhere", copied: ["src"] }), Error, "Cannot run cp");
});

Deno.test("rows of mutants name files that are there, each change once", () => {
  const missing = MUTANTS.flatMap(({ file, tests }) => [file, ...tests]).filter((path) => !isFile(`${REPO}/${path}`));
  assertEquals(missing, []);
  assertEquals(new Set(MUTANTS.map(mutantName)).size, MUTANTS.length);
  for (const { tests } of MUTANTS) assertEquals(tests.length > 0, true);
});

function isFile(path: string): boolean {
  try {
    return Deno.statSync(path).isFile;
  } catch {
    return false;
  }
}
