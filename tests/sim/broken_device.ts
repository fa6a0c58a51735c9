import { EIO } from "../../src/base/errno.ts";
import type { Prng } from "../../src/base/prng.ts";
import type { BlockDevice } from "../../src/block/device.ts";
import type { RequestTable } from "../../src/block/request.ts";
import type { Broken } from "./scenario.ts";

/** The device, or one that is broken on purpose: it answers some requests twice, never or wrongly, or never gives up. */
export function brokenDevice(
  device: BlockDevice,
  { broken, requests, prng }: { broken: Broken; requests: RequestTable; prng: Prng },
): BlockDevice {
  const { answersTwiceOneIn = 0, forgetsOneIn = 0, failsOneIn = 0, neverGivesUp = false } = broken;
  if (neverGivesUp) return neverGiving(device, requests);
  if (answersTwiceOneIn + forgetsOneIn + failsOneIn === 0) return device;
  let again = -1;
  return {
    submit: (slot, nowMs) => device.submit(slot, nowMs),
    pollCompletion: () => {
      const repeated = again;
      again = -1;
      if (repeated >= 0) return repeated;
      const slot = device.pollCompletion();
      if (slot < 0) return slot;
      if (failsOneIn > 0 && prng.below(failsOneIn) === 0) requests.status[slot] = EIO;
      if (answersTwiceOneIn > 0 && prng.below(answersTwiceOneIn) === 0) again = slot;
      return forgetsOneIn > 0 && prng.below(forgetsOneIn) === 0 ? device.pollCompletion() : slot;
    },
  };
}

function neverGiving(device: BlockDevice, requests: RequestTable): BlockDevice {
  let latestMs = 0;
  return {
    submit: (slot, nowMs) => {
      latestMs = nowMs;
      device.submit(slot, nowMs);
    },
    pollCompletion: () => {
      let slot = device.pollCompletion();
      for (; slot >= 0 && requests.status[slot] !== 0; slot = device.pollCompletion()) device.submit(slot, latestMs);
      return slot;
    },
  };
}
