/** What a volume does about paths and reads that take long, in the words of people. */
import { UmpathError } from "../base/errors.ts";
import { quote } from "../base/text.ts";
import { formatDuration, parseDuration } from "../base/units.ts";
import { readName } from "./timeouts.ts";
import { PERCENT_UNITS } from "../multipath/hedged_reads.ts";

export const SLOW_PATH_MODES = Object.freeze(["off", "demote"] as const);
export type SlowPathMode = (typeof SLOW_PATH_MODES)[number];
export const SLOW_PATH_DEFAULT: SlowPathMode = "off";

/**
 * What is done about a path that is persistently slower than its peers.
 *
 * @throws UmpathError "usage" if there is no such thing.
 */
export function readSlowPath(word: string): SlowPathMode {
  return readName(SLOW_PATH_MODES, word, `${quote(word)} for slow-path`);
}

/** When a read is sent a second time: after a time, after the time that so many percent of the reads take, or never. */
export type HedgeBudget = { ms: number } | { percentile: number } | null;

export const HEDGE_DEFAULT = "off";
/** What shells offer to complete. */
export const HEDGE_EXAMPLES = Object.freeze(["off", "p99", "p99.9", "20ms"]);
/** Below the median nearly every read would be late, and beyond that percentile it takes hours to know it. */
const PERCENTILE_MIN = 50;
const PERCENTILE_MAX = 99.99;
const HEDGE_HINT = "Write a percentile such as p99, a duration such as 20ms, or off";

/**
 * The budget of `p99`, `20ms` or `off`. Errors call it `name`.
 *
 * @throws UmpathError "usage" if it is none.
 */
export function parseHedge(word: string, name = "hedge-reads"): HedgeBudget {
  if (word === "off") return null;
  const fail = (why: string) => {
    throw new UmpathError("usage", `Cannot use ${quote(word)} for ${name}: ${why}`, { hint: HEDGE_HINT });
  };
  if (/^\d/.test(word)) return { ms: parseDuration(word, { name }) };
  const percentile = /^p(\d{1,2}(?:\.\d{1,3})?)$/.exec(word)?.[1] ?? fail("it is neither a percentile nor a duration");
  if (Number(percentile) < PERCENTILE_MIN || Number(percentile) > PERCENTILE_MAX) {
    fail(`percentiles are from p${PERCENTILE_MIN} to p${PERCENTILE_MAX}`);
  }
  return { percentile: Number(percentile) };
}

/** The budget as it is written: `p99`, `20ms` or `off`. */
export function formatHedge(budget: HedgeBudget): string {
  if (budget === null) return "off";
  return "ms" in budget ? formatDuration(budget.ms) : `p${budget.percentile}`;
}

/** The budget as the path table has it. */
export function hedgeWord(budget: HedgeBudget): number {
  if (budget === null) return 0;
  return "ms" in budget ? budget.ms : -Math.round(budget.percentile * PERCENT_UNITS);
}
