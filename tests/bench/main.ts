/**
 * Measures umpath: `deno task bench [NAME…] [--reps N] [--json FILE] [--kernel 6.12|7] [--against FOLDER]
 * [--update]`, and `deno task bench [NAME…] --profile`.
 *
 * A name is that of a group ("native", "target", "daemon", "scale", "loop", "vm", "vm-null", "vm-target", "failover") or the
 * beginning of a case's name; without one everything runs. With `--against` the native cases of another checkout run in
 * turns with those of this one. The tables are printed, the samples go to the JSON file. `--update` accepts the medians as
 * the baseline of this machine, which later runs on it are compared with. `--profile` measures nothing: it profiles the
 * native cases.
 */
import { parseArgs } from "@std/cli/parse-args";
import { runTool } from "../../scripts/build_tool.ts";
import { endEnclosed } from "./enclosure.ts";
import { readBaseline, updateBaseline } from "./baseline.ts";
import { FAILOVER_CASES } from "./failover_cases.ts";
import { runLoop } from "./loop.ts";
import { cleanUpLoop } from "./loop_folder.ts";
import { runDaemonCases } from "./daemon.ts";
import { DAEMON_CASES } from "./daemon_cases.ts";
import { LOOP_CASES } from "./loop_cases.ts";
import { type Series, table } from "./measure.ts";
import { runNative } from "./native.ts";
import { NATIVE_CASES } from "./native_cases.ts";
import { profileNative } from "./profile.ts";
import { runScale } from "./scale.ts";
import { SCALE_CASES } from "./scale_cases.ts";
import { runTarget, TARGET_CASES } from "./target.ts";
import { endVm, runVm } from "./vm.ts";
import { VM_CASES, VM_NULL_CASES, VM_TARGET_CASES } from "./vm_cases.ts";

const JSON_DEFAULT = "build/bench.json";
const KERNEL_DEFAULT = "6.12";
const REPS_DEFAULT = 5;
const OPTIONS = ["reps", "json", "kernel", "against"] as const;
const REPO = new URL("../..", import.meta.url).pathname.replace(/\/$/, "");

/** What a group is told. */
interface GroupOptions {
  names: string[];
  reps: number;
  kernel: string;
  against: string | undefined;
}

/** Cases that are measured together and share a table. */
interface Group {
  name: string;
  cases: readonly string[];
  /** It runs `dist/umpath`, or the C library only. */
  needs: "build" | "lib";
  /** How often its cases run unless asked otherwise; {@linkcode REPS_DEFAULT} times without it. */
  reps?: number;
  title(options: GroupOptions): string;
  run(options: GroupOptions): Promise<Series[]>;
}

const GROUPS: readonly Group[] = [
  {
    name: "native",
    cases: Object.keys(NATIVE_CASES),
    needs: "lib",
    title: () => "Native, against the null target where there is a network (reno)",
    run: ({ names, reps, against }) => runNative({ names, reps, ...(against === undefined ? {} : { against }) }),
  },
  {
    name: "target",
    cases: Object.keys(TARGET_CASES),
    needs: "build",
    title: () => "Native, one worker of the host side against one of a target (reno)",
    run: runTarget,
  },
  {
    name: "daemon",
    cases: Object.keys(DAEMON_CASES),
    needs: "build",
    title: () => "A daemon with two workers, its volumes over two paths of `umpath serve` (reno)",
    run: runDaemonCases,
  },
  {
    name: "scale",
    cases: SCALE_CASES,
    needs: "build",
    reps: 1,
    title: () =>
      "Volumes of one `umpath serve` over four paths, attached with `--all`; CPU is the daemon's, for a volume",
    run: runScale,
  },
  {
    name: "loop",
    cases: Object.keys(LOOP_CASES),
    needs: "build",
    title: () => "Native, loop devices that user space serves over FUSE; CPU is of the processes that serve",
    run: runLoop,
  },
  {
    name: "vm",
    cases: Object.keys(VM_CASES),
    needs: "build",
    title: ({ kernel }) => `In the virtual machine, kernel ${kernel}, against the kernel's nvme-tcp`,
    run: ({ names, reps, kernel }) => runVm({ guest: "vm_guest.ts", names, reps, kernel }),
  },
  {
    name: "vm-null",
    cases: Object.keys(VM_NULL_CASES),
    needs: "lib",
    title: ({ kernel }) => `In the virtual machine, kernel ${kernel}, a ublk device on which nothing happens`,
    run: ({ names, reps, kernel }) => runVm({ guest: "vm_null_guest.ts", names, reps, kernel }),
  },
  {
    name: "vm-target",
    cases: Object.keys(VM_TARGET_CASES),
    needs: "build",
    title: ({ kernel }) => `In the virtual machine, kernel ${kernel}, the kernel's nvme-tcp on two targets`,
    run: ({ names, reps, kernel }) => runVm({ guest: "vm_target_guest.ts", names, reps, kernel }),
  },
  {
    name: "failover",
    cases: FAILOVER_CASES,
    needs: "build",
    reps: 3,
    title: ({ kernel }) =>
      `In the virtual machine, kernel ${kernel}, one of two paths in trouble: longest I/O, latencies`,
    run: ({ names, reps, kernel }) => runVm({ guest: "failover_guest.ts", names, reps, kernel }),
  },
];

