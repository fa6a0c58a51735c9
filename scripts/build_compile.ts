/** The other way to one file: `deno compile`, where its runtime part (denort) can be had. */
import type { Program } from "./build_program.ts";
import { devCache, exists, runTool } from "./build_tool.ts";

/** Longer than the download of denort takes on a usable connection; a machine without a network must not hang. */
const COMPILE_MS_MAX = 90_000;
/** For how long a failed attempt is not repeated. */
const RETRY_MS = 24 * 60 * 60 * 1000;

/** Compiles the program into `output`. */
export async function compile(program: Program, output: string): Promise<void> {
  for (const name of ["package.json", "node_modules"]) {
    if (!exists(`${program.root}/${name}`)) continue;
    throw new Error(
      `Cannot compile: "${program.root}/${name}" is there and all of it would go into the program; remove it`,
    );
  }
  const included = [...program.workers, ...program.assets].flatMap((path) => ["--include", path]);
  await runTool(Deno.execPath(), [
    "compile",
    "--quiet",
    "--allow-all",
    "--no-check",
    ...included,
    "-o",
    output,
    program.main,
  ], {
    cwd: program.root,
    signal: AbortSignal.timeout(COMPILE_MS_MAX),
    hint: () =>
      "Without network access to Deno's releases, set DENORT_BIN to a denort executable or use --method=graft.",
  });
}

/** Compiles if denort can be had and says whether it did. */
export async function tryCompile(program: Program, output: string): Promise<boolean> {
  if (Deno.env.get("DENORT_BIN")) {
    await compile(program, output);
    return true;
  }
  const failure = `${devCache()}/stamps/no-denort-${Deno.version.deno}`;
  if (exists(failure) && Date.now() - (Deno.statSync(failure).mtime?.getTime() ?? 0) < RETRY_MS) return false;
  try {
    await compile(program, output);
    return true;
  } catch (error) {
    Deno.mkdirSync(`${devCache()}/stamps`, { recursive: true });
    Deno.writeTextFileSync(failure, `${error instanceof Error ? error.message : error}\n`);
    return false;
  }
}
