/** Counts from what `deno test` prints. */
import { stripVTControlCharacters } from "node:util";

/** What a ring of tests came to. */
export interface TestCounts {
  passed: number;
  failed: number;
  skipped: number;
}

const SUMMARY = /^(?:ok|FAILED) \| (\d+) passed(?: \([^)]*\))? \| (\d+) failed(?: \([^)]*\))?(?: \| (\d+) ignored)?/gm;
const RESULT = /(?:^| )(ok|FAILED|ignored) \([0-9hmsµ]+\)$/gm;
const IGNORED = /^(.*\S) \.\.\. ignored\b/gm;

/** The counts of the last summary line, or undefined when the run ended without one. */
export function parseSummary(output: string): TestCounts | undefined {
  const last = [...stripVTControlCharacters(output).matchAll(SUMMARY)].at(-1);
  if (!last) return undefined;
  return { passed: Number(last[1]), failed: Number(last[2]), skipped: Number(last[3] ?? 0) };
}

/** The counts of a run that ended without a summary: what it printed so far, and one more failure for its end. */
export function parseBroken(output: string): TestCounts {
  const results = [...stripVTControlCharacters(output).matchAll(RESULT)].map((match) => match[1]);
  const count = (word: string) => results.filter((result) => result === word).length;
  return { passed: count("ok"), failed: count("FAILED") + 1, skipped: count("ignored") };
}

/** Names of the tests that were skipped; a name says what was missing. */
export function parseSkipped(output: string): string[] {
  return [...stripVTControlCharacters(output).matchAll(IGNORED)].map((match) => match[1]!.trim());
}

/** Adds counts up. */
export function sumCounts(all: TestCounts[]): TestCounts {
  const sum = { passed: 0, failed: 0, skipped: 0 };
  for (const { passed, failed, skipped } of all) {
    sum.passed += passed;
    sum.failed += failed;
    sum.skipped += skipped;
  }
  return sum;
}

/** "3 passed, 0 failed, 1 skipped". */
export function formatCounts({ passed, failed, skipped }: TestCounts): string {
  return `${passed} passed, ${failed} failed, ${skipped} skipped`;
}

/** The exit code of a run of several rings that failed nowhere, but of which one was skipped. */
export const SKIPPED_EXIT = 3;

/**
 * The exit code of a run of rings: 1 if a test failed, or none ran; else {@linkcode SKIPPED_EXIT} if a whole ring was
 * skipped, which is no pass, unless that is allowed. A ring of which a filter left nothing is not skipped.
 */
export function exitCode(rings: readonly TestCounts[], { allowSkips }: { allowSkips: boolean }): number {
  const { passed, failed } = sumCounts([...rings]);
  if (failed > 0) return 1;
  const isSkipped = rings.some((counts) => counts.passed === 0 && counts.skipped > 0);
  if (isSkipped && !allowSkips) return SKIPPED_EXIT;
  return passed === 0 ? 1 : 0;
}
