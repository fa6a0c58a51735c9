/** The process of `umpath serve`: opens what it serves, listens, and ends in order when it is told to. */
import { TARGET_TRANSFER_BYTES, WORKERS_DEFAULT_MAX } from "../base/limits.ts";
import { logger } from "../base/log.ts";
import { formatDuration } from "../base/units.ts";
import { VERSION } from "../base/version.ts";
import { type Handlers, listenControl } from "../host/control_server.ts";
import { ensureRunDir } from "../host/run_dir.ts";
import { surviveStrayErrors } from "../host/stray_errors.ts";
import { Poller } from "../io/poller.ts";
import type { SubsystemDescription } from "../target/description.ts";
import type { FaultsInfo, TargetApi, TargetInfo, TargetSpec } from "./api.ts";
import { TARGET_FIELDS } from "./api_fields.ts";
import { derivedSerial } from "./identity.ts";
import { openNamespaces } from "./namespaces.ts";
import { removeLeftSockets, targetSocketPath } from "./target_sockets.ts";
import { TargetServer } from "./target_server.ts";

const log = logger("serve");

const MODEL = "umpath target";
/** Commands that are under way have so long to come to an end when the target does. */
const END_MS_MAX = 30_000;
/** Time for the last answer to reach its asker before the control socket goes. */
const LEAVE_DELAY_MS = 50;

/**
 * Serves until it is told to end; the exit code. `onListening` is called once all listeners listen.
 *
 * @throws UmpathError in words for everything that a person can put right.
 */
export async function runServe(spec: TargetSpec, onListening: (info: TargetInfo) => void): Promise<number> {
  surviveStrayErrors();
  const dir = ensureRunDir();
  removeLeftSockets(dir);
  const namespaces = await openNamespaces(spec.namespaces, spec.nqn);
  const end = Promise.withResolvers<number>();
  const workers = spec.workers ?? Math.min(navigator.hardwareConcurrency, WORKERS_DEFAULT_MAX);
  const description: SubsystemDescription = {
    nqn: spec.nqn,
    serial: spec.serial ?? await derivedSerial(spec.nqn),
    model: MODEL,
    namespaces: namespaces.map((namespace) => namespace.description),
    limits: {
      ioQueuesMax: spec.queues,
      queueEntriesMax: spec.depth,
      transferBytesMax: TARGET_TRANSFER_BYTES,
      inCapsuleBytes: spec.inCapsuleBytes,
    },
    allowedHosts: spec.allowedHosts,
  };
  const server = await TargetServer.start({
    description,
    namespaces,
    workers,
    poller: new Poller(),
    onWorkerFailed: (reason) => {
      log.error(`A data-plane thread failed: ${reason}`);
      end.resolve(1);
    },
  });
  // All sockets are bound before anybody hears of any, so that a bad word has no witnesses.
  for (const listener of spec.listeners) server.listen(listener);
  if (spec.faults.length > 0) server.faults.set(spec.faults, spec.faultSeed);
  const handlers: Handlers<TargetApi> = {
    show: () => Promise.resolve(server.info()),
    ana: (params) => Promise.resolve().then(() => server.setAna(params)),
    resize: ({ nsid, sizeBytes }) => Promise.resolve().then(() => server.resize(nsid, sizeBytes)),
    "listener-add": (params) => Promise.resolve().then(() => server.listen(params)),
    "listener-remove": (params) => server.unlisten(params).then(() => ({})),
    faults: () => Promise.resolve(server.faults.info),
    "set-faults": (params) => Promise.resolve().then(() => setFaults(server, params)),
    stop: () => {
      setTimeout(() => end.resolve(0), LEAVE_DELAY_MS);
      return Promise.resolve({});
    },
  };
  const answers = { name: "target", handlers, fields: TARGET_FIELDS };
  await using _control = listenControl<TargetApi>(targetSocketPath(dir, Deno.pid), answers);
  const stopSignals = onSignals((signal) => {
    log.info(`${signal}: ending`);
    end.resolve(0);
  });
  log.info(`umpath ${VERSION} serves ${spec.nqn}, process ${Deno.pid}, ${workers} data-plane threads`);
  onListening(server.info());
  const code = await end.promise;
  const isInOrder = code === 0 && await within(END_MS_MAX, server.close());
  stopSignals();
  if (code === 0 && !isInOrder) {
    log.error(`Commands are under way after ${formatDuration(END_MS_MAX)}: ending without them`);
    return 1;
  }
  return code;
}

/** True if `work` was done in so much time. */
async function within(ms: number, work: Promise<void>): Promise<boolean> {
  const { promise: late, resolve } = Promise.withResolvers<boolean>();
  const timer = setTimeout(() => resolve(false), ms);
  const isDone = await Promise.race([work.then(() => true), late]);
  clearTimeout(timer);
  return isDone;
}

function onSignals(handler: (signal: string) => void): () => void {
  const signals: Deno.Signal[] = ["SIGTERM", "SIGINT"];
  const listeners = signals.map((signal) => [signal, () => handler(signal)] as const);
  for (const [signal, listener] of listeners) Deno.addSignalListener(signal, listener);
  return () => {
    for (const [signal, listener] of listeners) Deno.removeSignalListener(signal, listener);
  };
}

function setFaults({ faults: control }: TargetServer, { faults, seed }: TargetApi["set-faults"]["params"]): FaultsInfo {
  control.set(faults, seed);
  return control.info;
}
