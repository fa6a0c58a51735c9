/** Measures one target worker against one initiator worker, each repetition in an enclosure of its own. */
import { runEnclosed } from "./enclosure.ts";
import { alternate, type Sample, type Series } from "./measure.ts";
import { buildNullHost } from "./null_host.ts";
import { NullTarget } from "./null_target.ts";
import { TARGET_CASES, TARGET_SUBJECTS } from "./target_cases.ts";

export { TARGET_CASES };

const PROGRAM = new URL("./target_cases.ts", import.meta.url).pathname;
const SECONDS = 1;
const WARM_UP_SECONDS = 1;
const TIMEOUT_S = 60;

/** Which cases to run, and how often. */
export interface TargetOptions {
  names: string[];
  reps: number;
}

/** Measures `umpath serve` and the host side together, and each of them apart. */
export async function runTarget({ names, reps }: TargetOptions): Promise<Series[]> {
  await NullTarget.build();
  await buildNullHost();
  const cases = names.map((name) => ({ name, unit: "IOPS" }));
  return await alternate(cases, [...TARGET_SUBJECTS], { reps, measure: runOnce });
}

async function runOnce(name: string, subject: string): Promise<Sample> {
  const words = [name, subject, String(SECONDS), String(WARM_UP_SECONDS)];
  const output = await runEnclosed([Deno.execPath(), "run", "-A", "--quiet", PROGRAM, ...words], {
    timeoutS: TIMEOUT_S,
  });
  return JSON.parse(output) as Sample;
}
