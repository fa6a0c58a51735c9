import { type ErrorCode, UmpathError } from "../base/errors.ts";
import { QUEUE_DEPTH_DEFAULT, VOLUMES_MAX } from "../base/limits.ts";
import { logger } from "../base/log.ts";
import { midSentence } from "../base/text.ts";
import { Poller } from "../io/poller.ts";
import type {
  AttachParams,
  AttachResult,
  DetachParams,
  DetachResult,
  DeviceDriver,
  PathAddParams,
  PathAwayParams,
  PathParams,
  PathSpec,
  SetParams,
  VolumeResult,
} from "./api.ts";
import { choosePaths, paramsOfVolume, pathChoiceOf } from "./attach_again.ts";
import { AttachedVolume, type VolumePlan } from "./attached_volume.ts";
import { ControllerSession, type SessionOptions } from "./controller_session.ts";
import { FAILBACK_DEFAULT, fillTimeouts, POLICY_DEFAULT, readFailback, readPolicy } from "./defaults.ts";
import { HEDGE_DEFAULT, parseHedge, readSlowPath, SLOW_PATH_DEFAULT } from "./latency_settings.ts";
import { chooseDriver } from "./device_choice.ts";
import { uuidBytes } from "./nqn.ts";
import { ForeignPath, PathFailure, reasonOf } from "./path_failure.ts";
import { isSamePath, pathWords } from "./path_words.ts";
import { matchesVolume } from "./volume_match.ts";
import type { WorkerPool } from "./worker_pool.ts";

const log = logger("attach");

/** How long an attach waits for further paths once one is up: those that take longer join later. */
const FURTHER_PATHS_MS = 3_000;

/** What is wrong with one path may be right with another. */
const PATH_ERRORS: readonly ErrorCode[] = ["unreachable", "refused", "not-found", "timed-out"];

const NOT_UP_YET = "it is not up yet";

type Warn = (message: string) => void;

/** One path's way in: the session, or why there is none. */
interface Attempt {
  spec: PathSpec;
  session: ControllerSession | null;
  failure: UmpathError | null;
  /** The volume was opened over it. */
  isUsed: boolean;
}

/** A volume that is to be made, before it is known over which path. */
interface WantedVolume {
  params: AttachParams;
  settings: ReturnType<typeof settingsOf>;
  session: Omit<SessionOptions, "spec">;
  driver: DeviceDriver;
}

/** The volumes of the daemon, and how they come and go. One attach or detach of a namespace runs at a time. */
export class VolumeSet {
  readonly #volumes = new Map<number, AttachedVolume>();
  readonly #poller = new Poller();
  readonly #pool: WorkerPool;
  readonly #turns = new Map<string, Promise<unknown>>();
  readonly #closing = Promise.withResolvers<void>();
  #isClosing = false;
  #attaching = 0;

  constructor(pool: WorkerPool) {
    this.#pool = pool;
  }

  /** No volume is there, and none is on its way. */
  get isEmpty(): boolean {
    return this.#volumes.size === 0 && this.#attaching === 0;
  }

  get all(): AttachedVolume[] {
    return [...this.#volumes.values()].sort((a, b) => a.plan.index - b.plan.index);
  }

  /** Attaches a volume, or adds paths to one that is attached. */
  async attach(params: AttachParams, warn: Warn): Promise<AttachResult> {
    this.#checkOpen();
    this.#attaching++;
    try {
      return await this.#inTurn(turnOf(params), () => this.#attach(params, warn));
    } finally {
      this.#attaching--;
    }
  }

  #checkOpen(): void {
    if (this.#isClosing) throw closing();
  }

  /** What `work` gives; once the daemon is to end, nobody waits for it any more. */
  async #unlessClosing<T>(work: Promise<T>): Promise<T> {
    await Promise.race([work, this.#closing.promise]);
    this.#checkOpen();
    return await work;
  }

  /** Runs `work` when all earlier work with the same key has ended. */
  async #inTurn<T>(key: string, work: () => Promise<T>): Promise<T> {
    const before = this.#turns.get(key) ?? Promise.resolve();
    const mine = before.then(work, work);
    this.#turns.set(key, mine);
    try {
      return await mine;
    } finally {
      if (this.#turns.get(key) === mine) this.#turns.delete(key);
    }
  }

  async #attach(params: AttachParams, warn: Warn): Promise<AttachResult> {
    this.#checkOpen();
    const existing = this.all.find((v) => v.plan.nqn === params.nqn && v.plan.nsid === params.nsid && !v.isDetaching);
    await existing?.lookAtDevice();
    if (existing !== undefined && existing.deviceReason !== null) return await this.#remake(existing, params, warn);
    if (existing !== undefined) {
      await this.#extend(existing, params.paths, warn);
      return resultOf(existing, false);
    }
    const volume = await this.#create(params, warn);
    return resultOf(volume, true);
  }

  /** A volume whose device is lost gets another one: the volume is attached once more as it is. */
  async #remake(lost: AttachedVolume, params: AttachParams, warn: Warn): Promise<AttachResult> {
    const again = paramsOfVolume(lost, params);
    const choice = pathChoiceOf(lost);
    const words = `${lost.name} gets a new device: ${lost.deviceReason}`;
    warn(words);
    log.warn(words);
    await lost.detach({ force: true });
    this.#forget(lost);
    const volume = await this.#create(again, warn);
    choosePaths(volume, choice);
    return resultOf(volume, false);
  }

