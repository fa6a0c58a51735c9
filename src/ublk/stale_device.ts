import { ENODEV } from "../base/errno.ts";
import { UBLK_LAYOUT, UblkDeviceState } from "../protocol/ublk.ts";
import { stepError } from "./control_error.ts";
import {
  commandStep,
  CONTROL_DEADLINES_MS,
  type ControlSequence,
  type ControlStep,
  type Server,
} from "./control_step.ts";
import { decodeDeviceInfo } from "./device_info.ts";
import { probeFeatures } from "./features.ts";

/** What became of a device that an earlier umpath had. */
export type StaleOutcome =
  /** There is no device of that number. */
  | "absent"
  /** Another program's, or another umpath's than the one that is meant: left alone. */
  | "foreign"
  /** Its server is alive: left alone. */
  | "alive"
  /** Its server was gone; now it is too. */
  | "removed";

/**
 * Removes the device `devId` if the umpath process `server` added it and is no more. A device that is not proved to be
 * left behind is never touched. Throws `UmpathError` if the driver cannot be asked or does not remove it. One that is in
 * use goes when its last user closes it: `waits` says whether that is waited for.
 */
export function* removeStaleDevice(
  devId: number,
  server: Server,
  { waits }: { waits: boolean } = { waits: true },
): ControlSequence<StaleOutcome> {
  const label = `/dev/ublkb${devId}`;
  const ioctlEncode = (yield* probeFeatures(label)) !== null;
  const buffer = new Uint8Array(UBLK_LAYOUT.devInfoBytes);
  if (!(yield* ask(commandStep("GET_DEV_INFO", { ioctlEncode, devId, buffer }), label))) return "absent";
  const info = decodeDeviceInfo(buffer);
  if (info.devId !== devId || info.ownerPid !== server.pid) return "foreign";
  const runs = yield { kind: "server-runs", server, deadlineMs: CONTROL_DEADLINES_MS.quick };
  if (runs.result !== 0) return "alive";
  if (info.state !== UblkDeviceState.DEAD) {
    const deadlineMs = CONTROL_DEADLINES_MS.stop;
    yield* ask(commandStep("STOP_DEV", { ioctlEncode, devId, deadlineMs }), label);
  }
  const name = waits ? "DEL_DEV" : "DEL_DEV_ASYNC";
  yield* ask(commandStep(name, { ioctlEncode, devId, deadlineMs: CONTROL_DEADLINES_MS.delete }), label);
  return "removed";
}

/** A command for a device that may be gone: false if it is. */
function* ask(step: ControlStep, label: string): ControlSequence<boolean> {
  const { result } = yield step;
  if (result >= 0) return true;
  if (result === -ENODEV) return false;
  throw stepError(step, result, label);
}
