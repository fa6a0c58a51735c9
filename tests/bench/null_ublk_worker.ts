/** A worker that serves one queue of a ublk device on which nothing happens: what the device itself costs. */
import { NullDevice } from "../../src/block/null_device.ts";
import type { Geometry } from "../../src/block/device.ts";
import { RequestTable } from "../../src/block/request.ts";
import { UblkPort } from "../../src/host/worker/ublk_port.ts";
import { Memory } from "../../src/io/memory.ts";
import type { Ring } from "../../src/io/ring.ts";
import { RingLoop, type RingOwner } from "../../src/io/ring_loop.ts";
import { type Plane, serveInbox, type WorkerScope } from "../../src/io/worker_inbox.ts";

/** The queue to serve; answered by "started" once the kernel has every tag. */
export type ToNullWorker =
  | { type: "serve"; charFd: number; queueId: number; ioctlEncode: boolean; depth: number; geometry: Geometry }
  | { type: "close" }
  | { type: "stop" };

export type FromNullWorker = { type: "started" } | { type: "drained" };

const REQUEST_BYTES = 1 << 20;

class NullQueue implements RingOwner {
  readonly #memory: Memory;
  readonly #port: UblkPort;
  readonly #onDrained: () => void;

  constructor({ depth, ...queue }: ToNullWorker & { type: "serve" }, onDrained: () => void) {
    const requests = new RequestTable(depth, { bufferBytes: REQUEST_BYTES });
    this.#memory = Memory.allocate(depth * REQUEST_BYTES);
    this.#port = new UblkPort({
      ...queue,
      requests,
      memory: this.#memory,
      device: new NullDevice(requests),
      volume: 0,
    });
    this.#onDrained = onDrained;
    this.#port.start();
  }

  /** Always: the next request may be near. */
  get isBusy(): boolean {
    return !this.#port.isDrained;
  }

  get isOver(): boolean {
    return this.#port.isDrained;
  }

  close(): void {
    this.#port.close();
  }

  handleCompletion(ring: Ring, kind: number, nowMs: number): void {
    this.#port.handleCompletion(ring, kind, nowMs);
  }

  handleTime(_nowMs: number): void {}

  turn(ring: Ring, nowMs: number): void {
    this.#port.turn(ring, nowMs);
  }

  [Symbol.dispose](): void {
    this.#port[Symbol.dispose]();
    this.#memory[Symbol.dispose]();
    this.#onDrained();
  }
}

class NullPlane implements Plane<ToNullWorker> {
  readonly #loop = new RingLoop<NullQueue>(1, () => {});
  readonly #tell: (message: FromNullWorker) => void;
  isStopped = false;

  constructor(tell: (message: FromNullWorker) => void) {
    this.#tell = tell;
  }

  get wake() {
    return this.#loop.wake;
  }

  handleMessage(message: ToNullWorker): void {
    if (message.type === "stop") this.isStopped = true;
    else if (message.type === "close") this.#loop.at(0)?.close();
    else this.#serve(message);
    this.#loop.touch(0);
  }

  #serve(message: ToNullWorker & { type: "serve" }): void {
    this.#loop.add(0, new NullQueue(message, () => this.#tell({ type: "drained" })));
    this.#loop.whenSubmitted(() => this.#tell({ type: "started" }));
  }

  run(): void {
    this.#loop.run();
  }

  [Symbol.dispose](): void {
    this.#loop[Symbol.dispose]();
  }
}

declare const self: WorkerScope;

serveInbox(self, { ioFlusher: true }, (tell: (message: FromNullWorker) => void) => new NullPlane(tell));
