/** A volume that a test has attached, and what it can see of it. */
import type { AttachParams, PathInfo, PathSpec, VolumeInfo } from "../../src/rpc/host_api.ts";
import type { Timeouts } from "../../src/settings/timeouts.ts";
import { ask, volumes } from "./daemon_process.ts";
import { eventually } from "./eventually.ts";
import { type NvmetOptions, type NvmetPort, NvmetTarget } from "./nvmet.ts";

/** Names of the storage system and of this host in most tests. */
export const NQN = "nqn.2026-11.io.test:vol";
export const PORTS: NvmetPort[] = [{ addr: "127.0.0.1", port: 4420 }, { addr: "127.0.0.2", port: 4420 }];
export const HOST_NQN = "nqn.2014-08.org.nvmexpress:uuid:5c0f1d0a-29c5-4b5c-9a4f-0d8e7c1b2a31";
const HOST_ID = "5c0f1d0a-29c5-4b5c-9a4f-0d8e7c1b2a31";
/** Another host than umpath's, for the kernel's initiator. */
export const KERNEL_HOST_NQN = "nqn.2014-08.org.nvmexpress:uuid:8d1f1d0c-52a1-4a57-9f3e-6b0a4f1c7e20";
export const UUID = "7f3f1a3e-0a3b-4a57-9d38-0c5f0f4f2a11";

const STATE_MS = 30_000;

/** An emulated machine that shares its host may stand still for seconds: that alone must not look like a lost path. */
const TIMEOUTS: Partial<Timeouts> = { connectTimeoutMs: 30_000, keepAliveMs: 15_000, writeHoldMs: 1000 };

/** A target with one namespace of 64 MiB behind both ports, unless told otherwise. */
export function makeTarget(
  options: Partial<NvmetOptions> & { blockSize?: 512 | 4096; sizeMiB?: number; attributes?: Record<string, number> } =
    {},
): Promise<NvmetTarget> {
  const { blockSize = 4096, sizeMiB = 64, ...rest } = options;
  const namespaces = [{ nsid: 1, sizeMiB, blockSize, uuid: UUID }];
  return NvmetTarget.create({ nqn: NQN, ports: PORTS, namespaces, ...rest });
}

/** A path to a port. */
export function pathTo({ addr, port }: NvmetPort): PathSpec {
  return { transport: "tcp", traddr: addr, trsvcid: port, hostTraddr: null, hostIface: null };
}

/** A volume from attach to detach: disposing of it detaches it in order, by force if that fails. */
export class AttachedVolume implements AsyncDisposable {
  readonly name: string;
  readonly device: string;
  /** What the daemon warned of while it attached. */
  readonly warnings: string[];

  private constructor(name: string, device: string, warnings: string[]) {
    this.name = name;
    this.device = device;
    this.warnings = warnings;
  }

  /** Attaches over the daemon's socket: what `umpath attach` asks for, without starting a process. */
  static async attach(options: Partial<AttachParams> & { ports?: NvmetPort[] } = {}): Promise<AttachedVolume> {
    const { ports = PORTS, ...given } = options;
    const warnings: string[] = [];
    const timeouts = { ...TIMEOUTS, ...given.timeouts };
    const params = { ...attachDefaults(), paths: ports.map(pathTo), ...given, timeouts };
    const result = await ask("attach", params, (warning) => warnings.push(warning));
    if (result === null) throw new Error("No daemon runs");
    return new AttachedVolume(result.volume.name, result.device, warnings);
  }

  /** The volume as `umpath show` has it. */
  async info(): Promise<VolumeInfo> {
    const info = (await volumes()).find((volume) => volume.name === this.name);
    if (info === undefined) throw new Error(`The volume ${this.name} is gone`);
    return info;
  }

  /** The path to a port. */
  async path({ addr, port }: NvmetPort): Promise<PathInfo> {
    const paths = (await this.info()).paths;
    const path = paths.find(({ traddr, trsvcid }) => traddr === addr && trsvcid === port);
    if (path === undefined) throw new Error(`${this.name} has no path to ${addr}:${port}`);
    return path;
  }

  /** Waits until the path to a port is in this state. */
  async waitPath(port: NvmetPort, state: PathInfo["state"], timeoutMs = STATE_MS): Promise<void> {
    await eventually(async () => {
      const path = await this.path(port);
      if (path.state === state) return true;
      throw new Error(`path to ${port.addr} is ${path.state}, not ${state}: ${path.reason}`);
    }, timeoutMs);
  }

  /** Waits until the volume is in this state. */
  async waitState(state: VolumeInfo["state"], timeoutMs = STATE_MS): Promise<void> {
    await eventually(async () => {
      const info = await this.info();
      if (info.state === state) return true;
      throw new Error(`volume is ${info.state}, not ${state}`);
    }, timeoutMs);
  }

  /** Detaches in order. */
  async detach(options: { force?: boolean } = {}): Promise<void> {
    await ask("detach", { volumes: [this.name], all: false, force: options.force === true });
  }

  async [Symbol.asyncDispose](): Promise<void> {
    if (!(await volumes()).some((volume) => volume.name === this.name)) return;
    try {
      await this.detach();
    } catch (error) {
      await this.detach({ force: true });
      throw error;
    }
  }
}

function attachDefaults(): AttachParams {
  return {
    nqn: NQN,
    nsid: 1,
    name: null,
    paths: [],
    device: "ublk",
    policy: "round-robin",
    queues: null,
    depth: null,
    readOnly: false,
    timeouts: TIMEOUTS,
    hostNqn: HOST_NQN,
    hostId: HOST_ID,
  };
}
