/** The thread of the demo's application: verified load on a file or a block device, past the page cache. */
import { EIO } from "../base/errno.ts";
import { LoadControl } from "../block/load_control.ts";
import { BlockOp, RequestTable } from "../block/request.ts";
import { type LoadPlan, VerifiedLoad } from "../block/verified_load.ts";
import { Memory } from "../io/memory.ts";
import type { Ring } from "../io/ring.ts";
import { RingLoop, type RingOwner } from "../io/ring_loop.ts";
import { tokenHigh, TokenKind } from "../io/token.ts";
import type { Wake } from "../io/wake.ts";
import { type Plane, serveInbox, type WorkerScope } from "../io/worker_inbox.ts";

/** What the main thread tells this one. */
export type ToFileLoad =
  /** Once, before the first file. */
  | { type: "plan"; plan: LoadPlan }
  /** Works on this open file from now on; nothing is in flight. */
  | { type: "file"; fd: number }
  | { type: "stop" };

declare const self: WorkerScope;

const INDEX = 0;
const TOKEN = tokenHigh(TokenKind.FILE, INDEX);

/** A load on the ring. */
class FileLoad implements RingOwner {
  readonly isOver = false;
  fd = -1;
  readonly #load: VerifiedLoad;
  readonly #requests: RequestTable;
  readonly #memory: Memory;
  readonly #unitBytes: number;

  constructor(plan: LoadPlan) {
    this.#unitBytes = plan.unitBytes;
    this.#requests = new RequestTable(plan.depth, { bufferBytes: plan.unitBytes });
    this.#memory = Memory.allocate(plan.depth * plan.unitBytes);
    this.#load = new VerifiedLoad({
      ...plan,
      control: new LoadControl(plan.control),
      blockSize: plan.unitBytes,
      requests: this.#requests,
      memory: this.#memory.bytes,
    });
  }

  get isBusy(): boolean {
    return this.#load.isBusy;
  }

  /** A transfer that is cut short is one that failed: the file is as long as the load was told. */
  handleCompletion(ring: Ring, _kind: number, nowMs: number): void {
    const slot = ring.tokenLow;
    this.#requests.status[slot] = ring.result === this.#unitBytes ? 0 : ring.result < 0 ? -ring.result : EIO;
    this.#load.handleDone(slot, nowMs);
  }

  handleTime(_nowMs: number): void {}

  /** An order may be seen before the file that it is about. */
  turn(ring: Ring, nowMs: number): void {
    if (this.fd < 0) return;
    const { op, lbaLow, lbaHigh, dataOffset } = this.#requests;
    for (let slot = this.#load.pollRequest(nowMs); slot >= 0; slot = this.#load.pollRequest(nowMs)) {
      const address = this.#memory.address + dataOffset[slot];
      const offset = (lbaHigh[slot] * 2 ** 32 + lbaLow[slot]) * this.#unitBytes;
      if (op[slot] === BlockOp.WRITE) ring.prepWriteAt(this.fd, address, this.#unitBytes, offset, 0, TOKEN, slot);
      else ring.prepReadAt(this.fd, address, this.#unitBytes, offset, 0, TOKEN, slot);
    }
  }

  [Symbol.dispose](): void {
    this.#memory[Symbol.dispose]();
  }
}

class FileLoadPlane implements Plane<ToFileLoad> {
  isStopped = false;
  readonly #loop = new RingLoop<FileLoad>(1, () => {});

  get wake(): Wake {
    return this.#loop.wake;
  }

  handleMessage(message: ToFileLoad): void {
    if (message.type === "plan") this.#loop.add(INDEX, new FileLoad(message.plan));
    else if (message.type === "file") this.#loop.at(INDEX)!.fd = message.fd;
    else this.isStopped = true;
  }

  run(): void {
    this.#loop.run();
  }

  [Symbol.dispose](): void {
    const load = this.#loop.at(INDEX);
    this.#loop[Symbol.dispose]();
    load?.[Symbol.dispose]();
  }
}

serveInbox(self, { ioFlusher: false }, () => new FileLoadPlane());
