import { LeastCost } from "./least_cost.ts";
import type { Candidates } from "./policy.ts";

/** The path with the fewest commands in flight: what answers sooner gets more. */
export class QueueDepth extends LeastCost {
  readonly name = "queue-depth";

  constructor() {
    super({ cheaper: 1 });
  }

  protected cost(candidates: Candidates, path: number): number {
    return candidates.inFlight(path);
  }
}
