import { assertEquals } from "@std/assert";
import { checkSource, checkTree, LAYERS } from "../../scripts/layers.ts";
import { maskText } from "../../scripts/layers_mask.ts";

/** The lines that are refused, in a file whose lines are given. */
function refused(path: string, ...lines: string[]): number[] {
  return checkSource(path, lines.join("\n")).map((offence) => offence.line);
}

Deno.test("LAYERS has only folders that import further down", () => {
  const order = Object.keys(LAYERS);
  for (const [from, layer] of Object.entries(LAYERS)) {
    for (const to of layer.imports) {
      assertEquals([from, to, order.indexOf(to) > order.indexOf(from)], [from, to, true]);
    }
  }
});

Deno.test("checkSource() allows imports down and within a folder", () => {
  assertEquals(
    refused(
      "src/multipath/multipath_queue.ts",
      'import { Path } from "./path.ts";',
      'import type { Connection } from "../nvme_host/connection.ts";',
      'export * from "../base/assert.ts";',
      'import { type A, b as c } from "../block/device.ts";',
    ),
    [],
  );
  assertEquals(refused("main.ts", 'import { main } from "./src/cli/main.ts";', "if (import.meta.main) main();"), []);
  assertEquals(refused("src/cli/version.ts", 'import config from "../../deno.json" with { type: "json" };'), []);
});

Deno.test("checkSource() refuses imports up, across and out, in each form", () => {
  const lines = [
    'import { MultipathQueue } from "../multipath/volume.ts";',
    'import type { MultipathQueue } from "../multipath/volume.ts";',
    'export { MultipathQueue } from "../multipath/volume.ts";',
    "import {",
    "  MultipathQueue,",
    '} from "../multipath/volume.ts";',
    'import "../io/ring.ts";',
    'const later = () => import("../host/daemon/daemon.ts");',
    'type Ring = import("../io/ring.ts").Ring;',
    'import { pack } from "../../scripts/build.ts";',
  ];
  assertEquals(refused("src/nvme_host/connection.ts", ...lines), [1, 2, 3, 4, 7, 8, 9, 10]);
  assertEquals(refused("src/cli/list.ts", 'import { Ring } from "../io/ring.ts";'), [1]);
  assertEquals(refused("main.ts", 'import { daemon } from "./src/host/daemon/daemon.ts";'), [1]);
  assertEquals(refused("ffi/library.ts", 'import { assert } from "../src/base/assert.ts";'), [1]);
});

Deno.test("checkSource() takes the longest folder that matches for a file's layer", () => {
  assertEquals(refused("src/host/worker/a.ts", 'import "../driver/b.ts";', 'import "../daemon/b.ts";'), [1, 2]);
  assertEquals(refused("src/host/driver/a.ts", 'import "../worker/b.ts";'), []);
  assertEquals(refused("src/serve/a.ts", 'import "../host/daemon/b.ts";'), [1]);
});

Deno.test("checkSource() says the rule in words", () => {
  const [offence] = checkSource("src/nvme_host/a.ts", '\nimport { Ring } from "../io/ring.ts";');
  assertEquals(offence, {
    path: "src/nvme_host/a.ts",
    line: 2,
    rule: "src/nvme_host may not import src/io: it may import src/protocol, src/base",
  });
});

Deno.test("checkSource() refuses packages below the daemon and folders without a layer", () => {
  assertEquals(refused("src/host/daemon/spawn.ts", 'import { spawn } from "node:child_process";'), []);
  assertEquals(refused("src/io/socket.ts", 'import net from "node:net";'), [1]);
  assertEquals(refused("src/host/worker/a.ts", 'import net from "node:net";'), [1]);
  assertEquals(refused("src/host/a.ts", 'import "./b.ts";'), [1]);
  assertEquals(refused("src/other/a.ts", 'import "./b.ts";'), [1]);
});

Deno.test("checkSource() refuses import() of what only the run knows", () => {
  assertEquals(refused("src/cli/a.ts", "await import(name);", "await import(`./${name}.ts`);"), [1, 2]);
});

Deno.test("checkSource() refuses impure words in pure folders only", () => {
  const lines = [
    "Deno.readFileSync(path);",
    "setTimeout(f, 1); setInterval(f, 1);",
    "const now = Date.now();",
    "const date = new Date();",
    "const chance = Math.random();",
    "async function f() {",
    "  await g();",
    "}",
    "performance.now();",
  ];
  assertEquals(refused("src/nvme_host/a.ts", ...lines), [1, 2, 2, 3, 4, 5, 6, 7, 9]);
  assertEquals(refused("src/nvme_target/controller.ts", "Deno.listen({ port: 1 });"), [1]);
  assertEquals(refused("src/host/daemon/daemon.ts", ...lines), []);
});

Deno.test("checkSource() is not misled by comments, strings, templates and names", () => {
  const lines = [
    "// await Deno.exit() and setTimeout()",
    '/* import { Ring } from "../io/ring.ts";',
    "   Date.now() */",
    "const a = \"await Deno.exit()\", b = 'it\\'s new Date()';",
    "const c = `Math.random() ${a} performance.now()`;",
    "const d = /await \\/ Deno.exit()[/\"'`]/.test(a);",
    "const e = { async: true, name: \"import '../io/ring.ts'\" }; e.async;",
    "const asyncEvent = 1, awaited = asyncEvent / 2 / 1;",
    "class MyDeno { setTimeoutMs = 1; }",
  ];
  assertEquals(refused("src/nvme_host/a.ts", ...lines), []);
});

Deno.test("checkSource() sees code inside a template", () => {
  assertEquals(refused("src/nvme_host/a.ts", "const a = `", "${`${Math.random()}`}`;"), [2]);
});

Deno.test("checkSource() allows import.meta only where the packed program has it", () => {
  assertEquals(refused("src/host/driver/pool.ts", 'new Worker(new URL("./worker.ts", import.meta.url));'), []);
  assertEquals(
    refused(
      "src/host/driver/pool.ts",
      "const base = import.meta.url;",
      "new URL(name, import.meta.url);",
      "import.meta.dirname + name;",
      "if (import.meta.main) main();",
    ),
    [1, 2, 3, 4],
  );
});

Deno.test("maskText() keeps every offset and line", () => {
  const source = "a /* x\ny */ 'b\\'c' `d${e}f` = /g[/]h/ // i\nj";
  const masked = maskText(source);
  assertEquals(masked, "a     \n     '    ' ` ${e} ` = /     /     \nj");
  assertEquals(masked.length, source.length);
});

Deno.test("checkTree() finds nothing in this project", () => {
  assertEquals(checkTree(new URL("../..", import.meta.url).pathname), []);
});
