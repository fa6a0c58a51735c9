/** One ring of tests: what it needs first, what it runs and where. */
import { parseBroken, parseSkipped, parseSummary, type TestCounts } from "./test_summary.ts";
import { findKernel } from "./vm_kernel.ts";

/** A ring as scripts/test.ts lists it. */
export interface Ring {
  /** Selected by this name, or by the part before a "-". */
  name: string;
  /** The task of deno.json that it needs first. */
  needs: string;
  /** Folder with its tests. */
  folder: string;
  /** Which files of the folder. */
  files: RegExp;
  /** Kernel series when it runs in the test machine. */
  kernel?: string;
  timeoutS: number;
  /** Set for its tests. */
  env?: Record<string, string>;
  /** Only run if it is named, or if long rings are asked for. */
  isLong?: boolean;
}

/** What became of a ring. */
export interface RingResult {
  name: string;
  counts: TestCounts;
  seconds: number;
  /** Skipped tests with their reason, and what went wrong around the tests. */
  remarks: string[];
}

const REPO = Deno.realPathSync(`${import.meta.dirname}/..`);

/** A signal has ended the run. */
export class InterruptedError extends Error {
  readonly signal: Deno.Signal;
  constructor(signal: Deno.Signal) {
    super(`Ended by ${signal}`);
    this.signal = signal;
  }
}

/** Runs tasks once each. */
export class Tasks {
  readonly #done = new Map<string, Promise<boolean>>();

  /** True when the task succeeded, now or before. */
  run(task: string): Promise<boolean> {
    const known = this.#done.get(task);
    if (known) return known;
    const running = runChild(["task", "--quiet", task], 600).then(({ code }) => code === 0);
    this.#done.set(task, running);
    return running;
  }
}

/** Runs a ring; `testArgs` go to `deno test`. */
export async function runRing(ring: Ring, tasks: Tasks, testArgs: string[]): Promise<RingResult> {
  const started = performance.now();
  const { counts, remarks } = await runTests(ring, tasks, testArgs);
  return { name: ring.name, counts, remarks, seconds: (performance.now() - started) / 1000 };
}

async function runTests(ring: Ring, tasks: Tasks, testArgs: string[]): Promise<Omit<RingResult, "name" | "seconds">> {
  const kernel = ring.kernel === undefined ? undefined : findKernel(ring.kernel);
  if (kernel && "missing" in kernel) return outcome("skipped", `skipped: kernel ${ring.kernel}: ${kernel.missing}`);
  const files = testFiles(`${REPO}/${ring.folder}`, ring.files).map((file) => `${ring.folder}/${file}`);
  if (files.length === 0) return outcome("failed", `no test file in ${ring.folder} matches ${ring.files}`);
  if (!await tasks.run(ring.needs)) return outcome("failed", `"deno task ${ring.needs}" failed, so no test could run`);

  const { code, output } = await runChild(commandOf(ring, files, testArgs), ring.timeoutS + 30, ring.env);
  const remarks = parseSkipped(output).map((name) => `skipped: ${name}`);
  const counts = parseSummary(output);
  if (!counts) {
    remarks.push(`ended with exit code ${code} before all tests had run`);
    return { counts: parseBroken(output), remarks };
  }
  if (code !== 0 && counts.failed === 0) {
    counts.failed = 1;
    remarks.push(`ended with exit code ${code}`);
  }
  return { counts, remarks };
}

function outcome(kind: keyof TestCounts, remark: string): Omit<RingResult, "name" | "seconds"> {
  return { counts: { passed: 0, failed: 0, skipped: 0, [kind]: 1 }, remarks: [remark] };
}

function testFiles(folder: string, pattern: RegExp, prefix = ""): string[] {
  const files: string[] = [];
  for (const entry of Deno.readDirSync(`${folder}/${prefix}`)) {
    const path = `${prefix}${entry.name}`;
    if (entry.isDirectory) files.push(...testFiles(folder, pattern, `${path}/`));
    else if (pattern.test(path)) files.push(path);
  }
  return files.sort();
}

/** Inside the machine the type check, done outside by `deno task check`, would take longer than most tests. */
function commandOf(ring: Ring, files: string[], testArgs: string[]): string[] {
  if (ring.kernel === undefined) return ["test", "-A", "--quiet", ...testArgs, ...files];
  const log = `${REPO}/build/dmesg-${ring.kernel}.log`;
  Deno.mkdirSync(`${REPO}/build`, { recursive: true });
  const machine = ["run", "--quiet", "-A", `${REPO}/scripts/vm.ts`, "--kernel", ring.kernel, "--dmesg", log];
  const tests = ["deno", "test", "-A", "--quiet", "--no-check", ...testArgs, ...files];
  return [...machine, "--timeout", String(ring.timeoutS), "--", ...tests];
}

/** Runs Deno; shows its output and keeps it. A signal is passed on, and throws once the child has ended. */
async function runChild(
  args: string[],
  timeoutS: number,
  env: Record<string, string> = {},
): Promise<{ code: number; output: string }> {
  const options = { args, cwd: REPO, env, stdin: "null", stdout: "piped", stderr: "inherit" } as const;
  const child = new Deno.Command(Deno.execPath(), options).spawn();
  const signals: Deno.Signal[] = ["SIGINT", "SIGTERM"];
  let interruption: InterruptedError | undefined;
  const handlers = signals.map((signal) => {
    const handler = () => {
      interruption = new InterruptedError(signal);
      child.kill(signal);
    };
    return [signal, handler] as const;
  });
  for (const [signal, handler] of handlers) Deno.addSignalListener(signal, handler);
  const timer = setTimeout(() => child.kill("SIGTERM"), timeoutS * 1000);
  try {
    const chunks: Uint8Array[] = [];
    for await (const chunk of child.stdout) {
      chunks.push(chunk);
      for (let done = 0; done < chunk.length;) done += await Deno.stdout.write(chunk.subarray(done));
    }
    const { code } = await child.status;
    if (interruption) throw interruption;
    return { code, output: await new Blob(chunks as Uint8Array<ArrayBuffer>[]).text() };
  } finally {
    clearTimeout(timer);
    for (const [signal, handler] of handlers) Deno.removeSignalListener(signal, handler);
  }
}
