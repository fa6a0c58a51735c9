/** Verified load on a volume that this very process has attached, without any kernel device. */
import { LoadControl } from "../block/load_control.ts";
import type { AttachedVolume } from "../host/driver/attached_volume.ts";
import { Load, LOAD_DEPTH, LOAD_UNIT_BYTES, type LoadThread } from "./load.ts";

export class VolumeLoad implements LoadThread {
  readonly load: Load;
  readonly #volume: AttachedVolume;
  readonly #failureOf: () => string | null;

  /** `failureOf` gives why a data-plane thread has failed, or null. */
  constructor(volume: AttachedVolume, options: { units: number; seed: number; failureOf: () => string | null }) {
    const { units, seed, failureOf } = options;
    const control = new LoadControl();
    this.#volume = volume;
    this.#failureOf = failureOf;
    this.load = new Load(control, this, units);
    volume.startLoad({ depth: LOAD_DEPTH, unitBytes: LOAD_UNIT_BYTES, units, seed, control: control.buffer });
  }

  get failure(): string | null {
    return this.#failureOf();
  }

  wake(): void {
    this.#volume.wakeWorkers();
  }
}
