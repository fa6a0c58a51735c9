/** The policies by their names on the command line; a policy's place is its number in the path table. */
export const POLICY_NAMES = Object.freeze(
  ["round-robin", "queue-depth", "service-time", "active-passive", "weighted"] as const,
);

export type PolicyName = (typeof POLICY_NAMES)[number];
