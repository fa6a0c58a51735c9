/** What a request costs that meets no kernel and no network: slots through a null device, a queue's depth at a time. */
import { NullDevice } from "../../src/block/null_device.ts";
import { BlockOp, RequestTable } from "../../src/block/request.ts";

const DEPTH = 128;

/** Fills and submits every slot, and takes every answer; gives the requests. */
export function nullDeviceBody(): () => number {
  const requests = new RequestTable(DEPTH, { bufferBytes: 4096 });
  const device = new NullDevice(requests);
  return () => {
    for (let slot = 0; slot < DEPTH; slot++) {
      requests.op[slot] = BlockOp.READ;
      requests.lbaLow[slot] = slot;
      requests.blocks[slot] = 1;
      device.submit(slot, 0);
    }
    let done = 0;
    while (device.pollCompletion() >= 0) done++;
    return done;
  };
}
