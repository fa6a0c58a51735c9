/** The demo's volume: attached by the daemon as a kernel device, or in this process where there can be none. */
import { type ErrorCode, EXIT_CODES, messageOf, UmpathError } from "../base/errors.ts";
import { setLogSink } from "../base/log.ts";
import { midSentence } from "../base/text.ts";
import type { DeviceChoice, DeviceDriver, PathSpec, VolumeInfo } from "../rpc/host_api.ts";
import { ask } from "../rpc/client.ts";
import { uuidNqn } from "../settings/nqn.ts";
import type { RunDir } from "../rpc/run_dir.ts";
import { VolumeSet } from "../host/daemon/volume_set.ts";
import { WorkerPool } from "../host/driver/worker_pool.ts";
import { Untrue } from "./claims.ts";
import { KernelDevice } from "./kernel_device.ts";
import type { Load } from "./load.ts";
import type { CommandResult, Stage } from "./stage.ts";
import { portalWords, type Storage } from "./storage.ts";
import { VolumeLoad } from "./volume_load.ts";

/** Attach and detach bound their own steps; on a machine that emulates its processor they take long. */
const CALL_MS_MAX = 180_000;
const DAEMON_END_MS_MAX = 10_000;
const NSID = 1;
const HOST_FILES = ["/etc/nvme/hostnqn", "/etc/nvme/hostid"];

/** What there is of a volume that is attached. */
export interface DemoVolume {
  readonly name: string;
  readonly driver: DeviceDriver;
  /** The kernel device; null if it is driven in user space. */
  readonly device: KernelDevice | null;
  info(): Promise<VolumeInfo>;
  /** Attaches it a second time, which changes nothing; the device, or its name. */
  attachAgain(): Promise<string>;
  /** What the daemon, or the host side in this process, logged. */
  log(): string[];
  /** Takes it off the host; afterwards nothing of it is left. */
  detach(): Promise<void>;
}

/** How a volume is attached. */
export interface AttachOptions {
  stage: Stage;
  storage: Storage;
  runDir: RunDir;
  /** The words that start umpath. */
  program: readonly string[];
}

/** The command as it is typed: the kind of device is only named if it is not umpath's own choice. */
export function attachWords(storage: Storage, device: DeviceChoice): string[] {
  const paths = storage.portals.flatMap((portal) => ["-p", portalWords(portal)]);
  return ["attach", storage.nqn, ...paths, ...device === "auto" ? [] : ["--device", device]];
}

/** A host that has no identity yet gets none by the demo: it leaves nothing behind. */
function identityWords(): string[] {
  if (HOST_FILES.every(isThere)) return [];
  const hostId = crypto.randomUUID();
  return ["--hostnqn", uuidNqn(hostId), "--hostid", hostId];
}

function isThere(path: string): boolean {
  try {
    return Deno.statSync(path).isFile;
  } catch {
    return false;
  }
}

// ── a kernel device ───────────────────────────────────────────────────────────────────────────────────────────────────

/** A volume that `umpath attach` has made a kernel device, by a daemon of the demo's own. */
export class DaemonVolume implements DemoVolume {
  readonly name: string;
  readonly driver: DeviceDriver;
  readonly device: KernelDevice;
  /** What `umpath attach` warned of. */
  readonly warnings: string;
  readonly #options: AttachOptions;
  readonly #words: readonly string[];
  readonly #detached: () => Promise<void>;

  /**
   * Attaches the volume with a device of that kind.
   *
   * @throws UmpathError what `umpath attach` says: "host-lacks" if there can be no such device here.
   */
  static async attach(options: AttachOptions, choice: DeviceChoice): Promise<DaemonVolume> {
    const { stage, storage, program } = options;
    const words = [...attachWords(storage, choice), ...identityWords()];
    const takeBack = stage.owe("the volume", () => forceDetach(options));
    const result = await stage.run([...program, "--json", ...words], { timeoutMs: CALL_MS_MAX });
    if (result.code !== 0) {
      await takeBack();
      throw errorOf(result);
    }
    const { device, volume } = JSON.parse(result.stdout) as { device: string; volume: VolumeInfo };
    return new DaemonVolume(options, { words, device, volume, warnings: warningsOf(result.stderr), takeBack });
  }

  private constructor(
    options: AttachOptions,
    found: {
      words: readonly string[];
      device: string;
      volume: VolumeInfo;
      warnings: string;
      takeBack: () => Promise<void>;
    },
  ) {
    this.#options = options;
    this.#words = found.words;
    this.#detached = found.takeBack;
    this.name = found.volume.name;
    this.driver = found.volume.driver;
    this.device = new KernelDevice(found.device);
    this.warnings = found.warnings;
  }

