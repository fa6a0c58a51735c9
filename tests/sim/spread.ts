import { type Counters, PathCounter } from "../../src/multipath/counters.ts";
import type { PathTable } from "../../src/multipath/path_table.ts";
import type { PolicyName } from "../../src/multipath/policy_names.ts";
import { AnaStateCode } from "../../src/protocol/nvme_log.ts";
import type { PolicySetting } from "./policy_plan.ts";
import { Violation } from "./violation.ts";

/** What one queue has sent to its paths. */
export interface Spread {
  /** Commands by path. */
  readonly commands: readonly number[];
  /** ANA states by path. */
  readonly ana: readonly number[];
}

/** What a policy promises of the shares of paths that are alike; null if it keeps it, otherwise why not. */
type Promise = (commands: readonly number[], weights: readonly number[]) => string | null;

/** Shares that differ by chance: so many commands, and so much of all of them. */
const SLACK_COMMANDS = 40;
const SLACK = 0.02;
/** Shares of paths that are alike do not differ by more where each command goes to whichever path is better just then. */
const UNEVEN_MAX = 2;

function isShared(commands: readonly number[], weights: readonly number[]): boolean {
  const total = sum(commands), weight = sum(weights);
  return commands.every((count, path) =>
    Math.abs(count - total * weights[path] / weight) <= SLACK_COMMANDS + SLACK * total
  );
}

function sum(values: readonly number[]): number {
  return values.reduce((total, value) => total + value, 0);
}

function isFair(commands: readonly number[]): boolean {
  return Math.max(...commands) <= UNEVEN_MAX * Math.min(...commands) + SLACK_COMMANDS;
}

/**
 * The promise of each policy over many commands, beside that for each one in `selection.ts`. One that is not named here
 * promises only what all do: that no path is used while a better one is there.
 */
const PROMISES: Readonly<Partial<Record<PolicyName, Promise>>> = {
  "round-robin": (commands) => isShared(commands, commands.map(() => 1)) ? null : "each path is used in turn",
  "weighted": (commands, weights) => isShared(commands, weights) ? null : `the weights are ${weights.join(":")}`,
  "queue-depth": (commands) => isFair(commands) ? null : "all paths are alike",
};

function rank(ana: number): number {
  return ana === AnaStateCode.OPTIMIZED ? 1 : ana === AnaStateCode.NON_OPTIMIZED ? 2 : Infinity;
}

/** Checks the spread of a queue over paths that did not change, whose devices and networks are alike. */
export function checkSpread(
  { policy, weights }: Pick<PolicySetting, "policy" | "weights">,
  { commands, ana }: Spread,
): void {
  const best = Math.min(...ana.map(rank));
  const words = `${commands.join(", ")} commands to paths 0 to ${commands.length - 1}`;
  commands.forEach((count, path) => {
    if (count === 0 || rank(ana[path]) === best) return;
    throw new Violation("spread", `${policy}: ${words}, though path ${path} is not one of the best`);
  });
  const isBest = (_: number, path: number) => rank(ana[path]) === best;
  const broken = PROMISES[policy]?.(commands.filter(isBest), weights.filter(isBest)) ?? null;
  if (broken !== null) throw new Violation("spread", `${policy}: ${words}, though ${broken}`);
}

/** Watches the spread of a volume whose paths do not change, from one setting of its policy to the next. */
export class SpreadWatch {
  readonly #table: PathTable;
  readonly #counters: readonly Counters[];
  readonly #paths: readonly number[];
  #before: number[][];

  constructor(table: PathTable, counters: readonly Counters[], paths: readonly number[]) {
    this.#table = table;
    this.#counters = counters;
    this.#paths = paths;
    this.#before = this.#sent();
  }

  /** Reads and writes that were sent, by queue and path; of those in flight a few others. */
  #sent(): number[][] {
    const { READS, WRITES, IN_FLIGHT } = PathCounter;
    return this.#counters.map((of) =>
      this.#paths.map((path) => sum([READS, WRITES, IN_FLIGHT].map((counter) => of.path(path, counter))))
    );
  }

  /** Checks what was sent since the last setting ended, or since the beginning. */
  endSetting(setting: PolicySetting): void {
    const ana = this.#paths.map((path) => this.#table.ana(path));
    const sent = this.#sent();
    sent.forEach((counts, queue) => {
      const commands = counts.map((count, path) => Math.max(count - this.#before[queue][path], 0));
      checkSpread(setting, { commands, ana });
    });
    this.#before = sent;
  }
}
