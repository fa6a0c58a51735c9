/**
 * Log lines on stderr, one write each. Under journald (JOURNAL_STREAM is set) a line starts with its priority and has
 * no time, because the journal adds it; elsewhere it starts with the time and the level. States are named, never numbered.
 */
import { heldBackWords, RateLimit } from "./rate_limit.ts";
import { oneLine, quote } from "./text.ts";

/** From the most to the least urgent. */
export const LOG_LEVELS = Object.freeze(["error", "warn", "info", "debug"] as const);

/** How urgent a line is. */
export type LogLevel = (typeof LOG_LEVELS)[number];

const LOG_LEVEL_DEFAULT: LogLevel = "info";

/** One and the same text is logged that often at once, then once a period: what repeats itself must not fill a disk. */
const REPEATS = { burst: 20, perMs: 30_000 } as const;
/** Texts whose repeats are counted: the ones that were seen last. */
const TEXTS_MAX = 256;

/** syslog(3) priorities, which journald reads in front of a line. */
const PRIORITY: Record<LogLevel, number> = { error: 3, warn: 4, info: 6, debug: 7 };

const encoder = new TextEncoder();
let threshold: LogLevel | null = null;
let forJournal: boolean | null = null;
let sink: (line: Uint8Array) => void = writeStderr;
const repeats = new Map<string, RateLimit>();
const listeners = new Set<LogListener>();

/** Somebody who wants to have every line as well, whatever the level that holds. */
export type LogListener = (level: LogLevel, text: string) => void;

/** Writes lines of one part of the program. */
export interface Logger {
  error(message: string, thrown?: unknown): void;
  warn(message: string, thrown?: unknown): void;
  info(message: string): void;
  /** A function is called only if somebody has the line. */
  debug(message: string | (() => string)): void;
  /** True if lines of this level are written: ask before building an expensive one. */
  enabled(level: LogLevel): boolean;
}

/** The logger of `scope`, a short noun such as `daemon` or `path`. */
export function logger(scope: string): Logger {
  return {
    error: (message, thrown) => write("error", scope, withThrown(message, thrown)),
    warn: (message, thrown) => write("warn", scope, withThrown(message, thrown)),
    info: (message) => write("info", scope, message),
    debug: (message) => {
      if (isEnabled("debug")) write("debug", scope, typeof message === "string" ? message : message());
    },
    enabled: isEnabled,
  };
}

/** Sets the level from here on; null goes back to UMPATH_LOG. */
export function setLogLevel(level: LogLevel | null): void {
  threshold = level;
}

/** The level that holds: what was set, else UMPATH_LOG, else `info`. Unknown words count as `info`. */
export function logLevel(): LogLevel {
  threshold ??= LOG_LEVELS.find((level) => level === environment("UMPATH_LOG")?.toLowerCase()) ?? LOG_LEVEL_DEFAULT;
  return threshold;
}

/** Warns in `log` of a UMPATH_LOG that names no level. */
export function warnOfUnknownLevel(log: Logger): void {
  const word = environment("UMPATH_LOG") ?? "";
  if (word === "" || LOG_LEVELS.some((level) => level === word.toLowerCase())) return;
  log.warn(`UMPATH_LOG=${quote(word)} is no level (${LOG_LEVELS.join(", ")}): ${LOG_LEVEL_DEFAULT} is used`);
}

/** Gives every line to `listener` too, until the returned function is called. */
export function listenToLog(listener: LogListener): () => void {
  listeners.add(listener);
  return () => void listeners.delete(listener);
}

/** Writes a line that another process of ours has written: `text` is what its listener had. */
export function relayLog(level: string, text: string): void {
  emit(LOG_LEVELS.find((known) => known === level) ?? LOG_LEVEL_DEFAULT, oneLine(text));
}

/** Where lines go, for tests: null goes back to stderr and looks at the environment anew. */
export function setLogSink(write: ((line: string) => void) | null): void {
  const decoder = new TextDecoder();
  sink = write === null ? writeStderr : (line) => write(decoder.decode(line));
  threshold = forJournal = null;
  repeats.clear();
}

function isEnabled(level: LogLevel): boolean {
  return listeners.size > 0 || isLogged(level);
}

function isLogged(level: LogLevel): boolean {
  return LOG_LEVELS.indexOf(level) <= LOG_LEVELS.indexOf(logLevel());
}

function write(level: LogLevel, scope: string, message: string): void {
  if (!isEnabled(level)) return;
  const said = oneLine(`${scope}: ${message}`);
  for (const listener of listeners) listener(level, said);
  emit(level, said);
}

function emit(level: LogLevel, said: string): void {
  if (!isLogged(level)) return;
  const heldBack = admit(said);
  if (heldBack === null) return;
  const text = `${said}${heldBackWords(heldBack)}`;
  forJournal ??= environment("JOURNAL_STREAM") !== undefined;
  const line = forJournal ? `<${PRIORITY[level]}>${text}\n` : `${new Date().toISOString()} ${level} ${text}\n`;
  sink(encoder.encode(line));
}

/** How many of this text were held back since it was logged last; null if this one is held back too. */
function admit(text: string): number | null {
  const limit = repeats.get(text) ?? new RateLimit(REPEATS);
  repeats.delete(text);
  repeats.set(text, limit);
  if (repeats.size > TEXTS_MAX) repeats.delete(repeats.keys().next().value!);
  return limit.admit(performance.now());
}

function withThrown(message: string, thrown: unknown): string {
  if (thrown === undefined) return message;
  const detail = thrown instanceof Error ? thrown.stack ?? thrown.message : String(thrown);
  return `${message}: ${detail}`;
}

/** A lost log line is no reason to fail: whoever read stderr may be gone. */
function writeStderr(line: Uint8Array): void {
  try {
    for (let done = 0; done < line.length;) done += Deno.stderr.writeSync(line.subarray(done));
  } catch {
    return;
  }
}

function environment(name: string): string | undefined {
  try {
    return Deno.env.get(name);
  } catch {
    return undefined;
  }
}
