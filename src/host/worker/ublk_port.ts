import { native } from "../../../ffi/library.ts";
import type { BlockDevice, Geometry } from "../../block/device.ts";
import type { RequestTable } from "../../block/request.ts";
import { Memory, type MemoryArea } from "../../io/memory.ts";
import type { Ring } from "../../io/ring.ts";
import { tokenHigh, TokenKind } from "../../io/token.ts";
import { descriptorsBytes, descriptorsOffset } from "../../protocol/ublk.ts";
import { UblkTags } from "../../ublk/tags.ts";
import type { DevicePort } from "./device_port.ts";

/** What a {@linkcode UblkPort} is made of. */
export interface UblkPortOptions {
  /** The open `/dev/ublkcN`, and which of its queues. */
  charFd: number;
  queueId: number;
  ioctlEncode: boolean;
  requests: RequestTable;
  /** The arena that the requests' buffers are in. */
  memory: MemoryArea;
  device: BlockDevice;
  geometry: Geometry;
  /** The volume that its tokens name. */
  volume: number;
}

/** A {@linkcode UblkTags} on a ring, with the descriptors that it shares with the driver. */
export class UblkPort implements DevicePort {
  readonly #queue: UblkTags;
  readonly #requests: RequestTable;
  readonly #memory: MemoryArea;
  readonly #charFd: number;
  readonly #token: number;
  readonly #descriptors: Memory;

  constructor(options: UblkPortOptions) {
    const { requests } = options;
    const page = native().um_page_bytes();
    this.#requests = requests;
    this.#memory = options.memory;
    this.#charFd = options.charFd;
    this.#token = tokenHigh(TokenKind.UBLK, options.volume);
    const bytes = descriptorsBytes(requests.depth, page);
    const descriptors = Memory.mapFile(options.charFd, bytes, descriptorsOffset(options.queueId, page));
    using made = new DisposableStack();
    made.use(descriptors);
    this.#queue = new UblkTags({
      queueId: options.queueId,
      depth: requests.depth,
      descriptors: new Int32Array(descriptors.bytes.buffer),
      requests,
      device: options.device,
      geometry: options.geometry,
      ioctlEncode: options.ioctlEncode,
    });
    this.#descriptors = descriptors;
    made.move();
  }

  start(): void {
    this.#queue.start();
  }

  resize(blocks: number): void {
    this.#queue.resize(blocks);
  }

  close(): void {
    this.#queue.close();
  }

  get isDrained(): boolean {
    return this.#queue.isDrained;
  }

  get failure(): number {
    return this.#queue.failure;
  }

  /** The driver tells by its commands. */
  takeDoubt(): boolean {
    return false;
  }

  handleCompletion(ring: Ring, _kind: number, nowMs: number): void {
    this.#queue.handleCommandDone(ring.tokenLow, ring.result, nowMs);
  }

  turn(ring: Ring, _nowMs: number): void {
    const queue = this.#queue;
    const base = this.#memory.address;
    for (let tag = queue.pollCommand(); tag >= 0; tag = queue.pollCommand()) {
      const address = base + this.#requests.dataOffset[tag];
      const result = queue.commandResult(tag);
      ring.prepUblk(this.#charFd, queue.commandOp(tag), queue.queueId, tag, result, address, this.#token);
    }
  }

  /** The mapping holds the character device open, and with it the whole device. */
  [Symbol.dispose](): void {
    this.#descriptors[Symbol.dispose]();
  }
}
