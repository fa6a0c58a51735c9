/**
 * Checks that imports only go down the table of layers, that pure folders stay pure, and that nothing is written that
 * a packed program could not run: `deno run -A scripts/layers.ts`. Prints each offence as FILE:LINE with the rule.
 */
import { maskText } from "./layers_mask.ts";

/** What a folder may do. */
interface Layer {
  /** Folders it may import from, beside itself. */
  imports: string[];
  /** Neither runtime, clock, timer, chance nor waiting: those come as arguments. */
  pure?: boolean;
  /** May import packages (npm, "node:"). */
  packages?: boolean;
}

/** From the top down. Type-only imports count too. */
export const LAYERS: Record<string, Layer> = {
  "main.ts": { imports: ["src/cli"] },
  "src/cli": { imports: ["src/demo", "src/serve", "src/host", "src/target", "src/spec", "src/base"], packages: true },
  "src/demo": { imports: ["src/host", "src/block", "src/io", "src/spec", "src/base", "ffi"], packages: true },
  "src/serve": { imports: ["src/host", "src/target", "src/block", "src/io", "src/spec", "src/base", "ffi"] },
  "src/host": {
    imports: [
      ...["src/ublk", "src/loopdev", "src/multipath", "src/nvme", "src/target"],
      ...["src/block", "src/io", "src/spec", "src/base", "ffi"],
    ],
    packages: true,
  },
  "src/ublk": { imports: ["src/block", "src/spec", "src/base"], pure: true },
  "src/loopdev": { imports: ["src/block", "src/spec", "src/base"], pure: true },
  "src/multipath": { imports: ["src/block", "src/nvme", "src/spec", "src/base"], pure: true },
  "src/nvme": { imports: ["src/spec", "src/base"], pure: true },
  "src/target": { imports: ["src/block", "src/spec", "src/base"], pure: true },
  "src/block": { imports: ["src/base"] },
  "src/io": { imports: ["ffi", "src/spec", "src/base"] },
  "src/spec": { imports: ["src/base"] },
  "src/base": { imports: [] },
  "ffi": { imports: [] },
};

/** The one impure part of a pure folder: what serves the embedded target to a real network. */
const IMPURE_FILE = /^src\/target\/(?:.*_)?server\.ts$/;

/** Words that a pure file may not use, and where it gets the like instead. */
const IMPURE_WORDS: Array<[word: RegExp, instead: string]> = [
  [/\bDeno\s*\./g, "the caller does the input and output"],
  [/\b(?:setTimeout|setInterval)\b/g, "the caller owns the timers and passes the time"],
  [/\bDate\s*\.\s*now\b|\bnew\s+Date\b|\bperformance\s*\./g, "the time comes as an argument"],
  [/\bMath\s*\.\s*random\b/g, "random numbers come as an argument"],
  [/(?<![.\w$])(?:await|async)\b(?!\s*[:?=])/g, "it is stepped by handle…() and drained by poll…()"],
];

