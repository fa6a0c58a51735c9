/**
 * Builds dist/umpath and runs `umpath demo`, here or in the test machine:
 * `deno task demo [--vm [--kernel 6.12|7]] [ARGS-OF-umpath-demo…]`. The exit code is the demo's.
 */
import { findKernel } from "./vm_kernel.ts";

const REPO = new URL("..", import.meta.url).pathname.replace(/\/$/, "");
const PROGRAM = `${REPO}/dist/umpath`;
const KERNEL = "6.12";
/** The demo takes a minute on two emulated processors. */
const VM_MS_MAX = 170_000;
/** A second signal within this time is the same one, which reached us on another way. */
const SIGNAL_ECHO_MS = 1000;
/** As scripts/vm has it. */
const EXIT_TIMEOUT = 124;

const SIGNALS: readonly Deno.Signal[] = ["SIGINT", "SIGTERM", "SIGHUP"];

/** Where the demo is to run, and its own words. */
interface Words {
  kernel: string | null;
  demo: string[];
}

/** Ends the program if the words are wrong. */
function parseWords(args: string[]): Words {
  const words: Words = { kernel: null, demo: [] };
  for (let i = 0; i < args.length; i++) {
    if (args[i] === "--vm") words.kernel ??= KERNEL;
    else if (args[i] === "--kernel") words.kernel = args[++i] ?? wrong("--kernel has no value");
    else words.demo.push(args[i]!);
  }
  if (words.kernel === null) return words;
  if (!args.includes("--vm")) return wrong("--kernel goes with --vm");
  const kernel = findKernel(words.kernel);
  if ("missing" in kernel) return wrong(`Cannot boot kernel "${words.kernel}": ${kernel.missing}`);
  return words;
}

function wrong(why: string): never {
  console.error(`demo: ${why}: use scripts/demo [--vm [--kernel 6.12|7]] [ARGS-OF-umpath-demo…]`);
  Deno.exit(2);
}

/**
 * Runs a program in a process group of its own and gives its exit code. A signal is passed on once, so that the demo can
 * take back what it made; a later one is passed on too.
 */
async function run(program: string, args: string[]): Promise<number> {
  const options = { args, cwd: REPO, stdin: "null", stdout: "inherit", stderr: "inherit", detached: true } as const;
  const child = new Deno.Command(program, options).spawn();
  let lastMs = -Infinity;
  const handlers = SIGNALS.map((signal) => {
    const handler = () => {
      if (performance.now() - lastMs < SIGNAL_ECHO_MS) return;
      lastMs = performance.now();
      child.kill(signal);
    };
    Deno.addSignalListener(signal, handler);
    return [signal, handler] as const;
  });
  try {
    return (await child.status).code;
  } finally {
    for (const [signal, handler] of handlers) Deno.removeSignalListener(signal, handler);
  }
}

async function runInMachine(kernel: string, demo: string[]): Promise<number> {
  console.log("Booting a virtual machine; nothing that happens in it stays on this host.\n");
  const machine = ["run", "--quiet", "-A", `${REPO}/scripts/vm.ts`, "--quiet", "--kernel", kernel];
  const code = await run(Deno.execPath(), [
    ...[...machine, "--timeout", String(VM_MS_MAX / 1000)],
    ...["--", PROGRAM, "demo", ...demo],
  ]);
  if (code === EXIT_TIMEOUT) console.error(`demo: not done after ${VM_MS_MAX / 1000} s`);
  return code;
}

async function main(): Promise<number> {
  const { kernel, demo } = parseWords(Deno.args);
  const built = await run(Deno.execPath(), ["task", "--quiet", "build"]);
  if (built !== 0) return built;
  return kernel === null ? await run(PROGRAM, ["demo", ...demo]) : await runInMachine(kernel, demo);
}

Deno.exit(await main());
