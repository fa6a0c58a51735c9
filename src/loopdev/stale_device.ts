import { EINVAL, ENOENT } from "../base/errno.ts";
import { clearLoop, stillOpen } from "./retire_device.ts";
import { loopStepError } from "./loop_error.ts";
import { LOOP_DEADLINES_MS, type LoopSequence, type LoopStep } from "./loop_step.ts";

/** How long a user who is about to close the device, as udev is, may take. Nobody waits for a dead device. */
const USERS_MS = 500;

/** What a daemon that died has left of a loop device; it is known to be dead. */
export interface StaleLoop {
  /** The file in the run folder, and whether something is mounted over it. */
  filePath: string;
  isMounted: boolean;
  /** The loop devices that are bound to the file; there is one at most, unless somebody made others by hand. */
  devices: readonly string[];
}

/**
 * Removes what is left of a loop device. Gives what cannot be removed yet, in words. Throws `UmpathError` if the kernel
 * does not let it go.
 */
export function* removeStaleLoop(stale: StaleLoop): LoopSequence<string[]> {
  const remarks: string[] = [];
  for (const device of stale.devices) {
    if (!(yield* clearLoop(device, USERS_MS))) remarks.push(stillOpen(device).message);
  }
  const deadlineMs = LOOP_DEADLINES_MS.quick;
  if (stale.isMounted) yield* attempt({ kind: "unmount", path: stale.filePath, deadlineMs }, stale.filePath);
  yield* attempt({ kind: "remove-file", path: stale.filePath, deadlineMs }, stale.filePath);
  return remarks;
}

/** A step for something that may be gone. */
function* attempt(step: LoopStep, label: string): LoopSequence<void> {
  const { result } = yield step;
  if (result < 0 && result !== -ENOENT && result !== -EINVAL) throw loopStepError(step, result, label);
}
