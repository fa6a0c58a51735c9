import { mixSeed, Prng } from "../../src/base/prng.ts";
import type { PolicyName } from "../../src/multipath/policy_names.ts";
import type { Digests } from "../../src/nvme_host/connection.ts";
import { NO_DIGESTS } from "../../src/nvme_host/transfer.ts";
import { drawHedges, drawPolicies, type PolicySetting, policyWords } from "./policy_plan.ts";
import type { BrokenStore } from "./store.ts";

/**
 * "safety": faults never stop, and nothing wrong happens. "liveness": faults stop halfway, and from then on everything
 * goes well. "calm": no faults at all; what is looked at is the spread over the paths.
 */
export type ScenarioKind = "safety" | "liveness" | "calm";

/** What is broken on purpose, to prove that it is noticed. */
export interface Broken {
  readonly store?: BrokenStore;
  /** Writes on a lost path go elsewhere at once. */
  readonly hasNoHold?: boolean;
  /** A lost controller is taken for reset before it says so. */
  readonly isResetBlind?: boolean;
  /** A lost path gives its buffers back while the kernel still has them. */
  readonly isHasty?: boolean;
  /** A change of the policy does not reach the workers. */
  readonly losesPolicy?: boolean;
  /** The network changes data that no digest covers. */
  readonly changesBareData?: boolean;
  /** A pause of a worker is held against the commands that wait meanwhile. */
  readonly blamesPauses?: boolean;
  /** Commands may take as long as they like. */
  readonly hasNoIoTimeout?: boolean;
  /** Requests wait for a path as long as it takes. */
  readonly hasNoPathTimeout?: boolean;
  /** A queue without a link waits for one, though a neighbour has one. */
  readonly hasNoHelpers?: boolean;
  /** A request that was refused too often is begun anew. */
  readonly neverGivesUp?: boolean;
  /** Both copies of a read that is sent twice go to the buffer of the request. */
  readonly sharesHedgeBuffer?: boolean;
  /** The original of a read that was sent twice goes on to where it went, though the read is answered. */
  readonly neverRedirects?: boolean;
  /** Another size of the namespace is not taken over. */
  readonly ignoresSize?: boolean;
  /** An event request that ended with an error is not made again. */
  readonly neverAsksAgain?: boolean;
  /** A namespace that could not be read is taken for one that is gone. */
  readonly takesFailuresForGone?: boolean;
  /** Sockets of lost links stay open. */
  readonly leaksSockets?: boolean;
  /** One of so many requests is answered twice. */
  readonly answersTwiceOneIn?: number;
  /** One of so many requests fails that did not. */
  readonly failsOneIn?: number;
  /** One of so many command slots is not used again. */
  readonly leaksSlotsOneIn?: number;
  /** One of so many requests is never answered. */
  readonly forgetsOneIn?: number;
}

/** Everything about a run that is decided before it begins. */
export interface Scenario {
  readonly seed: number;
  readonly kind: ScenarioKind;
  readonly ios: number;
  /** The policy that it begins with, and what it is changed to under load. */
  readonly policies: readonly PolicySetting[];
  readonly paths: number;
  /** All portals belong to one target, or each to one of its own over the same storage. */
  readonly isOneTarget: boolean;
  readonly digests: Digests;
  readonly queues: number;
  /** I/O queues that a controller grants. */
  readonly ioQueuesMax: number;
  readonly depth: number;
  readonly connectionDepth: number;
  readonly blockSize: number;
  readonly blocks: number;
  readonly firstLba: number;
  readonly requestBytes: number;
  readonly transferBytesMax: number;
  readonly inCapsuleBytes: number;
  readonly receiveBytes: number;
  readonly turnMs: number;
  /** Messages between the main thread and workers take so long. */
  readonly mailMs: number;
  readonly manners: { readonly sendDelayMs: number; readonly quietMs: number };
  readonly latencyMs: readonly number[];
  readonly mediumMs: number;
  /** Requests of any size; the others are small. */
  readonly largeIn100: number;
  readonly keepAliveMs: number;
  readonly ioTimeoutMs: number;
  readonly noPathTimeoutMs: number;
  readonly writeHoldMs: number;
  readonly connectTimeoutMs: number;
  readonly reconnectDelayMs: number;
  readonly reconnectDelayMsMax: number;
  /** I/Os between two faults, on average. */
  readonly iosPerFault: number;
  /** Some commands are answered with errors that go up to the application. */
  readonly hasHardErrors: boolean;
  /** Admin commands fail, events are lost, and targets differ in the size that they show. */
  readonly hasAdminFaults: boolean;
  readonly broken: Broken;
}

/** What may be said of a run beforehand; the rest follows from the seed. */
export interface ScenarioOptions {
  readonly ios?: number;
  readonly kind?: ScenarioKind;
  readonly policy?: PolicyName;
  readonly broken?: Broken;
  /** What is to be so whatever the seed says. */
  readonly fixed?: Partial<Scenario>;
}

function pick<T>(prng: Prng, choices: readonly T[]): T {
  return choices[prng.below(choices.length)];
}

const DIGESTS: readonly Digests[] = [
  NO_DIGESTS,
  NO_DIGESTS,
  { header: true, data: false },
  { header: false, data: true },
  { header: true, data: true },
  { header: true, data: true },
];

export const IOS_DEFAULT = 10_000;

/** In one seed of three there are more workers than a controller has I/O queues for. */
function drawQueues(prng: Prng, usual: number): Pick<Scenario, "queues" | "ioQueuesMax"> {
  if (prng.below(3) > 0) return { queues: usual, ioQueuesMax: usual };
  const queues = 2 + prng.below(3);
  return { queues, ioQueuesMax: 1 + prng.below(queues - 1) };
}

