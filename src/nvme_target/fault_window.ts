/** When a fault is on: arithmetic on its {@linkcode FaultWindow}. Times are ms; `sinceMs` counts from the script's start. */
import { assert } from "../base/assert.ts";
import type { FaultWindow } from "./fault_rule.ts";

/** How often the fault has begun by `sinceMs`; its beginnings are numbered from 0. */
export function beginnings(window: FaultWindow, sinceMs: number): number {
  const passedMs = sinceMs - window.atMs;
  if (passedMs < 0) return 0;
  if (window.everyMs === null) return 1;
  const count = Math.floor(passedMs / window.everyMs) + 1;
  return window.times === null ? count : Math.min(count, window.times);
}

/** When the fault begins for the time numbered `index`. */
export function beginMs(window: FaultWindow, index: number): number {
  assert(index === 0 || window.everyMs !== null, "Only a fault that is repeated begins twice");
  return window.atMs + index * (window.everyMs ?? 0);
}

/** The number of the beginning since which the fault is on, or -1 while it is off. */
export function occurrence(window: FaultWindow, sinceMs: number): number {
  const index = beginnings(window, sinceMs) - 1;
  if (index < 0) return -1;
  return window.forMs === null || sinceMs < beginMs(window, index) + window.forMs ? index : -1;
}

/** The first time after `sinceMs` at which the fault begins or ends; Infinity if nothing changes any more. */
export function nextChangeMs(window: FaultWindow, sinceMs: number): number {
  const begun = beginnings(window, sinceMs);
  const isLast = begun > 0 && (window.everyMs === null || begun === window.times);
  const begin = isLast ? Infinity : beginMs(window, begun);
  if (begun === 0 || window.forMs === null) return begin;
  const end = beginMs(window, begun - 1) + window.forMs;
  return end > sinceMs ? Math.min(end, begin) : begin;
}
