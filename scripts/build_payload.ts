/** What a grafted binary starts: the boot script, the chunks, the assets, and the runtime's arguments and environment. */
import type { EmbeddedFile } from "./build_config.ts";
import { baseName, chunkName, type Chunks, type Program } from "./build_program.ts";
import { runTool } from "./build_tool.ts";

/** The runtime's own arguments: nothing is looked up in the file system or on the network. */
export const RUNTIME_ARGS = [
  "deno", // always this name: deno takes others, such as "node", for a wish to be that program
  "run",
  "--quiet",
  "--allow-all",
  "--no-config",
  "--no-lock",
  "--no-npm",
  "--no-remote",
  "--node-modules-dir=none",
  "--no-code-cache",
  "--ext=js",
];

/** Variables that the runtime gets: no cache folder, no update check, no "node" link to the program, no messages. */
export const RUNTIME_SETS = {
  DENO_DIR: "/dev/null/deno",
  DENO_NO_UPDATE_CHECK: "1",
  DENO_DISABLE_NODE_SHIM: "1",
  DENO_NO_PACKAGE_JSON: "1",
  DENO_LOG: "error,deno::cache=off",
};

/** The user's variables that would change what the runtime does; the program itself and its children see them. */
export const RUNTIME_UNSETS = ["DENO_*", "NODE_*", "OTEL_DENO*", "COMPLETE"];

/** The embedded files; the first is the main module. */
export async function payload(program: Program, chunks: Chunks): Promise<EmbeddedFile[]> {
  const encoder = new TextEncoder();
  const table: Record<string, [offset: number, size: number]> = {};
  const code: Uint8Array[] = [];
  let offset = 0;
  for (const [name, text] of chunks) {
    const bytes = encoder.encode(text);
    table[name] = [offset, bytes.length];
    offset += bytes.length;
    code.push(bytes);
  }
  const start = {
    chunks: table,
    entry: chunkName(program.main),
    sets: Object.keys(RUNTIME_SETS),
    unsets: RUNTIME_UNSETS,
  };
  const boot = Deno.readTextFileSync(new URL("./build_boot.js", import.meta.url));
  return [
    { name: "boot", bytes: encoder.encode(`${boot}\nbootMain(${JSON.stringify(start)});\n`) },
    { name: "code", bytes: concat(code, offset) },
    ...await Promise.all(program.assets.map((path) => readAsset(program.root, path))),
  ];
}

/** Reads an asset; a library goes in without its debugging information, which also names this machine's folders. */
async function readAsset(root: string, path: string): Promise<EmbeddedFile> {
  const name = baseName(path);
  if (!name.endsWith(".so")) return { name, bytes: Deno.readFileSync(`${root}/${path}`) };
  const stripped = Deno.makeTempFileSync({ prefix: "umpath-", suffix: ".so" });
  try {
    await runTool("strip", ["--strip-debug", "-o", stripped, `${root}/${path}`], {
      debianPackage: "binutils",
    });
    return { name, bytes: Deno.readFileSync(stripped) };
  } finally {
    Deno.removeSync(stripped);
  }
}

function concat(parts: Uint8Array[], length: number): Uint8Array {
  const all = new Uint8Array(length);
  let offset = 0;
  for (const part of parts) {
    all.set(part, offset);
    offset += part.length;
  }
  return all;
}