const STATIC_IMPORT = /(?<![.\w$])(?:import|export)\b[^;"'`()]*?\bfrom\s*["']|(?<![.\w$])import\s*["']/g;
const DYNAMIC_IMPORT = /(?<![.\w$])import\s*\(\s*/g;
const IMPORT_META = /\bimport\s*\.\s*meta\b/g;
const URL_OF_MODULE = /\bnew\s+URL\(\s*(["'])\s*\1\s*,\s*$/;

/** Something written against a rule. */
export interface Offence {
  path: string;
  line: number;
  /** The rule in words. */
  rule: string;
}

/** Checks the file at `path` (relative to the project, with "/") that contains `source`. */
export function checkSource(path: string, source: string): Offence[] {
  const masked = maskText(source);
  const found = [
    ...checkImports(path, source, masked),
    ...checkPurity(path, masked),
    ...checkImportMeta(path, masked),
  ];
  return found.map(({ at, rule }) => ({ path, line: source.slice(0, at).split("\n").length, rule }))
    .sort((a, b) => a.line - b.line);
}

/** An offence at an offset. */
interface Finding {
  at: number;
  rule: string;
}

function checkImports(path: string, source: string, masked: string): Finding[] {
  const found: Finding[] = [];
  const check = (at: number, specifierAt: number) => {
    const quote = source[specifierAt] ?? "";
    const specifier = source.slice(specifierAt + 1, source.indexOf(quote, specifierAt + 1));
    const rule = importRule(path, specifier);
    if (rule !== undefined) found.push({ at, rule });
  };
  for (const match of masked.matchAll(STATIC_IMPORT)) check(match.index, match.index + match[0].length - 1);
  for (const match of masked.matchAll(DYNAMIC_IMPORT)) {
    const specifierAt = match.index + match[0].length;
    if (/["']/.test(masked[specifierAt] ?? "")) check(match.index, specifierAt);
    else found.push({ at: match.index, rule: "import() takes a literal: the bundler cannot follow anything else" });
  }
  return found;
}

/** What is wrong with `path` importing `specifier`, or undefined. */
function importRule(path: string, specifier: string): string | undefined {
  const from = layerOf(path), layer = LAYERS[from];
  if (layer === undefined) return `${path} is in no layer; scripts/layers.ts has the table`;
  if (!/^\.{1,2}\//.test(specifier)) {
    return layer.packages
      ? undefined
      : `${from} may not import packages ("${specifier}"): only src/cli, src/demo and src/host may`;
  }
  const target = resolve(path, specifier);
  if (target === "deno.json") return undefined; // the version
  const to = layerOf(target);
  if (to === from || layer.imports.includes(to)) return undefined;
  const allowed = layer.imports.length === 0 ? "nothing outside itself" : layer.imports.join(", ");
  return `${from} may not import ${LAYERS[to] ? to : target}: it may import ${allowed}`;
}

/** The key of LAYERS that the file belongs to; its first folder if it belongs to none. */
function layerOf(path: string): string {
  const parts = path.split("/");
  return parts[0] === "src" ? parts.slice(0, 2).join("/") : parts[0] ?? "";
}

function resolve(path: string, specifier: string): string {
  const parts = path.split("/").slice(0, -1);
  for (const part of specifier.split("/")) {
    if (part === "..") parts.pop();
    else if (part !== ".") parts.push(part);
  }
  return parts.join("/");
}

function checkPurity(path: string, masked: string): Finding[] {
  const layer = layerOf(path);
  if (!LAYERS[layer]?.pure || IMPURE_FILE.test(path)) return [];
  return IMPURE_WORDS.flatMap(([word, instead]) =>
    [...masked.matchAll(word)].map((match) => ({
      at: match.index,
      rule: `${layer} is pure and may not use "${match[0].replace(/\s*\.$/, "")}": ${instead}`,
    }))
  );
}

function checkImportMeta(path: string, masked: string): Finding[] {
  return [...masked.matchAll(IMPORT_META)].flatMap((match) => {
    const after = masked.slice(match.index + match[0].length);
    if (/^\s*\.\s*url\b/.test(after) && URL_OF_MODULE.test(masked.slice(0, match.index))) return [];
    if (/^\s*\.\s*main\b/.test(after) && path === "main.ts") return [];
    const rule = 'import.meta is for `new URL("literal", import.meta.url)` and, in main.ts, import.meta.main: ' +
      "nothing else works in the packed program";
    return [{ at: match.index, rule }];
  });
}

/** Checks all code of the project in the folder `root`. */
export function checkTree(root: string): Offence[] {
  return findSources(root).flatMap((path) => checkSource(path, Deno.readTextFileSync(`${root}/${path}`)));
}

function findSources(root: string, folder = ""): string[] {
  const roots = ["main.ts", "src", "ffi"];
  return [...Deno.readDirSync(`${root}/${folder}`)].filter(({ name }) => folder !== "" || roots.includes(name))
    .sort((a, b) => a.name < b.name ? -1 : 1)
    .flatMap(({ name, isDirectory }) => {
      const path = folder === "" ? name : `${folder}/${name}`;
      return isDirectory ? findSources(root, path) : path.endsWith(".ts") ? [path] : [];
    });
}

if (import.meta.main) {
  const offences = checkTree(new URL("..", import.meta.url).pathname);
  for (const { path, line, rule } of offences) console.error(`${path}:${line}: ${rule}`);
  if (offences.length > 0) Deno.exit(1);
}
