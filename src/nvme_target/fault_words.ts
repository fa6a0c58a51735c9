/**
 * Faults in words, one a line of a script or one a `--fault`:
 *
 *     LISTENER:KIND[=ARGUMENT][,KEY=VALUE]...
 *
 * LISTENER is its number from 1 in the order of --listen, its ADDR, its ADDR:PORT, or * for all. KIND is one of
 * `FAULT_KINDS`, and so says what ARGUMENT is. The keys:
 *
 *     at=DURATION      it begins so long after the script's start (default: at once)
 *     for=DURATION     it ends so long after its beginning (default: when the faults are cleared)
 *     every=DURATION   it begins again and again, so long from one beginning to the next
 *     times=N          it begins so often in all; only with every
 *     chance=P         each command, connection or listener is hit with this probability, above 0 to 1
 *     op=NAME+NAME...  commands that are hit: names of `FAULT_OPS` (default: io); only for faults of commands
 *     count=N          so many commands are hit in all; only for the same
 *     queue=admin|io   connections that are hit (default: both); only for faults of connections
 *
 * Examples: `1:delay=5ms..50ms,op=read,chance=0.1`; `*:reset,every=2s,times=3`; `127.0.0.2:4420:down,at=1s,for=3s`;
 * `2:status=internal-path-error,op=write,count=1`. In a script, empty lines and what follows a # are skipped.
 */
import { UmpathError } from "../base/errors.ts";
import { FAULT_RULES_MAX } from "../base/limits.ts";
import { listWords, nearest, quote } from "../base/text.ts";
import { parseDuration, parseSize } from "../base/units.ts";
import { AnaStateCode } from "../protocol/nvme_log.ts";
import { StatusCode, StatusField } from "../protocol/nvme_status.ts";
import type { ListenerDescription } from "./description.ts";
import { FAULT_OPS } from "./fault_ops.ts";
import {
  FAULT_KINDS,
  type FaultKind,
  type FaultKindInfo,
  type FaultQueue,
  type FaultRule,
  type FaultWindow,
} from "./fault_rule.ts";

const HINT =
  "Write a fault as LISTENER:KIND[=ARGUMENT][,KEY=VALUE]..., such as 1:delay=5ms or *:reset,every=2s,times=3";
const COUNT_MAX = 1_000_000_000;
/** The longest word that is a fault: the longest sensible one is far shorter. */
const WORD_CHARACTERS_MAX = 1024;

/** ANA states as the command line names them. */
export const ANA_STATES: Readonly<Record<string, number>> = Object.freeze({
  optimized: AnaStateCode.OPTIMIZED,
  "non-optimized": AnaStateCode.NON_OPTIMIZED,
  inaccessible: AnaStateCode.INACCESSIBLE,
  "persistent-loss": AnaStateCode.PERSISTENT_LOSS,
  change: AnaStateCode.CHANGE,
});

/** Status codes by the specification's name in lower case with dashes: `internal-path-error`. Success is no fault. */
const STATUSES: Readonly<Record<string, number>> = Object.freeze(Object.fromEntries(
  Object.entries(StatusCode).filter(([, code]) => code !== StatusCode.SUCCESS)
    .map(([name, code]) => [name.toLowerCase().replaceAll("_", "-"), code]),
));
const DNR_SUFFIX = "+dnr";

const KEYS = ["at", "for", "every", "times", "chance", "op", "count", "queue"] as const;
type Key = typeof KEYS[number];
const KEYS_OF_COMMANDS: readonly Key[] = ["op", "count"];
const KEYS_OF_CONNECTIONS: readonly Key[] = ["queue"];

/** What is wrong with a word; the parser adds the word. */
class Fault extends Error {
  constructor(message: string, readonly hint = HINT) {
    super(message);
  }
}

/** The faults of these words, for a target with these listeners. Errors name the word and its bad part. */
export function parseFaults(words: readonly string[], listeners: readonly ListenerDescription[]): FaultRule[] {
  if (words.length > FAULT_RULES_MAX) {
    throw new UmpathError("usage", `Cannot use ${words.length} faults: at most ${FAULT_RULES_MAX} can be on a target`);
  }
  return words.map((word) => parseFault(word, listeners));
}

