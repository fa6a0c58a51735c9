/** Tells whether a build would make the same file again. */
import { exists } from "./build_tool.ts";

/** What the last build made; lies beside the program. */
export interface Stamp {
  /** Digest of everything that went in. */
  inputs: string;
  /** How it was made. */
  method: string;
  /** Size of the program, to notice a damaged one. */
  bytes: number;
}

const FOLDERS = ["src", "ffi", "csrc", "scripts/build_lite"];
const FILES = ["main.ts", "deno.json", "deno.lock"];

/** A digest over the sources of `root`, this build's own scripts, the runtime and `words`. */
export async function digestInputs(root: string, words: string[]): Promise<string> {
  const scripts = [...Deno.readDirSync(new URL(".", import.meta.url))].map((entry) => entry.name).sort()
    .filter((name) => /^(build.*|lib)\.[jt]s$/.test(name)).map((name) => new URL(name, import.meta.url).pathname);
  const sources = [
    ...FILES.filter((name) => exists(`${root}/${name}`)),
    ...FOLDERS.flatMap((name) => walk(root, name)),
  ];
  const runtime = Deno.statSync(Deno.execPath());
  const parts = [...words, `${Deno.version.deno} ${runtime.size} ${runtime.mtime?.getTime()}`];
  for (const path of [...sources.map((name) => `${root}/${name}`), ...scripts]) {
    parts.push(path, await digest(Deno.readFileSync(path)));
  }
  return await digest(new TextEncoder().encode(parts.join("\n")));
}

/** The stamp of the program at `output`, or undefined if there is none or it is not of that file. */
export function readStamp(output: string): Stamp | undefined {
  try {
    const stamp: Stamp = JSON.parse(Deno.readTextFileSync(stampPath(output)));
    return Deno.statSync(output).size === stamp.bytes ? stamp : undefined;
  } catch {
    return undefined; // absent or damaged: build
  }
}

/** Remembers what the program at `output` was made of. */
export function writeStamp(output: string, stamp: Stamp): void {
  Deno.writeTextFileSync(stampPath(output), `${JSON.stringify(stamp)}\n`);
}

function stampPath(output: string): string {
  return `${output}.stamp`;
}

function walk(root: string, folder: string): string[] {
  if (!exists(`${root}/${folder}`)) return [];
  return [...Deno.readDirSync(`${root}/${folder}`)].sort((a, b) => a.name < b.name ? -1 : 1).flatMap((entry) => {
    const path = `${folder}/${entry.name}`;
    return entry.isDirectory ? walk(root, path) : entry.isFile ? [path] : [];
  });
}

async function digest(bytes: Uint8Array<ArrayBuffer>): Promise<string> {
  return new Uint8Array(await crypto.subtle.digest("SHA-256", bytes)).toHex();
}
