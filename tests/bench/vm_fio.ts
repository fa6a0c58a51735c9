/** What the measurements inside the virtual machine have in common: fio on the devices in turns. */
import { parseArgs } from "@std/cli/parse-args";
import { machineBusyUs } from "./cpu_time.ts";
import { type FioLoad, measureFio } from "./fio_sample.ts";
import { alternate, type Series } from "./measure.ts";

/** Size of every device that is measured. */
export const SIZE_MIB = 512;
const TIMING = { runS: 3, rampS: 1 };

/** What is measured. */
export interface VmSubjects {
  /** The loads by name; the words of the command line pick some of them. */
  loads: Readonly<Record<string, FioLoad>>;
  /** A device for each subject. */
  devices: Readonly<Record<string, string>>;
  /** Called before a subject is measured. */
  prepare?: (subject: string) => Promise<void>;
}

/** Measures as the command line says: `--reps N NAME…`. */
export function measureInTurns({ loads, devices, prepare }: VmSubjects): Promise<Series[]> {
  const args = parseArgs(Deno.args, { string: ["reps"] });
  const cases = args._.map((word: string | number) => ({ name: String(word), unit: loads[String(word)]!.unit }));
  const measure = async (name: string, subject: string) => {
    await prepare?.(subject);
    const how = { device: devices[subject]!, sizeMiB: SIZE_MIB, cpuUs: machineBusyUs, ...TIMING };
    const sample = await measureFio(loads[name]!, how);
    console.log(`${name} ${subject} ${sample.value.toFixed(1)} ${sample.cpuUs.toFixed(0)} us CPU`);
    return sample;
  };
  return alternate(cases, Object.keys(devices), { reps: Number(args.reps), measure });
}
