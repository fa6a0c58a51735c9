/** What fio makes of a block device, with the processor time that it takes. */
import { eventually } from "../vm/eventually.ts";
import { fio, type FioSide } from "../vm/fio.ts";
import { run } from "../vm/process.ts";
import type { Sample } from "./measure.ts";

/** A load in fio's words. */
export interface FioLoad {
  unit: "IOPS" | "MiB/s";
  rw: "randread" | "randwrite" | "read" | "write";
  bs: string;
  iodepth: number;
}

/** What is measured, and how. */
export interface FioSubject {
  device: string;
  sizeMiB: number;
  /** Processor time so far, in microseconds, of whatever is to be counted. */
  cpuUs: () => number;
  rampS: number;
  /** 2 or more: processor time is counted in the middle of it. */
  runS: number;
}

const START_MS = 30_000;

/** One run of fio on a device: its speed, and the processor time for one I/O. */
export async function measureFio(load: FioLoad, subject: FioSubject): Promise<Sample> {
  const { device, sizeMiB, runS, rampS } = subject;
  const { unit, ...words } = load;
  const timing = { runtime: runS, ramp_time: rampS, time_based: 1, thread: 1, norandommap: 1 };
  const running = fio({ ...words, ...timing, filename: device, size: `${sizeMiB}m` });
  const [{ code, jobs, stderr }, cpuUs] = await Promise.all([running, measureCpu(subject)]);
  const job = jobs[0]!;
  if (code !== 0 || job.error !== 0) throw new Error(`fio failed on ${device}: ${stderr}`);
  const side = load.rw.includes("read") ? job.read : job.write;
  const value = unit === "IOPS" ? side.iops : side.bw_bytes / 2 ** 20;
  return { value, cpuUs, details: percentiles(side) };
}

function percentiles({ clat_ns: { percentile = {} } }: FioSide): Record<string, number> {
  const us = (name: string) => (percentile[name] ?? 0) / 1000;
  return { p50Us: us("50.000000"), p99Us: us("99.000000"), p999Us: us("99.900000") };
}

/** Processor time for one I/O, in the middle of a run that is about to begin. */
async function measureCpu({ device, cpuUs, rampS, runS }: FioSubject): Promise<number> {
  const iosBefore = iosOf(device);
  await eventually(() => iosOf(device) > iosBefore, START_MS);
  await sleep((rampS + 0.5) * 1000);
  const cpuStart = cpuUs();
  const iosStart = iosOf(device);
  await sleep((runS - 1) * 1000);
  return (cpuUs() - cpuStart) / (iosOf(device) - iosStart);
}

/** Writes zeroes everywhere, so that no subject serves what was never written. */
export async function fill(device: string, sizeMiB: number): Promise<void> {
  await run("dd", ["if=/dev/zero", `of=${device}`, "bs=1M", "oflag=direct", `count=${sizeMiB}`], { check: true });
}

/** A while of every kind of load: what is measured later is a program whose hot path is compiled. */
export async function warmUp(
  device: string,
  { sizeMiB, seconds }: { sizeMiB: number; seconds: number },
): Promise<void> {
  for (const [rw, bs] of [["randread", "4k"], ["randwrite", "4k"], ["rw", "128k"]] as const) {
    const load = { rw, bs, iodepth: 32, numjobs: 2, thread: 1, runtime: seconds, time_based: 1, norandommap: 1 };
    const { code, stderr } = await fio({ ...load, filename: device, size: `${sizeMiB}m` });
    if (code !== 0) throw new Error(`fio failed on ${device}: ${stderr}`);
  }
}

function sleep(milliseconds: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, milliseconds));
}

/** Reads and writes that the device has completed. */
function iosOf(device: string): number {
  const stat = Deno.readTextFileSync(`/sys/block/${device.replace("/dev/", "")}/stat`).trim().split(/\s+/);
  return Number(stat[0]) + Number(stat[4]);
}
