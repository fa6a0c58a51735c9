/** A daemon that several tests share: starting one takes longer than most of them. */
import { call } from "../../src/rpc/client.ts";
import { runDirAt } from "../../src/rpc/run_dir.ts";
import type { Api, Method, VolumeInfo } from "../../src/rpc/host_api.ts";
import { eventually } from "./eventually.ts";
import { umpathProcesses } from "./leftovers.ts";
import { run, umpathBinary, umpathRunDir } from "./process.ts";

const START_MS = 60_000;
const END_MS = 60_000;
const CALL_MS = 60_000;

/** Where the shared daemon logs; one that `attach` starts logs into the run folder. */
export const SHARED_LOG = "/tmp/umpath-shared-daemon.log";

/** Asks the daemon over its socket, as the commands do but without the second that starting one takes in the VM. */
export async function ask<M extends Method>(
  method: M,
  params: Api[M]["params"],
  onWarning: (message: string) => void = () => {},
): Promise<Api[M]["result"] | null> {
  return await call(method, params, { dir: runDirAt(umpathRunDir()), timeoutMs: CALL_MS, onWarning });
}

/** All volumes; none without a daemon. */
export async function volumes(): Promise<VolumeInfo[]> {
  return (await ask("list", {}))?.volumes ?? [];
}

/** The process of the daemon that answers, or null. */
export async function daemonPid(): Promise<number | null> {
  return (await ask("info", {}))?.pid ?? null;
}

/** Starts `umpath daemon` unless it runs; its process. */
export async function startSharedDaemon(): Promise<number> {
  const pid = await daemonPid();
  if (pid !== null) return pid;
  // A shell starts it, so that it is no child of a test that ends before it.
  const line = `setsid "$0" daemon --log-file ${SHARED_LOG} </dev/null >>${SHARED_LOG} 2>&1 &`;
  await run("sh", ["-c", line, umpathBinary()], { check: true });
  return await eventually(daemonPid, START_MS);
}

/** Ends the daemon in order, whichever it is, and waits until it has left. */
export async function endDaemon(): Promise<void> {
  const pid = await daemonPid();
  if (pid === null) return;
  Deno.kill(pid, "SIGTERM");
  await processEnd(pid);
}

/** Waits until an umpath process has left. */
export async function processEnd(pid: number, timeoutMs: number = END_MS): Promise<void> {
  await eventually(() => umpathProcesses().every((process) => process.pid !== pid), timeoutMs);
}
