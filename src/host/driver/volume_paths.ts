import { UmpathError } from "../../base/errors.ts";
import { PATHS_MAX } from "../../base/limits.ts";
import type { Prng } from "../../base/prng.ts";
import type { Poller } from "../../io/poller.ts";
import { WEIGHT_DEFAULT } from "../../multipath/policy_names.ts";
import type { PathName, PathSpec } from "../../rpc/host_api.ts";
import type { ControllerSession } from "./controller_session.ts";
import { ForeignPath, PathFailure } from "./path_failure.ts";
import { findNamedPath } from "./path_match.ts";
import { isSamePath, pathWords } from "../../rpc/path_words.ts";
import { type PathOptions, type PathOwner, VolumePath } from "./volume_path.ts";

/** What paths are made with. */
export interface PathsOptions {
  owner: PathOwner;
  poller: Poller;
  prng: Prng;
  /** How a path's sessions are, which is known when the first path is made. */
  session(): PathOptions;
  /** A path is made: a new one, so that what was counted under its index is forgotten, or one in its own place. */
  onMake(index: number, options: { isNew: boolean }): void;
  /** A path is gone. */
  onRemove(index: number): void;
}

/** The paths of one volume: how they come, go, and are found. An index is what the workers know a path by. */
export class VolumePaths {
  readonly #options: PathsOptions;
  readonly #paths = new Map<number, VolumePath>();

  constructor(options: PathsOptions) {
    this.#options = options;
  }

  /** In the order of their indexes. */
  get all(): VolumePath[] {
    return [...this.#paths.values()].sort((a, b) => a.index - b.index);
  }

  get count(): number {
    return this.#paths.size;
  }

  at(index: number): VolumePath | null {
    return this.#paths.get(index) ?? null;
  }

  /** The volume's path of that specification, or null. */
  find(spec: PathSpec): VolumePath | null {
    for (const path of this.#paths.values()) {
      if (isSamePath(path.spec, spec)) return path;
    }
    return null;
  }

  /**
   * Adds a path and begins to connect it; with `session`, one that was opened for it before. Resolves after the first
   * attempt: null, or why it failed. After a final failure it is not kept, unless `keepsRefused` and it is only refused;
   * after any other it goes on being tried.
   */
  async add(
    spec: PathSpec,
    session: ControllerSession | null,
    { keepsRefused = false }: { keepsRefused?: boolean } = {},
  ): Promise<UmpathError | null> {
    if (this.#paths.size >= PATHS_MAX) {
      session?.abandon();
      return new UmpathError(
        "usage",
        `Cannot add a path to ${this.#options.owner.name}: a volume has at most ${PATHS_MAX}`,
      );
    }
    const path = this.make(spec);
    const failure = await path.start(session);
    const isDropped = failure instanceof PathFailure && failure.isFinal;
    if (isDropped && !(keepsRefused && !(failure instanceof ForeignPath))) await this.remove(path);
    return failure;
  }

  /** A new path, or one in the place of one that has ended. */
  make(spec: PathSpec, ended: VolumePath | null = null): VolumePath {
    let index = ended?.index ?? 0;
    while (ended === null && this.#paths.has(index)) index++;
    this.#options.onMake(index, { isNew: ended === null });
    const { owner, poller, prng, session } = this.#options;
    const path = new VolumePath({ index, spec, owner, poller, prng, session: session(), ended });
    this.#paths.set(index, path);
    return path;
  }

  /** Ends a path; with `drains`, what is in flight on it is answered before, as far as that does not take long. */
  async remove(path: VolumePath, options: { drains?: boolean; abandons?: boolean } = {}): Promise<void> {
    await path.end("it was removed", options);
    if (this.#paths.get(path.index) !== path) return;
    const { table } = this.#options.owner;
    this.#paths.delete(path.index);
    table.setWeight(path.index, WEIGHT_DEFAULT);
    if (table.preferred === path.index) table.setPreferred(-1);
    this.#options.onRemove(path.index);
  }

  /** Ends a path that stays in the volume, not used and not tried again. */
  async disable(path: VolumePath): Promise<void> {
    if (path.state !== "disabled") await path.end("it was disabled", { drains: true });
  }

  /** Lets a path that is disabled, or was given up, live again. Resolves after the first attempt: null, or why it failed. */
  async enable(path: VolumePath): Promise<UmpathError | null> {
    if (path.state !== "disabled") return null;
    return await this.make(path.spec, path).start(null);
  }

  /**
   * The path of that name.
   *
   * @throws UmpathError "not-found" or "usage".
   */
  named(name: PathName): VolumePath {
    return findNamedPath(this.all, name, this.#options.owner.name);
  }

  /**
   * Refuses to do without a path if no other one serves the volume.
   *
   * @throws UmpathError "in-use"
   */
  checkDispensable(path: VolumePath, verb: "remove" | "disable"): void {
    if (verb === "disable" && path.state === "disabled") return;
    const others = this.all.filter((other) => other !== path);
    if (others.some((other) => other.isServing)) return;
    if (!path.isServing && others.some((other) => other.state !== "disabled")) return;
    const what = `Cannot ${verb} path "${pathWords(path.spec)}" of ${this.#options.owner.name}`;
    throw new UmpathError("in-use", `${what}: no other path serves it`, {
      hint: "Add another path first, or use --force: then I/O waits for a path, for no-path-timeout at most",
    });
  }
}
