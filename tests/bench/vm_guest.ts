/**
 * Inside the virtual machine: one storage system with two ports, connected by umpath and by the kernel's nvme-tcp with
 * native multipath, the same namespace through both; fio runs on the two devices in turns. The series are the last line
 * of stdout.
 */
import { parseArgs } from "@std/cli/parse-args";
import { eventually, fio, kernelConnect, run, umpath } from "../vm/harness.ts";
import { NvmetTarget } from "../vm/nvmet.ts";
import { alternate, type Sample } from "./measure.ts";
import { VM_CASES } from "./vm_cases.ts";

const NQN = "nqn.2026-11.io.test:vol";
const PORTS = [{ addr: "127.0.0.1", port: 4420 }, { addr: "127.0.0.2", port: 4420 }];
const SIZE_MIB = 512;
const RUN_S = 3;
const RAMP_S = 1;
const WARM_UP_S = 12;
const UMPATH = "umpath";
const KERNEL = "kernel";

/** One run of fio on a device: its speed, and the CPU time of the whole machine for one I/O. */
export async function measureFio(name: string, device: string): Promise<Sample> {
  const { unit, ...load } = VM_CASES[name]!;
  const timing = { runtime: RUN_S, ramp_time: RAMP_S, time_based: 1, thread: 1, norandommap: 1 };
  const running = fio({ ...load, ...timing, filename: device, size: `${SIZE_MIB}m` });
  const cpuUs = measureCpu(device, iosOf(device));
  const { code, jobs, stderr } = await running;
  const job = jobs[0]!;
  if (code !== 0 || job.error !== 0) throw new Error(`fio failed on ${device}: ${stderr}`);
  const side = load.rw.includes("read") ? job.read : job.write;
  const value = unit === "IOPS" ? side.iops : side.bw_bytes / 2 ** 20;
  return { value, cpuUs: await cpuUs, details: { latencyUs: side.clat_ns.mean / 1000 } };
}

/** CPU microseconds of the whole machine for one I/O, in the middle of a run that is about to begin. */
async function measureCpu(device: string, iosBefore: number): Promise<number> {
  await eventually(() => iosOf(device) > iosBefore, 30_000);
  await sleep((RAMP_S + 0.5) * 1000);
  const busyStart = await busyUs();
  const iosStart = iosOf(device);
  await sleep((RUN_S - 1) * 1000);
  return (await busyUs() - busyStart) / (iosOf(device) - iosStart);
}

function sleep(milliseconds: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, milliseconds));
}

function iosOf(device: string): number {
  const stat = Deno.readTextFileSync(`/sys/block/${device.replace("/dev/", "")}/stat`).trim().split(/\s+/);
  return Number(stat[0]) + Number(stat[4]);
}

/** Time that the machine's processors were not idle, in microseconds. */
async function busyUs(): Promise<number> {
  const fields = (await Deno.readTextFile("/proc/stat")).split("\n")[0]!.trim().split(/\s+/).slice(1).map(Number);
  const [user, nice, system, , , irq, softirq] = fields as [number, number, number, number, number, number, number];
  return (user + nice + system + irq + softirq) * 10_000;
}

async function attach(): Promise<string> {
  await run("modprobe", ["ublk_drv"], { check: true });
  const { code, stdout, stderr } = await umpath("attach", NQN, ...PORTS.flatMap(({ addr }) => ["-p", addr]));
  if (code !== 0) throw new Error(`Cannot attach: ${stderr}`);
  return stdout.trim();
}

/** What is measured is a daemon that has run for a while: its hot path is compiled, in every one of its workers. */
export async function warmUp(device: string): Promise<void> {
  for (const [rw, bs] of [["randread", "4k"], ["randwrite", "4k"], ["rw", "128k"]] as const) {
    const load = { rw, bs, iodepth: 32, numjobs: 2, thread: 1, runtime: WARM_UP_S, time_based: 1, norandommap: 1 };
    await fio({ ...load, filename: device, size: `${SIZE_MIB}m` });
  }
}

async function main(): Promise<void> {
  const args = parseArgs(Deno.args, { string: ["reps"] });
  const cases = args._.map((name: string | number) => ({ name: String(name), unit: VM_CASES[String(name)]!.unit }));
  await using _target = await NvmetTarget.create({
    nqn: NQN,
    ports: PORTS,
    namespaces: [{ nsid: 1, sizeMiB: SIZE_MIB, blockSize: 4096 }],
  });
  const kernel = await kernelConnect(NQN, PORTS, "nqn.2014-08.org.nvmexpress:uuid:bench");
  await kernel.setPolicy("round-robin");
  const devices: Record<string, string> = { [UMPATH]: await attach(), [KERNEL]: kernel.device };
  for (const device of Object.values(devices)) {
    await run("dd", ["if=/dev/zero", `of=${device}`, "bs=1M", "oflag=direct", `count=${SIZE_MIB}`], { check: true });
  }
  await warmUp(devices[UMPATH]!);
  const measure = async (name: string, subject: string) => {
    const sample = await measureFio(name, devices[subject]!);
    console.log(`${name} ${subject} ${sample.value.toFixed(1)} ${sample.cpuUs.toFixed(0)} us CPU`);
    return sample;
  };
  const series = await alternate(cases, Object.keys(devices), { reps: Number(args.reps), measure });
  await umpath("detach", devices[UMPATH]!);
  await kernel.disconnect();
  console.log(JSON.stringify(series));
}

if (import.meta.main) await main();
