import type { SeedResult } from "./runner.ts";
import type { ScenarioOptions } from "./scenario.ts";

/** What a worker is told. */
export interface SeedOrder {
  readonly seed: number;
  readonly options: ScenarioOptions;
}

/** Sums over many seeds. */
export interface SeedSums {
  seeds: number;
  ios: number;
  failedIos: number;
  faults: number;
  digestErrors: number;
  hedges: number;
  hedgesWon: number;
  handed: number;
  simulatedMs: number;
  /** Seeds that failed, in rising order. */
  failures: SeedResult[];
}

/** Seeds that fail before no more are begun. */
const FAILURES_MAX = 10;
/** More workers than that gain nothing on the machines that run this. */
const WORKERS_MAX = 4;

/** Runs `count` seeds from `first` on, on as many threads as there are processors; ends early when many fail. */
export async function runSeeds(
  { first, count, workers = Math.min(navigator.hardwareConcurrency, WORKERS_MAX), ...options }: {
    first: number;
    count: number;
    workers?: number;
  } & ScenarioOptions,
  onResult: (sums: SeedSums) => void = () => {},
): Promise<SeedSums> {
  const sums: SeedSums = {
    ...{
      seeds: 0,
      ios: 0,
      failedIos: 0,
      faults: 0,
      digestErrors: 0,
      hedges: 0,
      hedgesWon: 0,
      handed: 0,
      simulatedMs: 0,
    },
    failures: [],
  };
  let next = first;
  const order = (): SeedOrder | null => {
    if (next >= first + count || sums.failures.length >= FAILURES_MAX) return null;
    return { seed: next++, options };
  };
  const take = (result: SeedResult) => {
    add(sums, result);
    onResult(sums);
  };
  await Promise.all(Array.from({ length: Math.min(workers, count) }, () => runWorker(order, take)));
  sums.failures.sort((a, b) => a.seed - b.seed);
  return sums;
}

async function runWorker(order: () => SeedOrder | null, take: (result: SeedResult) => void): Promise<void> {
  const worker = new Worker(new URL("./worker.ts", import.meta.url), { type: "module" });
  const { promise, resolve, reject } = Promise.withResolvers<void>();
  const goOn = () => {
    const next = order();
    if (next === null) resolve();
    else worker.postMessage(next);
  };
  worker.onmessage = ({ data }: MessageEvent<SeedResult>) => {
    take(data);
    goOn();
  };
  worker.onerror = (event) => {
    event.preventDefault();
    reject(new Error(`A worker of the simulator failed: ${event.message}`));
  };
  goOn();
  try {
    await promise;
  } finally {
    worker.terminate();
  }
}

function add(sums: SeedSums, result: SeedResult): void {
  sums.seeds++;
  sums.ios += result.ios;
  sums.failedIos += result.failed;
  sums.faults += result.faults;
  sums.digestErrors += result.digestErrors;
  sums.hedges += result.hedges.sent;
  sums.hedgesWon += result.hedges.won;
  sums.handed += result.handed;
  sums.simulatedMs += result.simulatedMs;
  if (result.failure !== null) sums.failures.push(result);
}

/** "1000 seeds: 10000000 requests, 5012 of them failed as they may, 33000 faults, 800 wrong digests, 25000 reads sent twice, 9.1 hours simulated". */
export function sumsWords(sums: SeedSums): string {
  const hours = (sums.simulatedMs / 3_600_000).toFixed(1);
  return `${sums.seeds} seeds: ${sums.ios} requests, ${sums.failedIos} of them failed as they may, ` +
    `${sums.faults} faults, ${sums.digestErrors} wrong digests, ${sums.hedges} reads sent twice, ${hours} hours simulated`;
}
