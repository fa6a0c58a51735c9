/** Durations and sizes between words and numbers. */
import { UmpathError } from "./errors.ts";
import { quote } from "./text.ts";

const DURATION_UNITS_MS: Record<string, number> = { ms: 1, s: 1000, m: 60_000, h: 3_600_000 };
/** A little over 24 days: the longest time that a timer takes (2^31 - 1 ms). */
export const DURATION_MS_MAX = 2 ** 31 - 1;
const DURATION_HINT = "Write a duration such as 250ms, 5s, 2m or 1h";

const SIZE_UNITS = ["", "K", "M", "G", "T", "P"];
const SIZE_HINT = "Write a size such as 512, 64K, 10M or 1G (powers of two)";

/** What a duration may be, and how errors call it. */
export interface DurationOptions {
  /** What the duration is for: `--io-timeout`. */
  name?: string;
  /** Accept `off`, which gives null. */
  off?: boolean;
  /** Shortest time accepted; 1 unless told. */
  msMin?: number;
}

/** Milliseconds of `250ms`, `5s`, `2m` or `1h`; null of `off` where that is accepted. Errors name the bad word. */
export function parseDuration(word: string, options: DurationOptions & { off: true }): number | null;
export function parseDuration(word: string, options?: DurationOptions & { off?: false }): number;
export function parseDuration(word: string, options: DurationOptions): number | null;
export function parseDuration(word: string, options: DurationOptions = {}): number | null {
  const name = options.name ?? "duration";
  if (word === "off") {
    if (options.off) return null;
    throw new UmpathError("usage", `Cannot turn ${name} off: it needs a limit`, { hint: DURATION_HINT });
  }
  const hint = options.off ? `${DURATION_HINT}, or off` : DURATION_HINT;
  const match = /^(\d+(?:\.\d+)?)(ms|s|m|h)$/.exec(word);
  if (!match) {
    const why = /^\d+(\.\d+)?$/.test(word) ? "it has no unit" : "it is not a duration";
    throw new UmpathError("usage", `Cannot use ${quote(word)} for ${name}: ${why}`, { hint });
  }
  const ms = Math.round(Number(match[1]) * DURATION_UNITS_MS[match[2]!]!);
  const msMin = options.msMin ?? 1;
  if (ms < msMin) {
    const why = `it is shorter than ${formatDuration(msMin)}`;
    throw new UmpathError("usage", `Cannot use ${quote(word)} for ${name}: ${why}`, { hint });
  }
  if (ms > DURATION_MS_MAX) {
    throw new UmpathError("usage", `Cannot use ${quote(word)} for ${name}: it is longer than 24 days`, { hint });
  }
  return ms;
}

/** A duration in the largest unit that keeps it whole: `1500ms`, `5s`, `2m`; `off` for null. */
export function formatDuration(ms: number | null): string {
  if (ms === null) return "off";
  if (ms === 0) return "0s";
  for (const unit of ["h", "m", "s"]) {
    const factor = DURATION_UNITS_MS[unit]!;
    if (ms >= factor && ms % factor === 0) return `${ms / factor}${unit}`;
  }
  return `${ms}ms`;
}

/** Bytes of `512`, `64K`, `10M`, `1G` (powers of two; `KiB` and lower case are taken too). Errors name the bad word. */
export function parseSize(word: string, name = "size"): number {
  const match = /^(\d+(?:\.\d+)?)([KMGTP]?)(?:i?B)?$/i.exec(word);
  if (!match) {
    throw new UmpathError("usage", `Cannot use ${quote(word)} for ${name}: it is not a size`, { hint: SIZE_HINT });
  }
  const bytes = Number(match[1]) * 1024 ** SIZE_UNITS.indexOf(match[2]!.toUpperCase());
  if (!Number.isInteger(bytes)) {
    const why = "it is not a whole number of bytes";
    throw new UmpathError("usage", `Cannot use ${quote(word)} for ${name}: ${why}`, { hint: SIZE_HINT });
  }
  if (bytes > Number.MAX_SAFE_INTEGER) {
    throw new UmpathError("usage", `Cannot use ${quote(word)} for ${name}: it is too large`, { hint: SIZE_HINT });
  }
  return bytes;
}

/** A size for people, at most one decimal: `512 B`, `64 KiB`, `1.5 GiB`. */
export function formatSize(bytes: number): string {
  let unit = 0;
  let amount = bytes;
  while (amount >= 1024 && unit < SIZE_UNITS.length - 1) {
    amount /= 1024;
    unit++;
  }
  if (unit === 0) return `${bytes} B`;
  const digits = Number.isInteger(amount) || amount >= 100 ? 0 : 1;
  return `${amount.toFixed(digits)} ${SIZE_UNITS[unit]}iB`;
}
