/**
 * Bundles the program into chunks of CommonJS for the graft (see build_boot.js for what runs them).
 *
 * The main module is split, so that what a command does not need is not even read: esbuild splits ES modules only,
 * and a second pass makes CommonJS of each chunk. A worker is one chunk of its own: on the data path a variable that
 * another chunk exports would be a getter call.
 */
import { linkAssets } from "./build_assets.ts";
import { LITE_FOLDER, type ModuleMap, resolveModules } from "./build_modules.ts";
import { chunkName, type Chunks, type Program, URL_NAME } from "./build_program.ts";
import { devCache, exists, runTool } from "./build_tool.ts";

const CONVERT_FLAGS = [
  "--target=esnext",
  "--charset=ascii",
  "--log-level=warning",
  "--log-override:empty-import-meta=error",
];
const BUNDLE_FLAGS = [
  ...CONVERT_FLAGS,
  "--bundle",
  "--platform=node",
  "--tsconfig-raw={}",
  `--define:import.meta.url=${URL_NAME}`,
];
const HINT = "main.ts and the workers must not await at the top level, and no module may read import.meta other than " +
  '`new URL("literal", import.meta.url)` and, in main.ts, import.meta.main.';

/** Returns all chunks of the program; an entry's has its base name with ".js". */
export async function bundle(program: Program): Promise<Chunks> {
  const modules = await resolveModules(program.root);
  const chunks = await bundleMain(program, modules);
  for (const worker of program.workers) {
    const name = chunkName(worker);
    if (chunks.has(name)) throw new Error(`Cannot bundle "${worker}": another part of the program is called ${name}`);
    chunks.set(name, await bundleWorker(program.root, worker, modules));
  }
  for (const [name, text] of chunks) chunks.set(name, hidePaths(text, program.root, modules));
  return linkAssets(chunks, program);
}

async function bundleMain(program: Program, modules: ModuleMap): Promise<Chunks> {
  const folder = Deno.makeTempDirSync({ prefix: "umpath-bundle-" });
  try {
    const split = ["--splitting", "--format=esm", `--outdir=${folder}/esm`, "--define:import.meta.main=true"];
    await esbuild(program.root, modules, [...BUNDLE_FLAGS, ...split, program.main]);
    const files = [...Deno.readDirSync(`${folder}/esm`)].map((entry) => `${folder}/esm/${entry.name}`);
    const convert = [...CONVERT_FLAGS, "--format=cjs", "--supported:dynamic-import=false"];
    await esbuild(program.root, { aliases: [] }, [...convert, `--outdir=${folder}/cjs`, ...files]);
    return renameChunks(readFolder(`${folder}/cjs`), chunkName(program.main));
  } finally {
    Deno.removeSync(folder, { recursive: true });
  }
}

async function bundleWorker(root: string, worker: string, modules: ModuleMap): Promise<string> {
  return await esbuild(root, modules, [...BUNDLE_FLAGS, "--format=cjs", "--define:import.meta.main=false", worker]);
}

async function esbuild(root: string, modules: ModuleMap, args: string[]): Promise<string> {
  return await runTool(findEsbuild(), [...modules.aliases, ...args], {
    cwd: root,
    env: modules.folder === undefined ? {} : { NODE_PATH: modules.folder },
    hint: (said) => /await|import\.meta/.test(said) ? HINT : undefined,
  });
}

function findEsbuild(): string {
  const path = `${devCache()}/bin/esbuild`;
  if (exists(path)) return path;
  throw new Error(`Cannot bundle: there is no esbuild at "${path}"\n  Run scripts/setup, which puts it there.`);
}

function readFolder(folder: string): Chunks {
  const names = [...Deno.readDirSync(folder)].map((entry) => entry.name).sort();
  return new Map(names.map((name) => [name, Deno.readTextFileSync(`${folder}/${name}`)]));
}

/**
 * Gives the chunks names without esbuild's hashes, which differ with the folder the build ran in. They are numbered in
 * the order in which the main chunk reaches them.
 */
export function renameChunks(chunks: Chunks, main: string): Chunks {
  const renamed: Chunks = new Map(), names = new Map([[main, main]]);
  const reference = new RegExp(`require\\("\\./(${[...chunks.keys()].map(escapeRegExp).join("|")})"\\)`, "g");
  for (const name of names.keys()) { // grows while it is walked
    const text = (chunks.get(name) ?? "").replace(reference, (_, other: string) => {
      if (!names.has(other)) names.set(other, freeName(other, [...names.values()]));
      return `require("./${names.get(other)}")`;
    });
    renamed.set(names.get(name) ?? name, text);
  }
  return renamed;
}

function freeName(name: string, taken: string[]): string {
  const stem = name.replace(/(-[A-Z0-9]{8})?\.js$/, "");
  let free = `${stem}.js`;
  for (let i = 2; taken.includes(free); i++) free = `${stem}_${i}.js`;
  return free;
}

function escapeRegExp(text: string): string {
  return text.replace(/[\\^$.*+?()[\]{}|]/g, "\\$&");
}

/** Takes this machine's folders out of the comments that name each module's file. */
function hidePaths(text: string, root: string, modules: ModuleMap): string {
  const folders: Array<[string, string]> = [[LITE_FOLDER, "scripts/build_lite"]];
  if (modules.folder !== undefined) folders.push([`${modules.folder}/.deno`, "npm"], [modules.folder, "npm"]);
  return folders.reduce((shown, [folder, name]) => shown.replaceAll(relativePath(root, folder), name), text);
}

function relativePath(from: string, to: string): string {
  const base = Deno.realPathSync(from).split("/"), target = Deno.realPathSync(to).split("/");
  let common = 0;
  while (common < base.length && base[common] === target[common]) common++;
  return [...base.slice(common).map(() => ".."), ...target.slice(common)].join("/");
}
