/** CAP of the target's controllers (Base 2.0, section 3.1.3.1). */

import { ADMIN_SQ_ENTRIES_MIN } from "../spec/nvme_log.ts";
import { CapCss, CapHigh, CapLow } from "../spec/nvme_property.ts";
import type { SubsystemLimits } from "./description.ts";

/**
 * CAP.TO and CRTO, units of 500 ms: how long disabling may take. The I/O that is in a device is waited for, and a disk
 * may take its time.
 */
export const READY_TIMEOUT_UNITS = 30;

/** CAP as two dwords. */
export function capabilities(
  limits: SubsystemLimits,
  { isDiscovery }: { isDiscovery: boolean },
): { low: number; high: number } {
  const entries = isDiscovery ? ADMIN_SQ_ENTRIES_MIN : limits.queueEntriesMax;
  // Hosts enable a discovery controller with the NVM command set too.
  const css = CapCss.NVM | CapCss.IO_COMMAND_SETS;
  return {
    low: ((entries - 1) | CapLow.CQR | (READY_TIMEOUT_UNITS << CapLow.TO_SHIFT)) >>> 0,
    high: ((css << CapHigh.CSS_SHIFT) | CapHigh.CRWMS) >>> 0,
  };
}
