/** Variants that are broken on purpose: each has to be caught, or the simulator proves nothing. */
import { assert } from "@std/assert";
import { runSeed, type SeedResult } from "./runner.ts";
import type { Broken, Scenario } from "./scenario.ts";
import { NO_DIGESTS } from "../../src/nvme_host/transfer.ts";
import { POLICY_NAMES, type PolicyName } from "../../src/multipath/policy_names.ts";
import { checkSpread } from "./spread.ts";
import { type Checker, Violation } from "./violation.ts";
import { AnaStateCode } from "../../src/protocol/nvme_log.ts";

/** A broken variant, and what notices it. */
interface Canary {
  readonly name: string;
  readonly broken: Broken;
  readonly caughtBy: readonly Checker[];
  /** What makes it likely that the fault is met. */
  readonly fixed?: Partial<Scenario>;
}

const SEEDS_MAX = 60;

/** Reads that take longer than a millisecond are sent twice. */
const HEDGING: Partial<Scenario> = {
  policies: [{ fromIo: 0, policy: "round-robin", weights: [1, 1, 1, 1], preferred: -1, hedge: 1 }],
  iosPerFault: 50,
};

/** Commands and events of the admin queue fail often. */
const ADMIN: Partial<Scenario> = { hasAdminFaults: true, iosPerFault: 100 };

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
  {
    name: "the network changes data, and nobody asked for digests",
    broken: { changesBareData: true },
    caughtBy: ["data", "torn"],
    fixed: { digests: NO_DIGESTS },
  },
  {
    name: "a pause of a worker is held against its commands",
    broken: { blamesPauses: true },
    caughtBy: ["progress", "spread"],
    fixed: { kind: "calm" },
  },
  { name: "a command may take as long as it likes", broken: { hasNoIoTimeout: true }, caughtBy: ["deadline"] },
  {
    name: "a request waits for a path without end",
    broken: { hasNoPathTimeout: true },
    caughtBy: ["deadline"],
    fixed: { noPathTimeoutMs: 2_000 },
  },
  {
    name: "a queue without a link waits, though a neighbour has one",
    broken: { hasNoHelpers: true },
    caughtBy: ["progress", "deadline", "errno"],
    fixed: { queues: 4, ioQueuesMax: 1, paths: 2, latencyMs: [0.1, 0.1] },
  },
  {
    name: "a refused request is repeated without end",
    broken: { neverGivesUp: true },
    caughtBy: ["progress"],
    fixed: { noPathTimeoutMs: -1, keepAliveMs: 5_000, writeHoldMs: 5_000, connectTimeoutMs: 5_000, iosPerFault: 50 },
  },
  {
    name: "both copies of a read go to the request's buffer",
    broken: { sharesHedgeBuffer: true },
    caughtBy: ["data", "torn", "buffer"],
    fixed: HEDGING,
  },
  {
    name: "the loser of two copies goes on writing into the request's buffer",
    broken: { neverRedirects: true },
    caughtBy: ["data", "torn", "buffer"],
    fixed: HEDGING,
  },
  { name: "another size is not taken over", broken: { ignoresSize: true }, caughtBy: ["progress"] },
  {
    name: "an event request that ended with an error is not made again",
    broken: { neverAsksAgain: true },
    caughtBy: ["progress"],
    fixed: ADMIN,
  },
  {
    name: "a namespace that could not be read is taken for one that is gone",
    broken: { takesFailuresForGone: true },
    caughtBy: ["identity"],
    fixed: ADMIN,
  },
  { name: "a request fails for no reason", broken: { failsOneIn: 2_000 }, caughtBy: ["errno"] },
  {
    name: "command slots are not used again",
    broken: { leaksSlotsOneIn: 1_000 },
    caughtBy: ["leak"],
    fixed: { ioTimeoutMs: 3_600_000, iosPerFault: 1_000_000 },
  },
  { name: "sockets of lost links stay open", broken: { leaksSockets: true }, caughtBy: ["leak"] },
  { name: "a target tears a block", broken: { store: { tearsOneIn: 2_000 } }, caughtBy: ["torn"] },
  { name: "a target acknowledges a write and loses it", broken: { store: { losesOneIn: 2_000 } }, caughtBy: ["data"] },
];

/** Each policy is not what the workers go by, though it was set. */
function lostPolicy(policy: PolicyName): Canary {
  const others = { "round-robin": "weighted", "weighted": "round-robin" } as const;
  const before = policy === "weighted" || policy === "round-robin" ? others[policy] : "round-robin";
  const weights = [1, 7, 3, 2];
  return {
    name: `"${policy}" is set, and the workers go on with "${before}"`,
    broken: { losesPolicy: true },
    caughtBy: ["spread"],
    fixed: {
      policies: [{ fromIo: 0, policy: before, weights, preferred: 1, hedge: 0 }, {
        fromIo: 2_000,
        policy,
        weights,
        preferred: 1,
        hedge: 0,
      }],
    },
  };
}

for (const { name, broken, caughtBy, fixed = {} } of [...CANARIES, ...POLICY_NAMES.map(lostPolicy)]) {
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
  const isCaught = (policy: PolicyName, commands: number[], ana: number[], weights = [1, 1]) => {
    try {
      checkSpread({ policy, weights }, { commands, ana });
      return false;
    } catch (error) {
      return error instanceof Violation;
    }
  };
  assert(!isCaught("round-robin", [5000, 5003], [OPTIMIZED, OPTIMIZED]));
  assert(isCaught("round-robin", [5000, 4000], [OPTIMIZED, OPTIMIZED]));
  assert(!isCaught("weighted", [7500, 2503], [OPTIMIZED, OPTIMIZED], [3, 1]));
  assert(isCaught("weighted", [7500, 2503], [OPTIMIZED, OPTIMIZED], [1, 1]));
  assert(!isCaught("queue-depth", [5000, 4000], [OPTIMIZED, OPTIMIZED]));
  assert(isCaught("queue-depth", [5000, 2000], [OPTIMIZED, OPTIMIZED]));
  for (const policy of POLICY_NAMES) {
    assert(isCaught(policy, [5000, 1], [OPTIMIZED, NON_OPTIMIZED]));
    assert(!isCaught(policy, [5000, 0], [OPTIMIZED, NON_OPTIMIZED]));
  }
});
