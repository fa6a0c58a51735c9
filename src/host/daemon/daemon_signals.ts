/** What signals mean to the daemon: none of those that can be handled ends it without a word. */
import { native } from "../../../ffi/library.ts";
import { logger, logLevel, setLogLevel } from "../../base/log.ts";

const log = logger("daemon");

/** These end it. */
const ENDING: readonly Deno.Signal[] = ["SIGTERM", "SIGINT"];

/** Their default action ends or stops a process. Nobody has a reason to send them: they are logged and have no effect. */
const WITHOUT_EFFECT: readonly Deno.Signal[] = [
  ...["SIGUSR2", "SIGQUIT", "SIGALRM", "SIGVTALRM", "SIGPROF", "SIGIO", "SIGPWR", "SIGSTKFLT"] as const,
  ...["SIGXCPU", "SIGTTIN", "SIGTTOU"] as const,
];

/** What the daemon does when it is told to. */
export interface SignalActions {
  /** SIGTERM or SIGINT, the first time. */
  end(signal: Deno.Signal): void;
  /** SIGHUP: what it has opened in the file system may be gone. */
  reopen(): void;
}

/** Handles signals from now on; the returned function gives them back their default actions. */
export function handleSignals(actions: SignalActions): () => void {
  const normalLevel = logLevel();
  let isEnding = false;
  const listeners: [Deno.Signal, () => void][] = [
    ...ENDING.map((signal): [Deno.Signal, () => void] => [signal, () => {
      // To hurry what is being written back would lose it.
      if (isEnding) return log.info(`${signal}: it is ending already`);
      isEnding = true;
      actions.end(signal);
    }]),
    ["SIGHUP", () => actions.reopen()],
    ["SIGUSR1", () => toggleDebug(normalLevel === "debug" ? "info" : normalLevel)],
    ...WITHOUT_EFFECT.map((
      signal,
    ): [Deno.Signal, () => void] => [signal, () => log.warn(`${signal}: it has no effect`)]),
    // A file that may not grow is an error of the write.
    ["SIGXFSZ", () => {}],
  ];
  for (const [signal, listener] of listeners) Deno.addSignalListener(signal, listener);
  native().um_ignore_realtime_signals();
  return () => {
    for (const [signal, listener] of listeners) Deno.removeSignalListener(signal, listener);
  };
}

/** SIGUSR1 makes the log tell more, and less again. */
function toggleDebug(normal: "error" | "warn" | "info"): void {
  const level = logLevel() === "debug" ? normal : "debug";
  setLogLevel("info");
  log.info(`SIGUSR1: the log level is ${level} from now on`);
  setLogLevel(level);
}
