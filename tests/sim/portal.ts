import type { Prng } from "../../src/base/prng.ts";
import { AnaStateCode } from "../../src/protocol/nvme_log.ts";
import { StatusCode, StatusField } from "../../src/protocol/nvme_status.ts";
import { type IoFaults, IoVerdict } from "../../src/nvme_target/io_faults.ts";
import { AdminFaults } from "./admin_faults.ts";
import { Route } from "./route.ts";
import type { Medium } from "./store.ts";
import type { TargetPortal } from "./target.ts";

/** Statuses after which a command is tried elsewhere, or again. */
const SOFT: readonly number[] = [
  StatusCode.COMMAND_INTERRUPTED,
  StatusCode.NAMESPACE_NOT_READY,
  StatusCode.ANA_INACCESSIBLE,
  StatusCode.ANA_TRANSITION,
  StatusCode.INTERNAL_PATH_ERROR,
];

/** Statuses that go up to the application. */
const HARD: readonly number[] = [
  StatusCode.UNRECOVERED_READ_ERROR,
  StatusCode.WRITE_FAULT,
  StatusCode.NAMESPACE_NOT_READY | StatusField.DNR,
];

/** What goes wrong with the commands of one portal; 0 is never, n is one in n. */
export class CommandFaults implements IoFaults {
  softOneIn = 0;
  hardOneIn = 0;
  dropOneIn = 0;
  delayOneIn = 0;
  delayMs = 0;
  wrongDigestOneIn = 0;
  readonly #prng: Prng;

  constructor(prng: Prng) {
    this.#prng = prng;
  }

  #happens(oneIn: number): boolean {
    return oneIn > 0 && this.#prng.below(oneIn) === 0;
  }

  verdict(): number {
    if (this.#happens(this.softOneIn)) return SOFT[this.#prng.below(SOFT.length)];
    if (this.#happens(this.hardOneIn)) return HARD[this.#prng.below(HARD.length)];
    return this.#happens(this.dropOneIn) ? IoVerdict.DROP : IoVerdict.NONE;
  }

  /** The medium is what is late here. */
  lateMs(): number {
    return 0;
  }

  answerDelayMs(): number {
    return this.#happens(this.delayOneIn) ? this.#prng.unit() * this.delayMs : 0;
  }

  spoilsDigest(): boolean {
    return this.#happens(this.wrongDigestOneIn);
  }
}

/** One portal: the route to it, the medium behind it, and what goes wrong there. */
export class Portal implements TargetPortal {
  readonly index: number;
  readonly route = new Route();
  readonly medium: Medium;
  readonly faults: CommandFaults;
  readonly admin = new AdminFaults();
  readonly latencyMs: number;
  ana: number = AnaStateCode.OPTIMIZED;
  /** I/O queues that its next controller grants. */
  ioQueuesMax: number;

  constructor(
    index: number,
    options: { prng: Prng; latencyMs: number; mediumMs: number; keptMsMax: number; ioQueuesMax: number },
  ) {
    this.ioQueuesMax = options.ioQueuesMax;
    this.index = index;
    this.latencyMs = options.latencyMs;
    this.medium = { latencyMs: options.mediumMs, frozenUntilMs: 0, keptMsMax: options.keptMsMax };
    this.faults = new CommandFaults(options.prng);
    this.calmRoute();
  }

  /** The weather as it is without faults. */
  calmRoute(): void {
    const { route } = this;
    route.latencyMs = this.latencyMs / 2;
    route.jitterMs = this.latencyMs;
    route.segmentBytesMax = Infinity;
    route.windowBytes = Infinity;
    route.drainBytes = Infinity;
    route.drainMs = 0;
  }
}
