/** Memory-backed block devices from the kernel's null_blk, made and removed through configfs. */
import { run } from "./process.ts";

const NULL_BLK = "/sys/kernel/config/nullb";

/** What the device looks like. */
export interface NullBlockOptions {
  sizeMiB: number;
  blockSize: 512 | 4096;
  /** Further attributes as null_blk names them, for example `{ irqmode: 2, completion_nsec: 1_000_000 }`. */
  attributes?: Record<string, number>;
}

/** One null_blk device. */
export class NullBlock {
  /** The device node, for example /dev/umpath-test-1. */
  readonly device: string;
  readonly #folder: string;

  private constructor(folder: string, device: string) {
    this.#folder = folder;
    this.device = device;
  }

  /** Makes a device that keeps what is written to it in memory. */
  static async create(options: NullBlockOptions): Promise<NullBlock> {
    await run("modprobe", ["null_blk", "nr_devices=0"], { check: true });
    const name = `umpath-test-${crypto.randomUUID().slice(0, 8)}`;
    const folder = `${NULL_BLK}/${name}`;
    await Deno.mkdir(folder);
    try {
      const attributes = {
        size: options.sizeMiB,
        blocksize: options.blockSize,
        memory_backed: 1,
        discard: 1,
        ...options.attributes,
        power: 1,
      };
      for (const [attribute, value] of Object.entries(attributes)) {
        await Deno.writeTextFile(`${folder}/${attribute}`, String(value), { create: false });
      }
      return new NullBlock(folder, await findDevice(folder, name));
    } catch (error) {
      await Deno.remove(folder);
      throw error;
    }
  }

  /** Removes the device and its content. */
  async close(): Promise<void> {
    await Deno.writeTextFile(`${this.#folder}/power`, "0", { create: false });
    await Deno.remove(this.#folder);
  }
}

/** Kernels name the device after the configfs folder, older ones after its index. */
async function findDevice(folder: string, name: string): Promise<string> {
  const index = (await Deno.readTextFile(`${folder}/index`)).trim();
  for (const device of [`/dev/${name}`, `/dev/nullb${index}`]) {
    try {
      await Deno.lstat(device);
      return device;
    } catch (error) {
      if (!(error instanceof Deno.errors.NotFound)) throw error;
    }
  }
  throw new Error(`Cannot find the device node of the null_blk device "${name}"`);
}
