import type { FaultRule } from "../nvme_target/fault_rule.ts";
import { FaultCounts, FaultScript } from "../nvme_target/fault_script.ts";

/** A script as one thread of a target tells it to another: each makes a {@linkcode FaultScript} of its own from it. */
export interface FaultPlan {
  readonly rules: readonly FaultRule[];
  readonly seed: number;
  /** When it starts, ms since the epoch: clocks of threads begin with the thread. */
  readonly startEpochMs: number;
  /** Memory of the {@linkcode FaultCounts}. */
  readonly counts: SharedArrayBuffer;
}

/** A plan that starts now. */
export function faultPlan(rules: readonly FaultRule[], seed: number): FaultPlan {
  const startEpochMs = performance.timeOrigin + performance.now();
  return { rules, seed, startEpochMs, counts: new FaultCounts().shared };
}

/** The script of a plan in the clock of this thread, `performance.now()`. */
export function faultScript({ rules, seed, startEpochMs, counts }: FaultPlan): FaultScript {
  const startMs = startEpochMs - performance.timeOrigin;
  return new FaultScript({ rules, seed, startMs, counts: new FaultCounts(counts) });
}
