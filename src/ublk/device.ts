import { MachineState, StateTable } from "../base/state_table.ts";
import type { DeviceInfo } from "./device_info.ts";

/** How far a kernel device has come, from ADD_DEV to DEL_DEV. */
export type DeviceState =
  /** ADD_DEV is done: there is a `/dev/ublkcN`. */
  | "added"
  /** SET_PARAMS is done. */
  | "configured"
  /** `/dev/ublkcN` is open. */
  | "opened"
  /** The queues fetch, or have fetched, every tag. */
  | "fetching"
  /** START_DEV is done: there is a `/dev/ublkbN`, and I/O. */
  | "live"
  /** STOP_DEV was sent; the queues serve until it returns, and then drain. */
  | "stopping"
  /** No queue has a command in the kernel, `/dev/ublkcN` is closed. */
  | "stopped"
  /** DEL_DEV is done. */
  | "deleted";

/** Which states may follow which. */
export const DEVICE_STATES = new StateTable<DeviceState>("A ublk device", {
  added: ["configured", "stopped"],
  configured: ["opened", "stopped"],
  opened: ["fetching", "stopped"],
  fetching: ["live", "stopping"],
  live: ["stopping"],
  stopping: ["stopped"],
  stopped: ["deleted"],
  deleted: [],
});

/** A kernel block device as the driver made it, and how far it has come. */
export class UblkDevice {
  /** N of `/dev/ublkbN`. */
  readonly devId: number;
  /** Hardware queues: at most what was asked, and no more than the host has CPUs. */
  readonly queues: number;
  /** Tags of each queue. */
  readonly depth: number;
  /** Largest I/O in bytes: at most what was asked, in whole pages. */
  readonly maxIoBytes: number;
  /** Bits of `UblkFeature` that the device has. */
  readonly features: bigint;
  /** What we have said of ourselves: the number is given to others later. */
  readonly ownerMark: bigint;
  /** Commands are ioctl-encoded; see `UblkQueueOptions`. */
  readonly ioctlEncode: boolean;
  /** The open `/dev/ublkcN`, -1 while it is not open. */
  charFd = -1;
  readonly #state = new MachineState(DEVICE_STATES, "added");

  constructor(info: DeviceInfo, options: { ioctlEncode: boolean }) {
    this.devId = info.devId;
    this.queues = info.queues;
    this.depth = info.depth;
    this.maxIoBytes = info.maxIoBytes;
    this.features = info.features;
    this.ownerMark = info.ownerMark;
    this.ioctlEncode = options.ioctlEncode;
  }

  get state(): DeviceState {
    return this.#state.name;
  }

  /** The character device that the queues are served through. */
  get charPath(): string {
    return `/dev/ublkc${this.devId}`;
  }

  /** The block device. */
  get blockPath(): string {
    return `/dev/ublkb${this.devId}`;
  }

  /** Moves to the next state; a step that the table does not have is a bug of ours. */
  transition(to: DeviceState): void {
    this.#state.transition(to);
  }
}
