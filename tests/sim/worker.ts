/// <reference lib="webworker" />
import { runSeed } from "./runner.ts";
import type { SeedOrder } from "./seed_runs.ts";

/** Runs the seeds that it is given, one after the other. */
self.onmessage = ({ data }: MessageEvent<SeedOrder>) => {
  self.postMessage(runSeed(data.seed, data.options));
};
