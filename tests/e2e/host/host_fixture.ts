/** What tests of the host share: options for the fake target's portals, and waiting. */
import { fail } from "@std/assert";
import { UmpathError } from "../../../src/base/errors.ts";
import type { AttachParams } from "../../../src/rpc/host_api.ts";
import type { SessionOptions } from "../../../src/host/driver/controller_session.ts";
import { type FakePortal, NQN } from "./fake_target.ts";

const HOST_NQN = "nqn.2014-08.org.nvmexpress:uuid:0f0e0d0c-0b0a-4908-8706-050403020100";
/** Only what never comes is waited for so long. */
const EVENTUALLY_MS_MAX = 30_000;
const HOST_ID = "0f0e0d0c-0b0a-4908-8706-050403020100";

/** Options of a session with that portal. */
export function sessionOptions(portal: FakePortal, more: Partial<SessionOptions> = {}): SessionOptions {
  return {
    spec: portal.spec,
    nqn: NQN,
    nsid: 1,
    hostNqn: HOST_NQN,
    hostId: new Uint8Array(16).fill(7),
    keepAliveMs: null,
    connectTimeoutMs: 5_000,
    queues: 2,
    depth: 32,
    ...more,
  };
}

/** Parameters that attach the fake target's namespace over these portals, without a kernel device. */
export function attachParams(portals: FakePortal[], more: Partial<AttachParams> = {}): AttachParams {
  return {
    nqn: NQN,
    nsid: 1,
    name: null,
    paths: portals.map((portal) => portal.spec),
    device: "none",
    policy: "round-robin",
    queues: null,
    depth: 16,
    readOnly: false,
    hostNqn: HOST_NQN,
    hostId: HOST_ID,
    ...more,
    timeouts: { reconnectDelayMs: 20, reconnectDelayMaxMs: 50, ...more.timeouts },
  };
}

/** Waits until `holds`; fails after `limitMs`, saying what was waited for. */
export async function eventually(what: string, holds: () => boolean, limitMs = EVENTUALLY_MS_MAX): Promise<void> {
  const end = performance.now() + limitMs;
  while (!holds()) {
    if (performance.now() > end) fail(`After ${limitMs} ms, still not: ${what}`);
    await delay(5);
  }
}

export function delay(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms));
}

/** The error that `work` ends with, which has to be one for people. */
export async function failureOf(work: Promise<unknown>): Promise<UmpathError> {
  const error: unknown = await work.then(() => null, (thrown) => thrown);
  if (error instanceof UmpathError) return error;
  throw new Error(error === null ? "It did not fail" : `It failed with ${error}`, { cause: error });
}

/** Sockets that this process, or another one, has open. */
export function openSockets(pid: number | "self" = "self"): number {
  let sockets = 0;
  for (const { name } of Deno.readDirSync(`/proc/${pid}/fd`)) {
    try {
      if (Deno.readLinkSync(`/proc/${pid}/fd/${name}`).startsWith("socket:")) sockets++;
    } catch {
      continue; // it was closed meanwhile
    }
  }
  return sockets;
}
