import { AnaStateCode } from "../../src/spec/nvme_log.ts";
import { Violation } from "./violation.ts";

/** What one queue has sent to its paths. */
export interface Spread {
  /** Commands by path. */
  readonly commands: readonly number[];
  /** ANA states by path. */
  readonly ana: readonly number[];
}

/** What a policy promises of the shares of paths that are alike; null if it keeps it, otherwise why not. */
type Promise = (commands: readonly number[]) => string | null;

/** Shares that differ by chance: so many commands, and so much of all of them. */
const SLACK_COMMANDS = 40;
const SLACK = 0.02;

/**
 * The promise of each policy. One that is not named here promises only what all do: that no path is used while a better
 * one is there.
 */
export const PROMISES: Readonly<Record<string, Promise>> = {
  "round-robin": (commands) => {
    const total = commands.reduce((sum, count) => sum + count, 0);
    const share = total / commands.length;
    const isEven = commands.every((count) => Math.abs(count - share) <= SLACK_COMMANDS + SLACK * total);
    return isEven ? null : "each path is used in turn";
  },
};

function rank(ana: number): number {
  return ana === AnaStateCode.OPTIMIZED ? 1 : ana === AnaStateCode.NON_OPTIMIZED ? 2 : Infinity;
}

/** Checks the spread of a queue over paths that did not change, whose devices and networks are alike. */
export function checkSpread(policy: string, { commands, ana }: Spread): void {
  const best = Math.min(...ana.map(rank));
  const words = `${commands.join(", ")} commands to paths 0 to ${commands.length - 1}`;
  commands.forEach((count, path) => {
    if (count === 0 || rank(ana[path]) === best) return;
    throw new Violation("spread", `${policy}: ${words}, though path ${path} is not one of the best`);
  });
  const broken = PROMISES[policy]?.(commands.filter((_, path) => rank(ana[path]) === best)) ?? null;
  if (broken !== null) throw new Violation("spread", `${policy}: ${words}, though ${broken}`);
}
