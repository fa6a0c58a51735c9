/**
 * A storage system made of the kernel's NVMe/TCP target (nvmet) with memory behind it, for tests in the VM.
 *
 * Every step that changes the kernel's state leaves its way back on a stack, so that `close()` removes exactly what
 * was made, in reverse order, however far `create()` came.
 */
import { NullBlock, type NullBlockOptions } from "./null_block.ts";
import { run } from "./process.ts";

const NVMET = "/sys/kernel/config/nvmet";
const ANA_GROUP_DEFAULT = 1;
const PORT_NUMBER_MAX = 256;

/** ANA states as nvmet's configfs spells them. */
export type NvmetAnaState = "optimized" | "non-optimized" | "inaccessible" | "persistent-loss" | "change";

/** Where the target listens. */
export interface NvmetPort {
  addr: string;
  port: number;
}

/** A namespace and the memory behind it. */
export interface NvmetNamespace extends NullBlockOptions {
  nsid: number;
  uuid?: string;
  nguid?: string;
  /** ANA group, 1 by default. */
  anaGroup?: number;
  /** A file that is there, instead of memory: its size can be changed. */
  file?: string;
}

/** What to make. */
export interface NvmetOptions {
  nqn: string;
  ports: NvmetPort[];
  namespaces: NvmetNamespace[];
  /** Default: true unless `allowedHosts` is given. */
  allowAnyHost?: boolean;
  /** Host NQNs. */
  allowedHosts?: string[];
  /** Words before a program so that it runs in the network namespace that the ports are in. Default: this one. */
  enter?: string[];
}

interface PortState extends NvmetPort {
  folder: string;
  present: boolean;
  linked: boolean;
}

/** One subsystem with its namespaces, behind one or more TCP ports. */
export class NvmetTarget {
  readonly nqn: string;
  readonly #folder: string;
  readonly #options: NvmetOptions;
  readonly #ports: PortState[] = [];
  readonly #undo: (() => Promise<void>)[] = [];

  private constructor(options: NvmetOptions) {
    this.nqn = options.nqn;
    this.#options = options;
    this.#folder = `${NVMET}/subsystems/${options.nqn}`;
  }

  /** Makes the target and opens its ports. */
  static async create(options: NvmetOptions): Promise<NvmetTarget> {
    await run("modprobe", ["nvmet"], { check: true });
    await run("modprobe", ["nvmet-tcp"], { check: true });
    const target = new NvmetTarget(options);
    try {
      await target.#createSubsystem();
      for (const namespace of options.namespaces) await target.#createNamespace(namespace);
      for (const port of options.ports) await target.#addPort(port);
    } catch (error) {
      await target.close().catch((closeError) => console.error(closeError));
      throw error;
    }
    return target;
  }

