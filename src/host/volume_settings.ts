import type { PathTable } from "../multipath/path_table.ts";
import type { PolicyName } from "../multipath/policy_names.ts";
import type { Timeouts } from "./api.ts";
import { fillTimeouts } from "./defaults.ts";

/** What can be changed of a volume while it runs: its policy and its times. The workers read them in the path table. */
export class VolumeSettings {
  readonly #table: PathTable;
  #policy: PolicyName;
  /** The times that somebody has named: the others follow from them. */
  #named: Partial<Timeouts>;
  #timeouts: Timeouts;
  /** The longest keep-alive time that one of the volume's controllers may still go by. */
  #keptAliveMs = 0;

  /** @throws UmpathError "usage" if two times contradict each other. */
  constructor(table: PathTable, { policy, timeouts }: { policy: PolicyName; timeouts: Partial<Timeouts> }) {
    this.#table = table;
    this.#policy = policy;
    this.#named = timeouts;
    this.#timeouts = fillTimeouts(timeouts);
    this.#tell();
  }

  get policy(): PolicyName {
    return this.#policy;
  }

  get timeouts(): Timeouts {
    return this.#timeouts;
  }

  /**
   * Changes what is named, all of it or nothing.
   *
   * @throws UmpathError "usage" if a time contradicts another one.
   */
  change({ policy, timeouts }: { policy: PolicyName | null; timeouts: Partial<Timeouts> }): void {
    const named = { ...this.#named, ...timeouts };
    this.#timeouts = fillTimeouts(named, { prefix: "" });
    this.#named = named;
    this.#policy = policy ?? this.#policy;
    this.#tell();
  }

  /**
   * Says which keep-alive time the controllers go by. A controller that was told a longer one than holds now may execute
   * for so long after it was lost: unless somebody said otherwise, writes are held for it, too.
   */
  setKeptAlive(ms: number): void {
    this.#keptAliveMs = ms;
    this.#tell();
  }

  #tell(): void {
    const { ioTimeoutMs, noPathTimeoutMs, writeHoldMs } = this.#timeouts;
    const isHoldNamed = this.#named.writeHoldMs !== undefined;
    this.#table.setPolicy(this.#policy);
    this.#table.setTimeouts({
      ioTimeoutMs: ioTimeoutMs ?? -1,
      noPathTimeoutMs: noPathTimeoutMs ?? -1,
      writeHoldMs: isHoldNamed ? writeHoldMs ?? 0 : Math.max(writeHoldMs ?? 0, this.#keptAliveMs),
    });
  }
}
