/**
 * In an enclosure: kernel block devices of the same size that different programs serve from user space, each as a file
 * over FUSE with a loop device on top; fio runs on them in turns. The series are the last line of stdout.
 */
import { parseArgs } from "@std/cli/parse-args";
import { cpuTimeOfUs } from "./cpu_time.ts";
import { fill, measureFio, warmUp } from "./fio_sample.ts";
import { LOOP_CASES } from "./loop_cases.ts";
import { LOOP_SUBJECTS, type RunningSubject } from "./loop_subjects.ts";
import { alternate } from "./measure.ts";

const SIZE_MIB = 512;
const TIMING = { runS: 2, rampS: 0.5 };
const WARM_UP_S = 2;

async function main(): Promise<void> {
  const args = parseArgs(Deno.args, { string: ["reps", "folder", "subjects"] });
  const cases = args._.map((word: string | number) => ({ name: String(word), unit: LOOP_CASES[String(word)]!.unit }));
  const subjects = LOOP_SUBJECTS.filter(({ name }) => args.subjects!.split(",").includes(name));
  const running = new Map<string, RunningSubject>();
  await using started = new AsyncDisposableStack();
  for (const [index, subject] of subjects.entries()) {
    const folder = `${args.folder}/${index}`;
    await Deno.mkdir(folder, { mode: 0o700 });
    running.set(subject.name, started.use(await subject.start(folder, SIZE_MIB)));
  }
  for (const { device } of running.values()) {
    await fill(device, SIZE_MIB);
    await warmUp(device, { sizeMiB: SIZE_MIB, seconds: WARM_UP_S });
  }
  const measure = (name: string, subject: string) => {
    const { device, pids } = running.get(subject)!;
    return measureFio(LOOP_CASES[name]!, { device, sizeMiB: SIZE_MIB, cpuUs: () => cpuTimeOfUs(pids), ...TIMING });
  };
  const series = await alternate(cases, [...running.keys()], { reps: Number(args.reps), measure });
  await started.disposeAsync();
  console.log(JSON.stringify(series));
}

if (import.meta.main) await main();
