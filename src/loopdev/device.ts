import { MachineState, StateTable } from "../base/state_table.ts";

/** How far a loop device over a FUSE file has come. */
export type LoopDeviceState =
  /** `/dev/fuse` is open. */
  | "opened"
  /** The file is there. */
  | "mounted"
  /** The workers serve it. */
  | "serving"
  /** The loop device is bound to it: there is I/O. */
  | "live"
  /** The loop device is free again, or goes by itself when its last user closes it. */
  | "unbound"
  /** The file is unmounted. */
  | "unmounted"
  /** Nothing is left. */
  | "removed";

/** Which states may follow which. */
export const LOOP_DEVICE_STATES = new StateTable<LoopDeviceState>("A loop device", {
  opened: ["mounted", "unmounted"],
  mounted: ["serving", "unmounted"],
  serving: ["live", "unmounted"],
  live: ["unbound"],
  unbound: ["unmounted"],
  unmounted: ["removed"],
  removed: [],
});

/** A loop device over a file that the workers serve through FUSE, and how far it has come. */
export class LoopDevice {
  /** The file, which is the root of its own mount. */
  readonly filePath: string;
  /** The descriptor of the FUSE driver that the file was mounted with. */
  readonly fuseFd: number;
  /** N of `/dev/loopN`, -1 while there is none. */
  number = -1;
  /**
   * The kernel's sequence number of the disk, in decimal, once it is bound: the number of a device is given to others
   * when it is free, and nothing is done to a device whose sequence number is another.
   */
  sequence: string | null = null;
  /** The loop device was added to those that there were. */
  isAdded = false;
  /** The device node is of our making. */
  hasOwnNode = false;
  /** The workers were told of it, so that they must be drained. */
  hasQueues = false;
  readonly #state = new MachineState(LOOP_DEVICE_STATES, "opened");

  constructor(filePath: string, fuseFd: number) {
    this.filePath = filePath;
    this.fuseFd = fuseFd;
  }

  get state(): LoopDeviceState {
    return this.#state.name;
  }

  /** The block device. */
  get blockPath(): string {
    return loopPath(this.number);
  }

  /** Moves to the next state; a step that the table does not have is a bug of ours. */
  transition(to: LoopDeviceState): void {
    this.#state.transition(to);
  }
}

/** The node of a loop device. */
export function loopPath(number: number): string {
  return `/dev/loop${number}`;
}
