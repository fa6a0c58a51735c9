/**
 * Runs a command as root in a virtual machine whose root file system is this one's, with a kernel of choice.
 * All writes there are forgotten; stdout, stderr and the exit code come back.
 */
import { bootTwiceAtMost, isDeath, KernelDied } from "./vm_boot.ts";
import { Signals, TimeLimit } from "./vm_end.ts";
import { EXIT_MACHINE, VmError } from "./vm_error.ts";
import { devCache } from "./vm_kernel.ts";
import { Machine } from "./vm_machine.ts";
import { jobScript, parseRequest, repoFolder, type VmRequest } from "./vm_request.ts";
import { relayUntilMarker } from "./vm_stream.ts";
import { attachTerminal } from "./vm_terminal.ts";

const CONSOLE_LINES_SHOWN = 40;
/** What the machine says before the kernel log that it is asked for at the time limit (scripts/vm_init.sh). */
const REPORT_MARK = "vm: the kernel log since the job began";

function base64(text: string): string {
  let binary = "";
  for (const byte of new TextEncoder().encode(text)) binary += String.fromCharCode(byte);
  return btoa(binary);
}

function note(request: VmRequest, text: string): void {
  if (!request.quiet) console.error(`vm: ${text}`);
}

async function writeAll(target: { write(bytes: Uint8Array): Promise<number> }, bytes: Uint8Array): Promise<void> {
  for (let done = 0; done < bytes.length;) done += await target.write(bytes.subarray(done));
}

/** A machine that is ready for its job. */
interface Booted {
  machine: Machine;
  ports: Record<string, Deno.UnixConn>;
  /** What it says on the control port from now on. */
  lines: AsyncIterator<string>;
}

async function boot(machine: Machine, request: VmRequest): Promise<Booted> {
  const started = performance.now();
  const repo = repoFolder();
  const { kernel, out, shell } = request;
  const ports = await machine.start({ kernel, repo, cache: devCache(), ...(out ? { out } : {}), terminal: shell });
  const lines = readLines(ports.control!.readable)[Symbol.asyncIterator]();
  const first = await lines.next();
  if (first.done || first.value !== "ready") {
    const message = `The machine stopped while it booted (${await machine.howItEnded()})`;
    throw isDeath(machine.console.text()) ? new KernelDied(message) : new Error(message);
  }
  note(request, `kernel ${kernel.release}, ready after ${((performance.now() - started) / 1000).toFixed(1)} s`);
  return { machine, ports, lines };
}

/** Runs the job, and gives its exit code. */
async function runJob(booted: Booted, request: VmRequest, signals: Signals, limit: TimeLimit): Promise<number> {
  const { machine, ports, lines } = booted;
  const { shell } = request;
  const control = ports.control!;
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
  throw new Error(`The machine stopped before the command ended (${await machine.howItEnded()})`);
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

async function run(request: VmRequest): Promise<number> {
  let machine = new Machine();
  const signals = new Signals();
  const limit = new TimeLimit(request.timeoutS);
  const bootOnce = async () => {
    // The one before has died.
    await machine.close();
    machine = new Machine();
    return await boot(machine, request);
  };
  const tell = ({ message }: KernelDied) => {
    console.error(`vm: ${message}: the kernel died, booting once more; its last lines:`);
    console.error(machine.console.text(CONSOLE_LINES_SHOWN));
  };
  try {
    const job = bootTwiceAtMost(bootOnce, tell).then((booted) => runJob(booted, request, signals, limit));
    return await Promise.race([job, limit.reached, signals.stopped]);
  } catch (error) {
    const code = error instanceof VmError ? error.code : EXIT_MACHINE;
    const message = error instanceof Error ? error.message : String(error);
    console.error(`vm: ${message}: ${request.command.join(" ")}`);
    if (request.dmesg !== undefined) Deno.writeTextFileSync(request.dmesg, `${machine.console.text()}\n`);
    if (code < 128) showConsole(machine);
    return code;
  } finally {
    limit.close();
    await machine.close();
    signals.close();
  }
}

/** The kernel log since the job began if the machine could be asked for it, else the end of what it said. */
function showConsole(machine: Machine): void {
  const report = machine.console.since(REPORT_MARK);
  if (report !== null) return console.error(report === "" ? "vm: no kernel log" : `${REPORT_MARK}:\n${report}`);
  const tail = machine.console.text(CONSOLE_LINES_SHOWN);
  if (tail !== "") console.error(`vm: the console's last lines:\n${tail}`);
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
