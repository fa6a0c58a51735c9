import { errnoWords } from "../../base/errno.ts";
import { logger } from "../../base/log.ts";
import type { KernelDevice } from "./kernel_device.ts";

const log = logger("volume");

/**
 * The kernel's half of a volume. Other programs can take it away at any time: unbind or delete the device, abort the
 * FUSE connection, unload the driver. Once it is lost it stays so: another device has to be made.
 */
export class DeviceWatch {
  readonly #volume: string;
  #device: KernelDevice | null = null;
  /** Why I/O on the device cannot succeed any more. */
  #lost: string | null = null;
  /** The device, or only its queues, are gone. */
  #isGone = false;
  #isRetiring = false;
  #look: Promise<void> | null = null;
  #looksAgain = false;

  /** `volume` is its name. */
  constructor(volume: string) {
    this.#volume = volume;
  }

  /** The device of the volume is made. */
  adopt(device: KernelDevice): void {
    this.#device = device;
  }

  /** From now on its queues end since we take it away, or did: nothing is lost by that. */
  retire(): void {
    this.#isRetiring = true;
  }

  /** It could not be taken away, and is as it was. */
  keep(): void {
    this.#isRetiring = false;
  }

  /** Why it is lost, in words; null while it is not. */
  get lost(): string | null {
    return this.#lost;
  }

  /** True if its name is not ours any more. */
  get isGone(): boolean {
    return this.#isGone;
  }

  /** A queue gets no more requests. `failure` is a negative errno, or 0 if the kernel just ended it. */
  handleQueueEnded(failure: number): void {
    if (this.#device === null || this.#isRetiring) return;
    const device = this.#device;
    void this.look().then(() => {
      const why = failure === 0 ? `the kernel has ended it${device.endWords}` : errnoWords(failure);
      if (!this.#isRetiring) this.#lose(`${device.path} takes no I/O any more: ${why}`);
    });
  }

  /** Compares what is there with what was made. Cheap; whoever asks meanwhile gets the same answer, or the next. */
  look(): Promise<void> {
    this.#looksAgain = this.#look !== null;
    this.#look ??= this.#lookAll().finally(() => this.#look = null);
    return this.#look;
  }

  async #lookAll(): Promise<void> {
    do {
      this.#looksAgain = false;
      await this.#lookOnce();
    } while (this.#looksAgain);
  }

  async #lookOnce(): Promise<void> {
    if (this.#device === null || this.#isGone || this.#isRetiring) return;
    const why = await this.#device.lack();
    if (why === null || this.#isRetiring) return;
    this.#isGone = true;
    this.#lose(why);
  }

  #lose(why: string): void {
    if (this.#lost !== null) return;
    this.#lost = why;
    log.error(`${this.#volume}: its device is lost: ${why}`);
  }
}
