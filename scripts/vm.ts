/**
 * Runs a command as root in a virtual machine whose root file system is this one's, with a kernel of choice.
 * All writes there are forgotten; stdout, stderr and the exit code come back.
 */
import { parseArgs } from "@std/cli/parse-args";
import { devCache, findKernel, type VmKernel } from "./vm_kernel.ts";
import { Machine } from "./vm_machine.ts";
import { relayUntilMarker } from "./vm_stream.ts";
import { attachTerminal } from "./vm_terminal.ts";

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

/** Exit code when the time limit ended the run, as timeout(1) has it. */
const EXIT_TIMEOUT = 124;
/** Exit code when the machine itself failed. */
const EXIT_MACHINE = 125;
const TIMEOUT_DEFAULT_S = 600;
const CONSOLE_LINES_SHOWN = 40;
/** How long a machine whose time is up may take to print its kernel log. */
const REPORT_WAIT_MS = 5000;
const SIGNAL_NUMBERS = { SIGHUP: 1, SIGINT: 2, SIGTERM: 15 } as const;

/** One run's request. */
interface Request {
  kernel: VmKernel;
  command: string[];
  shell: boolean;
  timeoutS: number;
  env: Record<string, string>;
  out: string | undefined;
  dmesg: string | undefined;
  quiet: boolean;
}

/** Ends the run with a message and an exit code. */
class VmError extends Error {
  readonly code: number;
  constructor(message: string, code: number) {
    super(message);
    this.code = code;
  }
}

