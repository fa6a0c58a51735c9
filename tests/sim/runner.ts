import { scenarioOf, type ScenarioOptions, scenarioWords } from "./scenario.ts";
import { Trace } from "./trace.ts";
import { type Checker, Violation } from "./violation.ts";
import { World } from "./world.ts";

/** How a seed ended. */
export interface SeedResult {
  readonly seed: number;
  /** What was violated, and how; null if nothing was. */
  readonly failure: { readonly checker: Checker; readonly words: string } | null;
  readonly ios: number;
  readonly failed: number;
  readonly faults: number;
  readonly digestErrors: number;
  /** Reads that were sent twice, and those of them that the second copy has answered. */
  readonly hedges: { readonly sent: number; readonly won: number };
  /** Requests that were handed over. */
  readonly handed: number;
  readonly events: number;
  readonly simulatedMs: number;
  readonly longestMs: number;
  readonly trace: readonly string[];
}

export interface RunOptions extends ScenarioOptions {
  /** Keep the last lines of a trace; or print every line. */
  readonly trace?: "none" | "keep" | "print";
}

/** Runs one seed to its end. */
export function runSeed(seed: number, options: RunOptions = {}): SeedResult {
  const { trace = "none" } = options;
  const print = trace === "print" ? console.log : null;
  const world = new World(scenarioOf(seed, options), trace === "none" ? null : (nowMs) => new Trace(nowMs, print));
  let failure: SeedResult["failure"] = null;
  try {
    world.run();
  } catch (error) {
    failure = failureOf(error, trace !== "none");
  }
  return {
    seed,
    failure,
    ios: world.workload.done,
    failed: world.workload.failed,
    faults: world.faultsBegun,
    digestErrors: world.digestErrors,
    hedges: world.hedges,
    handed: world.handed,
    events: world.clock.events,
    simulatedMs: world.clock.nowMs,
    longestMs: world.workload.longestMs,
    trace: world.traceLines,
  };
}

function failureOf(error: unknown, withStack: boolean): NonNullable<SeedResult["failure"]> {
  if (error instanceof Violation) return { checker: error.checker, words: error.message };
  const words = error instanceof Error
    ? (withStack ? error.stack ?? error.message : `${error.name}: ${error.message}`)
    : String(error);
  return { checker: "assertion", words };
}

/** What a failing seed has to say: what went wrong, what led to it, and how to see it again. */
export function failureWords(seed: number, options: ScenarioOptions = {}): string {
  const { failure, trace } = runSeed(seed, { ...options, trace: "keep" });
  const scenario = scenarioOf(seed, options);
  return [
    ...trace,
    `seed ${seed}: ${scenarioWords(scenario)}`,
    `seed ${seed}: ${failure === null ? "does not fail again" : `${failure.checker}: ${failure.words}`}`,
    `Again: deno task sim -- --seeds 1 --first-seed ${seed}${options.ios === undefined ? "" : ` --ios ${options.ios}`}${
      options.policy === undefined ? "" : ` --policy ${options.policy}`
    } --trace`,
  ].join("\n");
}
