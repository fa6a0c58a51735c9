/**
 * Makes the import map of deno.json usable for esbuild, which knows neither import maps nor "npm:".
 *
 * The npm packages are laid out as a node_modules folder in the cache, never in the project, and an entry whose name
 * is not the package's own becomes an alias.
 */
import { devCache, exists, replaceFile, runTool } from "./build_tool.ts";

/** What esbuild needs to find the packages. */
export interface ModuleMap {
  /** The node_modules folder, if there are packages. */
  folder?: string;
  /** "--alias:…" arguments. */
  aliases: string[];
}

/** Stand-ins for the Node.js modules that Commander imports: the real ones take some 40 ms to load. */
export const LITE_FOLDER = new URL("./build_lite", import.meta.url).pathname;

/** Counts up when what is done to the folder after the packages are there changes. */
const LAYOUT_VERSION = 1;
const LITE_NAME = "umpath-lite";
const NPM_SPECIFIER = /^npm:\/?((?:@[^/@]+\/)?[^/@]+)(?:@[^/]*)?(\/.*)?$/;

/** Reads the imports of `root`/deno.json and fetches their packages; they come from DENO_DIR if it has them. */
export async function resolveModules(root: string): Promise<ModuleMap> {
  const imports: Record<string, string> = JSON.parse(Deno.readTextFileSync(`${root}/deno.json`)).imports ?? {};
  const entries = Object.entries(imports).filter(([name, target]) => {
    if (target.startsWith("npm:")) return true;
    throw new Error(`Cannot bundle the import map's "${name}" → "${target}": only "npm:…" is understood`);
  });
  if (entries.length === 0) return { aliases: [] };
  const aliases = entries.map(([name, target]) => alias(name, target)).filter((argument) => argument !== undefined);
  return { folder: await installModules(root, imports), aliases: [...aliases, `--alias:${LITE_NAME}=${LITE_FOLDER}`] };
}

/** The esbuild argument that maps `name` to its package, or undefined where the names are the same. */
export function alias(name: string, target: string): string | undefined {
  const match = NPM_SPECIFIER.exec(target);
  if (!match) throw new Error(`Cannot bundle the import map's "${name}": "${target}" is not an npm specifier`);
  const path = `${match[1]}${match[2] ?? ""}`;
  return path === name ? undefined : `--alias:${name.replace(/\/$/, "")}=${path.replace(/\/$/, "")}`;
}

async function installModules(root: string, imports: Record<string, string>): Promise<string> {
  const lock = exists(`${root}/deno.lock`) ? Deno.readTextFileSync(`${root}/deno.lock`) : undefined;
  const folder = `${devCache()}/bundle/${await shortHash(JSON.stringify(imports) + (lock ?? "") + LAYOUT_VERSION)}`;
  if (exists(folder)) return `${folder}/node_modules`;
  Deno.mkdirSync(`${devCache()}/bundle`, { recursive: true });
  await replaceFile(folder, async (part) => {
    Deno.mkdirSync(part);
    Deno.writeTextFileSync(`${part}/deno.json`, JSON.stringify({ imports, nodeModulesDir: "auto" }));
    if (lock !== undefined) Deno.writeTextFileSync(`${part}/deno.lock`, lock);
    await runTool(Deno.execPath(), ["install", "--quiet"], {
      cwd: part,
      hint: () => "Fetching the npm packages of deno.json needs the npm registry, or a DENO_DIR that has them.",
    });
    lightenCommander(`${part}/node_modules/commander/lib`);
  }).catch((error) => {
    if (!exists(folder)) throw error; // another build was faster
  });
  return `${folder}/node_modules`;
}

/** Turns Commander's imports of Node.js modules to the stand-ins; other code keeps the real ones. */
function lightenCommander(folder: string): void {
  if (!exists(folder)) return;
  for (const { name } of Deno.readDirSync(folder)) {
    const text = Deno.readTextFileSync(`${folder}/${name}`);
    const light = text.replace(/ from 'node:(\w+)';/g, ` from '${LITE_NAME}/$1';`);
    if (light === text) continue;
    Deno.removeSync(`${folder}/${name}`); // it may be a hard link into DENO_DIR
    Deno.writeTextFileSync(`${folder}/${name}`, light);
  }
}

async function shortHash(text: string): Promise<string> {
  const digest = await crypto.subtle.digest("SHA-256", new TextEncoder().encode(text));
  return new Uint8Array(digest).toHex().slice(0, 16);
}
