/**
 * A small program of the product's shape (main.ts, a worker in src/host/, the library in dist/lib/ opened from ffi/)
 * whose commands tell what a packed program sees of its surroundings.
 */
import type { Program } from "../../scripts/build_program.ts";
import { runTool } from "../../scripts/build_tool.ts";

const FILES: Record<string, string> = {
  "deno.json": `{ "version": "1.2.3", "nodeModulesDir": "none" }`,

  "main.ts": `
import { run } from "./src/cli/run.ts";
if (import.meta.main) run(Deno.args);
`,

  "src/cli/run.ts": `
import config from "../../deno.json" with { type: "json" };

export async function run([command, ...rest]: string[]): Promise<void> {
  switch (command) {
    case "version": return console.log(config.version);
    case "args": return console.log(JSON.stringify(rest));
    case "exit": return Deno.exit(Number(rest[0]));
    case "throw": throw new Error("boom");
    case "lazy": return (await import("./lazy.ts")).lazy();
    case "ffi": return (await import("../../ffi/library.ts")).print();
    case "worker": return (await import("../host/pool.ts")).runWorkers(Number(rest[0] ?? 1));
    case "stdin": {
      let bytes = 0;
      for await (const chunk of Deno.stdin.readable) bytes += chunk.length;
      return console.log(bytes);
    }
    case "signal":
      Deno.addSignalListener("SIGTERM", () => Deno.exit(7));
      setTimeout(() => {}, 60_000);
      return console.log(Deno.pid);
    case "spawn": {
      const { code, stdout } = await new Deno.Command(Deno.execPath(), { args: ["args", ...rest] }).output();
      return console.log(code, new TextDecoder().decode(stdout).trim());
    }
    case "node": {
      const { spawnSync } = await import("node:child_process");
      // It would translate the arguments, as node's for deno, if it knew the path again.
      const path = Deno.execPath().replace(/\\/([^/]*)$/, "/./$1");
      return console.log(spawnSync(path, ["args", ...rest], { encoding: "utf8" }).stdout.trim());
    }
    case "daemon": {
      new Deno.Command(Deno.execPath(), { args: ["stdin"], stdin: "null", stdout: "null", detached: true }).spawn().unref();
      return console.log("started");
    }
    case "env": return console.log(JSON.stringify(Deno.env.toObject()));
    case "self": return console.log(JSON.stringify({
      execPath: Deno.execPath(),
      comm: Deno.readTextFileSync("/proc/self/comm").trim(),
      cmdline: Deno.readTextFileSync("/proc/self/cmdline").split("\\0").slice(0, -1),
      hasNode: "process" in globalThis,
    }));
    case "fds": {
      for (const { name } of Deno.readDirSync("/proc/self/fd")) {
        try { console.log(name, Deno.readLinkSync("/proc/self/fd/" + name)); } catch { /* the folder's own */ }
      }
      return;
    }
    case "flags":
      return console.error(/^flags:\\s*(\\d+)$/m.exec(Deno.readTextFileSync("/proc/self/fdinfo/1"))?.[1]);
    default:
      console.error("unknown");
      Deno.exit(2);
  }
}
`,

  "src/cli/lazy.ts": `
/** Stays a class with its name and one instance over chunks. */
export class LazyThing { static made = 0; constructor() { LazyThing.made++; } }
export function lazy(): void {
  const thing = new LazyThing();
  console.log(thing.constructor.name, LazyThing.made);
}
`,

  "src/host/pool.ts": `
import { ambiguous } from "./ambiguous.ts";
export async function runWorkers(count: number): Promise<void> {
  const answers = Array.from({ length: count }, () => new Promise((resolve, reject) => {
    const worker = new Worker(new URL("./worker.ts", import.meta.url), { type: "module" });
    worker.onmessage = (event) => { resolve(event.data); worker.terminate(); };
    worker.onerror = (event) => reject(new Error(event.message));
    worker.postMessage(41);
  }));
  console.log(JSON.stringify([ambiguous(), ...await Promise.all(answers)]));
}
`,

  "src/host/worker.ts": `
import { openLibrary } from "../../ffi/library.ts";
import { ambiguous } from "./ambiguous.ts";
declare const self: { onmessage: (event: MessageEvent) => void; postMessage(message: unknown): void };
self.onmessage = async (event) => {
  const { late } = await import("./late.ts");
  self.postMessage([event.data, openLibrary().symbols.fixture_add(event.data, late), ambiguous()]);
};
`,

  "src/host/late.ts": `export const late = 1;`,

  // Read as TypeScript, the last line is a call of a(…) with type arguments.
  "src/host/ambiguous.ts": `
function count(...items: unknown[]): number { return items.length; }
export function ambiguous(a = 1, b = 2, c = 3, d = 4): number {
  // deno-fmt-ignore
  return count((a < b), (c > (d)));
}
`,

  "ffi/library.ts": `
export function openLibrary() {
  return Deno.dlopen(new URL("../dist/lib/libfixture.so", import.meta.url), {
    fixture_add: { parameters: ["i32", "i32"], result: "i32" },
    fixture_sum: { parameters: ["buffer", "usize"], result: "u64" },
  });
}
export function print(): void {
  const { symbols } = openLibrary();
  console.log(symbols.fixture_add(40, 2), String(symbols.fixture_sum(new Uint8Array([1, 2, 3]), 3n)));
}
`,

  "csrc/fixture.c": `
#include <stddef.h>
#include <stdint.h>
int32_t fixture_add(int32_t a, int32_t b) { return a + b; }
uint64_t fixture_sum(const uint8_t *bytes, size_t size)
{
	uint64_t sum = 0;
	for (size_t i = 0; i < size; i++)
		sum += bytes[i];
	return sum;
}
`,
};

/** Writes the program into `root`, compiles its library, and returns what there is to pack. */
export async function writeFixture(root: string): Promise<Program> {
  for (const [path, text] of Object.entries(FILES)) {
    Deno.mkdirSync(`${root}/${path}`.replace(/\/[^/]*$/, ""), { recursive: true });
    Deno.writeTextFileSync(`${root}/${path}`, text.trimStart());
  }
  Deno.mkdirSync(`${root}/dist/lib`, { recursive: true });
  const output = `${root}/dist/lib/libfixture.so`;
  await runTool("cc", ["-shared", "-fPIC", "-O1", "-Wl,--build-id=none", "-o", output, `${root}/csrc/fixture.c`]);
  return { root, main: "main.ts", workers: ["src/host/worker.ts"], assets: ["dist/lib/libfixture.so"] };
}
