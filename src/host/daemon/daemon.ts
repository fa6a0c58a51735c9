/** The process that serves the volumes: control socket, signals, and when it leaves. */
import { messageOf, UmpathError } from "../../base/errors.ts";
import { WORKERS_DEFAULT_MAX } from "../../base/limits.ts";
import { logger, setLogSink, warnOfUnknownLevel } from "../../base/log.ts";
import { midSentence, quote } from "../../base/text.ts";
import { VERSION } from "../../base/version.ts";
import { type ControlServer, type RequestContext, serveControl } from "../../rpc/server.ts";
import { daemonHandlers } from "./daemon_handlers.ts";
import { handleSignals } from "./daemon_signals.ts";
import { leaveCgroup, standAlone } from "./daemon_surroundings.ts";
import { Heartbeat } from "./heartbeat.ts";
import { leftDevices, listLeft, removeBesideDaemon, removeLeft } from "../device/left_devices.ts";
import { LogFile, StderrTarget } from "./log_file.ts";
import { LogWriter } from "./log_writer.ts";
import { ensureRunDir, RunDirLock } from "../../rpc/run_dir.ts";
import { surviveStrayErrors } from "../../io/stray_errors.ts";
import { VolumeSet } from "./volume_set.ts";
import { WorkerPool } from "../driver/worker_pool.ts";

const log = logger("daemon");

/** A transient daemon to which nobody says anything for so long after its start leaves again. */
const FIRST_WORD_MS = 10_000;
/** Time for the last answer to reach its asker before a transient daemon leaves. */
const LEAVE_DELAY_MS = 50;
/** How often the daemon looks whether its socket and its log are where they were. */
const LOOK_MS = 5_000;
/** How long the last lines of the log may take. */
const LOG_END_MS_MAX = 2_000;

export interface DaemonOptions {
  /** Leave when the last volume does. */
  transient: boolean;
  /** Data-plane threads; null: one a CPU, at most four. */
  workers: number | null;
  /** Where the log goes instead of stderr. */
  logFile: string | null;
}

/** Why the daemon ends. */
interface End {
  code: number;
  reason: string;
}

/**
 * Runs the daemon until it is told to end; the exit code.
 *
 * @throws UmpathError "in-use" if another daemon has the run folder.
 */
export async function runDaemon(options: DaemonOptions): Promise<number> {
  const logFile = options.logFile === null ? null : absolute(options.logFile);
  const end = Promise.withResolvers<End>();
  const reopening: { now: () => void } = { now: () => {} };
  surviveStrayErrors();
  handleSignals({
    end: (signal) => end.resolve({ code: 0, reason: signal }),
    reopen: () => reopening.now(),
  });
  const writer = new LogWriter();
  let isOpen = false;
  setLogSink((line) => writer.write(line));
  try {
    const dir = ensureRunDir();
    const files = standAlone();
    using lock = RunDirLock.take(dir);
    const file = logFile === null ? null : await LogFile.open(logFile);
    writer.open(file ?? new StderrTarget());
    isOpen = true;
    return await serve({ ...options, logFile, lock, files, end, file, reopening });
  } catch (error) {
    // It is printed for whoever has started it; the log, if there is one by now, has it too.
    log.error(`The daemon ends: ${midSentence(UmpathError.from(error).message)}`);
    if (!isOpen) writer.open(new StderrTarget());
    throw error;
  } finally {
    await writer.flush(LOG_END_MS_MAX);
  }
}

/** What the daemon has when it begins to serve. */
interface Serving extends DaemonOptions {
  lock: RunDirLock;
  files: ReturnType<typeof standAlone>;
  end: PromiseWithResolvers<End>;
  /** Its log, if that is a file. */
  file: LogFile | null;
  /** What SIGHUP calls. */
  reopening: { now: () => void };
}

