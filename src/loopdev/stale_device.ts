import { EINVAL, ENOENT } from "../base/errno.ts";
import { loopPath } from "./device.ts";
import { loopStepError } from "./loop_error.ts";
import { LOOP_DEADLINES_MS, type LoopSequence, type LoopStep } from "./loop_step.ts";
import { clearLoop, type LoopFate } from "./retire_device.ts";

/** How long a user who is about to close the device, as udev is, may take. Nobody waits for a dead device. */
const USERS_MS = 500;

/** A loop device that a daemon which died has left. */
export interface StaleLoop {
  number: number;
  /** The kernel's sequence number of the disk: another's loop device is not touched. */
  sequence: string;
  /** The loop device was added for the volume, and is removed. */
  isAdded: boolean;
}

/** Unbinds a loop device whose daemon is known to be dead. Throws `UmpathError` if the kernel does not let it go. */
export function* removeStaleLoop({ number, sequence, isAdded }: StaleLoop): LoopSequence<LoopFate> {
  const fate = yield* clearLoop({ path: loopPath(number), sequence }, USERS_MS);
  if (fate === "free" && isAdded) yield { kind: "remove-loop", number, deadlineMs: LOOP_DEADLINES_MS.quick };
  return fate;
}

/** Removes the file that loop devices were over, and what is mounted there. */
export function* removeStaleFile({ path, isMounted }: { path: string; isMounted: boolean }): LoopSequence<void> {
  const deadlineMs = LOOP_DEADLINES_MS.quick;
  if (isMounted) yield* attempt({ kind: "unmount", path, deadlineMs }, path);
  yield* attempt({ kind: "remove-file", path, deadlineMs }, path);
}

/** A step for something that may be gone. */
function* attempt(step: LoopStep, label: string): LoopSequence<void> {
  const { result } = yield step;
  if (result < 0 && result !== -ENOENT && result !== -EINVAL) throw loopStepError(step, result, label);
}
