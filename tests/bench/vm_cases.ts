/** The loads of the comparisons in the virtual machine. */
import type { FioLoad } from "./fio_sample.ts";

/** umpath's device beside the kernel's own, by name. */
export const VM_CASES: Readonly<Record<string, FioLoad>> = {
  "vm-randread-4k-1": { unit: "IOPS", rw: "randread", bs: "4k", iodepth: 1 },
  "vm-randread-4k-32": { unit: "IOPS", rw: "randread", bs: "4k", iodepth: 32 },
  "vm-randread-4k-128": { unit: "IOPS", rw: "randread", bs: "4k", iodepth: 128 },
  "vm-randwrite-4k-32": { unit: "IOPS", rw: "randwrite", bs: "4k", iodepth: 32 },
  "vm-read-128k-16": { unit: "MiB/s", rw: "read", bs: "128k", iodepth: 16 },
  "vm-write-128k-16": { unit: "MiB/s", rw: "write", bs: "128k", iodepth: 16 },
};

/** The kernel's initiator on umpath's target beside the kernel's own target, by name. */
export const VM_TARGET_CASES: Readonly<Record<string, FioLoad>> = Object.fromEntries(
  Object.entries(VM_CASES).map(([name, load]) => [name.replace("vm-", "vm-target-"), load]),
);

/** What ublk and a worker cost by themselves, by name. */
export const VM_NULL_CASES: Readonly<Record<string, FioLoad>> = {
  "vm-null-4k-1": { unit: "IOPS", rw: "randread", bs: "4k", iodepth: 1 },
  "vm-null-4k-32": { unit: "IOPS", rw: "randread", bs: "4k", iodepth: 32 },
  "vm-null-4k-128": { unit: "IOPS", rw: "randread", bs: "4k", iodepth: 128 },
};
