/** The tests that the tables of `tests/README.md` name are there. */
import { assertEquals } from "@std/assert";

const REPO = new URL("../..", import.meta.url).pathname;

/** A test that a table names: its file, and its name or the beginning of it. */
interface Named {
  file: string;
  name: string;
}

/** The tests that the rows of tables name, as `FILE: "NAME", "NAME"; FILE: "NAME"`. */
function namedTests(text: string): Named[] {
  return text.split("\n").filter((line) => line.startsWith("|")).flatMap((line) =>
    [...line.matchAll(/`?(tests\/[\w./-]+\.ts)`?((?:(?!`?tests\/)[^|])*)/g)].flatMap(([, file, rest]) => {
      const names = [...rest!.matchAll(/"((?:[^"\\]|\\.)+)"/g)].map(([, name]) => name!.replaceAll('\\"', '"'));
      return names.map((name) => ({ file: file!, name }));
    })
  );
}

/** True if a test's name in the source begins so; a `${…}` of the source may be any text. */
function hasTest(source: string, name: string): boolean {
  const literals = source.matchAll(/"((?:[^"\\\n]|\\.)*)"|`((?:[^`\\]|\\.)*)`|'((?:[^'\\\n]|\\.)*)'/g);
  const wanted = name.replace(/(\.\.\.|…)$/, "").trim();
  if (source.includes(`"${wanted}`)) return true;
  for (const [, ...groups] of literals) {
    const text = groups.find((group) => group !== undefined)!.replaceAll(/\\(["'`])/g, "$1");
    if (text.startsWith(wanted)) return true;
    const parts = text.split(/\$\{[^}]*\}/);
    if (parts.length > 1 && parts.join("").trim().length > 8 && isMadeOf(wanted, parts)) return true;
  }
  return false;
}

/** True if the name is the beginning of what these parts make with any text between them. */
function isMadeOf(name: string, parts: string[]): boolean {
  const [first, ...others] = parts as [string, ...string[]];
  if (!name.startsWith(first)) return false;
  let rest = name.slice(first.length);
  for (const part of others) {
    const at = rest.indexOf(part);
    // The name may end within this part, or within the text before it.
    if (at < 0) return Array.from(rest, (_, from) => rest.slice(from)).some((end) => part.startsWith(end));
    rest = part === "" ? "" : rest.slice(at + part.length);
  }
  return rest === "";
}

function missing(named: Named[], read: (file: string) => string | null): string[] {
  return named.filter(({ file, name }) => {
    const source = read(file);
    return source === null || !hasTest(source, name);
  }).map(({ file, name }) => `${file}: "${name}"`);
}

Deno.test("a table's names of tests are found in their files, and what is not there is told", () => {
  const rows = [
    "| number | what | test |",
    '| 1 | a | tests/a_test.ts: "one thing", "another"; `tests/b_test.ts`: "policy round-robin spreads" |',
    '| 2 | b | tests/a_test.ts: "one" and the rest of the file; tests/c_test.ts: "gone" |',
    '| 3 | c | none: "tests/a_test.ts" cannot see it |',
    'Not a row: tests/a_test.ts: "nowhere"',
  ].join("\n");
  const files: Record<string, string> = {
    "tests/a_test.ts": 'Deno.test("one thing is so", f);',
    "tests/b_test.ts": "Deno.test(`policy ${name} spreads its load`, f);",
  };
  assertEquals(namedTests(rows).length, 5);
  assertEquals(missing(namedTests(rows), (file) => files[file] ?? null), [
    'tests/a_test.ts: "another"',
    'tests/c_test.ts: "gone"',
  ]);
});

Deno.test("the tests that tests/README.md names are there", () => {
  const read = (file: string) => {
    try {
      return Deno.readTextFileSync(`${REPO}/${file}`);
    } catch {
      return null;
    }
  };
  assertEquals(missing(namedTests(Deno.readTextFileSync(`${REPO}/tests/README.md`)), read), []);
});
