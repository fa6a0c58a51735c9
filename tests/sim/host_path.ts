import { assert } from "../../src/base/assert.ts";
import type { Prng } from "../../src/base/prng.ts";
import type { PathTable } from "../../src/multipath/path_table.ts";
import type { AnaState } from "../../src/nvme_host/ana.ts";
import { Backoff } from "../../src/nvme_host/backoff.ts";
import { AnaStateCode } from "../../src/protocol/nvme_log.ts";
import { type Clock, Task } from "./clock.ts";
import type { HostShared } from "./host_admin.ts";
import { Violation } from "./violation.ts";
import { HostSession, type OpenQueue, type SessionOptions } from "./host_session.ts";

export type SimPathState = "connecting" | "live" | "reconnecting" | "removed";

const ANA_CODES: Readonly<Record<AnaState, number>> = Object.freeze({
  optimized: AnaStateCode.OPTIMIZED,
  "non-optimized": AnaStateCode.NON_OPTIMIZED,
  inaccessible: AnaStateCode.INACCESSIBLE,
  "persistent-loss": AnaStateCode.PERSISTENT_LOSS,
  change: AnaStateCode.CHANGE,
});

/** What a path needs of its volume. */
export interface PathOwner {
  readonly table: PathTable;
  /** A live path whose controller cannot be in one subsystem with that of `session`; those of `silent` are left out. */
  strangerTo(path: HostPath, session: HostSession, silent: ReadonlySet<HostSession>): HostSession | null;
  addLinks(path: number, session: HostSession, queues: OpenQueue[]): void;
  closeLinks(path: number, done: () => void): void;
  releaseHeld(path: number): void;
  /** The namespace was read again over the path. */
  handleNamespace(path: HostPath, session: HostSession): void;
  /** A path became usable, or its ANA state changed. */
  wakeWorkers(): void;
  /** Something has changed of the path: what waits may have to wait anew. */
  handleChange(path: number, words: string): void;
}

export interface PathOptions {
  readonly index: number;
  readonly owner: PathOwner;
  readonly shared: HostShared;
  readonly prng: Prng;
  readonly session: SessionOptions;
  readonly reconnectDelayMs: number;
  readonly reconnectDelayMsMax: number;
  /** Broken on purpose: the lost controller is taken for reset without waiting for its answer. */
  readonly isResetBlind: boolean;
}

/** One path over its whole life: `VolumePath` in simulation. */
export class HostPath {
  readonly index: number;
  /** Associations that were live, and those that failed. */
  lives = 0;
  failures = 0;
  readonly #options: PathOptions;
  readonly #clock: Clock;
  readonly #backoff: Backoff;
  readonly #pause: Task;
  #state: SimPathState = "connecting";
  #session: HostSession | null = null;
  #onRemoved: (() => void) | null = null;
  /** The association is live, or on its way down. */
  #isServing = false;
  #isGoingDown = false;

