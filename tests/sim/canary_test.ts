/** Variants that are broken on purpose: each has to be caught, or the simulator proves nothing. */
import { assert } from "@std/assert";
import { runSeed, type SeedResult } from "./runner.ts";
import type { Broken, Scenario } from "./scenario.ts";
import { checkSpread, PROMISES } from "./spread.ts";
import { type Checker, Violation } from "./violation.ts";
import { AnaStateCode } from "../../src/spec/nvme_log.ts";

/** A broken variant, and what notices it. */
interface Canary {
  readonly name: string;
  readonly broken: Broken;
  readonly caughtBy: readonly Checker[];
  /** What makes it likely that the fault is met. */
  readonly fixed?: Partial<Scenario>;
}

const SEEDS_MAX = 60;

const CANARIES: readonly Canary[] = [
  { name: "writes on a lost path go elsewhere at once", broken: { hasNoHold: true }, caughtBy: ["data"] },
  { name: "held writes go on before the reset is answered", broken: { isResetBlind: true }, caughtBy: ["data"] },
  {
    name: "buffers are used again before their socket is quiet",
    broken: { isHasty: true },
    caughtBy: ["data", "torn", "buffer"],
    // The kernel fills a buffer of its own accord only for data that is large.
    fixed: {
      ...{ requestBytes: 32_768, transferBytesMax: 32_768, receiveBytes: 1_024, largeIn100: 60, iosPerFault: 50 },
      manners: { sendDelayMs: 0, quietMs: 50 },
    },
  },
  { name: "a volume answers a request twice", broken: { answersTwiceOneIn: 2_000 }, caughtBy: ["assertion", "once"] },
  { name: "a volume never answers a request", broken: { forgetsOneIn: 5_000 }, caughtBy: ["progress", "deadline"] },
  { name: "a target tears a block", broken: { store: { tearsOneIn: 2_000 } }, caughtBy: ["torn"] },
  { name: "a target acknowledges a write and loses it", broken: { store: { losesOneIn: 2_000 } }, caughtBy: ["data"] },
];

for (const { name, broken, caughtBy, fixed = {} } of CANARIES) {
  Deno.test(`canary: ${name}`, () => {
    const caught: SeedResult["failure"][] = [];
    for (let seed = 1; seed <= SEEDS_MAX && caught.length === 0; seed++) {
      const { failure } = runSeed(seed, { kind: "safety", broken, fixed });
      if (failure !== null) caught.push(failure);
    }
    assert(caught.length > 0, `${SEEDS_MAX} seeds do not notice it`);
    assert(caughtBy.includes(caught[0]!.checker), `it is caught, but by "${caught[0]!.checker}": ${caught[0]!.words}`);
  });
}

Deno.test("canary: a policy that does not spread as it promises, or uses a path that is not one of the best", () => {
  const { OPTIMIZED, NON_OPTIMIZED } = AnaStateCode;
  const isCaught = (policy: string, commands: number[], ana: number[]) => {
    try {
      checkSpread(policy, { commands, ana });
      return false;
    } catch (error) {
      return error instanceof Violation;
    }
  };
  assert(!isCaught("round-robin", [5000, 5003], [OPTIMIZED, OPTIMIZED]));
  assert(isCaught("round-robin", [5000, 4000], [OPTIMIZED, OPTIMIZED]));
  for (const policy of [...Object.keys(PROMISES), "a policy without a promise"]) {
    assert(isCaught(policy, [5000, 1], [OPTIMIZED, NON_OPTIMIZED]));
    assert(!isCaught(policy, [5000, 0], [OPTIMIZED, NON_OPTIMIZED]));
  }
});
