/**
 * Makes dist/umpath, one file that runs by itself: `deno task build [--method=auto|compile|graft] [--force]`.
 *
 * `compile` is `deno compile` and needs denort; `graft` puts the program into a copy of the deno executable and needs
 * nothing but the C compiler. `auto` compiles where denort can be had and grafts elsewhere.
 */
import { bundle } from "./build_bundle.ts";
import { compile, tryCompile } from "./build_compile.ts";
import { graft } from "./build_graft.ts";
import { payload, RUNTIME_ARGS, RUNTIME_SETS, RUNTIME_UNSETS } from "./build_payload.ts";
import type { Program } from "./build_program.ts";
import { digestInputs, readStamp, writeStamp } from "./build_stamp.ts";
import { buildStub } from "./build_stub.ts";
import { exists, replaceFile } from "./build_tool.ts";
import { buildLib } from "./lib.ts";

/** How the one file is made. */
export type Method = "compile" | "graft";

/** A build to do. */
export interface BuildOptions {
  program: Program;
  output: string;
  method: Method | "auto";
}

/** Packs the program into `output`, replaced in one step, and returns how. */
export async function pack(options: BuildOptions): Promise<Method> {
  const { program, output } = options;
  let method: Method = "graft";
  await replaceFile(output, async (part) => {
    if (options.method === "compile") await compile(program, part);
    if (options.method === "compile" || (options.method === "auto" && await tryCompile(program, part))) {
      method = "compile";
    } else {
      await graftProgram(program, part);
    }
  });
  return method;
}

async function graftProgram(program: Program, output: string): Promise<void> {
  const stubSource = new URL("../csrc", import.meta.url).pathname;
  const [stub, files] = await Promise.all([
    buildStub(stubSource),
    bundle(program).then((chunks) => payload(program, chunks)),
  ]);
  const [args, sets, unsets] = [RUNTIME_ARGS, RUNTIME_SETS, RUNTIME_UNSETS];
  graft({ runtime: Deno.execPath(), stub, args, sets, unsets, files }, output);
}

/** Entry modules of the program's threads. */
const WORKERS = ["src/host/worker/worker.ts", "src/serve/target_worker.ts", "src/demo/file_load_worker.ts"];

/** What dist/umpath is made of. */
export async function findProgram(root: string): Promise<Program> {
  if (!exists(`${root}/main.ts`)) throw new Error(`Cannot build: there is no "${root}/main.ts"`);
  const library = await buildLib({ root });
  const workers = WORKERS.filter((path) => exists(`${root}/${path}`));
  return { root, main: "main.ts", workers, assets: library === undefined ? [] : ["dist/lib/libumpath.so"] };
}

function parseArguments(args: string[]): { method: Method | "auto"; force: boolean } {
  const options: { method: Method | "auto"; force: boolean } = { method: "auto", force: false };
  for (const argument of args) {
    const method = /^--method=(auto|compile|graft)$/.exec(argument)?.[1];
    if (method !== undefined) options.method = method as Method | "auto";
    else if (argument === "--force") options.force = true;
    else {throw new Error(
        `Unknown argument "${argument}"; use --method=auto, --method=compile, --method=graft or --force`,
      );}
  }
  return options;
}

/** Builds dist/umpath and returns the line to print. */
async function build(root: string, args: string[]): Promise<string> {
  const started = performance.now();
  const { method, force } = parseArguments(args);
  const output = `${root}/dist/umpath`;
  const program = await findProgram(root);
  const inputs = await digestInputs(root, [method, Deno.env.get("DENORT_BIN") ?? ""]);
  const last = readStamp(output);
  if (!force && last?.inputs === inputs) return `dist/umpath: up to date (${size(last.bytes)}, ${last.method})`;
  const used = await pack({ program, output, method });
  const bytes = Deno.statSync(output).size;
  writeStamp(output, { inputs, method: used, bytes });
  return `dist/umpath: ${size(bytes)}, ${used}, ${((performance.now() - started) / 1000).toFixed(1)} s`;
}

function size(bytes: number): string {
  return `${(bytes / 1e6).toFixed(1)} MB`;
}

if (import.meta.main) {
  const root = new URL("..", import.meta.url).pathname.replace(/\/$/, "");
  Deno.mkdirSync(`${root}/dist`, { recursive: true });
  try {
    console.log(await build(root, Deno.args));
  } catch (error) {
    console.error(`build: ${error instanceof Error ? error.message : error}`);
    Deno.exit(1);
  }
}
