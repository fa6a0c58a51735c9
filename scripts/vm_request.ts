/** What one run of the test machine is asked for on the command line, and the job that follows from it. */
import { parseArgs } from "@std/cli/parse-args";
import { EXIT_MACHINE, VmError } from "./vm_error.ts";
import { devCache, findKernel, type VmKernel } from "./vm_kernel.ts";

const USAGE = `Usage: scripts/vm [options] -- COMMAND ARGS…
       scripts/vm [options] shell

Runs COMMAND as root in a virtual machine that sees this file system (writes there are forgotten).

  --kernel SERIES    6.12 (default) or 7
  --timeout SECONDS  end the run after this time with exit code 124 (default 600; shell: none)
  --env NAME=VALUE   set a variable (repeatable; UMPATH_* and NO_COLOR are passed on by themselves)
  --out FOLDER       mount this folder of the host writable at /out
  --dmesg FILE       save the kernel log of the machine here
  --quiet            no notes on stderr

Exit code: the command's; 124 when it took too long, 125 when the machine failed.
`;

const TIMEOUT_DEFAULT_S = 600;

/** One run's request. */
export interface VmRequest {
  kernel: VmKernel;
  command: string[];
  shell: boolean;
  timeoutS: number;
  env: Record<string, string>;
  out: string | undefined;
  dmesg: string | undefined;
  quiet: boolean;
}

/** Reads the command line. */
export function parseRequest(args: string[]): VmRequest {
  const parsed = parseArgs(args, {
    string: ["kernel", "timeout", "env", "out", "dmesg"],
    boolean: ["quiet", "help"],
    collect: ["env"],
    stopEarly: true,
    unknown: (arg: string) => {
      if (arg.startsWith("-")) throw new VmError(`Unknown option ${arg}\n\n${USAGE}`, 2);
    },
  });
  if (parsed.help) {
    console.log(USAGE.trimEnd());
    Deno.exit(0);
  }
  const command = parsed._.map(String);
  const shell = command.length === 1 && command[0] === "shell" && !args.includes("--");
  if (command.length === 0) throw new VmError(`No command given\n\n${USAGE}`, 2);
  const kernel = findKernel(parsed.kernel ?? "6.12");
  if ("missing" in kernel) {
    throw new VmError(`Cannot boot kernel ${parsed.kernel ?? "6.12"}: ${kernel.missing}`, EXIT_MACHINE);
  }
  const timeoutS = Number(parsed.timeout ?? (shell ? 0 : TIMEOUT_DEFAULT_S));
  if (!(timeoutS >= 0)) throw new VmError(`Invalid time limit "${parsed.timeout}": give seconds, 0 for none`, 2);
  const out = parsed.out === undefined ? undefined : Deno.realPathSync(parsed.out);
  return {
    kernel,
    command,
    shell,
    timeoutS,
    env: passedEnv(parsed.env),
    out,
    dmesg: parsed.dmesg,
    quiet: parsed.quiet,
  };
}

function passedEnv(assignments: string[]): Record<string, string> {
  const env: Record<string, string> = {};
  for (const [name, value] of Object.entries(Deno.env.toObject())) {
    const own = name.startsWith("UMPATH_") && !name.startsWith("UMPATH_VM_") && name !== "UMPATH_SETUP_LOCKED";
    if (own || name === "NO_COLOR" || name === "TERM") env[name] = value;
  }
  for (const assignment of assignments) {
    const [, name, value] = /^([A-Za-z_][A-Za-z0-9_]*)=([^]*)$/.exec(assignment) ?? [];
    if (name === undefined) throw new VmError(`Invalid --env "${assignment}": write NAME=VALUE`, 2);
    env[name] = value!;
  }
  return env;
}

function quote(word: string): string {
  return `'${word.replaceAll("'", `'\\''`)}'`;
}

/** The script that the machine's first process runs as the job. */
export function jobScript(request: VmRequest): string {
  const cache = devCache();
  const env: Record<string, string> = {
    HOME: "/root",
    LANG: "C.UTF-8",
    PATH: `${cache}/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin`,
    UMPATH_DEV_CACHE: cache,
    DENO_DIR: `${cache}/deno-dir`,
    DENO_NO_UPDATE_CHECK: "1",
    UMPATH_SLOW: "1",
    ...request.env,
  };
  const command = request.shell ? ["bash", "-l"] : request.command;
  return [
    "unset UMPATH_VM_REPO UMPATH_VM_CACHE UMPATH_VM_KERNEL UMPATH_VM_OUT",
    ...Object.entries(env).map(([name, value]) => `export ${name}=${quote(value)}`),
    ...(request.shell ? [`stty rows ${terminalRows()} columns ${terminalColumns()}`] : []),
    `cd ${quote(Deno.cwd())} || cd ${quote(repoFolder())}`,
    `exec ${command.map(quote).join(" ")}`,
    "",
  ].join("\n");
}

function terminalRows(): number {
  return Deno.stdin.isTerminal() ? Deno.consoleSize().rows || 24 : 24;
}

function terminalColumns(): number {
  return Deno.stdin.isTerminal() ? Deno.consoleSize().columns || 80 : 80;
}

/** The repository that this script belongs to. */
export function repoFolder(): string {
  return Deno.realPathSync(`${import.meta.dirname}/..`);
}
