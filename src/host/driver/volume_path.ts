import { MachineState, StateTable } from "../../base/state_table.ts";
import { UmpathError } from "../../base/errors.ts";
import { logger } from "../../base/log.ts";
import type { Prng } from "../../base/prng.ts";
import { formatDuration } from "../../base/units.ts";
import type { Poller } from "../../io/poller.ts";
import type { PathTable } from "../../multipath/path_table.ts";
import { AnaStateCode } from "../../protocol/nvme_log.ts";
import { anaServesIo } from "../../nvme_host/ana.ts";
import { Backoff } from "../../nvme_host/backoff.ts";
import { lateExecutionMsOf } from "../../nvme_host/keep_alive.ts";
import { AnaTransition } from "./ana_transition.ts";
import type { AnaStateName, PathSpec, PathState } from "../../rpc/host_api.ts";
import type { Timeouts } from "../../settings/timeouts.ts";
import { closeQueues, ControllerSession, type OpenQueue, type SessionOptions } from "./controller_session.ts";
import { ForeignPath, type PathFailure, reasonOf } from "./path_failure.ts";
import { pathWords } from "../../rpc/path_words.ts";

const log = logger("path");

/** Which states may follow which. */
export const PATH_STATES = new StateTable<PathState>("A path", {
  connecting: ["live", "reconnecting", "disabled"],
  live: ["reconnecting", "disabled"],
  reconnecting: ["live", "disabled"],
  disabled: [],
});

const ANA_CODES: Readonly<Record<AnaStateName, number>> = Object.freeze({
  optimized: AnaStateCode.OPTIMIZED,
  "non-optimized": AnaStateCode.NON_OPTIMIZED,
  inaccessible: AnaStateCode.INACCESSIBLE,
  "persistent-loss": AnaStateCode.PERSISTENT_LOSS,
  change: AnaStateCode.CHANGE,
});

/**
 * Whether I/O may wait for a path: it is expected to serve, now or later; it is lost, for so long or for such a reason
 * that nobody counts on it; or somebody has taken it out of use.
 */
export type PathProspect = "expected" | "lost" | "out-of-use";

/** What a path needs of the volume that it belongs to. */
export interface PathOwner {
  readonly name: string;
  readonly table: PathTable;
  readonly queues: number;
  readonly timeouts: Timeouts;
  /** Null if the session leads to the volume's namespace and can serve it; otherwise why not. */
  objection(path: VolumePath, session: ControllerSession): PathFailure | null;
  /**
   * A live path whose controller cannot be in one subsystem with that of `session`, and why; null if there is none. Those
   * of `silent` are left out.
   */
  strangerTo(
    path: VolumePath,
    session: ControllerSession,
    silent: ReadonlySet<ControllerSession>,
  ): { session: ControllerSession; difference: string } | null;
  /** The path's portal leads to another subsystem of this name: it is never used again. Gives the failure. */
  banStranger(path: VolumePath, difference: string): ForeignPath;
  /** Gives the open I/O queues of `path` to the workers; resolves with their link numbers. */
  addLinks(path: VolumePath, session: ControllerSession, queues: OpenQueue[]): number[];
  /** Ends the links and waits until they are closed. */
  closeLinks(path: VolumePath): Promise<void>;
  /** The old controller of the path executes nothing any more. */
  releaseHeld(path: VolumePath): void;
  /** Waits, for a moment at most, until nothing is in flight on the path any more; true if so it is. */
  drain(path: VolumePath): Promise<boolean>;
  /** A path has a new controller. */
  handleLive(): void;
  /** A path became usable or is not any more, its ANA state is another, or its prospect. */
  handlePathChanged(): void;
  /** The namespace was read again over the path: it is as the session's controller shows it. */
  handleNamespace(path: VolumePath, session: ControllerSession): void;
  /** The path is out of use for good: it leads to something else than the volume. */
  handleRefused(path: VolumePath): void;
}

