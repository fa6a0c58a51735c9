/**
 * One worker of umpath's host side against one worker of `umpath serve` over memory, by name; and either of them against
 * a peer that does little, which shows what it could do by itself.
 */
import { native } from "../../ffi/library.ts";
import { ControllerSession } from "../../src/host/driver/controller_session.ts";
import { Poller } from "../../src/io/poller.ts";
import { eventually } from "../vm/eventually.ts";
import { umpathBinary } from "../vm/process.ts";
import { cpuTimeOfUs } from "./cpu_time.ts";
import type { Sample } from "./measure.ts";
import { type Duration, type NvmeLoad, type NvmeSubject, runNullTargetLoad, runNvmeLoad } from "./nvme_case.ts";
import { runNullHostLoad } from "./null_host.ts";
import { listenersAt, ServerProcess } from "./server_process.ts";

const NQN = "nqn.2026-11.io.test:bench";
const ADDRESS = "127.0.0.1";
const PORT = 4420;
const READY_MS = 10_000;
/** More than caches hold. */
const SIZE_MIB = 256;
const BLOCKS = SIZE_MIB << 8;
const QUEUE_DEPTH = 127;
const FILL: NvmeLoad = { paths: 1, op: "write", depth: 16, bytes: 131072, isSequential: true };
const FILL_SECONDS = 0.5;

/** Who loads whom. The first one is compared with the others. */
export const TARGET_SUBJECTS = ["umpath on serve", "umpath on null target", "null host on serve"] as const;

const load = (op: "read" | "write", bytes: number, depth: number): NvmeLoad => ({ paths: 1, op, depth, bytes });

export const TARGET_CASES: Readonly<Record<string, NvmeLoad>> = {
  "target-read-4k-1": load("read", 4096, 1),
  "target-read-4k-32": load("read", 4096, 32),
  "target-read-4k-128": load("read", 4096, 128),
  "target-write-4k-1": load("write", 4096, 1),
  "target-write-4k-32": load("write", 4096, 32),
  "target-write-4k-128": load("write", 4096, 128),
  "target-read-128k-16": load("read", 131072, 16),
  "target-write-128k-16": load("write", 131072, 16),
};

/** Starts `umpath serve` with one worker, writes all its blocks once, and runs a load on it. */
async function runServedLoad(
  load: NvmeLoad,
  duration: Duration,
  run: typeof runNvmeLoad | typeof runNullHostLoad,
): Promise<Sample> {
  const folder = await Deno.makeTempDir({ prefix: "umpath-bench-" });
  try {
    const words = ["--ram", `${SIZE_MIB}M`, "--workers", "1", "--nqn", NQN, "--listen", ADDRESS];
    await using server = new ServerProcess(umpathBinary(), ["serve", ...words], { UMPATH_RUN_DIR: `${folder}/run` });
    await eventually(() => (server.check(), listenersAt(PORT) > 0), READY_MS);
    const targetCpuUs = () => cpuTimeOfUs([server.pid]);
    const fill = { seconds: FILL_SECONDS, warmUpSeconds: 0, targetCpuUs };
    await withQueue((subject) => runNvmeLoad(FILL, subject, fill));
    return await withQueue((subject) => run(load, subject, { ...duration, targetCpuUs }));
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
}

/** Calls `use` with an I/O queue of an association of its own. */
async function withQueue(use: (subject: NvmeSubject) => Sample | Promise<Sample>): Promise<Sample> {
  const session = await ControllerSession.open(new Poller(), {
    spec: { transport: "tcp", traddr: ADDRESS, trsvcid: PORT, hostTraddr: null, hostIface: null },
    nqn: NQN,
    nsid: 1,
    hostNqn: "nqn.2026-11.io.test:bench-host",
    hostId: new Uint8Array(16).fill(1),
    keepAliveMs: null,
    connectTimeoutMs: 5000,
    queues: 1,
    depth: QUEUE_DEPTH,
  });
  const { controller } = session;
  if (controller.limits.blockSize !== 4096) throw new Error(`Blocks have ${controller.limits.blockSize} bytes`);
  const [queue] = await session.openQueues(1);
  const { queueDepth: depth, inCapsuleBytes } = controller;
  try {
    return await use({ queues: [{ ...queue!, depth, inCapsuleBytes }], blocks: BLOCKS });
  } finally {
    native().um_socket_close(queue!.fd, 1);
    await session.close();
  }
}

/** Run as a program: one repetition of one case on one subject, its sample as JSON on stdout. */
if (import.meta.main) {
  const [name = "", subject = "", seconds = "1", warmUpSeconds = "0.5"] = Deno.args;
  const found = TARGET_CASES[name];
  if (found === undefined) throw new Error(`Unknown case "${name}"`);
  const duration = { seconds: Number(seconds), warmUpSeconds: Number(warmUpSeconds) };
  const run = {
    [TARGET_SUBJECTS[0]]: () => runServedLoad(found, duration, runNvmeLoad),
    [TARGET_SUBJECTS[1]]: () => runNullTargetLoad(found, { ...duration, sleeps: false }),
    [TARGET_SUBJECTS[2]]: () => runServedLoad(found, duration, runNullHostLoad),
  }[subject];
  if (run === undefined) throw new Error(`Unknown subject "${subject}"`);
  const sample = await run();
  console.log(JSON.stringify(sample));
  Deno.exit(0);
}
