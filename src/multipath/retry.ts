/**
 * When a request is sent again after an answer that asks for it. How often is bounded by `RETRIES_MAX`; `suspects.ts` has
 * those that get no answer, for their connection ends each time.
 */
import { CONTROLLER_DELAY_MS_MAX, RETRY_DELAY_MS, RETRY_DELAY_MS_MAX } from "../base/limits.ts";
import { retryDelayIndex } from "../nvme/status.ts";

/**
 * The delay that a controller asks for with `status`: CRD names one of the command retry delay times (CRDT) of its
 * Identify data, `retryDelaysMs`. 0 for none.
 */
export function controllerDelayMs(status: number, retryDelaysMs: readonly number[]): number {
  return Math.min(retryDelaysMs[retryDelayIndex(status)] ?? 0, CONTROLLER_DELAY_MS_MAX);
}

/** How long to wait before the try after `retries` refusals, the last of which asked for `controllerMs`: never less. */
export function retryDelayMs(retries: number, controllerMs: number): number {
  return Math.max(controllerMs, Math.min(RETRY_DELAY_MS * 2 ** (retries - 1), RETRY_DELAY_MS_MAX));
}
