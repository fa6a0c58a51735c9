/** Measures kernel block devices without ublk, all in one enclosure. */
import { runEnclosed } from "./enclosure.ts";
import { withLoopFolder } from "./loop_folder.ts";
import { lackOf, LOOP_SUBJECTS } from "./loop_subjects.ts";
import type { Series } from "./measure.ts";

const GUEST = new URL("./loop_guest.ts", import.meta.url).pathname;
/** Starting, filling and warming up; one run of fio. */
const TIMEOUT_START_S = 180;
const TIMEOUT_RUN_S = 20;

/** Which cases to run, and how often. */
export interface LoopOptions {
  names: string[];
  reps: number;
}

/** Measures those subjects that are installed; says on stderr which are not, and how to get them. */
export async function runLoop({ names, reps }: LoopOptions): Promise<Series[]> {
  const subjects: string[] = [];
  for (const subject of LOOP_SUBJECTS) {
    const lack = await lackOf(subject);
    if (lack === null) subjects.push(subject.name);
    else console.error(`bench: Left out: ${lack}`);
  }
  return await withLoopFolder(async (folder) => {
    const words = ["--folder", folder, "--subjects", subjects.join(","), "--reps", String(reps), ...names];
    const timeoutS = TIMEOUT_START_S + names.length * subjects.length * reps * TIMEOUT_RUN_S;
    const output = await runEnclosed([Deno.execPath(), "run", "-A", "--quiet", GUEST, ...words], { timeoutS });
    return JSON.parse(output.trimEnd().split("\n").pop() ?? "") as Series[];
  });
}
