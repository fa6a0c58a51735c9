/** Links `new URL("literal", import.meta.url)` in the bundled code to the files and workers of the packed binary. */
import { baseName, chunkName, type Chunks, type Program, URL_NAME } from "./build_program.ts";

const REFERENCE = new RegExp(`new URL\\(\\s*"([^"]+)",\\s*${URL_NAME}\\s*\\)`, "g");

/**
 * Replaces each reference by UMPATH_ASSET("NAME"): a worker's chunk or a file's base name.
 *
 * Throws if a reference leads nowhere, if an asset or worker is never referred to, and if `import.meta.url` is used in
 * any other way: none of these would work once the program is one file.
 */
export function linkAssets(chunks: Chunks, program: Program): Chunks {
  const names = assetNames(program);
  const unused = new Set(names.keys());
  const linked: Chunks = new Map();
  for (const [chunk, text] of chunks) {
    const replaced = text.replace(REFERENCE, (_, reference: string) => {
      const path = findAsset([...names.keys()], reference);
      unused.delete(path);
      return `UMPATH_ASSET(${JSON.stringify(names.get(path))})`;
    });
    const stray = replaced.split("\n").find((line) => line.includes(URL_NAME));
    if (stray !== undefined) {
      throw new Error(
        `Cannot bundle ${chunk}: import.meta.url may only stand in \`new URL("literal", import.meta.url)\`, not in\n` +
          `  ${stray.trim().replaceAll(URL_NAME, "import.meta.url")}`,
      );
    }
    linked.set(chunk, replaced);
  }
  for (const path of unused) {
    throw new Error(`Cannot bundle "${path}": nothing refers to it as \`new URL("…", import.meta.url)\``);
  }
  return linked;
}

function assetNames(program: Program): Map<string, string> {
  const names = new Map(program.workers.map((path) => [path, chunkName(path)]));
  for (const path of program.assets) names.set(path, baseName(path));
  return names;
}

/** The one asset that the relative `reference` can mean: bundling has lost which module it was relative to. */
function findAsset(paths: string[], reference: string): string {
  const tail = reference.replace(/^(\.{1,2}\/)+/, "");
  const found = paths.filter((path) => path === tail || path.endsWith(`/${tail}`));
  if (found.length === 1 && found[0] !== undefined) return found[0];
  const why = found.length === 0
    ? "it is neither a worker nor an asset of scripts/build.ts"
    : `it may be ${found.join(" or ")}`;
  throw new Error(`Cannot bundle \`new URL("${reference}", import.meta.url)\`: ${why}`);
}
