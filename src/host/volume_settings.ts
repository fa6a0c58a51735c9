import type { PathTable } from "../multipath/path_table.ts";
import type { PolicyName } from "../multipath/policy_names.ts";
import type { Timeouts } from "./api.ts";
import { fillTimeouts } from "./defaults.ts";
import type { SlowPathMode } from "./latency_settings.ts";

/** Settings that somebody has named. */
export interface NamedSettings {
  policy: PolicyName;
  slowPath: SlowPathMode;
  timeouts: Partial<Timeouts>;
}

/** What can be changed of a volume while it runs, besides its paths. The workers read it in the path table. */
export class VolumeSettings {
  readonly #table: PathTable;
  #policy: PolicyName;
  #slowPath: SlowPathMode;
  /** The times that somebody has named: the others follow from them. */
  #named: Partial<Timeouts>;
  #timeouts: Timeouts;
  /** The longest keep-alive time that one of the volume's controllers may still go by. */
  #keptAliveMs = 0;

  /** @throws UmpathError "usage" if two times contradict each other. */
  constructor(table: PathTable, { policy, slowPath, timeouts }: NamedSettings) {
    this.#table = table;
    this.#policy = policy;
    this.#slowPath = slowPath;
    this.#named = timeouts;
    this.#timeouts = fillTimeouts(timeouts);
    this.#tell();
  }

  get policy(): PolicyName {
    return this.#policy;
  }

  get slowPath(): SlowPathMode {
    return this.#slowPath;
  }

  get timeouts(): Timeouts {
    return this.#timeouts;
  }

  /**
   * Changes what is named, all of it or nothing.
   *
   * @throws UmpathError "usage" if a time contradicts another one.
   */
  change({ policy, slowPath, timeouts }: Partial<NamedSettings>): void {
    const named = { ...this.#named, ...timeouts };
    this.#timeouts = fillTimeouts(named, { prefix: "" });
    this.#named = named;
    this.#policy = policy ?? this.#policy;
    this.#slowPath = slowPath ?? this.#slowPath;
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
