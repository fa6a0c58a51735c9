/** The host's end of the comparisons in the virtual machine: one boot each, whose samples come back as JSON. */
import type { Series } from "./measure.ts";

const REPO = new URL("../..", import.meta.url).pathname.replace(/\/$/, "");
const TIMEOUT_S = 1500;

/** Which cases to run, how often, on which kernel. */
export interface VmOptions {
  /** The program in the machine: it takes `--reps N NAME…`, and its last line is the series. */
  guest: "vm_guest.ts" | "vm_null_guest.ts" | "vm_target_guest.ts" | "failover_guest.ts";
  names: string[];
  reps: number;
  kernel: string;
}

let machine: Deno.ChildProcess | null = null;

/** Boots the machine and measures there. */
export async function runVm(options: VmOptions): Promise<Series[]> {
  const program = [`${REPO}/scripts/deno`, "run", "-A", "--quiet", `${REPO}/tests/bench/${options.guest}`];
  const words = [...program, "--reps", String(options.reps), ...options.names];
  const how = ["--kernel", options.kernel, "--timeout", String(TIMEOUT_S), "--env", "UMPATH_SLOW=1"];
  const command = new Deno.Command(`${REPO}/scripts/vm`, {
    args: [...how, "--", ...words],
    cwd: REPO,
    stdin: "null",
    stdout: "piped",
    stderr: "inherit",
  });
  machine = command.spawn();
  const { code, stdout } = await machine.output();
  machine = null;
  const output = new TextDecoder().decode(stdout).trimEnd();
  if (code !== 0) throw new Error(`Exit code ${code} from ${options.guest} in the virtual machine: ${output}`);
  return JSON.parse(output.split("\n").pop() ?? "") as Series[];
}

/** Ends a machine that runs, and waits until it is off. */
export async function endVm(): Promise<void> {
  const child = machine;
  if (child === null) return;
  child.kill("SIGTERM");
  await child.status;
}
