/** Settings of a volume in words: `policy=queue-depth`, `io-timeout=10s`, `preferred-path=1`, `weight.192.0.2.1=3`. */
import { UmpathError } from "../base/errors.ts";
import { listWords, nearest, oneLine, quote } from "../base/text.ts";
import type { VolumeChanges } from "../rpc/host_api.ts";
import { FAILBACK_VALUES, POLICY_NAMES, type Timeouts } from "../settings/timeouts.ts";
import { formatHedge, parseHedge, SLOW_PATH_MODES } from "../settings/latency_settings.ts";
import { WEIGHT_RANGE } from "../rpc/ranges.ts";
import { oneOf, wholeNumber } from "./option_words.ts";
import { parsePathName } from "./path_spec.ts";
import { parseTime, TIMEOUT_OPTIONS } from "./timeout_options.ts";

const WEIGHT_PREFIX = "weight.";

/** Every key; that of a weight goes on with its path. */
export const SETTING_KEYS: readonly string[] = Object.freeze([
  "policy",
  "failback",
  "preferred-path",
  `${WEIGHT_PREFIX}<path>`,
  "slow-path",
  "hedge-reads",
  ...TIMEOUT_OPTIONS.map(({ name }) => name.slice(2)),
]);

/** What the words change. Errors name the bad one. */
export function parseSettings(words: readonly string[]): VolumeChanges {
  const changes: VolumeChanges = { policy: null, failback: null, preferredPath: null, weights: [], timeouts: {} };
  const keys = new Set<string>();
  for (const [i, word] of words.entries()) {
    const { key, value } = splitSetting(word, words[i + 1]);
    if (keys.has(key)) throw new UmpathError("usage", `Cannot set ${key}: it is given twice`);
    keys.add(key);
    takeSetting(changes, key, value);
  }
  return changes;
}

/** A path may have equals signs of its own. `next`: the word behind, which may be the value of a bare key. */
function splitSetting(word: string, next: string | undefined): { key: string; value: string } {
  const equals = word.startsWith(WEIGHT_PREFIX) ? word.lastIndexOf("=") : word.indexOf("=");
  if (equals > 0) return { key: word.slice(0, equals), value: word.slice(equals + 1) };
  const isKey = isSettingKey(word);
  const value = next === undefined || next.includes("=") ? "VALUE" : next;
  throw new UmpathError("usage", `Cannot use setting ${quote(word)}: it is not KEY=VALUE`, {
    hint: isKey ? oneLine(`Write ${word}=${value}`) : `The keys are ${listWords(SETTING_KEYS)}`,
  });
}

/** True for `KEY=VALUE` with a key that a volume has: no volume is named like that. */
export function isSetting(word: string): boolean {
  const equals = word.startsWith(WEIGHT_PREFIX) ? word.lastIndexOf("=") : word.indexOf("=");
  return equals > 0 && isSettingKey(word.slice(0, equals));
}

function isSettingKey(word: string): boolean {
  return SETTING_KEYS.includes(word) || (word.startsWith(WEIGHT_PREFIX) && word.length > WEIGHT_PREFIX.length);
}

function takeSetting(changes: VolumeChanges, key: string, value: string): void {
  const time = TIMEOUT_OPTIONS.find(({ name }) => name === `--${key}`);
  if (key === "policy") changes.policy = oneOf("policy", POLICY_NAMES)(value);
  else if (key === "failback") changes.failback = oneOf("failback", FAILBACK_VALUES)(value);
  else if (key === "preferred-path") changes.preferredPath = value === "none" ? "none" : parsePathName(value);
  else if (key === "slow-path") changes.slowPath = oneOf(key, SLOW_PATH_MODES)(value);
  else if (key === "hedge-reads") changes.hedgeReads = formatHedge(parseHedge(value));
  else if (key.startsWith(WEIGHT_PREFIX)) {
    const path = parsePathName(key.slice(WEIGHT_PREFIX.length));
    changes.weights.push({ path, weight: wholeNumber(key, WEIGHT_RANGE)(value) });
  } else if (time !== undefined) {
    const times: Partial<Record<keyof Timeouts, number | null | "auto">> = changes.timeouts;
    times[time.key] = parseTime(value, { ...time, name: key });
  } else throw unknownKey(key);
}

/** What attach decides once and for all. */
const FIXED_KEYS: readonly string[] = Object.freeze([
  ...["name", "nsid", "device", "queues", "depth", "read-only", "hdr-digest", "data-digest", "hostnqn", "hostid"],
]);

function unknownKey(key: string): UmpathError {
  if (FIXED_KEYS.includes(key)) {
    return new UmpathError("usage", `Cannot set ${quote(key)}: it cannot be changed while the volume is attached`, {
      hint: `Detach the volume and attach it again with --${key}`,
    });
  }
  const near = nearest(key, SETTING_KEYS);
  return new UmpathError("usage", `Cannot set ${quote(key)}: a volume has no such setting`, {
    hint: near === null ? `The keys are ${listWords(SETTING_KEYS)}` : `Did you mean ${near}?`,
  });
}
