/** Medians that were accepted once, in baseline.json: what a later run is compared with. */
import { type Baseline, median, type Series } from "./measure.ts";

const FILE = new URL("./baseline.json", import.meta.url);

/** Where the medians come from. */
export interface Machine {
  cpu: string;
  cpus: number;
  memoryGiB: number;
  kernel: string;
}

interface BaselineFile {
  machine: Machine;
  /** The day of each group's medians. */
  measured: Record<string, string>;
  medians: Record<string, Record<string, number>>;
}

/** This machine, as far as it matters to the numbers. */
export function thisMachine(): Machine {
  const cpu = /^model name\s*:\s*(.+)$/m.exec(Deno.readTextFileSync("/proc/cpuinfo"))?.[1] ?? Deno.build.arch;
  return {
    cpu,
    cpus: navigator.hardwareConcurrency,
    memoryGiB: Math.round(Deno.systemMemoryInfo().total / 2 ** 30),
    kernel: Deno.osRelease(),
  };
}

/** The accepted medians; none if they are of another machine, where they say nothing. */
export function readBaseline(): Baseline {
  const file = read();
  return file !== null && isSame(file.machine) ? file.medians : {};
}

/** Accepts the medians of a group, beside those of others from the same machine. */
export function updateBaseline(group: string, series: Series[]): void {
  const before = read();
  const kept = before !== null && isSame(before.machine) ? before : { measured: {}, medians: {} };
  const medians = { ...kept.medians };
  for (const { name, subject, samples } of series) {
    medians[name] = { ...medians[name], [subject]: Number(median(samples.map(({ value }) => value)).toPrecision(4)) };
  }
  const measured = { ...kept.measured, [group]: new Date().toISOString().slice(0, 10) };
  const file: BaselineFile = { machine: thisMachine(), measured, medians };
  Deno.writeTextFileSync(FILE, `${JSON.stringify(file, null, 2)}\n`);
}

function read(): BaselineFile | null {
  try {
    return JSON.parse(Deno.readTextFileSync(FILE)) as BaselineFile;
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return null;
    throw error;
  }
}

function isSame(machine: Machine): boolean {
  return JSON.stringify(machine) === JSON.stringify(thisMachine());
}