/** The words of a script: its lines without empty ones and comments. */
export function faultLines(script: string): string[] {
  return script.split(/\r?\n/).map((line) => line.replace(/#.*$/s, "").trim()).filter((line) => line !== "");
}

/** The fault that `word` names, for a target with these listeners. Errors name the word and its bad part. */
export function parseFault(word: string, listeners: readonly ListenerDescription[]): FaultRule {
  const shown = word.length > WORD_CHARACTERS_MAX ? `${word.slice(0, 60)}…` : word;
  try {
    if (word.length > WORD_CHARACTERS_MAX) throw new Fault(`it is longer than ${WORD_CHARACTERS_MAX} characters`);
    return readFault(word.trim(), listeners);
  } catch (error) {
    if (error instanceof UmpathError) {
      throw new UmpathError("usage", `${error.message}, in the fault ${quote(shown)}`, { hint: error.hint });
    }
    if (!(error instanceof Fault)) throw error;
    throw new UmpathError("usage", `Cannot use fault ${quote(shown)}: ${error.message}`, { hint: error.hint });
  }
}

function readFault(word: string, listeners: readonly ListenerDescription[]): FaultRule {
  if (word === "") throw new Fault("it is empty");
  const [head = "", ...options] = word.split(",");
  const equals = head.indexOf("=");
  const subject = equals === -1 ? head : head.slice(0, equals);
  const colon = subject.lastIndexOf(":");
  const kind = readKind(subject.slice(colon + 1));
  if (colon === -1) throw new Fault("it does not say on which listener", `Write 1:${word}, or *:${word} for all`);
  const info: FaultKindInfo = FAULT_KINDS[kind];
  const keys = readKeys(options, kind);
  return {
    words: word,
    kind,
    listeners: readListener(subject.slice(0, colon), listeners),
    window: readWindow(keys, kind),
    chance: readChance(keys.get("chance")),
    count: readNumber(keys.get("count"), "count"),
    ops: info.family === "command" ? readOps(kind, keys.get("op")) : [],
    queue: readQueue(keys.get("queue")),
    ...readArgument(kind, equals === -1 ? null : head.slice(equals + 1)),
  };
}

function readKind(word: string): FaultKind {
  if (Object.hasOwn(FAULT_KINDS, word)) return word as FaultKind;
  const kinds = Object.keys(FAULT_KINDS);
  throw new Fault(`${quote(word)} is not a kind of fault`, suggestion(word, kinds));
}

/** What to write instead of `word`: the one that is near, or all there are. */
function suggestion(word: string, names: readonly string[]): string {
  const near = nearest(word, names);
  return near === null ? `Write ${listWords(names, "or")}` : `Did you mean ${near}?`;
}

function readListener(word: string, listeners: readonly ListenerDescription[]): number[] | null {
  if (word === "*") return null;
  const { traddr, trsvcid } = splitPortal(word);
  const found = listeners.filter((listener) =>
    /^\d+$/.test(word)
      ? listener.index === Number(word) - 1
      : listener.traddr === traddr && (trsvcid === null || listener.trsvcid === trsvcid)
  );
  if (found.length > 0) return found.map((listener) => listener.index);
  const names = listeners.map((listener) => `${listener.index + 1} (${formatPortal(listener)})`);
  throw new Fault(`the target has no listener ${quote(word)}`, `Write ${listWords([...names, "* for all"], "or")}`);
}

/** Address and port of `ADDR`, `ADDR:PORT`, `[v6]` or `[v6]:PORT`. */
function splitPortal(word: string): { traddr: string; trsvcid: number | null } {
  const match = /^\[([^\]]*)\](?::(\d{1,5}))?$/.exec(word) ?? /^([^:]*)(?::(\d{1,5}))?$/.exec(word);
  if (match === null) return { traddr: word, trsvcid: null };
  return { traddr: match[1]!, trsvcid: match[2] === undefined ? null : Number(match[2]) };
}

function formatPortal({ traddr, trsvcid }: ListenerDescription): string {
  return traddr.includes(":") ? `[${traddr}]:${trsvcid}` : `${traddr}:${trsvcid}`;
}

function readKeys(options: readonly string[], kind: FaultKind): Map<Key, string> {
  const allowed = keysOf(kind);
  const keys = new Map<Key, string>();
  for (const option of options) {
    const equals = option.indexOf("=");
    const name = (equals === -1 ? option : option.slice(0, equals)).trim();
    const key = KEYS.find((key) => key === name);
    if (key === undefined) throw new Fault(`${quote(name)} is not a key`, suggestion(name, allowed));
    if (!allowed.includes(key)) {
      throw new Fault(`${key} is not for ${kind}`, `What ${kind} takes is ${listWords(allowed)}`);
    }
    if (equals === -1 || option.length === equals + 1) throw new Fault(`${key} has no value`);
    if (keys.has(key)) throw new Fault(`${key} stands twice`);
    keys.set(key, option.slice(equals + 1).trim());
  }
  return keys;
}

function keysOf(kind: FaultKind): readonly Key[] {
  const { family } = FAULT_KINDS[kind];
  return KEYS.filter((key) =>
    KEYS_OF_COMMANDS.includes(key)
      ? family === "command"
      : KEYS_OF_CONNECTIONS.includes(key)
      ? family === "connection"
      : true
  );
}

function readWindow(keys: ReadonlyMap<Key, string>, kind: FaultKind): FaultWindow {
  const { isInstant }: FaultKindInfo = FAULT_KINDS[kind];
  const duration = (key: Key, msMin: number) => {
    const word = keys.get(key);
    return word === undefined ? null : parseDuration(word, { name: key, msMin });
  };
  const window = {
    atMs: duration("at", 0) ?? 0,
    forMs: duration("for", 1) ?? (isInstant ? 0 : null),
    everyMs: duration("every", 1),
    times: readNumber(keys.get("times"), "times"),
  };
  if (window.everyMs === null) {
    if (window.times !== null) throw new Fault("times needs every", "Add every=DURATION, or leave times out");
    return window;
  }
  if (window.forMs === null) throw new Fault("every needs for", "Add for=DURATION: how long it is on each time");
  if (window.forMs > window.everyMs) throw new Fault("for is longer than every", "Let it end before it begins again");
  return window;
}

function readChance(word: string | undefined): number {
  if (word === undefined) return 1;
  const chance = /^(\d+(\.\d+)?|\.\d+)$/.test(word) ? Number(word) : NaN;
  if (chance > 0 && chance <= 1) return chance;
  throw new Fault(`chance ${quote(word)} is not a probability`, "Write a number above 0 and at most 1, such as 0.1");
}

function readNumber(word: string | undefined, key: Key): number | null {
  if (word === undefined) return null;
  const number = /^\d{1,10}$/.test(word) ? Number(word) : NaN;
  if (number >= 1 && number <= COUNT_MAX) return number;
  throw new Fault(`${key} ${quote(word)} is not a whole number from 1 to ${COUNT_MAX}`);
}

function readOps(kind: FaultKind, word: string | undefined): string[] {
  if (word === undefined) return ["io"];
  const names = Object.keys(FAULT_OPS).filter((name) => kind !== "late" || FAULT_OPS[name]!.queue === "io");
  return word.split("+").map((name) => {
    if (names.includes(name)) return name;
    throw new Fault(
      `${quote(name)} is not a command${kind === "late" ? " of an I/O queue" : ""}`,
      suggestion(name, names),
    );
  });
}

function readQueue(word: string | undefined): FaultQueue | null {
  if (word === undefined) return null;
  if (word === "admin" || word === "io") return word;
  throw new Fault(`queue ${quote(word)} is not one of admin and io`, "Leave queue out for both");
}

function readArgument(kind: FaultKind, word: string | null): { value: number; valueMax: number } {
  const { argument } = FAULT_KINDS[kind];
  if (argument === null) {
    if (word !== null) throw new Fault(`${kind} takes no argument`, `Write ${kind} without ${quote(`=${word}`)}`);
    return { value: 0, valueMax: 0 };
  }
  if (word === null || word === "") throw new Fault(`${kind} needs an argument`, argumentHint(kind));
  if (argument === "duration") return readDelay(kind, word);
  const value = argument === "status"
    ? readStatus(word)
    : argument === "ana"
    ? readAna(word)
    : readBytes(word, argument, kind);
  return { value, valueMax: value };
}

function argumentHint(kind: FaultKind): string {
  const examples = {
    duration: "5ms or 5ms..50ms",
    status: "internal-path-error, 0x300 or write-fault+dnr",
    rate: "64K, which is bytes a second",
    size: "4K",
    ana: "inaccessible",
  };
  return `Write ${kind}=… with ${examples[FAULT_KINDS[kind].argument!]}`;
}

function readDelay(kind: FaultKind, word: string): { value: number; valueMax: number } {
  const [low = "", high = low, ...more] = word.split("..");
  if (more.length > 0) throw new Fault(`${quote(word)} is not a range`, argumentHint(kind));
  const value = parseDuration(low, { name: kind, msMin: 0 });
  const valueMax = parseDuration(high, { name: kind });
  if (value > valueMax) throw new Fault(`the range ${quote(word)} ends before it begins`, argumentHint(kind));
  return { value, valueMax };
}

/** The status field that `word` names: bits as in {@linkcode StatusField}. */
function readStatus(word: string): number {
  const isFinal = word.endsWith(DNR_SUFFIX);
  const name = isFinal ? word.slice(0, -DNR_SUFFIX.length) : word;
  const isNumber = /^0x[0-9a-f]{1,4}$/i.test(name);
  const code = isNumber ? Number(name) : Object.hasOwn(STATUSES, name) ? STATUSES[name] : undefined;
  if (code === undefined) {
    const near = nearest(name, Object.keys(STATUSES));
    throw new Fault(
      `${quote(name)} is not a status`,
      near === null
        ? "Write a status code's name in the specification with dashes, such as internal-path-error, or 0x and its " +
          "type and code, such as 0x300; +dnr after it forbids to retry"
        : `Did you mean ${near}?`,
    );
  }
  if (code > 0x7fff || (code & StatusField.CODE_MASK) === StatusCode.SUCCESS) {
    throw new Fault(`${quote(name)} is not a status of failure`, argumentHint("status"));
  }
  return isFinal ? code | StatusField.DNR : code;
}

function readAna(word: string): number {
  if (Object.hasOwn(ANA_STATES, word)) return ANA_STATES[word]!;
  throw new Fault(`${quote(word)} is not an ANA state`, suggestion(word, Object.keys(ANA_STATES)));
}

function readBytes(word: string, argument: "rate" | "size", kind: FaultKind): number {
  const bytes = parseSize(word, argument === "rate" ? `${kind} (bytes a second)` : kind);
  if (bytes >= 1 && bytes <= 2 ** 30) return bytes;
  throw new Fault(`${quote(word)} is not from 1 to 1G`, argumentHint(kind));
}

/** What can be written, for `--help`: terms with their descriptions. */
export interface FaultHelp {
  form: string;
  kinds: [term: string, description: string][];
  keys: [term: string, description: string][];
}

/** Every kind and key of a fault. */
export function faultHelp(): FaultHelp {
  const shown = {
    duration: "=DURATION[..DURATION]",
    status: "=STATUS[+dnr]",
    rate: "=SIZE",
    size: "=SIZE",
    ana: "=STATE",
  };
  return {
    form:
      "A fault is LISTENER:KIND[=ARGUMENT][,KEY=VALUE]... where LISTENER is a number from 1, an address, or * for all.",
    kinds: Object.entries(FAULT_KINDS).map((
      [kind, { argument, does }],
    ) => [`${kind}${argument === null ? "" : shown[argument]}`, does]),
    keys: [
      ["at=DURATION", "when it begins (default: at once)"],
      ["for=DURATION", "how long it lasts (default: until cleared)"],
      ["every=DURATION", "repeat it at this interval"],
      ["times=N", "how many times it is repeated"],
      ["chance=P", "probability for each command, connection or listener, above 0 to 1 (default: 1)"],
      ["op=NAME+NAME...", `commands that are hit (default: io): ${listWords(Object.keys(FAULT_OPS), "or")}`],
      ["count=N", "how many commands are hit in all"],
      ["queue=admin|io", "connections that are hit (default: both)"],
    ],
  };
}
