/** The numbers that commands and the control socket take. */
import { QUEUE_DEPTH_MAX, WORKERS_MAX } from "../base/limits.ts";
import { NSID_MAX } from "../protocol/nvme.ts";
import { WEIGHT_MAX } from "../settings/timeouts.ts";
import type { Range } from "./fields.ts";

export const NSID_RANGE: Range = Object.freeze({ min: 1, max: NSID_MAX });
export const QUEUES_RANGE: Range = Object.freeze({ min: 1, max: WORKERS_MAX });
export const DEPTH_RANGE: Range = Object.freeze({ min: 1, max: QUEUE_DEPTH_MAX });
export const WEIGHT_RANGE: Range = Object.freeze({ min: 1, max: WEIGHT_MAX });
export const PORT_RANGE: Range = Object.freeze({ min: 1, max: 65535 });
