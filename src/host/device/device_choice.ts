import { native } from "../../../ffi/library.ts";
import { cString } from "../../../ffi/result.ts";
import { ENOENT } from "../../base/errno.ts";
import { UmpathError } from "../../base/errors.ts";
import { midSentence } from "../../base/text.ts";
import { loopStepError } from "../../loopdev/loop_error.ts";
import type { LoopStep } from "../../loopdev/loop_step.ts";
import { probeFeatures } from "../../ublk/control.ts";
import type { DeviceChoice, DeviceDriver } from "../../rpc/host_api.ts";
import { loadModule } from "../../io/run_sequence.ts";
import { NO_QUEUES, runControl } from "./ublk_driver.ts";

/** What a device is made with. */
export interface ChosenDriver {
  driver: DeviceDriver;
  /** What is to be said of the choice once the device is made; null if nothing is. */
  remark: string | null;
}

/**
 * The driver to make a device with: the one that was asked for, or, for "auto", ublk where it can be had and else loop,
 * which is slower.
 *
 * @throws UmpathError "host-lacks" if "auto" finds none.
 */
export async function chooseDriver(choice: DeviceChoice): Promise<ChosenDriver> {
  if (choice !== "auto") return { driver: choice, remark: null };
  const ublk = await ublkLack();
  if (ublk === null) return { driver: "ublk", remark: null };
  const loop = await loopLack();
  if (loop !== null) {
    throw new UmpathError("host-lacks", `${ublk.message}; nor a loop device: ${midSentence(loop.message)}`, {
      hint: [ublk.hint, loop.hint].filter((hint) => hint !== undefined).join(". Or: "),
    });
  }
  const why = ublk.message.slice(ublk.message.indexOf(": ") + 2);
  return { driver: "loop", remark: `Using a loop device, which is slower than ublk: ${why}` };
}

/** Why there can be no ublk device, in words, behind the first colon; or null. */
async function ublkLack(): Promise<UmpathError | null> {
  try {
    await runControl(probeFeatures("a ublk device"), NO_QUEUES);
    return null;
  } catch (error) {
    return UmpathError.from(error);
  }
}

/** Why there can be no loop device, or null. */
async function loopLack(): Promise<UmpathError | null> {
  const probes: [LoopStep, path: string, module: string][] = [
    [{ kind: "open-fuse", deadlineMs: 1 }, "/dev/fuse", "fuse"],
    [{ kind: "add-loop", deadlineMs: 1 }, "/dev/loop-control", "loop"],
  ];
  for (const [step, path, module] of probes) {
    let fd = await native().um_open(cString(path), 1);
    if (fd === -ENOENT && await loadModule(module)) fd = await native().um_open(cString(path), 1);
    if (fd < 0) return loopStepError(step, fd, "a loop device");
    native().um_close(fd);
  }
  return null;
}
