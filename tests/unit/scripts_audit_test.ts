import { assertEquals } from "@std/assert";
import plugin from "../../scripts/audit.ts";

/** What the rules say of a body of a function in a shipped file. */
function told(body: string, file = "src/io/some.ts"): string[] {
  const source = `export async function f(name: string) {\n${body}\n}\n`;
  return Deno.lint.runPlugin(plugin, file, source).map(({ id, message }) => `${id}: ${message}`);
}

const LOST = ['umpath/owned: "x" stays open if what follows throws'];

Deno.test("umpath/owned finds what stays open when the next step throws", () => {
  for (
    const body of [
      "const x = Deno.openSync(name);\nname.trim();\nx.close();",
      "const x = await Deno.open(name);\nawait other();\nreturn x;",
      'const x = check(native().um_open(cString(name), 1), "Cannot open");\nname.trim();\nreturn x;',
      "const x = new Ring(8);\nconst y = new Wake();\nreturn [x, y];",
      "const x = native().um_open(cString(name), 1);\nif (x < 0) return null;\nreturn read(name);",
      "let x = Deno.makeTempDirSync();\ntry { use(x); } catch (error) { throw error; }\nDeno.removeSync(x);",
    ]
  ) assertEquals(told(body), LOST, body);
});

Deno.test("umpath/owned is content with what is closed, handed over or not open", () => {
  for (
    const body of [
      "using x = new Ring(8);\nx.submit();",
      "const x = Deno.openSync(name);\ntry { x.sync(); } finally { x.close(); }",
      "const x = Deno.openSync(name);\ntry { x.sync(); return x; } catch (error) { x.close(); throw error; }",
      "const x = native().um_open(cString(name), 1);\nif (x < 0) return null;\nthis.fds.push(x);\nother();",
      "const x = native().um_open(cString(name), 1);\nif (x >= 0) return x;\nthrow new Error(name);",
      "const x = native().um_map(8n, 0);\nif (x === null) throw new Error(name);\nreturn new Memory(x, 8);",
      "const x = Deno.openSync(name);\nconst size = 3;\nreturn new Lock(x, size);",
      "const x = Deno.openSync(name);\nthis.file = x;\nother();",
      "const x = Deno.openSync(name);\nusing made = new DisposableStack();\nmade.use(x);\nother();",
      "const x = name.trim();\nother();",
    ]
  ) assertEquals(told(body), [], body);
  assertEquals(told("const x = Deno.openSync(name);\nother();", "tests/unit/some_test.ts"), []);
});

Deno.test("umpath/owned finds what a constructor loses when its next step fails", () => {
  const body = (more: string) => `class Two { constructor() { this.ring = new Ring(8);\n${more} } }`;
  const lost = ['umpath/owned: "this.ring" stays open if "this.wake" cannot be made'];
  assertEquals(told(body("this.wake = new Wake();")), lost);
  assertEquals(told(body("this.count = new Map();")), []);
});

Deno.test("umpath/heeded-signal finds signals that nobody looks at, and controllers that nobody aborts", () => {
  const rows: [body: string, told: string[]][] = [
    ["const g = (signal: AbortSignal) => 1;", ["signal"]],
    ["function g(_signal: AbortSignal) {}", ["_signal"]],
    ["const g = (over: AbortSignal) => over.aborted;", []],
    ["const g = ({ signal }: { signal?: AbortSignal }) => 1;", ["signal"]],
    ["const g = ({ signal: over }: { signal?: AbortSignal }) => over;", []],
    ["const g = (signal: AbortSignal | undefined = undefined) => fetch(name, { signal });", []],
  ];
  for (const [body, names] of rows) {
    const words = names.map((name) => `"${name}" is given and not looked at: nothing is called off`);
    assertEquals(told(body), words.map((word) => `umpath/heeded-signal: ${word}`), body);
  }
  const made = "const over = new AbortController();\nstart(over.signal);";
  assertEquals(told(made), ['umpath/heeded-signal: "over" is never aborted']);
  assertEquals(told(`${made}\nover.abort();`), []);
});
