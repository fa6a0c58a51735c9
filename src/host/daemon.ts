/** The process that serves the volumes: control socket, signals, and when it leaves. */
import { messageOf, UmpathError } from "../base/errors.ts";
import { WORKERS_DEFAULT_MAX } from "../base/limits.ts";
import { logger, setLogSink } from "../base/log.ts";
import { type RequestContext, serveControl } from "./control_server.ts";
import { leftDevices, removeLeft } from "./left_devices.ts";
import { VERSION } from "../base/version.ts";
import { ensureRunDir, RunDirLock } from "./run_dir.ts";
import { surviveStrayErrors } from "./stray_errors.ts";
import { VolumeSet } from "./volume_set.ts";
import { WorkerPool } from "./worker_pool.ts";

const log = logger("daemon");

/** A transient daemon to which nobody says anything for so long after its start leaves again. */
const FIRST_WORD_MS = 10_000;
/** Time for the last answer to reach its asker before a transient daemon leaves. */
const LEAVE_DELAY_MS = 50;

export interface DaemonOptions {
  /** Leave when the last volume does. */
  transient: boolean;
  /** Data-plane threads; null: one a CPU, at most four. */
  workers: number | null;
  /** Where the log goes instead of stderr. */
  logFile: string | null;
}

/**
 * Runs the daemon until it is told to end; the exit code.
 *
 * @throws UmpathError "in-use" if another daemon has the run folder.
 */
export async function runDaemon(options: DaemonOptions): Promise<number> {
  if (options.logFile !== null) logTo(options.logFile);
  surviveStrayErrors();
  const dir = ensureRunDir();
  using lock = RunDirLock.take(dir);
  const end = Promise.withResolvers<number>();
  const workers = options.workers ?? Math.min(navigator.hardwareConcurrency, WORKERS_DEFAULT_MAX);
  const pool = new WorkerPool(workers, (reason) => {
    log.error(`A data-plane thread failed: ${reason}`);
    end.resolve(1);
  });
  const volumes = new VolumeSet(pool);
  const leave = () => {
    if (options.transient && volumes.isEmpty) end.resolve(0);
  };
  const leaveSoon = () => setTimeout(leave, LEAVE_DELAY_MS);
  const left = await removeLeft(await leftDevices(dir), { lock, force: true });
  const leftWords = [...left.words, ...left.failures.map(messageOf)];
  for (const words of leftWords) log.warn(words);
  /** Whoever attaches or detaches first is told: the log is read by nobody who has no reason to. */
  const tellLeft = (context: RequestContext) => leftWords.splice(0).forEach((words) => context.warn(words));
  await using _server = serveControl({
    socketPath: dir.socketPath,
    lock,
    handlers: {
      attach: (params, context) => {
        tellLeft(context);
        return volumes.attach(params, (words) => context.warn(words)).finally(leaveSoon);
      },
      detach: (params, context) => {
        tellLeft(context);
        return volumes.detach(params).finally(leaveSoon);
      },
      set: (params, context) => Promise.resolve(volumes.set(params, (words) => context.warn(words))),
      "path-add": (params, context) => volumes.addPath(params, (words) => context.warn(words)),
      "path-remove": (params) => volumes.removePath(params),
      "path-disable": (params) => volumes.disablePath(params),
      "path-enable": (params, context) => volumes.enablePath(params, (words) => context.warn(words)),
      list: () => Promise.resolve({ volumes: volumes.all.map((volume) => volume.info()) }),
      info: () => Promise.resolve({ pid: Deno.pid, version: VERSION, workers, transient: options.transient }),
    },
  });
  const firstWord = setTimeout(leave, FIRST_WORD_MS);
  const stopSignals = onSignals((signal) => {
    log.info(`${signal}: ending`);
    end.resolve(0);
  });
  log.info(`umpath ${VERSION} is up, process ${Deno.pid}, ${workers} data-plane threads`);
  const code = await end.promise;
  clearTimeout(firstWord);
  if (code === 0) await closeAll(volumes);
  stopSignals();
  return code;
}

/** A second signal while volumes are taken away does not hurry anything: that would lose data. */
function onSignals(handler: (signal: string) => void): () => void {
  const signals: Deno.Signal[] = ["SIGTERM", "SIGINT"];
  const listeners = signals.map((signal) => [signal, () => handler(signal)] as const);
  const ignore = () => {};
  for (const [signal, listener] of listeners) Deno.addSignalListener(signal, listener);
  Deno.addSignalListener("SIGHUP", ignore);
  return () => {
    for (const [signal, listener] of listeners) Deno.removeSignalListener(signal, listener);
    Deno.removeSignalListener("SIGHUP", ignore);
  };
}

async function closeAll(volumes: VolumeSet): Promise<void> {
  try {
    await volumes.close();
  } catch (error) {
    log.error("Cannot end in order", error);
  }
}

function logTo(path: string): void {
  try {
    const file = Deno.openSync(path, { append: true, create: true, mode: 0o600 });
    setLogSink((line) => writeLine(file, line));
  } catch (error) {
    throw new UmpathError("host-lacks", `Cannot log to "${path}": ${messageOf(error)}`);
  }
}

/** A line that has no room on the disk is lost: it must not end what it is about. */
function writeLine(file: Deno.FsFile, line: string): void {
  try {
    const bytes = new TextEncoder().encode(line);
    for (let done = 0; done < bytes.length;) done += file.writeSync(bytes.subarray(done));
  } catch {
    return;
  }
}
