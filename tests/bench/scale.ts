/** Measures many volumes of one target, each repetition with a daemon and a target of its own in an enclosure. */
import { runEnclosed } from "./enclosure.ts";
import { withLoopFolder } from "./loop_folder.ts";
import { alternate, type Sample, type Series } from "./measure.ts";
import { SCALE_SUBJECTS } from "./scale_cases.ts";

const PROGRAM = new URL("./scale_guest.ts", import.meta.url).pathname;
const TIMEOUT_S = 600;

/** Measures attach, rest, a lost port and detach for each number of volumes. */
export function runScale({ names, reps }: { names: string[]; reps: number }): Promise<Series[]> {
  const cases = names.map((name) => ({ name, unit: "s" }));
  return alternate(cases, [...SCALE_SUBJECTS], { reps, measure: runOnce });
}

function runOnce(name: string, subject: string): Promise<Sample> {
  return withLoopFolder(async (folder) => {
    const words = [Deno.execPath(), "run", "-A", "--quiet", PROGRAM, folder, subject, name];
    return JSON.parse(await runEnclosed(words, { timeoutS: TIMEOUT_S })) as Sample;
  });
}
