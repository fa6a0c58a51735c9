import { type ErrorCode, UmpathError } from "../../base/errors.ts";
import { QUEUE_DEPTH_DEFAULT, VOLUMES_MAX } from "../../base/limits.ts";
import { logger } from "../../base/log.ts";
import { midSentence } from "../../base/text.ts";
import { Poller } from "../../io/poller.ts";
import type {
  AttachingInfo,
  AttachParams,
  AttachResult,
  DetachParams,
  DetachResult,
  DeviceDriver,
  PathAddParams,
  PathAwayParams,
  PathParams,
  PathResult,
  PathSpec,
  RescanParams,
  RescanResult,
  SetParams,
  SetResult,
} from "../../rpc/host_api.ts";
import { choosePaths, paramsOfVolume, pathChoiceOf } from "./attach_again.ts";
import { checkPromises, ignoredWords } from "./attach_differences.ts";
import { AttachedVolume, type VolumePlan } from "../driver/attached_volume.ts";
import type { ControllerSession, SessionOptions } from "../driver/controller_session.ts";
import { FAILBACK_DEFAULT, fillTimeouts, POLICY_DEFAULT, readFailback, readPolicy } from "../../settings/timeouts.ts";
import { HEDGE_DEFAULT, parseHedge, readSlowPath, SLOW_PATH_DEFAULT } from "../../settings/latency_settings.ts";
import { chooseDriver } from "../device/device_choice.ts";
import { Errand } from "./errand.ts";
import { uuidBytes } from "../../settings/nqn.ts";
import {
  type Attempt,
  failureWords,
  isKept,
  keptWords,
  NOT_UP_YET,
  openPaths,
  uniquePaths,
  worstFailure,
} from "./path_attempts.ts";
import { changePaths } from "./path_changes.ts";
import { ForeignPath, reasonOf } from "../driver/path_failure.ts";
import { pathWords } from "../../rpc/path_words.ts";
import { notServing, servesIo, servingFirst, settleAna } from "../driver/serving_paths.ts";
import { rescanVolume } from "./rescan.ts";
import { settingChanges } from "./setting_changes.ts";
import { Turns } from "./turns.ts";
import { volumeMeant } from "../../rpc/volume_match.ts";
import type { VolumePath } from "../driver/volume_path.ts";
import type { WorkerPool } from "../driver/worker_pool.ts";

const log = logger("attach");

/** What is wrong with one path may be right with another. */
const PATH_ERRORS: readonly ErrorCode[] = ["unreachable", "refused", "not-found", "timed-out"];

/** How long the end may take to write back what is dirty. A service manager waits for 90 s. */
const WRITE_BACK_MS_MAX = 10_000;

type Warn = (message: string) => void;

/** For how long a client waits for what it has asked. */
interface ClientOptions {
  /** Aborted once the client is gone: what it has begun is called off and undone. */
  signal?: AbortSignal;
}

/** What a request runs with. */
interface Asked {
  errand: Errand;
  warn: Warn;
}

/** A volume that is to be made, before it is known over which path. */
interface WantedVolume {
  index: number;
  params: AttachParams;
  settings: ReturnType<typeof settingsOf>;
  session: Omit<SessionOptions, "spec">;
  driver: DeviceDriver;
}

/**
 * The volumes of the daemon, and how they come and go. One attach or detach of a namespace runs at a time; an attach that
 * is called off leaves nothing behind.
 */
export class VolumeSet {
  readonly #volumes = new Map<number, AttachedVolume>();
  /** Places of volumes that are being made. */
  readonly #reserved = new Set<number>();
  readonly #poller = new Poller();
  readonly #pool: WorkerPool;
  readonly #turns = new Turns();
  readonly #errands = new Set<Errand>();
  #isClosing = false;

  constructor(pool: WorkerPool) {
    this.#pool = pool;
  }

  /** No volume is there, and none is on its way. */
  get isEmpty(): boolean {
    return this.#volumes.size === 0 && !this.#attaches.some(({ subject }) => subject.kind === "attach");
  }

