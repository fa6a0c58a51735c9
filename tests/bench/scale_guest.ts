/** One repetition with many volumes, as a program: `scale_guest.ts FOLDER DEVICE CASE`; the sample on stdout. */
import { eventually } from "../vm/eventually.ts";
import { run, umpathBinary } from "../vm/process.ts";
import { threadsCpuUs } from "./cpu_time.ts";
import type { Sample } from "./measure.ts";
import { SCALE_PATHS, volumesOf } from "./scale_cases.ts";
import { listenersAt, ServerProcess } from "./server_process.ts";

const NQN = "nqn.2026-11.io.test:scale";
const WHO = ["--hostnqn", "nqn.2026-11.io.test:bench-host", "--hostid", "6f0dc8b2-58a1-4f46-9a5c-27e5a3f1c001"];
const PORT = 4420;
const WORKERS = 2;
const VOLUME_MIB = 4;
const READY_MS = 30_000;
const REST_MS = 10_000;
const BACK_MS = 120_000;
const ESTABLISHED = "01";

const addresses = Array.from({ length: SCALE_PATHS }, (_, i) => `127.0.0.${i + 1}`);

/** A target with volumes, and a daemon of its own. */
class Rig implements AsyncDisposable {
  readonly #folder: string;
  readonly #owned = new AsyncDisposableStack();
  readonly env: Record<string, string>;
  daemonPid = 0;
  targetPid = 0;

  constructor(folder: string) {
    this.#folder = folder;
    this.env = { UMPATH_RUN_DIR: `${folder}/run` };
  }

  async start(volumes: number): Promise<void> {
    const words = [
      ...Array.from({ length: volumes }, (_, i) => ["--namespace", `ram=${VOLUME_MIB}M,nsid=${i + 1}`]).flat(),
      ...addresses.flatMap((address) => ["--listen", address]),
    ];
    const target = this.#owned.use(new ServerProcess(umpathBinary(), ["serve", "--nqn", NQN, ...words], this.env));
    await eventually(() => (target.check(), listenersAt(PORT) >= SCALE_PATHS), READY_MS);
    const daemon = this.#owned.use(
      new ServerProcess(umpathBinary(), ["daemon", "--workers", String(WORKERS)], this.env),
    );
    await eventually(() => (daemon.check(), Deno.statSync(`${this.#folder}/run/control.sock`)) !== null, READY_MS);
    this.daemonPid = daemon.pid;
    this.targetPid = target.pid;
  }

  async umpath(...words: string[]): Promise<string> {
    return (await run(umpathBinary(), words, { env: this.env, check: true })).stdout;
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.#owned.disposeAsync();
  }
}

interface Listed {
  volumes: { paths: { state: string }[] }[];
}

async function livePaths(rig: Rig): Promise<number> {
  const { volumes } = JSON.parse(await rig.umpath("list", "--json")) as Listed;
  return volumes.flatMap(({ paths }) => paths).filter(({ state }) => state === "live").length;
}

/** Connections from the daemon to the target's portals. */
function connections(): number {
  const lines = Deno.readTextFileSync("/proc/net/tcp").trim().split("\n").slice(1).map((line) =>
    line.trim().split(/\s+/)
  );
  const port = `:${PORT.toString(16).toUpperCase().padStart(4, "0")}`;
  return lines.filter(([, , remote, state]) => remote!.endsWith(port) && state === ESTABLISHED).length;
}

async function controllers(rig: Rig): Promise<number> {
  const { targets } = JSON.parse(await rig.umpath("target", "show", "--json")) as {
    targets: { controllers: unknown[] }[];
  };
  return targets[0]!.controllers.length;
}

function rssMiB(pid: number): number {
  return Number(/^VmRSS:\s*(\d+) kB$/m.exec(Deno.readTextFileSync(`/proc/${pid}/status`))![1]) / 1024;
}

/** Seconds that `work` takes. */
async function timed(work: () => Promise<unknown>): Promise<number> {
  const startMs = performance.now();
  await work();
  return (performance.now() - startMs) / 1000;
}

/** Shares of a core that daemon and target use at rest. */
async function rest(rig: Rig): Promise<{ daemonIdlePercent: number; targetIdlePercent: number }> {
  const before = [threadsCpuUs(rig.daemonPid), threadsCpuUs(rig.targetPid)] as const;
  const startMs = performance.now();
  await new Promise((resolve) => setTimeout(resolve, REST_MS));
  const percent = (pid: number, cpuUs: number) => (threadsCpuUs(pid) - cpuUs) / (10 * (performance.now() - startMs));
  return {
    daemonIdlePercent: percent(rig.daemonPid, before[0]),
    targetIdlePercent: percent(rig.targetPid, before[1]),
  };
}

/** One portal goes and comes back: seconds from when it listens again until all paths are live. */
async function lossAndReturn(rig: Rig, paths: number): Promise<number> {
  await rig.umpath("target", "fault", "1:down,for=2s");
  await eventually(async () => await livePaths(rig) <= paths - paths / SCALE_PATHS, BACK_MS);
  await eventually(() => listenersAt(PORT) >= SCALE_PATHS, BACK_MS);
  return await timed(() => eventually(async () => await livePaths(rig) === paths, BACK_MS));
}

async function measure(rig: Rig, device: string, volumes: number): Promise<Sample> {
  const cpuUs = { daemon: threadsCpuUs(rig.daemonPid), target: threadsCpuUs(rig.targetPid) };
  const words = ["attach", "--all", "--discover", `${addresses[0]}:${PORT}`, "--device", device, ...WHO];
  const attachS = await timed(() => rig.umpath(...words));
  await eventually(async () => await livePaths(rig) === volumes * SCALE_PATHS, BACK_MS);
  const daemonUs = threadsCpuUs(rig.daemonPid) - cpuUs.daemon;
  const targetUs = threadsCpuUs(rig.targetPid) - cpuUs.target;
  const details = {
    perVolumeMs: attachS * 1000 / volumes,
    daemonCpuMs: daemonUs / 1000,
    targetCpuMs: targetUs / 1000,
    controllers: await controllers(rig),
    connections: connections(),
    rssMiB: rssMiB(rig.daemonPid),
    targetRssMiB: rssMiB(rig.targetPid),
    ...await rest(rig),
    returnS: await lossAndReturn(rig, volumes * SCALE_PATHS),
    detachS: await timed(() => rig.umpath("detach", "--all")),
  };
  return { value: attachS, cpuUs: daemonUs / volumes, details };
}

if (import.meta.main) {
  const [folder = "", device = "", name = ""] = Deno.args;
  const volumes = volumesOf(name);
  await using rig = new Rig(folder);
  await rig.start(volumes);
  console.log(JSON.stringify(await measure(rig, device, volumes)));
}
