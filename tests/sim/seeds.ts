import type { ScenarioOptions } from "./scenario.ts";

/** A seed that has found something, and goes on being run for it. */
export interface NamedSeed {
  readonly name: string;
  readonly seed: number;
  readonly options?: ScenarioOptions;
}

/**
 * Seeds that failed once, each named after what it found. A change of the simulator gives a seed another meaning: the
 * unit test of the fix is what keeps the fault away, a seed here is run besides.
 */
export const NAMED_SEEDS: readonly NamedSeed[] = [
  {
    name: "the reset of a later controller released writes that were held for an earlier one",
    seed: 128,
    options: {
      kind: "safety",
      fixed: {
        ...{ paths: 2, latencyMs: [0.1, 0.1], iosPerFault: 50, blocks: 48, blockSize: 512, ioTimeoutMs: 30_000 },
        ...{ keepAliveMs: 5_000, writeHoldMs: 5_000, reconnectDelayMs: 10, reconnectDelayMsMax: 1_000 },
      },
    },
  },
  { name: "a resize between the read of the namespace and the configuration of events was never told", seed: 795 },
];