async function serve({ transient, logFile, lock, files, end, file, reopening, ...options }: Serving): Promise<number> {
  const dir = lock.dir;
  const startedAt = new Date().toISOString();
  const workers = options.workers ?? Math.min(navigator.hardwareConcurrency, WORKERS_DEFAULT_MAX);
  warnOfUnknownLevel(log);
  if (transient) leaveCgroup();
  using heartbeat = new Heartbeat();
  const handleFailed = (reason: string) => {
    log.error(`A data-plane thread failed: ${reason}`);
    end.resolve({ code: 1, reason: "a data-plane thread failed" });
  };
  const pool = new WorkerPool(workers, handleFailed, heartbeat.shared);
  const volumes = new VolumeSet(pool);
  let hadVolume = false;
  const leave = () => {
    if (!transient || !volumes.isEmpty) return;
    end.resolve({ code: 0, reason: hadVolume ? "the last volume is gone" : "nothing is attached" });
  };
  const handleChanged = () => {
    // An attach that is on its way is no volume yet, and may come to nothing.
    hadVolume ||= volumes.all.length > 0;
    setTimeout(leave, LEAVE_DELAY_MS);
  };
  const left = await removeLeft(await leftDevices(dir), { lock, force: true });
  const leftWords = [...left.words, ...left.failures.map(messageOf)];
  for (const words of leftWords) log.warn(words);
  /** Whoever attaches or detaches first is told: the log is read by nobody who has no reason to. */
  const tellLeft = (context: RequestContext) => leftWords.splice(0).forEach((words) => context.warn(words));
  const info = () => {
    const facts = { pid: Deno.pid, version: VERSION, workers, transient, startedAt, logFile };
    return { ...facts, leaving: transient && volumes.isEmpty };
  };
  const listed = () => listLeft(dir, { besideDaemon: true });
  const handlers = daemonHandlers({
    ...{ volumes, info, left: listed, onVolumes: tellLeft, onChanged: handleChanged },
    removeLeft: (options) => removeBesideDaemon(dir, options),
  });
  await using server = serveControl({ socketPath: dir.socketPath, lock, handlers, reserve: files });
  using _watch = keepInPlace({ server, file, socketPath: dir.socketPath, reopening });
  const firstWord = setTimeout(leave, FIRST_WORD_MS);
  log.info(`umpath ${VERSION} is up, process ${Deno.pid}, ${workers} data-plane threads`);
  const { code, reason } = await end.promise;
  clearTimeout(firstWord);
  log.info(`${reason}: ending`);
  if (code === 0) await closeAll(volumes);
  log.info(`The daemon, process ${Deno.pid}, ends: ${reason}`);
  return code;
}

/** Makes the socket and the log anew when they are removed, and opens the log again when SIGHUP says so. */
function keepInPlace(
  { server, file, socketPath, reopening }: {
    server: ControlServer;
    file: LogFile | null;
    socketPath: string;
    reopening: { now: () => void };
  },
): Disposable {
  const look = async () => {
    try {
      if (await file?.reopenIfGone()) log.warn("The log file was removed or moved: logging to a new one");
      if (await server.listenIfGone()) {
        log.warn(`The control socket ${quote(socketPath)} was removed: it is created again`);
      }
    } catch (error) {
      log.error(UmpathError.from(error).message);
    }
  };
  reopening.now = () => {
    log.info("SIGHUP: the log and the control socket are opened anew where they are gone");
    file?.reopen().then(look, (error) => log.error(UmpathError.from(error).message)) ?? void look();
  };
  const timer = setInterval(look, LOOK_MS);
  return { [Symbol.dispose]: () => clearInterval(timer) };
}

async function closeAll(volumes: VolumeSet): Promise<void> {
  try {
    await volumes.close();
  } catch (error) {
    log.error("Cannot end in order", error);
  }
}

/** The daemon leaves the folder that it was started in. */
function absolute(path: string): string {
  return path.startsWith("/") ? path : `${Deno.cwd()}/${path}`;
}