/** What stays the same of a path's sessions; the rest are times of the volume. */
export type PathOptions = Omit<SessionOptions, "spec" | "keepAliveMs" | "connectTimeoutMs">;

/**
 * One path of a volume over its whole life: connects, is live, is lost, connects again after a while, until it is
 * ended: removed or disabled. Its links run in the workers; its admin queue here.
 */
export class VolumePath {
  readonly index: number;
  readonly spec: PathSpec;
  reason: string | null = null;
  reconnects = 0;

  readonly #owner: PathOwner;
  readonly #poller: Poller;
  readonly #options: PathOptions;
  readonly #backoff: Backoff;
  /** Aborted once the path is to end. */
  readonly #ended = new AbortController();
  readonly #firstOutcome = Promise.withResolvers<UmpathError | null>();
  readonly #state = new MachineState(PATH_STATES, "connecting");
  #ana: AnaStateName = "inaccessible";
  #session: ControllerSession | null = null;
  #linkFailed: (reason: string) => void = () => {};
  #openLinks = 0;
  #wasLive = false;
  #hasServed: boolean;
  #lateExecutionMs = 0;
  #endReason = "it was removed";
  #drains = false;
  #abandons = false;
  #endPause: () => void = () => {};
  readonly #anaTransition = new AnaTransition((reason) => this.#linkFailed(reason));
  /** Why it is out of use for good: what it leads to is not the volume. */
  #refusal: string | null = null;
  /** Since when there is no controller. */
  #lostAtMs = performance.now();
  #fastIoFailTimer: ReturnType<typeof setTimeout> | undefined;
  #life: Promise<void> | null = null;

