import type { UmpathError } from "../../base/errors.ts";
import type { Geometry } from "../../block/device.ts";
import type { DeviceDriver } from "../../rpc/host_api.ts";
import type { AddVolume } from "../worker/worker_messages.ts";

/** What a worker's queue takes its requests from. */
export type QueueFeed = Pick<AddVolume, "ublk" | "fuse">;

/** No kernel device: whoever drives the volume is in the worker. */
export const NO_FEED: QueueFeed = Object.freeze({ ublk: null, fuse: null });

/** What a driver asks of the volume that it makes a device for. */
export interface VolumeQueues {
  /**
   * Makes the volume's queues in the workers, its first path live, and has the queues take requests. Before it is live,
   * a device can be scanned for partitions by nobody. `queues` and `depth` are at most what was wanted.
   */
  serve(shape: { queues: number; depth: number; requestBytes: number }, feeds: QueueFeed[]): Promise<void>;
  /** Resolves when no queue has anything of the device any more. */
  drain(): Promise<void>;
}

/** What device is wanted. */
export interface WantedDevice {
  /** Name of the volume. */
  name: string;
  geometry: Geometry;
  queues: number;
  depth: number;
}

/** A volume's block device in the kernel, whatever it is made with. */
export interface KernelDevice {
  readonly driver: DeviceDriver;
  /** Its node. */
  readonly path: string;
  /** How its queues end if another program ends them, as in ": its FUSE connection was aborted". */
  readonly endWords: string;
  /** Why it is not there any more, in words; null while it is the device that was made. Does not touch it. */
  lack(): Promise<string | null>;
  /**
   * Has it take writes, or none.
   *
   * @throws UmpathError if it stays as it was.
   */
  setReadOnly(readOnly: boolean): Promise<void>;
  /**
   * Gives it the size of the geometry, which its queues have by now.
   *
   * @throws UmpathError if it keeps the size that it had.
   */
  resize(geometry: Geometry): Promise<void>;
  /**
   * Takes it away. Gives what went wrong on the way although it is gone.
   *
   * @throws UmpathError if it is not gone.
   */
  destroy(options: { force: boolean }): Promise<UmpathError[]>;
}
