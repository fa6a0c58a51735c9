import { messageOf, UmpathError } from "../base/errors.ts";
import { logger } from "../base/log.ts";
import { formatSize } from "../base/units.ts";
import type { Geometry } from "../block/device.ts";
import type { KernelDevice } from "./kernel_device.ts";

const log = logger("volume");

/** Whose size it is. */
export interface SizedVolume {
  readonly name: string;
  /** The kernel device; null while there is none. */
  readonly kernelDevice: KernelDevice | null;
  /** Tells every queue; resolves when all have taken it. */
  resizeQueues(blocks: number): Promise<void>;
}

/**
 * The geometry of a volume, whose size may change while it is in use: first in its queues, so that nothing beyond the
 * end reaches a path, then in the kernel device, one change after the other.
 */
export class VolumeSize {
  /** Why the kernel device has another size than the volume, in words; null if it has not. */
  warning: string | null = null;
  #geometry: Geometry;
  /** Blocks that the queues have, and that the kernel device was asked to have. */
  #queueBlocks: number;
  #deviceBlocks: number;
  #running: Promise<void> | null = null;
  readonly #volume: SizedVolume;

  constructor(volume: SizedVolume, geometry: Geometry) {
    this.#volume = volume;
    this.#geometry = geometry;
    this.#queueBlocks = geometry.blocks;
    this.#deviceBlocks = geometry.blocks;
  }

  get geometry(): Geometry {
    return this.#geometry;
  }

  /** Changes the size; what was asked for last counts. */
  change(blocks: number): void {
    const { blockSize } = this.#geometry;
    const words = `from ${formatSize(this.#geometry.blocks * blockSize)} to ${formatSize(blocks * blockSize)}`;
    if (blocks > this.#geometry.blocks) log.info(`${this.#volume.name}: its namespace has grown ${words}`);
    else log.warn(`${this.#volume.name}: its namespace has SHRUNK ${words}: what was beyond is lost, I/O there fails`);
    this.#geometry = { ...this.#geometry, blocks };
    void this.settle();
  }

  /** Brings queues and kernel device to the size that the volume has by now; a device may be there only since. */
  settle(): Promise<void> {
    this.#running ??= this.#run().finally(() => this.#running = null);
    return this.#running;
  }

  async #run(): Promise<void> {
    while (this.#needsWork) await this.#step();
  }

  get #needsWork(): boolean {
    const { blocks } = this.#geometry;
    return blocks !== this.#queueBlocks || (this.#volume.kernelDevice !== null && blocks !== this.#deviceBlocks);
  }

  async #step(): Promise<void> {
    const geometry = this.#geometry;
    if (geometry.blocks !== this.#queueBlocks) {
      this.#queueBlocks = geometry.blocks;
      return await this.#volume.resizeQueues(geometry.blocks);
    }
    this.#deviceBlocks = geometry.blocks;
    const device = this.#volume.kernelDevice!;
    try {
      await device.resize(geometry);
      this.warning = null;
      log.info(`${this.#volume.name}: ${device.path} has its new size`);
    } catch (error) {
      const failure = UmpathError.from(error);
      this.warning = messageOf(failure);
      log.warn(`${this.#volume.name}: ${failure.message}${failure.hint === undefined ? "" : `: ${failure.hint}`}`);
    }
  }
}
