/**
 * A network between a host and a storage system, each in a network namespace of its own: for every path a cable (a veth
 * pair) with a subnet to itself, on which things can go wrong one by one. The host may be where the test runs instead:
 * the kernel's own initiator connects again from there, wherever it has connected.
 */
import { runTool } from "../../scripts/build_tool.ts";

/** The two ends of every cable. */
export type Side = "host" | "storage";

const PORT = 4420;
/** 198.18.0.0/15 is for tests of networks (RFC 2544): nothing else is there. */
const SUBNETS = "198.18";

/** Where the packets of a path meet the rules: as the storage system sends or receives them. */
export type Direction = "from-host" | "to-host";

/** The name of a cable's end in its namespace. */
function linkOf(path: number): string {
  return `path${path}`;
}

/** Namespaces, cables and addresses; all of it goes with `dispose`. */
export class Network implements AsyncDisposable {
  readonly paths: number;
  /** The namespaces; null is the one that the test runs in. */
  readonly #names: Record<Side, string | null>;

  private constructor(paths: number, isHostHere: boolean) {
    const id = crypto.randomUUID().slice(0, 8);
    this.#names = { host: isHostHere ? null : `umpath-h-${id}`, storage: `umpath-s-${id}` };
    this.paths = paths;
  }

  static async create({ paths = 2, isHostHere = false } = {}): Promise<Network> {
    const network = new Network(paths, isHostHere);
    try {
      await network.#make();
    } catch (error) {
      await network[Symbol.asyncDispose]();
      throw error;
    }
    return network;
  }

  async #make(): Promise<void> {
    for (const name of Object.values(this.#names)) {
      if (name === null) continue;
      await ip("netns", "add", name);
      await ip("-n", name, "link", "set", "lo", "up");
    }
    const storage = this.#names.storage!;
    for (let path = 0; path < this.paths; path++) {
      const link = linkOf(path);
      await this.ip("host", "link", "add", link, "type", "veth", "peer", "name", link, "netns", storage);
      for (const side of ["host", "storage"] as const) {
        await this.addAddress(side, path);
        await this.ip(side, "link", "set", link, "up");
      }
    }
  }

  /** Runs `ip` at this end of the network. */
  async ip(side: Side, ...words: string[]): Promise<void> {
    const name = this.#names[side];
    await ip(...(name === null ? [] : ["-n", name]), ...words);
  }

  /** What goes before a program that is to run at this end of the network. */
  enter(side: Side): string[] {
    const name = this.#names[side];
    return name === null ? [] : ["nsenter", `--net=/run/netns/${name}`];
  }

  /** Where the storage system listens. */
  get portals(): { hostname: string; port: number; words: string }[] {
    return Array.from({ length: this.paths }, (_, path) => {
      const hostname = addressOf("storage", path);
      return { hostname, port: PORT, words: `${hostname}:${PORT}` };
    });
  }

  /** Pulls the cable, or puts it in again: at the storage system's end, so that the host's has no carrier. */
  async setLink(path: number, state: "up" | "down"): Promise<void> {
    await this.ip("storage", "link", "set", linkOf(path), state);
  }

  async addAddress(side: Side, path: number): Promise<void> {
    await this.ip(side, "address", "add", `${addressOf(side, path)}/24`, "dev", linkOf(path));
  }

  async removeAddress(side: Side, path: number): Promise<void> {
    await this.ip(side, "address", "delete", `${addressOf(side, path)}/24`, "dev", linkOf(path));
  }

  /** From now on every packet of the path in these directions meets `rule`, in the words of nft. */
  async addRule(path: number, directions: Direction[], rule: string): Promise<void> {
    const chains = directions.map((direction) => {
      const [hook, device] = direction === "from-host" ? ["input", "iifname"] : ["output", "oifname"];
      const type = `type filter hook ${hook} priority filter; policy accept;`;
      return `chain ${hook} {\n${type}\n${device} "${linkOf(path)}" ${rule}\n}`;
    });
    await this.#nft(`table inet ${linkOf(path)} {\n${chains.join("\n")}\n}`);
  }

  /** Takes the rules of the path away. */
  async clearRules(path: number): Promise<void> {
    await this.#nft(`delete table inet ${linkOf(path)}`);
  }

  /** What the storage system sends on this path takes so much longer; for the kernels that have netem. */
  async setDelay(path: number, milliseconds: number): Promise<void> {
    const what = milliseconds === 0 ? ["delete"] : ["replace"];
    const how = milliseconds === 0 ? [] : ["netem", "delay", `${milliseconds}ms`];
    await this.#atStorage("tc", "qdisc", ...what, "dev", linkOf(path), "root", ...how);
  }

  async #nft(text: string): Promise<void> {
    await this.#atStorage("nft", text);
  }

  async #atStorage(...command: string[]): Promise<void> {
    const [program, ...words] = [...this.enter("storage"), ...command];
    await runTool(program!, words);
  }

  /** Cables go with the storage system's namespace; one that a program is still in goes with the program. */
  async [Symbol.asyncDispose](): Promise<void> {
    const { stdout } = await new Deno.Command("ip", { args: ["netns", "list"] }).output();
    const present = new TextDecoder().decode(stdout).split("\n").map((line) => line.split(" ")[0]);
    for (const name of Object.values(this.#names)) {
      if (name !== null && present.includes(name)) await ip("netns", "delete", name);
    }
  }
}

function addressOf(side: Side, path: number): string {
  return `${SUBNETS}.${path}.${side === "host" ? 1 : 2}`;
}

async function ip(...words: string[]): Promise<void> {
  await runTool("ip", words);
}
