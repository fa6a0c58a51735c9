import { logger } from "../../base/log.ts";
import { formatDuration } from "../../base/units.ts";
import type { PathTable } from "../../multipath/path_table.ts";
import type { PolicyName } from "../../multipath/policy_names.ts";
import { fillTimeouts, isHoldAuto, type NamedTimeouts, type Timeouts } from "../../settings/timeouts.ts";
import { type HedgeBudget, hedgeWord, type SlowPathMode } from "../../settings/latency_settings.ts";

const log = logger("volume");

/** Settings that somebody has named. */
export interface NamedSettings {
  policy: PolicyName;
  slowPath: SlowPathMode;
  hedgeReads: HedgeBudget;
  timeouts: NamedTimeouts;
}

/** What can be changed of a volume while it runs, besides its paths. The workers read it in the path table. */
export class VolumeSettings {
  readonly #table: PathTable;
  #policy: PolicyName;
  #slowPath: SlowPathMode;
  #hedgeReads: HedgeBudget;
  /** The times that somebody has named: the others follow from them. */
  #named: NamedTimeouts;
  #timeouts: Timeouts;
  /** The longest time that one of the volume's controllers may go on executing after its loss. */
  #lateExecutionMs = 0;

  /** @throws UmpathError "usage" if two times contradict each other. */
  constructor(table: PathTable, { policy, slowPath, hedgeReads, timeouts }: NamedSettings) {
    this.#table = table;
    this.#policy = policy;
    this.#slowPath = slowPath;
    this.#hedgeReads = hedgeReads;
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

  get hedgeReads(): HedgeBudget {
    return this.#hedgeReads;
  }

  /** What somebody has named, or changed since. */
  get named(): NamedSettings {
    return { policy: this.#policy, slowPath: this.#slowPath, hedgeReads: this.#hedgeReads, timeouts: this.#named };
  }

  /** All times, with the write hold that is in force. */
  get timeouts(): Timeouts {
    const { writeHoldMs } = this.#timeouts;
    return { ...this.#timeouts, writeHoldMs: this.writeHoldAuto ? this.#autoHoldMs : writeHoldMs };
  }

  /** Writes are held for as long as the controllers may execute: nobody has said how long. */
  get writeHoldAuto(): boolean {
    return isHoldAuto(this.#named);
  }

  /** Before there is a controller, the keep-alive timeout. */
  get #autoHoldMs(): number {
    return Math.max(this.#timeouts.writeHoldMs ?? 0, this.#lateExecutionMs);
  }

  /**
   * Changes what is named, all of it or nothing.
   *
   * @throws UmpathError "usage" if a time contradicts another one.
   */
  change({ policy, slowPath, hedgeReads, timeouts }: Partial<NamedSettings>): void {
    const named = { ...this.#named, ...timeouts };
    this.#timeouts = fillTimeouts(named, { prefix: "" });
    this.#named = named;
    this.#policy = policy ?? this.#policy;
    this.#slowPath = slowPath ?? this.#slowPath;
    if (hedgeReads !== undefined) this.#hedgeReads = hedgeReads;
    this.#tell();
  }

  /**
   * Says how long the controllers may execute after their loss, by the keep-alive time that each was told: unless somebody
   * said otherwise, writes are held for so long.
   */
  setLateExecution(ms: number): void {
    this.#lateExecutionMs = ms;
    this.#tell();
  }

  /** Nobody could be told at attach: how long controllers may execute is known once they are connected. */
  warnIfHoldIsLong(name: string): void {
    const { writeHoldMs, noPathTimeoutMs } = this.timeouts;
    if (writeHoldMs === null || noPathTimeoutMs === null || writeHoldMs <= noPathTimeoutMs) return;
    log.warn(
      `${name}: writes of a lost path are held for ${
        formatDuration(writeHoldMs)
      }, as its controllers ask for, which is ` +
        `longer than no-path-timeout: without a path they fail only then. Make no-path-timeout longer`,
    );
  }

  /**
   * What a write hold risks that somebody has made shorter than a lost controller may go on executing; null if nothing.
   * "off" is taken for what it says: the storage fences lost hosts.
   */
  get holdRisk(): string | null {
    const { writeHoldMs } = this.timeouts;
    if (this.writeHoldAuto || writeHoldMs === null || writeHoldMs >= this.#lateExecutionMs) return null;
    return `write-hold ${formatDuration(writeHoldMs)} is shorter than the ${
      formatDuration(this.#lateExecutionMs)
    } that a ` +
      `lost controller may go on executing: an old write may overwrite a newer one. Use write-hold auto`;
  }

  #tell(): void {
    const { ioTimeoutMs, noPathTimeoutMs, writeHoldMs } = this.timeouts;
    this.#table.setPolicy(this.#policy);
    this.#table.setHedge(hedgeWord(this.#hedgeReads));
    this.#table.setTimeouts({
      ioTimeoutMs: ioTimeoutMs ?? -1,
      noPathTimeoutMs: noPathTimeoutMs ?? -1,
      writeHoldMs: writeHoldMs ?? 0,
    });
  }
}