  /** Those that are attached, or being detached. */
  get all(): AttachedVolume[] {
    return [...this.#volumes.values()].filter((volume) => volume.isOpen)
      .sort((a, b) => a.plan.index - b.plan.index);
  }

  /** Volumes on their way: what `list` shows beside those that are there. */
  get attaching(): AttachingInfo[] {
    return this.#attaches.map(({ subject: { name, nqn, nsid }, since }) => {
      return { name, nqn, nsid, state: "attaching", since: since.toISOString() };
    });
  }

  /** Attaches of namespaces that no volume has yet. */
  get #attaches(): Errand[] {
    return [...this.#errands].filter(({ subject }) => subject.kind === "attach" && !this.#has(subject));
  }

  #has(namespace: { nqn: string; nsid: number }): boolean {
    return this.all.some(({ plan }) => turnOf(plan) === turnOf(namespace));
  }

  /** Attaches a volume, or adds paths to one that is attached. */
  async attach(params: AttachParams, warn: Warn, client: ClientOptions = {}): Promise<AttachResult> {
    const { nqn, nsid } = params;
    const name = params.name ?? defaultName(nqn, nsid);
    return await this.#run({ nqn, nsid, name, kind: "attach" }, { warn, client }, async (errand) => {
      const result = await this.#attach(params, { errand, warn });
      errand.check();
      return result;
    });
  }

  /** Runs an errand in its turn. */
  async #run<T>(
    subject: Errand["subject"],
    { warn, client }: { warn: Warn; client: ClientOptions },
    work: (errand: Errand) => Promise<T>,
  ): Promise<T> {
    this.#checkOpen();
    const errand = new Errand(subject);
    if (client.signal !== undefined) errand.heedClient(client.signal);
    this.#errands.add(errand);
    const what = subject.kind === "attach" ? "another attach" : "a change of the paths";
    const onWait = (what: string) => warn(`Waiting for ${what} of this volume, ${subject.name}`);
    try {
      return await this.#turns.run(turnOf(subject), { what, errand, onWait }, () => work(errand));
    } finally {
      this.#errands.delete(errand);
      errand.end();
    }
  }

  #checkOpen(): void {
    if (this.#isClosing) throw closing();
  }

  async #attach(params: AttachParams, asked: Asked): Promise<AttachResult> {
    const existing = this.all.find((v) => v.plan.nqn === params.nqn && v.plan.nsid === params.nsid && !v.isDetaching);
    if (existing === undefined) return resultOf(await this.#create(params, asked), true);
    await existing.lookAtDevice();
    const before = existing.info();
    checkPromises(params, before);
    if (existing.deviceReason !== null) return await this.#remake(existing, params, asked);
    await changePaths(existing, params.paths, { ...asked, force: params.force === true });
    // An event may have been lost, or there are none: who attaches again expects what is there now.
    await asked.errand.unlessOver(rescanVolume(existing, () => {}));
    const ignored = ignoredWords(params, before);
    if (ignored !== null) asked.warn(ignored);
    return resultOf(existing, false);
  }

  /** A volume whose device is lost gets another one: the volume is attached once more as it is. */
  async #remake(lost: AttachedVolume, params: AttachParams, asked: Asked): Promise<AttachResult> {
    const again = paramsOfVolume(lost, params);
    const choice = pathChoiceOf(lost);
    const words = `${lost.name} gets a new device: ${lost.deviceReason}`;
    asked.warn(words);
    log.warn(words);
    await lost.detach({ force: true });
    this.#forget(lost);
    const volume = await this.#create(again, asked);
    choosePaths(volume, choice);
    return resultOf(volume, false);
  }

  // ── a new volume ──────────────────────────────────────────────────────────────────────────────────────────────────

  /** Volumes have their places, which is their order in lists, in the order in which they were asked for. */
  async #create(params: AttachParams, asked: Asked): Promise<AttachedVolume> {
    const index = this.#freeIndex();
    this.#reserved.add(index);
    try {
      return await this.#createAt(index, params, asked);
    } finally {
      this.#reserved.delete(index);
    }
  }

  async #createAt(index: number, params: AttachParams, asked: Asked): Promise<AttachedVolume> {
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
    const attempts = await openPaths(uniquePaths(params.paths), session, {
      poller: this.#poller,
      errand: asked.errand,
    });
    let volume: AttachedVolume | null = null;
    try {
      volume = await this.#openFirst(attempts, { index, params, settings, session, driver }, asked.errand);
      if (remark !== null) asked.warn(remark);
      this.#warnOfClones(volume, asked.warn);
      const { holdRisk } = volume.settings;
      if (holdRisk !== null) asked.warn(`${volume.name}: ${holdRisk}`);
      await this.#addPaths(volume, attempts.filter((attempt) => !attempt.isUsed), asked);
      asked.errand.check();
      return volume;
    } catch (error) {
      for (const attempt of attempts) if (!attempt.isUsed) attempt.session?.abandon();
      await volume?.detach({ force: true });
      asked.errand.check();
      throw error;
    }
  }

  /**
   * Opens the volume over the first path that can serve it: one whose controller answers may still not give queues, and
   * one that serves no I/O is not enough for a kernel device, which is read as it is made.
   */
  async #openFirst(attempts: Attempt[], wanted: WantedVolume, errand: Errand): Promise<AttachedVolume> {
    const needsIo = wanted.driver !== "none";
    if (needsIo) await settleAna(attempts, () => errand.isOver);
    for (const attempt of servingFirst(attempts)) {
      if (attempt.session === null) continue;
      errand.check();
      try {
        if (needsIo && !servesIo(attempt)) throw notServing(attempt.spec, attempt.session.ana);
        const volume = await this.#open(this.#planOf(wanted), attempt.spec, {
          session: attempt.session,
          driver: wanted.driver,
          errand,
        });
        attempt.isUsed = true;
        return volume;
      } catch (error) {
        attempt.session.abandon();
        attempt.session = null;
        attempt.failure = UmpathError.from(error);
        if (!PATH_ERRORS.includes(attempt.failure.code)) throw error;
      }
    }
    throw worstFailure(attempts.flatMap((attempt) => attempt.failure ?? []));
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

  #planOf({ index, params, settings, session }: WantedVolume): VolumePlan {
    return {
      index,
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
    options: { session: ControllerSession; driver: DeviceDriver; errand: Errand },
  ): Promise<AttachedVolume> {
    const seed = crypto.getRandomValues(new Uint32Array(1))[0];
    const deps = { pool: this.#pool, poller: this.#poller, seed };
    const volume = new AttachedVolume(plan, options.session, deps);
    this.#volumes.set(plan.index, volume);
    void volume.gone.then(() => this.#forget(volume));
    const interrupt = () => volume.interruptOpen();
    options.errand.signal.addEventListener("abort", interrupt);
    try {
      await volume.open(spec, options.session, options.driver);
    } catch (error) {
      this.#forget(volume);
      throw error;
    } finally {
      options.errand.signal.removeEventListener("abort", interrupt);
    }
    log.info(`${plan.name} is attached as ${volume.device ?? "a user-space device"}`);
    return volume;
  }

  #forget(volume: AttachedVolume): void {
    if (this.#volumes.get(volume.plan.index) === volume) this.#volumes.delete(volume.plan.index);
  }

  /** Adds paths that were tried already. Those that failed are named: they are left out if refused, else tried again. */
  async #addPaths(volume: AttachedVolume, attempts: Attempt[], { errand, warn }: Asked): Promise<void> {
    // All at once: what they wait for is the network. Their indexes are in the order of the words.
    await Promise.all(attempts.map(async (attempt) => {
      if (attempt.session === null) return this.#addLate(volume, attempt, warn);
      const adding = volume.paths.add(attempt.spec, attempt.session);
      attempt.isUsed = true;
      const failure = await errand.unlessOver(adding);
      if (failure !== null) warn(failureWords(attempt.spec, failure));
    }));
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
    if (name === null || !this.#names.has(name)) return;
    throw new UmpathError("in-use", `Cannot name the volume "${name}": another volume has that name`, {
      hint: "Give another --name",
    });
  }

  #freeIndex(): number {
    for (let index = 0; index < VOLUMES_MAX; index++) {
      if (!this.#volumes.has(index) && !this.#reserved.has(index)) return index;
    }
    throw new UmpathError("host-lacks", `Cannot attach: the daemon has ${VOLUMES_MAX} volumes, which is its limit`, {
      hint: "Detach volumes that are not needed, or run another daemon with another UMPATH_RUN_DIR",
    });
  }

  /** Those of volumes that are being made, too. */
  get #names(): Set<string> {
    return new Set([...this.#volumes.values()].map((volume) => volume.name));
  }

  #freeName(params: AttachParams): string {
    // Another attach may have taken the name while this one connected.
    this.#checkName(params.name);
    const base = params.name ?? defaultName(params.nqn, params.nsid);
    const taken = this.#names;
    if (!taken.has(base)) return base;
    for (let n = 2;; n++) {
      if (!taken.has(`${base}-${n}`)) return `${base}-${n}`;
    }
  }

  // ── a volume that is there ────────────────────────────────────────────────────────────────────────────────────────

  /** Changes the policy, times, weights or the preferred path of a volume, from the next I/O on. */
  set(params: SetParams, warn: Warn): SetResult {
    const volume = this.#findAttached(params.volume);
    const before = volume.info();
    volume.change(params, warn);
    const after = volume.info();
    return { volume: after, changes: settingChanges(before, after) };
  }

  /** Looks anew at the namespace over all live paths, and says what has changed. */
  async rescan({ volumes, all }: RescanParams, warn: Warn): Promise<RescanResult> {
    const wanted = all ? this.all : [...new Set(volumes.map((word) => this.#findAttached(word)))];
    const open = wanted.filter((volume) => !volume.isDetaching);
    return { volumes: await Promise.all(open.map((volume) => rescanVolume(volume, warn))) };
  }

  /** Adds a path as attaching the volume again would. */
  async addPath(params: PathAddParams, warn: Warn, client: ClientOptions = {}): Promise<PathResult> {
    const { volume, path, force = false } = params;
    return await this.#onPaths(volume, { warn, client }, async (found, errand) => {
      const before = found.paths.find(path);
      const changed = before === null || before.state === "disabled";
      await changePaths(found, [path], { errand, warn, force });
      return { path: found.paths.find(path)!, changed };
    });
  }

  /** Takes a path away, without an error for what is in flight on it. */
  async removePath({ volume, path, force }: PathAwayParams): Promise<PathResult> {
    return await this.#onPaths(volume, NOBODY, async (found) => {
      const named = found.paths.named(path);
      if (!force) found.paths.checkDispensable(named, "remove");
      await found.paths.remove(named, { drains: true });
      return { path: named, changed: true };
    });
  }

  /** Takes a path out of use; it stays in the volume. */
  async disablePath({ volume, path, force }: PathAwayParams): Promise<PathResult> {
    return await this.#onPaths(volume, NOBODY, async (found) => {
      const named = found.paths.named(path);
      if (!force) found.paths.checkDispensable(named, "disable");
      const changed = named.state !== "disabled";
      await found.paths.disable(named);
      return { path: named, changed };
    });
  }

  /** Uses a path again that was disabled or given up. One that does not come up at once keeps being tried. */
  async enablePath({ volume, path }: PathParams, warn: Warn, client: ClientOptions = {}): Promise<PathResult> {
    return await this.#onPaths(volume, { warn, client }, async (found, errand) => {
      const named = found.paths.named(path);
      const wasDisabled = named.state === "disabled";
      try {
        const failure = await errand.unlessOver(found.paths.enable(named));
        if (failure !== null) warn(keptWords(named.spec, midSentence(reasonOf(failure))));
        return { path: named, changed: wasDisabled };
      } catch (error) {
        const enabled = found.paths.at(named.index);
        if (wasDisabled && enabled !== null) await found.paths.disable(enabled);
        throw error;
      }
    });
  }

  /** Changes the paths of a volume when its turn has come; the volume as it is then. */
  async #onPaths(
    word: string,
    asked: { warn: Warn; client: ClientOptions },
    work: (volume: AttachedVolume, errand: Errand) => Promise<{ path: VolumePath; changed: boolean }>,
  ): Promise<PathResult> {
    const volume = this.#findAttached(word);
    const { nqn, nsid, name } = volume.plan;
    return await this.#run({ nqn, nsid, name, kind: "change" }, asked, async (errand) => {
      checkNotDetaching(volume);
      const { path, changed } = await work(volume, errand);
      return { volume: volume.info(), path: { id: path.index, ...path.spec }, changed };
    });
  }

  #findAttached(word: string): AttachedVolume {
    const volume = this.find(word);
    checkNotDetaching(volume);
    return volume;
  }

  // ── detach ────────────────────────────────────────────────────────────────────────────────────────────────────────

  /**
   * The volume that a word means.
   *
   * @throws UmpathError "not-found", or "usage" if several may be meant.
   */
  find(word: string): AttachedVolume {
    return volumeMeant(this.all, word);
  }

  /** Detaches volumes. One that is being attached is not attached then: that attach is called off. */
  async detach(params: DetachParams, { warn = () => {} }: { warn?: Warn } = {}): Promise<DetachResult> {
    const { volumes, attaches } = this.#chosen(params);
    for (const errand of attaches) errand.callOff(calledOff(errand.subject.name));
    if (!params.force) await Promise.all(volumes.map((volume) => volume.checkUnused()));
    else {
      await Promise.all(volumes.map((volume) => volume.logUsers()));
      volumes.forEach((volume) => volume.isDetaching && void volume.failAll());
    }
    const turns = new Set(volumes.map(({ plan }) => turnOf(plan)));
    for (const errand of this.#errands) {
      if (turns.has(turnOf(errand.subject))) errand.callOff(calledOff(errand.subject.name));
    }
    await Promise.all([
      ...volumes.map((volume) => this.#detachInTurn(volume, params, warn)),
      ...attaches.map(({ ended }) => ended),
    ]);
    const calledOffNames = attaches.map(({ subject }) => subject.name);
    return { detached: [...volumes.map((volume) => volume.name), ...calledOffNames], calledOff: calledOffNames };
  }

  /** @throws UmpathError "usage" if it is not clear which are meant, "not-found" if there is no such volume. */
  #chosen({ volumes: words, all }: DetachParams): { volumes: AttachedVolume[]; attaches: Errand[] } {
    if (all !== (words.length === 0)) {
      const why = all ? "volumes are named and all of them are meant" : "no volume is named";
      throw new UmpathError("usage", `Cannot detach: ${why}`, { hint: "Name volumes or use --all" });
    }
    if (all) return { volumes: this.all, attaches: this.#attaches };
    const onTheirWay = this.#attaches.map((errand) => ({ ...errand.subject, device: null, uuid: "", errand }));
    const meant = words.map((word) => volumeMeant([...this.all, ...onTheirWay], word));
    return {
      volumes: [...new Set(meant.filter((one) => one instanceof AttachedVolume))],
      attaches: [...new Set(meant.flatMap((one) => one instanceof AttachedVolume ? [] : [one.errand]))],
    };
  }

  async #detachInTurn(volume: AttachedVolume, { force }: DetachParams, warn: Warn): Promise<void> {
    const onWait = (what: string) => warn(`Waiting for ${what} of this volume, ${volume.name}`);
    await this.#turns.run(turnOf(volume.plan), { what: "a detach", onWait }, async () => {
      // Again, now that its turn has come: its device may not have been there before, or not in use.
      if (!force) await volume.checkUnused();
      await volume.detach({ force, warn });
    });
  }

  /** Looks whether the kernel devices are there: another program may have taken one away without a word. */
  async lookAtDevices(): Promise<void> {
    await Promise.all(this.all.map((volume) => volume.lookAtDevice()));
  }

  /** Takes everything away, in use or not: the process is to end. An attach that is under way ends at once. */
  async close(): Promise<void> {
    this.#isClosing = true;
    for (const errand of this.#errands) errand.callOff(closing());
    for (const volume of this.all) {
      if (volume.isDetaching) void volume.failAll();
    }
    await Promise.all(this.all.map((volume) => volume.logUsers()));
    await Promise.all(this.all.map((volume) => volume.writeBack(WRITE_BACK_MS_MAX)));
    await this.#turns.allEnded();
    const results = await Promise.allSettled(this.all.map((volume) => volume.detach({ force: true })));
    for (const result of results) {
      if (result.status === "rejected") log.error("A volume could not be detached in order", result.reason);
    }
    this.#pool.stop();
    await this.#poller[Symbol.asyncDispose]();
  }
}

/** Nothing that a path is taken away for ends with its client. */
const NOBODY = Object.freeze({ warn: () => {}, client: {} });

function calledOff(name: string): UmpathError {
  return new UmpathError("in-use", `Cannot attach ${name}: it was detached meanwhile`);
}

function closing(): UmpathError {
  return new UmpathError("in-use", "Cannot attach: the daemon is shutting down");
}

function checkNotDetaching(volume: AttachedVolume): void {
  if (!volume.isDetaching) return;
  throw new UmpathError("in-use", `Cannot change ${volume.name}: it is being detached`);
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

/** The NQN's part after the last colon and the NSID, made of characters that are safe in file names. */
function defaultName(nqn: string, nsid: number): string {
  const tail = nqn.slice(nqn.lastIndexOf(":") + 1).replace(/[^A-Za-z0-9._-]/g, "-").replace(/^[.-]+/, "");
  return `${tail || "volume"}-n${nsid}`;
}