  /** Takes the subsystem off the port: its connections are closed and, with no other subsystem, its listener too. */
  async removePort(index: number): Promise<void> {
    const port = this.#port(index);
    if (!port.linked) return;
    await Deno.remove(this.#linkOf(port));
    port.linked = false;
  }

  /** Takes the subsystem off the port and removes the port with its ANA states. */
  async destroyPort(index: number): Promise<void> {
    await this.removePort(index);
    const port = this.#port(index);
    if (!port.present) return;
    await this.#removePortFolder(port);
  }

  /** Brings a removed or destroyed port back; a destroyed one with every ANA group optimized. */
  async restorePort(index: number): Promise<void> {
    const port = this.#port(index);
    if (!port.present) await this.#createPortFolder(port);
    if (port.linked) return;
    // The port listens in the namespace of whoever makes the link.
    const [program, ...words] = [...this.#options.enter ?? [], "ln", "-s", this.#folder, this.#linkOf(port)];
    await run(program!, words, { check: true });
    port.linked = true;
  }

  /** Sets what a port says about an ANA group; hosts are told by an asynchronous event. */
  async setAnaState(index: number, group: number, state: NvmetAnaState): Promise<void> {
    const port = this.#port(index);
    await makeFolder(`${port.folder}/ana_groups/${group}`);
    await write(`${port.folder}/ana_groups/${group}/ana_state`, state);
  }

  /** Shows a namespace to the hosts. */
  async enableNamespace(nsid: number): Promise<void> {
    await write(`${this.#namespaceFolder(nsid)}/enable`, "1");
  }

  /** Hides a namespace from the hosts; what it holds is kept. */
  async disableNamespace(nsid: number): Promise<void> {
    await write(`${this.#namespaceFolder(nsid)}/enable`, "0");
  }

  /** Puts a namespace into another ANA group; hosts are told by an asynchronous event. */
  async setAnaGroup(nsid: number, group: number): Promise<void> {
    await write(`${this.#namespaceFolder(nsid)}/ana_grpid`, String(group));
  }

  /** Controllers have at most so many I/O queues from now on: those that are connected are ended. */
  async setQueuesMax(queues: number): Promise<void> {
    await write(`${this.#folder}/attr_qid_max`, String(queues));
  }

  /** The target looks how large the namespace's file is by now; hosts are told if it has changed. */
  async revalidateSize(nsid: number): Promise<void> {
    await write(`${this.#namespaceFolder(nsid)}/revalidate_size`, "1");
  }

  /** The discovery service at a port refers to one at another address. */
  async addReferral(index: number, to: NvmetPort): Promise<void> {
    const folder = `${this.#port(index).folder}/referrals/${to.addr}`;
    await Deno.mkdir(folder);
    this.#undo.push(() => Deno.remove(folder));
    await write(`${folder}/addr_trtype`, "tcp");
    await write(`${folder}/addr_adrfam`, to.addr.includes(":") ? "ipv6" : "ipv4");
    await write(`${folder}/addr_traddr`, to.addr);
    await write(`${folder}/addr_trsvcid`, String(to.port));
    await write(`${folder}/enable`, "1");
    this.#undo.push(() => write(`${folder}/enable`, "0"));
  }

  /** Lets a host in. */
  async allowHost(hostnqn: string): Promise<void> {
    if (await makeFolder(`${NVMET}/hosts/${hostnqn}`)) {
      this.#undo.push(() => Deno.remove(`${NVMET}/hosts/${hostnqn}`));
    }
    const link = `${this.#folder}/allowed_hosts/${hostnqn}`;
    await Deno.symlink(`${NVMET}/hosts/${hostnqn}`, link);
    this.#undo.push(() => removeIfThere(link));
  }

  /** Shuts a host out again; its connections are closed. */
  async forbidHost(hostnqn: string): Promise<void> {
    await Deno.remove(`${this.#folder}/allowed_hosts/${hostnqn}`);
  }

  /** Removes everything. Goes on after a failure, and then throws all of them. */
  async close(): Promise<void> {
    const errors: unknown[] = [];
    for (let undo = this.#undo.pop(); undo; undo = this.#undo.pop()) {
      await undo().catch((error) => errors.push(error));
    }
    if (errors.length > 0) throw new AggregateError(errors, `Cannot remove all of the NVMe target ${this.nqn}`);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close();
  }

  async #createSubsystem(): Promise<void> {
    await Deno.mkdir(this.#folder);
    this.#undo.push(() => Deno.remove(this.#folder));
    const { allowedHosts = [], allowAnyHost = allowedHosts.length === 0 } = this.#options;
    await write(`${this.#folder}/attr_allow_any_host`, allowAnyHost ? "1" : "0");
    for (const hostnqn of allowedHosts) await this.allowHost(hostnqn);
  }

  async #createNamespace(namespace: NvmetNamespace): Promise<void> {
    const device = namespace.file ?? await this.#createMemory(namespace);
    const folder = this.#namespaceFolder(namespace.nsid);
    await Deno.mkdir(folder);
    this.#undo.push(() => Deno.remove(folder));
    await write(`${folder}/device_path`, device);
    if (namespace.file !== undefined) await write(`${folder}/buffered_io`, "1");
    if (namespace.uuid !== undefined) await write(`${folder}/device_uuid`, namespace.uuid);
    if (namespace.nguid !== undefined) await write(`${folder}/device_nguid`, namespace.nguid);
    if (namespace.anaGroup !== undefined) await write(`${folder}/ana_grpid`, String(namespace.anaGroup));
    await this.enableNamespace(namespace.nsid);
    this.#undo.push(() => this.disableNamespace(namespace.nsid));
  }

  async #createMemory(namespace: NvmetNamespace): Promise<string> {
    const backend = await NullBlock.create(namespace);
    this.#undo.push(() => backend.close());
    return backend.device;
  }

