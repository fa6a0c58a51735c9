import { UmpathError } from "../base/errors.ts";
import { formatDuration } from "../base/units.ts";
import type { Timeouts } from "./api.ts";

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