function parseRequest(args: string[]): Request {
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
function jobScript(request: Request): string {
  const cache = devCache();
  const env: Record<string, string> = {
    HOME: "/root",
    LANG: "C.UTF-8",
    PATH: `${cache}/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin`,
    UMPATH_DEV_CACHE: cache,
    DENO_DIR: `${cache}/deno-dir`,
    DENO_NO_UPDATE_CHECK: "1",
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

function repoFolder(): string {
  return Deno.realPathSync(new URL("..", import.meta.url).pathname);
}

function base64(text: string): string {
  let binary = "";
  for (const byte of new TextEncoder().encode(text)) binary += String.fromCharCode(byte);
  return btoa(binary);
}

function note(request: Request, text: string): void {
  if (!request.quiet) console.error(`vm: ${text}`);
}

async function writeAll(target: { write(bytes: Uint8Array): Promise<number> }, bytes: Uint8Array): Promise<void> {
  for (let done = 0; done < bytes.length;) done += await target.write(bytes.subarray(done));
}

/** Boots, runs the job, and gives its exit code. */
async function runJob(machine: Machine, request: Request, signals: Signals, limit: TimeLimit): Promise<number> {
  const started = performance.now();
  const repo = repoFolder();
  const { kernel, out, shell } = request;
  const ports = await machine.start({ kernel, repo, cache: devCache(), ...(out ? { out } : {}), terminal: shell });
  const control = ports.control!;
  const lines = readLines(control.readable)[Symbol.asyncIterator]();

  const first = await lines.next();
  if (first.done || first.value !== "ready") throw new Error("The machine stopped while it booted");
  note(request, `kernel ${kernel.release}, ready after ${((performance.now() - started) / 1000).toFixed(1)} s`);

  const token = crypto.randomUUID();
  const relays = Promise.all([
    relayUntilMarker(ports.stdout!.readable, token, (bytes) => writeAll(Deno.stdout, bytes)),
    relayUntilMarker(ports.stderr!.readable, token, (bytes) => writeAll(Deno.stderr, bytes)),
    saveLog(ports.log!.readable, token, request.dmesg),
  ]);
  relays.catch(() => {});
  const terminal = ports.terminal ? attachTerminal(ports.terminal) : undefined;
  try {
    const job = `${shell ? "shell" : "run"} ${token} ${base64(jobScript(request))}\n`;
    await writeAll(control, new TextEncoder().encode(job));
    const say = (line: string) => writeAll(control, new TextEncoder().encode(`${line}\n`));
    signals.forwardTo((name) => say(`signal ${name}`));
    limit.askReport(() => say("report"));
    for (let line = await lines.next(); !line.done; line = await lines.next()) {
      const [word, code] = line.value.split(" ");
      if (word === "reported") limit.reported();
      if (word !== "exit") continue;
      await relays;
      return Number(code);
    }
  } finally {
    terminal?.detach();
  }
  throw new Error("The machine stopped before the command ended");
}

async function saveLog(source: ReadableStream<Uint8Array>, token: string, path: string | undefined): Promise<boolean> {
  if (path === undefined) return await relayUntilMarker(source, token, () => {});
  using file = Deno.openSync(path, { write: true, create: true, truncate: true });
  return await relayUntilMarker(source, token, (bytes) => writeAll(file, bytes));
}

async function* readLines(source: ReadableStream<Uint8Array>): AsyncGenerator<string> {
  let rest = "";
  for await (const text of source.pipeThrough(new TextDecoderStream() as TransformStream<Uint8Array, string>)) {
    const lines = (rest + text).split("\n");
    rest = lines.pop()!;
    yield* lines;
  }
}

/** Passes the first signal on to the job; a second one, or one that finds no job, ends the run. */
class Signals {
  readonly stopped: Promise<never>;
  #stop!: (error: VmError) => void;
  #forward: ((name: string) => Promise<void>) | undefined;
  #seen = false;
  readonly #handlers = new Map<keyof typeof SIGNAL_NUMBERS, () => void>();

  constructor() {
    this.stopped = new Promise((_, reject) => this.#stop = reject);
    this.stopped.catch(() => {});
    for (const name of Object.keys(SIGNAL_NUMBERS) as (keyof typeof SIGNAL_NUMBERS)[]) {
      const handler = () => this.#handle(name);
      this.#handlers.set(name, handler);
      Deno.addSignalListener(name, handler);
    }
  }

  /** From now on there is a job to pass signals to. */
  forwardTo(forward: (name: string) => Promise<void>): void {
    this.#forward = forward;
  }

  /** Gives the signals back. */
  close(): void {
    for (const [name, handler] of this.#handlers) Deno.removeSignalListener(name, handler);
  }

  #handle(name: keyof typeof SIGNAL_NUMBERS): void {
    if (this.#seen || !this.#forward) {
      this.#stop(new VmError(`Ended by ${name}`, 128 + SIGNAL_NUMBERS[name]));
      return;
    }
    this.#seen = true;
    this.#forward(name.slice(3)).catch(() => {});
  }
}

/** Ends the run when its time is up, after giving the machine a moment to say what it was doing. */
class TimeLimit {
  readonly reached: Promise<never>;
  #timers: ReturnType<typeof setTimeout>[] = [];
  #ask: (() => Promise<void>) | undefined;
  #stop!: () => void;

  constructor(seconds: number) {
    this.reached = new Promise((_, reject) => {
      this.#stop = () => reject(new VmError(`Time limit of ${seconds} s reached`, EXIT_TIMEOUT));
    });
    this.reached.catch(() => {});
    if (seconds > 0) this.#timers.push(setTimeout(() => this.#strike(), seconds * 1000));
  }

  /** From now on the machine can be asked for its kernel log and its blocked tasks. */
  askReport(ask: () => Promise<void>): void {
    this.#ask = ask;
  }

  /** The report is on the console. */
  reported(): void {
    this.#timers.push(setTimeout(this.#stop, 200));
  }

  /** Forgets the limit. */
  close(): void {
    this.#timers.forEach(clearTimeout);
  }

  #strike(): void {
    if (!this.#ask) return this.#stop();
    this.#timers.push(setTimeout(this.#stop, REPORT_WAIT_MS));
    this.#ask().catch(() => {});
  }
}

async function run(request: Request): Promise<number> {
  const machine = new Machine();
  const signals = new Signals();
  const limit = new TimeLimit(request.timeoutS);
  try {
    return await Promise.race([runJob(machine, request, signals, limit), limit.reached, signals.stopped]);
  } catch (error) {
    const code = error instanceof VmError ? error.code : EXIT_MACHINE;
    const message = error instanceof Error ? error.message : String(error);
    console.error(`vm: ${message}: ${request.command.join(" ")}`);
    if (request.dmesg !== undefined) Deno.writeTextFileSync(request.dmesg, `${machine.console.text()}\n`);
    const tail = machine.console.text(CONSOLE_LINES_SHOWN);
    if (tail !== "" && code < 128) console.error(`vm: the console's last lines:\n${tail}`);
    return code;
  } finally {
    limit.close();
    await machine.close();
    signals.close();
  }
}

async function main(): Promise<number> {
  try {
    return await run(parseRequest(Deno.args));
  } catch (error) {
    if (!(error instanceof VmError)) throw error;
    console.error(`vm: ${error.message.trimEnd()}`);
    return error.code;
  }
}

Deno.exit(await main());
