/** The process of `umpath serve`: opens what it serves, listens, and ends in order when it is told to. */
import { TARGET_TRANSFER_BYTES, WORKERS_DEFAULT_MAX } from "../base/limits.ts";
import { logger, warnOfUnknownLevel } from "../base/log.ts";
import { formatDuration } from "../base/units.ts";
import { VERSION } from "../base/version.ts";
import { type Handlers, listenControl } from "../rpc/server.ts";
import { ensureRunDir } from "../rpc/run_dir.ts";
import { surviveStrayErrors } from "../io/stray_errors.ts";
import { Poller } from "../io/poller.ts";
import type { SubsystemDescription } from "../nvme_target/description.ts";
import type {
  FaultsInfo,
  ListenerInfo,
  ListenSpec,
  PortalName,
  TargetApi,
  TargetInfo,
  TargetSpec,
} from "../rpc/target_api.ts";
import { TARGET_FIELDS } from "../rpc/target_api_fields.ts";
import { derivedSerial } from "./identity.ts";
import { type Namespace, openNamespaces } from "./namespaces.ts";
import { NqnLock, removeLeftLocks } from "./nqn_lock.ts";
import { portalWords } from "./portal.ts";
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
 * @throws UmpathError in words for everything that a person can put right. Nothing is logged before that.
 */
export async function runServe(spec: TargetSpec, onListening: (info: TargetInfo) => void): Promise<number> {
  surviveStrayErrors();
  await using opened = new AsyncDisposableStack();
  const dir = ensureRunDir();
  removeLeftSockets(dir);
  removeLeftLocks(dir);
  opened.use(await NqnLock.take(dir, spec.nqn));
  const namespaces = await openNamespaces(spec.namespaces);
  using unserved = new DisposableStack();
  for (const namespace of namespaces) unserved.use(namespace);
  const end = Promise.withResolvers<number>();
  const workers = spec.workers ?? Math.min(navigator.hardwareConcurrency, WORKERS_DEFAULT_MAX);
  const server = await TargetServer.start({
    description: await describe(spec, namespaces),
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
  const answers = { name: "target", handlers: handlers(server, () => end.resolve(0)), fields: TARGET_FIELDS };
  opened.use(listenControl<TargetApi>(targetSocketPath(dir, Deno.pid), answers));
  if (spec.faults.length > 0) server.faults.set(spec.faults, spec.faultSeed);
  const stopSignals = onSignals((signal) => {
    log.info(`${signal}: ending`);
    end.resolve(0);
  });
  // From here on hosts use them, and commands that never end may do so to the last.
  unserved.move();
  warnOfUnknownLevel(log);
  for (const namespace of namespaces) namespace.logOpened();
  for (const listener of server.info().listeners) log.info(listeningWords(listener));
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

async function describe(spec: TargetSpec, namespaces: readonly Namespace[]): Promise<SubsystemDescription> {
  const descriptions = namespaces.map((namespace) => namespace.description);
  const first = descriptions.reduce((lowest, next) => next.nsid < lowest.nsid ? next : lowest);
  return {
    nqn: spec.nqn,
    serial: spec.serial ?? await derivedSerial(first.uuid),
    model: MODEL,
    namespaces: descriptions,
    limits: {
      ioQueuesMax: spec.queues,
      queueEntriesMax: spec.depth,
      transferBytesMax: TARGET_TRANSFER_BYTES,
      inCapsuleBytes: spec.inCapsuleBytes,
    },
    allowedHosts: spec.allowedHosts,
  };
}

/** What is asked over the control socket, in one place. */
function handlers(server: TargetServer, stop: () => void): Handlers<TargetApi> {
  return {
    show: () => Promise.resolve(server.info()),
    ana: (params) => Promise.resolve().then(() => server.setAna(params)),
    resize: (params) => Promise.resolve().then(() => server.resize(params)),
    "listener-add": (params) => Promise.resolve().then(() => addListener(server, params)),
    "listener-remove": (params) => Promise.resolve().then(() => removeListener(server, params)),
    faults: () => Promise.resolve(server.faults.info),
    "set-faults": (params) => Promise.resolve().then(() => setFaults(server, params)),
    stop: () => {
      setTimeout(stop, LEAVE_DELAY_MS);
      return Promise.resolve({});
    },
  };
}

function addListener(server: TargetServer, spec: ListenSpec): ListenerInfo {
  const listener = server.listen(spec);
  log.info(listeningWords(listener));
  return listener;
}

function removeListener(server: TargetServer, name: PortalName): Record<string, never> {
  server.unlisten(name);
  return {};
}

function listeningWords({ traddr, trsvcid, ana }: ListenerInfo): string {
  return `Listening on ${portalWords(traddr, trsvcid)}, ${ana}`;
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
