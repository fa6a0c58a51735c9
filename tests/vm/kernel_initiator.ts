/** The kernel's own NVMe/TCP initiator with native multipath: the peer that umpath is compared with. */
import { eventually } from "./eventually.ts";
import type { NvmetPort } from "./nvmet.ts";
import { run } from "./process.ts";

const SUBSYSTEMS = "/sys/class/nvme-subsystem";
const DEVICE_TIMEOUT_MS = 20_000;

/** A subsystem connected by the kernel. */
export interface KernelConnection {
  /** The multipath device of the first namespace, for example /dev/nvme0n1. */
  device: string;
  /** States of its controllers, in the order of the addresses. */
  states(): Promise<string[]>;
  /** Sets the path policy: numa, round-robin or queue-depth. */
  setPolicy(policy: string): Promise<void>;
  /** Ends all its connections. */
  disconnect(): Promise<void>;
}

/** What nvme-cli tells as JSON. */
export async function nvmeJson(...args: string[]) {
  const { stdout } = await run("nvme", [...args, "-o", "json"], { check: true });
  return JSON.parse(stdout);
}

/**
 * Connects a subsystem over all addresses with nvme-cli, as a host of its own: with another host NQN than umpath's, the
 * target sees two hosts. `extra` are further options of `nvme connect`.
 */
export async function kernelConnect(
  nqn: string,
  addrs: NvmetPort[],
  hostnqn: string,
  extra: string[] = [],
): Promise<KernelConnection> {
  await run("modprobe", ["nvme-tcp"], { check: true });
  const hostid = await hostIdOf(hostnqn);
  const disconnect = async () => {
    await run("nvme", ["disconnect", "-n", nqn], { check: true });
    await eventually(async () => await findSubsystem(nqn) === undefined, DEVICE_TIMEOUT_MS);
  };
  try {
    for (const { addr, port } of addrs) {
      const where = ["-t", "tcp", "-a", addr, "-s", String(port)];
      await run("nvme", ["connect", ...where, "-n", nqn, "-q", hostnqn, "-I", hostid, ...extra], { check: true });
    }
    const device = await eventually(async () => (await namespaceDevices(nqn))[0], DEVICE_TIMEOUT_MS);
    const states = () => controllerStates(nqn, addrs);
    return { device, states, setPolicy: (policy) => setPolicy(nqn, policy), disconnect };
  } catch (error) {
    await disconnect().catch(() => {});
    throw error;
  }
}

/** The kernel wants one host identifier per host NQN, so it follows from the NQN. */
async function hostIdOf(hostnqn: string): Promise<string> {
  const digest = new Uint8Array(await crypto.subtle.digest("SHA-256", new TextEncoder().encode(hostnqn)));
  const hex = digest.toHex();
  return [hex.slice(0, 8), hex.slice(8, 12), hex.slice(12, 16), hex.slice(16, 20), hex.slice(20, 32)].join("-");
}

async function findSubsystem(nqn: string): Promise<string | undefined> {
  try {
    for await (const entry of Deno.readDir(SUBSYSTEMS)) {
      const folder = `${SUBSYSTEMS}/${entry.name}`;
      if (await readText(`${folder}/subsysnqn`) === nqn) return folder;
    }
  } catch (error) {
    if (!(error instanceof Deno.errors.NotFound)) throw error;
  }
  return undefined;
}

/**
 * The multipath devices of all namespaces of a subsystem, in the order of their NSIDs: the kernel numbers devices as it
 * comes to them.
 */
export async function namespaceDevices(nqn: string): Promise<string[]> {
  const folder = await findSubsystem(nqn);
  const names = folder === undefined ? [] : await listMatching(folder, /^nvme\d+n\d+$/);
  const nsids = new Map<string, number>();
  for (const name of names) nsids.set(name, Number(await readText(`/sys/block/${name}/nsid`)));
  return names.sort((a, b) => nsids.get(a)! - nsids.get(b)!).map((name) => `/dev/${name}`);
}

async function controllerStates(nqn: string, addrs: NvmetPort[]): Promise<string[]> {
  const folder = await findSubsystem(nqn);
  const byAddress = new Map<string, string>();
  for (const name of folder === undefined ? [] : await listMatching(folder, /^nvme\d+$/)) {
    const address = await readText(`${folder}/${name}/address`);
    const traddr = /traddr=([^,]*)/.exec(address)?.[1];
    const trsvcid = /trsvcid=([^,]*)/.exec(address)?.[1];
    byAddress.set(`${traddr} ${trsvcid}`, await readText(`${folder}/${name}/state`));
  }
  return addrs.map(({ addr, port }) => byAddress.get(`${addr} ${port}`) ?? "gone");
}

async function setPolicy(nqn: string, policy: string): Promise<void> {
  const folder = await findSubsystem(nqn);
  if (folder === undefined) throw new Error(`Cannot set the path policy: ${nqn} is not connected`);
  await Deno.writeTextFile(`${folder}/iopolicy`, policy, { create: false });
}

async function listMatching(folder: string, pattern: RegExp): Promise<string[]> {
  const names: string[] = [];
  for await (const entry of Deno.readDir(folder)) {
    if (pattern.test(entry.name)) names.push(entry.name);
  }
  return names;
}

async function readText(path: string): Promise<string> {
  return (await Deno.readTextFile(path)).trim();
}
