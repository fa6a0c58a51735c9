/** What tests in the VM are made of: processes, fio, the kernel's own initiator and the kernel log. */
export * from "./eventually.ts";
export * from "./fio.ts";
export * from "./kernel_initiator.ts";
export * from "./kernel_log.ts";
export * from "./process.ts";
