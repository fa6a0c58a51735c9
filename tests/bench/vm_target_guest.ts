/**
 * Inside the virtual machine: two storage systems, nvmet over memory-backed null_blk and `umpath serve` over memory, each
 * with one port, connected by the kernel's nvme-tcp; fio runs on the two devices in turns. The series are the last line
 * of stdout.
 */
import { kernelConnect } from "../vm/harness.ts";
import { NvmetTarget } from "../vm/nvmet.ts";
import { ServedTarget } from "../vm/served_target.ts";
import { fill, warmUp } from "./fio_sample.ts";
import { VM_TARGET_CASES } from "./vm_cases.ts";
import { measureInTurns, SIZE_MIB } from "./vm_fio.ts";

const HOST_NQN = "nqn.2014-08.org.nvmexpress:uuid:bench";
const SERVED = { nqn: "nqn.2026-11.io.test:served", ports: [{ addr: "127.0.0.1", port: 4421 }] };
const NVMET = { nqn: "nqn.2026-11.io.test:nvmet", ports: [{ addr: "127.0.0.1", port: 4420 }] };
const WARM_UP_S = 12;

async function main(): Promise<void> {
  const namespaces = [{ nsid: 1, sizeMiB: SIZE_MIB, blockSize: 4096 as const }];
  await using _nvmet = await NvmetTarget.create({ ...NVMET, namespaces });
  await using _served = await ServedTarget.start({ ...SERVED, words: ["--ram", `${SIZE_MIB}M`] });
  const served = await kernelConnect(SERVED.nqn, SERVED.ports, HOST_NQN);
  const nvmet = await kernelConnect(NVMET.nqn, NVMET.ports, HOST_NQN);
  const devices: Record<string, string> = { "umpath serve": served.device, nvmet: nvmet.device };
  for (const device of Object.values(devices)) await fill(device, SIZE_MIB);
  await warmUp(served.device, { sizeMiB: SIZE_MIB, seconds: WARM_UP_S });
  const series = await measureInTurns({ loads: VM_TARGET_CASES, devices });
  await served.disconnect();
  await nvmet.disconnect();
  console.log(JSON.stringify(series));
}

if (import.meta.main) await main();
