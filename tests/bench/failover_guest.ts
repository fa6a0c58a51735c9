/**
 * Inside the virtual machine: one storage system, the kernel's, behind two cables, connected by umpath and by the
 * kernel's nvme-tcp with native multipath, the same namespace through both and with the same keep-alive time. One cable
 * gets into trouble while fio runs on one of the devices, in turns. The series are the last line of stdout.
 */
import { parseArgs } from "@std/cli/parse-args";
import { Network } from "../e2e/network.ts";
import { SICK, TROUBLES } from "../e2e/troubles.ts";
import { volumes } from "../vm/daemon_process.ts";
import { eventually, fio, kernelConnect, run, umpath } from "../vm/harness.ts";
import type { FioResult } from "../vm/fio.ts";
import type { KernelConnection } from "../vm/kernel_initiator.ts";
import { NvmetTarget } from "../vm/nvmet.ts";
import { machineBusyUs } from "./cpu_time.ts";
import { type FailoverSubject, SLOW_CASE, SLOW_SUBJECTS, STALL_CASES, STALL_SUBJECTS } from "./failover_cases.ts";
import { fill, warmUp } from "./fio_sample.ts";
import { alternate, type Sample, type Series } from "./measure.ts";

const NQN = "nqn.2026-11.io.test:failover";
const SIZE_MIB = 64;
const WARM_UP_S = 3;
/** Of both, as it is by default. */
const KEEP_ALIVE_S = 5;
/** The kernel connects again after this time, by default 10 s: how long that takes is not measured. */
const KERNEL_RECONNECT_S = 1;
/** Trouble begins so long after fio. */
const QUIET_MS = 2000;
/** It lasts until fio ends: until a keep-alive was missed that was sent half its time later, and writes were held. */
const TROUBLE_S = 2.5 * KEEP_ALIVE_S + 1.5;
const SLOW_MS = 20;
const SLOW_RUN_S = 6;
/** What is slow has been found out by then: `slow-path=demote` takes three seconds and some answers. */
const SLOW_RAMP_S = 6;
const LIVE_MS_MAX = 60_000;

/** What is measured, on which network. */
interface Rig {
  network: Network;
  kernel: KernelConnection;
  devices: Record<FailoverSubject["device"], string>;
}

async function attach(network: Network): Promise<string> {
  await run("modprobe", ["ublk_drv"], { check: true });
  const paths = network.portals.flatMap(({ words }) => ["-p", words]);
  const { code, stdout, stderr } = await umpath("attach", NQN, ...paths, "--keep-alive", `${KEEP_ALIVE_S}s`);
  if (code !== 0) throw new Error(`Cannot attach: ${stderr}`);
  return stdout.trim();
}

/** What a volume has by default, for the settings that subjects differ in. */
const DEFAULTS = ["policy=queue-depth", "slow-path=off", "write-hold=auto"];

/** Gives a subject its settings, all others being as they are by default. */
async function prepare({ kernel, devices }: Rig, { device, settings }: FailoverSubject): Promise<void> {
  if (device === "kernel") return await kernel.setPolicy(settings[0]!);
  const byKey = new Map([...DEFAULTS, ...settings].map((words) => [words.split("=")[0], words]));
  const settled = [...byKey.values()];
  const { code, stderr } = await umpath("set", devices.umpath, ...settled);
  if (code !== 0) throw new Error(`Cannot set ${settled.join(" ")}: ${stderr}`);
}

/** Waits until both subjects have all their paths. */
async function whole({ kernel }: Rig): Promise<void> {
  await eventually(async () => (await kernel.states()).every((state) => state === "live"), LIVE_MS_MAX);
  await eventually(async () => (await volumes())[0]!.state === "live", LIVE_MS_MAX);
}

/** One run of fio, which must not meet an error, with the processor time for one I/O. */
async function measured(options: Record<string, string | number>): Promise<[FioResult["jobs"][number], number]> {
  const before = machineBusyUs();
  const { code, jobs: [job], stderr } = await fio({ time_based: 1, norandommap: 1, size: `${SIZE_MIB}m`, ...options });
  if (code !== 0 || job!.error !== 0) throw new Error(`fio failed on ${options.filename}: ${stderr}`);
  return [job!, (machineBusyUs() - before) / (job!.read.total_ios + job!.write.total_ios)];
}

