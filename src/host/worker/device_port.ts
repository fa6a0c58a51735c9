import type { Ring } from "../../io/ring.ts";

/** Where one worker's share of a volume gets its requests from: a queue of a kernel device, on the ring. */
export interface DevicePort extends Disposable {
  /** Begins to take requests. */
  start(): void;
  /** The device has that many blocks from now on: requests beyond are refused. */
  resize(blocks: number): void;
  /** Gives the kernel no more commands: the device was not started or could not be stopped. */
  close(): void;
  /** Nothing of it is in the kernel or in the volume, nor will be. */
  readonly isDrained: boolean;
  /** The negative errno that it ended with, other than the normal end; 0 if there was none. */
  readonly failure: number;
  /** True, once, if what it serves may be gone from the kernel: somebody has to look. */
  takeDoubt(): boolean;
  /** Takes the completion that `ring` shows. */
  handleCompletion(ring: Ring, kind: number, nowMs: number): void;
  /** Takes the volume's answers, and puts all that the kernel shall do into the ring. */
  turn(ring: Ring, nowMs: number): void;
}
