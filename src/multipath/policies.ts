import { ActivePassive } from "./active_passive.ts";
import type { Policy } from "./policy.ts";
import { POLICY_NAMES, type PolicyName } from "./policy_names.ts";
import { QueueDepth } from "./queue_depth.ts";
import { RoundRobin } from "./round_robin.ts";
import { ServiceTime } from "./service_time.ts";
import { Weighted } from "./weighted.ts";

/** The policies by their names on the command line. */
export const POLICIES: Readonly<Record<PolicyName, () => Policy>> = Object.freeze({
  "round-robin": () => new RoundRobin(),
  "queue-depth": () => new QueueDepth(),
  "service-time": () => new ServiceTime(),
  "active-passive": () => new ActivePassive(),
  "weighted": () => new Weighted(),
});

/** One of each for a queue, by their numbers in the path table. */
export function makePolicies(): Policy[] {
  return POLICY_NAMES.map((name) => POLICIES[name]());
}