  constructor(options: PathOptions) {
    this.index = options.index;
    this.#options = options;
    this.#clock = options.shared.clock;
    this.#backoff = new Backoff({
      delayMs: options.reconnectDelayMs,
      delayMsMax: options.reconnectDelayMsMax,
      prng: options.prng,
    });
    this.#pause = new Task(this.#clock, () => this.#connect());
    this.#pause.soon();
  }

  get state(): SimPathState {
    return this.#state;
  }

  get session(): HostSession | null {
    return this.#session;
  }

  /** It has links, which are not on their way down. */
  get isServing(): boolean {
    return this.#isServing && !this.#isGoingDown;
  }

  #connect(): void {
    const session: HostSession = new HostSession(this.#options.shared, this.#options.session, {
      handleUp: (queues) => this.#joinUnlessForeign(session, queues),
      handleLost: (reason) => this.#handleLost(session, reason),
      handleAna: (state) => this.#setAna(state),
      handleNamespace: () => {
        if (this.#isServing) this.#options.owner.handleNamespace(this, session);
      },
      // The simulated namespace is always there: a path that is thrown away for good is thrown away for a passing trouble.
      handleFatal: (reason) => {
        throw new Violation("identity", `Path ${this.index} is thrown away: ${reason}`);
      },
    });
    this.#session = session;
  }

  #handleLost(session: HostSession, reason: string): void {
    if (session !== this.#session) return;
    if (this.#isServing) return this.#goDown(reason, false);
    this.failures++;
    this.#session = null;
    this.#tell(`did not come up: ${reason}`);
    this.#retry();
  }

  #retry(): void {
    if (this.#onRemoved !== null) return this.#finish();
    this.#state = "reconnecting";
    this.#pause.in(this.#backoff.nextDelayMs());
  }

  /** The simulated targets are one subsystem: a controller that is taken for one of another proves that we are wrong. */
  #joinUnlessForeign(session: HostSession, queues: OpenQueue[], silent: Set<HostSession> = new Set()): void {
    if (session !== this.#session || session.isOver) return queues.forEach(({ socket }) => socket.close());
    const stranger = this.#options.owner.strangerTo(this, session, silent);
    if (stranger === null) return this.#goLive(session, queues);
    stranger.answers((isAnswered) => {
      if (isAnswered) throw new Violation("identity", `Path ${this.index} is taken for one to another subsystem`);
      this.#joinUnlessForeign(session, queues, silent.add(stranger));
    });
  }

  #goLive(session: HostSession, queues: OpenQueue[]): void {
    const { owner } = this.#options;
    this.#isServing = true;
    this.lives++;
    owner.addLinks(this.index, session, queues);
    owner.handleNamespace(this, session);
    this.#setAna(session.ana);
    owner.table.setUsable(this.index, true);
    owner.wakeWorkers();
    this.#backoff.handleSuccess();
    this.#state = "live";
    this.#tell(`is live (${session.ana})`);
    if (this.#onRemoved !== null) this.#goDown("it was removed", false);
  }

  #setAna(state: AnaState): void {
    if (!this.#isServing) return;
    this.#options.owner.table.setAna(this.index, ANA_CODES[state]);
    this.#tell(`is ${state}`);
    this.#options.owner.wakeWorkers();
  }

  /** Tells that the link in one worker failed. */
  handleLinkFailed(reason: string): void {
    if (this.#isServing) this.#goDown(reason, true);
  }

  /** Another path shows the namespace differently. */
  readNamespace(): void {
    if (this.#isServing) this.#session?.readNamespace();
  }

  handleAnaDoubt(): void {
    if (this.#isServing) this.#session?.readAna();
  }

  #goDown(reason: string, isAdminAlive: boolean): void {
    if (this.#isGoingDown) return;
    this.#isGoingDown = true;
    const { owner } = this.#options;
    const session = this.#session!;
    owner.table.setUsable(this.index, false);
    this.#state = "reconnecting";
    owner.wakeWorkers();
    this.#tell(`is lost: ${reason}`);
    owner.closeLinks(this.index, () => {
      if (this.#onRemoved !== null) return session.close(() => this.#down(session));
      if (!isAdminAlive) return this.#down(session);
      if (this.#options.isResetBlind) owner.releaseHeld(this.index);
      session.reset((isReset) => {
        this.#tell(isReset ? "its controller is reset" : "its controller did not answer a reset");
        if (isReset) owner.releaseHeld(this.index);
        this.#down(session);
      });
    });
  }

  #down(session: HostSession): void {
    assert(session === this.#session, "A path has one session at a time");
    session.abandon();
    this.#session = null;
    this.#isServing = this.#isGoingDown = false;
    this.#retry();
  }

  /** Ends the path in order; `done` is called when nothing of it is left. */
  remove(done: () => void): void {
    this.#onRemoved = done;
    if (this.#isServing) return this.#goDown("it was removed", false);
    this.#pause.cancel();
    this.#session?.abandon();
    this.#session = null;
    this.#finish();
  }

  #finish(): void {
    if (this.#state === "removed") return;
    this.#state = "removed";
    this.#onRemoved!();
  }

  #tell(words: string): void {
    this.#options.owner.handleChange(this.index, words);
  }
}