  async info(): Promise<VolumeInfo> {
    const { volumes } = await ask("list", {}, { dir: this.#options.runDir }) ?? { volumes: [] };
    const found = volumes.find(({ name }) => name === this.name);
    if (found === undefined) throw new Untrue(`The daemon knows no volume ${this.name} any more`);
    return found;
  }

  async attachAgain(): Promise<string> {
    const { stage, program } = this.#options;
    const result = await stage.run([...program, ...this.#words], { check: true, timeoutMs: CALL_MS_MAX });
    return result.stdout.trim();
  }

  log(): string[] {
    return lines(this.#options.runDir.logPath);
  }

  /** In order, without `--force`: nobody uses it any more. */
  async detach(): Promise<void> {
    const { stage, program } = this.#options;
    const command = [...program, "detach", this.name];
    await stage.run(command, { check: true, isWhole: true, timeoutMs: CALL_MS_MAX });
    await this.#detached();
  }
}

/** Takes back what an attach has made, however far it came, and the daemon with it. */
async function forceDetach({ stage, program, runDir }: AttachOptions): Promise<void> {
  const daemon = await ask("info", {}, { dir: runDir });
  if (daemon === null) return;
  const command = [...program, "detach", "--all", "--force"];
  const { code, stderr } = await stage.run(command, { isWhole: true, timeoutMs: CALL_MS_MAX });
  if (await isGone(daemon.pid, DAEMON_END_MS_MAX)) return;
  Deno.kill(daemon.pid, "SIGTERM");
  if (!await isGone(daemon.pid, DAEMON_END_MS_MAX)) Deno.kill(daemon.pid, "SIGKILL");
  const why = code === 0 ? "" : ` (${stderr.trim()})`;
  throw new Error(`the daemon, process ${daemon.pid}, did not leave with its volume${why} and was ended`);
}

async function isGone(pid: number, timeoutMs: number): Promise<boolean> {
  for (const deadlineMs = performance.now() + timeoutMs; performance.now() < deadlineMs;) {
    if (!isRunning(pid)) return true;
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
  return false;
}

/** A zombie does not count. */
function isRunning(pid: number): boolean {
  try {
    const state = /\) (\S)/.exec(Deno.readTextFileSync(`/proc/${pid}/stat`))?.[1];
    return state !== "Z" && state !== "X";
  } catch {
    return false;
  }
}

/** The error that a command of ours ended with. */
function errorOf({ code, stderr }: CommandResult): UmpathError {
  const line = stderr.trim().split("\n").findLast((line) => line.startsWith('{"error"'));
  if (line !== undefined) return UmpathError.fromWire((JSON.parse(line) as { error: unknown }).error);
  const known = (Object.keys(EXIT_CODES) as ErrorCode[]).find((name) => EXIT_CODES[name] === code) ?? "bug";
  return new UmpathError(known, `umpath ended with exit code ${code}: ${stderr.trim()}`);
}

function warningsOf(stderr: string): string {
  return stderr.trim().split("\n").filter((line) => line.startsWith('{"warning"'))
    .map((line) => (JSON.parse(line) as { warning: string }).warning).join("\n");
}

function lines(path: string): string[] {
  try {
    return Deno.readTextFileSync(path).trimEnd().split("\n");
  } catch {
    return [];
  }
}

// ── no kernel device ──────────────────────────────────────────────────────────────────────────────────────────────────

/** A volume that this process itself serves and uses: the same host side, without a daemon and a device. */
export class LocalVolume implements DemoVolume {
  readonly driver = "none";
  readonly device = null;
  readonly name: string;
  readonly #set: VolumeSet;
  readonly #again: () => Promise<string>;
  readonly #takeBack: () => Promise<void>;
  readonly #log: string[];
  readonly #failures: string[];

  /** @throws UmpathError */
  static async attach({ stage, storage }: Pick<AttachOptions, "stage" | "storage">): Promise<LocalVolume> {
    const failures: string[] = [];
    const log: string[] = [];
    const set = new VolumeSet(new WorkerPool(1, (reason) => failures.push(reason)));
    setLogSink((line) => log.push(line));
    const takeBack = stage.owe("the volume in this process", async () => {
      await set.close();
      setLogSink(null);
    });
    const hostId = crypto.randomUUID();
    const paths = storage.portals.map(({ addr, port }): PathSpec => {
      return { transport: "tcp", traddr: addr, trsvcid: port, hostTraddr: null, hostIface: null };
    });
    const params = {
      ...{ nqn: storage.nqn, nsid: NSID, name: null, paths, device: "none", policy: "round-robin" } as const,
      ...{ queues: null, depth: null, readOnly: false, timeouts: {}, hostNqn: uuidNqn(hostId), hostId },
    };
    const attach = () => set.attach(params, (words) => log.push(words));
    const { volume } = await stage.unlessEnded(attach());
    const again = async () => (await attach()).device;
    return new LocalVolume(volume.name, { set, again, takeBack, log, failures });
  }

  private constructor(
    name: string,
    parts: {
      set: VolumeSet;
      again: () => Promise<string>;
      takeBack: () => Promise<void>;
      log: string[];
      failures: string[];
    },
  ) {
    this.name = name;
    this.#set = parts.set;
    this.#again = parts.again;
    this.#takeBack = parts.takeBack;
    this.#log = parts.log;
    this.#failures = parts.failures;
  }

  info(): Promise<VolumeInfo> {
    return Promise.resolve(this.#set.find(this.name).info());
  }

  attachAgain(): Promise<string> {
    return this.#again();
  }

  /** Load on the volume; once. */
  load(options: { units: number; seed: number }): Load {
    return new VolumeLoad(this.#set.find(this.name), { ...options, failureOf: () => this.#failures[0] ?? null }).load;
  }

  log(): string[] {
    return this.#log;
  }

  async detach(): Promise<void> {
    await this.#takeBack();
  }
}

/** Why a kind of device cannot be had here, as part of a sentence. */
export function reasonWords(error: unknown): string {
  return midSentence(messageOf(error));
}
