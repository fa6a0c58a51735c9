/**
 * Compiles csrc/um_*.c into dist/lib/libumpath.so: `deno task lib [--asan] [--force]`.
 *
 * `--asan` makes dist/lib/libumpath-asan.so, which needs libasan preloaded into the runtime.
 * Nothing happens while the library is newer than every source and than this file.
 */
import { exists, replaceFile, runTool } from "./build_tool.ts";

/** Which library to make. */
export interface LibOptions {
  /** The project's folder. */
  root: string;
  /** With the address sanitizer. */
  asan?: boolean;
  /** Even if nothing changed. */
  force?: boolean;
}

const FLAGS = [
  "-std=c11",
  "-O2",
  "-g",
  "-fPIC",
  "-shared",
  "-pthread",
  "-fvisibility=hidden",
  "-fno-strict-aliasing",
  "-Wall",
  "-Wextra",
  "-Werror",
  "-Wl,-z,relro,-z,now,-z,noexecstack",
  "-Wl,--build-id=none",
];
const ASAN_FLAGS = ["-fsanitize=address,undefined", "-fno-omit-frame-pointer"];

/** Makes the library if it is out of date; returns its path, or undefined if there are no C sources. */
export async function buildLib(options: LibOptions): Promise<string | undefined> {
  const sources = cFiles(options.root).filter((name) => /^um_.*\.c$/.test(name));
  if (sources.length === 0) return undefined;
  const library = `${options.root}/dist/lib/libumpath${options.asan ? "-asan" : ""}.so`;
  if (!options.force && isCurrent(library, options.root)) return library;
  Deno.mkdirSync(`${options.root}/dist/lib`, { recursive: true });
  await replaceFile(library, (part) => compile(options, sources.map((name) => `csrc/${name}`), part));
  return library;
}

async function compile(options: LibOptions, sources: string[], output: string): Promise<void> {
  // The sanitizer's own symbols come from the preloaded libasan.
  const flags = [...FLAGS, ...(options.asan ? ASAN_FLAGS : ["-Wl,--no-undefined"])];
  // The sources are named relatively and the folder is mapped away: the same bytes from any clone.
  await runTool(
    Deno.env.get("CC") ?? "cc",
    [...flags, `-ffile-prefix-map=${options.root}=.`, "-o", output, ...sources],
    {
      cwd: options.root,
      debianPackage: "gcc",
    },
  );
}

function cFiles(root: string): string[] {
  if (!exists(`${root}/csrc`)) return [];
  return [...Deno.readDirSync(`${root}/csrc`)].map((entry) => entry.name).filter((name) => /^um.*\.[ch]$/.test(name))
    .sort();
}

function isCurrent(library: string, root: string): boolean {
  if (!exists(library)) return false;
  const made = modified(library);
  // The folder counts too: a source that was removed or renamed changes only it.
  const inputs = [`${root}/csrc`, ...cFiles(root).map((name) => `${root}/csrc/${name}`)];
  return inputs.concat(import.meta.filename ?? []).every((path) => modified(path) < made);
}

function modified(path: string): number {
  return Deno.statSync(path).mtime?.getTime() ?? Infinity;
}

if (import.meta.main) {
  const unknown = Deno.args.find((argument) => !["--asan", "--force"].includes(argument));
  if (unknown !== undefined) {
    console.error(`lib: Unknown argument "${unknown}"; use --asan or --force`);
    Deno.exit(2);
  }
  const root = new URL("..", import.meta.url).pathname.replace(/\/$/, "");
  const library = await buildLib({ root, asan: Deno.args.includes("--asan"), force: Deno.args.includes("--force") })
    .catch((error) => {
      console.error(`lib: ${error.message}`);
      Deno.exit(1);
    });
  if (library === undefined) console.error("lib: No csrc/um_*.c here; nothing to compile");
}
