/**
 * Measures umpath: `deno task bench [NAME…] [--reps N] [--json FILE] [--kernel 6.12|7] [--against FOLDER]`.
 *
 * A name is "native", "vm", or the beginning of a case's name; without one everything runs. With `--against` the native
 * cases of another checkout run in turns with those of this one. The table is printed, the samples go to the JSON file.
 */
import { parseArgs } from "@std/cli/parse-args";
import { type Series, table } from "./measure.ts";
import { runNative } from "./native.ts";
import { NATIVE_CASES } from "./native_cases.ts";
import { runVm, VM_CASES } from "./vm.ts";

/** The whole takes about ten minutes with these. */
const NATIVE_REPS_DEFAULT = 5;
const VM_REPS_DEFAULT = 3;
const JSON_DEFAULT = "build/bench.json";
const KERNEL_DEFAULT = "6.12";
const OPTIONS = ["reps", "json", "kernel", "against"] as const;

function usage(message: string): never {
  console.error(`bench: ${message}`);
  Deno.exit(2);
}

function readOptions() {
  const args = parseArgs(Deno.args, {
    string: [...OPTIONS],
    unknown: (arg: string) => arg.startsWith("-") ? usage(`Unknown option ${arg}`) : true,
  });
  const reps = args.reps === undefined ? undefined : Number(args.reps);
  if (reps !== undefined && (!Number.isInteger(reps) || reps < 1)) {
    usage(`--reps must be a whole number from 1 on, not "${args.reps}"`);
  }
  return { ...args, reps, words: args._.map(String) };
}

/** The cases of one group that the words name. */
function select(group: string, names: string[], words: string[]): string[] {
  if (words.length === 0 || words.includes(group)) return names;
  return names.filter((name) => words.some((word) => name.startsWith(word)));
}

function save(path: string, groups: Record<string, Series[]>): void {
  if (path === JSON_DEFAULT) Deno.mkdirSync("build", { recursive: true });
  Deno.writeTextFileSync(path, `${JSON.stringify(groups, null, 2)}\n`);
}

async function main(): Promise<void> {
  const options = readOptions();
  const { words, json = JSON_DEFAULT, kernel = KERNEL_DEFAULT, against } = options;
  const native = select("native", Object.keys(NATIVE_CASES), words);
  const vm = select("vm", Object.keys(VM_CASES), words);
  if (native.length + vm.length === 0) usage(`No case is named by ${words.join(" ")}`);
  const groups: Record<string, Series[]> = {};
  if (native.length > 0) {
    const reps = options.reps ?? NATIVE_REPS_DEFAULT;
    groups.native = await runNative({ names: native, reps, ...(against === undefined ? {} : { against }) });
    console.log(`Native, against the null target where there is a network (reno), ${reps} repetitions\n`);
    console.log(table(groups.native) + "\n");
  }
  if (vm.length > 0) {
    const reps = options.reps ?? VM_REPS_DEFAULT;
    groups.vm = await runVm({ names: vm, reps, kernel });
    console.log(`In the virtual machine, kernel ${kernel}, against the kernel's nvme-tcp, ${reps} repetitions\n`);
    console.log(table(groups.vm) + "\n");
  }
  save(json, groups);
}

await main();
