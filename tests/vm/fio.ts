/** Load from fio, with its results as values. */
import { run } from "./process.ts";

const TIMEOUT_DEFAULT_MS = 300_000;

/** One direction of a fio job's result, in fio's own words. */
export interface FioSide {
  io_bytes: number;
  bw_bytes: number;
  iops: number;
  total_ios: number;
  clat_ns: { mean: number; max: number; percentile?: Record<string, number> };
}

/** One fio job's result. */
export interface FioJob {
  jobname: string;
  error: number;
  total_err?: number;
  read: FioSide;
  write: FioSide;
  trim: FioSide;
}

/** A fio run's result. */
export interface FioResult {
  code: number;
  jobs: FioJob[];
  stderr: string;
}

/**
 * Runs fio with options as its command line names them, for example
 * `{ filename: device, rw: "randrw", bs: "4k", iodepth: 32, direct: 1, verify: "crc32c" }`; `true` is a bare flag.
 * An error of fio is in the result's `code` and `jobs[].error`, not thrown.
 */
export async function fio(
  options: Record<string, string | number | true>,
  { timeoutMs = TIMEOUT_DEFAULT_MS }: { timeoutMs?: number } = {},
): Promise<FioResult> {
  // Without the last it leaves a file where it was started if it is interrupted.
  const ours = { name: "test", ioengine: "libaio", direct: 1, verify_state_save: 0 };
  const all: Record<string, string | number | true> = { ...ours, ...options };
  const args = Object.entries(all).map(([name, value]) => value === true ? `--${name}` : `--${name}=${value}`);
  const result = await run("fio", ["--output-format=json", ...args], { timeoutMs });
  const start = result.stdout.search(/^\{/m);
  if (start < 0) throw new Error(`fio gave no result, exit code ${result.code}: ${result.stderr}${result.stdout}`);
  const { jobs } = JSON.parse(result.stdout.slice(start)) as { jobs: FioJob[] };
  return { code: result.code, jobs, stderr: result.stderr + result.stdout.slice(0, start) };
}
