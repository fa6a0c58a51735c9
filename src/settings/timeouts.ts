import { UmpathError } from "../base/errors.ts";
import { formatDuration } from "../base/units.ts";
import { FAILBACK_DEFAULT, FAILBACK_NAMES, type FailbackName } from "../multipath/failback.ts";
import { POLICY_NAMES, type PolicyName, WEIGHT_MAX } from "../multipath/policy_names.ts";
import { listWords, quote } from "../base/text.ts";

export { FAILBACK_DEFAULT, FAILBACK_NAMES, POLICY_NAMES, type PolicyName, WEIGHT_MAX };

/** All times in milliseconds; null is "off": no limit. */
export interface Timeouts {
  /** TCP connect and the whole bring-up of one path. */
  connectTimeoutMs: number;
  /** Keep-alive interval told to the controller (KATO); null: none. */
  keepAliveMs: number | null;
  /** A command without an answer for so long takes its path down. */
  ioTimeoutMs: number | null;
  /** How long I/O waits when no path is live; then it fails with EIO. */
  noPathTimeoutMs: number | null;
  /** I/O does not wait for a path that is lost for so long, though it goes on being tried. */
  fastIoFailTimeoutMs: number | null;
  /** Give a lost path up after so long. */
  ctrlLossTimeoutMs: number | null;
  /** First delay between two attempts to reconnect; it doubles up to `reconnectDelayMaxMs`. */
  reconnectDelayMs: number;
  reconnectDelayMaxMs: number;
  /** How long writes that were in flight on a lost path wait before they go elsewhere; null: do not wait. */
  writeHoldMs: number | null;
}

/** Times that somebody has named. A hold that is "auto" is as long as a lost controller may go on executing. */
export type NamedTimeouts = Partial<Omit<Timeouts, "writeHoldMs"> & { writeHoldMs: number | null | "auto" }>;

/** What failback can be set to; "now" is an order and no setting. */
export const FAILBACK_VALUES = Object.freeze([...FAILBACK_NAMES, "now"] as const);

/** How a path is picked unless the user says otherwise; `docs/policies.md` has the reason. */
export const POLICY_DEFAULT: PolicyName = "queue-depth";

/**
 * The policy of that name.
 *
 * @throws UmpathError "usage" if there is none.
 */
export function readPolicy(name: string): PolicyName {
  return readName(POLICY_NAMES, name, `policy ${quote(name)}`);
}

/**
 * The failback of that name.
 *
 * @throws UmpathError "usage" if there is none.
 */
export function readFailback(name: string): FailbackName {
  return readName(FAILBACK_NAMES, name, `failback ${quote(name)}`);
}

/**
 * The one of `names` that is called so; an error calls it `what`.
 *
 * @throws UmpathError "usage" if there is none.
 */
export function readName<const T extends string>(names: readonly T[], name: string, what: string): T {
  const found = names.find((one) => one === name);
  if (found !== undefined) return found;
  throw new UmpathError("usage", `Cannot use ${what}: it is not one of ${listWords(names)}`);
}

/** What holds unless the user says otherwise; the reasons are in the table of `docs/failover.md`. */
export const TIMEOUT_DEFAULTS: Readonly<Omit<Timeouts, "writeHoldMs">> = Object.freeze({
  connectTimeoutMs: 10_000,
  keepAliveMs: 5_000,
  ioTimeoutMs: 30_000,
  noPathTimeoutMs: 60_000,
  fastIoFailTimeoutMs: null,
  ctrlLossTimeoutMs: null,
  reconnectDelayMs: 250,
  reconnectDelayMaxMs: 5_000,
});

/** The shortest value of each time, and which may be "off" or "auto". */
export const TIME_LIMITS: Readonly<Record<keyof Timeouts, Readonly<{ msMin: number; off?: true; auto?: true }>>> =
  Object.freeze({
    connectTimeoutMs: { msMin: 1 },
    keepAliveMs: { msMin: 1, off: true },
    ioTimeoutMs: { msMin: 1, off: true },
    noPathTimeoutMs: { msMin: 0, off: true },
    fastIoFailTimeoutMs: { msMin: 1, off: true },
    ctrlLossTimeoutMs: { msMin: 1, off: true },
    reconnectDelayMs: { msMin: 1 },
    reconnectDelayMaxMs: { msMin: 1 },
    writeHoldMs: { msMin: 0, off: true, auto: true },
  });

/** What times are called on the command line. */
export const TIMEOUT_WORDS: Readonly<Record<keyof Timeouts, string>> = Object.freeze({
  connectTimeoutMs: "connect-timeout",
  keepAliveMs: "keep-alive",
  ioTimeoutMs: "io-timeout",
  noPathTimeoutMs: "no-path-timeout",
  fastIoFailTimeoutMs: "fast-io-fail-timeout",
  ctrlLossTimeoutMs: "ctrl-loss-timeout",
  reconnectDelayMs: "reconnect-delay",
  reconnectDelayMaxMs: "reconnect-delay-max",
  writeHoldMs: "write-hold",
});

const TOO_LATE = "I/O would fail before it may go on";

