import type { Prng } from "../../src/base/prng.ts";
import type { PathTable } from "../../src/multipath/path_table.ts";
import { POLICY_NAMES, type PolicyName, WEIGHT_DEFAULT } from "../../src/multipath/policy_names.ts";

/** What a volume is told about the use of its paths, and from which request on. */
export interface PolicySetting {
  readonly fromIo: number;
  readonly policy: PolicyName;
  /** By path. */
  readonly weights: readonly number[];
  /** -1: none. */
  readonly preferred: number;
  /** When reads are sent again, as the path table has it: 0 for never. */
  readonly hedge: number;
}

const CHANGES_MAX = 4;
const WEIGHTS = [WEIGHT_DEFAULT, 1, 2, 3, 7];
/** Milliseconds, and percentiles in thousandths below zero. */
const HEDGES = [0, 1, 3, 10, 50, -90_000, -99_000];

/** Draws what a volume begins with, and in every other seed some changes under load. `policy` is what it keeps to. */
export function drawPolicies(
  prng: Prng,
  { paths, ios, policy }: { paths: number; ios: number; policy: PolicyName | undefined },
): PolicySetting[] {
  const changes = prng.below(2) * (1 + prng.below(CHANGES_MAX));
  const draw = (fromIo: number): PolicySetting => ({
    fromIo,
    policy: policy ?? POLICY_NAMES[prng.below(POLICY_NAMES.length)],
    weights: Array.from({ length: paths }, () => WEIGHTS[prng.below(WEIGHTS.length)]),
    preferred: prng.below(paths + 1) - 1,
    hedge: 0,
  });
  const froms = Array.from({ length: changes }, () => 2 + prng.below(ios)).sort((a, b) => a - b);
  return [draw(0), ...froms.map(draw)];
}

/** In one seed of three reads are sent again: that comes and goes with the policies. */
export function drawHedges(prng: Prng, settings: readonly PolicySetting[]): PolicySetting[] {
  if (prng.below(3) > 0) return [...settings];
  const first = 1 + prng.below(HEDGES.length - 1);
  return settings.map((setting, i) => ({ ...setting, hedge: HEDGES[i === 0 ? first : prng.below(HEDGES.length)] }));
}

/** The setting in words, for people. */
export function policyWords({ policy, weights, preferred, hedge }: PolicySetting): string {
  const hedging = hedge === 0 ? "" : hedge > 0 ? `, hedges after ${hedge} ms` : `, hedges from p${-hedge / 1000}`;
  return `${policy}, weights ${weights.join(":")}, ${
    preferred < 0 ? "no path" : `path ${preferred}`
  } preferred${hedging}`;
}

/** Tells the path table what is due, as the main thread does on `set`: a word after the other, while workers go on. */
export class PolicyPlan {
  readonly #settings: readonly PolicySetting[];
  readonly #table: PathTable;
  readonly #isLost: boolean;
  #index = 0;

  /** With `isLost` the table is told of the first setting only: broken on purpose. */
  constructor(settings: readonly PolicySetting[], options: { table: PathTable; isLost: boolean }) {
    this.#settings = settings;
    this.#table = options.table;
    this.#isLost = options.isLost;
    this.#tell(settings[0]);
  }

  get current(): PolicySetting {
    return this.#settings[this.#index];
  }

  /** The setting that begins with this request; null if none does. */
  dueAt(issued: number): PolicySetting | null {
    const next = this.#settings[this.#index + 1];
    return next !== undefined && issued >= next.fromIo ? next : null;
  }

  /** The next setting holds from now on. */
  advance(): void {
    this.#index++;
    if (!this.#isLost) this.#tell(this.current);
  }

  #tell({ policy, weights, preferred, hedge }: PolicySetting): void {
    this.#table.setPolicy(policy);
    this.#table.setHedge(hedge);
    this.#table.setPreferred(preferred);
    weights.forEach((weight, path) => this.#table.setWeight(path, weight));
  }
}
