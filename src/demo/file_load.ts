/** Verified load on a file or a block device, in a thread of its own. */
import { closeSync, constants, openSync } from "node:fs";
import { messageOf, UmpathError } from "../base/errors.ts";
import { LoadControl } from "../block/load_control.ts";
import type { LoadPlan } from "../block/verified_load.ts";
import { WorkerThread } from "../io/worker_thread.ts";
import type { ToFileLoad } from "./file_load_worker.ts";
import { Load, LOAD_DEPTH, LOAD_UNIT_BYTES, type LoadThread } from "./load.ts";

const FILE_MODE = 0o600;
const ZEROES_BYTES = 1 << 20;

export class FileLoad implements LoadThread {
  readonly load: Load;
  failure: string | null = null;
  readonly #thread: Promise<WorkerThread<ToFileLoad>>;
  #started: WorkerThread<ToFileLoad> | null = null;
  #fd = -1;

  /** Starts the thread. It works on the first `units` units of the file that it is given. */
  static async start(options: { units: number; seed: number }): Promise<FileLoad> {
    const load = new FileLoad(options);
    load.#started = await load.#thread;
    return load;
  }

  private constructor({ units, seed }: { units: number; seed: number }) {
    const worker = new Worker(new URL("./file_load_worker.ts", import.meta.url), { type: "module", name: "demo-load" });
    this.#thread = WorkerThread.start<ToFileLoad, { type: string }>(worker, {
      handleMessage: () => {},
      handleFailed: (reason) => this.failure = reason,
    });
    const control = new LoadControl();
    const plan: LoadPlan = {
      depth: LOAD_DEPTH,
      unitBytes: LOAD_UNIT_BYTES,
      units,
      seed,
      control: control.buffer,
    };
    this.load = new Load(control, this, units);
    void this.#thread.then((thread) => thread.post({ type: "plan", plan }), () => {});
  }

  wake(): void {
    this.#started?.wake();
  }

  /**
   * Works on the file or device at `path` from now on, past the page cache. A file that is to be made is written through
   * with zeroes first: a file system lets many requests at a time into blocks that a file has, and one at a time past its
   * end.
   *
   * @throws UmpathError "host-lacks"
   */
  open(path: string, { make }: { make: boolean }): void {
    try {
      if (make) makeFile(path, this.load.units * LOAD_UNIT_BYTES);
      this.#fd = openSync(path, constants.O_RDWR | constants.O_DIRECT);
    } catch (error) {
      throw new UmpathError("host-lacks", `Cannot open "${path}" for direct I/O: ${messageOf(error)}`, {
        cause: error,
      });
    }
    this.#started?.post({ type: "file", fd: this.#fd });
  }

  /** It has a file: requests may be in flight. */
  get isOpen(): boolean {
    return this.#fd >= 0;
  }

  /** Nothing is in flight: lets go of the file. */
  close(): void {
    if (this.#fd < 0) return;
    this.#started?.post({ type: "file", fd: -1 });
    closeSync(this.#fd);
    this.#fd = -1;
  }

  /** Ends the thread. */
  end(): void {
    this.#started?.post({ type: "stop" });
  }
}

/** Makes a file of zeroes, on stable storage. */
function makeFile(path: string, bytes: number): void {
  using file = Deno.openSync(path, { write: true, createNew: true, mode: FILE_MODE });
  const zeroes = new Uint8Array(ZEROES_BYTES);
  for (let at = 0; at < bytes;) at += file.writeSync(zeroes.subarray(0, Math.min(ZEROES_BYTES, bytes - at)));
  file.syncDataSync();
}