  constructor(options: {
    index: number;
    spec: PathSpec;
    owner: PathOwner;
    poller: Poller;
    session: PathOptions;
    prng: Prng;
    /** The path that it takes the place of: one that was disabled. */
    ended?: VolumePath | null;
  }) {
    this.index = options.index;
    this.spec = options.spec;
    this.#owner = options.owner;
    this.#poller = options.poller;
    this.#options = options.session;
    this.reconnects = options.ended?.reconnects ?? 0;
    this.#hasServed = options.ended?.hasServed ?? false;
    const times = options.owner.timeouts;
    this.#backoff = new Backoff({
      delayMs: times.reconnectDelayMs,
      delayMsMax: times.reconnectDelayMaxMs,
      prng: options.prng,
    });
  }

  get state(): PathState {
    return this.#state.name;
  }

  get ana(): AnaStateName {
    return this.#ana;
  }

  /** The association while the path is live. */
  get session(): ControllerSession | null {
    return this.#session;
  }

  get cntlid(): number | null {
    return this.#session?.controller.cntlid ?? null;
  }

  /** How long the present controller, or the lost one, may execute after its loss, in milliseconds; 0 if nobody knows. */
  get lateExecutionMs(): number {
    return this.#lateExecutionMs;
  }

  get isServing(): boolean {
    return this.state === "live" && anaServesIo(this.#ana);
  }

  get prospect(): PathProspect {
    const isForeign = this.#refusal !== null && !this.#wasLive;
    if (this.#ended.signal.aborted || isForeign) return "out-of-use";
    if (this.state === "live") return "expected";
    const isLost = this.state === "disabled" || this.#leftOfMs(this.#owner.timeouts.fastIoFailTimeoutMs) <= 0;
    return isLost ? "lost" : "expected";
  }

  get openLinks(): number {
    return this.#openLinks;
  }

  get #words(): string {
    return `Path ${this.index} (${pathWords(this.spec)}) of ${this.#owner.name}`;
  }

  #transition(to: PathState, reason: string | null): void {
    if (this.state === to && this.reason === reason) return;
    const was = this.state;
    if (was !== to) this.#state.transition(to);
    this.reason = reason;
    this.#watchFastIoFail();
    const why = reason === null ? "" : `: ${reason}`;
    if (to === "live") this.#logLive();
    else if (this.#ended.signal.aborted) log.info(`${this.#words} ends${why}`);
    else if (was !== to || reason !== null) log.warn(`${this.#words} is ${to}${why}`);
  }

  #logLive(): void {
    const words = `${this.#words} is live (${this.#ana})`;
    const { queues } = this.#owner;
    if (this.#openLinks === queues) return log.info(words);
    log.warn(`${words} with ${this.#openLinks} of ${queues} queues: its controller gives no more`);
  }

  /** Begins to live; `session` is one that was opened for it before. Resolves after the first attempt: why it failed. */
  start(session: ControllerSession | null): Promise<UmpathError | null> {
    this.#watchFastIoFail();
    this.#owner.handlePathChanged();
    this.#life ??= this.#live(session);
    return this.#firstOutcome.promise;
  }

  /** Tells that the link in one worker failed. */
  handleLinkFailed(reason: string): void {
    this.#linkFailed(reason);
  }

  /** Takes the path out of use at once and for good: what it leads to is not the volume any more. */
  refuse(reason: string): void {
    this.#refusal = reason;
    this.#owner.table.setUsable(this.index, false);
    this.#owner.handlePathChanged();
    this.#linkFailed(reason);
  }

  /** The path was live once. */
  get wasLive(): boolean {
    return this.#wasLive;
  }

  /** The path, or the one in whose place it is, was live once: the volume has lost something while it is not. */
  get hasServed(): boolean {
    return this.#hasServed;
  }

  /** An I/O answer puts the ANA state in doubt: it is read again. */
  handleAnaDoubt(): void {
    void this.#session?.watch.readAna();
  }

  /** Another path shows the namespace differently: it is read again over this one. */
  readNamespace(): void {
    this.#session?.watch.readNamespace();
  }

  /** The volume's times have changed: a pause before the next attempt ends, for it may be too long now. */
  handleTimesChanged(): void {
    const { reconnectDelayMs, reconnectDelayMaxMs } = this.#owner.timeouts;
    this.#backoff.setDelays({ delayMs: reconnectDelayMs, delayMsMax: reconnectDelayMaxMs });
    this.#watchFastIoFail();
    this.#endPause();
  }

  /**
   * Ends the path in order; resolves when nothing of it is left. `drains` lets what is in flight on it be answered
   * before; `abandons` does not wait for its controller, which learns it from the end of the connections.
   */
  async end(reason: string, { drains = false, abandons = false } = {}): Promise<void> {
    this.#endReason = reason;
    this.#drains = drains;
    this.#abandons ||= abandons;
    this.#ended.abort();
    this.#linkFailed(reason);
    await this.#life;
  }

  async #live(first: ControllerSession | null): Promise<void> {
    let session = first;
    while (!this.#ended.signal.aborted) {
      try {
        session ??= await this.#connect();
        await this.#serve(session);
      } catch (error) {
        this.#handleFailedAttempt(error);
      }
      session = null;
      if (this.#ended.signal.aborted) break;
      if (this.#isRefused() || this.#isGivenUp()) return;
      const delayMs = Math.min(this.#backoff.nextDelayMs(), this.#leftUntilGivenUpMs());
      log.debug(() => `${this.#words}: the next attempt is in ${formatDuration(Math.round(delayMs))}`);
      await this.#pause(delayMs);
    }
    this.#transition("disabled", this.#endReason);
    this.#firstOutcome.resolve(this.#endFailure);
  }

  /** True once the path leads to something else: it is not tried any more, for nothing good can come of it. */
  #isRefused(): boolean {
    if (this.#refusal === null) return false;
    this.#transition("disabled", this.#refusal);
    this.#owner.handleRefused(this);
    return true;
  }

  /** True once the path was lost for longer than the controller loss timeout: it is not tried any more. */
  #isGivenUp(): boolean {
    if (this.#leftUntilGivenUpMs() > 0) return false;
    const timeoutMs = this.#owner.timeouts.ctrlLossTimeoutMs ?? 0;
    this.#transition("disabled", `given up after ${timeoutMs / 1000} s without the controller: ${this.reason}`);
    this.#owner.handlePathChanged();
    return true;
  }

  #leftUntilGivenUpMs(): number {
    return this.#leftOfMs(this.#owner.timeouts.ctrlLossTimeoutMs);
  }

  /** What is left of a limit that begins with the loss of the path. */
  #leftOfMs(limitMs: number | null): number {
    return limitMs === null ? Infinity : limitMs - (performance.now() - this.#lostAtMs);
  }

  /** Tells the owner when the path has been lost for too long to wait for it. */
  #watchFastIoFail(): void {
    clearTimeout(this.#fastIoFailTimer);
    const leftMs = this.#leftOfMs(this.#owner.timeouts.fastIoFailTimeoutMs);
    if (this.state === "live" || this.state === "disabled" || leftMs === Infinity || leftMs <= 0) return;
    this.#fastIoFailTimer = setTimeout(() => this.#handleFastIoFail(), Math.ceil(leftMs));
  }

  #handleFastIoFail(): void {
    // A timer may be a moment early.
    if (this.prospect === "expected") return this.#watchFastIoFail();
    log.warn(`${this.#words} is lost for longer than fast-io-fail-timeout: I/O does not wait for it any more`);
    this.#owner.handlePathChanged();
  }

  get #endFailure(): UmpathError {
    return new UmpathError("not-found", `${this.#words} does not go on: ${this.#endReason}`);
  }

  #handleFailedAttempt(error: unknown): void {
    if (!(error instanceof UmpathError)) log.error(`${this.#words} failed in a way that umpath does not expect`, error);
    const failure = UmpathError.from(error);
    this.#firstOutcome.resolve(failure);
    if (failure instanceof ForeignPath) this.#refusal = reasonOf(failure);
    else if (!this.#ended.signal.aborted) this.#transition("reconnecting", reasonOf(failure));
  }

  async #pause(delayMs: number): Promise<void> {
    const { promise, resolve } = Promise.withResolvers<void>();
    const timer = setTimeout(resolve, delayMs);
    const onAbort = () => resolve();
    this.#endPause = onAbort;
    this.#ended.signal.addEventListener("abort", onAbort);
    await promise;
    this.#ended.signal.removeEventListener("abort", onAbort);
    this.#endPause = () => {};
    clearTimeout(timer);
  }

  async #connect(): Promise<ControllerSession> {
    const { keepAliveMs, connectTimeoutMs } = this.#owner.timeouts;
    const options = { ...this.#options, keepAliveMs, connectTimeoutMs, spec: this.spec };
    const opening = ControllerSession.open(this.#poller, options, this.#ended.signal);
    return await this.#unlessEnded(opening, (session) => session.abandon());
  }

  /** What `work` gives, unless the path is to end first: then what it gives in the end is cleaned up. */
  async #unlessEnded<T>(work: Promise<T>, cleanUp: (result: T) => void): Promise<T> {
    const { signal } = this.#ended;
    const removed = Promise.withResolvers<void>();
    const onAbort = () => removed.resolve();
    signal.addEventListener("abort", onAbort);
    if (signal.aborted) onAbort();
    try {
      await Promise.race([removed.promise, work]);
    } finally {
      signal.removeEventListener("abort", onAbort);
    }
    // Here alone it is decided whose the result is: it must not be used and cleaned up.
    if (!signal.aborted) return await work;
    work.then(cleanUp, () => {});
    throw this.#endFailure;
  }

  /** From a session that is up until it is lost, and all of it is gone. */
  async #serve(session: ControllerSession): Promise<void> {
    const { promise: failed, resolve } = Promise.withResolvers<string>();
    let isResetUseful = false;
    this.#linkFailed = (reason) => {
      isResetUseful = true;
      resolve(reason);
    };
    void session.lost.then(resolve);
    // It may have been ended after it was connected and before it could be told so.
    if (this.#ended.signal.aborted) resolve(this.#endReason);
    try {
      await this.#goLive(session);
    } catch (error) {
      session.abandon();
      throw error;
    }
    const reason = await failed;
    await this.#goDown(session, reason, isResetUseful);
  }

  async #goLive(session: ControllerSession): Promise<void> {
    const objection = this.#owner.objection(this, session);
    if (objection !== null) throw objection;
    const opening = session.openQueues(Math.min(session.controller.queues, this.#owner.queues), this.#ended.signal);
    const queues = await this.#unlessEnded(opening, closeQueues);
    try {
      await this.#joinUnlessForeign(session, queues);
    } catch (error) {
      closeQueues(queues);
      throw error;
    }
  }

  /**
   * Makes the path live, unless its controller is in another subsystem than one of a live path that still answers: one
   * that does not is only a controller that the host has not missed yet. What was found last holds when the path joins.
   *
   * @throws ForeignPath
   */
  async #joinUnlessForeign(session: ControllerSession, queues: OpenQueue[]): Promise<void> {
    const silent = new Set<ControllerSession>();
    for (;;) {
      const stranger = this.#owner.strangerTo(this, session, silent);
      if (stranger === null) return this.#join(session, queues);
      if (await this.#unlessEnded(stranger.session.answers(), () => {})) {
        throw this.#owner.banStranger(this, stranger.difference);
      }
      silent.add(stranger.session);
    }
  }

  #join(session: ControllerSession, queues: OpenQueue[]): void {
    this.#openLinks = this.#owner.addLinks(this, session, queues).length;
    this.#session = session;
    session.watch.listener = {
      handleAna: (state) => this.#setAna(state),
      handleNamespace: () => this.#owner.handleNamespace(this, session),
      handleFailure: (reason) => this.#linkFailed(reason),
    };
    // It may have been read again since it was looked at.
    this.#owner.handleNamespace(this, session);
    this.#setAna(session.ana);
    this.#owner.table.setUsable(this.index, true);
    const { controller, keepAliveMs } = session.controller;
    this.#lateExecutionMs = lateExecutionMsOf({ ...controller, keepAliveMs });
    this.#owner.handleLive();
    if (this.#wasLive) this.reconnects++;
    this.#wasLive = this.#hasServed = true;
    this.#backoff.handleSuccess();
    this.#transition("live", null);
    this.#owner.handlePathChanged();
    this.#firstOutcome.resolve(null);
  }

  #setAna(state: AnaStateName): void {
    if (this.#ana !== state && this.state === "live") log.info(`${this.#words} is now ${state}`);
    this.#ana = state;
    if (this.#session !== null) this.#anaTransition.handleState(state, this.#session);
    this.#owner.table.setAna(this.index, ANA_CODES[state]);
    this.#owner.handlePathChanged();
  }

  async #goDown(session: ControllerSession, reason: string, isAdminAlive: boolean): Promise<void> {
    this.#owner.table.setUsable(this.index, false);
    this.#lostAtMs = performance.now();
    this.#anaTransition.stop();
    this.#session = null;
    const isEnded = this.#ended.signal.aborted;
    if (!isEnded) this.#transition(this.#refusal === null ? "reconnecting" : "disabled", reason);
    this.#owner.handlePathChanged();
    try {
      const isDrained = !isEnded || !this.#drains || await this.#owner.drain(this);
      // Links end before the controller is told, so that held writes are known when it has answered.
      await this.#owner.closeLinks(this);
      this.#openLinks = 0;
      if (this.#abandons) return;
      if (isEnded && isDrained) await session.close();
      else if (isAdminAlive && await session.reset()) this.#owner.releaseHeld(this);
    } finally {
      session.abandon();
    }
  }
}
