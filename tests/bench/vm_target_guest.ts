/**
 * Inside the virtual machine: two storage systems, nvmet over memory-backed null_blk and `umpath serve` over memory, each
 * with one port, connected by the kernel's nvme-tcp; fio runs on the two devices in turns. The series are the last line
 * of stdout.
 */
import { parseArgs } from "@std/cli/parse-args";
import { kernelConnect } from "../vm/harness.ts";
import { NvmetTarget } from "../vm/nvmet.ts";
import { ServedTarget } from "../vm/served_target.ts";
import { machineBusyUs } from "./cpu_time.ts";
import { fill, measureFio, warmUp } from "./fio_sample.ts";
import { alternate } from "./measure.ts";
import { VM_TARGET_CASES } from "./vm_cases.ts";

const HOST_NQN = "nqn.2014-08.org.nvmexpress:uuid:bench";
const SERVED = { nqn: "nqn.2026-11.io.test:served", ports: [{ addr: "127.0.0.1", port: 4421 }] };
const NVMET = { nqn: "nqn.2026-11.io.test:nvmet", ports: [{ addr: "127.0.0.1", port: 4420 }] };
const SIZE_MIB = 512;
const TIMING = { runS: 3, rampS: 1 };
const WARM_UP_S = 12;

async function main(): Promise<void> {
  const args = parseArgs(Deno.args, { string: ["reps"] });
  const cases = args._.map((word: string | number) => ({
    name: String(word),
    unit: VM_TARGET_CASES[String(word)]!.unit,
  }));
  const namespaces = [{ nsid: 1, sizeMiB: SIZE_MIB, blockSize: 4096 as const }];
  await using _nvmet = await NvmetTarget.create({ ...NVMET, namespaces });
  await using _served = await ServedTarget.start({ ...SERVED, words: ["--ram", `${SIZE_MIB}M`] });
  const served = await kernelConnect(SERVED.nqn, SERVED.ports, HOST_NQN);
  const nvmet = await kernelConnect(NVMET.nqn, NVMET.ports, HOST_NQN);
  const devices: Record<string, string> = { "umpath serve": served.device, nvmet: nvmet.device };
  for (const device of Object.values(devices)) await fill(device, SIZE_MIB);
  await warmUp(served.device, { sizeMiB: SIZE_MIB, seconds: WARM_UP_S });
  const measure = async (name: string, subject: string) => {
    const how = { device: devices[subject]!, sizeMiB: SIZE_MIB, cpuUs: machineBusyUs, ...TIMING };
    const sample = await measureFio(VM_TARGET_CASES[name]!, how);
    console.log(`${name} ${subject} ${sample.value.toFixed(1)} ${sample.cpuUs.toFixed(0)} us CPU`);
    return sample;
  };
  const series = await alternate(cases, Object.keys(devices), { reps: Number(args.reps), measure });
  await served.disconnect();
  await nvmet.disconnect();
  console.log(JSON.stringify(series));
}

if (import.meta.main) await main();