/** The scenario of a seed. */
export function scenarioOf(seed: number, options: ScenarioOptions = {}): Scenario {
  const prng = new Prng(mixSeed(seed));
  const kind = pick<ScenarioKind>(prng, ["safety", "safety", "liveness", "liveness", "liveness", "calm"]);
  // A stream of its own, so that what is drawn from it leaves the rest of the seed as it was.
  const more = new Prng(mixSeed(mixSeed(seed) + 1));
  const hedging = new Prng(mixSeed(mixSeed(seed) + 2));
  const few = new Prng(mixSeed(mixSeed(seed) + 3));
  const blockSize = pick(prng, [512, 512, 512, 4096]);
  const depth = pick(prng, [4, 16, 16, 32]);
  const paths = 2 + prng.below(3);
  const keepAliveMs = pick(prng, [1_000, 2_000, 5_000]);
  const transferBytesMax = pick(prng, [8_192, 8_192, 16_384, 32_768]);
  const reconnectDelayMs = pick(prng, [10, 100, 250]);
  const sendDelayMs = pick(prng, [0, 0, 0, 0.2]);
  const hasHardErrors = prng.below(4) === 0;
  const blocks = pick(prng, [48, 128, 512]);
  const scenario: Scenario = {
    seed,
    kind: options.kind ?? kind,
    ios: options.ios ?? IOS_DEFAULT,
    policies: drawHedges(
      hedging,
      drawPolicies(more, { paths, ios: options.ios ?? IOS_DEFAULT, policy: options.policy }),
    ),
    paths,
    isOneTarget: prng.below(3) === 0,
    digests: pick(more, DIGESTS),
    ...drawQueues(few, 1 + prng.below(2)),
    depth,
    connectionDepth: pick(prng, [3, depth, depth]),
    blockSize,
    blocks: blockSize === 4096 ? blocks / 2 : blocks,
    // Around the carry from the low to the high half of an LBA, or from the first one on.
    firstLba: pick(prng, [0, 2 ** 32 - 20]),
    requestBytes: pick(prng, [16_384, 32_768]),
    transferBytesMax,
    inCapsuleBytes: pick(prng, [0, 512, 4_096]),
    receiveBytes: pick(prng, [1_024, 8_192, 65_536]),
    turnMs: pick(prng, [0, 0.005, 0.02]),
    mailMs: pick(prng, [0, 0.1, 2]),
    manners: { sendDelayMs, quietMs: pick(prng, [0.1, 5, 50]) },
    latencyMs: Array.from({ length: paths }, () => pick(prng, [0.05, 0.1, 0.3, 2])),
    mediumMs: pick(prng, [0, 0.1, 1]),
    largeIn100: pick(prng, [2, 2, 2, 20]),
    keepAliveMs,
    ioTimeoutMs: pick(prng, [1_500, 4_000, 30_000]),
    noPathTimeoutMs: pick(prng, [-1, 60_000, 2 * keepAliveMs]),
    writeHoldMs: options.broken?.hasNoHold === true ? 0 : keepAliveMs,
    connectTimeoutMs: pick(prng, [1_000, 5_000]),
    reconnectDelayMs,
    reconnectDelayMsMax: pick(prng, [reconnectDelayMs, 1_000, 5_000]),
    iosPerFault: pick(prng, [100, 200, 400, 1_000]),
    hasHardErrors,
    hasAdminFaults: new Prng(mixSeed(mixSeed(seed) + 4)).below(2) === 0,
    broken: options.broken ?? {},
    ...options.fixed,
  };
  return scenario.kind === "calm" ? calmed(scenario) : scenario;
}

/**
 * A spread can be promised where paths are alike, every worker has a link of each and no read is sent twice; that by weights only where the heaviest is
 * never full.
 */
function calmed(scenario: Scenario): Scenario {
  const isWeighted = scenario.policies.some(({ policy }) => policy === "weighted");
  const commandsMax = scenario.depth * Math.ceil(scenario.requestBytes / scenario.transferBytesMax);
  return {
    ...scenario,
    policies: scenario.policies.map((setting) => ({ ...setting, hedge: 0 })),
    latencyMs: scenario.latencyMs.map(() => 0.1),
    ioQueuesMax: scenario.queues,
    hasHardErrors: false,
    connectionDepth: isWeighted ? commandsMax : scenario.connectionDepth,
  };
}

/** The scenario in a line, for people. */
export function scenarioWords(scenario: Scenario): string {
  const {
    kind,
    policies,
    digests,
    paths,
    queues,
    ioQueuesMax,
    depth,
    blockSize,
    keepAliveMs,
    ioTimeoutMs,
    noPathTimeoutMs,
    writeHoldMs,
    hasAdminFaults,
  } = scenario;
  const policy = policies.map((one) => `${policyWords(one)} from request ${one.fromIo} on`).join("; ");
  return `${kind}, ${policy}; ${paths} paths on ${scenario.isOneTarget ? "one target" : "targets of their own"}, ` +
    `${digestWords(digests)}, ${
      hasAdminFaults ? "faults of the admin side, " : ""
    }${queues} × ${depth} tags, ${ioQueuesMax} I/O queues, blocks of ${blockSize}, keep-alive ${keepAliveMs}, io-timeout ${ioTimeoutMs}, ` +
    `no-path-timeout ${noPathTimeoutMs}, write-hold ${writeHoldMs} ms`;
}

function digestWords({ header, data }: Digests): string {
  return header && data ? "both digests" : header ? "header digests" : data ? "data digests" : "no digests";
}
