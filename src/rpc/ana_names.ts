/** ANA states as people name them. */
import { UmpathError } from "../base/errors.ts";
import type { AnaStateName } from "./host_api.ts";
import { AnaStateCode } from "../protocol/nvme_log.ts";

/** The code of each name. */
export const ANA_CODES: Readonly<Record<AnaStateName, number>> = Object.freeze({
  optimized: AnaStateCode.OPTIMIZED,
  "non-optimized": AnaStateCode.NON_OPTIMIZED,
  inaccessible: AnaStateCode.INACCESSIBLE,
  "persistent-loss": AnaStateCode.PERSISTENT_LOSS,
  change: AnaStateCode.CHANGE,
});

/** All names. */
export const ANA_NAMES = Object.freeze(Object.keys(ANA_CODES) as AnaStateName[]);

/** The name of a code. */
export function anaName(code: number): AnaStateName {
  return ANA_NAMES.find((name) => ANA_CODES[name] === code) ?? "change";
}

/** The code of a name that came over the control socket. */
export function anaCode(name: unknown): number {
  const known = ANA_NAMES.find((candidate) => candidate === name);
  if (known === undefined) throw new UmpathError("usage", `There is no ANA state ${JSON.stringify(name)}`);
  return ANA_CODES[known];
}