function usage(message: string): never {
  console.error(`bench: ${message}`);
  Deno.exit(2);
}

function readOptions() {
  const args = parseArgs(Deno.args, {
    string: [...OPTIONS],
    boolean: ["update", "profile"],
    unknown: (arg: string) => arg.startsWith("-") ? usage(`Unknown option ${arg}`) : true,
  });
  const reps = args.reps === undefined ? undefined : Number(args.reps);
  if (reps !== undefined && (!Number.isInteger(reps) || reps < 1)) {
    usage(`--reps must be a whole number from 1 on, not "${args.reps}"`);
  }
  return { ...args, reps, words: args._.map(String) };
}

/** The cases of a group that the words name. */
function select({ name, cases }: Group, words: string[]): string[] {
  if (words.length === 0 || words.includes(name)) return [...cases];
  return cases.filter((one) => words.some((word) => !isGroup(word) && one.startsWith(word)));
}

function isGroup(word: string): boolean {
  return GROUPS.some(({ name }) => name === word);
}

function save(path: string, groups: Record<string, Series[]>): void {
  if (path === JSON_DEFAULT) Deno.mkdirSync("build", { recursive: true });
  Deno.writeTextFileSync(path, `${JSON.stringify(groups, null, 2)}\n`);
}

let isEnding = false;

/** Takes away what is being measured when a person or a script ends the measurement. */
function cleanUpOnSignals(): void {
  const codes = { SIGINT: 130, SIGTERM: 143, SIGHUP: 129 } as const;
  for (const [name, code] of Object.entries(codes)) {
    Deno.addSignalListener(name as keyof typeof codes, () => {
      if (isEnding) return;
      isEnding = true;
      void endAll().finally(() => Deno.exit(code));
    });
  }
}

async function endAll(): Promise<void> {
  await Promise.all([endEnclosed(), endVm()]);
  await cleanUpLoop();
}

async function main(): Promise<void> {
  const { words, json = JSON_DEFAULT, kernel = KERNEL_DEFAULT, against, reps, update, profile } = readOptions();
  const selected = GROUPS.filter(({ name }) => !profile || name === "native").map((group) => ({
    group,
    names: select(group, words),
  })).filter(({ names }) => names.length > 0);
  if (selected.length === 0) usage(`No ${profile ? "native case" : "case"} is named by ${words.join(" ")}`);
  cleanUpOnSignals();
  for (const task of new Set(selected.map(({ group }) => group.needs))) {
    if (task === "build" && Deno.env.get("UMPATH_BINARY") !== undefined) continue;
    await runTool(`${REPO}/scripts/deno`, ["task", "--quiet", task], { cwd: REPO });
  }
  if (profile) return await profileNative(selected[0]!.names);
  const results: Record<string, Series[]> = {};
  for (const { group, names } of selected) {
    const options = { names, reps: reps ?? group.reps ?? REPS_DEFAULT, kernel, against };
    const series = await group.run(options);
    console.log(`${group.title(options)}, ${options.reps} repetitions\n`);
    console.log(`${table(series, readBaseline())}\n`);
    if (update) updateBaseline(group.name, series);
    results[group.name] = series;
    save(json, results);
  }
}

try {
  await main();
} catch (error) {
  // What is measured fails when it is ended; the end is on its way.
  if (isEnding) await new Promise(() => {});
  console.error(`bench: ${error instanceof Error ? error.message : error}`);
  Deno.exit(1);
}
Deno.exit(0);
