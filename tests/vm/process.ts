/** Processes that tests run to their end, umpath before all. */

const REPO = Deno.realPathSync(`${import.meta.dirname}/../..`);
const TIMEOUT_DEFAULT_MS = 60_000;

/** A process that has ended. */
export interface RunResult {
  code: number;
  stdout: string;
  stderr: string;
}

/** How to run a process. */
export interface RunOptions {
  /** It is killed after this time, and `run()` throws. Default: a minute. */
  timeoutMs?: number;
  env?: Record<string, string>;
  input?: string;
  /** Throw when the exit code is not 0. */
  check?: boolean;
}

/** Runs a program to its end. A process that it leaves behind must not keep its output open. */
export async function run(command: string, args: string[], options: RunOptions = {}): Promise<RunResult> {
  const { timeoutMs = TIMEOUT_DEFAULT_MS, env = {}, input, check = false } = options;
  const stdin = input === undefined ? "null" : "piped";
  const child = new Deno.Command(command, { args, env, stdin, stdout: "piped", stderr: "piped" }).spawn();
  const line = [command, ...args].join(" ");
  let timer: ReturnType<typeof setTimeout> | undefined;
  const late = new Promise<never>((_, reject) => {
    timer = setTimeout(() => {
      kill(child);
      reject(new Error(`Timed out after ${timeoutMs} ms: ${line}`));
    }, timeoutMs);
  });
  try {
    if (input !== undefined) await feed(child, input);
    const output = await Promise.race([child.output(), late]);
    const decoder = new TextDecoder();
    const stdout = decoder.decode(output.stdout);
    const stderr = decoder.decode(output.stderr);
    if (check && output.code !== 0) throw new Error(`Exit code ${output.code} from ${line}\n${stderr}${stdout}`);
    return { code: output.code, stdout, stderr };
  } finally {
    clearTimeout(timer);
  }
}

/** The binary under test. */
export function umpathBinary(): string {
  return Deno.env.get("UMPATH_BINARY") ?? `${REPO}/dist/umpath`;
}

/** The folder of the daemon's socket and state that `umpath()` uses. */
export function umpathRunDir(): string {
  return Deno.env.get("UMPATH_RUN_DIR") ?? "/run/umpath";
}

/** Runs `dist/umpath` with these arguments. */
export function umpath(...args: string[]): Promise<RunResult> {
  return run(umpathBinary(), args, { env: { UMPATH_RUN_DIR: umpathRunDir() } });
}

async function feed(child: Deno.ChildProcess, input: string): Promise<void> {
  const writer = child.stdin.getWriter();
  await writer.write(new TextEncoder().encode(input));
  await writer.close();
}

function kill(child: Deno.ChildProcess): void {
  try {
    child.kill("SIGKILL");
  } catch {
    // It has just ended.
  }
}
