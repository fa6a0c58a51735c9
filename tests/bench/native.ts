/** Runs native cases, each repetition in a process of its own in an enclosure of its own. */
import { runEnclosed } from "./enclosure.ts";
import { alternate, type Sample, type Series } from "./measure.ts";
import { NATIVE_CASES } from "./native_cases.ts";
import { NullTarget } from "./null_target.ts";

const SECONDS = 1;
const WARM_UP_SECONDS = 0.5;
const TIMEOUT_S = 60;
const REPO = new URL("../..", import.meta.url).pathname.replace(/\/$/, "");
/** The subject that is always measured. */
export const SELF = "umpath";

/** Which cases to run, how often, and beside which other checkout of the project. */
export interface NativeOptions {
  names: string[];
  reps: number;
  against?: string;
}

/** Measures; with `against` the series of the other checkout stand beside those of this one. */
export async function runNative(options: NativeOptions): Promise<Series[]> {
  const { names, reps, against } = options;
  const subjects = against === undefined ? [SELF] : [SELF, against];
  await NullTarget.build();
  const cases = names.map((name) => ({ name, unit: NATIVE_CASES[name]!.unit }));
  return await alternate(cases, subjects, { reps, measure: (name, subject) => runOnce(name, folderOf(subject)) });
}

function folderOf(subject: string): string {
  return subject === SELF ? REPO : subject;
}

async function runOnce(name: string, folder: string): Promise<Sample> {
  const program = `${folder}/tests/bench/native_cases.ts`;
  const words = [Deno.execPath(), "run", "-A", "--quiet", program, name, String(SECONDS), String(WARM_UP_SECONDS)];
  return JSON.parse(await runEnclosed(words, { timeoutS: TIMEOUT_S })) as Sample;
}
