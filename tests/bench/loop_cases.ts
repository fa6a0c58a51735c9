/** The loads on kernel block devices that user space serves through FUSE and the loop driver, by name. */
import type { FioLoad } from "./fio_sample.ts";

export const LOOP_CASES: Readonly<Record<string, FioLoad>> = {
  "loop-randread-4k-1": { unit: "IOPS", rw: "randread", bs: "4k", iodepth: 1 },
  "loop-randread-4k-32": { unit: "IOPS", rw: "randread", bs: "4k", iodepth: 32 },
  "loop-randread-4k-128": { unit: "IOPS", rw: "randread", bs: "4k", iodepth: 128 },
  "loop-randwrite-4k-32": { unit: "IOPS", rw: "randwrite", bs: "4k", iodepth: 32 },
  "loop-read-128k-16": { unit: "MiB/s", rw: "read", bs: "128k", iodepth: 16 },
  "loop-write-128k-16": { unit: "MiB/s", rw: "write", bs: "128k", iodepth: 16 },
  "loop-read-1m-4": { unit: "MiB/s", rw: "read", bs: "1m", iodepth: 4 },
  "loop-write-1m-4": { unit: "MiB/s", rw: "write", bs: "1m", iodepth: 4 },
};
