/** The policies by their names on the command line; a policy's place is its number in the path table. */
export const POLICY_NAMES = Object.freeze(
  ["round-robin", "queue-depth", "service-time", "active-passive", "weighted"] as const,
);

/** True for a policy to which it matters which path is preferred, or how much each weighs. */
export function heedsPreferred(name: PolicyName): boolean {
  return name === "active-passive";
}

export function heedsWeights(name: PolicyName): boolean {
  return name === "weighted" || name === "active-passive";
}

/** The weight of a path unless it is told another one, and the largest: beyond that one might as well not use the others. */
export const WEIGHT_DEFAULT = 1;
export const WEIGHT_MAX = 1000;

export type PolicyName = (typeof POLICY_NAMES)[number];
