/** The host's end of the comparison in the virtual machine: one boot, whose samples come back as lines of JSON. */
import type { Series } from "./measure.ts";
import { VM_CASES } from "./vm_cases.ts";

export { VM_CASES };

const REPO = new URL("../..", import.meta.url).pathname.replace(/\/$/, "");
const TIMEOUT_S = 1500;

/** Which cases to run, how often, on which kernel. */
export interface VmOptions {
  names: string[];
  reps: number;
  kernel: string;
}

/** Builds the program, boots the machine and measures there. */
export async function runVm(options: VmOptions): Promise<Series[]> {
  await mustSucceed([`${REPO}/scripts/deno`, "task", "--quiet", "build"]);
  const program = [`${REPO}/scripts/deno`, "run", "-A", "--quiet", `${REPO}/tests/bench/vm_guest.ts`];
  const words = [...program, "--reps", String(options.reps), ...options.names];
  const machine = [
    `${REPO}/scripts/vm`,
    "--kernel",
    options.kernel,
    "--timeout",
    String(TIMEOUT_S),
    "--env",
    "UMPATH_SLOW=1",
  ];
  const output = await mustSucceed([...machine, "--", ...words]);
  const last = output.trimEnd().split("\n").pop() ?? "";
  return JSON.parse(last) as Series[];
}

async function mustSucceed([command, ...args]: string[]): Promise<string> {
  const child = new Deno.Command(command!, { args, cwd: REPO, stdin: "null", stdout: "piped", stderr: "inherit" });
  const { code, stdout } = await child.output();
  if (code !== 0) throw new Error(`Exit code ${code} from ${command} ${args.join(" ")}`);
  return new TextDecoder().decode(stdout);
}
