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

/** From the top down. Type-only imports count too. A file belongs to the longest folder that matches. */
export const LAYERS: Record<string, Layer> = {
  "main.ts": { imports: ["src/cli"] },
  "src/cli": {
    imports: [
      ...["src/demo", "src/serve", "src/host/daemon", "src/host/device", "src/rpc", "src/settings"],
      ...["src/nvme_target", "src/protocol", "src/base"],
    ],
    packages: true,
  },
  "src/demo": {
    imports: [
      ...["src/host/daemon", "src/host/driver", "src/rpc", "src/settings"],
      ...["src/block", "src/io", "src/base", "ffi"],
    ],
    packages: true,
  },
  "src/serve": {
    imports: [
      ...["src/rpc", "src/settings", "src/nvme_target"],
      ...["src/block", "src/io", "src/protocol", "src/base", "ffi"],
    ],
  },
  "src/host/daemon": {
    imports: [
      ...["src/host/driver", "src/host/device", "src/host/worker", "src/rpc", "src/settings"],
      ...["src/nvme_host", "src/io", "src/base", "ffi"],
    ],
    packages: true,
  },
  "src/host/driver": {
    imports: [
      ...["src/host/device", "src/host/worker", "src/control", "src/rpc", "src/settings", "src/multipath"],
      "src/nvme_host",
      ...["src/block", "src/io", "src/protocol", "src/base", "ffi"],
    ],
  },
  "src/host/device": {
    imports: [
      ...["src/host/worker", "src/rpc", "src/ublk", "src/loopdev"],
      ...["src/block", "src/io", "src/protocol", "src/base", "ffi"],
    ],
  },
  "src/host/worker": {
    imports: [
      ...["src/ublk", "src/loopdev", "src/multipath", "src/nvme_host"],
      ...["src/block", "src/io", "src/protocol", "src/base", "ffi"],
    ],
  },
  "src/control": { imports: ["src/nvme_host", "src/protocol", "src/base"], pure: true },
  "src/rpc": { imports: ["src/settings", "src/protocol", "src/base"] },
  "src/settings": { imports: ["src/multipath", "src/base"], pure: true },
  "src/ublk": { imports: ["src/block", "src/protocol", "src/base"], pure: true },
  "src/loopdev": { imports: ["src/block", "src/protocol", "src/base"], pure: true },
  "src/multipath": { imports: ["src/block", "src/nvme_host", "src/protocol", "src/base"], pure: true },
  "src/nvme_host": { imports: ["src/protocol", "src/base"], pure: true },
  "src/nvme_target": { imports: ["src/block", "src/protocol", "src/base"], pure: true },
  "src/block": { imports: ["src/base"] },
  "src/io": { imports: ["src/protocol", "src/base", "ffi"] },
  "src/protocol": { imports: [] },
  "src/base": { imports: [] },
  "ffi": { imports: [] },
};

const PACKAGE_FOLDERS = Object.keys(LAYERS).filter((folder) => LAYERS[folder]!.packages);

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
      : `${from} may not import packages ("${specifier}"): only ${PACKAGE_FOLDERS.join(", ")} may`;
  }
  const target = resolve(path, specifier);
  if (target === "deno.json") return undefined; // the version
  const to = layerOf(target);
  if (to === from || layer.imports.includes(to)) return undefined;
  const allowed = layer.imports.length === 0 ? "nothing outside itself" : layer.imports.join(", ");
  return `${from} may not import ${LAYERS[to] ? to : target}: it may import ${allowed}`;
}

/** The key of LAYERS with the longest folder that the file lies in; the file's own folder if there is none. */
function layerOf(path: string): string {
  const parts = path.split("/");
  for (let length = parts.length; length > 0; length--) {
    const folder = parts.slice(0, length).join("/");
    if (folder in LAYERS) return folder;
  }
  return parts.length === 1 ? path : parts.slice(0, -1).join("/");
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
  if (!LAYERS[layer]?.pure) return [];
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
