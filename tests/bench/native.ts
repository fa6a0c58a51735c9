/** Runs native cases, each repetition in a process of its own in an enclosure of its own. */
import { runEnclosed } from "./enclosure.ts";
import { buildLimits } from "./limits.ts";
import { alternate, type Sample, type Series } from "./measure.ts";
import { NATIVE_CASES } from "./native_cases.ts";
import { buildNullHost } from "./null_host.ts";
import { NullTarget } from "./null_target.ts";

const SECONDS = 1;
const WARM_UP_SECONDS = 0.5;
const TIMEOUT_S = 60;
const REPO = new URL("../..", import.meta.url).pathname.replace(/\/$/, "");
/** The subject that is always measured, and the loop in C that shows what it could do at most. */
const SELF = "umpath";
const LIMIT = "loop in C";

/** Which cases to run, how often, and beside which other checkout of the project. */
export interface NativeOptions {
  names: string[];
  reps: number;
  against?: string;
}

/** Measures; with `against` the series of the other checkout stand beside those of this one. */
export async function runNative({ names, reps, against }: NativeOptions): Promise<Series[]> {
  await NullTarget.build();
  await buildNullHost();
  await buildLimits();
  const cases = names.map((name) => ({ name, unit: NATIVE_CASES[name]!.unit }));
  const subjects = [SELF, LIMIT, ...(against === undefined ? [] : [against])];
  const has = (name: string, subject: string) => subject !== LIMIT || NATIVE_CASES[name]!.limit !== undefined;
  return await alternate(cases, subjects, { reps, has, measure: runOnce });
}

async function runOnce(name: string, subject: string): Promise<Sample> {
  const folder = subject === SELF || subject === LIMIT ? REPO : subject;
  const program = `${folder}/tests/bench/native_cases.ts`;
  const what = subject === LIMIT ? "limit" : "case";
  const words = [
    Deno.execPath(),
    "run",
    "-A",
    "--quiet",
    program,
    name,
    String(SECONDS),
    String(WARM_UP_SECONDS),
    what,
  ];
  return JSON.parse(await runEnclosed(words, { timeoutS: TIMEOUT_S })) as Sample;
}