  async #addPort({ addr, port }: NvmetPort): Promise<void> {
    const state = { addr, port, folder: "", present: false, linked: false };
    this.#ports.push(state);
    const index = this.#ports.length - 1;
    this.#undo.push(() => this.destroyPort(index));
    await this.restorePort(index);
  }

  async #createPortFolder(port: PortState): Promise<void> {
    port.folder = await makeFreePortFolder();
    port.present = true;
    await write(`${port.folder}/addr_trtype`, "tcp");
    await write(`${port.folder}/addr_adrfam`, port.addr.includes(":") ? "ipv6" : "ipv4");
    await write(`${port.folder}/addr_traddr`, port.addr);
    await write(`${port.folder}/addr_trsvcid`, String(port.port));
    for (const group of this.#anaGroups()) {
      await makeFolder(`${port.folder}/ana_groups/${group}`);
      await write(`${port.folder}/ana_groups/${group}/ana_state`, "optimized");
    }
  }

  async #removePortFolder(port: PortState): Promise<void> {
    for await (const group of Deno.readDir(`${port.folder}/ana_groups`)) {
      if (group.name === String(ANA_GROUP_DEFAULT)) continue;
      await Deno.remove(`${port.folder}/ana_groups/${group.name}`);
    }
    await Deno.remove(port.folder);
    port.present = false;
  }

  #anaGroups(): Set<number> {
    return new Set(this.#options.namespaces.map((namespace) => namespace.anaGroup ?? ANA_GROUP_DEFAULT));
  }

  #namespaceFolder(nsid: number): string {
    return `${this.#folder}/namespaces/${nsid}`;
  }

  #linkOf(port: PortState): string {
    return `${port.folder}/subsystems/${this.nqn}`;
  }

  #port(index: number): PortState {
    const port = this.#ports[index];
    if (!port) throw new RangeError(`Cannot find port ${index}: the target ${this.nqn} has ${this.#ports.length}`);
    return port;
  }
}

async function makeFreePortFolder(): Promise<string> {
  for (let number = 1; number <= PORT_NUMBER_MAX; number++) {
    const folder = `${NVMET}/ports/${number}`;
    if (await makeFolder(folder)) return folder;
  }
  throw new Error(`Cannot make another NVMe target port: ${PORT_NUMBER_MAX} exist`);
}

/** Makes a folder; false when it was there. */
async function makeFolder(folder: string): Promise<boolean> {
  try {
    await Deno.mkdir(folder);
    return true;
  } catch (error) {
    if (error instanceof Deno.errors.AlreadyExists) return false;
    throw error;
  }
}

async function removeIfThere(path: string): Promise<void> {
  try {
    await Deno.remove(path);
  } catch (error) {
    if (!(error instanceof Deno.errors.NotFound)) throw error;
  }
}

async function write(path: string, value: string): Promise<void> {
  try {
    await Deno.writeTextFile(path, value, { create: false });
  } catch (error) {
    const reason = error instanceof Error ? error.message : String(error);
    throw new Error(`Cannot write "${value}" to ${path}: ${reason}`, { cause: error });
  }
}
