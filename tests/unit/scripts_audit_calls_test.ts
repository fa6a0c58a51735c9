import { assertEquals } from "@std/assert";
import plugin, { MAY_BLOCK, WORDED_ELSEWHERE } from "../../scripts/audit_calls.ts";

/** The rules that refuse a body of a function in the file. */
function refusing(body: string, file = "src/host/some.ts"): string[] {
  const source = `export async function f(name: string) {\n${body}\n}\n`;
  return Deno.lint.runPlugin(plugin, file, source).map(({ id }) => id.replace("umpath-calls/", ""));
}

Deno.test("umpath-calls/blocking refuses calls that may wait on the main thread of the daemon", () => {
  const rows: [body: string, refused: number][] = [
    ["try { Deno.readTextFileSync(name); } catch { return; }", 1],
    ["try { Deno.openSync(name).writeSync(x); } catch { return; }", 2],
    ["const read = Deno.readFileSync;", 1],
    ["native().um_file_lock(1, 1, 1);", 1],
    ["file.truncateSync();", 1],
    ["await Deno.stat(name).catch(() => null);", 0],
    ["native().um_close(1);", 0],
    ["const writeSync = 1; f(writeSync);", 0],
  ];
  for (const [body, refused] of rows) {
    assertEquals(refusing(body), new Array(refused).fill("blocking"), body);
    assertEquals(refusing(body, "src/cli/some.ts").filter((rule) => rule === "blocking"), [], "commands may wait");
    assertEquals(refusing(body, "tests/unit/some_test.ts"), [], "so may tests");
  }
  assertEquals(refusing(rows[0]![0], "src/rpc/run_dir.ts"), []);
});

Deno.test("umpath-calls/worded refuses calls whose refusal by the host passes without words", () => {
  const bad = [
    "await Deno.mkdir(name);",
    "const text = (await Deno.readTextFile(name)).trim();",
    "try { name.trim(); } catch { await Deno.remove(name); }",
    "try { await Deno.remove(name); } finally { name.trim(); }",
    "for await (const { name } of Deno.readDir(name)) f(name);",
    "Deno.connect({ transport: 'unix', path: name });",
  ];
  for (const body of bad) assertEquals(refusing(body), ["worded"], body);
  const good = [
    "try { await Deno.mkdir(name); } catch (error) { throw hostError('Cannot x', error); }",
    "await hostCall('Cannot make x', () => Deno.mkdir(name));",
    "const info = await Deno.stat(name).catch(() => null);",
    "other.stat(name);",
  ];
  for (const body of good) assertEquals(refusing(body), [], body);
  assertEquals(refusing(bad[0]!, "tests/unit/some_test.ts"), []);
});

Deno.test("each file that the rules leave out is there, with a reason", () => {
  for (const [path, reason] of Object.entries({ ...MAY_BLOCK, ...WORDED_ELSEWHERE })) {
    Deno.statSync(new URL(`../../${path}`, import.meta.url));
    assertEquals(reason.length > 10, true, path);
  }
});
