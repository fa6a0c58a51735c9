/**
 * Shows the main job from end to end: `deno task demo [--kernel 6.12|7]`. Builds dist/umpath, boots the test machine and
 * takes the whole road in it (scripts/demo_road.ts). Exit code 0 only if every claim on the way was checked.
 */
import { parseArgs } from "@std/cli/parse-args";
import { findKernel } from "./vm_kernel.ts";

const REPO = new URL("..", import.meta.url).pathname.replace(/\/$/, "");
/** The road takes under a minute on two emulated processors. */
const ROAD_MS_MAX = 170_000;
/** A second signal within this time is the same one, which reached us on another way. */
const SIGNAL_ECHO_MS = 1000;
/** As scripts/vm has it. */
const EXIT_TIMEOUT = 124;

const SIGNALS: readonly Deno.Signal[] = ["SIGINT", "SIGTERM", "SIGHUP"];

/** The kernel series that the words ask for; ends the program if they are wrong. */
function parseKernel(args: string[]): string {
  const wrong = (why: string): never => {
    console.error(`demo: ${why}: use --kernel 6.12 or --kernel 7`);
    Deno.exit(2);
  };
  const parsed = parseArgs(args, {
    string: ["kernel"],
    default: { kernel: "6.12" },
    unknown: (word: string) => wrong(`Unknown argument "${word}"`),
  });
  const kernel = findKernel(parsed.kernel);
  if ("missing" in kernel) return wrong(`Cannot boot kernel "${parsed.kernel}": ${kernel.missing}`);
  return kernel.series;
}

/**
 * Runs Deno in a process group of its own and gives its exit code. A signal is passed on once, so that what runs in the
 * machine can clean up; a later one ends it at once.
 */
async function runDeno(args: string[]): Promise<number> {
  const options = { args, cwd: REPO, stdin: "null", stdout: "inherit", stderr: "inherit", detached: true } as const;
  const child = new Deno.Command(Deno.execPath(), options).spawn();
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

async function main(): Promise<number> {
  const kernel = parseKernel(Deno.args);
  const built = await runDeno(["task", "--quiet", "build"]);
  if (built !== 0) return built;
  console.log("Booting a virtual machine; nothing that happens in it stays on this host.\n");
  const machine = ["run", "--quiet", "-A", "scripts/vm.ts", "--quiet", "--kernel", kernel];
  const road = ["deno", "run", "--quiet", "-A", "--no-check", `${REPO}/scripts/demo_road.ts`];
  const code = await runDeno([...machine, "--timeout", String(ROAD_MS_MAX / 1000), "--", ...road]);
  if (code === EXIT_TIMEOUT) console.error(`demo: not done after ${ROAD_MS_MAX / 1000} s`);
  return code;
}

Deno.exit(await main());
