/**
 * Runs the simulator: `deno task sim -- [--seeds N] [--first-seed S] [--ios N] [--policy NAME] [--trace]`.
 *
 * The exit code is 0 only if every seed passes. The last line names the number of seeds, or the first that fails.
 */
import { POLICY_NAMES, type PolicyName } from "../../src/multipath/policy_names.ts";
import { failureWords, runSeed } from "./runner.ts";
import { IOS_DEFAULT, type ScenarioOptions } from "./scenario.ts";
import { runSeeds, sumsWords } from "./seed_runs.ts";

const SEEDS_DEFAULT = 1_000;
const PROGRESS_MS = 10_000;

interface Words {
  seeds: number;
  first: number;
  isTraced: boolean;
  options: ScenarioOptions;
}

class UsageError extends Error {}

function numberAfter(args: string[], option: string): number {
  const word = args.shift() ?? "";
  if (!/^\d+$/.test(word)) throw new UsageError(`${option} takes a whole number, not "${word}"`);
  return Number(word);
}

function parse(words: readonly string[]): Words {
  const args = words.filter((word) => word !== "--");
  const parsed: Words = { seeds: SEEDS_DEFAULT, first: 1, isTraced: false, options: {} };
  for (let option = args.shift(); option !== undefined; option = args.shift()) {
    if (option === "--seeds") parsed.seeds = numberAfter(args, option);
    else if (option === "--first-seed") parsed.first = numberAfter(args, option);
    else if (option === "--ios") parsed.options = { ...parsed.options, ios: Math.max(numberAfter(args, option), 1) };
    else if (option === "--trace") parsed.isTraced = true;
    else if (option === "--policy") parsed.options = { ...parsed.options, policy: policyOf(args.shift() ?? "") };
    else throw new UsageError(`Unknown option "${option}"`);
  }
  return parsed;
}

function policyOf(word: string): PolicyName {
  const policy = POLICY_NAMES.find((name) => name === word);
  if (policy !== undefined) return policy;
  throw new UsageError(`Unknown policy "${word}": choose from ${POLICY_NAMES.join(", ")}`);
}

function trace(seed: number, options: ScenarioOptions): number {
  const { failure, ios } = runSeed(seed, { ...options, trace: "print" });
  console.log(failure === null ? `seed ${seed} passes: ${ios} requests` : `seed ${seed} fails: ${failure.words}`);
  return failure === null ? 0 : 1;
}

async function main(): Promise<number> {
  const { seeds, first, isTraced, options } = parse(Deno.args);
  if (isTraced) return trace(first, options);
  let toldMs = performance.now();
  let told = 0;
  const sums = await runSeeds({ first, count: seeds, ...options }, (sofar) => {
    for (const { seed, failure } of sofar.failures.slice(told)) console.log(`seed ${seed} fails: ${failure!.words}`);
    told = sofar.failures.length;
    if (performance.now() - toldMs < PROGRESS_MS) return;
    toldMs = performance.now();
    console.log(`… ${sofar.seeds} seeds`);
  });
  const [failed] = sums.failures;
  if (failed === undefined) {
    console.log(`${options.ios ?? IOS_DEFAULT} requests a seed; ${sumsWords(sums)}`);
    console.log(`${sums.seeds} seeds pass`);
    return sums.seeds === seeds && seeds > 0 ? 0 : 1;
  }
  console.log(failureWords(failed.seed, options));
  console.log(`seed ${failed.seed} fails: ${failed.failure!.words}`);
  return 1;
}

try {
  Deno.exit(await main());
} catch (error) {
  if (!(error instanceof UsageError)) throw error;
  console.error(`sim: ${error.message}`);
  Deno.exit(2);
}
