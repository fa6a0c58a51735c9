/** Profiles of native cases: of V8, and of perf where it may be used. None of them is a measurement. */
import { runEnclosed } from "./enclosure.ts";
import { NullTarget } from "./null_target.ts";
import { shares } from "./measure.ts";
import { breakdown, lackOfPerf, perfRecord } from "./perf_breakdown.ts";
import { largestSelfTimes, type V8Profile } from "./v8_profile.ts";

const SECONDS = 2;
const WARM_UP_SECONDS = 1;
const TIMEOUT_S = 60;
const REPO = new URL("../..", import.meta.url).pathname.replace(/\/$/, "");
const PROGRAM = `${REPO}/tests/bench/native_cases.ts`;
const FOLDER = `${REPO}/build/profile`;

/** Profiles each case, prints what takes longest, and keeps the files in build/profile. */
export async function profileNative(names: string[]): Promise<void> {
  await NullTarget.build();
  await Deno.mkdir(FOLDER, { recursive: true });
  const lack = await lackOfPerf();
  console.log(`Profiles, not measurements: what is profiled runs slower. They are in ${FOLDER}.`);
  if (lack !== null) console.log(`No breakdown with the kernel: ${lack}.`);
  for (const name of names) {
    const file = `${FOLDER}/${name}.cpuprofile`;
    await runCase([], name, ["v8", file]);
    const profile = JSON.parse(await Deno.readTextFile(file)) as V8Profile;
    console.log(`\n${shares(`${name}: function, by its own time`, largestSelfTimes(profile))}`);
    if (lack === null) console.log(`\n${shares(`${name}: work, kernel included`, await perfBreakdown(name))}`);
  }
  console.log();
}

async function perfBreakdown(name: string) {
  const file = `${FOLDER}/${name}.perf.data`;
  const folder = await Deno.makeTempDir({ prefix: "umpath-bench-" });
  const fifo = `${folder}/control`;
  try {
    const { success } = await new Deno.Command("mkfifo", { args: [fifo] }).output();
    if (!success) throw new Error(`Cannot make ${fifo}`);
    await runCase(perfRecord(file, fifo), name, ["perf", fifo]);
    return await breakdown(file);
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
}

async function runCase(before: string[], name: string, how: string[]): Promise<void> {
  const words = [name, String(SECONDS), String(WARM_UP_SECONDS), ...how];
  const program = [...before, Deno.execPath(), "run", "-A", "--quiet", PROGRAM, ...words];
  await runEnclosed(program, { timeoutS: TIMEOUT_S });
}
