import { UmpathError } from "../base/errors.ts";
import { PATHS_MAX, QUEUE_DEPTH_DEFAULT, VOLUMES_MAX } from "../base/limits.ts";
import { logger } from "../base/log.ts";
import { Poller } from "../io/poller.ts";
import type { AttachParams, AttachResult, DetachParams, DetachResult, DeviceDriver, PathSpec } from "./api.ts";
import { AttachedVolume, type VolumePlan } from "./attached_volume.ts";
import { ControllerSession, type SessionOptions } from "./controller_session.ts";
import { fillTimeouts } from "./defaults.ts";
import { pathWords } from "./path_words.ts";
import { matchesVolume } from "./volume_match.ts";
import { ForeignPath } from "./volume_path.ts";
import type { WorkerPool } from "./worker_pool.ts";

const log = logger("attach");

/** How long an attach waits for further paths once one is up: those that take longer join later. */
const FURTHER_PATHS_MS = 3_000;

type Warn = (message: string) => void;

/** One path's way in: the session, or why there is none. */
interface Attempt {
  spec: PathSpec;
  session: ControllerSession | null;
  failure: UmpathError | null;
}

/** The volumes of the daemon, and how they come and go. One attach or detach of a namespace runs at a time. */
export class VolumeSet {
  readonly #volumes = new Map<number, AttachedVolume>();
  readonly #poller = new Poller();
  readonly #pool: WorkerPool;
  readonly #turns = new Map<string, Promise<unknown>>();
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
    if (this.#isClosing) throw new UmpathError("in-use", "Cannot attach: the daemon is shutting down");
    this.#attaching++;
    try {
      return await this.#inTurn(turnOf(params), () => this.#attach(params, warn));
    } finally {
      this.#attaching--;
    }
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
    const existing = this.all.find((v) => v.plan.nqn === params.nqn && v.plan.nsid === params.nsid && !v.isDetaching);
    if (existing !== undefined) {
      await this.#extend(existing, params, warn);
      return resultOf(existing, false);
    }
    const volume = await this.#create(params, warn);
    return resultOf(volume, true);
  }

  // ── a new volume ──────────────────────────────────────────────────────────────────────────────────────────────────

