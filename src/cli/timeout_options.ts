/** The options that set times, and what they become. */
import { Option } from "@commander-js/extra-typings";
import { formatDuration, parseDuration } from "../base/units.ts";
import { type NamedTimeouts, TIME_LIMITS, TIMEOUT_DEFAULTS, type Timeouts } from "../settings/timeouts.ts";
import { withDefault } from "./help.ts";
import { completedBy } from "./word_sources.ts";

interface TimeoutOption {
  name: `--${string}`;
  key: keyof Timeouts;
  description: string;
}

/** A time that the user has named; null is "off". */
interface Chosen {
  ms: number | null | "auto";
}

/** Every option that sets a time. */
export const TIMEOUT_OPTIONS: readonly TimeoutOption[] = Object.freeze(
  [
    { name: "--connect-timeout", key: "connectTimeoutMs", description: "time limit for connecting a path" },
    {
      name: "--keep-alive",
      key: "keepAliveMs",
      description: "keep-alive timeout, or off; a keep-alive is sent at half of it",
    },
    {
      name: "--io-timeout",
      key: "ioTimeoutMs",
      description: "a path that does not answer a request for this long is lost, or off",
    },
    {
      name: "--no-path-timeout",
      key: "noPathTimeoutMs",
      description: "I/O fails after waiting this long for a path; off: it never fails",
    },
    {
      name: "--fast-io-fail-timeout",
      key: "fastIoFailTimeoutMs",
      description: "I/O fails at once after all paths have been down this long, or off",
    },
    {
      name: "--ctrl-loss-timeout",
      key: "ctrlLossTimeoutMs",
      description: "a lost path is given up after this long; off: never",
    },
    {
      name: "--reconnect-delay",
      key: "reconnectDelayMs",
      description: "first delay before reconnecting a lost path",
    },
    {
      name: "--reconnect-delay-max",
      key: "reconnectDelayMaxMs",
      description: "longest delay; each retry doubles the delay up to this",
    },
    {
      name: "--write-hold",
      key: "writeHoldMs",
      description: "how long to hold the in-flight writes of a lost path before retrying them, or auto or off",
    },
  ] as const,
);

function defaultWords(key: keyof Timeouts): string {
  return key === "writeHoldMs" ? "auto" : formatDuration(TIMEOUT_DEFAULTS[key]);
}

/** Values that completion offers: the default, and the words that are values. */
export function durationWords({ key }: { key: keyof Timeouts }): string[] {
  const { off, auto } = TIME_LIMITS[key];
  return [...new Set([defaultWords(key), ...off ? ["off"] : [], ...auto ? ["auto"] : []])];
}

/** The options for the argument parser. */
export function timeoutOptions(): Option[] {
  return TIMEOUT_OPTIONS.map((option) => {
    const made = new Option(`${option.name} <duration>`, withDefault(option.description, defaultWords(option.key)));
    // "--no-path-timeout" is a name of its own, not the opposite of a "--path-timeout".
    made.negate = false;
    // In a box: the parser takes a bare null for no value at all.
    made.argParser((word: string): Chosen => ({ ms: parseTime(word, option) }));
    return completedBy(made, durationWords(option));
  });
}

/** The time that a word names; null is "off". Errors call it `name`. */
export function parseTime(word: string, { key, name }: { key: keyof Timeouts; name: string }): number | null | "auto" {
  const { auto, ...limits } = TIME_LIMITS[key];
  return auto && word === "auto" ? "auto" : parseDuration(word, { ...limits, name });
}

/** What the user named, of the values that the argument parser gave. */
export function chosenTimeouts(values: Record<string, unknown>): NamedTimeouts {
  const chosen: Partial<Record<keyof Timeouts, number | null | "auto">> = {};
  for (const { name, key } of TIMEOUT_OPTIONS) {
    const value = values[name.slice(2).replace(/-(.)/g, (_, letter) => letter.toUpperCase())];
    if (value !== undefined) chosen[key] = (value as Chosen).ms;
  }
  return chosen as NamedTimeouts;
}