/** The longest read and write of 4 KiB around the trouble, in milliseconds. */
async function measureStall(rig: Rig, name: string, subject: FailoverSubject): Promise<Sample> {
  const { begin, end } = TROUBLES[STALL_CASES[name]!]!;
  await prepare(rig, subject);
  const runtime = QUIET_MS / 1000 + TROUBLE_S;
  const load = { filename: rig.devices[subject.device], rw: "randrw", bs: "4k", iodepth: 8, runtime };
  const running = measured(load);
  running.catch(() => {});
  await new Promise((resolve) => setTimeout(resolve, QUIET_MS));
  await begin(rig.network);
  const [{ read, write }, cpuUs] = await running.finally(() => end(rig.network));
  await whole(rig);
  return { value: read.clat_ns.max / 1e6, cpuUs, details: { writeMs: write.clat_ns.max / 1e6 } };
}

/** How long reads of 4 KiB take, eight at a time, while one path takes longer. */
async function measureSlow(rig: Rig, subject: FailoverSubject): Promise<Sample> {
  await prepare(rig, subject);
  await rig.network.setDelay(SICK, SLOW_MS);
  try {
    const load = { rw: "randread", bs: "4k", iodepth: 8, runtime: SLOW_RUN_S, ramp_time: SLOW_RAMP_S };
    const [{ read }, cpuUs] = await measured({ filename: rig.devices[subject.device], ...load });
    const us = (percentile: string) => read.clat_ns.percentile![percentile]! / 1000;
    const details = { p50Us: us("50.000000"), p99Us: us("99.000000"), p999Us: us("99.900000") };
    return { value: read.iops, cpuUs, details };
  } finally {
    await rig.network.setDelay(SICK, 0);
  }
}

async function measureAll(rig: Rig, names: string[], reps: number): Promise<Series[]> {
  const tell = (name: string, subject: string, { value, details }: Sample) => {
    console.error(`${name} ${subject} ${value.toFixed(1)} ${JSON.stringify(details)}`);
  };
  const stalls = names.filter((name) => name in STALL_CASES).map((name) => ({ name, unit: "read ms" }));
  const slow = names.filter((name) => name === SLOW_CASE).map((name) => ({ name, unit: "IOPS" }));
  const slowSeries = await alternate(slow, Object.keys(SLOW_SUBJECTS), {
    reps,
    measure: async (name, subject) => {
      const sample = await measureSlow(rig, SLOW_SUBJECTS[subject]!);
      tell(name, subject, sample);
      return sample;
    },
  });
  const stallSeries = await alternate(stalls, Object.keys(STALL_SUBJECTS), {
    reps,
    measure: async (name, subject) => {
      const sample = await measureStall(rig, name, STALL_SUBJECTS[subject]!);
      tell(name, subject, sample);
      return sample;
    },
  });
  return [...stallSeries, ...slowSeries];
}

async function main(): Promise<void> {
  const args = parseArgs(Deno.args, { string: ["reps"] });
  await using network = await Network.create({ isHostHere: true });
  const ports = network.portals.map(({ hostname, port }) => ({ addr: hostname, port }));
  const namespaces = [{ nsid: 1, sizeMiB: SIZE_MIB, blockSize: 4096 as const }];
  await using _target = await NvmetTarget.create({ nqn: NQN, ports, namespaces, enter: network.enter("storage") });
  const times = ["-k", String(KEEP_ALIVE_S), "-c", String(KERNEL_RECONNECT_S)];
  const kernel = await kernelConnect(NQN, ports, "nqn.2014-08.org.nvmexpress:uuid:bench", times);
  const devices = { umpath: await attach(network), kernel: kernel.device };
  for (const device of Object.values(devices)) await fill(device, SIZE_MIB);
  await warmUp(devices.umpath, { sizeMiB: SIZE_MIB, seconds: WARM_UP_S });
  const series = await measureAll({ network, kernel, devices }, args._.map(String), Number(args.reps));
  await umpath("detach", devices.umpath);
  await kernel.disconnect();
  console.log(JSON.stringify(series));
}

if (import.meta.main) await main();