  // ── a new volume ──────────────────────────────────────────────────────────────────────────────────────────────────

  async #create(params: AttachParams, warn: Warn): Promise<AttachedVolume> {
    const { driver, remark } = await chooseDriver(params.device);
    const timeouts = fillTimeouts(params.timeouts);
    const settings = settingsOf(params);
    this.#checkName(params.name);
    await this.#pool.start();
    const queues = Math.min(params.queues ?? this.#pool.size, this.#pool.size);
    const depth = params.depth ?? QUEUE_DEPTH_DEFAULT;
    const session: Omit<SessionOptions, "spec"> = {
      nqn: params.nqn,
      nsid: params.nsid,
      hostNqn: params.hostNqn,
      hostId: uuidBytes(params.hostId),
      keepAliveMs: timeouts.keepAliveMs,
      connectTimeoutMs: timeouts.connectTimeoutMs,
      queues,
      depth,
      digests: { header: params.headerDigest === true, data: params.dataDigest === true },
    };
    const attempts = await this.#openAll(unique(params.paths), session);
    try {
      const volume = await this.#openFirst(attempts, { params, settings, session, driver });
      if (remark !== null) warn(remark);
      this.#warnOfClones(volume, warn);
      await this.#addPaths(volume, attempts.filter((attempt) => !attempt.isUsed), warn);
      return volume;
    } catch (error) {
      for (const attempt of attempts) attempt.session?.abandon();
      throw error;
    }
  }

