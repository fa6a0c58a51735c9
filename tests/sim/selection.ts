import { PATHS_MAX } from "../../src/base/limits.ts";
import type { Candidates } from "../../src/multipath/policy.ts";
import type { PolicyName } from "../../src/multipath/policy_names.ts";
import type { PolicySetting } from "./policy_plan.ts";
import { Violation } from "./violation.ts";

/** Paths whose next answers are expected within so much of each other are alike. */
const ALIKE = 7 / 8;
/** A path that has not been used for so long may be looked at, though it is not expected to be the best. */
const LOOK_MS = 1000;
/** A weighted path is so many commands away from its due share at most, however long the share has been due. */
const LAG_MAX = 4;

/** The choice of a path for one command, at the moment before it is sent. */
interface Choice {
  readonly path: number;
  /** The paths that could take it: of the best rank, with room. */
  readonly open: readonly number[];
  /** The paths of the best rank, full or not. */
  readonly best: readonly number[];
  readonly setting: PolicySetting;
}

/**
 * Checks for each command of a queue that its path is one that the policy in force promises. The policies are judged by
 * what they say in docs/policies.md, not by how they get there.
 */
export class SelectionCheck {
  readonly #candidates: Candidates;
  readonly #setting: () => PolicySetting;
  readonly #promises: Readonly<Record<PolicyName, (choice: Choice) => string | null>>;
  /** The path that was used in turn last. */
  #last = -1;
  /** Of each path, how many commands it is behind its share since the open paths and their weights are what they are. */
  readonly #lag = new Float64Array(PATHS_MAX);
  #shared = "";
  /** Commands that were looked at. */
  checked = 0;

  constructor(candidates: Candidates, setting: () => PolicySetting) {
    this.#candidates = candidates;
    this.#setting = setting;
    this.#promises = {
      "round-robin": (choice) => this.#inTurn(choice),
      "queue-depth": (choice) => this.#leastInFlight(choice),
      "service-time": (choice) => this.#soonest(choice),
      "active-passive": (choice) => this.#onlyOne(choice),
      "weighted": (choice) => this.#byWeight(choice),
    };
  }

  /** A command is about to be sent on `path`. */
  check(path: number): void {
    const candidates = this.#candidates;
    const setting = this.#setting();
    const ranked = Array.from({ length: candidates.paths }, (_, index) => index)
      .filter((index) => candidates.rank(index) > 0);
    const rank = Math.min(...ranked.map((index) => candidates.rank(index)));
    const best = ranked.filter((index) => candidates.rank(index) === rank);
    const open = best.filter((index) => candidates.room(index) > 0);
    this.checked++;
    const broken = !best.includes(path)
      ? "it is not one of the best"
      : !open.includes(path)
      ? "it is full"
      : this.#promises[setting.policy]({ path, open, best, setting });
    if (broken === null) return;
    throw new Violation(
      "spread",
      `${setting.policy}: a command goes to path ${path} of ${open.join(", ")}, though ${broken}`,
    );
  }

  /** The second copy of a read is about to be sent on `path`: no policy says where to, but it has to be usable. */
  checkCopy(path: number): void {
    const candidates = this.#candidates;
    if (candidates.rank(path) > 0 && candidates.room(path) > 0) return;
    throw new Violation("spread", `The copy of a read goes to path ${path}, which does not take it`);
  }

  /** The next one after the path that was used last. */
  #inTurn({ path, open }: Choice): string | null {
    const next = open.find((index) => index > this.#last) ?? open[0];
    this.#last = path;
    return path === next ? null : `it is the turn of path ${next}`;
  }

  #leastInFlight({ path, open }: Choice): string | null {
    const candidates = this.#candidates;
    const least = Math.min(...open.map((index) => candidates.inFlight(index)));
    const inFlight = candidates.inFlight(path);
    return inFlight === least ? null : `it has ${inFlight} commands in flight and another one ${least}`;
  }

  #soonest({ path, open }: Choice): string | null {
    const candidates = this.#candidates;
    const least = Math.min(...open.map((index) => candidates.expectedMs(index)));
    const expectedMs = candidates.expectedMs(path);
    if (expectedMs * ALIKE <= least || candidates.nowMs - candidates.lastUsedMs(path) >= LOOK_MS) return null;
    return `its answer is expected in ${expectedMs} ms and that of another one in ${least} ms`;
  }

  /** The preferred one, or that of the largest weight; if that is full, it is waited for. */
  #onlyOne({ path, best, setting: { preferred, weights } }: Choice): string | null {
    const heaviest = best.reduce((one, other) => weights[other] > weights[one] ? other : one);
    const active = best.includes(preferred) ? preferred : heaviest;
    return path === active ? null : `path ${active} is the active one`;
  }

  #byWeight({ path, open, setting: { weights } }: Choice): string | null {
    const lag = this.#lag;
    const shared = `${open.join()} ${weights.join()}`;
    if (shared !== this.#shared) lag.fill(0);
    this.#shared = shared;
    const total = open.reduce((sum, index) => sum + weights[index], 0);
    for (const index of open) lag[index] += weights[index] / total;
    lag[path]--;
    const wrong = open.find((index) => Math.abs(lag[index]) > LAG_MAX);
    return wrong === undefined
      ? null
      : `path ${wrong} is ${lag[wrong].toFixed(1)} commands behind what its weight says`;
  }
}
