/**
 * Inside the virtual machine: one storage system with two ports, connected by umpath and by the kernel's nvme-tcp with
 * native multipath, the same namespace through both; fio runs on the two devices in turns. The series are the last line
 * of stdout.
 */
import { kernelConnect, run, umpath } from "../vm/harness.ts";
import { NvmetTarget } from "../vm/nvmet.ts";
import { fill, warmUp } from "./fio_sample.ts";
import { VM_CASES } from "./vm_cases.ts";
import { measureInTurns, SIZE_MIB } from "./vm_fio.ts";

const NQN = "nqn.2026-11.io.test:vol";
const PORTS = [{ addr: "127.0.0.1", port: 4420 }, { addr: "127.0.0.2", port: 4420 }];
const WARM_UP_S = 12;
const UMPATH = "umpath";
/** The kernel's subjects, by the policy of its multipath. */
const KERNEL = { "kernel, round-robin": "round-robin", "kernel, queue-depth": "queue-depth" } as const;

async function attach(): Promise<string> {
  await run("modprobe", ["ublk_drv"], { check: true });
  const { code, stdout, stderr } = await umpath("attach", NQN, ...PORTS.flatMap(({ addr }) => ["-p", addr]));
  if (code !== 0) throw new Error(`Cannot attach: ${stderr}`);
  return stdout.trim();
}

async function main(): Promise<void> {
  await using _target = await NvmetTarget.create({
    nqn: NQN,
    ports: PORTS,
    namespaces: [{ nsid: 1, sizeMiB: SIZE_MIB, blockSize: 4096 }],
  });
  const kernel = await kernelConnect(NQN, PORTS, "nqn.2014-08.org.nvmexpress:uuid:bench");
  const policies: Record<string, string> = KERNEL;
  const devices: Record<string, string> = { [UMPATH]: await attach() };
  for (const subject of Object.keys(policies)) devices[subject] = kernel.device;
  for (const device of new Set(Object.values(devices))) await fill(device, SIZE_MIB);
  await warmUp(devices[UMPATH]!, { sizeMiB: SIZE_MIB, seconds: WARM_UP_S });
  const prepare = async (subject: string) => {
    const policy = policies[subject];
    if (policy !== undefined) await kernel.setPolicy(policy);
  };
  const series = await measureInTurns({ loads: VM_CASES, devices, prepare });
  await umpath("detach", devices[UMPATH]!);
  await kernel.disconnect();
  console.log(JSON.stringify(series));
}

if (import.meta.main) await main();