  /** Opens the volume over the first path that can serve it: one whose controller answers may still not give queues. */
  async #openFirst(attempts: Attempt[], wanted: WantedVolume): Promise<AttachedVolume> {
    for (const attempt of attempts) {
      if (attempt.session === null) continue;
      try {
        const volume = await this.#open(this.#planOf(wanted), attempt.spec, {
          session: attempt.session,
          driver: wanted.driver,
        });
        attempt.isUsed = true;
        return volume;
      } catch (error) {
        attempt.session.abandon();
        attempt.session = null;
        attempt.failure = UmpathError.from(error);
        if (!PATH_ERRORS.includes(attempt.failure.code) || this.#isClosing) throw error;
      }
    }
    throw worst(attempts.flatMap((attempt) => attempt.failure ?? []));
  }

  /** Identifiers are to be unique in the world: who names the volume by one would mean two. */
  #warnOfClones(volume: AttachedVolume, warn: Warn): void {
    if (volume.uuid === "") return;
    for (const other of this.all) {
      if (other === volume || other.uuid !== volume.uuid) continue;
      warn(
        `${volume.name} has the same identifier as ${other.name}, ${volume.uuid}: one of them is a copy with the ` +
          `identifiers of the original`,
      );
    }
  }

  #planOf({ params, settings, session }: WantedVolume): VolumePlan {
    return {
      index: this.#freeIndex(),
      name: this.#freeName(params),
      nqn: params.nqn,
      nsid: params.nsid,
      ...settings,
      queues: session.queues,
      depth: session.depth,
      readOnly: params.readOnly,
      timeouts: params.timeouts,
      session,
    };
  }

  async #open(
    plan: VolumePlan,
    spec: PathSpec,
    options: { session: ControllerSession; driver: DeviceDriver },
  ): Promise<AttachedVolume> {
    const seed = crypto.getRandomValues(new Uint32Array(1))[0];
    const deps = { pool: this.#pool, poller: this.#poller, seed };
    const volume = new AttachedVolume(plan, options.session, deps);
    this.#volumes.set(plan.index, volume);
    void volume.gone.then(() => this.#forget(volume));
    try {
      await volume.open(spec, options.session, options.driver);
    } catch (error) {
      this.#forget(volume);
      throw error;
    }
    log.info(`${plan.name} is attached as ${volume.device ?? "a user-space device"}`);
    return volume;
  }

  #forget(volume: AttachedVolume): void {
    if (this.#volumes.get(volume.plan.index) === volume) this.#volumes.delete(volume.plan.index);
  }

  /** Tries all paths at once. Once one is up, the others get a little longer, and are tried again later. */
  async #openAll(specs: PathSpec[], session: Omit<SessionOptions, "spec">): Promise<Attempt[]> {
    const attempts: Attempt[] = specs.map((spec) => ({ spec, session: null, failure: null, isUsed: false }));
    const anyUp = Promise.withResolvers<void>();
    const over = new AbortController();
    const all = attempts.map(async (attempt) => {
      try {
        const opened = await ControllerSession.open(this.#poller, { ...session, spec: attempt.spec }, over.signal);
        if (over.signal.aborted) return opened.abandon();
        attempt.session = opened;
        anyUp.resolve();
      } catch (error) {
        if (!over.signal.aborted) attempt.failure = UmpathError.from(error);
      }
    });
    const ended = Promise.race([Promise.all(all).then(() => {}), this.#closing.promise]);
    await Promise.race([ended, anyUp.promise.then(() => pause(FURTHER_PATHS_MS, ended))]);
    over.abort();
    if (!this.#isClosing) return attempts;
    for (const attempt of attempts) attempt.session?.abandon();
    throw closing();
  }

  /** Adds paths that were tried already. Those that failed are named: they are left out if refused, else tried again. */
  async #addPaths(volume: AttachedVolume, attempts: Attempt[], warn: Warn): Promise<void> {
    for (const attempt of attempts) {
      if (attempt.session === null) {
        this.#addLate(volume, attempt, warn);
        continue;
      }
      const failure = await this.#unlessClosing(volume.paths.add(attempt.spec, attempt.session));
      if (failure !== null) warn(failureWords(attempt.spec, failure));
    }
  }

  #addLate(volume: AttachedVolume, { spec, failure }: Attempt, warn: Warn): void {
    warn(failure === null ? keptWords(spec, NOT_UP_YET) : failureWords(spec, failure));
    if (failure !== null && !isKept(failure)) return;
    // Whoever attached it was told that it keeps being tried: so it is, whatever the target says from now on.
    const added = volume.paths.add(spec, null, { keepsRefused: true });
    added.then(
      (failure) => failure instanceof ForeignPath && log.error(failure.message),
      (error) => log.error(`Cannot add path "${pathWords(spec)}" to ${volume.name}`, error),
    );
  }

  #checkName(name: string | null): void {
    if (name === null || !this.all.some((volume) => volume.name === name)) return;
    throw new UmpathError("in-use", `Cannot name the volume "${name}": another volume has that name`, {
      hint: "Give another --name",
    });
  }

  #freeIndex(): number {
    for (let index = 0; index < VOLUMES_MAX; index++) {
      if (!this.#volumes.has(index)) return index;
    }
    throw new UmpathError("host-lacks", `Cannot attach: the daemon has ${VOLUMES_MAX} volumes, which is its limit`);
  }

  #freeName(params: AttachParams): string {
    // Another attach may have taken the name while this one connected.
    this.#checkName(params.name);
    const base = params.name ?? defaultName(params.nqn, params.nsid);
    const taken = new Set(this.all.map((volume) => volume.name));
    if (!taken.has(base)) return base;
    for (let n = 2;; n++) {
      if (!taken.has(`${base}-${n}`)) return `${base}-${n}`;
    }
  }

  // ── a volume that is there ────────────────────────────────────────────────────────────────────────────────────────

  async #extend(volume: AttachedVolume, specs: readonly PathSpec[], warn: Warn): Promise<void> {
    const fresh: PathSpec[] = [];
    for (const spec of unique(specs)) {
      const path = volume.paths.find(spec);
      // One that was given up is tried anew: somebody says that it is there.
      if (path?.state === "disabled") await volume.paths.remove(path);
      if (path === null || path.state === "disabled") fresh.push(spec);
      else if (path.state !== "live") warn(keptWords(spec, path.reason ?? NOT_UP_YET));
    }
    const failures = await this.#unlessClosing(Promise.all(fresh.map((spec) => volume.paths.add(spec, null))));
    const leftOut = failures.filter((failure) => failure !== null && !isKept(failure)) as UmpathError[];
    const isFailed = leftOut.length > 0 && !failures.includes(null);
    failures.forEach((failure, i) => {
      if (failure !== null && !(isFailed && leftOut.includes(failure))) warn(failureWords(fresh[i]!, failure));
    });
    if (isFailed) throw worst(leftOut);
  }

  /** Changes the policy, times, weights or the preferred path of a volume, from the next I/O on. */
  set(params: SetParams, warn: Warn): VolumeResult {
    const volume = this.#findAttached(params.volume);
    volume.change(params, warn);
    return { volume: volume.info() };
  }

  /** Adds a path as attaching the volume again would. */
  async addPath({ volume, path }: PathAddParams, warn: Warn): Promise<VolumeResult> {
    return await this.#onPaths(volume, (found) => this.#extend(found, [path], warn));
  }

  /** Takes a path away, without an error for what is in flight on it. */
  async removePath({ volume, path, force }: PathAwayParams): Promise<VolumeResult> {
    return await this.#onPaths(volume, async (found) => {
      const named = found.paths.named(path);
      if (!force) found.paths.checkDispensable(named, "remove");
      await found.paths.remove(named, { drains: true });
    });
  }

  /** Takes a path out of use; it stays in the volume. */
  async disablePath({ volume, path, force }: PathAwayParams): Promise<VolumeResult> {
    return await this.#onPaths(volume, async (found) => {
      const named = found.paths.named(path);
      if (!force) found.paths.checkDispensable(named, "disable");
      await found.paths.disable(named);
    });
  }

  /** Uses a path again that was disabled or given up. One that does not come up at once keeps being tried. */
  async enablePath({ volume, path }: PathParams, warn: Warn): Promise<VolumeResult> {
    return await this.#onPaths(volume, async (found) => {
      const named = found.paths.named(path);
      const failure = await this.#unlessClosing(found.paths.enable(named));
      if (failure !== null) warn(keptWords(named.spec, midSentence(reasonOf(failure))));
    });
  }

  /** Changes the paths of a volume when its turn has come; the volume as it is then. */
  async #onPaths(word: string, work: (volume: AttachedVolume) => Promise<void>): Promise<VolumeResult> {
    this.#checkOpen();
    const volume = this.#findAttached(word);
    return await this.#inTurn(turnOf(volume.plan), async () => {
      checkNotDetaching(volume);
      await work(volume);
      return { volume: volume.info() };
    });
  }

  #findAttached(word: string): AttachedVolume {
    const volume = this.find(word);
    checkNotDetaching(volume);
    return volume;
  }

  // ── detach ────────────────────────────────────────────────────────────────────────────────────────────────────────

  /**
   * The volume of that name, device or UUID.
   *
   * @throws UmpathError "not-found"
   */
  find(word: string): AttachedVolume {
    const found = this.all.find((volume) => matchesVolume(volume, word));
    if (found !== undefined) return found;
    throw new UmpathError("not-found", `Cannot find volume "${word}": no volume has that name, device or UUID`, {
      hint: "umpath list shows what is attached",
    });
  }

  async detach(params: DetachParams): Promise<DetachResult> {
    const volumes = params.all ? this.all : [...new Set(params.volumes.map((word) => this.find(word)))];
    if (!params.force) await Promise.all(volumes.map((volume) => volume.checkUnused()));
    else volumes.forEach((volume) => volume.isDetaching && volume.cutWaits());
    await Promise.all(volumes.map((volume) => this.#inTurn(turnOf(volume.plan), () => this.#detach(volume, params))));
    return { detached: volumes.map((volume) => volume.name) };
  }

  async #detach(volume: AttachedVolume, { force }: DetachParams): Promise<void> {
    // Again, now that its turn has come: its device may not have been there before, or not in use.
    if (!force) await volume.checkUnused();
    await volume.detach({ force });
  }

  /** Looks whether the kernel devices are there: another program may have taken one away without a word. */
  async lookAtDevices(): Promise<void> {
    await Promise.all(this.all.map((volume) => volume.lookAtDevice()));
  }

  /** Takes everything away, in use or not: the process is to end. An attach that is under way ends at once. */
  async close(): Promise<void> {
    this.#isClosing = true;
    this.#closing.resolve();
    await Promise.all(this.all.map((volume) => volume.logUsers()));
    for (const volume of this.all) {
      if (volume.isDetaching) volume.cutWaits();
      else volume.interruptOpen();
    }
    await Promise.allSettled(this.#turns.values());
    const results = await Promise.allSettled(this.all.map((volume) => volume.detach({ force: true })));
    for (const result of results) {
      if (result.status === "rejected") log.error("A volume could not be detached in order", result.reason);
    }
    this.#pool.stop();
  }
}

function closing(): UmpathError {
  return new UmpathError("in-use", "Cannot attach: the daemon is shutting down");
}

function checkNotDetaching(volume: AttachedVolume): void {
  if (!volume.isDetaching) return;
  throw new UmpathError("in-use", `Cannot change ${volume.name}: it is being detached`);
}

function unique(specs: readonly PathSpec[]): PathSpec[] {
  return specs.filter((spec, i) => specs.findIndex((other) => isSamePath(other, spec)) === i);
}

/** False for a path that is not tried again: it is refused, it leads elsewhere, or there is no room for it. */
function isKept(failure: UmpathError): boolean {
  return !(failure instanceof PathFailure && failure.isFinal) && failure.code !== "usage";
}

function failureWords(spec: PathSpec, failure: UmpathError): string {
  const reason = midSentence(reasonOf(failure));
  return isKept(failure) ? keptWords(spec, reason) : `Path "${pathWords(spec)}" is left out: ${reason}`;
}

function keptWords(spec: PathSpec, reason: string): string {
  return `Path "${pathWords(spec)}" is not live: ${reason}; it keeps being tried`;
}

function turnOf(namespace: { nqn: string; nsid: number }): string {
  return `${namespace.nqn} ${namespace.nsid}`;
}

function resultOf(volume: AttachedVolume, created: boolean): AttachResult {
  return { volume: volume.info(), device: volume.device ?? volume.name, created };
}

/**
 * The settings that attach names, and those that hold where it does not.
 *
 * @throws UmpathError "usage" if one cannot be.
 */
function settingsOf(params: AttachParams) {
  return {
    policy: readPolicy(params.policy ?? POLICY_DEFAULT),
    slowPath: readSlowPath(params.slowPath ?? SLOW_PATH_DEFAULT),
    failback: readFailback(params.failback ?? FAILBACK_DEFAULT),
    hedgeReads: parseHedge(params.hedgeReads ?? HEDGE_DEFAULT),
  };
}

/** The failure that says most: a refusal before a target that could not be reached, and all of them in its words. */
function worst(failures: UmpathError[]): UmpathError {
  const order = ["refused", "not-found", "host-lacks", "bug", "unreachable", "timed-out"];
  const main = failures.sort((a, b) => order.indexOf(a.code) - order.indexOf(b.code))[0];
  if (failures.length === 1) return main;
  const words = [...new Set(failures.map((failure, i) => i === 0 ? failure.message : midSentence(failure.message)))]
    .join("; ");
  return new UmpathError(main.code, words, { hint: main.hint, cause: main });
}

/** The NQN's part after the last colon and the NSID, made of characters that are safe in file names. */
function defaultName(nqn: string, nsid: number): string {
  const tail = nqn.slice(nqn.lastIndexOf(":") + 1).replace(/[^A-Za-z0-9._-]/g, "-").replace(/^[.-]+/, "");
  return `${tail || "volume"}-n${nsid}`;
}

async function pause(ms: number, unless: Promise<void>): Promise<void> {
  const { promise, resolve } = Promise.withResolvers<void>();
  const timer = setTimeout(resolve, ms);
  await Promise.race([promise, unless]);
  clearTimeout(timer);
}
