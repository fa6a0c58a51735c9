/** One repetition with one daemon, as a program: `daemon_guest.ts FOLDER DEVICE CASE…`; samples by case on stdout. */
import { eventually } from "../vm/eventually.ts";
import { run, umpathBinary } from "../vm/process.ts";
import { childrenCpuUs, threadsCpuUs } from "./cpu_time.ts";
import { median, type Sample } from "./measure.ts";
import { listenersAt, ServerProcess } from "./server_process.ts";

const NQN = "nqn.2026-11.io.test:bench";
const WHO = ["--hostnqn", "nqn.2026-11.io.test:bench-host", "--hostid", "6f0dc8b2-58a1-4f46-9a5c-27e5a3f1c001"];
const ADDRESSES = ["127.0.0.1", "127.0.0.2"];
const PORT = 4420;
const WORKERS = 2;
const VOLUME_MIB = 64;
const FURTHER_VOLUMES = 8;
const READY_MS = 20_000;
/** After an attach: partitions are looked for, V8 collects and gives memory back. */
const SETTLE_MS = 3000;
const LISTS = 20;
const IDLE_MS = 20_000;
const LOAD_SECONDS = 3;
const LOAD = ["--rw=randread", "--bs=4k", "--iodepth=32", "--direct=1", "--ioengine=libaio", "--time_based"];

/** A daemon with one volume over two paths of a target with some more. */
class Subject implements AsyncDisposable {
  readonly #folder: string;
  readonly #device: string;
  readonly #owned = new AsyncDisposableStack();
  readonly #env: Record<string, string>;
  #pid = 0;

  constructor(folder: string, device: string) {
    this.#folder = folder;
    this.#device = device;
    this.#env = { UMPATH_RUN_DIR: `${folder}/run` };
  }

  async start(): Promise<void> {
    const volumes = Array.from({ length: 1 + FURTHER_VOLUMES }, (_, i) => `ram=${VOLUME_MIB}M,nsid=${i + 1}`);
    const words = [
      ...volumes.flatMap((volume) => ["--namespace", volume]),
      ...ADDRESSES.flatMap((address) => ["--listen", address]),
    ];
    const server = this.#owned.use(new ServerProcess(umpathBinary(), ["serve", "--nqn", NQN, ...words], this.#env));
    await eventually(() => (server.check(), listenersAt(PORT) >= ADDRESSES.length), READY_MS);
    const daemonWords = ["daemon", "--workers", String(WORKERS)];
    const daemon = this.#owned.use(new ServerProcess(umpathBinary(), daemonWords, this.#env));
    this.#pid = daemon.pid;
    await eventually(() => (daemon.check(), Deno.statSync(`${this.#folder}/run/control.sock`)) !== null, READY_MS);
    this.#owned.defer(async () => {
      await run(umpathBinary(), ["detach", "--all"], { env: this.#env, check: true });
    });
  }

  /** Attaches namespaces, waits until all is quiet, and gives the device of the last. */
  async attach(from: number, to: number): Promise<string> {
    const paths = ADDRESSES.flatMap((address) => ["-p", address]);
    let device = "";
    for (let nsid = from; nsid <= to; nsid++) {
      const words = ["attach", NQN, "--nsid", String(nsid), ...paths, ...WHO, "--device", this.#device];
      device = (await run(umpathBinary(), words, { env: this.#env, check: true })).stdout.trim();
    }
    await delay(SETTLE_MS);
    return device;
  }

  /** How long the command takes from its start to its end, of so many the middle one. */
  async list(): Promise<Sample> {
    const cpuStart = childrenCpuUs();
    const times: number[] = [];
    for (let i = 0; i < LISTS; i++) {
      const start = performance.now();
      await run(umpathBinary(), ["list"], { env: this.#env, check: true });
      times.push(performance.now() - start);
    }
    const details = { longestMs: Math.max(...times) };
    return { value: median(times), cpuUs: (childrenCpuUs() - cpuStart) / LISTS, details };
  }

  async idle(): Promise<Sample> {
    const startMs = performance.now();
    const cpuStart = threadsCpuUs(this.#pid);
    await delay(IDLE_MS);
    const cpuUs = (threadsCpuUs(this.#pid) - cpuStart) / ((performance.now() - startMs) / 1000);
    return { value: cpuUs / 10_000, cpuUs };
  }

  /** What is resident, and of that what no file has. */
  rss(): { value: number; details: { anonymousMiB: number } } {
    const status = Deno.readTextFileSync(`/proc/${this.#pid}/status`);
    const mib = (field: string) => Number(new RegExp(`^${field}:\\s*(\\d+) kB$`, "m").exec(status)![1]) / 1024;
    return { value: mib("VmRSS"), details: { anonymousMiB: mib("RssAnon") } };
  }

  cpuUs(): number {
    return threadsCpuUs(this.#pid);
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.#owned.disposeAsync();
  }
}

function delay(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms));
}

async function measure(subject: Subject, names: string[]): Promise<Record<string, Sample>> {
  const samples: Record<string, Sample> = {};
  const startCpuUs = subject.cpuUs();
  const device = await subject.attach(1, 1);
  const first = { ...subject.rss(), cpuUs: subject.cpuUs() - startCpuUs };
  samples["daemon-rss"] = first;
  if (names.includes("daemon-list")) samples["daemon-list"] = await subject.list();
  if (names.includes("daemon-idle")) samples["daemon-idle"] = await subject.idle();
  if (names.includes("daemon-rss-further")) {
    const before = { ...subject.rss(), cpuUs: subject.cpuUs() };
    await subject.attach(2, 1 + FURTHER_VOLUMES);
    const { value } = subject.rss();
    const cpuUs = (subject.cpuUs() - before.cpuUs) / FURTHER_VOLUMES;
    samples["daemon-rss-further"] = { value: (value - before.value) / FURTHER_VOLUMES, cpuUs };
  }
  if (names.includes("daemon-rss-used")) {
    const cpuStart = subject.cpuUs();
    await run("fio", ["--name=load", `--filename=${device}`, ...LOAD, `--runtime=${LOAD_SECONDS}`], { check: true });
    await delay(SETTLE_MS);
    samples["daemon-rss-used"] = { ...subject.rss(), cpuUs: (subject.cpuUs() - cpuStart) / LOAD_SECONDS };
  }
  return samples;
}

if (import.meta.main) {
  const [folder = "", device = "", ...names] = Deno.args;
  await using subject = new Subject(folder, device);
  await subject.start();
  console.log(JSON.stringify(await measure(subject, names)));
}
