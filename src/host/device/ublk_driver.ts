import { native } from "../../../ffi/library.ts";
import { cString } from "../../../ffi/result.ts";
import { ENOENT } from "../../base/errno.ts";
import { logger } from "../../base/log.ts";
import { legacyOp, UBLK_ANY_DEVICE } from "../../protocol/ublk.ts";
import {
  commandStep,
  type ControlResult,
  type ControlSequence,
  type ControlStep,
  decodeDeviceInfo,
  stepWords,
} from "../../ublk/control.ts";
import { processRuns } from "../../io/process_identity.ts";
import { loadModule, pause, runSequence, timed, waitNode, within } from "../../io/run_sequence.ts";

const log = logger("ublk");

/** What the driver cannot do by itself: the queues belong to the workers. */
export interface QueueControl {
  /** Resolves when the kernel has the FETCH of every tag. */
  startQueues(step: ControlStep & { kind: "start-queues" }): Promise<void>;
  /** Resolves when every tag of every queue is over. */
  drainQueues(step: ControlStep & { kind: "drain-queues" }): Promise<void>;
}

/** For sequences about devices that this process does not serve. */
export const NO_QUEUES: QueueControl = {
  startQueues: () => Promise.reject(new Error("A device of another process has no queues here")),
  drainQueues: () => Promise.reject(new Error("A device of another process has no queues here")),
};

let controlFd = -1;

/**
 * Carries out a ublk control sequence. Commands block in the driver, so they run on threads of the runtime's pool; a
 * step that takes longer than its deadline gives -ETIMEDOUT.
 *
 * @throws UmpathError as the sequence does.
 */
export function runControl<T>(sequence: ControlSequence<T>, queues: QueueControl): Promise<T> {
  return runSequence(sequence, (step) => {
    const work = carryOut(step, queues);
    return step.kind === "pause" ? work : timed(log, () => stepWords(step, deviceOf(step)), work);
  });
}

async function carryOut(step: ControlStep, queues: QueueControl): Promise<ControlResult> {
  switch (step.kind) {
    case "open-control":
      return { result: await openControl(step.path) };
    case "command":
      return { result: await waited(step, command(step)) };
    case "wait-node":
      return { result: await waitNode(step.path, step.deadlineMs) };
    case "open-char-device":
      return { result: await native().um_open(cString(step.path), 1) };
    case "start-queues":
      return { result: await waited(step, queues.startQueues(step).then(() => 0)) };
    case "drain-queues":
      return { result: await waited(step, queues.drainQueues(step).then(() => 0)) };
    case "close-char-device":
      return { result: await waited(step, native().um_close_slow(step.device.charFd)) };
    case "server-runs":
      return { result: await processRuns(step.server) ? 1 : 0 };
    case "pause":
      await pause(step.deadlineMs);
      return { result: 0 };
  }
}

function waited(step: ControlStep, work: Promise<number>): Promise<number> {
  return within(work, {
    deadlineMs: step.deadlineMs,
    onSlow: () => log.warn(`It takes over 1 s to ${stepWords(step, deviceOf(step))}`),
    onLate: (result) => undoLate(step, result),
  });
}

/** How people call the device that a step is about. */
function deviceOf(step: ControlStep): string {
  if (step.kind !== "command") return "device" in step ? step.device.blockPath : "a ublk device";
  return step.devId === UBLK_ANY_DEVICE ? "a ublk device" : `/dev/ublkb${step.devId}`;
}

/** Takes back a device that was added after nobody waited for it any more. */
function undoLate(step: ControlStep, result: number): void {
  if (step.kind !== "command" || step.name !== "ADD_DEV" || result < 0 || step.buffer === null) return;
  const { devId } = decodeDeviceInfo(step.buffer);
  log.warn(`/dev/ublkb${devId} was added too late, and is deleted`);
  const ioctlEncode = step.op !== legacyOp(step.op);
  command(commandStep("DEL_DEV", { ioctlEncode, devId }))
    .catch((error) => log.error(`Cannot delete /dev/ublkb${devId}`, error));
}

/** The driver does not load by itself: nothing asks for its device before it is there. */
async function openControl(path: string): Promise<number> {
  if (controlFd < 0) controlFd = await native().um_open(cString(path), 1);
  if (controlFd === -ENOENT && await loadModule("ublk_drv")) controlFd = await native().um_open(cString(path), 1);
  return Math.min(controlFd, 0);
}

/** The buffer is held by the call itself until the kernel is done with it, however long that takes. */
async function command(step: ControlStep & { kind: "command" }): Promise<number> {
  const buffer = step.buffer ?? new Uint8Array(0);
  const { op, devId, queueId, data0 } = step;
  const result = await native().um_ublk_control(controlFd, op >>> 0, devId, queueId, buffer, buffer.length, data0);
  void buffer.length;
  return result;
}
