/** Measures kernel block devices without ublk, all in one enclosure. */
import { runEnclosed } from "./enclosure.ts";
import { detachBelow } from "./loop_device.ts";
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

let folder: string | null = null;

/** Measures those subjects that are installed; says on stderr which are not, and how to get them. */
export async function runLoop({ names, reps }: LoopOptions): Promise<Series[]> {
  const subjects: string[] = [];
  for (const subject of LOOP_SUBJECTS) {
    const lack = await lackOf(subject);
    if (lack === null) subjects.push(subject.name);
    else console.error(`bench: Left out: ${lack}`);
  }
  folder = await Deno.makeTempDir({ prefix: "umpath-bench-" });
  try {
    const words = ["--folder", folder, "--subjects", subjects.join(","), "--reps", String(reps), ...names];
    const timeoutS = TIMEOUT_START_S + names.length * subjects.length * reps * TIMEOUT_RUN_S;
    const output = await runEnclosed([Deno.execPath(), "run", "-A", "--quiet", GUEST, ...words], { timeoutS });
    return JSON.parse(output.trimEnd().split("\n").pop() ?? "") as Series[];
  } finally {
    await cleanUpLoop();
  }
}

/** Takes away what an enclosure that was ended could not: loop devices do not belong to a namespace. */
export async function cleanUpLoop(): Promise<void> {
  const left = folder;
  folder = null;
  if (left === null) return;
  await detachBelow(left);
  await Deno.remove(left, { recursive: true });
}
