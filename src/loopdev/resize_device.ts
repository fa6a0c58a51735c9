import { assert } from "../base/assert.ts";
import { UmpathError } from "../base/errors.ts";
import type { Geometry } from "../block/device.ts";
import type { LoopDevice } from "./device.ts";
import { loopStepError } from "./loop_error.ts";
import { LOOP_DEADLINES_MS, type LoopSequence, type LoopStep } from "./loop_step.ts";

/**
 * Times that the kernel is told the size of the file. It drops what it is told while a write ends (fuse's attr_version),
 * so under load most attempts fail, and one of some hundreds gets through.
 */
const ATTEMPTS_MAX = 4000;
/** A pause now and then lets others have the thread. */
const PAUSE_EVERY = 16;
const PAUSE_MS = 1;

/**
 * A loop device that is live gets the size of the geometry, which its file has already for those who ask: the kernel is
 * made to ask, and then to take the size over. Throws `UmpathError` where the device keeps its size.
 */
export function* resizeLoopDevice(device: LoopDevice, geometry: Geometry): LoopSequence<void> {
  const bytes = geometry.blocks * geometry.blockSize;
  const { filePath: path, blockPath, sequence } = device;
  assert(sequence !== null, "A device that is bound has a sequence number");
  const deadlineMs = LOOP_DEADLINES_MS.quick;
  for (let attempt = 1;; attempt++) {
    const fd = yield* run({ kind: "open-file", path, writable: false, deadlineMs }, blockPath);
    yield { kind: "close-file", fd, deadlineMs };
    if ((yield* run({ kind: "file-size", path, deadlineMs }, blockPath)) === bytes) break;
    if (attempt === ATTEMPTS_MAX) {
      throw new UmpathError("timed-out", `Cannot resize ${blockPath}: the kernel does not take the size of its file`, {
        hint: "It keeps its size until it is detached and attached again, or the namespace is resized once more",
      });
    }
    if (attempt % PAUSE_EVERY === 0) yield { kind: "pause", deadlineMs: PAUSE_MS };
  }
  yield* run({ kind: "resize-loop", path: blockPath, sequence, deadlineMs }, blockPath);
}

function* run(step: LoopStep, label: string): LoopSequence<number> {
  const { result } = yield step;
  if (result < 0) throw loopStepError(step, result, label);
  return result;
}