/**
 * All times of a volume from those that the user named. Writes are held as long as the controller may go on executing
 * them after it has lost its host, which is the keep-alive timeout. Errors name times with `prefix` before them.
 *
 * @throws UmpathError "usage" if two of them contradict each other, naming both.
 */
export function fillTimeouts(named: NamedTimeouts, { prefix = "--" } = {}): Timeouts {
  const { writeHoldMs: namedHoldMs, ...others } = named;
  const given: Partial<Timeouts> = isHoldAuto(named)
    ? others
    : { ...others, writeHoldMs: namedHoldMs as number | null };
  const times = { ...TIMEOUT_DEFAULTS, ...given };
  const keptAliveMs = times.keepAliveMs ?? TIMEOUT_DEFAULTS.keepAliveMs;
  const writeHoldMs = given.writeHoldMs === undefined ? keptAliveMs : given.writeHoldMs;
  const all: Timeouts = { ...times, writeHoldMs, ...reconnectDelays(given, prefix) };
  const fault = contradiction(all, given);
  if (fault === null) return all;
  const [one, other] = fault.pair.map((key) => `${prefix}${TIMEOUT_WORDS[key]}`);
  const [oneTime, otherTime] = fault.pair.map((key) =>
    `${formatDuration(all[key])}${given[key] === undefined ? " (default)" : ""}`
  );
  throw new UmpathError("usage", `Cannot use ${one} ${oneTime} with ${other} ${otherTime}: ${fault.why}`, {
    hint: fault.isLonger ? `Make ${one} shorter or ${other} longer` : `Give one of them a limit`,
  });
}

/** True if nobody has said how long writes are held. */
export function isHoldAuto({ writeHoldMs }: NamedTimeouts): boolean {
  return writeHoldMs === undefined || writeHoldMs === "auto";
}

/** Two times that cannot hold together, and why. */
interface Contradiction {
  pair: [keyof Timeouts, keyof Timeouts];
  why: string;
  /** The first is longer than the second. */
  isLonger: boolean;
}

function contradiction(times: Timeouts, given: Partial<Timeouts>): Contradiction | null {
  const longer = (one: keyof Timeouts, other: keyof Timeouts, why: string): Contradiction | null => {
    const [oneMs, otherMs] = [times[one], times[other]];
    return oneMs !== null && otherMs !== null && oneMs > otherMs ? { pair: [one, other], why, isLonger: true } : null;
  };
  if (times.keepAliveMs === null && times.ioTimeoutMs === null) {
    const why = "a controller that stops answering would not be noticed";
    return { pair: ["keepAliveMs", "ioTimeoutMs"], why, isLonger: false };
  }
  const isHoldNamed = given.writeHoldMs !== undefined || (given.keepAliveMs ?? null) === null;
  const hold = isHoldNamed
    ? longer("writeHoldMs", "noPathTimeoutMs", TOO_LATE)
    : longer("keepAliveMs", "noPathTimeoutMs", `writes of a lost path are held for so long, and ${TOO_LATE}`);
  // Whoever does not wait for a path at all waits for no reconnect either.
  const reconnect = times.noPathTimeoutMs === 0 ? null : longer("reconnectDelayMs", "noPathTimeoutMs", TOO_LATE);
  const loss = "a lost path would be given up before it is tried again";
  return hold ?? reconnect ?? longer("reconnectDelayMs", "ctrlLossTimeoutMs", loss) ??
    longer("reconnectDelayMs", "fastIoFailTimeoutMs", TOO_LATE) ??
    longer("fastIoFailTimeoutMs", "noPathTimeoutMs", "I/O would have failed before") ??
    longer("fastIoFailTimeoutMs", "ctrlLossTimeoutMs", "a lost path would have been given up before");
}

/** The first delay and the longest. Where only one is given, the other gives way. */
function reconnectDelays(
  given: Partial<Timeouts>,
  prefix: string,
): Pick<Timeouts, "reconnectDelayMs" | "reconnectDelayMaxMs"> {
  const { reconnectDelayMs = TIMEOUT_DEFAULTS.reconnectDelayMs } = given;
  const { reconnectDelayMaxMs = TIMEOUT_DEFAULTS.reconnectDelayMaxMs } = given;
  if (reconnectDelayMs <= reconnectDelayMaxMs) return { reconnectDelayMs, reconnectDelayMaxMs };
  if (given.reconnectDelayMaxMs === undefined) return { reconnectDelayMs, reconnectDelayMaxMs: reconnectDelayMs };
  if (given.reconnectDelayMs === undefined) return { reconnectDelayMs: reconnectDelayMaxMs, reconnectDelayMaxMs };
  const longest = `${prefix}reconnect-delay-max ${formatDuration(reconnectDelayMaxMs)}`;
  const what = `Cannot use ${prefix}reconnect-delay ${formatDuration(reconnectDelayMs)} with ${longest}`;
  throw new UmpathError("usage", `${what}: the first delay would be longer than the longest`, {
    hint: `Make ${prefix}reconnect-delay shorter or ${prefix}reconnect-delay-max longer`,
  });
}
