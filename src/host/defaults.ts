import { UmpathError } from "../base/errors.ts";
import { formatDuration } from "../base/units.ts";
import { POLICY_NAMES, type PolicyName } from "../multipath/policy_names.ts";
import { listWords, quote } from "../base/text.ts";
import type { Timeouts } from "./api.ts";

export { POLICY_NAMES, type PolicyName };

/** How a path is picked unless the user says otherwise; the README's table of policies has the reason. */
export const POLICY_DEFAULT: PolicyName = "round-robin";

/**
 * The policy of that name.
 *
 * @throws UmpathError "usage" if there is none.
 */
export function readPolicy(name: string): PolicyName {
  const found = POLICY_NAMES.find((policy) => policy === name);
  if (found !== undefined) return found;
  throw new UmpathError("usage", `Cannot use policy ${quote(name)}: it is not one of ${listWords(POLICY_NAMES)}`);
}

/** What holds unless the user says otherwise; the reasons are in the README's table of timeouts. */
export const TIMEOUT_DEFAULTS: Readonly<Omit<Timeouts, "writeHoldMs">> = Object.freeze({
  connectTimeoutMs: 10_000,
  keepAliveMs: 5_000,
  ioTimeoutMs: 30_000,
  noPathTimeoutMs: 60_000,
  ctrlLossTimeoutMs: null,
  reconnectDelayMs: 250,
  reconnectDelayMaxMs: 5_000,
});

/**
 * All times of a volume from those that the user named. Writes are held as long as the controller may go on executing
 * them after it has lost its host, which is the keep-alive timeout.
 *
 * @throws UmpathError "usage" if two of them contradict each other, naming both.
 */
export function fillTimeouts(given: Partial<Timeouts>): Timeouts {
  const times = { ...TIMEOUT_DEFAULTS, ...given };
  const keptAliveMs = times.keepAliveMs ?? TIMEOUT_DEFAULTS.keepAliveMs;
  const writeHoldMs = given.writeHoldMs === undefined ? keptAliveMs : given.writeHoldMs;
  const all: Timeouts = { ...times, writeHoldMs, ...reconnectDelays(given) };
  requireOrder("--write-hold", all.writeHoldMs, "--no-path-timeout", all.noPathTimeoutMs);
  // Whoever does not wait for a path at all waits for no reconnect either.
  if (all.noPathTimeoutMs === 0) return all;
  requireOrder("--reconnect-delay", all.reconnectDelayMs, "--no-path-timeout", all.noPathTimeoutMs);
  return all;
}

/** The first delay and the longest. Where only one is given, the other gives way. */
function reconnectDelays(given: Partial<Timeouts>): Pick<Timeouts, "reconnectDelayMs" | "reconnectDelayMaxMs"> {
  const { reconnectDelayMs = TIMEOUT_DEFAULTS.reconnectDelayMs } = given;
  const { reconnectDelayMaxMs = TIMEOUT_DEFAULTS.reconnectDelayMaxMs } = given;
  if (reconnectDelayMs <= reconnectDelayMaxMs) return { reconnectDelayMs, reconnectDelayMaxMs };
  if (given.reconnectDelayMaxMs === undefined) return { reconnectDelayMs, reconnectDelayMaxMs: reconnectDelayMs };
  if (given.reconnectDelayMs === undefined) return { reconnectDelayMs: reconnectDelayMaxMs, reconnectDelayMaxMs };
  const longest = `--reconnect-delay-max ${formatDuration(reconnectDelayMaxMs)}`;
  const what = `Cannot use --reconnect-delay ${formatDuration(reconnectDelayMs)} with ${longest}`;
  throw new UmpathError("usage", `${what}: the first delay would be longer than the longest`, {
    hint: "Make --reconnect-delay shorter or --reconnect-delay-max longer",
  });
}

function requireOrder(name: string, ms: number | null, other: string, otherMs: number | null): void {
  if (ms === null || otherMs === null || ms <= otherMs) return;
  const what = `Cannot use ${name} ${formatDuration(ms)} with ${other} ${formatDuration(otherMs)}`;
  throw new UmpathError("usage", `${what}: I/O would fail before it may go on`, {
    hint: `Make ${name} shorter or ${other} longer`,
  });
}
