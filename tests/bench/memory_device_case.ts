/** What a request costs that is no more than a copy: slots through a memory device, a queue's depth at a time. */
import { Prng } from "../../src/base/prng.ts";
import { MemoryDevice } from "../../src/block/memory_device.ts";
import { BlockOp, RequestTable } from "../../src/block/request.ts";
import { Memory } from "../../src/io/memory.ts";

const BLOCK_BYTES = 4096;
/** More than caches hold. */
export const MEMORY_MIB = 256;
export const MEMORY_DEPTH = 32;

/** Fills and submits every slot with a read from anywhere, and takes every answer; gives the requests. */
export function memoryDeviceBody(): () => number {
  const requests = new RequestTable(MEMORY_DEPTH, { bufferBytes: BLOCK_BYTES });
  const storage = Memory.allocate(MEMORY_MIB << 20).bytes.fill(1);
  const arena = Memory.allocate(MEMORY_DEPTH * BLOCK_BYTES).bytes;
  const device = new MemoryDevice(requests, { blockSize: BLOCK_BYTES, storage, arena });
  const random = new Prng(1);
  return () => {
    for (let slot = 0; slot < MEMORY_DEPTH; slot++) {
      requests.op[slot] = BlockOp.READ;
      requests.lbaLow[slot] = random.below((MEMORY_MIB << 20) / BLOCK_BYTES);
      requests.blocks[slot] = 1;
      device.submit(slot, 0);
    }
    let done = 0;
    while (device.pollCompletion() >= 0) done++;
    return done;
  };
}
