/** CAP of the target's controllers (Base 2.0, section 3.1.3.1). */

import { CapCss, CapHigh, CapLow } from "../protocol/nvme_property.ts";
import type { SubsystemLimits } from "./description.ts";

/**
 * CAP.TO and CRTO, units of 500 ms: how long disabling may take. The I/O that is in a device is waited for, and a disk
 * may take its time.
 */
export const READY_TIMEOUT_UNITS = 30;

/**
 * CAP as two dwords. A discovery controller has no I/O queues that MQES and MAXCMD could bound, but the kernel's host
 * warns of less than it would ask for: so they are the same for both kinds.
 */
export function capabilities(limits: SubsystemLimits): { low: number; high: number } {
  // Hosts enable a discovery controller with the NVM command set too.
  const css = CapCss.NVM | CapCss.IO_COMMAND_SETS;
  return {
    low: ((limits.queueEntriesMax - 1) | CapLow.CQR | (READY_TIMEOUT_UNITS << CapLow.TO_SHIFT)) >>> 0,
    high: ((css << CapHigh.CSS_SHIFT) | CapHigh.CRWMS) >>> 0,
  };
}
