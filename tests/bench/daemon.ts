/** Measures what a daemon costs at rest, each repetition with a daemon of its own in an enclosure of its own. */
import { DAEMON_CASES, DAEMON_SUBJECTS, hasDaemonCase } from "./daemon_cases.ts";
import { runEnclosed } from "./enclosure.ts";
import { withLoopFolder } from "./loop_folder.ts";
import type { Sample, Series } from "./measure.ts";

const PROGRAM = new URL("./daemon_guest.ts", import.meta.url).pathname;
const TIMEOUT_S = 180;

/** Which cases to measure, and how often. */
export interface DaemonOptions {
  names: string[];
  reps: number;
}

/** Measures daemons whose volumes have no kernel device, and such whose volumes are loop devices, in turns. */
export async function runDaemonCases({ names, reps }: DaemonOptions): Promise<Series[]> {
  const all = names.flatMap((name) =>
    DAEMON_SUBJECTS.filter((subject) => hasDaemonCase(name, subject)).map((subject): Series => ({
      name,
      subject,
      ...DAEMON_CASES[name]!,
      samples: [],
    }))
  );
  for (let rep = 0; rep < reps; rep++) {
    for (const subject of rep % 2 === 0 ? DAEMON_SUBJECTS : DAEMON_SUBJECTS.toReversed()) {
      const wanted = all.filter((series) => series.subject === subject);
      if (wanted.length === 0) continue;
      const samples = await runOnce(subject, wanted.map(({ name }) => name));
      for (const series of wanted) series.samples.push(samples[series.name]!);
    }
  }
  return all;
}

function runOnce(subject: string, names: string[]): Promise<Record<string, Sample>> {
  return withLoopFolder(async (folder) => {
    const words = [Deno.execPath(), "run", "-A", "--quiet", PROGRAM, folder, subject, ...names];
    return JSON.parse(await runEnclosed(words, { timeoutS: TIMEOUT_S })) as Record<string, Sample>;
  });
}
