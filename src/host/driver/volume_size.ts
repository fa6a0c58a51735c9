import { messageOf, UmpathError } from "../../base/errors.ts";
import { logger } from "../../base/log.ts";
import { formatSize } from "../../base/units.ts";
import type { Geometry } from "../../block/device.ts";
import type { KernelDevice } from "../device/kernel_device.ts";

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
 * The geometry of a volume, whose size may change while it is in use, and whether it takes writes. A size goes into its
 * queues first, so that nothing beyond the end reaches a path, then into the kernel device, one change after the other.
 */
export class VolumeSize {
  /** Why the kernel device has another size than the volume, in words; null if it has not. */
  warning: string | null = null;
  #geometry: Geometry;
  /** Blocks that the queues have, and that the kernel device was asked to have. */
  #queueBlocks: number;
  #deviceBlocks: number;
  #isDeviceReadOnly: boolean;
  /** The kernel device takes no writes though the volume does: it was made so. */
  #isDeviceStuck = false;
  readonly #isReadOnlyByOption: boolean;
  #running: Promise<void> | null = null;
  readonly #volume: SizedVolume;

  constructor(volume: SizedVolume, geometry: Geometry, { isReadOnlyByOption }: { isReadOnlyByOption: boolean }) {
    this.#volume = volume;
    this.#isReadOnlyByOption = isReadOnlyByOption;
    this.#geometry = geometry;
    this.#queueBlocks = geometry.blocks;
    this.#deviceBlocks = geometry.blocks;
    this.#isDeviceReadOnly = geometry.readOnly;
  }

  get geometry(): Geometry {
    return this.#geometry;
  }

  /** Why the volume takes no writes, in words; null if it does. */
  get readOnlyReason(): string | null {
    if (this.#isReadOnlyByOption) return "it was attached with --read-only";
    if (this.#geometry.readOnly) return "its namespace is write protected";
    if (!this.#isDeviceStuck) return null;
    return "its device was made while its namespace was write protected: to write, detach it and attach it again";
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

  /** The volume takes no writes any more, or takes them again. */
  setReadOnly(readOnly: boolean): void {
    if (readOnly === this.#geometry.readOnly) return;
    const words = readOnly ? "is write protected now: writes fail" : "is not write protected any more";
    log.warn(`${this.#volume.name}: its namespace ${words}`);
    this.#geometry = { ...this.#geometry, readOnly };
    void this.settle();
  }

  /** Brings queues and kernel device to what the volume has by now; a device may be there only since. */
  settle(): Promise<void> {
    this.#running ??= this.#run().finally(() => this.#running = null);
    return this.#running;
  }

  async #run(): Promise<void> {
    while (this.#needsWork) await this.#step();
  }

  get #needsWork(): boolean {
    const { blocks, readOnly } = this.#geometry;
    if (blocks !== this.#queueBlocks) return true;
    const isDeviceOther = blocks !== this.#deviceBlocks || readOnly !== this.#isDeviceReadOnly;
    return this.#volume.kernelDevice !== null && isDeviceOther;
  }

  async #step(): Promise<void> {
    const geometry = this.#geometry;
    if (geometry.blocks !== this.#queueBlocks) {
      this.#queueBlocks = geometry.blocks;
      return await this.#volume.resizeQueues(geometry.blocks);
    }
    const device = this.#volume.kernelDevice!;
    if (geometry.readOnly !== this.#isDeviceReadOnly) return await this.#protect(device, geometry.readOnly);
    this.#deviceBlocks = geometry.blocks;
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

  async #protect(device: KernelDevice, readOnly: boolean): Promise<void> {
    this.#isDeviceReadOnly = readOnly;
    try {
      await device.setReadOnly(readOnly);
      this.#isDeviceStuck = false;
      log.info(`${this.#volume.name}: ${device.path} ${readOnly ? "is read-only now" : "takes writes again"}`);
    } catch (error) {
      this.#isDeviceStuck = !readOnly;
      const { message, hint } = UmpathError.from(error);
      log.warn(`${this.#volume.name}: ${message}${hint === undefined ? "" : `: ${hint}`}`);
    }
  }
}
