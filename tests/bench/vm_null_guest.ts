/**
 * Inside the virtual machine: a ublk device on which nothing happens, served in TypeScript, beside the kernel's null_blk;
 * fio runs on the two in turns. The series are the last line of stdout.
 */
import { parseArgs } from "@std/cli/parse-args";
import { NullBlock } from "../vm/null_block.ts";
import { run } from "../vm/process.ts";
import { machineBusyUs } from "./cpu_time.ts";
import { measureFio, warmUp } from "./fio_sample.ts";
import { alternate } from "./measure.ts";
import { NullUblkDevice } from "./null_ublk_device.ts";
import { VM_NULL_CASES } from "./vm_cases.ts";

const SIZE_MIB = 512;
const TIMING = { runS: 3, rampS: 1 };
const WARM_UP_S = 8;

async function main(): Promise<void> {
  const args = parseArgs(Deno.args, { string: ["reps"] });
  const cases = args._.map((word: string | number) => ({
    name: String(word),
    unit: VM_NULL_CASES[String(word)]!.unit,
  }));
  await run("modprobe", ["ublk_drv"], { check: true });
  const ublk = await NullUblkDevice.create(SIZE_MIB);
  const nullBlk = await NullBlock.create({ sizeMiB: SIZE_MIB, blockSize: 4096, attributes: { memory_backed: 0 } });
  const devices: Record<string, string> = { "umpath, null device": ublk.path, null_blk: nullBlk.device };
  await warmUp(ublk.path, { sizeMiB: SIZE_MIB, seconds: WARM_UP_S });
  const measure = async (name: string, subject: string) => {
    const how = { device: devices[subject]!, sizeMiB: SIZE_MIB, cpuUs: machineBusyUs, ...TIMING };
    const sample = await measureFio(VM_NULL_CASES[name]!, how);
    console.log(`${name} ${subject} ${sample.value.toFixed(1)} ${sample.cpuUs.toFixed(0)} us CPU`);
    return sample;
  };
  const series = await alternate(cases, Object.keys(devices), { reps: Number(args.reps), measure });
  await ublk.destroy();
  await nullBlk.close();
  console.log(JSON.stringify(series));
}

if (import.meta.main) await main();
