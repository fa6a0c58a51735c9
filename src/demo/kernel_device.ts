/** What the kernel has of a block device, by its name in /dev. */

/** What it counts: requests so far, and of these the reads with their bytes. */
export interface KernelCounts {
  requests: number;
  reads: number;
  readBytes: number;
}

/** Block sizes of /sys/block/…/stat and …/size are of 512 bytes, whatever the device's are. */
const SECTOR_BYTES = 512;

export class KernelDevice {
  /** For example /dev/loop0. */
  readonly path: string;
  readonly #folder: string;
  /** Of a loop device: the file that it is over. The same number may be somebody else's device later. */
  readonly #backingFile: string | null;

  /** The device is there. */
  constructor(path: string) {
    this.path = path;
    this.#folder = `/sys/block/${path.replace("/dev/", "")}`;
    this.#backingFile = this.#readBackingFile();
  }

  #readBackingFile(): string | null {
    try {
      return this.#read("loop/backing_file");
    } catch {
      return null;
    }
  }

  get isBlockDevice(): boolean {
    try {
      return Deno.statSync(this.path).isBlockDevice ?? false;
    } catch {
      return false;
    }
  }

  get sizeBytes(): number {
    return Number(this.#read("size")) * SECTOR_BYTES;
  }

  get blockSize(): number {
    return Number(this.#read("queue/logical_block_size"));
  }

  /** Reads, reads merged, sectors read, ms, writes, … (Documentation/block/stat.rst of the kernel). */
  get counts(): KernelCounts {
    const stat = this.#read("stat").split(/\s+/).map(Number);
    return { requests: stat[0]! + stat[4]!, reads: stat[0]!, readBytes: stat[2]! * SECTOR_BYTES };
  }

  #read(name: string): string {
    return Deno.readTextFileSync(`${this.#folder}/${name}`).trim();
  }

  /** There is no such device, or it is a loop device over nothing, or over something else. */
  get isGone(): boolean {
    return !this.isBlockDevice || (this.#backingFile !== null && this.#readBackingFile() !== this.#backingFile);
  }
}

/** True if the kernel's own NVMe initiator has connected that subsystem: it would have the volume a second time. */
export function isKnownToKernel(nqn: string): boolean {
  try {
    for (const { name } of Deno.readDirSync("/sys/class/nvme-subsystem")) {
      if (Deno.readTextFileSync(`/sys/class/nvme-subsystem/${name}/subsysnqn`).trim() === nqn) return true;
    }
  } catch {
    return false; // the kernel has no NVMe initiator
  }
  return false;
}
