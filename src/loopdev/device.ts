import { assert } from "../base/assert.ts";

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

const NEXT: Readonly<Record<LoopDeviceState, readonly LoopDeviceState[]>> = Object.freeze({
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
  #state: LoopDeviceState = "opened";

  constructor(filePath: string, fuseFd: number) {
    this.filePath = filePath;
    this.fuseFd = fuseFd;
  }

  get state(): LoopDeviceState {
    return this.#state;
  }

  /** The block device. */
  get blockPath(): string {
    return loopPath(this.number);
  }

  /** Moves to the next state; a step that the table does not have is a bug of ours. */
  transition(to: LoopDeviceState): void {
    assert(NEXT[this.#state].includes(to), `A loop device must not go from ${this.#state} to ${to}`);
    this.#state = to;
  }
}

/** The node of a loop device. */
export function loopPath(number: number): string {
  return `/dev/loop${number}`;
}