  async #create(params: AttachParams, warn: Warn): Promise<AttachedVolume> {
    const driver = driverOf(params.device);
    const timeouts = fillTimeouts(params.timeouts);
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
    };
    const attempts = await this.#openAll(params.paths, session);
    const first = attempts.find((attempt) => attempt.session !== null);
    if (first === undefined || first.session === null) throw worst(attempts);
    const granted = Math.min(queues, first.session.controller.queues);
    const plan: VolumePlan = {
      index: this.#freeIndex(),
      name: this.#freeName(params),
      nqn: params.nqn,
      nsid: params.nsid,
      policy: params.policy,
      queues: granted,
      depth,
      readOnly: params.readOnly,
      timeouts,
      session,
    };
    return await this.#open(plan, attempts, first as Attempt & { session: ControllerSession }, { driver, warn });
  }

  async #open(
    plan: VolumePlan,
    attempts: Attempt[],
    first: Attempt & { session: ControllerSession },
    options: { driver: DeviceDriver; warn: Warn },
  ): Promise<AttachedVolume> {
    const seed = crypto.getRandomValues(new Uint32Array(1))[0];
    const deps = { pool: this.#pool, poller: this.#poller, seed };
    const volume = new AttachedVolume(plan, first.session, deps);
    this.#volumes.set(plan.index, volume);
    void volume.gone.then(() => this.#volumes.delete(plan.index));
    const others = attempts.filter((attempt) => attempt !== first);
    try {
      await volume.open(first.spec, first.session, options.driver);
    } catch (error) {
      for (const other of others) other.session?.abandon();
      throw error;
    }
    await this.#addPaths(volume, others, options.warn);
    log.info(`${plan.name} is attached as ${volume.device ?? "a user-space device"}`);
    return volume;
  }

  /** Tries all paths at once. Once one is up, the others get a little longer, and are tried again later. */
  async #openAll(specs: PathSpec[], session: Omit<SessionOptions, "spec">): Promise<Attempt[]> {
    const attempts: Attempt[] = specs.map((spec) => ({ spec, session: null, failure: null }));
    const anyUp = Promise.withResolvers<void>();
    let isOver = false;
    const all = attempts.map(async (attempt) => {
      try {
        const opened = await ControllerSession.open(this.#poller, { ...session, spec: attempt.spec });
        if (isOver) return opened.abandon();
        attempt.session = opened;
        anyUp.resolve();
      } catch (error) {
        attempt.failure = UmpathError.from(error);
      }
    });
    const ended = Promise.all(all).then(() => {});
    await Promise.race([ended, anyUp.promise.then(() => pause(FURTHER_PATHS_MS, ended))]);
    isOver = true;
    return attempts;
  }

  /** Adds paths that were tried already; those that failed go on being tried, and are named. */
  async #addPaths(volume: AttachedVolume, attempts: Attempt[], warn: Warn): Promise<void> {
    for (const attempt of attempts) {
      if (attempt.session === null) {
        this.#addLate(volume, attempt, warn);
        continue;
      }
      const failure = await volume.addPath(attempt.spec, attempt.session);
      if (failure !== null) warn(failure.message);
    }
  }

  #addLate(volume: AttachedVolume, attempt: Attempt, warn: Warn): void {
    warn(`${attempt.failure?.message ?? `Path "${pathWords(attempt.spec)}" is not up yet`}; it keeps being tried`);
    void volume.addPath(attempt.spec, null).then((failure) => {
      if (failure instanceof ForeignPath) log.error(failure.message);
    });
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
    const base = params.name ?? defaultName(params.nqn, params.nsid);
    const taken = new Set(this.all.map((volume) => volume.name));
    if (!taken.has(base)) return base;
    for (let n = 2;; n++) {
      if (!taken.has(`${base}-${n}`)) return `${base}-${n}`;
    }
  }

  // ── a volume that is there ────────────────────────────────────────────────────────────────────────────────────────

  async #extend(volume: AttachedVolume, params: AttachParams, warn: Warn): Promise<void> {
    const fresh = params.paths.filter((spec) => volume.findPath(spec) === null);
    if (fresh.length > PATHS_MAX) throw new UmpathError("usage", `Cannot add ${fresh.length} paths at once`);
    const failures = await Promise.all(fresh.map((spec) => volume.addPath(spec, null)));
    const refused = failures.filter((failure) => failure instanceof ForeignPath);
    if (refused.length > 0 && refused.length === fresh.length) throw refused[0]!;
    for (const failure of failures) {
      if (failure === null) continue;
      warn(failure instanceof ForeignPath ? failure.message : `${failure.message}; it keeps being tried`);
    }
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
    if (!params.force) volumes.forEach((volume) => volume.checkUnused());
    await Promise.all(
      volumes.map((volume) => this.#inTurn(turnOf(volume.plan), () => volume.detach({ force: params.force }))),
    );
    return { detached: volumes.map((volume) => volume.name) };
  }

  /** Takes everything away, in use or not: the process is to end. */
  async close(): Promise<void> {
    this.#isClosing = true;
    await Promise.allSettled(this.#turns.values());
    const results = await Promise.allSettled(this.all.map((volume) => volume.detach({ force: true })));
    for (const result of results) {
      if (result.status === "rejected") log.error("A volume could not be detached in order", result.reason);
    }
    this.#pool.stop();
  }
}

function turnOf(namespace: { nqn: string; nsid: number }): string {
  return `${namespace.nqn} ${namespace.nsid}`;
}

function resultOf(volume: AttachedVolume, created: boolean): AttachResult {
  return { volume: volume.info(), device: volume.device ?? volume.name, created };
}

function driverOf(choice: AttachParams["device"]): DeviceDriver {
  if (choice === "loop") {
    throw new UmpathError("host-lacks", "Cannot make a loop device: this version of umpath has ublk only");
  }
  return choice === "auto" ? "ublk" : choice;
}

/** The failure that says most: a refusal before a target that could not be reached, and all of them in its words. */
function worst(attempts: Attempt[]): UmpathError {
  const failures = attempts.flatMap((attempt) => attempt.failure === null ? [] : [attempt.failure]);
  const order = ["refused", "not-found", "host-lacks", "bug", "unreachable", "timed-out"];
  const main = failures.sort((a, b) => order.indexOf(a.code) - order.indexOf(b.code))[0];
  if (failures.length === 1) return main;
  const words = [...new Set(failures.map((failure) => failure.message))].join("; ");
  return new UmpathError(main.code, words, { hint: main.hint, cause: main });
}

/** The NQN's part after the last colon and the NSID, made of characters that are safe in file names. */
function defaultName(nqn: string, nsid: number): string {
  const tail = nqn.slice(nqn.lastIndexOf(":") + 1).replace(/[^A-Za-z0-9._-]/g, "-").replace(/^[.-]+/, "");
  return `${tail || "volume"}-n${nsid}`;
}

function uuidBytes(uuid: string): Uint8Array {
  const hex = uuid.replaceAll("-", "");
  return Uint8Array.from({ length: 16 }, (_, i) => parseInt(hex.slice(2 * i, 2 * i + 2), 16));
}

async function pause(ms: number, unless: Promise<void>): Promise<void> {
  const { promise, resolve } = Promise.withResolvers<void>();
  const timer = setTimeout(resolve, ms);
  await Promise.race([promise, unless]);
  clearTimeout(timer);
}
