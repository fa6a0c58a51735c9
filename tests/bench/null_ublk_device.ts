import { native } from "../../ffi/library.ts";
import { WorkerThread } from "../../src/io/worker_thread.ts";
import { createDevice, destroyDevice, type UblkDevice } from "../../src/ublk/control.ts";
import { type QueueControl, runControl } from "../../src/host/device/ublk_driver.ts";
import type { FromNullWorker, ToNullWorker } from "./null_ublk_worker.ts";

const BLOCK_SIZE = 4096;
const DEPTH = 128;
const REQUEST_BYTES_MAX = 1 << 20;

/** A ublk device of one queue, served by this process, on which nothing happens. */
export class NullUblkDevice {
  readonly #device: UblkDevice;
  readonly #control: QueueControl;
  readonly #thread: WorkerThread<ToNullWorker>;

  private constructor(device: UblkDevice, control: QueueControl, thread: WorkerThread<ToNullWorker>) {
    this.#device = device;
    this.#control = control;
    this.#thread = thread;
  }

  /** Its node. */
  get path(): string {
    return this.#device.blockPath;
  }

  static async create(sizeMiB: number): Promise<NullUblkDevice> {
    const events = { started: Promise.withResolvers<void>(), drained: Promise.withResolvers<void>() };
    const worker = new Worker(new URL("./null_ublk_worker.ts", import.meta.url), { type: "module", name: "null-ublk" });
    const thread = await WorkerThread.start<ToNullWorker, FromNullWorker>(worker, {
      handleMessage: ({ type }) => events[type].resolve(),
      handleFailed: (reason) => {
        throw new Error(reason);
      },
    });
    const geometry = {
      ...{ blockSize: BLOCK_SIZE, blocks: (sizeMiB << 20) / BLOCK_SIZE, physicalBlockSize: BLOCK_SIZE },
      ...{ minIoBytes: 0, optimalIoBytes: 0, volatileCache: false, readOnly: false },
      ...{ maxDiscardBytes: 0, discardGranularity: 0, maxWriteZeroesBytes: 0 },
    };
    const control: QueueControl = {
      startQueues: ({ device: { charFd, ioctlEncode, depth } }) => {
        thread.post({ type: "serve", charFd, queueId: 0, ioctlEncode, depth, geometry });
        return events.started.promise;
      },
      drainQueues: () => {
        thread.post({ type: "close" });
        return events.drained.promise;
      },
    };
    const sequence = createDevice({
      ...{ geometry, queues: 1, depth: DEPTH, maxIoBytes: REQUEST_BYTES_MAX, pid: Deno.pid },
      pageBytes: native().um_page_bytes(),
    });
    return new NullUblkDevice(await runControl(sequence, control), control, thread);
  }

  async destroy(): Promise<void> {
    await runControl(destroyDevice(this.#device, { force: true }), this.#control);
    this.#thread.post({ type: "stop" });
  }
}
