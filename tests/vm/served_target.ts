/** A storage system made of umpath itself: `umpath serve`, for foreign hosts to judge. */
import { eventually } from "./eventually.ts";
import type { NvmetPort } from "./nvmet.ts";
import { run, type RunResult, umpathBinary, umpathRunDir } from "./process.ts";

const READY_MS = 60_000;
const END_MS = 30_000;
/** Hosts know the namespace again by it when the target is started once more. */
const UUID = "6a2f0b1c-5d3e-4f70-8192-a3b4c5d6e7f8";
/** Lines of the server's log that are shown when a test fails. */
const LOG_LINES = 40;

/** What to serve. */
export interface ServedOptions {
  nqn: string;
  ports: NvmetPort[];
  /** Further words of `umpath serve`; without a backend among them it is 64 MiB of memory. */
  words?: string[];
}

/** A running `umpath serve`. */
export class ServedTarget implements AsyncDisposable {
  readonly nqn: string;
  readonly #options: ServedOptions;
  #process: Deno.ChildProcess | null = null;
  #log: Promise<string> = Promise.resolve("");

  private constructor(options: ServedOptions) {
    this.nqn = options.nqn;
    this.#options = options;
  }

  /** Starts it and waits until every port is listened on. */
  static async start(options: ServedOptions): Promise<ServedTarget> {
    const target = new ServedTarget(options);
    await target.start();
    return target;
  }

  /** Starts it again after `kill()`. */
  async start(): Promise<void> {
    const { nqn, ports, words = ["--ram", "64M", "--uuid", UUID] } = this.#options;
    const listen = ports.flatMap(({ addr, port }) => ["--listen", `${addr}:${port}`]);
    const args = ["serve", ...words, "--nqn", nqn, ...listen];
    const env = { UMPATH_RUN_DIR: umpathRunDir() };
    const command = new Deno.Command(umpathBinary(), { args, env, stdin: "null", stdout: "piped", stderr: "piped" });
    this.#process = command.spawn();
    this.#log = new Response(this.#process.stderr).text();
    await this.#ready(this.#process, ports.length);
  }

  /** It prints a line for each port once it listens there. */
  async #ready(process: Deno.ChildProcess, ports: number): Promise<void> {
    const reader = process.stdout.pipeThrough(new TextDecoderStream()).getReader();
    let text = "";
    const timer = setTimeout(() => process.kill("SIGKILL"), READY_MS);
    while (text.split("\n").length <= ports) {
      const { value, done } = await reader.read();
      if (done) throw new Error(`umpath serve has ended: ${await this.#log}`);
      text += value;
    }
    clearTimeout(timer);
    void drain(reader);
  }

  /** Runs `umpath target` with these words. */
  control(...words: string[]): Promise<RunResult> {
    const env = { UMPATH_RUN_DIR: umpathRunDir() };
    return run(umpathBinary(), ["target", ...words], { env, check: true });
  }

  /** Processor time of the server so far, in seconds. */
  cpuSeconds(): number {
    const stat = Deno.readTextFileSync(`/proc/${this.#process!.pid}/stat`);
    const [user, system] = stat.slice(stat.lastIndexOf(")") + 2).split(" ").slice(11, 13);
    return (Number(user) + Number(system)) / 100;
  }

  /** Ends it without a word, as a crash does. */
  async kill(): Promise<void> {
    const process = this.#process!;
    this.#process = null;
    process.kill("SIGKILL");
    await process.status;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    const process = this.#process;
    if (process === null) return;
    this.#process = null;
    process.kill("SIGTERM");
    const isOver = process.status.then((status) => status);
    let timer: ReturnType<typeof setTimeout> | undefined;
    const late = new Promise<null>((resolve) => timer = setTimeout(() => resolve(null), END_MS));
    const status = await Promise.race([isOver, late]);
    clearTimeout(timer);
    if (status === null) {
      process.kill("SIGKILL");
      await process.status;
    }
    const log = (await this.#log).trimEnd().split("\n").slice(-LOG_LINES).join("\n");
    console.error(log);
    if (status === null) throw new Error(`umpath serve did not end within ${END_MS / 1000} s after SIGTERM`);
    if (status.code !== 0) throw new Error(`umpath serve ended with ${status.code}`);
  }
}

async function drain(reader: ReadableStreamDefaultReader<string>): Promise<void> {
  while (!(await reader.read()).done);
}

/** The device's size in bytes, as the kernel has it. */
export function kernelBytes(device: string): number {
  return Number(Deno.readTextFileSync(`/sys/block/${device.replace("/dev/", "")}/size`)) * 512;
}

/** ANA states of a namespace's paths, by the address of their controller, as the kernel's host has them. */
export async function kernelAnaStates(nqn: string): Promise<Record<string, string>> {
  const states: Record<string, string> = {};
  for await (const { name } of Deno.readDir("/sys/class/nvme")) {
    const folder = `/sys/class/nvme/${name}`;
    if ((await Deno.readTextFile(`${folder}/subsysnqn`)).trim() !== nqn) continue;
    const address = /traddr=([^,]*)/.exec(await Deno.readTextFile(`${folder}/address`))![1]!;
    for await (const entry of Deno.readDir(folder)) {
      if (!/^nvme\d+c\d+n\d+$/.test(entry.name)) continue;
      states[address] = (await Deno.readTextFile(`${folder}/${entry.name}/ana_state`)).trim();
    }
  }
  return states;
}

/** Waits until the kernel's host has these ANA states. */
export async function waitAnaStates(nqn: string, wanted: Record<string, string>): Promise<void> {
  await eventually(async () => {
    const states = await kernelAnaStates(nqn);
    const differs = Object.entries(wanted).some(([address, state]) => states[address] !== state);
    if (differs) throw new Error(`ANA states are ${JSON.stringify(states)}, not ${JSON.stringify(wanted)}`);
    return true;
  }, 30_000);
}
