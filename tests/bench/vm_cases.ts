/** The loads of the comparison in the virtual machine, in fio's words. */
export interface VmCase {
  unit: "IOPS" | "MiB/s";
  rw: "randread" | "randwrite" | "read" | "write";
  bs: string;
  iodepth: number;
}

/** All of them, by name. */
export const VM_CASES: Readonly<Record<string, VmCase>> = {
  "vm-randread-4k-1": { unit: "IOPS", rw: "randread", bs: "4k", iodepth: 1 },
  "vm-randread-4k-32": { unit: "IOPS", rw: "randread", bs: "4k", iodepth: 32 },
  "vm-randread-4k-128": { unit: "IOPS", rw: "randread", bs: "4k", iodepth: 128 },
  "vm-randwrite-4k-32": { unit: "IOPS", rw: "randwrite", bs: "4k", iodepth: 32 },
  "vm-read-128k-16": { unit: "MiB/s", rw: "read", bs: "128k", iodepth: 16 },
  "vm-write-128k-16": { unit: "MiB/s", rw: "write", bs: "128k", iodepth: 16 },
};
