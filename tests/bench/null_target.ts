/** The null target of null_target.c: compiled when it has changed, run for as long as a measurement lasts. */
import { HostConnection } from "../../src/host/driver/host_connection.ts";
import type { Poller } from "../../src/io/poller.ts";
import { compile } from "./compile.ts";
import { type NvmeQueue, type NvmeSubject, pathAddresses } from "./nvme_case.ts";

const PORT = 4420;
const CONNECT_MS = 5000;
const QUEUE_DEPTH = 127;
/** As it has them; see identify() there. */
const BLOCKS = 1 << 20;
const IN_CAPSULE_BYTES = 8192;

/** How the target behaves; see null_target.c. */
export interface NullTargetOptions {
  addresses: string[];
  /** Sleeps while nothing arrives instead of looking for it all the time. */
  sleeps?: boolean;
  /** Congestion control of what it sends. */
  congestion?: string;
}

/** A running null target on port 4420 of its addresses. */
export class NullTarget implements AsyncDisposable {
  readonly #child: Deno.ChildProcess;

  private constructor(child: Deno.ChildProcess) {
    this.#child = child;
  }

  /** Compiles the program if need be; its path. */
  static build(): Promise<string> {
    return compile("null_target");
  }

  /** Starts it and waits until it listens. */
  static async start(options: NullTargetOptions): Promise<NullTarget> {
    const args = [
      ...(options.sleeps ? ["-s"] : []),
      ...(options.congestion === undefined ? [] : ["-c", options.congestion]),
      ...options.addresses,
    ];
    const child = new Deno.Command(await NullTarget.build(), {
      args,
      stdin: "null",
      stdout: "piped",
      stderr: "inherit",
    })
      .spawn();
    const reader = child.stdout.getReader();
    const { done } = await reader.read();
    reader.releaseLock();
    await child.stdout.cancel();
    if (done) throw new Error("Cannot start the null target: it has ended");
    return new NullTarget(child);
  }

  get pid(): number {
    return this.#child.pid;
  }

  /** Connects one I/O queue for each path. It takes commands on any connection, without a Connect. */
  async connect(poller: Poller, paths: number): Promise<NvmeSubject> {
    const queues: NvmeQueue[] = [];
    for (const traddr of pathAddresses(paths)) {
      const to = { traddr, trsvcid: PORT, hostTraddr: null, hostIface: null };
      const connection = await HostConnection.open(poller, to, CONNECT_MS);
      queues.push({ ...connection.handOver(), depth: QUEUE_DEPTH, inCapsuleBytes: IN_CAPSULE_BYTES });
    }
    return { queues, blocks: BLOCKS };
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#child.kill("SIGKILL");
    await this.#child.status;
  }
}
